/* Writable disks of guests that are made: a copy of an image, or zeros. Made with their guest and removed with it; which they
 * are follows from the guest, so that a crash leaves none that nobody knows. Pure. See envmake.h. */
#include "peer/envmake_internal.h"

#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"

void envmake_disk_id(const struct vi_id *guest, unsigned place, struct vi_id *out)
{
    uint8_t n = (uint8_t)place;
    vi_id_hash(out, "violin guest's disk", guest->b, VI_ID_SIZE, &n, 1);
}

void envmake_disk_name(const char *guest_name, unsigned place, char out[HV_NAME_MAX])
{
    snprintf(out, HV_NAME_MAX, "%.*s-xvd%c", HV_NAME_MAX - 8, guest_name, (char)('a' + place % 26));
}

bool mk_has_disks(const struct envmake_disks *k)
{
    for (unsigned i = 0; i < ENVMAKE_DISKS; i++)
        if (k->sectors[i])
            return true;
    return false;
}

void mk_disks_of_spec(const struct envmake_spec *s, struct envmake_disks *out)
{
    memset(out, 0, sizeof *out);
    for (unsigned i = 0; i < s->n_disks; i++) {
        out->sectors[i] = s->sectors[i];
        if (s->sectors[i])
            memcpy(out->image[i], s->disk[i], HV_HASH_SIZE);
    }
}

/* The place of a disk that was made with its guest; ENVMAKE_DISKS: it wasn't. */
static unsigned place_of(const struct vi_id *guest, const struct vi_id *disk)
{
    struct vi_id id;
    unsigned i = 0;
    for (; i < ENVMAKE_DISKS; i++) {
        envmake_disk_id(guest, i, &id);
        if (vi_id_equal(&id, disk))
            break;
    }
    return i;
}

bool mk_disks_fit(const struct envmake_disks *k, const struct hv_description *d)
{
    bool there[ENVMAKE_DISKS] = {false};
    for (unsigned i = 0; i < d->n_disks; i++) {
        unsigned p = place_of(&d->uuid, &d->disks[i].id);
        if (d->disks[i].kind != HV_DISK_MOVABLE)
            continue;
        if (p == ENVMAKE_DISKS || there[p])
            return false;
        there[p] = true;
    }
    for (unsigned i = 0; i < ENVMAKE_DISKS; i++)
        if (there[i] != (k->sectors[i] > 0) || k->sectors[i] > DISK_SECTORS_MAX)
            return false;
    return true;
}

uint64_t envmake_print(const struct hv_description *d, const struct envmake_disks *k)
{
    struct hv_description c = *d;
    uint8_t b[HV_DESCRIPTION_MAX];
    struct vi_id h;
    uint64_t print = 0;
    bool any = false;
    int n;
    memset(&c.uuid, 1, sizeof c.uuid);
    memset(c.cpu_features, 0, sizeof c.cpu_features);
    c.target_kb = 4096;
    c.weight = 1;
    c.cap = 0;
    c.n_disks = 0;
    for (unsigned i = 0; i < d->n_disks; i++) {
        unsigned p = place_of(&d->uuid, &d->disks[i].id);
        bool movable = d->disks[i].kind == HV_DISK_MOVABLE;
        if (movable && p == ENVMAKE_DISKS)
            continue; /* an operator's, attached since */
        c.disks[c.n_disks] = d->disks[i];
        if (movable)
            memset(&c.disks[c.n_disks].id, (int)p + 1, sizeof c.disks[0].id);
        any |= movable;
        c.n_disks++;
    }
    n = hv_description_encode(&c, b, sizeof b);
    vi_id_hash(&h, "violin guest's makings", b, n > 0 ? (size_t)n : 0, any ? (const uint8_t *)k->sectors : NULL,
               any ? sizeof k->sectors : 0);
    memcpy(&print, h.b, sizeof print);
    return print;
}

uint64_t envmake_disks_promised(const struct envmake *m, const struct vi_id *guest)
{
    uint64_t sectors = 0;
    bool before = true;
    for (unsigned i = 0; i < ENVMAKE_HERE; i++) {
        const struct mk_guest *g = &m->guest[i];
        if (guest && g->used && vi_id_equal(&g->uuid, guest))
            before = false;
        else if (g->used && ((g->phase == EP_CHECKING && before) || g->phase == EP_LEASED ||
                             (g->phase == EP_MAKING && !g->disks_there)))
            for (unsigned k = 0; k < ENVMAKE_DISKS; k++)
                sectors += g->disks.sectors[k];
    }
    return sectors;
}

void envmake_copied(struct envmake *m, const struct vi_id *guest, unsigned percent)
{
    struct mk_guest *g = mk_guest_find(m, guest);
    if (g && g->copying)
        g->percent = percent > 100 ? 100 : percent;
}

/* ---- attached and detached since ---- */

static int rewrite(struct envmake *m, struct mk_guest *g, const struct hv_description *d)
{
    struct mk_guest before = *g;
    int n = hv_description_encode(d, g->description, sizeof g->description), err = n < 0 ? VI_EFULL : 0;
    if (!err) {
        g->len = (size_t)n;
        err = mk_guest_write(m, g);
    }
    if (err)
        *g = before;
    return err;
}

static struct mk_guest *kept(struct envmake *m, const struct vi_id *guest, struct hv_description *d)
{
    struct mk_guest *g = mk_guest_find(m, guest);
    return g && g->phase == EP_KEPT && !hv_description_decode(d, g->description, g->len) ? g : NULL;
}

int envmake_attached(struct envmake *m, const struct vi_id *guest, const struct vi_id *disk, const char *vdev)
{
    struct hv_description d;
    struct mk_guest *g = kept(m, guest, &d);
    struct hv_disk *k;
    if (!g)
        return VI_ENOTFOUND;
    for (unsigned i = 0; i < d.n_disks; i++)
        if (d.disks[i].kind == HV_DISK_MOVABLE && vi_id_equal(&d.disks[i].id, disk))
            return 0;
    if (d.n_disks == HV_DISKS_MAX)
        return VI_EFULL;
    k = &d.disks[d.n_disks++];
    memset(k, 0, sizeof *k);
    k->kind = HV_DISK_MOVABLE;
    k->id = *disk;
    snprintf(k->vdev, sizeof k->vdev, "%s", vdev);
    return rewrite(m, g, &d);
}

int envmake_detached(struct envmake *m, const struct vi_id *guest, const struct vi_id *disk)
{
    struct hv_description d;
    struct mk_guest *g = kept(m, guest, &d);
    unsigned n = 0, p = place_of(guest, disk);
    int err;
    if (!g)
        return VI_ENOTFOUND;
    for (unsigned i = 0; i < d.n_disks; i++)
        if (d.disks[i].kind != HV_DISK_MOVABLE || !vi_id_equal(&d.disks[i].id, disk))
            d.disks[n++] = d.disks[i];
    if (n == d.n_disks)
        return 0;
    d.n_disks = n;
    if (p < ENVMAKE_DISKS)
        g->disks.sectors[p] = 0; /* the operator's from now on */
    err = rewrite(m, g, &d);
    return err;
}
