/* What the files of disks' devices share. */
#ifndef XEN_DISK_INTERNAL_H
#define XEN_DISK_INTERNAL_H

#include <sys/types.h>

#include "xen/disk.h"

/* A block device's number, or VI_ENOTFOUND. */
int dm_number(const char *path, dev_t *number, char *why, size_t cap);
/* Loads a table of one target and makes it the live one. flush: what is under way with the old one ends first. */
int dm_table(const char *name, const char *target, uint64_t sectors, const char *params, bool flush, char *why, size_t cap);
/* flush: what is under way ends first; else it waits in the device, as what comes meanwhile. */
int dm_suspend(const char *name, bool flush, char *why, size_t cap);
int dm_resume(const char *name, char *why, size_t cap);
/* The live table's state, without what says which target it is; table: its parameters instead. */
int dm_status(const char *name, bool table, char *out, size_t size, char *why, size_t cap);

/* A loop device on the file that goes by itself when *held is closed and no device is on it: also if this process dies. */
int loop_temporary(const char *file, char path[DISK_PATH], int *held, char *why, size_t cap);

/* An nbd device whose requests go over fd, which stays the caller's. xen/disk_nbd.c */
struct nbd;
int nbd_open(struct nbd **n, int fd, uint64_t sectors, char *why, size_t cap);
const char *nbd_path(const struct nbd *n);
/* All that was written is on the other side's disk. */
int nbd_flush(struct nbd *n, char *why, size_t cap);
/* Nothing goes over the stream any more, not even that it is over, which the other side would take for its end in order: what
 * hangs in the device fails. */
void nbd_cut(struct nbd *n);
void nbd_close(struct nbd *n); /* in order, where it isn't cut */

/* Reads the other side's hashes of all regions and sets a bit in bits, which are zero, for each that is equal here. flush is
 * called every few seconds, so that the stream doesn't fall silent meanwhile; its error ends it. told may be NULL. VI_EIO. */
int disk_compare(const char *path, uint64_t sectors, int hashes, uint8_t *bits, uint64_t *differed, int (*flush)(void *arg),
                 void *arg, const struct disk_compared *told);

/* Whole or an error, over interruptions. */
bool disk_read_all(int fd, void *data, size_t len);
bool disk_read_all_at(int fd, void *data, size_t len, uint64_t at);
bool disk_write_all(int fd, const void *data, size_t len);

#endif
