/* The handover on virtual time: two hosts, a model hypervisor each that outlives its peer, a journal that
 * outlives both, a network that loses. Every fault point, on either side, with every fault, and then in
 * pairs. After every step: never two running copies. In the end: exactly one runs, or where a host died
 * with it or only a person can know, the guest is shown as undecided.
 *
 * CASE="a fault b fault" repeats one case (what a failure prints); PAIRS=0 leaves the pairs out. */
#include <malloc.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "policy/handover_internal.h"

enum fault { NONE, CRASH_S, CRASH_D, REBOOT_S, REBOOT_D, CUT, CUT_FOR_GOOD, DISK_S, DISK_D, XL_DESTROY_S,
             XL_DESTROY_D, XL_REBOOT_S, XL_REBOOT_D, XL_SHUTDOWN_S, XL_SHUTDOWN_D, PANIC_S, PANIC_D, FAULTS };
static const char *const fault_names[FAULTS] = {"none", "crash source", "crash destination", "reboot source",
                                                "reboot destination", "cut for 40 s", "cut for good",
                                                "journal of source fails", "journal of destination fails",
                                                "xl destroy at source", "xl destroy at destination",
                                                "xl reboot at source", "xl reboot at destination",
                                                "xl shutdown at source", "xl shutdown at destination",
                                                "guest panics at source, its domain is preserved",
                                                "guest panics at destination, its domain is preserved"};

#define POINTS   60  /* fault points met in one undisturbed handover are fewer */
#define QUEUE    256 /* more in flight fails the case */
#define RECORDS  128

enum domstate { ABSENT, RUNS, PAUSED, SUSPENDED, ENDED };

/* A reboot or a shutdown is a request in xenstore: a guest that is paused or suspended takes it once it runs. */
enum request { NOTHING, REBOOT, SHUTDOWN };

struct host {
    struct handovers *core; /* NULL: crashed */
    struct vi_id id, boot, journal;
    uint8_t pk[32], sk[64];
    enum domstate dom;
    uint32_t domid, next_domid;
    vi_time back_at, disk_fails_until;
    unsigned n_records, generation;
    struct {
        struct vi_id id;
        size_t len;
        bool gone;
        uint8_t data[HANDOVER_RECORD_MAX];
    } records[RECORDS];
    enum request request;
    bool killed_by_xl, moved, failed, saving; /* saving: the guest is stopped, its last pages are on their way */
};

enum item_kind { MESSAGE, DONE_PERSIST, DONE_HV, DONE_ADMIT, STREAM_COMES, GUEST_STOPS };

struct item {
    vi_time at;
    uint64_t seq;
    enum item_kind kind;
    int to;
    unsigned generation;
    struct vi_id id;
    enum handover_op op;
    int err;
    uint32_t domid; /* that the operation is for */
    size_t len;
    uint8_t data[HANDOVER_MESSAGE_MAX];
};

struct world {
    struct host h[2];
    vi_time now, cut_until;
    uint64_t seq;
    struct vi_rng rng;
    unsigned n;
    struct item queue[QUEUE];
    /* the faults of this case */
    unsigned point, at[2];
    enum fault what[2];
    bool streaming, stream_broken, overflow;
    unsigned twice;
};

static struct world *w;
static bool older; /* an earlier move of the guest, to a host that never answered, is still in the journal */
static const struct vi_id older_id = {.b = {0x66}};

static void put(enum item_kind kind, int to, vi_time delay, const struct vi_id *id, int err)
{
    struct item *i;
    if (w->n >= QUEUE) {
        w->overflow = true;
        return;
    }
    i = &w->queue[w->n++];
    memset(i, 0, sizeof *i);
    i->kind = kind;
    i->to = to;
    i->at = w->now + delay;
    i->seq = w->seq++;
    i->generation = w->h[to].generation;
    if (id)
        i->id = *id;
    i->err = err;
}

/* ---- faults ---- */

static void crash(int n)
{
    struct host *h = &w->h[n];
    handovers_free(h->core);
    h->core = NULL;
    h->generation++;
    h->back_at = w->now + 3 * VI_SEC;
    /* the agent ends the stream; what was suspended stays so, what came whole is built to its end */
    if (w->streaming && (w->h[0].dom == RUNS || w->h[0].saving))
        w->stream_broken = true;
}

static void reboot(int n)
{
    struct host *h = &w->h[n];
    crash(n);
    if (n == 1)
        w->stream_broken = true;
    h->boot.b[15]++;
    h->dom = ABSENT;
    h->saving = false;
    h->request = NOTHING;
    h->back_at = w->now + 30 * VI_SEC;
}

static void xl_destroy(int n)
{
    if (w->h[n].dom != ABSENT) {
        w->h[n].killed_by_xl = true;
        w->h[n].dom = ABSENT;
        w->h[n].request = NOTHING;
    }
}

/* The guest gets to run: what was asked of it meanwhile it does now. */
static void take_request(struct host *h)
{
    if (h->dom != RUNS)
        return;
    if (h->request == REBOOT)
        h->domid = ++h->next_domid;
    else if (h->request == SHUTDOWN) {
        h->killed_by_xl = true;
        h->dom = ABSENT;
    }
    h->request = NOTHING;
}

static void ask_guest(int n, enum request r)
{
    if (w->h[n].dom == ABSENT || w->h[n].dom == ENDED)
        return;
    w->h[n].request = r;
    take_request(&w->h[n]);
}

static void panic(int n)
{
    if (w->h[n].dom == RUNS) {
        w->h[n].dom = ENDED;
        w->h[n].killed_by_xl = true;
    }
}

static void strike(enum fault f)
{
    switch (f) {
    case CRASH_S: crash(0); break;
    case CRASH_D: crash(1); break;
    case REBOOT_S: reboot(0); break;
    case REBOOT_D: reboot(1); break;
    case CUT: w->cut_until = w->now + 40 * VI_SEC; break;
    case CUT_FOR_GOOD: w->cut_until = VI_NEVER; break;
    case DISK_S: w->h[0].disk_fails_until = w->now + 20 * VI_SEC; break;
    case DISK_D: w->h[1].disk_fails_until = w->now + 20 * VI_SEC; break;
    case XL_DESTROY_S: xl_destroy(0); break;
    case XL_DESTROY_D: xl_destroy(1); break;
    case XL_REBOOT_S: ask_guest(0, REBOOT); break;
    case XL_REBOOT_D: ask_guest(1, REBOOT); break;
    case XL_SHUTDOWN_S: ask_guest(0, SHUTDOWN); break;
    case XL_SHUTDOWN_D: ask_guest(1, SHUTDOWN); break;
    case PANIC_S: panic(0); break;
    case PANIC_D: panic(1); break;
    default: break;
    }
}

/* Counted in the order met; the fault strikes once the step that met it is over, before its effects. */
static int due[2];

static void on_fault(void *arg, const char *name)
{
    (void)arg;
    (void)name;
    for (int k = 0; k < 2; k++)
        if (w->what[k] != NONE && w->point == w->at[k])
            due[k] = 1;
    w->point++;
}

/* ---- a host ---- */

static bool key_of(void *arg, const struct vi_id *peer, uint8_t pk[32])
{
    (void)arg;
    for (int n = 0; n < 2; n++)
        if (vi_id_equal(peer, &w->h[n].id)) {
            memcpy(pk, w->h[n].pk, 32);
            return true;
        }
    return false;
}

static void step(int n, struct handover_event *ev);

static void start_peer(int n)
{
    struct host *h = &w->h[n];
    struct handover_config c = {.self = h->id, .journal = h->journal, .boot = h->boot, .key_of = key_of, .fault = on_fault};
    struct handover_event end = {.kind = HANDOVER_EV_RECORDS_END};
    memcpy(c.sign_key, h->sk, 64);
    h->core = handovers_new(&c, &w->rng, w->now);
    for (unsigned i = 0; i < h->n_records; i++) {
        struct handover_event ev = {.kind = HANDOVER_EV_RECORD, .id = h->records[i].id, .data = h->records[i].data,
                                    .len = h->records[i].len};
        if (!h->records[i].gone)
            handovers_step(h->core, w->now, &ev);
    }
    step(n, &end);
}

static void finish_query(struct host *h, struct handover_event *ev)
{
    ev->domain.known = true;
    ev->domain.there = h->dom != ABSENT;
    ev->domain.domid = h->domid;
    ev->domain.running = h->dom == RUNS;
    ev->domain.paused = h->dom == PAUSED;
    ev->domain.suspended = h->dom == SUSPENDED;
    ev->domain.incoming = h->dom == PAUSED;
}

static void do_persist(int n, const struct handover_effect *fx)
{
    struct host *h = &w->h[n];
    bool fails = w->now < h->disk_fails_until || h->n_records >= RECORDS;
    if (!fails) {
        h->records[h->n_records].id = fx->id;
        h->records[h->n_records].len = fx->len;
        h->records[h->n_records].gone = false;
        memcpy(h->records[h->n_records++].data, fx->data, fx->len);
    }
    put(DONE_PERSIST, n, 5 * VI_MSEC, &fx->id, fails ? VI_EIO : 0);
}

static void do_send(int n, const struct handover_effect *fx)
{
    struct item *i;
    if (!vi_id_equal(&fx->peer, &w->h[1 - n].id))
        return;
    if (w->now < w->cut_until || w->n >= QUEUE || vi_rng_below(&w->rng, 20) == 0)
        return;
    put(MESSAGE, 1 - n, (vi_time)(1 + vi_rng_below(&w->rng, 30)) * VI_MSEC, &fx->id, 0);
    i = &w->queue[w->n - 1];
    i->len = fx->len;
    memcpy(i->data, fx->data, fx->len);
    if (vi_rng_below(&w->rng, 20) == 0 && w->n < QUEUE) { /* and once more, later */
        w->queue[w->n] = *i;
        w->queue[w->n].at += 400 * VI_MSEC;
        w->queue[w->n++].seq = w->seq++;
    }
}

static void put_hv(int n, vi_time delay, const struct handover_effect *fx, int err)
{
    put(DONE_HV, n, delay, &fx->id, err);
    w->queue[w->n - 1].op = fx->op;
    w->queue[w->n - 1].domid = fx->domid;
}

static void do_hv(int n, const struct handover_effect *fx)
{
    switch (fx->op) {
    case HANDOVER_OP_SUSPEND:
        if (w->now < w->cut_until) {
            put_hv(n, 200 * VI_MSEC, fx, VI_EIO);
            return;
        }
        w->streaming = true;
        w->stream_broken = false;
        put(STREAM_COMES, 1, 20 * VI_MSEC, &fx->id, 0);
        put(GUEST_STOPS, n, 700 * VI_MSEC, &fx->id, 0);
        w->queue[w->n - 1].domid = fx->domid;
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
    struct host *h = &w->h[n];
    switch (fx->kind) {
    case HANDOVER_FX_SEND: do_send(n, fx); break;
    case HANDOVER_FX_PERSIST: do_persist(n, fx); break;
    case HANDOVER_FX_HV: do_hv(n, fx); break;
    case HANDOVER_FX_ADMIT: put(DONE_ADMIT, n, 5 * VI_MSEC, &fx->id, 0); break;
    case HANDOVER_FX_END_STREAM:
        if (w->streaming)
            w->stream_broken = true;
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
    default: break;
    }
}

static void check_one_runs(void)
{
    if (w->h[0].dom == RUNS && w->h[1].dom == RUNS)
        w->twice++;
}

static void strike_due(void)
{
    for (int k = 0; k < 2; k++)
        if (due[k]) {
            due[k] = 0;
            strike(w->what[k]);
        }
}

static void drain(int n)
{
    const struct handover_effect *fx;
    static struct handover_effect copy;
    while (w->h[n].core && (fx = handovers_effect(w->h[n].core))) {
        copy = *fx;
        perform(n, &copy);
        check_one_runs();
    }
}

static void step(int n, struct handover_event *ev)
{
    if (!w->h[n].core)
        return;
    handovers_step(w->h[n].core, w->now, ev);
    if (due[0] || due[1])
        strike_due(); /* a crash here loses the effects: nothing after this point was done */
    drain(n);
}

/* ---- what the hypervisor did meanwhile ---- */

static void hv_done(struct item *i, struct handover_event *ev)
{
    struct host *h = &w->h[i->to];
    bool other = h->dom == ABSENT || h->domid != i->domid; /* the agent looks for this domain id */
    switch (i->op) {
    case HANDOVER_OP_SUSPEND:
        h->saving = false;
        if (other || (h->dom != RUNS && h->dom != SUSPENDED))
            ev->err = VI_ENOTFOUND;
        else if (w->stream_broken || w->now < w->cut_until) {
            ev->err = VI_EIO; /* cut; the guest runs on, or stays as it is */
            w->stream_broken = true;
        } else if (h->dom == RUNS)
            ev->err = VI_ESTATE;
        break;
    case HANDOVER_OP_RESTORE:
        /* whole only if the source's end came through */
        if (w->stream_broken || w->now < w->cut_until || w->h[0].dom == RUNS || w->h[0].saving)
            ev->err = VI_EIO;
        else {
            h->dom = PAUSED;
            h->request = NOTHING;
            h->domid = ++h->next_domid;
            ev->domid = h->domid;
        }
        w->streaming = false;
        break;
    case HANDOVER_OP_QUERY: finish_query(h, ev); break;
    case HANDOVER_OP_RESUME:
        if (other)
            ev->err = VI_ENOTFOUND;
        else if (h->saving)
            ev->err = VI_EAGAIN;
        else if (h->dom == SUSPENDED)
            h->dom = RUNS;
        else
            ev->err = VI_ESTATE;
        break;
    case HANDOVER_OP_UNPAUSE:
        if (other)
            ev->err = VI_ENOTFOUND;
        else if (h->dom == PAUSED)
            h->dom = RUNS;
        else if (h->dom != RUNS)
            ev->err = VI_ESTATE;
        break;
    case HANDOVER_OP_DESTROY:
        if (other)
            ev->err = VI_ENOTFOUND;
        else
            h->dom = ABSENT;
        break;
    }
    check_one_runs();
    take_request(h);
}

static void arrive(struct item *i)
{
    struct handover_event ev = {.id = i->id, .err = i->err, .peer = w->h[1 - i->to].id};
    /* what was under way for a peer that crashed still happens to the domain, and nobody hears of it */
    bool stale = i->generation != w->h[i->to].generation;
    switch (i->kind) {
    case MESSAGE:
        ev.kind = HANDOVER_EV_MESSAGE;
        ev.data = i->data;
        ev.len = i->len;
        step(i->to, &ev);
        return;
    case DONE_PERSIST: ev.kind = HANDOVER_EV_PERSISTED; ev.why = i->err ? "disk full" : NULL; break;
    case DONE_HV:
        ev.kind = HANDOVER_EV_HV;
        if (!i->err)
            hv_done(i, &ev);
        break;
    case DONE_ADMIT: ev.kind = HANDOVER_EV_ADMITTED; break;
    case GUEST_STOPS: {
        struct host *h = &w->h[i->to];
        if (h->dom == RUNS && h->domid == i->domid && !w->stream_broken && w->now >= w->cut_until) {
            h->dom = SUSPENDED;
            h->saving = true;
        }
        return;
    }
    case STREAM_COMES:
        if (stale || w->stream_broken || !w->h[1].core ||
            !handover_expects_stream(w->h[1].core, &i->id, &w->h[0].id)) {
            w->stream_broken = true;
            return;
        }
        ev.kind = HANDOVER_EV_ARRIVING;
        break;
    }
    if (!stale)
        step(i->to, &ev);
}

static int next_item(void)
{
    int best = -1;
    for (unsigned i = 0; i < w->n; i++)
        if (best < 0 || w->queue[i].at < w->queue[best].at ||
            (w->queue[i].at == w->queue[best].at && w->queue[i].seq < w->queue[best].seq))
            best = (int)i;
    return best;
}

static void turn(vi_time until)
{
    while (w->now < until) {
        int at = next_item();
        vi_time t = until;
        int tick = -1, boot = -1;
        if (at >= 0 && w->queue[at].at < t)
            t = w->queue[at].at;
        for (int n = 0; n < 2; n++) {
            vi_time dl = w->h[n].core ? handovers_deadline(w->h[n].core) : w->h[n].back_at;
            if (dl < w->now)
                dl = w->now;
            if (dl < t) {
                t = dl;
                tick = w->h[n].core ? n : -1;
                boot = w->h[n].core ? -1 : n;
            }
        }
        w->now = t;
        if (boot >= 0)
            start_peer(boot);
        else if (tick >= 0) {
            struct handover_event ev = {.kind = HANDOVER_EV_TICK};
            step(tick, &ev);
        } else if (at >= 0 && w->queue[at].at == t) {
            struct item i = w->queue[at];
            w->queue[at] = w->queue[--w->n];
            arrive(&i);
        } else
            break;
    }
}

static bool undecided(void)
{
    for (int n = 0; n < 2; n++) {
        struct handover_view v;
        unsigned pos = 0;
        while (w->h[n].core && handover_next(w->h[n].core, &pos, &v))
            if (!vi_id_equal(&v.id, &older_id) && (!v.over || v.undecided))
                return true;
    }
    return false;
}

/* A handover that goes on for ever without asking a person: somebody's copy would stay suspended. */
static bool endless(void)
{
    for (int n = 0; n < 2; n++) {
        struct handover_view v;
        unsigned pos = 0;
        while (w->h[n].core && handover_next(w->h[n].core, &pos, &v))
            if (!vi_id_equal(&v.id, &older_id) && !v.over && !v.undecided)
                return true;
    }
    return false;
}

static bool has(enum fault f)
{
    return w->what[0] == f || w->what[1] == f;
}

static const char *judge(void)
{
    int running = (w->h[0].dom == RUNS) + (w->h[1].dom == RUNS);
    bool host_died = has(REBOOT_S) || has(REBOOT_D), by_xl = w->h[0].killed_by_xl || w->h[1].killed_by_xl;
    if (w->overflow)
        return "too much was in flight";
    if (w->twice)
        return "two copies ran";
    if (!has(CUT_FOR_GOOD) && endless())
        return "it never ends";
    for (int n = 0; !undecided() && n < 2; n++)
        if (w->h[n].dom == PAUSED || w->h[n].dom == SUSPENDED)
            return "a copy is left that nobody has in hand";
    if (running == 1)
        return NULL;
    if (host_died || by_xl)
        return NULL; /* it died with the host, or somebody ended it */
    if (has(CUT_FOR_GOOD) && undecided())
        return NULL;
    return undecided() ? "no copy runs though both can speak" : "no copy runs, and nobody says so";
}

/* An undecided handover is decided, knowing where the guest runs; then nothing may be open any more. */
static const char *operator_decides(void)
{
    for (int n = 0; n < 2; n++) {
        struct handover_view v;
        unsigned pos = 0;
        while (w->h[n].core && handover_next(w->h[n].core, &pos, &v)) {
            struct handover_event ev = {.kind = HANDOVER_EV_RESOLVE, .id = v.id,
                                        .keep = n == 0 && w->h[1].dom != RUNS};
            if (v.undecided)
                step(n, &ev);
        }
    }
    turn(w->now + 300 * VI_SEC);
    if (w->twice)
        return "two copies ran after an operator's decision";
    return undecided() ? "an operator's decision does not end it" : NULL;
}

static void older_move(const struct handover_guest *guest)
{
    static struct handover h;
    struct host *s = &w->h[0];
    memset(&h, 0, sizeof h);
    h.role = HANDOVER_SOURCE;
    memset(h.peer.b, 3, sizeof h.peer.b);
    h.boot = s->boot;
    h.domid = guest->domid;
    h.epoch = 2;
    h.guest = *guest;
    s->records[0].id = older_id;
    s->records[0].len = (size_t)ho_record_encode(&h, HS_ABORTED, s->records[0].data, sizeof s->records[0].data);
    s->n_records = 1;
}

static void make_host(int n)
{
    struct host *h = &w->h[n];
    crypto_sign_keypair(h->pk, h->sk);
    memset(h->id.b, n + 1, sizeof h->id.b);
    memset(h->boot.b, 0x40 + n, sizeof h->boot.b);
    memset(h->journal.b, 0x50 + n, sizeof h->journal.b);
    h->back_at = VI_NEVER;
}

static const char *play(unsigned a, enum fault fa, unsigned b, enum fault fb, unsigned *points)
{
    static struct handover_guest guest;
    struct handover_event ev = {.kind = HANDOVER_EV_START, .guest = &guest, .epoch = 1};
    const char *bad;
    memset(w, 0, sizeof *w);
    due[0] = due[1] = 0;
    vi_rng_seed(&w->rng, a * 1000003ULL + b * 31ULL + (unsigned)fa * 7ULL + (unsigned)fb);
    w->now = VI_SEC;
    make_host(0);
    make_host(1);
    w->at[0] = a;
    w->what[0] = fa;
    w->at[1] = b;
    w->what[1] = fb;
    w->h[0].dom = RUNS;
    w->h[0].domid = w->h[0].next_domid = 7;
    memset(guest.uuid.b, 9, sizeof guest.uuid.b);
    snprintf(guest.name, sizeof guest.name, "g");
    guest.domid = 7;
    guest.kb = 65536;
    guest.n_macs = 1;
    if (older)
        older_move(&guest);
    start_peer(0);
    start_peer(1);
    if (older)
        turn(w->now + VI_SEC);
    memset(ev.id.b, 0x77, sizeof ev.id.b);
    ev.peer = w->h[1].id;
    step(0, &ev);
    turn(w->now + 600 * VI_SEC);
    *points = w->point;
    bad = judge();
    if (!bad && !has(CUT_FOR_GOOD))
        bad = operator_decides();
    handovers_free(w->h[0].core);
    handovers_free(w->h[1].core);
    return bad;
}

static unsigned passed, failed;

static void run_case(unsigned a, enum fault fa, unsigned b, enum fault fb)
{
    unsigned points;
    const char *bad = play(a, fa, b, fb, &points);
    if (!bad) {
        passed++;
        return;
    }
    failed++;
    if (failed <= 20)
        printf("%sCASE=\"%u %d %u %d\": %s (%s at point %u, %s at point %u); source %d, destination %d\n", older ? "OLDER=1 " : "", a, fa, b, fb, bad,
               fault_names[fa], a, fault_names[fb], b, w->h[0].dom, w->h[1].dom);
}

int main(void)
{
    const char *one = getenv("CASE"), *pairs = getenv("PAIRS");
    unsigned points = 0, a, b;
    int fa, fb;
    /* each case makes and frees the same large things */
    mallopt(M_MMAP_THRESHOLD, 64 << 20);
    mallopt(M_TRIM_THRESHOLD, 64 << 20);
    w = calloc(1, sizeof *w);
    if (!w || sodium_init() < 0)
        return 1;
    older = getenv("OLDER") != NULL;
    if (one && sscanf(one, "%u %d %u %d", &a, &fa, &b, &fb) == 4) {
        run_case(a, (enum fault)fa, b, (enum fault)fb);
        printf("handover: %u passed, %u failed\n", passed, failed);
        return failed > 0;
    }
    if (play(0, NONE, 0, NONE, &points) || !w->h[0].moved) {
        printf("an undisturbed handover fails\n");
        failed++;
    } else
        passed++;
    for (a = 0; a <= points; a++)
        for (fa = CRASH_S; fa < FAULTS; fa++)
            run_case(a, (enum fault)fa, 0, NONE);
    older = true;
    for (a = 0; a <= points; a++)
        for (fa = CRASH_S; fa < FAULTS; fa++)
            run_case(a, (enum fault)fa, 0, NONE);
    older = false;
    for (a = 0; (!pairs || strcmp(pairs, "0") != 0) && a <= points; a++)
        for (b = a; b <= points + 6; b++)
            for (fa = CRASH_S; fa < FAULTS; fa++)
                for (fb = CRASH_S; fb < FAULTS; fb++)
                    run_case(a, (enum fault)fa, b, (enum fault)fb);
    printf("%u fault points in one handover\n", points);
    printf("handover: %u passed, %u failed\n", passed, failed);
    free(w);
    return failed > 0;
}
