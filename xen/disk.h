/* A guest's disk as a device that can be copied to another host while the guest writes to it: policy/handover.md's
 * operations on disks, as the kernel does them. Called by who has root; nothing here knows of guests or peers.
 *
 * The guest's back end has a device of the device mapper, `linear` on what holds the bytes (a loop device or a volume),
 * so that what is below can be changed under it. To copy it, the table becomes `mirror` with a second leg on an nbd
 * device, whose requests go over any connected stream socket to disk_serve() on the other host: writes go to both, what
 * was there before is copied by the kernel region by region, and if the second leg is lost the first goes on alone.
 *
 * What the other host may have of it from before is told as a hash of every region. Then the mirror begins with a log
 * in which only those are marked that differ here, so that only they are copied. That needs no memory of what has been
 * written since, and no trust that both remember the same.
 *
 * All functions block, some for long: call them in a thread of their own. 0 or a vi_err, with a sentence in why. */
#ifndef XEN_DISK_H
#define XEN_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DISK_REGION   64 /* sectors of 512 bytes: what the mirror's log has a bit for; 32 KiB */
#define DISK_SECTORS_MAX ((uint64_t)1 << 32) /* 2 TiB: 2^26 regions, a GiB of hashes */
#define DISK_HASH     16 /* BLAKE2b-128 */
#define DISK_NAME     64 /* of a device, with its NUL */
#define DISK_PATH     128

/* ---- pure: xen/disk_wire.c ---------------------------------------------------------------------------------------- */

/* A request of the kernel's nbd, as it comes over the stream. It is from another host, and who serves is root. */
#define DISK_REQUEST_SIZE 28
#define DISK_REPLY_SIZE   16
#define DISK_IO_MAX       (4 << 20) /* bytes of one request */

enum disk_command { DISK_READ, DISK_WRITE, DISK_DISCONNECT, DISK_FLUSH };

struct disk_request {
    enum disk_command command;
    uint64_t handle;
    uint64_t offset; /* bytes; offset and length lie inside the device */
    uint32_t length; /* of READ and WRITE; a WRITE's bytes follow */
};

/* data has DISK_REQUEST_SIZE bytes. VI_EPROTO: nothing that can be gone on with. */
int disk_request_decode(struct disk_request *q, const uint8_t *data, uint64_t size);
void disk_reply_encode(uint8_t out[DISK_REPLY_SIZE], uint64_t handle, uint32_t error);

/* The other way round, for who has no kernel do it. data: DISK_REPLY_SIZE bytes; VI_EPROTO: no reply; VI_EIO: it failed. */
void disk_request_encode(uint8_t out[DISK_REQUEST_SIZE], const struct disk_request *q);
int disk_reply_decode(const uint8_t *data, uint64_t *handle);

/* What the device mapper says of a mirror with two legs. */
struct disk_mirror_status {
    uint64_t in_sync, regions;
    bool whole; /* both legs live and all is in sync */
    bool broken; /* a leg is lost */
    bool own_lost; /* the first one: something was written to the second alone */
};
int disk_mirror_status_parse(struct disk_mirror_status *s, const char *text);

/* The mirror's log as the kernel reads it (dm-log, version 2): a bit for each region, set where both legs are equal.
 * log_size: bytes that it takes. bits: (regions + 7) / 8 bytes, least significant first. */
size_t disk_log_size(uint64_t regions);
void disk_log_encode(uint8_t *log, uint64_t regions, const uint8_t *bits);
uint64_t disk_regions(uint64_t sectors);

/* ---- devices: xen/disk_dm.c -------------------------------------------------------------------------------------- */

/* /dev/mapper's device `name`, `linear` on the block device `below`, which has at least so many sectors. path: where it
 * is. Made already: nothing is changed. VI_EUNSUPPORTED: this kernel has no device mapper. */
int disk_open(const char *name, const char *below, uint64_t sectors, char path[DISK_PATH], char *why, size_t cap);
int disk_close(const char *name, char *why, size_t cap);
/* What is below the device: its first leg, if it is a mirror. VI_ENOTFOUND if there is no such device. */
int disk_below(const char *name, char path[DISK_PATH], char *why, size_t cap);
/* Is the block device that of path, or a loop device on the file there? Not one that was there before under its name. */
bool disk_lies_on(const char *device, const char *path);
/* `linear` again, whatever it was: what is under way is done first if it can be, else (now) it is not waited for. */
int disk_linear(const char *name, const char *below, uint64_t sectors, bool now, char *why, size_t cap);
/* How many have it open. */
int disk_users(const char *name, unsigned *n, char *why, size_t cap);
/* `linear` again if it is a mirror, which a process before has left; what its second leg hasn't is not waited for. */
int disk_settle(const char *name, uint64_t sectors, char *why, size_t cap);
/* A loop device on the file, from now on until it is closed. */
int disk_loop_open(const char *file, char path[DISK_PATH], char *why, size_t cap);
int disk_loop_close(const char *path);
/* The exact size of a block device or file. */
int disk_sectors(const char *path, uint64_t *sectors);

/* ---- the copy: xen/disk_copy.c ----------------------------------------------------------------------------------- */

/* The destination: answers what comes over fd from and to the device (or file) at path, until the other ends (0), or
 * breaks off (VI_EIO), or it is stopped by shutting fd down. *written: bytes. What was written is on the disk when it
 * returns; fd stays the caller's. */
int disk_serve(int fd, const char *path, uint64_t *written, char *why, size_t cap);
/* The hashes of all regions of what is at path, written to fd. */
int disk_tell_hashes(int fd, const char *path, char *why, size_t cap);

/* The source: name's writes go to fd's other end, too. hashes: a descriptor to read the other side's from, or -1: all
 * is copied. Takes neither over. log_folder: where the mirror's log may be while it is under way (memory is best). told may
 * be NULL. */
struct disk_copy;
/* Whom it is told how far the comparison is, about once a second and from the thread that does it: so many regions have been
 * compared, and so many of them differ. */
struct disk_compared {
    void (*told)(void *arg, uint64_t regions, uint64_t differed);
    void *arg;
};
int disk_copy_begin(struct disk_copy **copy, const char *name, const char *below, uint64_t sectors, int fd, int hashes,
                    const char *log_folder, const struct disk_compared *told, char *why, size_t cap);
/* How far it is; VI_EIO when the other leg is lost: the guest goes on on its own. */
int disk_copy_status(struct disk_copy *c, struct disk_mirror_status *s);
/* Something goes over the stream, and what was written is on the other side's disk, or VI_EIO. */
int disk_copy_flush(struct disk_copy *c);
/* Regions that differed at the beginning. */
uint64_t disk_copy_differed(const struct disk_copy *c);
/* The guest writes no more: what is under way ends on both sides, then the mirror is taken down. An error if it isn't
 * whole: the guest's own copy is, and disk_copy_end() is still to be called. Frees c on success. */
int disk_copy_finish(struct disk_copy *c, char *why, size_t cap);
/* Given up: `linear` at once. Frees c. */
void disk_copy_end(struct disk_copy *c);

#endif
