/* The handover's destination: see handover.h and the tables in policy/handover.md.
 *
 * Happy path: ADMITTING → RESERVED → (ACCEPT) on disk: READY → the stream, RESTORING → on disk: RESTORED →
 * (GO) CHECKING → on disk: OWNED → unpaused, seen running → RUNNING → (DONE) forgotten.
 * It never lets the guest run without GO. From RESTORED on no timer ends it: only the source's ABORT, or
 * a person.
 *
 * With disks: room for them is made before READY is said. RESTORED → (SYNCED) COMPLETING → on disk: COMPLETE → (GO).
 * From OWNED on its copy is the true one, before that it is none: given up, it is thrown away. */
#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"
#include "policy/handover_internal.h"

static void activate(struct handovers *s, struct handover *h)
{
    struct handover_effect *fx = ho_push(s, h, HANDOVER_FX_ACTIVATE);
    if (fx) {
        fx->len = h->transfer_len;
        memcpy(fx->data, h->transfer, h->transfer_len);
    }
}

/* Nothing is held any more, or nothing that anybody decides here. Over once the source knows; it asks again if this message is lost. */
static void given_up(struct handovers *s, vi_time now, struct handover *h)
{
    ho_state(s, now, h, HD_ABORTED, NULL);
    ho_send(s, h, M_ABORTED);
    if (h->told)
        ho_over(s, now, h, VI_ECANCELED);
}

void dest_offer(struct handovers *s, vi_time now, const struct vi_id *from, const struct message *m)
{
    struct handover *h = ho_place(s);
    if (!h) {
        ho_reply(s, from, &m->id, M_REFUSE);
        return;
    }
    memset(h, 0, sizeof *h);
    h->used = true;
    h->id = m->id;
    h->peer = *from;
    h->boot = s->cfg.boot;
    h->role = HANDOVER_DESTINATION;
    h->guest = m->guest;
    h->epoch = m->epoch;
    h->until = now + LEASE;
    ho_state(s, now, h, HD_ADMITTING, "");
    h->wait = W_ADMIT;
    ho_push(s, h, HANDOVER_FX_ADMIT);
}

/* An old copy is good to build on if the source can tell what has changed since. */
static void agree_on_bases(struct handover *h, const struct vi_id *bases)
{
    for (unsigned i = 0; i < h->guest.n_disks; i++) {
        struct handover_disk *k = &h->guest.disks[i];
        k->base = !vi_id_is_zero(&k->since) && vi_id_equal(&bases[i], &k->since);
    }
}

void dest_admitted(struct handovers *s, vi_time now, struct handover *h, const struct handover_event *ev)
{
    if (h->state != HD_ADMITTING)
        return;
    if (ev->err) {
        ho_state(s, now, h, HD_ABORTED, ev->why ? ev->why : vi_strerror(ev->err));
        ho_send(s, h, M_REFUSE);
        ho_over(s, now, h, ev->err);
        return;
    }
    agree_on_bases(h, ev->bases);
    h->until = now + LEASE;
    ho_state(s, now, h, HD_RESERVED, NULL);
    ho_send(s, h, M_RESERVE);
}

/* Before the first record: the lease goes, nothing else is held. */
static void let_go(struct handovers *s, vi_time now, struct handover *h, const char *why)
{
    ho_state(s, now, h, HD_ABORTED, why);
    ho_over(s, now, h, VI_ECANCELED);
}

void dest_abort(struct handovers *s, vi_time now, struct handover *h, const char *why)
{
    enum wait wait = h->wait;
    if (h->state == HD_CHECKING && wait == W_PERSIST)
        return; /* OWNED is being written: who asks now is told RUNNING */
    switch (h->state) {
    case HD_ADMITTING: case HD_RESERVED:
        let_go(s, now, h, why);
        break;
    case HD_PREPARING: case HD_READY: case HD_RESTORING: case HD_RESTORED: case HD_COMPLETING: case HD_COMPLETE:
    case HD_CHECKING:
        ho_push(s, h, HANDOVER_FX_END_STREAM);
        ho_state(s, now, h, HD_ABORTING, why);
        h->undecided = false;
        /* what is under way ends first; it is judged then */
        if (wait == W_HV || wait == W_PERSIST)
            h->wait = wait;
        else
            ho_persist(s, h, HD_ABORTED);
        break;
    default:
        break;
    }
}

/* Its disks here are the true ones before it runs on them. */
static void owned(struct handovers *s, struct handover *h)
{
    activate(s, h);
    ho_hv(s, h, h->guest.n_disks ? HANDOVER_OP_OWN : HANDOVER_OP_UNPAUSE);
}

/* Nothing of the guest stays here: its disks neither. */
static void nothing_stays(struct handovers *s, vi_time now, struct handover *h)
{
    if (h->guest.n_disks && !h->disks_done)
        ho_hv(s, h, HANDOVER_OP_DISCARD);
    else
        given_up(s, now, h);
}

void dest_decided(struct handovers *s, vi_time now, struct handover *h, bool keep, const char *why)
{
    if (!h->guest.n_disks) {
        let_go(s, now, h, why);
        return;
    }
    h->let_go_then = true;
    snprintf(h->why, sizeof h->why, "%s", why);
    ho_hv(s, h, keep ? HANDOVER_OP_OWN : HANDOVER_OP_DISCARD);
}

/* All of it is here once the source has finished and what came is on the disk. */
static void synced(struct handovers *s, vi_time now, struct handover *h)
{
    h->synced = true;
    if (h->state == HD_RESTORED && h->wait == W_NONE) {
        ho_state(s, now, h, HD_COMPLETING, NULL);
        ho_hv(s, h, HANDOVER_OP_COMPLETE);
    } else if (h->state == HD_COMPLETE && h->wait == W_NONE)
        ho_send(s, h, M_COMPLETE);
    else if (h->state == HD_ABORTED)
        ho_send(s, h, M_ABORTED);
}

/* GO may come: for a guest with disks only once they are complete. */
static bool waits_for_go(const struct handover *h)
{
    return h->state == (h->guest.n_disks ? HD_COMPLETE : HD_RESTORED) && h->wait == W_NONE;
}

static void take_go(struct handovers *s, vi_time now, struct handover *h, const struct message *m)
{
    struct transfer t;
    uint8_t pk[32];
    if (transfer_decode(&t, m->transfer, m->transfer_len) || !s->cfg.key_of(s->cfg.arg, &h->peer, pk) ||
        transfer_verify(m->transfer, m->transfer_len, pk) || !vi_id_equal(&t.handover, &h->id) ||
        !vi_id_equal(&t.guest, &h->guest.uuid) || !vi_id_equal(&t.from, &h->peer) ||
        !vi_id_equal(&t.to, &s->cfg.self) || t.epoch != h->epoch || !vi_id_equal(&t.env, &h->guest.env) ||
        t.n_macs != h->guest.n_macs || memcmp(t.macs, h->guest.macs, t.n_macs * sizeof t.macs[0]) != 0)
        return;
    memcpy(h->transfer, m->transfer, m->transfer_len);
    h->transfer_len = m->transfer_len;
    h->undecided = false;
    ho_state(s, now, h, HD_CHECKING, "");
    ho_hv(s, h, HANDOVER_OP_QUERY);
}

void dest_message(struct handovers *s, vi_time now, struct handover *h, const struct message *m)
{
    switch (m->kind) {
    case M_OFFER:
        if (h->state == HD_RESERVED)
            ho_send(s, h, M_RESERVE);
        else if (h->state == HD_ABORTED)
            ho_send(s, h, M_REFUSE);
        break;
    case M_ACCEPT:
        if (h->state == HD_RESERVED) {
            ho_state(s, now, h, HD_PREPARING, NULL);
            ho_push(s, h, HANDOVER_FX_PREPARE);
            ho_persist(s, h, HD_READY);
        } else if (h->state == HD_READY)
            ho_send(s, h, M_READY);
        break;
    case M_RENEW:
        if (h->state == HD_RESERVED)
            h->until = now + LEASE;
        else if (h->state == HD_READY && h->wait == W_NONE)
            h->until = now + SILENT_FOR;
        else if (h->state == HD_RESTORED && h->wait == W_NONE)
            ho_send(s, h, M_RESTORED);
        else if (h->state == HD_ABORTED)
            ho_send(s, h, M_ABORTED);
        break;
    case M_SYNCED:
        if (h->guest.n_disks)
            synced(s, now, h);
        break;
    case M_GO:
        if (waits_for_go(h))
            take_go(s, now, h, m);
        else if (h->state == HD_RUNNING)
            ho_send(s, h, M_RUNNING);
        else if (h->state == HD_LOST)
            ho_send(s, h, M_LOST);
        else if (h->state == HD_ABORTED)
            ho_send(s, h, M_ABORTED);
        break;
    case M_ABORT:
        h->told = true;
        if (h->state == HD_ABORTED)
            given_up(s, now, h);
        else if (h->state == HD_LOST && h->wait != W_HV)
            nothing_stays(s, now, h);
        else
            dest_abort(s, now, h, "given up by the source");
        break;
    case M_DONE:
        if (h->state == HD_LOST && h->wait != W_HV) /* its copy there is gone: what is here of its disks is all there is */
            dest_decided(s, now, h, true, "decided by an operator at the source");
        else if (h->state == HD_RUNNING) {
            ho_state(s, now, h, HD_DONE, "");
            ho_over(s, now, h, 0);
        }
        break;
    case M_ASK:
        if (h->wait != W_NONE)
            break;
        if (h->state == HD_RESTORED)
            ho_send(s, h, M_RESTORED);
        else if (h->state == HD_COMPLETE)
            ho_send(s, h, M_COMPLETE);
        else if (h->state == HD_RUNNING)
            ho_send(s, h, M_RUNNING);
        else if (h->state == HD_ABORTED)
            ho_send(s, h, M_ABORTED);
        break;
    case M_UNKNOWN:
        if (h->state == HD_RESTORED || h->state == HD_COMPLETE) {
            h->undecided = true;
            snprintf(h->why, sizeof h->why,
                     "the source has lost its journal: look whether the guest runs there, then resolve");
        } else if (h->state == HD_ABORTED)
            ho_over(s, now, h, VI_ECANCELED);
        else if (h->state == HD_LOST && !h->guest.n_disks)
            let_go(s, now, h, "the source knows of it no more");
        else if (h->state == HD_LOST) /* its disks are here, and perhaps there: not thrown away, and not started from */
            snprintf(h->why, sizeof h->why, "the source knows of it no more: look whether it has the guest, then resolve");
        else if (h->state == HD_RUNNING) { /* it has forgotten because it is done */
            ho_state(s, now, h, HD_DONE, "");
            ho_over(s, now, h, 0);
        }
        break;
    default:
        break;
    }
}

/* Another handover of this guest has a copy here. */
static bool comes_otherwise(const struct handovers *s, const struct handover *h)
{
    for (unsigned i = 0; i < HANDOVERS_MAX; i++) {
        const struct handover *o = &s->h[i];
        if (o != h && o->used && !o->over && o->role == HANDOVER_DESTINATION &&
            vi_id_equal(&o->guest.uuid, &h->guest.uuid) && o->state != HD_ABORTED)
            return true;
    }
    return false;
}

/* ABORTED is on the disk: nothing of the copy stays. A peer before us may have left one that it had no
 * time to write down. */
static void clean_up(struct handovers *s, vi_time now, struct handover *h)
{
    if (h->domid)
        ho_hv(s, h, HANDOVER_OP_DESTROY);
    else if (h->recovered && vi_id_equal(&h->boot, &s->cfg.boot) && !comes_otherwise(s, h))
        ho_hv(s, h, HANDOVER_OP_QUERY);
    else
        nothing_stays(s, now, h);
}

static void ready(struct handovers *s, vi_time now, struct handover *h)
{
    h->until = now + SILENT_FOR;
    ho_state(s, now, h, HD_READY, NULL);
    ho_send(s, h, M_READY);
}

void dest_persisted(struct handovers *s, vi_time now, struct handover *h)
{
    if (h->state == HD_ABORTING && h->recorded != HD_ABORTED) {
        ho_persist(s, h, HD_ABORTED);
        return;
    }
    switch (h->recorded) {
    case HD_READY:
        ho_fault(s, "handover.receiving.journalled");
        if (h->guest.n_disks)
            ho_hv(s, h, HANDOVER_OP_MAKE);
        else
            ready(s, now, h);
        break;
    case HD_RESTORED:
        ho_fault(s, "handover.restored.journalled");
        ho_state(s, now, h, HD_RESTORED, NULL);
        ho_send(s, h, M_RESTORED);
        if (h->synced)
            synced(s, now, h);
        break;
    case HD_COMPLETE:
        ho_fault(s, "handover.complete.journalled");
        ho_state(s, now, h, HD_COMPLETE, NULL);
        ho_send(s, h, M_COMPLETE);
        break;
    case HD_OWNED:
        ho_fault(s, "handover.owned.journalled");
        ho_state(s, now, h, HD_OWNED, NULL);
        owned(s, h);
        break;
    case HD_RUNNING:
        ho_fault(s, "handover.running.journalled");
        ho_state(s, now, h, HD_RUNNING, "");
        ho_send(s, h, M_RUNNING);
        break;
    case HD_ABORTED:
        ho_fault(s, "handover.dest-aborted.journalled");
        ho_push(s, h, HANDOVER_FX_UNPREPARE);
        clean_up(s, now, h);
        break;
    case HD_LOST:
        ho_state(s, now, h, HD_LOST, NULL);
        break;
    default:
        break;
    }
}

static void looked(struct handovers *s, vi_time now, struct handover *h, const struct handover_domain *d)
{
    bool ours = d->there && d->domid == h->domid;
    if (h->state == HD_ABORTING && h->recorded != HD_ABORTED) { /* given up while we asked */
        ho_persist(s, h, HD_ABORTED);
        return;
    }
    if (!d->known) {
        h->wait = W_NONE;
        return;
    }
    switch (h->state) {
    case HD_CHECKING:
        if (ours && (d->paused || d->running))
            ho_persist(s, h, HD_OWNED);
        else { /* somebody ended it here: it lives on at the source */
            h->domid = ours ? h->domid : 0;
            ho_state(s, now, h, HD_ABORTING, "the received copy is gone");
            ho_persist(s, h, HD_ABORTED);
        }
        break;
    case HD_OWNED:
        if (h->guest.n_disks && !h->disks_done)
            ho_hv(s, h, HANDOVER_OP_OWN); /* before all else: whatever becomes of the guest, they are its disks */
        else if (d->there && d->running) { /* in another domain by now, if it was rebooted meanwhile */
            h->domid = d->domid;
            ho_persist(s, h, HD_RUNNING);
        } else if (ours && d->paused)
            ho_hv(s, h, HANDOVER_OP_UNPAUSE);
        else if (d->there && d->paused)
            h->wait = W_NONE; /* rebooting: being built; looked at again by the tick */
        else { /* it is ours, and it or somebody ended it: the old copy must not come back */
            snprintf(h->why, sizeof h->why, "ended here after it was taken over");
            ho_persist(s, h, HD_RUNNING);
        }
        break;
    case HD_ABORTING:
        if (d->there && d->incoming && !d->running) {
            h->domid = d->domid;
            ho_hv(s, h, HANDOVER_OP_DESTROY);
        } else
            nothing_stays(s, now, h);
        break;
    default:
        h->wait = W_NONE;
        break;
    }
}

static void restored(struct handovers *s, vi_time now, struct handover *h, const struct handover_event *ev)
{
    if (!ev->err)
        h->domid = ev->domid;
    if (h->state == HD_ABORTING)
        ho_persist(s, h, HD_ABORTED);
    else if (ev->err) {
        ho_state(s, now, h, HD_ABORTING, ev->why ? ev->why : "the guest could not be built");
        ho_persist(s, h, HD_ABORTED);
    } else
        ho_persist(s, h, HD_RESTORED);
}

/* The disks' part of it ended. */
static void disks_done(struct handovers *s, vi_time now, struct handover *h, const struct handover_event *ev)
{
    bool making = h->op == HANDOVER_OP_MAKE || h->op == HANDOVER_OP_COMPLETE;
    if (making && h->state == HD_ABORTING) { /* given up meanwhile */
        ho_persist(s, h, HD_ABORTED);
        return;
    }
    if (making && ev->err) {
        ho_state(s, now, h, HD_ABORTING, ev->why ? ev->why : "its disks could not be taken");
        ho_persist(s, h, HD_ABORTED);
        return;
    }
    if (ev->err) { /* asked again by the tick, or when the source says it again */
        h->wait = W_NONE;
        return;
    }
    switch (h->op) {
    case HANDOVER_OP_MAKE:
        ho_fault(s, "handover.disks.made");
        ready(s, now, h);
        break;
    case HANDOVER_OP_COMPLETE:
        ho_persist(s, h, HD_COMPLETE);
        break;
    case HANDOVER_OP_OWN:
        h->disks_done = true;
        ho_fault(s, "handover.disks.owned");
        if (h->let_go_then)
            let_go(s, now, h, NULL);
        else
            ho_hv(s, h, HANDOVER_OP_UNPAUSE);
        break;
    default: /* DISCARD */
        h->disks_done = true;
        ho_fault(s, "handover.disks.discarded");
        if (h->let_go_then)
            let_go(s, now, h, NULL);
        else
            given_up(s, now, h);
        break;
    }
}

void dest_hv(struct handovers *s, vi_time now, struct handover *h, const struct handover_event *ev)
{
    switch (h->op) {
    case HANDOVER_OP_RESTORE:
        restored(s, now, h, ev);
        break;
    case HANDOVER_OP_QUERY:
        looked(s, now, h, &ev->domain);
        break;
    case HANDOVER_OP_UNPAUSE:
        ho_hv(s, h, HANDOVER_OP_QUERY); /* seen, not believed */
        break;
    case HANDOVER_OP_DESTROY:
        if (ev->err && ev->err != VI_ENOTFOUND) {
            h->wait = W_NONE;
            break;
        }
        h->domid = 0;
        nothing_stays(s, now, h);
        break;
    case HANDOVER_OP_MAKE: case HANDOVER_OP_COMPLETE: case HANDOVER_OP_OWN: case HANDOVER_OP_DISCARD:
        disks_done(s, now, h, ev);
        break;
    default:
        break;
    }
}

void dest_tick(struct handovers *s, vi_time now, struct handover *h)
{
    switch (h->state) {
    case HD_RESERVED:
        if (now >= h->until)
            let_go(s, now, h, "the lease ran out");
        break;
    case HD_READY:
        if (now >= h->until)
            dest_abort(s, now, h, "no stream came");
        else
            ho_send(s, h, M_READY);
        break;
    case HD_RESTORED:
        ho_send(s, h, h->recovered ? M_ASK : M_RESTORED);
        break;
    case HD_COMPLETE:
        ho_send(s, h, h->recovered ? M_ASK : M_COMPLETE);
        break;
    case HD_PREPARING:
        ho_persist(s, h, HD_READY);
        break;
    case HD_ABORTING:
        ho_persist(s, h, HD_ABORTED);
        break;
    case HD_CHECKING: case HD_OWNED:
        ho_hv(s, h, HANDOVER_OP_QUERY);
        break;
    case HD_RUNNING:
        ho_send(s, h, M_RUNNING);
        break;
    case HD_LOST: /* has somebody decided? */
        ho_send(s, h, M_ASK);
        break;
    case HD_RESTORING: /* its record could not be written: tried again */
        if (h->domid)
            ho_persist(s, h, HD_RESTORED);
        break;
    case HD_ABORTED:
        ho_send(s, h, M_ABORTED);
        break;
    default:
        break;
    }
}

void dest_recover(struct handovers *s, vi_time now, struct handover *h)
{
    bool same_boot = vi_id_equal(&h->boot, &s->cfg.boot);
    h->recovered = true;
    switch (h->recorded) {
    case HD_READY:
        /* a partial copy went with the agent's helper, or is an incoming domain: found by its UUID */
        ho_state(s, now, h, HD_ABORTING, "the destination's peer was restarted");
        ho_persist(s, h, HD_ABORTED);
        break;
    case HD_RESTORED: case HD_COMPLETE:
        if (same_boot) {
            ho_state(s, now, h, h->recorded, "asking the source");
            ho_push(s, h, HANDOVER_FX_PREPARE);
            ho_send(s, h, M_ASK);
        } else {
            h->domid = 0;
            ho_state(s, now, h, HD_ABORTING, "the destination's host was restarted");
            ho_persist(s, h, HD_ABORTED);
        }
        break;
    case HD_OWNED:
        if (same_boot) {
            ho_push(s, h, HANDOVER_FX_PREPARE);
            ho_state(s, now, h, HD_OWNED, "");
            owned(s, h);
        } else {
            h->undecided = true;
            ho_state(s, now, h, HD_LOST, "the host was restarted after it took the guest over, before it was seen running");
            ho_persist(s, h, HD_LOST);
        }
        break;
    case HD_RUNNING:
        ho_state(s, now, h, HD_RUNNING, "");
        ho_send(s, h, M_RUNNING);
        break;
    case HD_ABORTED:
        ho_state(s, now, h, HD_ABORTING, h->why);
        if (!same_boot)
            h->domid = 0;
        clean_up(s, now, h);
        break;
    case HD_LOST:
        h->undecided = true;
        ho_state(s, now, h, HD_LOST, h->why);
        break;
    default:
        ho_over(s, now, h, 0);
        break;
    }
}
