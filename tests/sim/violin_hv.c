/* The model hypervisor: which guests a host has, and their streams. A guest's memory, CPU and stall are policy_world's. */
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "tests/sim/violin_internal.h"

#define CONNECTED (10 * VI_MSEC) /* from the suspend that was asked for to a stream that arrives */
#define BUILT     (30 * VI_MSEC) /* from a stream's end to a guest that is there, paused */

/* ---- copies ---- */

struct vn_copy *vn_copy_of(const struct vn_host *h, unsigned guest)
{
    for (unsigned k = 0; k < h->n_copies; k++)
        if (h->copy[k].guest == guest)
            return &h->copy[k];
    return NULL;
}

static struct vn_copy *add_copy(struct vn_host *h, unsigned guest, enum vn_copy_state is, bool incoming)
{
    if (h->n_copies == h->copies_cap) {
        unsigned cap = h->copies_cap ? 2 * h->copies_cap : 8;
        struct vn_copy *list = realloc(h->copy, cap * sizeof *list);

        if (!list) {
            h->v->no_memory = true;
            return NULL;
        }
        h->copy = list;
        h->copies_cap = cap;
    }
    h->copy[h->n_copies] = (struct vn_copy){guest, is, incoming, ++h->next_domid};
    return &h->copy[h->n_copies++];
}

static void remove_copy(struct vn_host *h, unsigned guest)
{
    struct vn_copy *c = vn_copy_of(h, guest);

    if (!c)
        return;
    memmove(c, c + 1, (size_t)(h->copy + h->n_copies - (c + 1)) * sizeof *c);
    h->n_copies--;
    vn_gossip_takes_part(h);
}

void vn_hv_created(struct violin *v, unsigned env)
{
    for (unsigned k = 0; k < v->pw->s->env[env].guests; k++) {
        unsigned g = v->pw->env[env].first + k;
        struct vn_host *h = v->pw->guest[g].host == PW_NOWHERE ? NULL : vn_host(v, v->pw->guest[g].host);

        if (!h || vn_copy_of(h, g))
            continue;
        (void)add_copy(h, g, VN_RUNS, false);
        vn_gossip_takes_part(h);
        vn_pump(h);
    }
}

/* ---- streams ---- */

static struct vn_stream *stream_of(struct violin *v, const struct vi_id *id)
{
    struct vn_stream *x = v->streams;

    while (x && !vi_id_equal(&x->id, id))
        x = x->next;
    return x;
}

static void release(struct violin *v, struct vn_stream *x)
{
    v->pw->host[x->to].reserved_kb -= x->reserved;
    x->reserved = 0;
}

static void drop(struct violin *v, struct vn_stream *x)
{
    struct vn_stream **at = &v->streams;

    release(v, x);
    while (*at != x)
        at = &(*at)->next;
    *at = x->next;
    free(x);
}

void vn_hv_free(struct violin *v)
{
    while (v->streams)
        drop(v, v->streams);
}

/* Both ends hear of a stream that ended; the destination only if it has begun to build. */
static void tell_ends(struct violin *v, struct vn_stream *x, int err)
{
    struct vn_later l = {.kind = VN_HV, .id = x->id, .op = HANDOVER_OP_SUSPEND, .guest = x->guest, .err = err};
    struct vn_host *from = vn_host(v, x->from), *to = vn_host(v, x->to);
    const struct vn_copy *c = from ? vn_copy_of(from, x->guest) : NULL;

    x->flows = false;
    l.domid = c ? c->domid : 0;
    if (from)
        vn_after(from, 0, &l);
    l.op = HANDOVER_OP_RESTORE;
    if (to && x->restoring)
        vn_after(to, BUILT, &l);
}

static void breaks(struct violin *v, struct vn_stream *x)
{
    bool flowed = x->flows;

    if (x->broken)
        return;
    x->broken = true;
    if (flowed)
        pw_cancel(v->pw, x->guest);
    release(v, x);
    if (flowed)
        tell_ends(v, x, VI_EIO);
}

void vn_hv_end_stream(struct violin *v, const struct vi_id *id)
{
    struct vn_stream *x = stream_of(v, id);

    if (x)
        breaks(v, x);
}

void vn_hv_ended(struct violin *v, unsigned env)
{
    unsigned first = v->pw->env[env].first, n = v->pw->s->env[env].guests;

    for (struct vn_stream *x = v->streams; x; x = x->next)
        if (x->guest >= first && x->guest < first + n)
            breaks(v, x);
    for (unsigned h = 0; h < v->pw->s->n_hosts; h++)
        for (unsigned g = first; vn_host(v, h) && g < first + n; g++)
            if (vn_copy_of(vn_host(v, h), g)) {
                remove_copy(vn_host(v, h), g);
                vn_pump(vn_host(v, h));
            }
}

void vn_hv_suspend(struct vn_host *h, const struct handover_effect *fx)
{
    struct violin *v = h->v;
    struct vn_later l = {.kind = VN_HV, .id = fx->id, .op = HANDOVER_OP_SUSPEND, .domid = fx->domid,
                         .guest = vn_guest_of(v, &fx->guest->uuid)};
    const struct vn_copy *c = vn_copy_of(h, l.guest);
    unsigned to = vn_host_of(v, &fx->peer);
    struct vn_stream *x = calloc(1, sizeof *x);
    struct policy_view pv;

    if (!x || !c || c->domid != fx->domid || c->is != VN_RUNS || to == PW_NOWHERE || !vn_host(v, to)) {
        free(x);
        l.err = VI_EIO;
        vn_after(h, CONNECTED, &l);
        return;
    }
    *x = (struct vn_stream){.id = fx->id, .from = h->n, .to = to, .guest = l.guest, .flows = true,
                            .reserved = (uint32_t)v->pw->guest[l.guest].kb, .next = v->streams};
    v->streams = x;
    v->pw->host[to].reserved_kb += x->reserved;
    vn_catch_up(v);
    (void)policy_view(h->policy, vn_now(h), &fx->guest->uuid, &pv);
    pw_stream(v->pw, x->guest, to, v->cfg.stall, v->cfg.stall ? pv.entitlement_pct / 100 : 0);
    l.kind = VN_ARRIVING;
    vn_after(vn_host(v, to), CONNECTED, &l);
}

void vn_hv_restore(struct vn_host *h, const struct handover_effect *fx)
{
    struct vn_stream *x = stream_of(h->v, &fx->id);
    struct vn_later l = {.kind = VN_HV, .id = fx->id, .op = HANDOVER_OP_RESTORE,
                         .guest = vn_guest_of(h->v, &fx->guest->uuid)};

    if (x)
        x->restoring = true;
    if (!x || !x->flows) {
        l.err = x && !x->broken ? 0 : VI_EIO;
        vn_after(h, BUILT, &l);
    }
}

void vn_hv_streams(struct violin *v)
{
    for (struct vn_stream *x = v->streams; x; x = x->next)
        if (x->flows && v->pw->guest[x->guest].streamed) {
            struct vn_host *from = vn_host(v, x->from);
            struct vn_copy *c = from ? vn_copy_of(from, x->guest) : NULL;

            if (c)
                c->is = VN_SUSPENDED;
            tell_ends(v, x, 0);
        }
}

/* ---- operations that end ---- */

static void restored(struct vn_host *h, const struct vn_later *l, struct handover_event *ev)
{
    struct vn_stream *x = stream_of(h->v, &l->id);
    struct vn_copy *c;

    if (l->err || !x || x->broken || vn_copy_of(h, l->guest)) {
        ev->err = VI_EIO;
        return;
    }
    c = add_copy(h, l->guest, VN_PAUSED, true);
    if (!c) {
        ev->err = VI_ENOMEM;
        return;
    }
    ev->domid = c->domid;
    vn_gossip_takes_part(h);
}

static void unpaused(struct vn_host *h, const struct vn_later *l, struct vn_copy *c)
{
    struct vn_stream *x = stream_of(h->v, &l->id);

    c->is = VN_RUNS;
    c->incoming = false;
    if (!x)
        return;
    release(h->v, x);
    if (h->v->pw->guest[l->guest].streamed)
        pw_activate(h->v->pw, l->guest);
    drop(h->v, x);
}

static void resumed(struct vn_host *h, const struct vn_later *l, struct vn_copy *c)
{
    struct vn_stream *x = stream_of(h->v, &l->id);

    c->is = VN_RUNS;
    pw_cancel(h->v->pw, l->guest);
    if (x)
        drop(h->v, x);
}

static void query(const struct vn_copy *c, struct handover_domain *d)
{
    d->known = true;
    d->there = c != NULL;
    if (!c)
        return;
    d->domid = c->domid;
    d->incoming = c->incoming;
    d->running = c->is == VN_RUNS;
    d->paused = c->is == VN_PAUSED;
    d->suspended = c->is == VN_SUSPENDED;
}

void vn_hv_done(struct vn_host *h, const struct vn_later *l, struct handover_event *ev)
{
    struct vn_copy *c = vn_copy_of(h, l->guest);
    bool there = c && c->domid == l->domid;

    vn_catch_up(h->v);
    switch (l->op) {
    case HANDOVER_OP_SUSPEND:
        if (!there && !l->err)
            ev->err = VI_ENOTFOUND;
        if (l->err && stream_of(h->v, &l->id))
            drop(h->v, stream_of(h->v, &l->id));
        break;
    case HANDOVER_OP_RESTORE:
        restored(h, l, ev);
        break;
    case HANDOVER_OP_QUERY:
        query(c, &ev->domain);
        break;
    case HANDOVER_OP_RESUME: case HANDOVER_OP_UNPAUSE: case HANDOVER_OP_DESTROY:
        if (!there) {
            ev->err = VI_ENOTFOUND;
            break;
        }
        if (l->op == HANDOVER_OP_UNPAUSE)
            unpaused(h, l, c);
        else if (l->op == HANDOVER_OP_RESUME)
            resumed(h, l, c);
        else
            remove_copy(h, l->guest);
        break;
    default: /* no guest here has disks that move with it */
        ev->err = VI_EUNSUPPORTED;
        break;
    }
}
