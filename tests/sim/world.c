/* The simulation's engine. See world.h. */
#include "tests/sim/world.h"

#include <stdlib.h>
#include <string.h>

#define WAITING_MAX 4096

enum kind { DATAGRAM, TICK, CALL };

struct item {
    vi_time at;
    uint64_t seq;
    enum kind kind;
    unsigned node, from;
    uint64_t stamp; /* TICK: of the node's timer that is meant */
    uint8_t *data;
    size_t len;
    void (*fn)(void *arg, struct world *w, uint64_t a);
    void *arg;
    uint64_t a;
};

struct node {
    void *state;
    unsigned life;
    bool started, paused, mute;
    double rate;
    uint64_t stamp;
    vi_time tick_at; /* of the world; VI_NEVER: none in the heap */
    struct item *waiting;
    size_t nwaiting, waiting_cap;
};

struct world {
    struct world_config cfg;
    struct vi_rng net, test; /* apart, so that a test's choices don't shift the network's */
    struct node *nodes;
    bool *cuts; /* from × nodes + to; made by the first cut */
    struct item *heap;
    size_t len, cap;
    uint64_t seq, hash, events;
    vi_time now;
};

static bool before(const struct item *a, const struct item *b)
{
    return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

static bool grow(struct item **items, size_t *cap)
{
    size_t want = *cap ? 2 * *cap : 64;
    struct item *p = realloc(*items, want * sizeof *p);

    if (!p)
        return false;
    *items = p;
    *cap = want;
    return true;
}

/* Takes the item's data, also when there is no memory. */
static void push(struct world *w, struct item it)
{
    size_t i;

    if (w->len == w->cap && !grow(&w->heap, &w->cap)) {
        free(it.data);
        return;
    }
    it.seq = w->seq++;
    for (i = w->len++; i > 0 && before(&it, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = it;
}

static struct item pop(struct world *w)
{
    struct item top = w->heap[0], last = w->heap[--w->len];
    size_t i = 0;

    for (;;) {
        size_t child = 2 * i + 1;

        if (child >= w->len)
            break;
        if (child + 1 < w->len && before(&w->heap[child + 1], &w->heap[child]))
            child++;
        if (!before(&w->heap[child], &last))
            break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    if (w->len)
        w->heap[i] = last;
    return top;
}

struct world *world_new(const struct world_config *cfg)
{
    struct world *w = calloc(1, sizeof *w);

    if (!w)
        return NULL;
    w->cfg = *cfg;
    w->now = VI_SEC;
    w->hash = UINT64_C(14695981039346656037);
    vi_rng_seed(&w->net, cfg->seed);
    vi_rng_seed(&w->test, cfg->seed ^ UINT64_C(0x9e3779b97f4a7c15));
    w->nodes = calloc(cfg->nodes, sizeof *w->nodes);
    if (!w->nodes) {
        free(w);
        return NULL;
    }
    for (unsigned n = 0; n < cfg->nodes; n++) {
        w->nodes[n].rate = 1;
        w->nodes[n].tick_at = VI_NEVER;
    }
    return w;
}

static void drop_waiting(struct node *n)
{
    for (size_t i = 0; i < n->nwaiting; i++)
        free(n->waiting[i].data);
    n->nwaiting = 0;
}

void world_free(struct world *w)
{
    if (!w)
        return;
    for (unsigned n = 0; n < w->cfg.nodes; n++) {
        world_crash(w, n);
        free(w->nodes[n].waiting);
    }
    for (size_t i = 0; i < w->len; i++)
        free(w->heap[i].data);
    free(w->heap);
    free(w->cuts);
    free(w->nodes);
    free(w);
}

vi_time world_now(const struct world *w)
{
    return w->now;
}

struct vi_rng *world_rng(struct world *w)
{
    return &w->test;
}

void *world_node(struct world *w, unsigned n)
{
    return w->nodes[n].state;
}

unsigned world_life(const struct world *w, unsigned n)
{
    return w->nodes[n].life;
}

struct world_net *world_net(struct world *w)
{
    return &w->cfg.net;
}

uint64_t world_hash(const struct world *w)
{
    return w->hash;
}

uint64_t world_events(const struct world *w)
{
    return w->events;
}

/* ---- a node's clock and timer --------------------------------------------------------------- */

static vi_time node_clock(const struct node *n, vi_time t)
{
    return n->rate == 1 ? t : (vi_time)((double)t * n->rate);
}

static vi_time world_clock(const struct node *n, vi_time d)
{
    vi_time t;

    if (d == VI_NEVER || n->rate == 1)
        return d;
    t = (vi_time)((double)d / n->rate);
    while (node_clock(n, t) < d)
        t++;
    return t;
}

/* Never at the present time: a core whose deadline stays in the past can't stop the world. */
void world_touch(struct world *w, unsigned at)
{
    struct node *n = &w->nodes[at];
    vi_time t;

    if (!n->state || n->paused)
        return;
    t = world_clock(n, w->cfg.ops.deadline(w->cfg.arg, at, n->state));
    if (t == VI_NEVER) {
        n->stamp++;
        n->tick_at = VI_NEVER;
        return;
    }
    if (t <= w->now)
        t = w->now + 1;
    if (t == n->tick_at)
        return;
    n->tick_at = t;
    push(w, (struct item){.at = t, .kind = TICK, .node = at, .stamp = ++n->stamp});
}

/* ---- the network ---------------------------------------------------------------------------- */

static void fly(struct world *w, unsigned from, unsigned to, const uint8_t *data, size_t len)
{
    const struct world_net *net = &w->cfg.net;
    vi_time delay = net->delay_min;
    uint8_t *copy;

    if (net->delay_max > net->delay_min)
        delay += (vi_time)(vi_rng_unit(&w->net) * (double)(net->delay_max - net->delay_min));
    if (net->reorder > 0 && vi_rng_unit(&w->net) < net->reorder)
        delay += net->reorder_delay;
    copy = malloc(len ? len : 1);
    if (!copy)
        return;
    if (len)
        memcpy(copy, data, len);
    push(w, (struct item){.at = w->now + delay,
                          .kind = DATAGRAM,
                          .node = to,
                          .from = from,
                          .data = copy,
                          .len = len});
}

void world_send(struct world *w, unsigned from, unsigned to, const uint8_t *data, size_t len)
{
    const struct world_net *net = &w->cfg.net;

    if (from >= w->cfg.nodes || to >= w->cfg.nodes || w->nodes[from].mute)
        return;
    if (w->cuts && w->cuts[(size_t)from * w->cfg.nodes + to])
        return;
    if (net->loss > 0 && vi_rng_unit(&w->net) < net->loss)
        return;
    fly(w, from, to, data, len);
    if (net->duplicate > 0 && vi_rng_unit(&w->net) < net->duplicate)
        fly(w, from, to, data, len);
}

void world_cut(struct world *w, unsigned from, unsigned to, bool cut)
{
    if (!w->cuts)
        w->cuts = calloc((size_t)w->cfg.nodes * w->cfg.nodes, sizeof *w->cuts);
    if (w->cuts)
        w->cuts[(size_t)from * w->cfg.nodes + to] = cut;
}

void world_partition(struct world *w, const bool *side)
{
    for (unsigned a = 0; a < w->cfg.nodes; a++)
        for (unsigned b = 0; b < w->cfg.nodes; b++)
            if (side[a] != side[b])
                world_cut(w, a, b, true);
}

void world_heal(struct world *w)
{
    free(w->cuts);
    w->cuts = NULL;
}

/* ---- nodes ---------------------------------------------------------------------------------- */

void world_start(struct world *w, unsigned at)
{
    struct node *n = &w->nodes[at];

    if (n->state)
        return;
    if (n->started)
        n->life++;
    n->started = true;
    n->paused = false;
    n->tick_at = VI_NEVER;
    n->state = w->cfg.ops.start(w->cfg.arg, w, at, n->life, node_clock(n, w->now));
    world_touch(w, at);
}

void world_crash(struct world *w, unsigned at)
{
    struct node *n = &w->nodes[at];

    if (n->state)
        w->cfg.ops.stop(w->cfg.arg, at, n->state);
    n->state = NULL;
    n->paused = false;
    n->stamp++;
    n->tick_at = VI_NEVER;
    drop_waiting(n);
}

void world_pause(struct world *w, unsigned at)
{
    if (w->nodes[at].state)
        w->nodes[at].paused = true;
}

void world_resume(struct world *w, unsigned at)
{
    struct node *n = &w->nodes[at];

    if (!n->paused)
        return;
    n->paused = false;
    n->tick_at = VI_NEVER;
    if (n->state) {
        vi_time t = world_clock(n, w->cfg.ops.deadline(w->cfg.arg, at, n->state));

        if (t <= w->now) { /* overdue: before what waits in the socket */
            n->tick_at = w->now;
            push(w, (struct item){
                        .at = w->now, .kind = TICK, .node = at, .stamp = ++n->stamp});
        } else {
            world_touch(w, at);
        }
    }
    for (size_t i = 0; i < n->nwaiting; i++) {
        n->waiting[i].at = w->now;
        push(w, n->waiting[i]);
    }
    n->nwaiting = 0;
}

void world_mute(struct world *w, unsigned n, bool mute)
{
    w->nodes[n].mute = mute;
}

void world_clock_rate(struct world *w, unsigned n, double rate)
{
    w->nodes[n].rate = rate;
}

void world_at(struct world *w, vi_time at, void (*fn)(void *arg, struct world *w, uint64_t a),
              void *arg, uint64_t a)
{
    push(w, (struct item){.at = at > w->now ? at : w->now,
                          .kind = CALL,
                          .fn = fn,
                          .arg = arg,
                          .a = a});
}

/* ---- running -------------------------------------------------------------------------------- */

static void mix(struct world *w, const void *data, size_t len)
{
    const uint8_t *p = data;

    for (size_t i = 0; i < len; i++)
        w->hash = (w->hash ^ p[i]) * UINT64_C(1099511628211);
}

static void record(struct world *w, const struct item *it)
{
    uint64_t head[4] = {(uint64_t)it->at, (uint64_t)it->kind, it->node, it->from};

    mix(w, head, sizeof head);
    mix(w, it->data, it->data ? it->len : 0);
    w->events++;
}

static void wait_in_socket(struct node *n, struct item *it)
{
    if (n->nwaiting == WAITING_MAX ||
        (n->nwaiting == n->waiting_cap && !grow(&n->waiting, &n->waiting_cap)))
        return;
    n->waiting[n->nwaiting++] = *it;
    it->data = NULL;
}

static void handle(struct world *w, struct item *it)
{
    struct node *n = &w->nodes[it->node];
    const struct world_ops *ops = &w->cfg.ops;

    if (it->kind == CALL) {
        record(w, it);
        it->fn(it->arg, w, it->a);
        return;
    }
    if (it->kind == TICK) {
        if (it->stamp != n->stamp || !n->state || n->paused)
            return;
        n->tick_at = VI_NEVER;
        record(w, it);
        ops->tick(w->cfg.arg, it->node, n->state, node_clock(n, w->now));
    } else {
        if (!n->state || n->mute)
            return;
        if (n->paused) {
            wait_in_socket(n, it);
            return;
        }
        record(w, it);
        ops->deliver(w->cfg.arg, it->node, n->state, node_clock(n, w->now), it->from, it->data,
                     it->len);
    }
    world_touch(w, it->node);
}

bool world_step(struct world *w, vi_time until)
{
    struct item it;

    if (!w->len || w->heap[0].at > until)
        return false;
    it = pop(w);
    w->now = it.at;
    handle(w, &it);
    free(it.data);
    return true;
}

void world_run(struct world *w, vi_time until)
{
    while (world_step(w, until))
        ;
    if (until > w->now)
        w->now = until;
}
