/* A host's image folders: kernels, ramdisks and read-only disks, known by what is in them.
 *
 * A description names images by BLAKE2b-256 of their bytes, never by path, so each host keeps its
 * own files where it likes. A file is hashed once and again only when its size, inode, or time of
 * modification or change is another (the last can't be set back). Folders are flat: regular files directly in them, hidden ones
 * excepted, at most IMAGES_MAX in all; further ones are not known (images_left_out counts them).
 *
 * In a folder that others than root and this process's user may write, as the peer's cache, links are no images, nor are
 * files of others than the folder's owner: what he can't read himself he shall not have read by a guest.
 *
 * images_refresh reads whole files and may take long: call it in a worker thread. The other
 * functions never read file contents and may be called meanwhile from another thread. */
#ifndef XEN_IMAGES_H
#define XEN_IMAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IMAGES_FOLDERS_MAX 33
#define IMAGES_MAX         256
#define IMAGES_HASH        32
#define IMAGES_PATH        512

struct images;

/* Copies the folders' paths; a folder that is not there (yet) is no error. NULL without memory. */
struct images *images_new(const char *const *folders, unsigned n);
void images_free(struct images *im);

/* Looks through the folders and hashes what is new or changed; what is gone is forgotten.
 * 0, or VI_ENOMEM / VI_EIO when a folder or file could not be read (the rest is done). */
int images_refresh(struct images *im);

/* The hash of a file in one of the folders, as of the last refresh: 0; VI_ENOTFOUND if the path is
 * in none of the folders; VI_EAGAIN if it is but is not hashed (or changed since). */
int images_hash_of(struct images *im, const char *path, uint8_t hash[IMAGES_HASH]);

/* The path of a file with that content, unchanged since it was hashed: 0 or VI_ENOTFOUND. */
int images_path_of(struct images *im, const uint8_t hash[IMAGES_HASH], char path[IMAGES_PATH]);

/* Is the path, or a folder on its way, a link of a user other than root and this one, who could lead it to what he may
 * not read? A path that was an image's can become one. */
bool images_led_astray(const char *path);

/* The hash of the file of that name in one of the folders, as of the last refresh: 0, VI_ENOTFOUND; VI_EEXIST: files
 * of that name with different contents are in several folders. */
int images_named(struct images *im, const char *name, uint8_t hash[IMAGES_HASH]);

unsigned images_left_out(struct images *im);

#endif
