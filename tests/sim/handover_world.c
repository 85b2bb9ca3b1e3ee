/* Two hosts for the handover core. See handover_world.h. */
#include "tests/sim/handover_world.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"
#include "policy/handover_internal.h"
#include "tests/sim/handover_disks.h"

#define INCOMING "--incoming"

const char *const hw_fault_names[HW_FAULTS] = {
    "none",
    "crash source",
    "crash destination",
    "reboot source",
    "reboot destination",
    "cut for 40 s",
    "cut for good",
    "journal of source fails",
    "journal of destination fails",
    "xl destroy at source",
    "xl destroy at destination",
    "xl reboot at source",
    "xl reboot at destination",
    "xl shutdown at source",
    "xl shutdown at destination",
    "guest panics at source, its domain is preserved",
    "guest panics at destination, its domain is preserved",
    "xl rename at source",
    "xl rename at destination",
    "the disks' stream is cut",
    "the disks' stream stalls",
    "storage of destination is full for 20 s"};

static struct hw world;
struct hw *hw = &world;
struct hw_options hw_options;
const struct vi_id hw_older = {.b = {0x66}};

static void put(enum hw_kind kind, int to, vi_time delay, const struct vi_id *id, int err)
{
    struct hw_item *i;
    if (hw->n >= HW_QUEUE) {
        hw->overflow = true;
        return;
    }
    i = &hw->queue[hw->n++];
    memset(i, 0, sizeof *i);
    i->kind = kind;
    i->to = to;
    i->at = hw->now + delay;
    i->seq = hw->seq++;
    i->generation = hw->h[to].generation;
    if (id)
        i->id = *id;
    i->err = err;
}

/* ---- faults ---- */

static void crash(int n)
{
    struct hw_host *h = &hw->h[n];
    handovers_free(h->core);
    h->core = NULL;
    h->generation++;
    h->back_at = hw->now + 3 * VI_SEC;
    hwd_cut();
    /* the agent ends the stream; what was suspended stays so, what came whole is built to its end
     */
    if (hw->streaming && (hw->h[0].dom == HW_RUNS || hw->h[0].saving))
        hw->stream_broken = true;
}

/* A copy is taken away, or ends. What may come of it depends on who alone could go on: the source
 * until GO is on its disk, the destination from its OWNED on; in between, either copy if the other
 * is lost. */
static void taken(int n, bool by_hand)
{
    struct hw_host *h = &hw->h[n];
    bool ran = h->dom == HW_RUNS || h->rebuilding;
    const struct hw_host *o = &hw->h[1 - n];
    bool other = o->rebuilding || (o->dom != HW_ABSENT && o->dom != HW_ENDED);
    if (h->dom == HW_ABSENT && !h->rebuilding)
        return;
    if (!ran && other && !(n == 0 && !h->go) && !(n == 1 && h->owned))
        return;
    if (by_hand)
        hw->gone = true;
    else
        hw->may_be_gone = true;
}

static void no_domain(struct hw_host *h)
{
    hwd_all_land(h == &hw->h[1]);
    h->dom = HW_ABSENT;
    h->request = HW_NOTHING;
    h->incoming = h->rebuilding = h->saving = false;
}

static void reboot(int n)
{
    struct hw_host *h = &hw->h[n];
    taken(n, false);
    crash(n);
    if (n == 1)
        hw->stream_broken = true;
    h->boot.b[15]++;
    hwd_host_dies(n);
    no_domain(h);
    h->back_at = hw->now + 30 * VI_SEC;
}

/* While a guest is being rebooted there is no domain to destroy. */
static void xl_destroy(int n)
{
    if (hw->h[n].dom == HW_ABSENT)
        return;
    taken(n, true);
    no_domain(&hw->h[n]);
}

/* The guest gets to run: what was asked of it meanwhile it does now. */
static void take_request(int n)
{
    struct hw_host *h = &hw->h[n];
    if (h->dom != HW_RUNS)
        return;
    if (h->request == HW_REBOOT) {
        no_domain(h);
        h->rebuilding = true;
        put(HW_REBUILT, n, (vi_time)(1 + vi_rng_below(&hw->rng, 1500)) * VI_MSEC, NULL, 0);
    } else if (h->request == HW_SHUTDOWN) {
        taken(n, true);
        no_domain(h);
    }
    h->request = HW_NOTHING;
}

static void rebuilt(int n)
{
    struct hw_host *h = &hw->h[n];
    if (!h->rebuilding)
        return; /* its host died meanwhile */
    h->rebuilding = false;
    h->dom = HW_RUNS;
    h->domid = ++h->next_domid;
}

static void xl_rename(int n)
{
    if (hw->h[n].dom != HW_ABSENT)
        snprintf(hw->h[n].name, sizeof hw->h[n].name, HW_RENAMED);
}

static void ask_guest(int n, enum hw_request r)
{
    if (hw->h[n].dom == HW_ABSENT || hw->h[n].dom == HW_ENDED)
        return;
    hw->h[n].request = r;
    take_request(n);
}

static void panic(int n)
{
    if (hw->h[n].dom == HW_RUNS) {
        taken(n, true);
        hw->h[n].dom = HW_ENDED;
    }
}

static void strike(enum hw_fault f)
{
    switch (f) {
    case HW_CRASH_S:
        crash(0);
        break;
    case HW_CRASH_D:
        crash(1);
        break;
    case HW_REBOOT_S:
        reboot(0);
        break;
    case HW_REBOOT_D:
        reboot(1);
        break;
    case HW_CUT:
        hw->cut_until = hw->now + 40 * VI_SEC;
        break;
    case HW_CUT_FOR_GOOD:
        hw->cut_until = VI_NEVER;
        break;
    case HW_DISK_S:
        hw->h[0].disk_fails_until = hw->now + 20 * VI_SEC;
        break;
    case HW_DISK_D:
        hw->h[1].disk_fails_until = hw->now + 20 * VI_SEC;
        break;
    case HW_XL_DESTROY_S:
        xl_destroy(0);
        break;
    case HW_XL_DESTROY_D:
        xl_destroy(1);
        break;
    case HW_XL_REBOOT_S:
        ask_guest(0, HW_REBOOT);
        break;
    case HW_XL_REBOOT_D:
        ask_guest(1, HW_REBOOT);
        break;
    case HW_XL_SHUTDOWN_S:
        ask_guest(0, HW_SHUTDOWN);
        break;
    case HW_XL_SHUTDOWN_D:
        ask_guest(1, HW_SHUTDOWN);
        break;
    case HW_PANIC_S:
        panic(0);
        break;
    case HW_PANIC_D:
        panic(1);
        break;
    case HW_XL_RENAME_S:
        xl_rename(0);
        break;
    case HW_XL_RENAME_D:
        xl_rename(1);
        break;
    case HW_DISKS_CUT:
        hwd_cut();
        break;
    case HW_DISKS_STALL:
        hwd->stalled = true;
        break;
    case HW_STORAGE_D:
        hwd->full_until = hw->now + 20 * VI_SEC;
        break;
    default:
        break;
    }
}

/* Counted in the order met; the fault strikes once the step that met it is over, before its
 * effects. */
static void on_fault(void *arg, const char *name)
{
    (void)arg;
    (void)name;
    for (int k = 0; k < 2; k++)
        if (hw->what[k] != HW_NONE && hw->point == hw->at[k])
            hw->due[k] = true;
    hw->point++;
}

/* ---- a host ---- */

static bool key_of(void *arg, const struct vi_id *peer, uint8_t pk[32])
{
    (void)arg;
    for (int n = 0; n < 2; n++)
        if (vi_id_equal(peer, &hw->h[n].id)) {
            memcpy(pk, hw->h[n].pk, 32);
            return true;
        }
    return false;
}

static void start_peer(int n)
{
    struct hw_host *h = &hw->h[n];
    struct handover_config c = {
        .self = h->id, .journal = h->journal, .boot = h->boot, .key_of = key_of, .fault = on_fault};
    struct handover_event end = {.kind = HANDOVER_EV_RECORDS_END};
    memcpy(c.sign_key, h->sk, 64);
    h->core = handovers_new(&c, &hw->rng, hw->now);
    for (unsigned i = 0; i < h->n_records; i++) {
        struct handover_event ev = {.kind = HANDOVER_EV_RECORD,
                                    .id = h->records[i].id,
                                    .data = h->records[i].data,
                                    .len = h->records[i].len};
        if (!h->records[i].gone)
            handovers_step(h->core, hw->now, &ev);
    }
    hw_step(n, &end);
}

/* Whether the journal's last word is GO, or OWNED and what follows, decides what a fault may do:
 * see taken(). */
static void note_record(struct hw_host *h, const struct handover_effect *fx)
{
    if (fx->state == HS_CHECKING || fx->state == HS_ABORTING)
        h->go = fx->state == HS_CHECKING;
    if (fx->state == HD_CHECKING || fx->state == HD_ABORTING)
        h->owned = fx->state == HD_CHECKING;
}

static void finish_query(struct hw_host *h, struct handover_event *ev)
{
    ev->domain.known = true;
    ev->domain.there = h->dom != HW_ABSENT;
    ev->domain.domid = h->domid;
    ev->domain.incoming = h->incoming;
    ev->domain.running = h->dom == HW_RUNS;
    ev->domain.paused = h->dom == HW_PAUSED;
    ev->domain.suspended = h->dom == HW_SUSPENDED;
}

static void do_persist(int n, const struct handover_effect *fx)
{
    struct hw_host *h = &hw->h[n];
    bool fails = hw->now < h->disk_fails_until || h->n_records >= HW_RECORDS;
    if (!fails) {
        h->records[h->n_records].id = fx->id;
        h->records[h->n_records].len = fx->len;
        h->records[h->n_records].gone = false;
        memcpy(h->records[h->n_records++].data, fx->data, fx->len);
        note_record(h, fx);
    }
    put(HW_DONE_PERSIST, n, 5 * VI_MSEC, &fx->id, fails ? VI_EIO : 0);
}

static void do_send(int n, const struct handover_effect *fx)
{
    struct hw_item *i;
    if (!vi_id_equal(&fx->peer, &hw->h[1 - n].id))
        return;
    if (hw->now < hw->cut_until || hw->n >= HW_QUEUE || vi_rng_below(&hw->rng, 20) == 0)
        return;
    put(HW_MESSAGE, 1 - n, (vi_time)(1 + vi_rng_below(&hw->rng, 30)) * VI_MSEC, &fx->id, 0);
    i = &hw->queue[hw->n - 1];
    i->len = fx->len;
    memcpy(i->data, fx->data, fx->len);
    if (vi_rng_below(&hw->rng, 20) == 0 && hw->n < HW_QUEUE) { /* and once more, later */
        hw->queue[hw->n] = *i;
        hw->queue[hw->n].at += 400 * VI_MSEC;
        hw->queue[hw->n++].seq = hw->seq++;
    }
}

static void put_hv(int n, vi_time delay, const struct handover_effect *fx, int err)
{
    put(HW_DONE_HV, n, delay, &fx->id, err);
    hw->queue[hw->n - 1].op = fx->op;
    hw->queue[hw->n - 1].domid = fx->domid;
}

static void do_hv(int n, const struct handover_effect *fx)
{
    hwd->asked = fx->guest->disks[0];
    switch (fx->op) {
    case HANDOVER_OP_MIRROR:
        if (hwd_op(n, fx->op, &fx->id, hw->now < hw->cut_until, hw->now))
            put_hv(n, 200 * VI_MSEC, fx, VI_EIO);
        else
            put(HW_MIRROR_STEP, n, VI_SEC, &fx->id, 0);
        break;
    case HANDOVER_OP_SUSPEND:
        if (hw->now < hw->cut_until) {
            put_hv(n, 200 * VI_MSEC, fx, VI_EIO);
            return;
        }
        hw->streaming = true;
        hw->stream_broken = false;
        put(HW_STREAM_COMES, 1, 20 * VI_MSEC, &fx->id, 0);
        put(HW_GUEST_STOPS, n, 700 * VI_MSEC, &fx->id, 0);
        hw->queue[hw->n - 1].domid = fx->domid;
        put_hv(n, 900 * VI_MSEC, fx, 0);
        break;
    case HANDOVER_OP_RESTORE:
        put_hv(n, 1000 * VI_MSEC, fx, 0);
        break;
    default:
        put_hv(n, 30 * VI_MSEC, fx, 0);
        break;
    }
}

static void perform(int n, const struct handover_effect *fx)
{
    struct hw_host *h = &hw->h[n];
    switch (fx->kind) {
    case HANDOVER_FX_SEND:
        do_send(n, fx);
        break;
    case HANDOVER_FX_PERSIST:
        do_persist(n, fx);
        break;
    case HANDOVER_FX_HV:
        do_hv(n, fx);
        break;
    case HANDOVER_FX_ADMIT:
        hwd->asked = fx->guest->disks[0];
        put(HW_DONE_ADMIT, n, 5 * VI_MSEC, &fx->id, hw_options.refuses ? VI_EREFUSED : 0);
        break;
    case HANDOVER_FX_END_STREAM:
        if (hw->streaming)
            hw->stream_broken = true;
        hwd_cut();
        break;
    case HANDOVER_FX_OVER:
        if (n == 0) {
            h->moved = fx->err == 0;
            h->failed = fx->err != 0;
        }
        break;
    case HANDOVER_FX_FORGET:
        for (unsigned i = 0; i < h->n_records; i++)
            if (vi_id_equal(&h->records[i].id, &fx->id))
                h->records[i].gone = true;
        break;
    case HANDOVER_FX_STATE:
        if (hw_options.states)
            hw_options.states(fx);
        break;
    default:
        break;
    }
}

static void check_one_runs(void)
{
    if (hw->h[0].dom == HW_RUNS && hw->h[1].dom == HW_RUNS)
        hw->twice++;
    else if (hw_options.disk)
        hwd_check(hw_runs_at());
}

/* The guest writes, wherever it runs. */
static void guest_writes(void)
{
    int n = hw_runs_at(), block;
    if (!hw_options.disk || n < 0 || hw->n >= HW_QUEUE || vi_rng_below(&hw->rng, 2))
        return;
    block = hwd_guest_writes(n, &hw->rng);
    if (block < 0)
        return;
    put(HW_WRITE_LANDS, n, (vi_time)(1 + vi_rng_below(&hw->rng, 1200)) * VI_MSEC, NULL, 0);
    hw->queue[hw->n - 1].block = (unsigned)block;
    hw->queue[hw->n - 1].written = hwd->pending[block];
}

static void strike_due(void)
{
    for (int k = 0; k < 2; k++)
        if (hw->due[k]) {
            hw->due[k] = false;
            strike(hw->what[k]);
        }
}

static void drain(int n)
{
    const struct handover_effect *fx;
    static struct handover_effect copy;
    while (hw->h[n].core && (fx = handovers_effect(hw->h[n].core))) {
        copy = *fx;
        perform(n, &copy);
        check_one_runs();
    }
}

void hw_step(int n, struct handover_event *ev)
{
    if (!hw->h[n].core)
        return;
    guest_writes();
    handovers_step(hw->h[n].core, hw->now, ev);
    if (hw->due[0] || hw->due[1])
        strike_due(); /* a crash here loses the effects: nothing after this point was done */
    drain(n);
}

/* ---- what the hypervisor did meanwhile ---- */

/* As the agent does: a copy loses the mark and its suffix, if nobody renamed it, and runs. */
static void own_name(struct hw_host *h)
{
    if (strcmp(h->name, HW_NAME INCOMING) == 0)
        snprintf(h->name, sizeof h->name, HW_NAME);
    h->incoming = false;
    h->dom = HW_RUNS;
}

static void hv_done(struct hw_item *i, struct handover_event *ev)
{
    struct hw_host *h = &hw->h[i->to];
    bool other =
        h->dom == HW_ABSENT || h->domid != i->domid; /* the agent looks for this domain id */
    switch (i->op) {
    case HANDOVER_OP_SUSPEND:
        h->saving = false;
        if (other || (h->dom != HW_RUNS && h->dom != HW_SUSPENDED))
            ev->err = VI_ENOTFOUND;
        else if (hw->stream_broken || hw->now < hw->cut_until) {
            ev->err = VI_EIO; /* cut; the guest runs on, or stays as it is */
            hw->stream_broken = true;
        } else if (h->dom == HW_RUNS)
            ev->err = VI_ESTATE;
        break;
    case HANDOVER_OP_RESTORE:
        /* whole only if the source's end came through */
        if (hw->stream_broken || hw->now < hw->cut_until || hw->h[0].dom == HW_RUNS ||
            hw->h[0].rebuilding || hw->h[0].saving)
            ev->err = VI_EIO;
        else {
            h->dom = HW_PAUSED;
            h->incoming = true;
            h->request = HW_NOTHING;
            snprintf(h->name, sizeof h->name, HW_NAME INCOMING);
            h->domid = ++h->next_domid;
            ev->domid = h->domid;
        }
        hw->streaming = false;
        break;
    case HANDOVER_OP_QUERY:
        finish_query(h, ev);
        break;
    case HANDOVER_OP_RESUME:
        if (other)
            ev->err = VI_ENOTFOUND;
        else if (h->saving)
            ev->err = VI_EAGAIN;
        else if (h->dom == HW_SUSPENDED)
            h->dom = HW_RUNS;
        else
            ev->err = VI_ESTATE;
        break;
    case HANDOVER_OP_UNPAUSE:
        if (other)
            ev->err = VI_ENOTFOUND;
        else if (h->dom == HW_PAUSED)
            own_name(h);
        else if (h->dom != HW_RUNS)
            ev->err = VI_ESTATE;
        break;
    case HANDOVER_OP_DESTROY:
        if (other)
            ev->err = VI_ENOTFOUND;
        else
            no_domain(h);
        break;
    default:
        ev->err = hwd_op(i->to, i->op, &i->id, hw->now < hw->cut_until, hw->now);
        break;
    }
    check_one_runs();
    take_request(i->to);
}

static void step_again(const struct hw_item *i)
{
    put(HW_MIRROR_STEP, i->to, 700 * VI_MSEC, &i->id, 0);
    hw->queue[hw->n - 1].generation = i->generation;
}

/* One block more of the disk is at the other side. It goes on though nobody hears of it, until the next peer takes
 * the mirror down. */
static void mirror_step(const struct hw_item *i, bool stale)
{
    struct handover_event ev = {.kind = HANDOVER_EV_PROGRESS, .id = i->id};
    ev.err = hwd_mirror_step(hw->now < hw->cut_until, hw->now, &ev.done);
    if (ev.err || ev.done == HWD_SECTORS) {
        ev.kind = HANDOVER_EV_HV;
        ev.why = ev.err ? "the disks' stream was cut" : NULL;
    } else
        step_again(i);
    if (!stale)
        hw_step(i->to, &ev);
}

/* The guest is stopped, and its last pages are on their way. */
static void guest_stops(const struct hw_item *i)
{
    struct hw_host *h = &hw->h[i->to];
    if (h->dom == HW_RUNS && h->domid == i->domid && !hw->stream_broken &&
        hw->now >= hw->cut_until) {
        h->dom = HW_SUSPENDED;
        h->saving = true;
    }
}

static void arrive(struct hw_item *i)
{
    struct handover_event ev = {.id = i->id, .err = i->err, .peer = hw->h[1 - i->to].id};
    /* what was under way for a peer that crashed still happens to the domain, and nobody hears of
     * it */
    bool stale = i->generation != hw->h[i->to].generation;
    switch (i->kind) {
    case HW_MESSAGE:
        ev.kind = HANDOVER_EV_MESSAGE;
        ev.data = i->data;
        ev.len = i->len;
        hw_step(i->to, &ev);
        return;
    case HW_DONE_PERSIST:
        ev.kind = HANDOVER_EV_PERSISTED;
        ev.why = i->err ? "disk full" : NULL;
        break;
    case HW_DONE_HV:
        ev.kind = HANDOVER_EV_HV;
        if (!i->err)
            hv_done(i, &ev);
        break;
    case HW_DONE_ADMIT:
        ev.kind = HANDOVER_EV_ADMITTED;
        if (hwd->copy[1].kind == HWD_OLD)
            ev.bases[0] = hwd->copy[1].by;
        break;
    case HW_MIRROR_STEP:
        mirror_step(i, stale);
        return;
    case HW_WRITE_LANDS:
        hwd_lands(i->to, i->block, i->written, hw->h[i->to].dom == HW_RUNS);
        check_one_runs();
        return;
    case HW_GUEST_STOPS:
        guest_stops(i);
        return;
    case HW_REBUILT:
        rebuilt(i->to);
        check_one_runs();
        return;
    case HW_STREAM_COMES:
        if (stale || hw->stream_broken || !hw->h[1].core ||
            !handover_expects_stream(hw->h[1].core, &i->id, &hw->h[0].id)) {
            hw->stream_broken = true;
            return;
        }
        ev.kind = HANDOVER_EV_ARRIVING;
        break;
    }
    if (!stale)
        hw_step(i->to, &ev);
}

static int next_item(void)
{
    int best = -1;
    for (unsigned i = 0; i < hw->n; i++)
        if (best < 0 || hw->queue[i].at < hw->queue[best].at ||
            (hw->queue[i].at == hw->queue[best].at && hw->queue[i].seq < hw->queue[best].seq))
            best = (int)i;
    return best;
}

void hw_turn(vi_time until)
{
    while (hw->now < until) {
        int at = next_item();
        vi_time t = until;
        int tick = -1, boot = -1;
        if (at >= 0 && hw->queue[at].at < t)
            t = hw->queue[at].at;
        for (int n = 0; n < 2; n++) {
            vi_time dl = hw->h[n].core ? handovers_deadline(hw->h[n].core) : hw->h[n].back_at;
            if (dl < hw->now)
                dl = hw->now;
            if (dl < t) {
                t = dl;
                tick = hw->h[n].core ? n : -1;
                boot = hw->h[n].core ? -1 : n;
            }
        }
        hw->now = t;
        if (boot >= 0)
            start_peer(boot);
        else if (tick >= 0) {
            struct handover_event ev = {.kind = HANDOVER_EV_TICK};
            hw_step(tick, &ev);
        } else if (at >= 0 && hw->queue[at].at == t) {
            struct hw_item i = hw->queue[at];
            hw->queue[at] = hw->queue[--hw->n];
            arrive(&i);
        } else
            break;
    }
}

/* ---- beginning and end ---- */

static void make_host(int n)
{
    struct hw_host *h = &hw->h[n];
    crypto_sign_keypair(h->pk, h->sk);
    memset(h->id.b, n + 1, sizeof h->id.b);
    memset(h->boot.b, 0x40 + n, sizeof h->boot.b);
    memset(h->journal.b, 0x50 + n, sizeof h->journal.b);
    h->back_at = VI_NEVER;
}

static void older_move(const struct handover_guest *guest)
{
    static struct handover h;
    struct hw_host *s = &hw->h[0];
    memset(&h, 0, sizeof h);
    h.role = HANDOVER_SOURCE;
    memset(h.peer.b, 3, sizeof h.peer.b);
    h.boot = s->boot;
    h.domid = guest->domid;
    h.epoch = 2;
    h.guest = *guest;
    s->records[0].id = hw_older;
    s->records[0].len =
        (size_t)ho_record_encode(&h, HS_ABORTED, s->records[0].data, sizeof s->records[0].data);
    s->n_records = 1;
}

void hw_begin(uint64_t seed, bool older, unsigned a, enum hw_fault fa, unsigned b, enum hw_fault fb)
{
    static struct handover_guest guest;
    struct handover_event ev = {.kind = HANDOVER_EV_START, .guest = &guest, .epoch = 1};
    for (int n = 0; n < 2; n++)
        memset(&hw->h[n], 0, offsetof(struct hw_host, records));
    memset(&hw->now, 0, offsetof(struct hw, queue) - offsetof(struct hw, now));
    vi_rng_seed(&hw->rng, seed);
    hw->now = VI_SEC;
    make_host(0);
    make_host(1);
    hw->at[0] = a;
    hw->what[0] = fa;
    hw->at[1] = b;
    hw->what[1] = fb;
    hw->h[0].dom = HW_RUNS;
    hw->h[0].domid = hw->h[0].next_domid = 7;
    snprintf(hw->h[0].name, sizeof hw->h[0].name, HW_NAME);
    memset(guest.uuid.b, 9, sizeof guest.uuid.b);
    snprintf(guest.name, sizeof guest.name, HW_NAME);
    guest.domid = 7;
    guest.kb = 65536;
    guest.n_macs = 1;
    hwd_begin(hw_options.back, hw_options.stale);
    guest.n_disks = 0;
    if (hw_options.disk)
        hwd_describe(&guest);
    if (older)
        older_move(&guest);
    start_peer(0);
    start_peer(1);
    if (older)
        hw_turn(hw->now + VI_SEC);
    memset(ev.id.b, 0x77, sizeof ev.id.b);
    ev.peer = hw->h[1].id;
    hw_step(0, &ev);
}

void hw_end(void)
{
    handovers_free(hw->h[0].core);
    handovers_free(hw->h[1].core);
}

int hw_runs_at(void)
{
    return hw->h[0].dom == HW_RUNS ? 0 : hw->h[1].dom == HW_RUNS ? 1 : -1;
}

unsigned hw_running(void)
{
    return (hw->h[0].dom == HW_RUNS ? 1U : 0U) + (hw->h[1].dom == HW_RUNS ? 1U : 0U);
}
