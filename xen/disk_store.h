/* The disks of a host that move with their guests: which copies it has, what each of them is, and where. A small file
 * each, in a folder that is root's alone, replaced as a whole and synced before what it says is begun; beside it the
 * bytes, in a file of their own, or on a block device or in a raw file that was adopted.
 *
 * What policy/handover.md's operations on disks do to a host's copies is done here; each may be repeated, also after a
 * crash at any point, and leaves alone what another handover made. Blocking; one thread at a time. 0 or a vi_err with a
 * sentence in why. */
#ifndef XEN_DISK_STORE_H
#define XEN_DISK_STORE_H

#include "peer/base/id.h"
#include "xen/disk.h"

#define DISKS_MAX        256 /* copies on a host */
#define DISK_RECORD_MAX  1024

enum disk_kind {
    DISK_TRUE,     /* the one that its guest runs on, or is started from */
    DISK_ARRIVING, /* being made by a handover: nothing yet */
    DISK_OLD       /* left by a handover: a base for one back; never started from, and removed when room is needed */
};

struct disk_record {
    struct vi_id id;
    char name[DISK_NAME];  /* [A-Za-z0-9_.-], begins with a letter or digit; of the device, too */
    enum disk_kind kind;
    uint64_t sectors, generation;
    struct vi_id by;       /* the handover that made it, or took it away; zero: it was made here */
    char below[DISK_PATH]; /* the block device or raw file that was adopted; "": its bytes are in a file of the folder */
};

/* Pure, in xen/disk_record.c. encode: the length. decode refuses whatever isn't plainly a record (VI_EPROTO). */
int disk_record_encode(const struct disk_record *r, char *out, size_t cap);
int disk_record_decode(struct disk_record *r, const char *text, size_t len);
bool disk_name_ok(const char *name);
/* What the device mapper knows the disk of that name by: for disk_copy_begin(). */
void disk_device_name(const char *name, char out[DISK_NAME]);

struct disk_store;

/* Reads the records; a file that is none is said in the log and left alone, bytes without a record (making them was cut
 * short) go. NULL with why. */
struct disk_store *disk_store_open(const char *folder, char *why, size_t cap);
void disk_store_close(struct disk_store *s); /* devices stay */
/* From now on there is no device mapper: a disk's device is its file, and who has it holds a lock on that (flock). */
void disk_store_plain_files(struct disk_store *s);
unsigned disk_store_count(const struct disk_store *s);
const struct disk_record *disk_store_at(const struct disk_store *s, unsigned i);
const struct disk_record *disk_store_find(const struct disk_store *s, const struct vi_id *id);
/* Room for so many more sectors, if old copies go. */
uint64_t disk_store_room(const struct disk_store *s);

/* Does a guest have it? */
bool disk_store_used(struct disk_store *s, const struct vi_id *id);
/* Since when it is what it is, in seconds since 1970; 0: not known. */
int64_t disk_store_since(const struct disk_store *s, const struct vi_id *id);
/* Where its bytes are: of the folder, or adopted. */
void disk_store_bytes(const struct disk_store *s, const struct disk_record *r, char path[DISK_PATH * 2]);

/* The device of a copy, made if it isn't there (after a boot): where, and what is below it. VI_ESTATE for an old copy. */
int disk_store_device(struct disk_store *s, const struct vi_id *id, char path[DISK_PATH], char below[DISK_PATH], char *why,
                      size_t cap);

/* An operator's. A new disk of zeros, whose room is taken now; a block device or raw file as it is; either is a true copy. */
int disk_store_create(struct disk_store *s, const struct vi_id *id, const char *name, uint64_t sectors, char *why, size_t cap);
/* The same in two steps, between which something is written to the bytes (disk_store_bytes()): until commit there is no
 * such disk, and after a crash nothing of it. begin() sets *r. */
int disk_store_begin(struct disk_store *s, struct disk_record *r, const struct vi_id *id, const char *name, uint64_t sectors,
                     char *why, size_t cap);
int disk_store_commit(struct disk_store *s, const struct disk_record *r, char *why, size_t cap);
void disk_store_abandon(struct disk_store *s, const struct disk_record *r);
int disk_store_adopt(struct disk_store *s, const struct vi_id *id, const char *name, const char *below, char *why, size_t cap);
/* VI_ESTATE while a guest has it. What was adopted keeps its bytes. */
int disk_store_remove(struct disk_store *s, const struct vi_id *id, char *why, size_t cap);

/* A handover's: HANDOVER_OP_MAKE, OWN, RETIRE, DISCARD. base: on the old copy that is here. */
int disk_store_make(struct disk_store *s, const struct vi_id *handover, const struct vi_id *id, const char *name,
                    uint64_t sectors, bool base, char *why, size_t cap);
int disk_store_own(struct disk_store *s, const struct vi_id *handover, const struct vi_id *id, uint64_t generation, char *why,
                   size_t cap);
int disk_store_retire(struct disk_store *s, const struct vi_id *handover, const struct vi_id *id, uint64_t generation,
                      char *why, size_t cap);
int disk_store_discard(struct disk_store *s, const struct vi_id *handover, const struct vi_id *id, char *why, size_t cap);

#endif
