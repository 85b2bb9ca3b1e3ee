/* Random mixed faults, and invariants. See soak.h. */
#include "tests/sim/soak.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/soak_hostile.h"

#define PAYLOAD 120

struct soak {
    struct soak_report *out;
    struct peers *p;
    struct world *w;
    struct vi_rng rng; /* the plan's, apart from what the network throws */
    unsigned n;
    bool *left;        /* said good-bye, its process still there */
    uint64_t *version; /* of each one's record and summary */
    struct hostile hostile;
    unsigned liar; /* n: nobody */
    bool lying;
    uint64_t evicted;  /* others than the liar declared dead, where nobody else does wrong */
    unsigned evicted_one;
    double before;     /* memory in use before the world was made */
};

static bool broken(struct soak *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool broken(struct soak *s, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(s->out->why, sizeof s->out->why, fmt, ap);
    va_end(ap);
    return false;
}

static double in_use(void)
{
    struct mallinfo2 m = mallinfo2();

    return (double)m.uordblks + (double)m.hblkhd;
}

static double chance(struct soak *s)
{
    return vi_rng_unit(&s->rng);
}

static vi_time upto(struct soak *s, vi_time most)
{
    return (vi_time)(chance(s) * (double)most);
}

static unsigned anybody(struct soak *s)
{
    return vi_rng_below(&s->rng, s->n);
}

/* ---- the invariants ------------------------------------------------------------------------------ */

/* Of one peer, at any time. */
static bool bounded(struct soak *s, unsigned who)
{
    struct gossip *g = peers_core(s->p, who);
    unsigned members = 0;
    struct gossip_gauges now;
    struct gossip_member m;
    size_t pos = 0;

    if (!g)
        return true;
    gossip_gauges(g, &now);
    while (gossip_member_next(g, &pos, &m)) {
        members++;
        if (peers_index(s->p, &m.id) == s->n)
            return broken(s, "%u has a member that nobody admitted", who);
    }
    if (now.rumours > s->n || now.suspects > s->n || now.summaries > s->n || members > s->n)
        return broken(s, "%u has %u rumours, %u suspects, %u summaries, %u members of %u", who, now.rumours, now.suspects,
                      now.summaries, members, s->n);
    if (now.relays > 256 || now.seeds > 256 || now.effects || now.records > s->n + 256)
        return broken(s, "%u has %u relays, %u seeds, %u effects, %u records", who, now.relays, now.seeds, now.effects,
                      now.records);
    return true;
}

/* What a peer may hold: its table, records, and the ring of its effects at its longest. */
static double memory_bound(const struct soak *s)
{
    return 1.5e6 + 4096.0 * s->n;
}

static bool sane(struct soak *s)
{
    const struct peers_tally *t = peers_tally(s->p);
    double memory;

    for (unsigned who = 0; who < s->n; who++)
        if (!bounded(s, who))
            return false;
    if (t->back)
        return broken(s, "an incarnation went back %u times", t->back);
    if (t->most_effects > 4096 + 4 * s->n + 64)
        return broken(s, "%u effects waited", t->most_effects);
    if (s->out->alone && s->evicted)
        return broken(s, "one liar had %u declared dead, %llu verdicts in all", s->evicted_one,
                      (unsigned long long)s->evicted);
    memory = (in_use() - s->before - (double)world_bytes(s->w)) / s->n;
    if (memory > s->out->memory)
        s->out->memory = memory;
    if (memory > memory_bound(s))
        return broken(s, "%.0f bytes a peer, %.0f at most", memory, memory_bound(s));
    return true;
}

static bool published(struct soak *s, bool tell)
{
    for (unsigned a = 0; a < s->n; a++) {
        struct gossip *g = peers_core(s->p, a);
        unsigned fresh = 0, up = 0;
        struct gossip_summary sum;
        size_t pos = 0;

        for (unsigned b = 0; g && b < s->n; b++) {
            struct gossip_record rec;

            if (!world_node(s->w, b) || b == s->liar)
                continue;
            up++;
            if (gossip_record_get(g, (uint8_t)(1 + b % 3), peers_id(s->p, b), &rec) && rec.version == s->version[b])
                continue;
            return tell ? broken(s, "%u has not the newest record of %u", a, b) : false;
        }
        while (g && gossip_summary_next(g, world_node_now(s->w, a), &pos, &sum)) {
            unsigned b = peers_index(s->p, &sum.id);

            fresh += b < s->n && b != s->liar && sum.len == 20 && !memcmp(sum.bytes, &s->version[b], 8);
        }
        if (g && fresh != up)
            return tell ? broken(s, "%u has %u of %u newest summaries", a, fresh, up) : false;
    }
    return true;
}

/* ---- what happens -------------------------------------------------------------------------------- */

static void notice(void *arg, unsigned at, unsigned about, const struct gossip_effect *fx)
{
    struct soak *s = arg;

    if (fx->change != GOSSIP_DOWN || about == s->liar || at == s->liar)
        return;
    s->evicted++;
    s->evicted_one = about;
}

static void heard(void *arg, unsigned at, const uint8_t *data, size_t len)
{
    struct soak *s = arg;

    if (at == s->liar)
        hostile_hears(&s->hostile, data, len);
}

static void lie(void *arg, struct world *w, uint64_t gap)
{
    struct soak *s = arg;

    if (!s->lying)
        return;
    hostile_lies(&s->hostile);
    world_at(w, world_now(w) + (vi_time)gap, lie, s, gap);
}

static void run(struct soak *s, vi_time t)
{
    world_run(s->w, world_now(s->w) + t);
}

static void publish(struct soak *s, unsigned who)
{
    uint8_t bytes[PAYLOAD] = {0};
    struct gossip_event ev = {.kind = GOSSIP_EV_SET_RECORD};

    if (!peers_core(s->p, who) || s->left[who])
        return;
    s->version[who]++;
    ev.record.kind = (uint8_t)(1 + who % 3);
    ev.record.key = ev.record.origin = *peers_id(s->p, who);
    ev.record.version = s->version[who];
    bytes[100] = (uint8_t)who;
    peers_record(s->p, who, ev.record.kind, &ev.record.key, ev.record.version, bytes, sizeof bytes);
    ev.record.bytes = bytes;
    ev.record.len = sizeof bytes;
    peers_event(s->p, who, &ev);
    ev.kind = GOSSIP_EV_SET_SUMMARY;
    memset(bytes, 0, sizeof bytes);
    memcpy(bytes, &s->version[who], 8);
    ev.summary.bytes = bytes;
    ev.summary.len = 20;
    peers_event(s->p, who, &ev);
}

static void start(struct soak *s, unsigned who)
{
    if (s->left[who])
        world_crash(s->w, who); /* its process ends now */
    s->left[who] = false;
    if (!world_node(s->w, who) && chance(s) < .2)
        peers_lose_disk(s->p, who);
    world_start(s->w, who);
}

static void leave(struct soak *s, unsigned who)
{
    struct gossip_event ev = {.kind = GOSSIP_EV_LEAVE};

    if (peers_core(s->p, who) && !s->left[who])
        s->left[who] = !peers_event(s->p, who, &ev);
}

static void move(struct soak *s, unsigned who)
{
    struct gossip_event ev = {.kind = GOSSIP_EV_SET_SELF};
    struct gossip_addr addr = {.len = 12};

    if (!peers_core(s->p, who) || s->left[who])
        return;
    vi_rng_bytes(&s->rng, addr.b, addr.len);
    ev.self.addr = &addr;
    peers_event(s->p, who, &ev);
}

static void split(struct soak *s)
{
    bool side[256] = {false};
    double share = chance(s);

    for (unsigned k = 0; k < s->n; k++)
        side[k] = chance(s) < share;
    world_partition(s->w, side);
}

static void one_way(struct soak *s)
{
    unsigned who = anybody(s);

    for (unsigned many = 1 + anybody(s); many; many--) {
        unsigned other = anybody(s);

        if (other == who)
            continue;
        if (chance(s) < .5)
            world_cut(s->w, who, other, true);
        else
            world_cut(s->w, other, who, true);
    }
}

static void weather(struct soak *s)
{
    *world_net(s->w) = (struct world_net){.delay_min = VI_MSEC / 5, .delay_max = VI_MSEC + upto(s, 80 * VI_MSEC),
                                          .loss = chance(s) < .2 ? .25 * chance(s) : .06 * chance(s),
                                          .duplicate = .05 * chance(s), .reorder = .08 * chance(s),
                                          .reorder_delay = upto(s, 300 * VI_MSEC)};
}

static void act(struct soak *s)
{
    unsigned who = anybody(s);

    switch (vi_rng_below(&s->rng, 18)) {
    case 0:
    case 1:
        world_crash(s->w, who);
        s->left[who] = false;
        break;
    case 2:
    case 3:
    case 4:
        start(s, who);
        break;
    case 5:
        world_pause(s->w, who);
        break;
    case 6:
    case 7:
        world_resume(s->w, who);
        break;
    case 8:
        world_block(s->w, who, true);
        break;
    case 9:
        world_block(s->w, who, false);
        break;
    case 10:
        world_mute(s->w, who, chance(s) < .5);
        break;
    case 11:
        world_node_loss(s->w, who, chance(s) < .5 ? chance(s) : 0, chance(s) < .5 ? chance(s) : 0);
        break;
    case 12:
        one_way(s);
        break;
    case 13:
        split(s);
        break;
    case 14:
        weather(s);
        break;
    case 15:
        if (chance(s) < .5)
            leave(s, who);
        else
            move(s, who);
        break;
    case 16:
        world_heal(s->w);
        break;
    default:
        publish(s, who);
        break;
    }
}

/* All that is wrong is put right, but for some that stay dead or have left. */
static void peace(struct soak *s)
{
    s->lying = false;
    world_heal(s->w);
    *world_net(s->w) = (struct world_net){.delay_min = VI_MSEC / 5, .delay_max = 20 * VI_MSEC, .loss = .01};
    for (unsigned who = 0; who < s->n; who++) {
        world_node_loss(s->w, who, 0, 0);
        world_mute(s->w, who, false);
        world_block(s->w, who, false);
        world_resume(s->w, who);
        if (!s->out->alone && who > 1 && chance(s) < .15) {
            if (chance(s) < .5)
                leave(s, who);
            else
                world_crash(s->w, who);
        } else {
            start(s, who);
        }
    }
    run(s, 3 * VI_SEC);
    for (unsigned who = 0; who < s->n; who++)
        if (s->left[who])
            world_crash(s->w, who);
}

/* ---- one seed ---------------------------------------------------------------------------------------- */

static vi_time until(struct soak *s, vi_time most, bool (*fn)(struct soak *s))
{
    vi_time begin = world_now(s->w);

    while (!fn(s)) {
        if (world_now(s->w) - begin >= most)
            return -1;
        run(s, 500 * VI_MSEC);
    }
    return world_now(s->w) - begin;
}

static bool agreed(struct soak *s)
{
    return peers_agreed(s->p);
}

static bool all_published(struct soak *s)
{
    return published(s, false);
}

static bool aftermath(struct soak *s)
{
    peace(s);
    if (!sane(s))
        return false;
    if (until(s, 300 * VI_SEC, agreed) < 0)
        return broken(s, "not all agree 300 s after all was well again");
    for (unsigned who = 0; who < s->n; who++)
        publish(s, who);
    if (until(s, 120 * VI_SEC, all_published) < 0)
        return published(s, true);
    run(s, 30 * VI_SEC);
    /* a peer that has just come back may still be going beyond its own old numbers */
    if (until(s, 30 * VI_SEC, agreed) < 0)
        return broken(s, "all agreed, and don't any more");
    return sane(s);
}

static bool play(struct soak *s)
{
    unsigned actions = 15 + vi_rng_below(&s->rng, 30);

    if (!s->out->alone && chance(s) < .5)
        for (unsigned who = 0; who < s->n; who++)
            world_clock_rate(s->w, who, .9 + .2 * chance(s));
    if (!s->out->alone)
        weather(s);
    for (unsigned who = 0; who < s->n; who++) {
        world_start(s->w, who);
        run(s, upto(s, 20 * VI_SEC / s->n));
    }
    run(s, upto(s, 20 * VI_SEC));
    if (s->out->alone) {
        if (until(s, 120 * VI_SEC, agreed) < 0)
            return broken(s, "not all agree at the beginning");
        s->evicted = 0;
    }
    if (s->out->hostile) {
        vi_time gap = 10 * VI_MSEC + upto(s, 200 * VI_MSEC);

        s->lying = true;
        world_at(s->w, world_now(s->w), lie, s, (uint64_t)gap);
    }
    for (unsigned k = 0; k < actions; k++) {
        if (s->out->alone)
            publish(s, anybody(s));
        else
            act(s);
        run(s, upto(s, 5 * VI_SEC));
        if (!sane(s))
            return false;
    }
    return aftermath(s);
}

static unsigned size_of(struct soak *s)
{
    unsigned kind = vi_rng_below(&s->rng, 100);

    return kind < 85 ? 3 + vi_rng_below(&s->rng, 16) : kind < 98 ? 19 + vi_rng_below(&s->rng, 30)
                                                                 : 49 + vi_rng_below(&s->rng, 152);
}

static bool open_soak(struct soak *s, uint64_t seed)
{
    struct peers_config cfg = {.seed = seed, .net = {.delay_min = VI_MSEC, .delay_max = 10 * VI_MSEC},
                               .notice = notice, .heard = heard, .arg = s};

    vi_rng_seed(&s->rng, seed * UINT64_C(0x9e3779b97f4a7c15) + 7);
    s->before = in_use();
    s->n = size_of(s);
    s->out->peers = cfg.n = s->n;
    s->out->crypto = cfg.crypto = seed % 8 == 0 && s->n <= 64;
    s->out->hostile = s->n >= 4 && chance(s) < .4;
    s->out->alone = s->out->hostile && chance(s) < .4;
    s->liar = s->out->hostile ? 2 + vi_rng_below(&s->rng, s->n - 2) : s->n;
    s->left = calloc(s->n, sizeof *s->left);
    s->version = calloc(s->n, sizeof *s->version);
    s->p = peers_new(&cfg);
    if (!s->p || !s->left || !s->version)
        return false;
    s->w = peers_world(s->p);
    if (s->out->hostile)
        hostile_init(&s->hostile, s->p, s->n, s->liar, seed);
    return true;
}

bool soak_one(uint64_t seed, struct soak_report *out)
{
    struct soak *s = calloc(1, sizeof *s);
    bool ok = false;

    *out = (struct soak_report){0};
    if (!s)
        return false;
    s->out = out;
    if (open_soak(s, seed)) {
        ok = play(s);
        out->seconds = (double)world_now(s->w) / 1e6;
        out->events = world_events(s->w);
        out->hash = world_hash(s->w);
        if (!ok && s->n <= 32)
            peers_print(s->p);
    } else {
        broken(s, "no memory");
    }
    peers_free(s->p);
    free(s->left);
    free(s->version);
    if (ok && in_use() > s->before + 524288) /* what malloc keeps at hand is less */
        ok = broken(s, "%.0f bytes are never given back", in_use() - s->before);
    free(s);
    return ok;
}
