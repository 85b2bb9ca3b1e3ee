/* The daemon and the handovers: what the core asks for is done here — journal, hypervisor, streams,
 * switch — and what came of it is told to the core.
 *
 * A stream's way: hypervisor ⇄ (agent) socketpair ⇄ bulk stream ⇄ network ⇄ bulk stream ⇄ socketpair ⇄
 * (agent) hypervisor. The core decides nothing by the stream alone: suspend and restore say how it went. */
#include "peer/daemon_internal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer/base/err.h"
#include "peer/base/log.h"
#include "peer/daemon_dial.h"
#include "peer/daemon_disk.h"
#include "peer/daemon_image.h"
#include "peer/rpc_write.h"

#define WAIT_WORTH_SAYING (15 * VI_SEC)

/* What runs outside the core for one handover. */
struct waiting { /* a callback's way back */
    struct daemon *d;
    struct vi_id id, peer, guest;
    struct rpc_call *call;
    unsigned n_macs;
    uint8_t macs[TRANSFER_MACS][6];
    struct hv_description description;
    struct vi_id bases[HANDOVER_DISKS];
};

/* Borrowed until the loop's next turn. */
struct transit *daemon_transit(const struct daemon *d, const struct vi_id *id)
{
    for (unsigned i = 0; d->transits && i < HANDOVERS_MAX; i++)
        if (d->transits[i].used && vi_id_equal(&d->transits[i].id, id))
            return &d->transits[i];
    return NULL;
}

static struct transit *transit_of(struct daemon *d, const struct vi_id *id, bool make)
{
    struct transit *freed = NULL;
    for (unsigned i = 0; i < HANDOVERS_MAX; i++) {
        struct transit *t = &d->transits[i];
        if (t->used && vi_id_equal(&t->id, id))
            return t;
        if (!t->used && !freed)
            freed = t;
    }
    if (!make || !freed)
        return NULL;
    memset(freed, 0, sizeof *freed);
    freed->used = true;
    freed->id = *id;
    freed->fd = -1;
    return freed;
}

void daemon_handover_reason(struct daemon *d, const struct vi_id *id, const char *reason)
{
    struct transit *t = transit_of(d, id, true);
    if (t)
        snprintf(t->reason, sizeof t->reason, "%s", reason);
}

static void step(struct daemon *d, struct handover_event *ev)
{
    (void)handovers_step(d->handovers, daemon_now(), ev);
}

/* ---- faults, in builds for the tests only ---- */

void daemon_fault(void *arg, const char *name)
{
#ifdef VIOLIN_FAULTS
    struct daemon *d = arg;
    const char *want = getenv("VIOLIN_FAULT"), *colon = want ? strchr(want, ':') : NULL;
    char mark[CONFIG_TEXT + 32];
    FILE *f;
    if (!colon || strlen(name) != (size_t)(colon - want) || strncmp(want, name, strlen(name)) != 0)
        return;
    snprintf(mark, sizeof mark, "%s/fault-done", d->cfg.state_dir);
    if (access(mark, F_OK) == 0)
        return; /* once: the peer that is started again lives */
    f = fopen(mark, "w");
    if (f)
        fclose(f);
    if (!strcmp(colon + 1, "kill"))
        raise(SIGKILL);
    if (!strcmp(colon + 1, "stop")) /* as it is; a test then takes the host's power away */
        raise(SIGSTOP);
#else
    (void)arg;
    (void)name;
#endif
}

/* ---- journal ---- */

void daemon_journal_done(void *arg, uint64_t handle, int err, const char *text)
{
    struct daemon *d = arg;
    struct handover_event ev = {.kind = HANDOVER_EV_PERSISTED, .id = d->journalling[handle % JOURNALLING].id,
                                .err = err, .why = text};
    if (d->journalling[handle % JOURNALLING].handle != handle)
        return;
    daemon_warn(d, WARN_STORE, err ? "%s" : NULL, text);
    if (d->journalling[handle % JOURNALLING].envmove)
        daemon_envmove_persisted(d, &ev.id, err, text);
    else
        step(d, &ev);
}

int daemon_journal(struct daemon *d, const struct vi_id *id, bool envmove, const uint8_t *data, size_t len)
{
    uint64_t handle = ++d->next_journalling;
    d->journalling[handle % JOURNALLING].handle = handle;
    d->journalling[handle % JOURNALLING].id = *id;
    d->journalling[handle % JOURNALLING].envmove = envmove;
    return journal_put(d->journal, handle, id, data, len);
}

static void persist(struct daemon *d, const struct handover_effect *fx)
{
    struct handover_event ev = {.kind = HANDOVER_EV_PERSISTED, .id = fx->id, .err = VI_EIO,
                                .why = "the journal's queue is full"};
    if (!fx->len || daemon_journal(d, &fx->id, false, fx->data, fx->len))
        step(d, &ev);
}

/* ---- hypervisor ---- */

static struct waiting *wait_for(struct daemon *d, const struct vi_id *id)
{
    struct waiting *w = calloc(1, sizeof *w);
    if (w) {
        w->d = d;
        w->id = *id;
    }
    return w;
}

static void hv_ended(struct waiting *w, int err, const char *detail, uint32_t domid)
{
    struct handover_event ev = {.kind = HANDOVER_EV_HV, .id = w->id, .err = err, .why = detail, .domid = domid};
    step(w->d, &ev);
    w->d->next_list = 0;
    free(w);
}

static void on_hv_done(void *arg, int err, const char *detail)
{
    hv_ended(arg, err, detail, 0);
}

static void on_restored(void *arg, int err, const char *detail, uint32_t domid)
{
    hv_ended(arg, err, detail, domid);
}

static bool has_mac(const struct hv_guest *g, const struct waiting *w)
{
    for (unsigned i = 0; i < g->n_vifs; i++)
        for (unsigned k = 0; k < w->n_macs; k++)
            if (!memcmp(g->vifs[i].mac, w->macs[k], 6))
                return true;
    return false;
}

static void on_queried(void *arg, int err, const struct hv_guest *guests, unsigned n)
{
    struct waiting *w = arg;
    struct handover_event ev = {.kind = HANDOVER_EV_HV, .id = w->id};
    ev.domain.known = err == 0;
    for (unsigned i = 0; !err && i < n; i++) {
        const struct hv_guest *g = &guests[i];
        if (!vi_id_equal(&g->uuid, &w->guest)) {
            ev.domain.mac_taken |= has_mac(g, w);
            continue;
        }
        ev.domain.there = true;
        ev.domain.domid = g->domid;
        ev.domain.running = g->state == HV_RUNNING;
        ev.domain.paused = g->state == HV_PAUSED;
        ev.domain.suspended = g->state == HV_SUSPENDED;
        ev.domain.incoming = g->incoming;
    }
    step(w->d, &ev);
    free(w);
}

static struct moved *moved_of(struct daemon *d, const struct vi_id *id)
{
    for (unsigned i = 0; i < HANDOVERS_MAX; i++)
        if (vi_id_equal(&d->moved[i].id, id))
            return &d->moved[i];
    return NULL;
}

static void keep_figures(struct daemon *d, const struct vi_id *id)
{
    struct moved *m = moved_of(d, id);
    struct disk_figures f;
    daemon_disk_figures(d, id, &f);
    if (!m) {
        m = &d->moved[d->next_moved];
        d->next_moved = (d->next_moved + 1) % HANDOVERS_MAX;
    }
    *m = (struct moved){.id = *id, .bytes = daemon_handover_bytes(d, id), .disk_bytes = f.bytes};
}

static void on_stream_done(void *arg, int err, const char *why, uint64_t bytes)
{
    struct waiting *w = arg;
    struct transit *t = transit_of(w->d, &w->id, false);
    struct handover_event ev = {.kind = HANDOVER_EV_STREAM, .id = w->id, .err = err, .why = why};
    if (t) {
        t->dial = NULL;
        t->bytes = bytes;
        if (t->over)
            keep_figures(w->d, &w->id);
        t->used = !t->over;
    }
    if (err)
        vi_log(VI_LOG_INFO, "handover", "stream: %s after %llu bytes", why, (unsigned long long)bytes);
    step(w->d, &ev);
    free(w);
}

static int start_stream(struct daemon *d, const struct handover_effect *fx, int fd, char *why, size_t cap)
{
    struct transit *t = transit_of(d, &fx->id, true);
    struct waiting *w = wait_for(d, &fx->id);
    if (!t || !w) {
        snprintf(why, cap, "out of memory");
        free(w);
        close(fd);
        return VI_ENOMEM;
    }
    t->peer = fx->peer;
    t->dial = daemon_dial(d, &fx->peer, fx->id.b, VI_ID_SIZE, fd, (uint64_t)d->cfg.migration_bandwidth * 1024,
                          on_stream_done, w, why, cap);
    if (!t->dial) {
        free(w);
        return VI_ENOTFOUND;
    }
    return 0;
}

static void do_suspend(struct daemon *d, const struct handover_effect *fx, struct waiting *w)
{
    char why[160] = "";
    int sv[2], err;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0) {
        hv_ended(w, VI_EIO, "no socket pair", 0);
        return;
    }
    err = start_stream(d, fx, sv[1], why, sizeof why);
    if (err) {
        close(sv[0]);
        hv_ended(w, err, why, 0);
        return;
    }
    err = d->hv->ops->suspend(d->hv, fx->domid, &fx->guest->uuid, sv[0], on_hv_done, w);
    if (err)
        hv_ended(w, err, "the hypervisor can't be asked", 0);
}

static int describe_of(struct hv_description *desc, const struct handover_guest *g)
{
    return hv_description_decode(desc, g->description, g->description_len);
}

static void do_restore(struct daemon *d, const struct handover_effect *fx, struct waiting *w)
{
    struct transit *t = transit_of(d, &fx->id, false);
    int fd = t ? t->fd : -1, err;
    if (fd < 0 || describe_of(&w->description, fx->guest)) {
        hv_ended(w, VI_EPROTO, "no stream, or a description that can't be read", 0);
        return;
    }
    t->fd = -1;
    err = d->hv->ops->restore(d->hv, &w->description, fd, on_restored, w);
    if (err)
        hv_ended(w, err, "the hypervisor can't be asked", 0);
}

static void do_hv(struct daemon *d, const struct handover_effect *fx)
{
    struct waiting *w = wait_for(d, &fx->id);
    int err = 0;
    if (!w) {
        struct handover_event ev = {.kind = HANDOVER_EV_HV, .id = fx->id, .err = VI_ENOMEM, .why = "out of memory"};
        step(d, &ev);
        return;
    }
    w->guest = fx->guest->uuid;
    w->n_macs = fx->guest->n_macs;
    memcpy(w->macs, fx->guest->macs, sizeof w->macs);
    switch (fx->op) {
    case HANDOVER_OP_SUSPEND:
        do_suspend(d, fx, w);
        return;
    case HANDOVER_OP_RESTORE:
        do_restore(d, fx, w);
        return;
    case HANDOVER_OP_QUERY:
        err = d->hv->ops->list(d->hv, on_queried, w);
        if (err)
            on_queried(w, err, NULL, 0);
        return;
    case HANDOVER_OP_RESUME:
        err = d->hv->ops->resume(d->hv, fx->domid, &w->guest, on_hv_done, w);
        break;
    case HANDOVER_OP_UNPAUSE:
        err = d->hv->ops->unpause(d->hv, fx->domid, &w->guest, on_hv_done, w);
        break;
    case HANDOVER_OP_DESTROY:
        err = d->hv->ops->destroy(d->hv, fx->domid, &w->guest, on_hv_done, w);
        break;
    default:
        daemon_disk_do(d, fx, on_hv_done, w);
        return;
    }
    if (err)
        hv_ended(w, err, "the hypervisor can't be asked", 0);
}

/* ---- a stream comes ---- */

static int on_stream(void *arg, const struct vi_id *peer, const uint8_t *purpose, size_t len, bulk_done **done,
                     void **done_arg)
{
    struct daemon *d = arg;
    struct handover_event ev = {.kind = HANDOVER_EV_ARRIVING};
    struct waiting *w;
    struct transit *t;
    int sv[2];
    if (len == DISK_PURPOSE)
        return daemon_disk_stream(d, peer, purpose, done, done_arg);
    if (len != VI_ID_SIZE)
        return -1;
    memcpy(ev.id.b, purpose, VI_ID_SIZE);
    if (!handover_expects_stream(d->handovers, &ev.id, peer))
        return daemon_image_stream(d, peer, purpose, len, done, done_arg);
    t = transit_of(d, &ev.id, true);
    w = wait_for(d, &ev.id);
    if (!t || !w || t->fd >= 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0) {
        free(w);
        return -1;
    }
    t->fd = sv[0];
    *done = on_stream_done;
    *done_arg = w;
    step(d, &ev);
    return sv[1];
}

/* ---- may it come? ---- */

static void admitted(struct waiting *w, int err, const char *why)
{
    struct handover_event ev = {.kind = HANDOVER_EV_ADMITTED, .id = w->id, .err = err, .why = why};
    memcpy(ev.bases, w->bases, sizeof ev.bases);
    step(w->d, &ev);
    free(w);
}

static void on_can_receive(void *arg, int err, const char *detail)
{
    struct waiting *w = arg;
    char why[HANDOVER_WHY];
    snprintf(why, sizeof why, "%s", detail);
    if (err == VI_ENOTFOUND) /* only its images are missing: the source's next offer may find them here */
        daemon_image_needed(w->d, &w->description, &w->peer, why, sizeof why);
    admitted(w, err, why);
}

static void ask_hypervisor(struct waiting *w)
{
    if (w->d->hv->ops->can_receive(w->d->hv, &w->description, on_can_receive, w))
        admitted(w, VI_EIO, "the hypervisor can't be asked");
}

static void on_disks_admitted(void *arg, int err, const char *why, const struct vi_id bases[HANDOVER_DISKS])
{
    struct waiting *w = arg;
    memcpy(w->bases, bases, sizeof w->bases);
    if (err)
        admitted(w, err, why);
    else
        ask_hypervisor(w);
}

static void do_admit(struct daemon *d, const struct handover_effect *fx)
{
    struct policy_needs needs = {.kb = fx->guest->kb, .pct = fx->guest->pct};
    struct waiting *w = wait_for(d, &fx->id);
    struct handover_event ev = {.kind = HANDOVER_EV_ADMITTED, .id = fx->id, .err = VI_EREFUSED};
    char why[HANDOVER_WHY] = "";
    uint64_t kb, made_kb;
    double pct, made_pct;
    unsigned n;
    bool leased;
    const struct env *e = daemon_env_by_id(d, &fx->guest->env);
    if (w)
        w->peer = fx->peer;
    if (!w || describe_of(&w->description, fx->guest) || !vi_id_equal(&w->description.uuid, &fx->guest->uuid)) {
        free(w);
        ev.why = "the guest's description can't be read";
        step(d, &ev);
        return;
    }
    if (needs.kb < w->description.target_kb) /* what it will really take */
        needs.kb = w->description.target_kb;
    n = handover_promised(d->handovers, &kb, &pct);
    daemon_envmake_promised(d, &made_kb, &made_pct);
    kb += made_kb;
    pct += made_pct;
    policy_promised(d->policy, daemon_now(), &fx->peer, &kb, &pct);
    if (daemon_envmove_admit(d, &fx->guest->uuid, &fx->peer, &needs, &kb, &pct, &leased))
        admitted(w, VI_EREFUSED, "a guest of another domain, for which no room was asked");
    else if (!daemon_disks_agree(&w->description, fx->guest))
        admitted(w, VI_EREFUSED, "its description names other disks than the offer brings");
    else if (!e)
        admitted(w, VI_ENOTFOUND, "its environment isn't known here");
    else if (!e->open)
        admitted(w, VI_EAGAIN, "its environment isn't open here yet; in a few seconds it should be");
    else if (!d->hv_there)
        admitted(w, VI_EAGAIN, "no hypervisor here");
    else if (daemon_rules_refuse(d, e, &fx->guest->uuid, &fx->peer, why))
        admitted(w, VI_EREFUSED, why);
    else if (policy_can_take(d->policy, &needs, kb, pct, leased ? 0 : n, why, sizeof why))
        admitted(w, VI_EFULL, why);
    else if (!fx->guest->n_disks)
        ask_hypervisor(w);
    else if (daemon_disk_admit(d, fx->guest, on_disks_admitted, w))
        admitted(w, VI_EUNSUPPORTED, "this host's disks can't be asked");
}

/* ---- the rest of what the core asks for ---- */

static void prepare(struct daemon *d, const struct handover_effect *fx, bool on)
{
    struct transit *t = transit_of(d, &fx->id, true);
    struct env *e = daemon_env_by_id(d, &fx->guest->env);
    if (!t || !e || t->prepared == on)
        return;
    t->prepared = on;
    e->expecting += on ? 1U : -1U;
    daemon_envs_publish(d);
}

static void transferred(struct daemon *d, const struct handover_effect *fx, bool to_us)
{
    struct switch_event ev = {.kind = to_us ? SWITCH_EV_ACTIVATE : SWITCH_EV_GIVEN, .data = fx->data, .len = fx->len};
    daemon_owner_set(d, &fx->guest->uuid, to_us ? &d->me.id : &fx->peer, fx->epoch);
    switch_step(d->vswitch, daemon_now(), &ev);
    if (!to_us)
        daemon_switch_given(d, &fx->guest->env);
    if (to_us)
        daemon_envmake_arrived(d, fx->guest);
    else
        daemon_envmake_given(d, &fx->guest->uuid);
    if (to_us)
        daemon_policy_arrived(d, fx->guest, &fx->peer);
}

static void end_stream(struct daemon *d, const struct vi_id *id)
{
    struct transit *t = transit_of(d, id, false);
    daemon_disk_end(d, id);
    if (!t)
        return;
    if (t->dial)
        daemon_dial_cancel(t->dial);
    if (t->fd >= 0)
        close(t->fd);
    t->fd = -1;
}

/* Given, and given back: this host's again, as soon as that is on the disk, or the guest would be taken
 * for a second copy when it goes on. */
static void taken_back(struct daemon *d, const struct handover_effect *fx)
{
    const struct owned_guest *o = daemon_owner_find(d, &fx->guest->uuid);
    if (o && vi_id_equal(&o->owner, &fx->peer) && o->epoch == fx->epoch)
        daemon_owner_set(d, &fx->guest->uuid, &d->me.id, fx->epoch + 1);
    daemon_envmake_arrived(d, fx->guest);
}

/* Figures for the history: how long it took, and how long the guest stood still. */
static void timed(struct daemon *d, const struct handover_effect *fx)
{
    struct transit *t = transit_of(d, &fx->id, fx->state == HS_OFFERED || fx->state == HD_ADMITTING);
    vi_time now = daemon_now();
    if (!t)
        return;
    if (fx->state == HS_OFFERED || fx->state == HD_ADMITTING)
        t->began = now;
    if (fx->state == HS_SUSPENDED)
        t->stopped_at = now;
    if (fx->state == HS_DESTROYING && t->stopped_at)
        t->pause = now - t->stopped_at;
}

static void said_state(struct daemon *d, const struct handover_effect *fx)
{
    const char *peer = daemon_member_name(d, &fx->peer);
    struct event *ev = daemon_event(d, "handover", fx->guest->name, "%s %s %s: %s%s%s", fx->guest->name,
                                    fx->role == HANDOVER_SOURCE ? "to" : "from", peer, handover_state_text(fx->state),
                                    fx->why[0] ? ", " : "", fx->why);
    timed(d, fx);
    daemon_event_done(d, ev);
}

static void said_disks(struct daemon *d, const struct handover_effect *fx, struct event *ev)
{
    struct disk_figures f;
    uint64_t sectors = 0;
    daemon_disk_figures(d, &fx->id, &f);
    for (unsigned i = 0; i < fx->guest->n_disks; i++)
        sectors += fx->guest->disks[i].sectors;
    event_number(ev, "disk_mib", (double)sectors / 2048);
    event_number(ev, "disk_bytes", (double)f.bytes);
}

/* Into the history of both hosts. */
static void said_over(struct daemon *d, const struct handover_effect *fx, const struct transit *t)
{
    bool source = fx->role == HANDOVER_SOURCE;
    const struct env *e = daemon_env_by_id(d, &fx->guest->env);
    const char *name = fx->guest->name;
    struct event *ev;
    char peer[64];
    snprintf(peer, sizeof peer, "%s", daemon_member_name(d, &fx->peer));
    if (!source && fx->err)
        return; /* its host tells */
    if (fx->err)
        ev = daemon_event(d, "failed", name, "%s stays here, it was not moved to %s: %s", name, peer, fx->why);
    else
        ev = daemon_event(d, source ? "moved" : "arrived", name, "%s %s %s", name, source ? "moved to" : "came from", peer);
    event_word(ev, "from", source ? d->me.cert.host : peer);
    event_word(ev, "to", source ? peer : d->me.cert.host);
    event_word(ev, "environment", e ? e->def.name : NULL);
    if (t) {
        event_word(ev, "why", t->reason[0] ? t->reason : NULL);
        event_number(ev, "bytes", (double)daemon_handover_bytes(d, &fx->id));
        if (t->began)
            event_number(ev, "duration_s", (double)(daemon_now() - t->began) / 1e6);
        if (t->pause && !fx->err)
            event_number(ev, "pause_s", (double)t->pause / 1e6);
    }
    event_number(ev, "memory_mib", (double)fx->guest->kb / 1024);
    if (fx->guest->n_disks)
        said_disks(d, fx, ev);
    daemon_history(d, ev);
}

static void over(struct daemon *d, const struct handover_effect *fx)
{
    struct transit *t = transit_of(d, &fx->id, false);
    daemon_disk_end(d, &fx->id);
    if (fx->role == HANDOVER_DESTINATION)
        prepare(d, fx, false);
    if (fx->role == HANDOVER_SOURCE)
        daemon_policy_moved(d, &fx->guest->uuid, &fx->peer, fx->err, fx->why, true);
    else if (!fx->err)
        daemon_envmove_came(d, &fx->guest->uuid);
    said_over(d, fx, t);
    if (fx->role == HANDOVER_SOURCE && fx->err)
        taken_back(d, fx);
    d->next_list = 0;
    if (t) {
        keep_figures(d, &fx->id);
        t->over = true;
        t->used = t->dial != NULL;
    }
}

static void perform(struct daemon *d, const struct handover_effect *fx)
{
    switch (fx->kind) {
    case HANDOVER_FX_SEND:
        if (fx->len)
            (void)daemon_send(d, &fx->peer, MESH_CHANNEL_HANDOVER, fx->data, fx->len);
        break;
    case HANDOVER_FX_PERSIST: persist(d, fx); break;
    case HANDOVER_FX_HV: do_hv(d, fx); break;
    case HANDOVER_FX_ADMIT: do_admit(d, fx); break;
    case HANDOVER_FX_PREPARE: prepare(d, fx, true); break;
    case HANDOVER_FX_UNPREPARE: prepare(d, fx, false); break;
    case HANDOVER_FX_ACTIVATE: transferred(d, fx, true); break;
    case HANDOVER_FX_GIVEN: transferred(d, fx, false); break;
    case HANDOVER_FX_END_STREAM: end_stream(d, &fx->id); break;
    case HANDOVER_FX_STATE:
        if (fx->role == HANDOVER_SOURCE && fx->state == HS_RESUMING)
            taken_back(d, fx);
        said_state(d, fx);
        break;
    case HANDOVER_FX_OVER: over(d, fx); break;
    case HANDOVER_FX_FORGET: journal_forget(d->journal, &fx->id); break;
    }
}

/* What an operator should know about: handovers that only a person can decide, and those that wait for a
 * host that doesn't answer. */
static void warn(struct daemon *d, vi_time now)
{
    unsigned undecided = 0, pos = 0;
    bool waits = false;
    struct handover_view v, w;
    while (handover_next(d->handovers, &pos, &v)) {
        undecided += v.undecided;
        if (!v.undecided && v.role == HANDOVER_SOURCE &&
            (v.state == HS_GO || v.state == HS_SUSPENDED || v.state == HS_SYNCED) &&
            now - v.since > WAIT_WORTH_SAYING) {
            waits = true;
            w = v;
        }
    }
    if (undecided)
        daemon_warn(d, WARN_HANDOVER, "%u handover(s) need your decision: violin handover list", undecided);
    else if (waits)
        daemon_warn(d, WARN_HANDOVER,
                    w.state == HS_GO ? "%s was given to %s, which does not answer: suspended here until it says whether it has it"
                                     : "%s is suspended here: %s, where it was sent, does not answer",
                    w.guest->name, daemon_member_name(d, &w.peer));
    else
        daemon_warn(d, WARN_HANDOVER, NULL);
}

void daemon_handover_pump(struct daemon *d, vi_time now)
{
    static struct handover_effect copy;
    static struct handover_guest guest;
    const struct handover_effect *fx;
    if (handovers_deadline(d->handovers) <= now) {
        struct handover_event tick = {.kind = HANDOVER_EV_TICK};
        step(d, &tick);
    }
    while ((fx = handovers_effect(d->handovers))) {
        copy = *fx;
        if (fx->guest) {
            guest = *fx->guest;
            copy.guest = &guest;
        }
        perform(d, &copy);
    }
    warn(d, now);
}

vi_time daemon_handover_deadline(const struct daemon *d)
{
    return d->recovered ? handovers_deadline(d->handovers) : VI_NEVER;
}

void daemon_handover_message(struct daemon *d, const struct vi_id *from, const uint8_t *data, size_t len)
{
    struct handover_event ev = {.kind = HANDOVER_EV_MESSAGE, .peer = *from, .data = data, .len = len};
    vi_log(VI_LOG_DEBUG, "handover", "%zu bytes from %s", len, daemon_member_name(d, from));
    if (d->recovered) /* before the journal is read we know nothing: silence, not UNKNOWN */
        step(d, &ev);
}

/* ---- opening ---- */

int daemon_handover_open(struct daemon *d, char *why, size_t cap)
{
    struct handover_config c = {.self = d->me.id, .arg = d, .key_of = daemon_key_of, .fault = daemon_fault};
    store_journal_id(d->store, &c.journal);
    memcpy(c.sign_key, d->me.ed_sk, sizeof c.sign_key);
    d->handovers = handovers_new(&c, &d->rng, daemon_now());
    d->transits = calloc(HANDOVERS_MAX, sizeof *d->transits);
    d->owned = calloc(OWNED_MAX, sizeof *d->owned);
    if (!d->handovers || !d->transits || !d->owned) {
        snprintf(why, cap, "out of memory");
        return VI_ENOMEM;
    }
    daemon_owner_load(d);
    d->bulk = bulk_listen(&d->loop, d->cfg.listen, (uint16_t)d->cfg.port, &d->mesh_cfg, &d->rng, on_stream, d, why,
                          cap);
    return d->bulk ? 0 : VI_EIO;
}

void daemon_handover_close(struct daemon *d)
{
    for (unsigned i = 0; d->transits && i < HANDOVERS_MAX; i++)
        if (d->transits[i].used) {
            if (d->transits[i].dial)
                daemon_dial_cancel(d->transits[i].dial);
            if (d->transits[i].fd >= 0)
                close(d->transits[i].fd);
            d->transits[i].fd = -1;
        }
    daemon_disks_close(d);
    bulk_server_close(d->bulk);
    d->bulk = NULL;
}

void daemon_handover_free(struct daemon *d)
{
    handovers_free(d->handovers);
    free(d->transits);
    free(d->owned);
}

static bool one_record(void *arg, const struct vi_id *id, const void *record, size_t len)
{
    struct daemon *d = arg;
    struct handover_event ev = {.kind = HANDOVER_EV_RECORD, .id = *id, .data = record, .len = len};
    char text[VI_ID_TEXT];
    int err = daemon_envmove_record(d, id, record, len) ? 0 : handovers_step(d->handovers, daemon_now(), &ev);
    if (err)
        daemon_warn(d, WARN_GUEST, "handover %s in the journal is not gone on with: %s; look for a suspended guest",
                    vi_id_format(id, text), vi_strerror(err));
    return true;
}

/* The hypervisor is there for the first time: now the boot is known, and the journal can be judged. */
void daemon_handover_hypervisor(struct daemon *d)
{
    struct handover_event end = {.kind = HANDOVER_EV_RECORDS_END};
    if (d->recovered)
        return;
    handovers_set_boot(d->handovers, &d->host.boot_id);
    daemon_envmove_boot(d);
    if (store_journal_each(d->store, one_record, d)) {
        daemon_warn(d, WARN_STORE, "%s", store_error(d->store));
        return;
    }
    d->recovered = true;
    step(d, &end);
    daemon_envmake_load(d);
}
