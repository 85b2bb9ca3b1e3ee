/* The world that environments move in. See envmove_world.h. */
#include "tests/sim/envmove_world.h"

#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "tests/sim/envmove_hooks.h"

const char *const ew_fault_names[EW_FAULTS] = {
    "none", "crash", "reboot", "crash of the other representative", "cut", "long cut", "full disk", "second representative"};

static struct ew world;
struct ew *ew = &world;

enum kind { K_MESSAGE, K_HANDOVER_MESSAGE, K_PERSISTED, K_HANDOVER_PERSISTED, K_HV, K_ADMIT, K_STREAM, K_STOPS };

struct item {
    vi_time at;
    uint64_t seq;
    enum kind kind;
    unsigned to, from, generation;
    struct vi_id id;
    enum handover_op op;
    unsigned guest;
    uint32_t domid;
    int err;
    size_t len;
    uint8_t *data;
};

static struct item *queue;
static unsigned n_queue, cap_queue;

/* One stream of a handover, on its way. */
struct stream {
    bool used, broken;
    struct vi_id id;
    unsigned from, to;
};
#define STREAMS 64
static struct stream streams[STREAMS];

void ew_bad(const char *fmt, ...)
{
    va_list ap;
    if (ew->bad[0])
        return;
    va_start(ap, fmt);
    vsnprintf(ew->bad, sizeof ew->bad, fmt, ap);
    va_end(ap);
}

/* ---- the queue: a heap by (at, seq) ---- */

static bool before(const struct item *a, const struct item *b)
{
    return a->at < b->at || (a->at == b->at && a->seq < b->seq);
}

static struct item *put(enum kind kind, unsigned to, vi_time delay)
{
    unsigned i;
    struct item it = {.kind = kind, .to = to, .at = ew->now + delay, .seq = ew->seq++,
                      .generation = ew->host[to].generation};
    if (n_queue == cap_queue) {
        cap_queue = cap_queue ? cap_queue * 2 : 1024;
        queue = realloc(queue, cap_queue * sizeof *queue);
        if (!queue)
            abort();
    }
    for (i = n_queue++; i > 0 && before(&it, &queue[(i - 1) / 2]); i = (i - 1) / 2)
        queue[i] = queue[(i - 1) / 2];
    queue[i] = it;
    return &queue[i];
}

static struct item take(void)
{
    struct item top = queue[0], last = queue[--n_queue];
    unsigned i = 0, k;
    while ((k = 2 * i + 1) < n_queue) {
        if (k + 1 < n_queue && before(&queue[k + 1], &queue[k]))
            k++;
        if (!before(&queue[k], &last))
            break;
        queue[i] = queue[k];
        i = k;
    }
    queue[i] = last;
    return top;
}

/* ---- clocks, hosts ---- */

vi_time ew_local(const struct ew_host *h)
{
    return h->offset + (vi_time)((double)ew->now * h->rate);
}

unsigned ew_host_of(const struct vi_id *id)
{
    for (unsigned i = 0; i < ew->n_hosts; i++)
        if (vi_id_equal(&ew->host[i].id, id))
            return i;
    return ew->n_hosts;
}

unsigned ew_guest_of(const struct vi_id *uuid)
{
    for (unsigned i = 0; i < ew->n_guests; i++)
        if (vi_id_equal(&ew->guest[i].uuid, uuid))
            return i;
    return ew->n_guests;
}

unsigned ew_running(unsigned guest, int *where)
{
    unsigned n = 0;
    for (unsigned i = 0; i < ew->n_hosts; i++)
        if (ew->host[i].copy[guest].is == EW_RUNS) {
            n++;
            if (where)
                *where = (int)i;
        }
    return n;
}

static bool cut(unsigned a, unsigned b)
{
    unsigned x = ew->host[a].domain, y = ew->host[b].domain;
    return x != y && (ew->now < ew->cut_until[x] || ew->now < ew->cut_until[y]);
}

/* ---- faults ---- */

static void crash(unsigned n)
{
    struct ew_host *h = &ew->host[n];
    if (!h->moves)
        return;
    envmoves_free(h->moves);
    handovers_free(h->handovers);
    h->moves = NULL;
    h->handovers = NULL;
    h->generation++;
    h->represents = false;
    h->back_at = ew->now + 3 * VI_SEC;
    for (unsigned i = 0; i < STREAMS; i++) { /* its agent ends the stream; what came whole is built to its end */
        struct stream *x = &streams[i];
        if (x->used && (x->from == n || x->to == n))
            for (unsigned g = 0; g < ew->n_guests; g++)
                if (ew->host[x->from].copy[g].is == EW_RUNS || ew->host[x->from].copy[g].saving)
                    x->broken = true;
    }
    if (ew->rep[h->domain] == n)
        ew->rep_changes[h->domain] = ew->now + 6 * VI_SEC;
}

static void reboot(unsigned n)
{
    struct ew_host *h = &ew->host[n];
    crash(n);
    for (unsigned i = 0; i < STREAMS; i++)
        if (streams[i].used && (streams[i].from == n || streams[i].to == n))
            streams[i].broken = true;
    for (unsigned g = 0; g < ew->n_guests; g++) {
        if (h->copy[g].is != EW_ABSENT)
            ew->guest[g].may_be_gone = true;
        h->copy[g].is = EW_ABSENT;
        h->copy[g].incoming = h->copy[g].saving = false;
    }
    h->boot.b[15]++;
    h->offset = 0;
    h->back_at = ew->now + 30 * VI_SEC;
}

static unsigned other_alive(unsigned domain, unsigned but)
{
    for (unsigned i = 0; i < ew->n_hosts; i++)
        if (ew->host[i].domain == domain && i != but && ew->host[i].moves)
            return i;
    return but;
}

static void set_rep(unsigned domain, unsigned n)
{
    struct envmove_event on = {.kind = ENVMOVE_EV_REPRESENT, .on = true};
    ew->rep[domain] = n;
    if (ew->host[n].moves) {
        ew->host[n].represents = true;
        envmoves_step(ew->host[n].moves, ew_local(&ew->host[n]), &on);
    }
}

static void strike(void)
{
    enum ew_fault f = ew->due;
    unsigned n = (unsigned)ew->due_host, d = ew->host[n].domain;
    ew->due = EW_NONE;
    switch (f) {
    case EW_CRASH: crash(n); break;
    case EW_REBOOT: reboot(n); break;
    case EW_CRASH_OTHER_REP: crash(ew->rep[(d + 1) % ew->n_domains]); break;
    case EW_CUT: ew->cut_until[d] = ew->now + (vi_time)(5 + vi_rng_below(&ew->rng, 90)) * VI_SEC; break;
    case EW_CUT_LONG: ew->cut_until[d] = ew->now + (vi_time)(120 + vi_rng_below(&ew->rng, 800)) * VI_SEC; break;
    case EW_DISK: ew->host[n].disk_fails_until = ew->now + 20 * VI_SEC; break;
    case EW_SECOND_REP: set_rep(d, other_alive(d, ew->rep[d])); break; /* the other one goes on for itself */
    default: break;
    }
}

static void met(unsigned n)
{
    for (unsigned k = 0; k < ew->n_faults; k++)
        if (ew->point == ew->at[k]) {
            ew->due = ew->what[k];
            ew->due_host = (int)n;
        }
    ew->point++;
}

static void on_fault(void *arg, const char *name)
{
    if (!ew->at_go || !strncmp(name, "envmove.go", 10))
        met((unsigned)(uintptr_t)arg);
}

/* ---- journal ---- */

static void write_record(struct ew_host *h, const struct vi_id *key, bool of_handover, const uint8_t *data, size_t len)
{
    struct ew_record *r = NULL;
    for (unsigned i = 0; i < h->n_records && !r; i++)
        if (h->record[i].gone || (vi_id_equal(&h->record[i].key, key) && h->record[i].of_handover == of_handover))
            r = &h->record[i];
    for (unsigned i = 0; i < h->n_records; i++) /* its own before a free one */
        if (!h->record[i].gone && vi_id_equal(&h->record[i].key, key) && h->record[i].of_handover == of_handover)
            r = &h->record[i];
    if (!r && h->n_records < EW_RECORDS)
        r = &h->record[h->n_records++];
    if (!r) {
        ew_bad("a journal is full");
        return;
    }
    r->key = *key;
    r->boot = h->boot;
    r->gone = false;
    r->of_handover = of_handover;
    r->len = len;
    memcpy(r->data, data, len);
}

static void forget_record(struct ew_host *h, const struct vi_id *key, bool of_handover)
{
    for (unsigned i = 0; i < h->n_records; i++)
        if (vi_id_equal(&h->record[i].key, key) && h->record[i].of_handover == of_handover)
            h->record[i].gone = true;
}

static void persist(unsigned n, bool of_handover, const struct vi_id *key, const uint8_t *data, size_t len)
{
    struct ew_host *h = &ew->host[n];
    bool fails = ew->now < h->disk_fails_until;
    struct item *i;
    if (!fails)
        write_record(h, key, of_handover, data, len);
    if (!fails && !of_handover)
        ew_look_at_record(n, data, len);
    i = put(of_handover ? K_HANDOVER_PERSISTED : K_PERSISTED, n, 5 * VI_MSEC);
    i->id = *key;
    i->err = fails ? VI_EIO : 0;
}

/* ---- network ---- */

static void send(unsigned n, enum kind kind, const struct vi_id *peer, const uint8_t *data, size_t len)
{
    unsigned to = ew_host_of(peer);
    unsigned times = vi_rng_below(&ew->rng, 30) == 0 ? 2 : 1;
    ew->sent++;
    if (to >= ew->n_hosts || len == 0) {
        ew_bad("a message to nobody, or that can't be encoded");
        return;
    }
    if (cut(n, to) || vi_rng_below(&ew->rng, 100) < ew->loss)
        return;
    while (times-- > 0) {
        struct item *i = put(kind, to, (vi_time)(1 + vi_rng_below(&ew->rng, (uint32_t)(ew->delay / VI_MSEC))) * VI_MSEC);
        i->from = n;
        i->len = len;
        i->data = malloc(len);
        if (!i->data)
            abort();
        memcpy(i->data, data, len);
        i->generation = 0;
    }
}

/* ---- the handover's effects ---- */

static struct stream *stream_of(const struct vi_id *id)
{
    for (unsigned i = 0; i < STREAMS; i++)
        if (streams[i].used && vi_id_equal(&streams[i].id, id))
            return &streams[i];
    return NULL;
}

static void put_hv(unsigned n, vi_time delay, const struct handover_effect *fx, int err)
{
    struct item *i = put(K_HV, n, delay);
    i->id = fx->id;
    i->op = fx->op;
    i->guest = ew_guest_of(&fx->guest->uuid);
    i->domid = fx->domid;
    i->err = err;
}

static void suspend(unsigned n, const struct handover_effect *fx)
{
    unsigned to = ew_host_of(&fx->peer);
    struct stream *x = NULL;
    struct item *i;
    for (unsigned k = 0; k < STREAMS && !x; k++)
        if (!streams[k].used)
            x = &streams[k];
    if (!x || cut(n, to) || !ew->host[to].moves) {
        put_hv(n, 200 * VI_MSEC, fx, VI_EIO);
        return;
    }
    *x = (struct stream){.used = true, .id = fx->id, .from = n, .to = to};
    i = put(K_STREAM, to, 20 * VI_MSEC);
    i->id = fx->id;
    i = put(K_STOPS, n, 700 * VI_MSEC);
    i->id = fx->id;
    i->guest = ew_guest_of(&fx->guest->uuid);
    i->domid = fx->domid;
    i->generation = 0;
    put_hv(n, 900 * VI_MSEC, fx, 0);
}

static void do_handover(unsigned n, const struct handover_effect *fx)
{
    struct ew_host *h = &ew->host[n];
    struct envmove_event moved = {.kind = ENVMOVE_EV_MOVED, .peer = fx->peer, .err = fx->err, .why = fx->why};
    struct item *i;
    struct stream *x;
    switch (fx->kind) {
    case HANDOVER_FX_SEND:
        send(n, K_HANDOVER_MESSAGE, &fx->peer, fx->data, fx->len);
        break;
    case HANDOVER_FX_PERSIST:
        persist(n, true, &fx->id, fx->data, fx->len);
        break;
    case HANDOVER_FX_HV:
        if (fx->op == HANDOVER_OP_SUSPEND)
            suspend(n, fx);
        else
            put_hv(n, fx->op == HANDOVER_OP_RESTORE ? VI_SEC : 30 * VI_MSEC, fx, 0);
        break;
    case HANDOVER_FX_ADMIT:
        i = put(K_ADMIT, n, 5 * VI_MSEC);
        i->id = fx->id;
        break;
    case HANDOVER_FX_END_STREAM:
        x = stream_of(&fx->id);
        if (x)
            x->broken = true;
        break;
    case HANDOVER_FX_OVER:
        if (fx->role == HANDOVER_SOURCE) {
            moved.guest = fx->guest->uuid;
            envmoves_step(h->moves, ew_local(h), &moved);
        } else if (!fx->err) {
            moved.kind = ENVMOVE_EV_CAME;
            moved.guest = fx->guest->uuid;
            envmoves_step(h->moves, ew_local(h), &moved);
        }
        break;
    case HANDOVER_FX_FORGET:
        forget_record(h, &fx->id, true);
        break;
    default:
        break;
    }
}

/* ---- the moves' effects ---- */

static void hand_over(unsigned n, const struct envmove_effect *fx)
{
    struct ew_host *h = &ew->host[n];
    static struct handover_guest g;
    struct handover_event ev = {.kind = HANDOVER_EV_START, .peer = fx->peer, .guest = &g, .epoch = 1};
    struct envmove_event moved = {.kind = ENVMOVE_EV_MOVED, .guest = fx->guest, .peer = fx->peer};
    unsigned k = ew_guest_of(&fx->guest);
    ew->shifts += fx->shift;
    if (!fx->shift)
        ew_look_at_move(n, fx);
    memset(&g, 0, sizeof g);
    g.uuid = fx->guest;
    g.env = ew->env[ew->guest[k].env].id;
    g.domid = h->copy[k].domid;
    g.kb = ew->guest[k].kb;
    g.pct = ew->guest[k].pct;
    vi_rng_id(&ew->rng, &ev.id);
    moved.err = h->copy[k].is == EW_RUNS ? handovers_step(h->handovers, ew_local(h), &ev) : VI_ESTATE;
    if (moved.err)
        envmoves_step(h->moves, ew_local(h), &moved);
}

static void do_move(unsigned n, const struct envmove_effect *fx)
{
    switch (fx->kind) {
    case ENVMOVE_FX_SEND:
        ew->gos += fx->data[2] == EM_GO;
        send(n, K_MESSAGE, &fx->peer, fx->data, fx->len);
        break;
    case ENVMOVE_FX_PERSIST:
        persist(n, false, &fx->id, fx->data, fx->len);
        break;
    case ENVMOVE_FX_FORGET:
        forget_record(&ew->host[n], &fx->id, false);
        break;
    case ENVMOVE_FX_MOVE:
        hand_over(n, fx);
        break;
    case ENVMOVE_FX_NOTE:
        ew_note(n, fx);
        break;
    default:
        break;
    }
}

static void drain(unsigned n)
{
    struct ew_host *h = &ew->host[n];
    static struct handover_effect hcopy;
    static struct envmove_effect mcopy;
    bool more = true;
    while (more && h->moves) {
        const struct envmove_effect *m = NULL;
        const struct handover_effect *e = NULL;
        if (ew->due != EW_NONE) {
            strike(); /* effects of the step that met it are lost if it died: nothing after that point was done */
            continue;
        }
        more = false;
        if ((m = envmoves_effect(h->moves))) {
            mcopy = *m;
            do_move(n, &mcopy);
            more = true;
        } else if ((e = handovers_effect(h->handovers))) {
            hcopy = *e;
            do_handover(n, &hcopy);
            more = true;
        }
    }
    if (ew->due != EW_NONE)
        strike();
    ew_look_at_host(n);
}

/* ---- what the hypervisor did ---- */

static void hv_suspended(struct ew_host *h, struct item *i, struct handover_event *ev)
{
    struct stream *x = stream_of(&i->id);
    h->copy[i->guest].saving = false;
    if (i->err || h->copy[i->guest].is == EW_ABSENT || h->copy[i->guest].domid != i->domid)
        ev->err = i->err ? i->err : VI_ENOTFOUND;
    else if (!x || x->broken || cut(x->from, x->to)) {
        ev->err = VI_EIO;
        if (x)
            x->broken = true;
    } else if (h->copy[i->guest].is == EW_RUNS)
        ev->err = VI_ESTATE;
}

static void hv_restored(struct ew_host *h, struct item *i, struct handover_event *ev)
{
    struct stream *x = stream_of(&i->id);
    const struct ew_host *from = x ? &ew->host[x->from] : NULL;
    bool whole = x && !x->broken && !cut(x->from, x->to) && from->copy[i->guest].is == EW_SUSPENDED &&
                 !from->copy[i->guest].saving;
    if (!whole || h->copy[i->guest].is != EW_ABSENT) {
        ev->err = VI_EIO;
        return;
    }
    h->copy[i->guest].is = EW_PAUSED;
    h->copy[i->guest].incoming = true;
    h->copy[i->guest].domid = ++h->next_domid;
    ev->domid = h->copy[i->guest].domid;
    x->used = false;
}

static void hv_done(struct item *i, struct handover_event *ev)
{
    struct ew_host *h = &ew->host[i->to];
    bool there = h->copy[i->guest].is != EW_ABSENT && h->copy[i->guest].domid == i->domid;
    switch (i->op) {
    case HANDOVER_OP_SUSPEND: hv_suspended(h, i, ev); break;
    case HANDOVER_OP_RESTORE: hv_restored(h, i, ev); break;
    case HANDOVER_OP_QUERY:
        ev->domain.known = true;
        ev->domain.there = h->copy[i->guest].is != EW_ABSENT;
        ev->domain.domid = h->copy[i->guest].domid;
        ev->domain.incoming = h->copy[i->guest].incoming;
        ev->domain.running = h->copy[i->guest].is == EW_RUNS;
        ev->domain.paused = h->copy[i->guest].is == EW_PAUSED;
        ev->domain.suspended = h->copy[i->guest].is == EW_SUSPENDED;
        break;
    case HANDOVER_OP_RESUME:
    case HANDOVER_OP_UNPAUSE:
        if (!there)
            ev->err = VI_ENOTFOUND;
        else {
            h->copy[i->guest].is = EW_RUNS;
            h->copy[i->guest].incoming = false;
        }
        break;
    case HANDOVER_OP_DESTROY:
        if (!there)
            ev->err = VI_ENOTFOUND;
        else
            h->copy[i->guest].is = EW_ABSENT;
        break;
    default: /* no guest here has disks that move */
        ev->err = VI_EUNSUPPORTED;
        break;
    }
}

/* The save helper stops the guest, whether its peer lives or not. */
static void stops(struct item *i)
{
    struct ew_host *h = &ew->host[i->to];
    struct stream *x = stream_of(&i->id);
    if (!x || x->broken || cut(x->from, x->to) || h->copy[i->guest].is != EW_RUNS ||
        h->copy[i->guest].domid != i->domid)
        return;
    h->copy[i->guest].is = EW_SUSPENDED;
}

/* ---- what comes ---- */

static void deliver(struct item *i)
{
    struct ew_host *h = &ew->host[i->to];
    struct handover_event ev = {.id = i->id, .err = i->err, .peer = ew->host[i->from].id, .data = i->data,
                                .len = i->len};
    struct envmove_event mv = {.id = i->id, .err = i->err, .peer = ew->host[i->from].id, .data = i->data,
                               .len = i->len};
    char why[ENVMOVE_WHY] = "";
    if (i->kind == K_STOPS) {
        stops(i);
        return;
    }
    if (i->kind == K_HV)
        hv_done(i, &ev);
    if (!h->moves || (i->generation && i->generation != h->generation))
        return;
    switch (i->kind) {
    case K_MESSAGE:
        mv.kind = ENVMOVE_EV_MESSAGE;
        envmoves_step(h->moves, ew_local(h), &mv);
        break;
    case K_PERSISTED:
        mv.kind = ENVMOVE_EV_PERSISTED;
        envmoves_step(h->moves, ew_local(h), &mv);
        break;
    default:
        ev.kind = i->kind == K_HANDOVER_MESSAGE     ? HANDOVER_EV_MESSAGE
                  : i->kind == K_HANDOVER_PERSISTED ? HANDOVER_EV_PERSISTED
                  : i->kind == K_HV                 ? HANDOVER_EV_HV
                  : i->kind == K_ADMIT              ? HANDOVER_EV_ADMITTED
                                                    : HANDOVER_EV_ARRIVING;
        if (i->kind == K_ADMIT) {
            ev.err = ew_admit(i->to, &i->id, why, sizeof why);
            ev.why = why;
        }
        handovers_step(h->handovers, ew_local(h), &ev);
        break;
    }
    drain(i->to);
}

/* ---- peers start, time goes on ---- */

static void start_peer(unsigned n)
{
    struct ew_host *h = &ew->host[n];
    struct handover_config hc = {.self = h->id, .journal = h->journal, .boot = h->boot, .key_of = ew_key_of,
                                 .fault = on_fault, .arg = (void *)(uintptr_t)n};
    struct envmove_config mc;
    struct handover_event hend = {.kind = HANDOVER_EV_RECORDS_END};
    struct envmove_event mend = {.kind = ENVMOVE_EV_RECORDS_END};
    memcpy(hc.sign_key, h->sk, 64);
    h->handovers = handovers_new(&hc, &ew->rng, ew_local(h));
    envmove_config_init(&mc);
    mc.self = h->id;
    mc.boot = h->boot;
    ew_hooks(&mc.hooks, n);
    mc.fault = on_fault;
    h->moves = envmoves_new(&mc, &ew->rng, ew_local(h));
    h->generation++;
    if (!h->moves || !h->handovers)
        abort();
    for (unsigned i = 0; i < h->n_records; i++) {
        struct ew_record *r = &h->record[i];
        struct handover_event he = {.kind = HANDOVER_EV_RECORD, .id = r->key, .data = r->data, .len = r->len};
        struct envmove_event me = {.kind = ENVMOVE_EV_RECORD, .id = r->key, .data = r->data, .len = r->len};
        if (r->gone)
            continue;
        if (r->of_handover ? handovers_step(h->handovers, ew_local(h), &he)
                           : envmoves_step(h->moves, ew_local(h), &me))
            ew_bad("a record isn't taken after a restart");
    }
    handovers_step(h->handovers, ew_local(h), &hend);
    envmoves_step(h->moves, ew_local(h), &mend);
    drain(n);
}

static void tick(void)
{
    for (unsigned d = 0; d < ew->n_domains; d++)
        if (!ew->host[ew->rep[d]].moves && ew->now >= ew->rep_changes[d])
            set_rep(d, other_alive(d, ew->rep[d]));
    for (unsigned n = 0; n < ew->n_hosts; n++) {
        struct ew_host *h = &ew->host[n];
        struct handover_event he = {.kind = HANDOVER_EV_TICK};
        struct envmove_event me = {.kind = ENVMOVE_EV_TICK};
        struct envmove_event off = {.kind = ENVMOVE_EV_REPRESENT};
        if (!h->moves && ew->now >= h->back_at)
            start_peer(n);
        if (!h->moves)
            continue;
        if (!h->represents && ew->rep[h->domain] == n)
            set_rep(h->domain, n);
        if (h->represents && ew->rep[h->domain] != n && vi_rng_below(&ew->rng, 40) == 0) {
            h->represents = false; /* it learns of the other */
            envmoves_step(h->moves, ew_local(h), &off);
        }
        if (handovers_deadline(h->handovers) <= ew_local(h))
            handovers_step(h->handovers, ew_local(h), &he);
        if (envmoves_deadline(h->moves) <= ew_local(h)) {
            envmoves_step(h->moves, ew_local(h), &me);
            ew_look_at_leases(n);
        }
        drain(n);
    }
}

void ew_turn(vi_time until)
{
    while (ew->now < until && !ew->bad[0]) {
        vi_time next = (ew->now / (250 * VI_MSEC) + 1) * 250 * VI_MSEC;
        while (n_queue > 0 && queue[0].at <= next && !ew->bad[0]) {
            struct item i = take();
            ew->now = i.at > ew->now ? i.at : ew->now;
            deliver(&i);
            free(i.data);
        }
        ew->now = next;
        tick();
    }
}

void ew_end(void)
{
    while (n_queue > 0)
        free(take().data);
    for (unsigned n = 0; n < ew->n_hosts; n++) {
        envmoves_free(ew->host[n].moves);
        handovers_free(ew->host[n].handovers);
        ew->host[n].moves = NULL;
        ew->host[n].handovers = NULL;
    }
    free(queue);
    queue = NULL;
    cap_queue = 0;
    memset(streams, 0, sizeof streams);
}

void ew_begin(uint64_t seed)
{
    memset(ew, 0, sizeof *ew);
    ew->seed = seed;
    ew->now = 100 * VI_SEC;
    vi_rng_seed(&ew->rng, seed);
    ew_populate();
    for (unsigned n = 0; n < ew->n_hosts; n++)
        start_peer(n);
    for (unsigned d = 0; d < ew->n_domains; d++)
        set_rep(d, other_alive(d, EW_HOSTS));
}

/* ---- operators ---- */

int ew_order(unsigned env, unsigned domain)
{
    struct envmove_event ev = {.kind = ENVMOVE_EV_START, .env = ew->env[env].id};
    struct ew_host *h = &ew->host[ew->rep[ew->env[env].home]];
    int err;
    if (!h->moves)
        return VI_ESTATE;
    vi_rng_id(&ew->rng, &ev.id);
    memset(&ev.domain, 0xd0 + (int)domain, sizeof ev.domain);
    err = envmoves_step(h->moves, ew_local(h), &ev);
    drain(ew_host_of(&h->id));
    return err;
}

unsigned ew_operator_decides(void)
{
    unsigned decided = 0;
    for (unsigned n = 0; n < ew->n_hosts; n++) {
        struct ew_host *h = &ew->host[n];
        struct handover_view v;
        unsigned pos = 0;
        while (h->moves && handover_next(h->handovers, &pos, &v)) {
            struct handover_event ev = {.kind = HANDOVER_EV_RESOLVE, .id = v.id};
            if (!v.undecided)
                continue;
            ev.keep = v.role == HANDOVER_SOURCE && ew_running(ew_guest_of(&v.guest->uuid), NULL) == 0;
            (void)handovers_step(h->handovers, ew_local(h), &ev);
            drain(n);
            decided++;
        }
    }
    return decided;
}
