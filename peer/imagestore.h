/* Images on the disk: the cache folder, which the peer writes, and what is in the host's image folders, which it only
 * reads. Blocking: for worker threads. Nothing in here is shared between calls.
 *
 *   HEX             a whole image, named by its hash, 0444
 *   .HEX.manifest   its list of chunks, or that of what is being fetched
 *   .HEX.part       what is being fetched, sparse; which chunks are there is found by reading them
 *   .add-*          what `violin image add` is copying
 *
 * Files that begin with a dot are no images to the agent (xen/images.h), which tests what it uses by itself. A kill at
 * any moment leaves a part that is gone on with, or a whole image. */
#ifndef PEER_IMAGESTORE_H
#define PEER_IMAGESTORE_H

#include "peer/base/clock.h"
#include "peer/image.h"

#define IMAGE_FILES_MAX 256 /* images that are known; further files are left out */
#define IMAGE_PATH_MAX  512
#define IMAGE_PARTS_MAX 16
#define IMAGE_STALE     (24 * VI_HOUR) /* a part, or a copy, that nobody touched for so long is removed */

struct image_file {
    uint8_t hash[IMAGE_HASH], manifest[IMAGE_HASH]; /* manifest: its list's hash */
    uint64_t size;
    bool cached;       /* in the cache folder; else in one of the image folders */
    bool added;        /* by a person: not removed to make room */
    char path[IMAGE_PATH_MAX];
    char name[IMAGE_NAME_MAX];
    uint64_t inode;
    int64_t mtime, ctime; /* ns; as long as they, size and inode are the same, so is the content */
    vi_time used;         /* wall; when it was last of use */
};

/* How far a long operation is, for another thread to look at. */
struct image_progress {
    _Atomic uint64_t done, of; /* bytes */
};

/* Makes the folder. 0, or VI_EIO with why. */
int image_store_open(const char *folder, char *why, size_t cap);
/* Looks through the cache and the image folders. What is as `known` says isn't read again; the rest is read through, and
 * its manifest written. Old parts and copies go. Returns how many images there are in out[IMAGE_FILES_MAX]; parts: hashes
 * of what was being fetched, *n_parts of them. */
unsigned image_store_scan(const char *folder, const char *const *dirs, unsigned n_dirs, const struct image_file *known,
                          unsigned n_known, struct image_file *out, uint8_t parts[][IMAGE_HASH], unsigned *n_parts,
                          struct image_progress *p);
/* The manifest of an image that is here: *len bytes, for the caller to free. NULL: it can't be read. */
uint8_t *image_store_manifest(const char *folder, const struct image_file *f, size_t *len);
/* Takes a file of the cache folder in, under its hash; f->name and f->added stay. VI_EINVAL: empty, or too large. */
int image_store_take(const char *folder, const char *file, struct image_file *f, struct image_progress *p);

/* ---- what is being fetched ---- */
/* Opens or makes the part for this manifest; kept gets a byte for each chunk that is there and right. A descriptor, or a
 * vi_err with why. */
int image_part_open(const char *folder, const uint8_t hash[IMAGE_HASH], const uint8_t *manifest, size_t len, uint8_t *kept,
                    char *why, size_t cap);
/* Tests a chunk and writes it: 0, VI_EAUTH, or VI_EIO with why. */
int image_part_put(int fd, const uint8_t *manifest, uint32_t chunk, const uint8_t *data, size_t len, char *why, size_t cap);
/* The whole: is it what its id says? Then it is put in its place, on the disk, and *f filled in. 0, VI_EAUTH, VI_EIO with
 * why. */
int image_part_finish(const char *folder, const uint8_t hash[IMAGE_HASH], int fd, uint64_t size, struct image_file *f,
                      char *why, size_t cap);
void image_part_remove(const char *folder, const uint8_t hash[IMAGE_HASH]);

/* ---- room ---- */
/* Bytes that this user may still write there. VI_EIO. */
int image_store_free(const char *folder, uint64_t *bytes);
/* All bytes that the cache takes: images, parts, copies; but one part. */
uint64_t image_store_used(const char *folder, const uint8_t but[IMAGE_HASH]);
/* Which may go so that `bytes` more fit: the longest unused first, none that is to be kept. used: what the cache takes now,
 * most: what it may take; available: what is free on the disk, of which `spare` stays. The indices of *n of them into
 * out[n_files]; VI_EFULL: there aren't enough. */
int image_store_choose(const struct image_file *files, unsigned n_files, const bool *keep, uint64_t bytes, uint64_t used,
                       uint64_t most, uint64_t available, uint64_t spare, unsigned *out, unsigned *n);
int image_store_remove(const char *folder, const uint8_t hash[IMAGE_HASH]);

#endif
