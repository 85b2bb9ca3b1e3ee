/* The simulation's engine. See world.h. */
#include "tests/sim/world.h"

#include <stdlib.h>
#include <string.h>

#define WAITING_MAX 4096

enum kind { DATAGRAM, TICK, CALL };

struct item {
    uint32_t kind, node, from, len; /* node: of a DATAGRAM the destination */
    uint64_t stamp;                 /* TICK: of the node's timer that is meant */
    uint8_t *data;
    void (*fn)(void *arg, struct world *w, uint64_t a);
    void *arg;
    uint64_t a;
};

/* The heap moves these; the items stay where they are. */
struct entry {
    vi_time at;
    uint64_t seq;
    uint32_t item;
};

struct waiting {
    struct item *items;
    size_t n, cap;
};

struct node {
    void *state;
    unsigned life;
    bool started, paused, mute, blocked;
    double rate, loss_in, loss_out;
    uint64_t stamp, side; /* side: of the partitions so far */
    vi_time tick_at;      /* of the world; VI_NEVER: none in the heap */
    struct waiting in, out;
};

struct world {
    struct world_config cfg;
    struct vi_rng net, test; /* apart, so that a test's choices don't shift the network's */
    struct node *nodes;
    bool *cuts; /* from × nodes + to; made by the first cut */
    struct entry *heap;
    size_t len, cap;
    struct item *items;
    uint32_t nitems, items_cap, items_free; /* free ones are chained by `node` */
    uint64_t seq, hash, events;
    vi_time now;
};

#define NO_ITEM UINT32_MAX

static bool before(const struct entry *a, const struct entry *b)
{
    return a->at != b->at ? a->at < b->at : a->seq < b->seq;
}

static uint32_t take_item(struct world *w)
{
    uint32_t i = w->items_free;

    if (i != NO_ITEM) {
        w->items_free = w->items[i].node;
        return i;
    }
    if (w->nitems == w->items_cap) {
        uint32_t cap = w->items_cap ? 2 * w->items_cap : 256;
        struct item *p = realloc(w->items, cap * sizeof *p);

        if (!p)
            return NO_ITEM;
        w->items = p;
        w->items_cap = cap;
    }
    return w->nitems++;
}

static bool grow_heap(struct world *w)
{
    size_t cap = w->cap ? 2 * w->cap : 256;
    struct entry *p = realloc(w->heap, cap * sizeof *p);

    if (!p)
        return false;
    w->heap = p;
    w->cap = cap;
    return true;
}

/* Takes the item's data, also when there is no memory. */
static void push(struct world *w, vi_time at, struct item it)
{
    struct entry e = {.at = at, .seq = w->seq++};
    size_t i;

    if (w->len == w->cap && !grow_heap(w)) {
        free(it.data);
        return;
    }
    e.item = take_item(w);
    if (e.item == NO_ITEM) {
        free(it.data);
        return;
    }
    w->items[e.item] = it;
    for (i = w->len++; i > 0 && before(&e, &w->heap[(i - 1) / 4]); i = (i - 1) / 4)
        w->heap[i] = w->heap[(i - 1) / 4];
    w->heap[i] = e;
}

static struct item pop(struct world *w, vi_time *at)
{
    struct entry top = w->heap[0], last = w->heap[--w->len];
    struct item it = w->items[top.item];
    size_t i = 0;

    for (;;) {
        size_t best = 4 * i + 1, end = best + 4;

        if (best >= w->len)
            break;
        for (size_t c = best + 1; c < end && c < w->len; c++)
            if (before(&w->heap[c], &w->heap[best]))
                best = c;
        if (!before(&w->heap[best], &last))
            break;
        w->heap[i] = w->heap[best];
        i = best;
    }
    if (w->len)
        w->heap[i] = last;
    w->items[top.item].node = w->items_free;
    w->items_free = top.item;
    *at = top.at;
    return it;
}

static void keep(struct waiting *q, struct item *it, size_t most)
{
    if (q->n == most)
        return;
    if (q->n == q->cap) {
        size_t cap = q->cap ? 2 * q->cap : 16;
        struct item *p = realloc(q->items, cap * sizeof *p);

        if (!p)
            return;
        q->items = p;
        q->cap = cap;
    }
    q->items[q->n++] = *it;
    it->data = NULL;
}

static void drop_waiting(struct waiting *q)
{
    for (size_t i = 0; i < q->n; i++)
        free(q->items[i].data);
    free(q->items);
    *q = (struct waiting){0};
}

struct world *world_new(const struct world_config *cfg)
{
    struct world *w = calloc(1, sizeof *w);

    if (!w)
        return NULL;
    w->cfg = *cfg;
    w->now = VI_SEC;
    w->items_free = NO_ITEM;
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

void world_free(struct world *w)
{
    if (!w)
        return;
    for (unsigned n = 0; n < w->cfg.nodes; n++) {
        world_crash(w, n);
    }
    for (size_t i = 0; i < w->len; i++)
        free(w->items[w->heap[i].item].data);
    free(w->heap);
    free(w->items);
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

size_t world_bytes(const struct world *w)
{
    size_t sum = w->cfg.nodes * sizeof *w->nodes + w->cap * sizeof *w->heap + w->items_cap * sizeof *w->items;

    for (size_t i = 0; i < w->len; i++) {
        const struct item *it = &w->items[w->heap[i].item];

        sum += it->data ? it->len + 16 : 0;
    }
    return sum;
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

vi_time world_node_now(const struct world *w, unsigned n)
{
    return node_clock(&w->nodes[n], w->now);
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
    push(w, t, (struct item){.kind = TICK, .node = at, .stamp = ++n->stamp});
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
    push(w, w->now + delay,
         (struct item){.kind = DATAGRAM, .node = to, .from = from, .data = copy, .len = (uint32_t)len});
}

static bool passes(struct world *w, unsigned from, unsigned to)
{
    const struct node *a = &w->nodes[from], *b = &w->nodes[to];
    double loss = w->cfg.net.loss;

    if (a->mute || a->side != b->side || (w->cuts && w->cuts[(size_t)from * w->cfg.nodes + to]))
        return false;
    if (loss > 0 && vi_rng_unit(&w->net) < loss)
        return false;
    if (a->loss_out > 0 && vi_rng_unit(&w->net) < a->loss_out)
        return false;
    return !(b->loss_in > 0 && vi_rng_unit(&w->net) < b->loss_in);
}

static void transmit(struct world *w, unsigned from, unsigned to, const uint8_t *data, size_t len)
{
    const struct world_net *net = &w->cfg.net;

    if (!passes(w, from, to))
        return;
    fly(w, from, to, data, len);
    if (net->duplicate > 0 && vi_rng_unit(&w->net) < net->duplicate)
        fly(w, from, to, data, len);
}

void world_send(struct world *w, unsigned from, unsigned to, const uint8_t *data, size_t len)
{
    struct item it = {.kind = DATAGRAM, .node = to, .from = from, .len = (uint32_t)len};

    if (from >= w->cfg.nodes || to >= w->cfg.nodes)
        return;
    if (!w->nodes[from].blocked) {
        transmit(w, from, to, data, len);
        return;
    }
    it.data = malloc(len ? len : 1);
    if (!it.data)
        return;
    memcpy(it.data, data, len);
    keep(&w->nodes[from].out, &it, WAITING_MAX);
    free(it.data);
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
    for (unsigned a = 0; a < w->cfg.nodes; a++) {
        struct node *n = &w->nodes[a];

        n->side = (n->side ^ (side[a] ? 2 : 1)) * UINT64_C(0x9e3779b97f4a7c15);
    }
}

void world_heal(struct world *w)
{
    free(w->cuts);
    w->cuts = NULL;
    for (unsigned a = 0; a < w->cfg.nodes; a++)
        w->nodes[a].side = 0;
}

void world_node_loss(struct world *w, unsigned n, double in, double out)
{
    w->nodes[n].loss_in = in;
    w->nodes[n].loss_out = out;
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
    n->blocked = false;
    n->tick_at = VI_NEVER;
    drop_waiting(&n->in);
    drop_waiting(&n->out);
}

void world_pause(struct world *w, unsigned at)
{
    if (w->nodes[at].state)
        w->nodes[at].paused = true;
}

/* What waited in the socket. */
static void come_in(struct world *w, struct node *n)
{
    for (size_t i = 0; i < n->in.n; i++) {
        push(w, w->now, n->in.items[i]);
        n->in.items[i].data = NULL;
    }
    drop_waiting(&n->in);
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
            push(w, w->now, (struct item){.kind = TICK, .node = at, .stamp = ++n->stamp});
        } else {
            world_touch(w, at);
        }
    }
    if (!n->blocked)
        come_in(w, n);
}

void world_block(struct world *w, unsigned at, bool block)
{
    struct node *n = &w->nodes[at];
    struct waiting out = n->out;

    if (!n->state || n->blocked == block)
        return;
    n->blocked = block;
    if (block)
        return;
    n->out = (struct waiting){0};
    for (size_t i = 0; i < out.n; i++)
        transmit(w, at, out.items[i].node, out.items[i].data, out.items[i].len);
    drop_waiting(&out);
    if (!n->paused)
        come_in(w, n);
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
    push(w, at > w->now ? at : w->now, (struct item){.kind = CALL, .fn = fn, .arg = arg, .a = a});
}

/* ---- running -------------------------------------------------------------------------------- */

/* FNV-1a over words of eight bytes: it has to tell runs apart, and is run over every datagram. */
static void mix(struct world *w, const void *data, size_t len)
{
    const uint8_t *p = data;

    while (len) {
        size_t n = len < 8 ? len : 8;
        uint64_t v = n;

        memcpy(&v, p, n);
        w->hash = (w->hash ^ v) * UINT64_C(1099511628211);
        w->hash ^= w->hash >> 29;
        p += n;
        len -= n;
    }
}

static void record(struct world *w, const struct item *it)
{
    uint64_t head[4] = {(uint64_t)w->now, (uint64_t)it->kind, it->node, it->from};

    mix(w, head, sizeof head);
    mix(w, it->data, it->data ? it->len : 0);
    w->events++;
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
        if (n->paused || n->blocked) {
            keep(&n->in, it, WAITING_MAX);
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
    it = pop(w, &w->now);
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
