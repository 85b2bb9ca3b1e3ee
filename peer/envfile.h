/* What `violin env apply` reads: one environment, as `key = value` lines. Pure, bounded; the same fields as the options of
 * `violin env create` have.
 *
 *   # a comment, to the end of the line
 *   name = web                 needed; letters, digits, . _ -
 *   guests = 6                 0 … 64
 *   head = yes                 yes, no, or the name of the host where it shall be
 *   kernel = vmlinuz           needed; a file's name in image-dirs, or its hash
 *   ramdisk = initrd.img
 *   image = {"root.img"}       read-only; of image, copy and disk at most 4 together, as xvda, xvdb, … in the order of the file
 *   copy = "root.img:4G"       a writable copy of an image for each guest; without a size as large as the image
 *   disk = 10G                 an empty writable disk for each guest
 *   memory = 512               MiB, or 512M, 2G
 *   max-memory = 1024          the same; twice the memory if it isn't said
 *   vcpus = 1
 *   weight = 256
 *   command-line = "root=/dev/xvda ro"
 *   network = "10.9.0.0/24"
 *   on-poweroff = destroy      destroy, restart, preserve; on-reboot and on-crash, too
 *   shares = 100
 *   priority = 50              0 … 100
 *   strict = no                yes, no
 *   spread = no                yes: no two of the guests on one host; at most 16 guests
 */
#ifndef PEER_ENVFILE_H
#define PEER_ENVFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ENVFILE_TEXT   200 /* bytes of a value, with NUL */
#define ENVFILE_UNSAID UINT64_MAX
#define ENVFILE_SPREAD 16 /* guests, with spread */
#define ENVFILE_DISKS  4
#define ENVFILE_MIB_MAX ((uint64_t)2 << 20) /* of a disk: 2 TiB */
#define ENVFILE_MAX    65536 /* bytes of a file */

enum envfile_kind { ENVFILE_IMAGE, ENVFILE_COPY, ENVFILE_EMPTY };

struct envfile_disk {
    enum envfile_kind kind;
    char image[ENVFILE_TEXT]; /* of IMAGE and COPY: a name, or a hash */
    uint64_t mib;             /* of COPY and EMPTY; of COPY 0: the image's size */
};

struct envfile {
    char name[ENVFILE_TEXT];
    uint64_t guests, memory, max_memory, vcpus, weight, shares; /* max_memory 0: not said */
    uint64_t priority; /* ENVFILE_UNSAID: not said */
    bool head, strict, spread;
    char head_host[ENVFILE_TEXT];
    char kernel[ENVFILE_TEXT], ramdisk[ENVFILE_TEXT];
    unsigned n_disks;
    struct envfile_disk disk[ENVFILE_DISKS];
    char cmdline[ENVFILE_TEXT], network[ENVFILE_TEXT];
    char on_poweroff[ENVFILE_TEXT], on_reboot[ENVFILE_TEXT], on_crash[ENVFILE_TEXT]; /* "": the default */
};

void envfile_defaults(struct envfile *f);
/* "512M", "10G" or "2T": mebibytes, 1 to ENVFILE_MIB_MAX. */
bool envfile_size(const char *text, uint64_t *mib);
/* What --copy, and copy in the file, say: IMAGE[:SIZE]. */
bool envfile_copy(struct envfile_disk *d, const char *text);
/* Sets one key to a text, as the file or an option says it; image, copy and disk add one. 0, or VI_ENOTFOUND (no such key), VI_EINVAL,
 * with what is allowed in why. */
int envfile_set(struct envfile *f, const char *key, const char *value, char *why, size_t cap);
/* What must be there is. */
int envfile_check(const struct envfile *f, char *why, size_t cap);
/* The whole file over the defaults. name is for messages. VI_EINVAL with `name:line: what` in why. */
int envfile_parse(struct envfile *f, const char *text, size_t len, const char *name, char *why, size_t cap);

#endif
