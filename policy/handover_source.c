/* The handover's source: see handover.h and the tables in policy/handover.md.
 *
 * Happy path: OFFERED → (RESERVE) ACCEPTED → (READY) STREAMING → suspended, on disk: SUSPENDED →
 * (RESTORED) CHECKING → on disk: GO → (RUNNING) DESTROYING → on disk: DONE.
 * Everything before GO may be given up: on disk ABORTED, then the guest goes on, then the other is told.
 *
 * With disks: (READY) on disk: MIRRORING → all in sync: STREAMING → SUSPENDED → SYNCING, what was under way is written
 * on both sides → SYNCED, said → (COMPLETE) CHECKING. Given up: the mirror is taken down before the guest goes on. */
#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"
#include "policy/handover_internal.h"

void source_start(struct handovers *s, vi_time now, struct handover *h)
{
    h->until = now + OFFER_FOR;
    ho_state(s, now, h, HS_OFFERED, "");
    ho_send(s, h, M_OFFER);
}

/* Before anything was streamed there is nothing to journal: nobody holds anything but a lease. */
static void give_up_early(struct handovers *s, vi_time now, struct handover *h, enum handover_state st,
                          const char *why)
{
    ho_send(s, h, M_ABORT);
    ho_state(s, now, h, st, why);
    ho_over(s, now, h, VI_EREFUSED);
}

void source_abort(struct handovers *s, vi_time now, struct handover *h, const char *why)
{
    enum wait wait = h->wait;
    switch (h->state) {
    case HS_OFFERED: case HS_ACCEPTED:
        give_up_early(s, now, h, HS_ABORTED, why);
        break;
    case HS_MIRRORING: case HS_STREAMING: case HS_SUSPENDED: case HS_SYNCING: case HS_SYNCED: case HS_CHECKING:
        ho_push(s, h, HANDOVER_FX_END_STREAM);
        h->err = VI_ECANCELED;
        ho_state(s, now, h, HS_ABORTING, why);
        /* what is under way ends first: a suspend's end tells whether there is something to resume */
        if (wait == W_HV || wait == W_PERSIST)
            h->wait = wait;
        else
            ho_persist(s, h, HS_ABORTED);
        break;
    default: /* GO is on the disk, or it is being given up already */
        break;
    }
}

static void check(struct handovers *s, vi_time now, struct handover *h)
{
    ho_state(s, now, h, HS_CHECKING, NULL);
    ho_hv(s, h, HANDOVER_OP_QUERY);
}

/* The destination has room for the disks, on what it has of them. */
static void reserved(struct handovers *s, vi_time now, struct handover *h, const struct message *m)
{
    if (m->n_bases != h->guest.n_disks)
        return;
    for (unsigned i = 0; i < m->n_bases; i++)
        if (m->bases[i] && vi_id_is_zero(&h->guest.disks[i].since))
            return; /* there can't be one */
    for (unsigned i = 0; i < m->n_bases; i++)
        h->guest.disks[i].base = m->bases[i];
    h->until = now + (h->guest.n_disks ? DISKS_FOR : OFFER_FOR);
    ho_state(s, now, h, HS_ACCEPTED, NULL);
    ho_send(s, h, M_ACCEPT);
}

/* On disk before anything touches the guest or its disks: a restart must know what may have been begun. */
static void ready_there(struct handovers *s, vi_time now, struct handover *h)
{
    enum handover_state st = h->guest.n_disks ? HS_MIRRORING : HS_STREAMING;
    ho_state(s, now, h, st, NULL);
    ho_persist(s, h, st);
}

static void restored_there(struct handovers *s, vi_time now, struct handover *h)
{
    h->restored_seen = true;
    switch (h->state) {
    case HS_SUSPENDED:
        if (h->wait == W_NONE && !h->guest.n_disks)
            check(s, now, h);
        else if (h->wait == W_NONE && h->restarted)
            source_abort(s, now, h, "its disks were not complete at the destination when this host was restarted");
        break;
    case HS_SYNCED:
        if (h->wait == W_NONE)
            ho_send(s, h, M_SYNCED);
        break;
    case HS_GO:
        if (h->wait == W_NONE)
            ho_send(s, h, M_GO);
        break;
    case HS_ABORTED:
        ho_send(s, h, M_ABORT);
        break;
    default:
        break;
    }
}

static void complete_there(struct handovers *s, vi_time now, struct handover *h)
{
    bool waits = h->state == HS_SYNCED || (h->state == HS_SUSPENDED && h->restarted);
    if (!h->guest.n_disks)
        return;
    h->complete = true;
    if (waits && h->wait == W_NONE)
        check(s, now, h);
    else if (h->state == HS_GO && h->wait == W_NONE)
        ho_send(s, h, M_GO);
    else if (h->state == HS_ABORTED)
        ho_send(s, h, M_ABORT);
}

static void running_there(struct handovers *s, vi_time now, struct handover *h)
{
    h->undecided = false;
    ho_state(s, now, h, HS_DESTROYING, "");
    ho_hv(s, h, HANDOVER_OP_DESTROY);
}

void source_message(struct handovers *s, vi_time now, struct handover *h, const struct message *m)
{
    switch (m->kind) {
    case M_REFUSE:
        if (h->state == HS_OFFERED || h->state == HS_ACCEPTED) {
            ho_state(s, now, h, HS_REFUSED, m->why);
            ho_over(s, now, h, VI_EREFUSED);
        }
        break;
    case M_RESERVE:
        if (h->state == HS_OFFERED)
            reserved(s, now, h, m);
        break;
    case M_READY:
        if (h->state == HS_ACCEPTED)
            ready_there(s, now, h);
        break;
    case M_RESTORED:
        restored_there(s, now, h);
        break;
    case M_COMPLETE:
        complete_there(s, now, h);
        break;
    case M_RUNNING:
        if (h->state == HS_GO && h->wait == W_NONE)
            running_there(s, now, h);
        else if (h->state == HS_DONE)
            ho_send(s, h, M_DONE);
        break;
    case M_ASK:
        if (h->state == HS_GO && h->wait == W_NONE)
            ho_send(s, h, M_GO);
        else if (h->state == HS_ABORTED)
            ho_send(s, h, M_ABORT);
        else if (h->state == HS_DONE)
            ho_send(s, h, M_DONE);
        break;
    case M_ABORTED:
        if (h->state == HS_GO) {
            /* it journalled that before OWNED, so it doesn't run there and never will */
            h->undecided = false;
            h->resume_it = true;
            ho_state(s, now, h, HS_ABORTING, m->why[0] ? m->why : "given up by the destination");
            h->err = VI_EREFUSED;
            if (h->wait == W_NONE)
                ho_persist(s, h, HS_ABORTED);
        } else if (h->state == HS_ABORTED) {
            h->recovered = true; /* both know: the journal may forget it */
            ho_over(s, now, h, h->err ? h->err : VI_ECANCELED);
        } else
            source_abort(s, now, h, m->why[0] ? m->why : "given up by the destination");
        break;
    case M_UNKNOWN:
        if (h->state == HS_GO) {
            h->undecided = true;
            snprintf(h->why, sizeof h->why,
                     "the destination has lost its journal: look whether the guest runs there, then resolve");
        } else if (h->state == HS_ABORTED) {
            h->recovered = true;
            ho_over(s, now, h, h->err ? h->err : VI_ECANCELED);
        } else
            source_abort(s, now, h, "the destination has forgotten it");
        break;
    case M_LOST: /* it may have run there for a while: which copy is the true one, only a person can say */
        if (h->state == HS_GO) {
            h->undecided = true;
            snprintf(h->why, sizeof h->why,
                     "the destination took the guest over, and its host was restarted before it was seen running");
        }
        break;
    default:
        break;
    }
}

static void given(struct handovers *s, struct handover *h)
{
    struct handover_effect *fx = ho_push(s, h, HANDOVER_FX_GIVEN);
    if (fx) {
        fx->len = h->transfer_len;
        memcpy(fx->data, h->transfer, h->transfer_len);
    }
}

static void journalled_go(struct handovers *s, vi_time now, struct handover *h)
{
    given(s, h);
    ho_state(s, now, h, HS_GO, NULL);
    ho_send(s, h, M_GO);
}

/* Another handover of this guest has its copy in hand: what an older one left is not for us to resume. */
static bool moves_otherwise(const struct handovers *s, const struct handover *h)
{
    for (unsigned i = 0; i < HANDOVERS_MAX; i++) {
        const struct handover *o = &s->h[i];
        if (o != h && o->used && !o->over && o->role == HANDOVER_SOURCE &&
            vi_id_equal(&o->guest.uuid, &h->guest.uuid) && o->state != HS_ABORTED && o->state != HS_RESUMING)
            return true;
    }
    return false;
}

/* SUSPENDED is on the disk. */
static void suspended_here(struct handovers *s, vi_time now, struct handover *h)
{
    h->until = now + 2 * SILENT_FOR;
    ho_state(s, now, h, HS_SUSPENDED, NULL);
    if (h->guest.n_disks) {
        ho_state(s, now, h, HS_SYNCING, NULL);
        ho_hv(s, h, HANDOVER_OP_FINISH);
    } else if (h->restored_seen)
        check(s, now, h);
}

/* ABORTED is on the disk: the mirror is taken down, then the guest goes on. Not where another handover of the guest
 * has it in hand. */
static void resuming(struct handovers *s, struct handover *h)
{
    if (h->guest.n_disks && !h->disks_done && !moves_otherwise(s, h))
        ho_hv(s, h, HANDOVER_OP_UNMIRROR);
    else
        ho_hv(s, h, HANDOVER_OP_QUERY);
}

void source_persisted(struct handovers *s, vi_time now, struct handover *h)
{
    switch (h->recorded) {
    case HS_MIRRORING:
        ho_fault(s, "handover.mirroring.journalled");
        if (h->state == HS_ABORTING) {
            ho_persist(s, h, HS_ABORTED);
            break;
        }
        h->until = now + DISKS_FOR;
        ho_hv(s, h, HANDOVER_OP_MIRROR);
        break;
    case HS_STREAMING:
        ho_fault(s, "handover.streaming.journalled");
        if (h->state == HS_ABORTING)
            ho_persist(s, h, HS_ABORTED);
        else
            ho_hv(s, h, HANDOVER_OP_SUSPEND);
        break;
    case HS_SUSPENDED:
        ho_fault(s, "handover.suspended.journalled");
        if (h->state == HS_ABORTING) {
            ho_persist(s, h, HS_ABORTED);
            break;
        }
        suspended_here(s, now, h);
        break;
    case HS_GO:
        ho_fault(s, "handover.go.journalled");
        if (h->state == HS_ABORTING) /* given up while it was written: nobody was told of it */
            ho_persist(s, h, HS_ABORTED);
        else
            journalled_go(s, now, h);
        break;
    case HS_ABORTED:
        ho_fault(s, "handover.aborted.journalled");
        ho_state(s, now, h, HS_RESUMING, NULL);
        resuming(s, h);
        break;
    case HS_DONE:
        ho_fault(s, "handover.done.journalled");
        ho_state(s, now, h, HS_DONE, "");
        ho_send(s, h, M_DONE);
        ho_over(s, now, h, 0);
        break;
    default:
        break;
    }
}

static void write_go(struct handovers *s, vi_time now, struct handover *h)
{
    struct transfer t = {.handover = h->id, .guest = h->guest.uuid, .env = h->guest.env, .from = s->cfg.self,
                         .to = h->peer, .epoch = h->epoch, .n_macs = h->guest.n_macs};
    int n;
    memcpy(t.macs, h->guest.macs, sizeof t.macs);
    n = transfer_sign(&t, s->cfg.sign_key, h->transfer, sizeof h->transfer);
    if (n < 0) {
        source_abort(s, now, h, "the transfer can't be signed");
        return;
    }
    h->transfer_len = (size_t)n;
    ho_persist(s, h, HS_GO);
}

/* The answer to a QUERY, by what it was asked for. */
static void looked(struct handovers *s, vi_time now, struct handover *h, const struct handover_domain *d)
{
    bool ours = d->there && d->domid == h->domid;
    if (h->state == HS_ABORTING) { /* given up while we asked */
        ho_persist(s, h, HS_ABORTED);
        return;
    }
    if (!d->known) { /* asked again by the tick */
        h->wait = W_NONE;
        return;
    }
    if (h->state == HS_CHECKING) {
        /* after a reboot of this host our copy is gone, and the other's is all there is */
        if (h->restarted ? !d->there && !d->mac_taken : ours && d->suspended)
            write_go(s, now, h);
        else
            source_abort(s, now, h, "the guest isn't suspended any more: somebody else touched it");
    } else if (h->state == HS_RESUMING) {
        if (ours && vi_id_equal(&h->boot, &s->cfg.boot) && !moves_otherwise(s, h) &&
            (d->suspended || (d->running && h->suspending)))
            ho_hv(s, h, HANDOVER_OP_RESUME);
        else { /* it runs on, or somebody ended it: nothing to resume */
            ho_state(s, now, h, HS_ABORTED, NULL);
            ho_send(s, h, M_ABORT);
        }
    }
}

static void suspended(struct handovers *s, vi_time now, struct handover *h, const struct handover_event *ev)
{
    if (h->state == HS_ABORTING || ev->err) {
        char why[HANDOVER_WHY];
        snprintf(why, sizeof why, "%s", h->state == HS_ABORTING ? h->why : ev->why ? ev->why : "the stream failed");
        if (h->state != HS_ABORTING)
            ho_state(s, now, h, HS_ABORTING, why);
        h->err = VI_EIO;
        ho_persist(s, h, HS_ABORTED);
        return;
    }
    h->suspend_done = true;
    ho_persist(s, h, HS_SUSPENDED);
}

/* The disks' part of it ended. */
static void disks_done(struct handovers *s, vi_time now, struct handover *h, const struct handover_event *ev)
{
    if (h->state == HS_ABORTING) { /* given up meanwhile */
        ho_persist(s, h, HS_ABORTED);
        return;
    }
    if (ev->err && (h->op == HANDOVER_OP_MIRROR || h->op == HANDOVER_OP_FINISH)) {
        h->err = VI_EIO;
        ho_state(s, now, h, HS_ABORTING, ev->why ? ev->why : "its disks could not be copied");
        ho_persist(s, h, HS_ABORTED);
        return;
    }
    if (ev->err) { /* asked again by the tick */
        h->wait = W_NONE;
        return;
    }
    switch (h->op) {
    case HANDOVER_OP_MIRROR:
        ho_fault(s, "handover.disks.mirrored");
        ho_state(s, now, h, HS_STREAMING, NULL);
        ho_persist(s, h, HS_STREAMING);
        break;
    case HANDOVER_OP_FINISH:
        h->until = now + 2 * SILENT_FOR;
        ho_state(s, now, h, HS_SYNCED, NULL);
        ho_send(s, h, M_SYNCED);
        break;
    case HANDOVER_OP_UNMIRROR:
        h->disks_done = true;
        ho_hv(s, h, HANDOVER_OP_QUERY);
        break;
    default: /* RETIRE */
        ho_fault(s, "handover.disks.retired");
        ho_persist(s, h, HS_DONE);
        break;
    }
}

/* What is in sync may be less for a while, where the guest writes; only more than ever before counts as progress. */
void source_progress(vi_time now, struct handover *h, uint64_t done, uint64_t compared)
{
    if (h->state != HS_MIRRORING || h->wait != W_HV)
        return;
    h->done = done;
    if (done <= h->most && compared <= h->compared)
        return;
    h->most = done > h->most ? done : h->most;
    h->compared = compared > h->compared ? compared : h->compared;
    h->until = now + DISKS_FOR;
}

void source_hv(struct handovers *s, vi_time now, struct handover *h, const struct handover_event *ev)
{
    switch (h->op) {
    case HANDOVER_OP_SUSPEND:
        suspended(s, now, h, ev);
        break;
    case HANDOVER_OP_QUERY:
        looked(s, now, h, &ev->domain);
        break;
    case HANDOVER_OP_RESUME:
        if (ev->err) { /* looked at again by the tick; while the suspend is under way it is VI_EAGAIN */
            h->wait = W_NONE;
            if (ev->err == VI_ESTATE && h->suspending) {
                h->suspending = false; /* no suspend was under way: looked at once more, at once */
                ho_hv(s, h, HANDOVER_OP_QUERY);
            }
            break;
        }
        ho_state(s, now, h, HS_ABORTED, NULL);
        ho_send(s, h, M_ABORT);
        break;
    case HANDOVER_OP_DESTROY:
        if (ev->err && ev->err != VI_ENOTFOUND) {
            h->wait = W_NONE;
            break;
        }
        if (h->guest.n_disks)
            ho_hv(s, h, HANDOVER_OP_RETIRE);
        else
            ho_persist(s, h, HS_DONE);
        break;
    case HANDOVER_OP_MIRROR: case HANDOVER_OP_FINISH: case HANDOVER_OP_UNMIRROR: case HANDOVER_OP_RETIRE:
        disks_done(s, now, h, ev);
        break;
    default:
        break;
    }
}

void source_tick(struct handovers *s, vi_time now, struct handover *h)
{
    switch (h->state) {
    case HS_OFFERED: case HS_ACCEPTED:
        if (now >= h->until)
            give_up_early(s, now, h, HS_ABORTED, "the destination does not answer");
        else
            ho_send(s, h, h->state == HS_OFFERED ? M_OFFER : M_ACCEPT);
        break;
    case HS_STREAMING:
        ho_send(s, h, M_RENEW);
        break;
    case HS_SUSPENDED:
        if (h->restarted)
            ho_send(s, h, M_ASK);
        else if (now >= h->until)
            source_abort(s, now, h, "the destination does not say that it has the guest");
        else
            ho_send(s, h, M_RENEW);
        break;
    case HS_MIRRORING:
        if (now >= h->until)
            source_abort(s, now, h, "its disks are not copied any further");
        else
            ho_send(s, h, M_RENEW);
        break;
    case HS_SYNCED:
        if (now >= h->until)
            source_abort(s, now, h, "the destination does not say that its copy of the disks is complete");
        else
            ho_send(s, h, M_SYNCED);
        break;
    case HS_CHECKING:
        ho_hv(s, h, HANDOVER_OP_QUERY);
        break;
    case HS_RESUMING:
        resuming(s, h);
        break;
    case HS_ABORTING:
        ho_persist(s, h, HS_ABORTED);
        break;
    case HS_GO:
        ho_send(s, h, M_GO);
        break;
    case HS_DESTROYING:
        ho_hv(s, h, HANDOVER_OP_DESTROY);
        break;
    case HS_ABORTED:
        ho_send(s, h, M_ABORT);
        break;
    default:
        break;
    }
}

/* After a restart, from the last record. */
void source_recover(struct handovers *s, vi_time now, struct handover *h)
{
    bool same_boot = vi_id_equal(&h->boot, &s->cfg.boot);
    switch (h->recorded) {
    case HS_MIRRORING: case HS_STREAMING: case HS_SUSPENDED:
        h->state = h->recorded;
        h->err = VI_ECANCELED;
        /* our copy went with the host: if the other holds it whole, it alone can live on */
        if (!same_boot && h->recorded == HS_SUSPENDED) {
            h->until = now + 2 * SILENT_FOR;
            h->restarted = true;
            ho_send(s, h, M_ASK);
            break;
        }
        h->suspending = h->recorded == HS_STREAMING; /* it may end, and leave the guest suspended, only now */
        ho_state(s, now, h, HS_ABORTING, "the source's peer was restarted");
        ho_persist(s, h, HS_ABORTED);
        break;
    case HS_GO:
        given(s, h); /* the crash may have come before that was done */
        ho_state(s, now, h, HS_GO, "asking the destination");
        ho_send(s, h, M_GO);
        break;
    case HS_ABORTED:
        h->suspending = true; /* as the peer before us may have found it, and not had the time to wait for */
        ho_state(s, now, h, HS_RESUMING, h->why);
        resuming(s, h);
        break;
    default:
        ho_over(s, now, h, 0);
        break;
    }
}
