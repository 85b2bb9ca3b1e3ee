/* The source's side of a disk's copy where a disk is a plain file and nothing but this process writes to it (the simulated
 * hypervisor): what disk_copy does with a mirror, this does with marks. Who writes to the file says so, and what is marked
 * is sent again, until nothing is. The other side is the same disk_serve(). See disk.h. */
#ifndef XEN_DISK_FILES_H
#define XEN_DISK_FILES_H

#include "xen/disk.h"

struct disk_files;

/* path is copied; fd and hashes stay the caller's. NULL without memory. */
struct disk_files *disk_files_new(const char *path, uint64_t sectors, int fd, int hashes);
void disk_files_free(struct disk_files *f);
/* len bytes at `at` are written to the file; from any thread, at any time between new and free. */
void disk_files_wrote(struct disk_files *f, uint64_t at, size_t len);

/* In one thread, that may block. begin: compares with the other's hashes, or takes all as different. step: sends some of what
 * is marked; how far it is in *s. An error: the stream is lost. */
int disk_files_begin(struct disk_files *f, const struct disk_compared *told, char *why, size_t cap);
int disk_files_step(struct disk_files *f, struct disk_mirror_status *s);
int disk_files_flush(struct disk_files *f);
uint64_t disk_files_differed(const struct disk_files *f);
/* Nobody writes any more: the rest is sent, and the other told that it is over. VI_EIO */
int disk_files_finish(struct disk_files *f, char *why, size_t cap);

#endif
