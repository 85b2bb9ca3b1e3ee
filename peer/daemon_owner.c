/* Who owns the guests that ever moved, as far as this host took part: kept in the store, so that a
 * copy that comes up where it shouldn't is known for one. */
#include "peer/daemon_internal.h"

#include <string.h>

#include "peer/base/err.h"
#include "peer/base/log.h"

struct owned_guest *daemon_owner_find(const struct daemon *d, const struct vi_id *guest)
{
    for (unsigned i = 0; i < OWNED_MAX; i++)
        if (d->owned[i].used && vi_id_equal(&d->owned[i].guest, guest))
            return &d->owned[i];
    return NULL;
}

uint64_t daemon_epoch_of(const struct daemon *d, const struct vi_id *guest)
{
    const struct owned_guest *o = daemon_owner_find(d, guest);
    return o ? o->epoch : 1;
}

bool daemon_owns(const struct daemon *d, const struct vi_id *guest)
{
    const struct owned_guest *o = daemon_owner_find(d, guest);
    return !o || vi_id_equal(&o->owner, &d->me.id);
}

/* A free place; else that of a guest that was given away longest ago. */
static struct owned_guest *place(struct daemon *d)
{
    struct owned_guest *old = NULL;
    for (unsigned i = 0; i < OWNED_MAX; i++) {
        struct owned_guest *o = &d->owned[i];
        if (!o->used)
            return o;
        if (!vi_id_equal(&o->owner, &d->me.id) && (!old || o->at < old->at))
            old = o;
    }
    return old;
}

void daemon_owner_set(struct daemon *d, const struct vi_id *guest, const struct vi_id *owner, uint64_t epoch)
{
    struct owned_guest *o = daemon_owner_find(d, guest);
    uint8_t b[64];
    struct vi_writer w;
    if (!o)
        o = place(d);
    if (!o)
        return;
    o->used = true;
    o->guest = *guest;
    o->owner = *owner;
    o->epoch = epoch;
    o->at = vi_clock_wall();
    vi_writer_init(&w, b, sizeof b);
    vi_write_array(&w, 3);
    vi_write_id(&w, owner);
    vi_write_uint(&w, epoch);
    vi_write_int(&w, o->at);
    if (store_put(d->store, STORE_OWNER, guest, b, w.len))
        daemon_warn(d, WARN_STORE, "%s", store_error(d->store));
}

static bool stored(void *arg, const struct vi_id *key, const void *value, size_t len)
{
    struct daemon *d = arg;
    struct owned_guest *o = place(d);
    struct vi_reader r;
    if (!o)
        return false;
    vi_reader_init(&r, value, len);
    vi_read_array(&r, 3);
    vi_read_id(&r, &o->owner);
    o->epoch = vi_read_uint(&r, UINT64_MAX);
    o->at = vi_read_int(&r, 0, INT64_MAX);
    o->guest = *key;
    o->used = vi_read_end(&r) == 0;
    return true;
}

void daemon_owner_load(struct daemon *d)
{
    (void)store_each(d->store, STORE_OWNER, stored, d);
}
