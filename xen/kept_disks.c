/* Lines of a kept configuration. See kept_disks.h. */
#include "xen/kept_disks.h"

#include <stdio.h>
#include <string.h>

#define LINE "disk "

/* Characters that a vdev has, from text's beginning. */
static size_t vdev_length(const char *text)
{
    return strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789");
}

int kept_disks_encode(const struct kept_disk *disks, unsigned n, char out[KEPT_DISKS_MAX])
{
    size_t at = 0;

    out[0] = '\0';
    if (n > HV_DISKS_MAX)
        return VI_EINVAL;
    for (unsigned i = 0; i < n; i++) {
        char id[VI_ID_TEXT];
        size_t len = vdev_length(disks[i].vdev);
        if (len == 0 || disks[i].vdev[len])
            return VI_EINVAL;
        at += (size_t)snprintf(out + at, KEPT_DISKS_MAX - at, LINE "%s %s\n", disks[i].vdev, vi_id_format(&disks[i].id, id));
    }
    return (int)at;
}

/* One line, without LINE; what comes after it, or NULL. */
static const char *decode_line(struct kept_disk *d, const char *text)
{
    size_t len = vdev_length(text);
    char id[VI_ID_TEXT];

    if (len == 0 || len >= sizeof d->vdev || text[len] != ' ')
        return NULL;
    memcpy(d->vdev, text, len);
    d->vdev[len] = '\0';
    text += len + 1;
    len = strcspn(text, "\n");
    if (len != sizeof id - 1 || text[len] != '\n')
        return NULL;
    memcpy(id, text, len);
    id[len] = '\0';
    return vi_id_parse(&d->id, id) ? NULL : text + len + 1;
}

const char *kept_disks_decode(struct kept_disk disks[HV_DISKS_MAX], unsigned *n, const char *text)
{
    *n = 0;
    while (text && strncmp(text, LINE, strlen(LINE)) == 0)
        text = *n < HV_DISKS_MAX ? decode_line(&disks[(*n)++], text + strlen(LINE)) : NULL;
    return text;
}
