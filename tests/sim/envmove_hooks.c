/* What the hosts of envmove_world.h are to their cores; and what must never be. See envmove_hooks.h. */
#include "tests/sim/envmove_hooks.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"

#define GIB ((uint64_t)1 << 20) /* in KiB */

/* ---- who is there ---- */

static void domain_id(struct vi_id *id, unsigned d)
{
    memset(id, 0xd0 + (int)d, sizeof *id);
}

static unsigned domain_of(const struct vi_id *id)
{
    return id->b[0] - 0xd0U;
}

static void add_host(unsigned domain)
{
    struct ew_host *h = &ew->host[ew->n_hosts++];
    uint8_t seed[32];
    vi_rng_id(&ew->rng, &h->id);
    vi_rng_id(&ew->rng, &h->boot);
    vi_rng_id(&ew->rng, &h->journal);
    h->boot.b[15] = 0;
    h->domain = domain;
    vi_rng_bytes(&ew->rng, seed, sizeof seed);
    crypto_sign_seed_keypair(h->pk, h->sk, seed);
    h->rate = 0.9 + vi_rng_unit(&ew->rng) * 0.2;
    h->offset = (vi_time)vi_rng_below(&ew->rng, 1000000) * VI_SEC;
    h->capacity_kb = (ew->roomy ? 32 : ew->tight ? 4 : 8) * GIB;
    h->capacity_pct = ew->roomy ? 1600 : 400;
}

static uint64_t used_kb(unsigned n, double *pct)
{
    uint64_t kb = 0;
    *pct = 0;
    for (unsigned g = 0; g < ew->n_guests; g++)
        if (ew->host[n].copy[g].is != EW_ABSENT) {
            kb += ew->guest[g].kb;
            *pct += ew->guest[g].pct;
        }
    return kb;
}

static void add_guest(unsigned env, unsigned domain, bool pinned, uint64_t kb, double pct)
{
    struct ew_guest *g = &ew->guest[ew->n_guests];
    double used;
    for (unsigned tries = 0; tries < 20 && ew->n_guests < EW_GUESTS; tries++) {
        unsigned n = vi_rng_below(&ew->rng, ew->n_hosts);
        if (ew->host[n].domain != domain || used_kb(n, &used) + kb > ew->host[n].capacity_kb ||
            used + pct > ew->host[n].capacity_pct)
            continue;
        vi_rng_id(&ew->rng, &g->uuid);
        g->env = env;
        g->pinned = pinned;
        g->kb = kb;
        g->pct = pct;
        ew->host[n].copy[ew->n_guests].is = EW_RUNS;
        ew->host[n].copy[ew->n_guests].domid = ++ew->host[n].next_domid;
        ew->n_guests++;
        return;
    }
}

static unsigned add_env(unsigned home, bool everywhere)
{
    struct ew_env *e = &ew->env[ew->n_envs];
    vi_rng_id(&ew->rng, &e->id);
    e->home = home;
    for (unsigned d = 0; d < EW_DOMAINS; d++)
        e->allowed[d] = everywhere || d == home;
    return ew->n_envs++;
}

static void add_faults(void)
{
    static const unsigned range[] = {12, 30, 60, 120, 300};
    unsigned n = vi_rng_below(&ew->rng, 10);
    ew->at_go = vi_rng_below(&ew->rng, 3) == 0;
    ew->n_faults = n == 0 ? 0 : n < 6 ? 1 : n < 9 ? 2 : 3;
    for (unsigned k = 0; k < ew->n_faults; k++) {
        ew->what[k] = (enum ew_fault)(1 + vi_rng_below(&ew->rng, EW_FAULTS - 1));
        ew->at[k] = vi_rng_below(&ew->rng, ew->at_go ? 12 : range[vi_rng_below(&ew->rng, 5)]);
    }
}

void ew_populate(void)
{
    unsigned first, second;
    ew->roomy = ew->seed % 3 == 0;
    ew->tight = ew->seed % 3 == 1;
    ew->n_domains = 2 + vi_rng_below(&ew->rng, EW_DOMAINS - 1);
    ew->loss = vi_rng_below(&ew->rng, 3) * 4;
    ew->delay = (vi_time)(5 + vi_rng_below(&ew->rng, 200)) * VI_MSEC;
    for (unsigned d = 0; d < ew->n_domains; d++) {
        unsigned n = 3 + vi_rng_below(&ew->rng, 3);
        ew->limits[d] = ew->roomy ? 32 : 2 + vi_rng_below(&ew->rng, 6);
        while (n-- > 0)
            add_host(d);
    }
    first = add_env(0, true);
    second = add_env(vi_rng_below(&ew->rng, ew->n_domains), true);
    for (unsigned e = first; e <= second; e++) {
        unsigned n = ew->seed % 12 == 0 && e == first ? 18 : 2 + vi_rng_below(&ew->rng, 4); /* more than one move takes */
        add_guest(e, ew->env[e].home, true, GIB / 2, 20);
        while (n-- > 0)
            add_guest(e, ew->env[e].home, false, (ew->tight ? 5 : 2) * GIB / 2 + vi_rng_below(&ew->rng, GIB),
                      50 + vi_rng_below(&ew->rng, 150));
    }
    for (unsigned d = 0; d < ew->n_domains; d++) {
        unsigned e = add_env(d, false), n = 3 + vi_rng_below(&ew->rng, 5);
        while (n-- > 0)
            add_guest(e, d, false, GIB / 2 + vi_rng_below(&ew->rng, (ew->tight ? 1 : 2) * GIB),
                      20 + vi_rng_below(&ew->rng, 100));
    }
    add_faults();
}

/* ---- what the cores ask ---- */

bool ew_key_of(void *arg, const struct vi_id *peer, uint8_t pk[32])
{
    unsigned n = ew_host_of(peer);
    (void)arg;
    if (n < ew->n_hosts)
        memcpy(pk, ew->host[n].pk, 32);
    return n < ew->n_hosts;
}

static struct ew_host *self(void *arg)
{
    return &ew->host[(uintptr_t)arg];
}

static enum envmove_kin kin(void *arg, const struct vi_id *peer, struct vi_id *domain)
{
    unsigned n = ew_host_of(peer);
    if (n >= ew->n_hosts)
        return ENVMOVE_STRANGER;
    domain_id(domain, ew->host[n].domain);
    return ew->host[n].domain == self(arg)->domain ? ENVMOVE_OWN : ENVMOVE_FOREIGN;
}

static bool representative(void *arg, const struct vi_id *domain, struct vi_id *peer)
{
    unsigned d = domain ? domain_of(domain) : self(arg)->domain;
    if (d >= ew->n_domains)
        return false;
    *peer = ew->host[ew->rep[d]].id;
    return true;
}

static unsigned env_of(const struct vi_id *id)
{
    unsigned e = 0;
    while (e < ew->n_envs && !vi_id_equal(&ew->env[e].id, id))
        e++;
    return e;
}

static bool env(void *arg, const struct vi_id *id, struct envmove_env *out)
{
    unsigned e = env_of(id), d = self(arg)->domain;
    if (e >= ew->n_envs)
        return false;
    domain_id(&out->home, ew->env[e].home);
    out->at_home = ew->env[e].home == d;
    out->allowed = ew->env[e].allowed[d];
    out->limits = (struct envmove_limits){.guests = ew->limits[d], .kb = 64 * GIB, .pct = 10000};
    return true;
}

static unsigned hosts(void *arg, const struct vi_id *id, const struct vi_id *home, struct vi_id *out, unsigned most)
{
    unsigned n = 0;
    (void)id;
    (void)home;
    for (unsigned i = 0; i < ew->n_hosts && n < most; i++)
        if (ew->host[i].domain == self(arg)->domain && ew->host[i].moves)
            out[n++] = ew->host[i].id;
    return n;
}

static unsigned domains(void *arg, const struct vi_id *id, uint64_t kb, double pct, struct vi_id *out, unsigned most)
{
    unsigned e = env_of(id), n = 0;
    (void)kb;
    (void)pct;
    for (unsigned d = 0; d < ew->n_domains && n < most && e < ew->n_envs; d++)
        if (d != self(arg)->domain && ew->env[e].allowed[d])
            domain_id(&out[n++], d);
    return n;
}

static bool arriving(void *arg, const struct vi_id *uuid)
{
    struct handover_view v;
    unsigned pos = 0;
    while (handover_next(self(arg)->handovers, &pos, &v))
        if (v.role == HANDOVER_DESTINATION && !v.over && v.state != HD_ABORTED && v.state != HD_LOST &&
            v.state != HD_RUNNING && v.state != HD_ADMITTING && vi_id_equal(&v.guest->uuid, uuid))
            return true;
    return false;
}

static bool guest_here(void *arg, const struct vi_id *uuid, bool *busy)
{
    const struct ew_host *h = self(arg);
    unsigned g = ew_guest_of(uuid);
    *busy = handover_has_guest(h->handovers, uuid);
    return g < ew->n_guests && h->copy[g].is != EW_ABSENT && !arriving(arg, uuid);
}

/* What is taken by guests that are here and by those that a handover brings. */
static uint64_t taken(void *arg, double *pct)
{
    const struct ew_host *h = self(arg);
    uint64_t kb = 0;
    double promised;
    *pct = 0;
    for (unsigned g = 0; g < ew->n_guests; g++)
        if (h->copy[g].is != EW_ABSENT && !arriving(arg, &ew->guest[g].uuid)) {
            kb += ew->guest[g].kb;
            *pct += ew->guest[g].pct;
        }
    uint64_t more;
    (void)handover_promised(h->handovers, &more, &promised);
    *pct += promised;
    return kb + more;
}

static void look(void *arg, const struct vi_id *id, const struct vi_id *home, struct envmove_seen *out)
{
    const struct ew_host *h = self(arg);
    double pct;
    memset(out, 0, sizeof *out);
    out->total_kb = h->capacity_kb;
    out->capacity_pct = h->capacity_pct;
    out->free_kb = (int64_t)h->capacity_kb - (int64_t)taken(arg, &pct);
    out->free_pct = h->capacity_pct - pct;
    for (unsigned g = 0; g < ew->n_guests; g++) {
        const struct ew_guest *x = &ew->guest[g];
        struct vi_id of;
        if (h->copy[g].is == EW_ABSENT)
            continue;
        domain_id(&of, ew->env[x->env].home);
        if (vi_id_equal(&of, home)) {
            out->of_home.guests++;
            out->of_home.kb += x->kb;
            out->of_home.pct += x->pct;
        }
        if (arriving(arg, &x->uuid) || (!vi_id_is_zero(id) && !vi_id_equal(id, &ew->env[x->env].id)) ||
            out->n >= ENVMOVE_SEEN)
            continue;
        out->guest[out->n++] = (struct envmove_guest){
            .uuid = x->uuid, .env = ew->env[x->env].id, .kb = x->kb, .size_kb = x->kb, .pct = x->pct,
            .movable = !x->pinned, .running = h->copy[g].is == EW_RUNS};
    }
}

static int can_take(void *arg, uint64_t kb, double pct, uint64_t leased_kb, double leased_pct, char *why, size_t cap)
{
    const struct ew_host *h = self(arg);
    double have;
    uint64_t have_kb = taken(arg, &have);
    if (have_kb + leased_kb + kb <= h->capacity_kb && have + leased_pct + pct <= h->capacity_pct + 0.1)
        return 0;
    snprintf(why, cap, "no room");
    return VI_EFULL;
}

void ew_hooks(struct envmove_hooks *h, unsigned n)
{
    *h = (struct envmove_hooks){.arg = (void *)(uintptr_t)n, .kin = kin, .representative = representative, .env = env,
                                .hosts = hosts, .domains = domains, .look = look, .guest = guest_here,
                                .arriving = arriving, .can_take = can_take};
}

/* A guest that comes: its lease keeps its room; one of another domain has no other way in. */
int ew_admit(unsigned n, const struct vi_id *handover, char *why, size_t cap)
{
    struct ew_host *h = &ew->host[n];
    struct handover_view v;
    uint64_t kb = 0, leased_kb;
    double pct = 0, leased_pct;
    unsigned from;
    bool leased;
    if (!handover_find(h->handovers, handover, &v))
        return VI_ENOTFOUND;
    from = ew_host_of(&v.peer);
    leased = envmove_lease_of(h->moves, ew_local(h), &v.guest->uuid, &v.peer, &kb, &pct);
    if (!leased && ew->host[from].domain != h->domain) {
        snprintf(why, cap, "no lease");
        return VI_EREFUSED;
    }
    if (h->copy[ew_guest_of(&v.guest->uuid)].is != EW_ABSENT)
        return VI_EEXIST;
    (void)envmove_leased(h->moves, &leased_kb, &leased_pct);
    return can_take((void *)(uintptr_t)n, v.guest->kb, v.guest->pct, leased_kb - kb, leased_pct - pct, why, cap);
}

/* ---- what must never be ---- */

static bool has_lease(unsigned n, const struct vi_id *move, const struct vi_id *guest)
{
    struct ew_host *h = &ew->host[n];
    struct envmove_view v;
    unsigned pos = 0;
    struct vi_id key;
    if (h->boot.b[15] > 0)
        return true; /* it was booted since: nobody could know */
    if (!h->moves) {
        em_lease_key(&key, move, guest);
        for (unsigned i = 0; i < h->n_records; i++)
            if (!h->record[i].gone && !h->record[i].of_handover && vi_id_equal(&h->record[i].key, &key))
                return true;
        return false;
    }
    if (arriving((void *)(uintptr_t)n, guest) || h->copy[ew_guest_of(guest)].is != EW_ABSENT)
        return true; /* it made use of it */
    while (envmove_next(h->moves, &pos, &v))
        if (v.part == ENVMOVE_LEASE && v.phase == EE_LEASED && vi_id_equal(&v.id, move) &&
            vi_id_equal(&v.guest[0].uuid, guest) && ew_local(h) <= v.until)
            return true;
    return false;
}

/* All leases are there when the first of a move's hosts goes. */
void ew_look_at_record(unsigned n, const uint8_t *data, size_t len)
{
    static struct em_grant g;
    struct em_lease e;
    struct vi_id boot;
    bool is_lease;
    if (em_record_decode(&is_lease, &g, &e, &boot, data, len)) {
        ew_bad("a record that can't be read");
        return;
    }
    if (is_lease || g.phase != EG_GO)
        return;
    for (unsigned i = 0; i < ew->n_moves; i++)
        if (vi_id_equal(&ew->move[i].id, &g.move))
            return;
    if (ew->n_moves < EW_MOVES)
        ew->move[ew->n_moves++] = (struct ew_move){.id = g.move, .host = n, .boot = ew->host[n].boot.b[15]};
    for (unsigned i = 0; i < g.plan.n; i++)
        if (g.plan.g[i].state == ENVMOVE_WAITS && !vi_id_is_zero(&g.plan.g[i].to) &&
            !has_lease(ew_host_of(&g.plan.g[i].to), &g.move, &g.plan.g[i].uuid))
            ew_bad("GO, and guest %u has no lease", ew_guest_of(&g.plan.g[i].uuid));
}

/* A lease that is trusted is there. */
void ew_look_at_move(unsigned n, const struct envmove_effect *fx)
{
    if (!has_lease(ew_host_of(&fx->peer), &fx->id, &fx->guest))
        ew_bad("host %u hands guest %u over, whose lease is gone", n, ew_guest_of(&fx->guest));
    if (ew->host[ew_host_of(&fx->peer)].domain == ew->host[n].domain)
        ew_bad("a guest of a move goes to a host of its own domain");
}

static void look_at_limits(unsigned domain)
{
    unsigned of[EW_DOMAINS] = {0};
    for (unsigned n = 0; n < ew->n_hosts; n++)
        for (unsigned g = 0; g < ew->n_guests && ew->host[n].domain == domain; g++)
            of[ew->env[ew->guest[g].env].home] += ew->host[n].copy[g].is != EW_ABSENT;
    for (unsigned d = 0; d < ew->n_domains; d++)
        if (d != domain && of[d] > ew->limits[domain])
            ew_bad("domain %u has %u guests of domain %u and takes in %u", domain, of[d], d, ew->limits[domain]);
}

void ew_look_at_host(unsigned n)
{
    struct ew_host *h = &ew->host[n];
    uint64_t kb, have;
    double pct, have_pct;
    for (unsigned g = 0; g < ew->n_guests; g++)
        if (h->copy[g].is == EW_RUNS && ew_running(g, NULL) > 1)
            ew_bad("guest %u runs twice", g);
    look_at_limits(h->domain);
    if (!h->moves)
        return;
    (void)envmove_leased(h->moves, &kb, &pct);
    have = taken((void *)(uintptr_t)n, &have_pct);
    if (kb + have > h->capacity_kb || pct + have_pct > h->capacity_pct + 0.5)
        ew_bad("host %u is over-committed: %.1f of %.1f GiB, %.0f of %.0f %%", n, (double)(kb + have) / GIB,
               (double)h->capacity_kb / GIB, pct + have_pct, h->capacity_pct);
}

/* Once the host has looked at its times. */
void ew_look_at_leases(unsigned n)
{
    struct ew_host *h = &ew->host[n];
    struct envmove_view v;
    unsigned pos = 0;
    while (h->moves && envmove_next(h->moves, &pos, &v))
        if (v.part == ENVMOVE_LEASE && !arriving((void *)(uintptr_t)n, &v.guest[0].uuid) &&
            (v.until - ew_local(h) > 60 * VI_SEC || ew_local(h) > v.until))
            ew_bad("a lease of host %u outlives its term", n);
}

/* Once a host has GO on its disk, and lives, nothing is given back. */
static void look_at_giving_back(const struct envmove_effect *fx)
{
    for (unsigned i = 0; i < ew->n_moves; i++)
        if (vi_id_equal(&ew->move[i].id, &fx->id) && ew->host[ew->move[i].host].boot.b[15] == ew->move[i].boot)
            ew_bad("a move is given back though host %u has GO", ew->move[i].host);
}

void ew_note(unsigned n, const struct envmove_effect *fx)
{
    if (!strncmp(fx->why, "giving back", 11))
        look_at_giving_back(fx);
    static const char *const taken_text = "taking over";
    ew->taken_over += !strncmp(fx->why, taken_text, strlen(taken_text));
    ew->moved += !strncmp(fx->why, "moved", 5);
    ew->splits += !strncmp(fx->why, "split", 5);
    ew->refused += !strncmp(fx->why, "refused", 7);
    if (ew->trace)
        printf("%8.2f host %u.%u env %u: %s\n", (double)ew->now / 1e6, ew->host[n].domain, n, env_of(&fx->env), fx->why);
}
