/* Which of a guest's disks are which while it is started again: lines `disk VDEV ID` before its configuration, in the file
 * that libxl_reboot.c keeps. Pure. */
#ifndef XEN_KEPT_DISKS_H
#define XEN_KEPT_DISKS_H

#include "xen/hypervisor.h"

#define KEPT_DISKS_MAX (HV_DISKS_MAX * 64) /* bytes of the lines, with their NUL */

struct kept_disk {
    char vdev[16]; /* [a-z0-9] */
    struct vi_id id;
};

/* The lines' length. VI_EINVAL: a vdev that no line can have, or too many. */
int kept_disks_encode(const struct kept_disk *disks, unsigned n, char out[KEPT_DISKS_MAX]);
/* What comes after the lines at the text's beginning; NULL: one of them isn't plainly such a line, or there are too many. */
const char *kept_disks_decode(struct kept_disk disks[HV_DISKS_MAX], unsigned *n, const char *text);

#endif
