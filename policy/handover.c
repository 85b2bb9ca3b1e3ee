/* The handover core's frame: events to the right machine, effects, records, operators. See handover.h. */
#include "policy/handover.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "policy/handover_internal.h"

const char *const handover_fault_points[] = {
    "handover.streaming.journalled", "handover.suspended.journalled", "handover.go.journalled",
    "handover.aborted.journalled", "handover.done.journalled", "handover.receiving.journalled",
    "handover.restored.journalled", "handover.owned.journalled", "handover.running.journalled",
    "handover.dest-aborted.journalled", "handover.stream.arriving", "handover.offer.sent", "handover.refuse.sent", "handover.reserve.sent",
    "handover.accept.sent", "handover.ready.sent", "handover.renew.sent", "handover.restored.sent",
    "handover.go.sent", "handover.running.sent", "handover.done.sent", "handover.abort.sent",
    "handover.aborted.sent", "handover.ask.sent", "handover.unknown.sent",
    "handover.lost.sent",
    /* of guests with disks */
    "handover.mirroring.journalled", "handover.complete.journalled", "handover.synced.sent", "handover.complete.sent",
    "handover.disks.made", "handover.disks.mirrored", "handover.disks.owned", "handover.disks.retired",
    "handover.disks.discarded", NULL};

const char *handover_state_text(enum handover_state st)
{
    switch (st) {
    case HS_OFFERED: return "offered";
    case HS_ACCEPTED: return "accepted";
    case HS_STREAMING: return "streaming";
    case HS_SUSPENDED: return "suspended";
    case HS_CHECKING: case HD_CHECKING: return "checking";
    case HS_GO: return "go";
    case HS_DESTROYING: return "destroying";
    case HS_DONE: case HD_DONE: return "done";
    case HS_ABORTING: case HD_ABORTING: return "aborting";
    case HS_RESUMING: return "resuming";
    case HS_ABORTED: case HD_ABORTED: return "aborted";
    case HS_REFUSED: return "refused";
    case HS_MIRRORING: return "mirroring";
    case HS_SYNCING: return "syncing";
    case HS_SYNCED: return "synced";
    case HD_ADMITTING: return "admitting";
    case HD_RESERVED: return "reserved";
    case HD_PREPARING: return "preparing";
    case HD_READY: return "ready";
    case HD_RESTORING: return "restoring";
    case HD_RESTORED: return "restored";
    case HD_OWNED: return "owned";
    case HD_RUNNING: return "running";
    case HD_LOST: return "lost";
    case HD_COMPLETING: return "completing";
    case HD_COMPLETE: return "complete";
    }
    return "?";
}

/* ---- shared by the machines ---- */

struct handover *ho_find(struct handovers *s, const struct vi_id *id)
{
    for (unsigned i = 0; i < HANDOVERS_MAX; i++)
        if (s->h[i].used && vi_id_equal(&s->h[i].id, id))
            return &s->h[i];
    return NULL;
}

/* A free place; else the oldest that is over. */
struct handover *ho_place(struct handovers *s)
{
    struct handover *old = NULL;
    for (unsigned i = 0; i < HANDOVERS_MAX; i++) {
        struct handover *h = &s->h[i];
        if (!h->used)
            return h;
        if (h->over && (!old || h->since < old->since))
            old = h;
    }
    return old;
}

struct handover_effect *ho_push(struct handovers *s, struct handover *h, enum handover_effect_kind kind)
{
    struct handover_effect *fx;
    if (s->count >= H_EFFECTS)
        return NULL; /* HANDOVERS_MAX machines leave a few effects a step each: not met; ticks try again */
    fx = &s->effects[(s->first + s->count++) % H_EFFECTS];
    memset(fx, 0, offsetof(struct handover_effect, data));
    fx->kind = kind;
    if (h) {
        fx->id = h->id;
        fx->peer = h->peer;
        fx->role = h->role;
        fx->state = h->state;
        fx->guest = &h->guest;
        fx->domid = h->domid;
        fx->epoch = h->epoch;
        snprintf(fx->why, sizeof fx->why, "%s", h->why);
    }
    return fx;
}

void ho_fault(struct handovers *s, const char *name)
{
    if (s->cfg.fault)
        s->cfg.fault(s->cfg.arg, name);
}

void ho_state(struct handovers *s, vi_time now, struct handover *h, enum handover_state st, const char *why)
{
    struct handover_effect *fx;
    enum handover_state was = h->state;
    h->state = st;
    h->since = now;
    h->wait = W_NONE;
    h->retry = RETRY;
    h->next = now + RETRY;
    if (why)
        snprintf(h->why, sizeof h->why, "%s", why);
    fx = ho_push(s, h, HANDOVER_FX_STATE);
    if (fx)
        fx->was = was;
}

void ho_over(struct handovers *s, vi_time now, struct handover *h, int err)
{
    struct handover_effect *fx;
    if (h->over)
        return;
    h->over = true;
    h->undecided = false;
    h->since = now;
    fx = ho_push(s, h, HANDOVER_FX_OVER);
    if (fx)
        fx->err = err;
    if (h->role == HANDOVER_DESTINATION && err)
        ho_push(s, h, HANDOVER_FX_UNPREPARE);
    ho_push(s, h, HANDOVER_FX_FORGET);
}

void ho_persist(struct handovers *s, struct handover *h, enum handover_state record)
{
    struct handover_effect *fx = ho_push(s, h, HANDOVER_FX_PERSIST);
    int n;
    if (!fx)
        return;
    n = ho_record_encode(h, record, fx->data, sizeof fx->data);
    fx->len = n > 0 ? (size_t)n : 0;
    h->recorded = record;
    h->wait = W_PERSIST;
}

void ho_hv(struct handovers *s, struct handover *h, enum handover_op op)
{
    struct handover_effect *fx = ho_push(s, h, HANDOVER_FX_HV);
    if (!fx)
        return;
    fx->op = op;
    h->op = op;
    h->wait = W_HV;
}

/* ---- opening ---- */

struct handovers *handovers_new(const struct handover_config *cfg, struct vi_rng *rng, vi_time now)
{
    struct handovers *s = malloc(sizeof *s);
    (void)now;
    if (!s)
        return NULL;
    memset(s, 0, offsetof(struct handovers, effects));
    s->cfg = *cfg;
    s->rng = rng;
    return s;
}

void handovers_free(struct handovers *s)
{
    free(s);
}

void handovers_set_boot(struct handovers *s, const struct vi_id *boot)
{
    s->cfg.boot = *boot;
}

const struct handover_effect *handovers_effect(struct handovers *s)
{
    const struct handover_effect *fx;
    if (s->count == 0)
        return NULL;
    fx = &s->effects[s->first];
    s->first = (s->first + 1) % H_EFFECTS;
    s->count--;
    return fx;
}

/* Does a tick concern it? A mirror takes its time, and meanwhile the lease is renewed and its progress watched. */
static bool ticks(const struct handover *h)
{
    return h->used && !h->over && (h->wait == W_NONE || (h->wait == W_HV && h->state == HS_MIRRORING));
}

vi_time handovers_deadline(const struct handovers *s)
{
    vi_time t = VI_NEVER;
    for (unsigned i = 0; i < HANDOVERS_MAX; i++) {
        const struct handover *h = &s->h[i];
        if (h->used && h->over && h->since + SHOWN_FOR + 1 < t)
            t = h->since + SHOWN_FOR + 1;
        if (ticks(h) && h->next < t)
            t = h->next;
    }
    return t;
}

/* ---- events ---- */

static int start(struct handovers *s, vi_time now, const struct handover_event *ev)
{
    struct handover *h;
    if (ev->guest->description_len > HANDOVER_DESCRIPTION || ev->guest->n_macs > TRANSFER_MACS ||
        !ho_disks_ok(ev->guest) || vi_id_equal(&ev->peer, &s->cfg.self))
        return VI_EINVAL;
    if (handover_has_guest(s, &ev->guest->uuid))
        return VI_EEXIST;
    h = ho_place(s);
    if (!h)
        return VI_EFULL;
    memset(h, 0, sizeof *h);
    h->used = true;
    h->id = ev->id;
    h->peer = ev->peer;
    h->boot = s->cfg.boot;
    h->role = HANDOVER_SOURCE;
    h->guest = *ev->guest;
    h->domid = ev->guest->domid;
    h->epoch = ev->epoch + 1;
    if (!ho_fits(h)) {
        h->used = false;
        return VI_EINVAL;
    }
    source_start(s, now, h);
    return 0;
}

static void message(struct handovers *s, vi_time now, const struct handover_event *ev)
{
    struct message m;
    struct handover *h;
    if (ho_message_decode(&m, ev->data, ev->len))
        return;
    h = ho_find(s, &m.id);
    if (!h) {
        if (m.kind == M_OFFER && !handover_has_guest(s, &m.guest.uuid))
            dest_offer(s, now, &ev->peer, &m);
        else if (m.kind == M_OFFER)
            ho_reply(s, &ev->peer, &m.id, M_REFUSE);
        else if (m.kind == M_ABORT || m.kind == M_ASK || m.kind == M_GO || m.kind == M_RESTORED ||
                 m.kind == M_RUNNING || m.kind == M_ABORTED || m.kind == M_SYNCED || m.kind == M_COMPLETE)
            ho_reply(s, &ev->peer, &m.id, M_UNKNOWN);
        return;
    }
    if (!vi_id_equal(&h->peer, &ev->peer))
        return; /* nobody else may speak in it */
    if (h->over && m.kind == M_ABORT && h->role == HANDOVER_DESTINATION && h->state == HD_ABORTED) {
        ho_send(s, h, M_ABORTED);
        return;
    }
    if (h->role == HANDOVER_SOURCE)
        source_message(s, now, h, &m);
    else
        dest_message(s, now, h, &m);
}

static void persisted(struct handovers *s, vi_time now, struct handover *h, int err, const char *why)
{
    if (h->wait != W_PERSIST)
        return;
    h->wait = W_NONE;
    if (err) { /* nothing was sent; the tick writes again */
        snprintf(h->why, sizeof h->why, "%s", why ? why : "the journal can't be written");
        h->persist_failed = true;
        h->next = now + RETRY;
        if (h->role == HANDOVER_SOURCE && h->recorded == h->state &&
            (h->state == HS_MIRRORING || (h->state == HS_STREAMING && !h->guest.n_disks))) {
            ho_send(s, h, M_ABORT); /* nothing is on any disk of ours, and nobody touched the guest */
            ho_state(s, now, h, HS_ABORTED, NULL);
            ho_over(s, now, h, VI_EIO);
        }
        return;
    }
    h->persist_failed = false;
    if (h->role == HANDOVER_SOURCE)
        source_persisted(s, now, h);
    else
        dest_persisted(s, now, h);
}

/* A write that failed is what a tick repeats first. GO and OWNED aren't: what they were written for has been looked
 * at long ago, so it is looked at again. */
static bool write_again(struct handovers *s, struct handover *h)
{
    if (!h->persist_failed)
        return false;
    if (h->state == HS_CHECKING || h->state == HD_CHECKING) {
        h->persist_failed = false;
        return false;
    }
    ho_persist(s, h, h->recorded);
    return true;
}

static void tick(struct handovers *s, vi_time now)
{
    for (unsigned i = 0; i < HANDOVERS_MAX; i++) {
        struct handover *h = &s->h[i];
        if (h->used && h->over && now - h->since > SHOWN_FOR) {
            h->used = false;
            continue;
        }
        if (!ticks(h) || h->next > now)
            continue;
        if (!write_again(s, h)) {
            if (h->role == HANDOVER_SOURCE)
                source_tick(s, now, h);
            else
                dest_tick(s, now, h);
        }
        h->retry = h->retry * 2 > RETRY_MOST ? RETRY_MOST : h->retry * 2;
        if (h->state == HS_STREAMING || h->state == HS_SUSPENDED || h->state == HS_MIRRORING)
            h->retry = LEASE_RENEW;
        if (h->next <= now)
            h->next = now + h->retry;
        if (h->until > now && h->next > h->until)
            h->next = h->until;
    }
}

static void stream_ended(struct handovers *s, vi_time now, struct handover *h, int err, const char *why)
{
    /* how the guest's copy fared is for suspend and restore to say; only a stream that never came to
     * either of them must be noticed here. Nor does it matter any more when the other has the guest: how its disks fare,
     * their own streams tell */
    if (err && h->role == HANDOVER_SOURCE && !h->restored_seen &&
        (h->state == HS_SUSPENDED || h->state == HS_SYNCING || h->state == HS_SYNCED))
        source_abort(s, now, h, why ? why : "the stream was cut");
}

/* A handover that is done, whose records only couldn't be removed. */
static struct handover *done_one(struct handovers *s)
{
    for (unsigned i = 0; i < HANDOVERS_MAX; i++)
        if (s->h[i].used && (s->h[i].recorded == HS_DONE || s->h[i].recorded == HD_RUNNING))
            return &s->h[i];
    return NULL;
}

static int take_record(struct handovers *s, const struct handover_event *ev)
{
    struct handover *h = ho_find(s, &ev->id), r;
    memset(&r, 0, sizeof r);
    int err = ho_record_decode(&r, ev->data, ev->len);
    if (err)
        return err;
    if (!h)
        h = ho_place(s);
    if (!h)
        h = done_one(s);
    if (!h)
        return VI_EFULL;
    r.used = true;
    r.id = ev->id;
    *h = r; /* each record holds all: the last one counts */
    return 0;
}

static void recover(struct handovers *s, vi_time now)
{
    for (unsigned i = 0; i < HANDOVERS_MAX; i++) {
        struct handover *h = &s->h[i];
        if (!h->used)
            continue;
        h->since = now;
        h->retry = RETRY;
        h->next = now + RETRY;
        if (h->role == HANDOVER_SOURCE)
            source_recover(s, now, h);
        else
            dest_recover(s, now, h);
    }
}

/* keep-here: this host's copy is the true one. give-up: the other's is. */
static int resolve(struct handovers *s, vi_time now, struct handover *h, bool keep)
{
    if (!h->over && (h->state == HS_ABORTED || h->state == HD_ABORTED)) {
        /* given up on this side; the other never said that it knows, and may never come back */
        ho_over(s, now, h, h->err ? h->err : VI_ECANCELED);
        return 0;
    }
    if (h->over || !h->undecided || h->wait == W_HV)
        return VI_ESTATE;
    if (keep && h->guest.n_disks && h->state == HD_RESTORED)
        return VI_ESTATE; /* its disks aren't whole here: it can't go on */
    h->undecided = false;
    if (h->role == HANDOVER_SOURCE) {
        if (keep) {
            h->err = VI_ECANCELED;
            ho_state(s, now, h, HS_ABORTING, "decided by an operator: kept here");
            ho_persist(s, h, HS_ABORTED);
        } else {
            ho_state(s, now, h, HS_DESTROYING, "decided by an operator: given up here");
            ho_hv(s, h, HANDOVER_OP_DESTROY);
        }
    } else if (h->state == HD_LOST) {
        dest_decided(s, now, h, keep, "decided by an operator");
    } else if (keep) {
        ho_state(s, now, h, HD_CHECKING, "decided by an operator: kept here");
        ho_hv(s, h, HANDOVER_OP_QUERY);
    } else {
        dest_abort(s, now, h, "decided by an operator: given up here");
    }
    return 0;
}

static int on_handover(struct handovers *s, vi_time now, struct handover *h, const struct handover_event *ev)
{
    switch (ev->kind) {
    case HANDOVER_EV_PERSISTED:
        persisted(s, now, h, ev->err, ev->why);
        break;
    case HANDOVER_EV_ADMITTED:
        dest_admitted(s, now, h, ev);
        break;
    case HANDOVER_EV_HV:
        if (h->wait != W_HV)
            break;
        h->wait = W_NONE;
        h->next = now + RETRY;
        if (h->role == HANDOVER_SOURCE)
            source_hv(s, now, h, ev);
        else
            dest_hv(s, now, h, ev);
        break;
    case HANDOVER_EV_ARRIVING:
        if (h->state == HD_READY) {
            ho_state(s, now, h, HD_RESTORING, NULL);
            ho_hv(s, h, HANDOVER_OP_RESTORE);
            ho_fault(s, "handover.stream.arriving");
        }
        break;
    case HANDOVER_EV_PROGRESS:
        source_progress(now, h, ev->done, ev->compared);
        break;
    case HANDOVER_EV_STREAM:
        stream_ended(s, now, h, ev->err, ev->why);
        break;
    case HANDOVER_EV_RESOLVE:
        return resolve(s, now, h, ev->keep);
    case HANDOVER_EV_CANCEL:
        if (h->role == HANDOVER_SOURCE)
            source_abort(s, now, h, ev->why ? ev->why : "cancelled");
        else
            dest_abort(s, now, h, ev->why ? ev->why : "cancelled");
        break;
    default:
        break;
    }
    return 0;
}

int handovers_step(struct handovers *s, vi_time now, const struct handover_event *ev)
{
    struct handover *h;
    switch (ev->kind) {
    case HANDOVER_EV_TICK: tick(s, now); return 0;
    case HANDOVER_EV_START: return start(s, now, ev);
    case HANDOVER_EV_MESSAGE: message(s, now, ev); return 0;
    case HANDOVER_EV_RECORD: return take_record(s, ev);
    case HANDOVER_EV_RECORDS_END: recover(s, now); return 0;
    default: break;
    }
    h = ho_find(s, &ev->id);
    return h ? on_handover(s, now, h, ev) : VI_ENOTFOUND;
}

/* ---- queries ---- */

static void view(const struct handover *h, struct handover_view *v)
{
    v->id = h->id;
    v->peer = h->peer;
    v->role = h->role;
    v->state = h->state;
    v->guest = &h->guest;
    v->epoch = h->epoch;
    v->since = h->since;
    v->over = h->over;
    v->undecided = h->undecided;
    v->done = h->done;
    memcpy(v->why, h->why, sizeof v->why);
}

bool handover_next(const struct handovers *s, unsigned *pos, struct handover_view *out)
{
    while (*pos < HANDOVERS_MAX) {
        const struct handover *h = &s->h[(*pos)++];
        if (h->used) {
            view(h, out);
            return true;
        }
    }
    return false;
}

bool handover_find(const struct handovers *s, const struct vi_id *id, struct handover_view *out)
{
    for (unsigned i = 0; i < HANDOVERS_MAX; i++)
        if (s->h[i].used && vi_id_equal(&s->h[i].id, id)) {
            view(&s->h[i], out);
            return true;
        }
    return false;
}

bool handover_has_guest(const struct handovers *s, const struct vi_id *uuid)
{
    for (unsigned i = 0; i < HANDOVERS_MAX; i++)
        if (s->h[i].used && !s->h[i].over && vi_id_equal(&s->h[i].guest.uuid, uuid) &&
            s->h[i].state != HS_ABORTED && s->h[i].state != HD_ABORTED && s->h[i].state != HD_RUNNING)
            return true;
    return false;
}

bool handover_expects_stream(const struct handovers *s, const struct vi_id *id, const struct vi_id *peer)
{
    for (unsigned i = 0; i < HANDOVERS_MAX; i++)
        if (s->h[i].used && vi_id_equal(&s->h[i].id, id) && vi_id_equal(&s->h[i].peer, peer))
            return s->h[i].state == HD_READY && s->h[i].wait == W_NONE;
    return false;
}

static bool is_arriving(const struct handover *h)
{
    return h->used && !h->over && h->role == HANDOVER_DESTINATION && h->state != HD_ABORTED && h->state != HD_LOST &&
           h->state != HD_RUNNING && h->state != HD_ADMITTING;
}

bool handover_brings(const struct handovers *s, const struct vi_id *uuid)
{
    for (unsigned i = 0; i < HANDOVERS_MAX; i++)
        if (is_arriving(&s->h[i]) && vi_id_equal(&s->h[i].guest.uuid, uuid))
            return true;
    return false;
}

bool handover_expects_disk(const struct handovers *s, const struct vi_id *id, const struct vi_id *peer, unsigned i)
{
    struct handover_view v;
    return handover_find(s, id, &v) && i < v.guest->n_disks && handover_expects_stream(s, id, peer);
}

bool handover_has_disk(const struct handovers *s, const struct vi_id *disk)
{
    for (unsigned i = 0; i < HANDOVERS_MAX; i++) {
        const struct handover *h = &s->h[i];
        if (!h->used || h->over || h->state == HS_ABORTED || h->state == HD_ABORTED || h->state == HD_RUNNING)
            continue;
        for (unsigned k = 0; k < h->guest.n_disks; k++)
            if (vi_id_equal(&h->guest.disks[k].id, disk))
                return true;
    }
    return false;
}

uint64_t handover_promised_sectors(const struct handovers *s)
{
    uint64_t sectors = 0;
    for (unsigned i = 0; i < HANDOVERS_MAX; i++) {
        const struct handover *h = &s->h[i];
        for (unsigned k = 0; h->used && !h->over && k < h->guest.n_disks; k++)
            if (h->state == HD_RESERVED || h->state == HD_PREPARING)
                sectors += h->guest.disks[k].sectors;
    }
    return sectors;
}

unsigned handover_promised(const struct handovers *s, uint64_t *kb, double *pct)
{
    unsigned n = 0;
    *kb = 0;
    *pct = 0;
    for (unsigned i = 0; i < HANDOVERS_MAX; i++) {
        const struct handover *h = &s->h[i];
        if (!is_arriving(h))
            continue;
        n++;
        *kb += h->guest.kb;
        *pct += h->guest.pct;
    }
    return n;
}
