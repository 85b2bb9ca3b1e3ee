/* Asking our domain's hosts how they are, all at once; and an overloaded domain's decision, by what they say. */
#include "policy/envmove_internal.h"

#include <string.h>

#include "peer/base/err.h"

/* ---- looking ---- */

static void ask_all(struct envmoves *s, vi_time now, struct em_look *k)
{
    struct em_msg m = {.kind = EM_LOOK, .n = k->n, .env = k->env, .home = k->home, .more = true};
    k->next = now + EM_AGAIN;
    for (unsigned i = 0; i < k->n_hosts; i++)
        if (!k->answered[i])
            em_send(s, now, &k->host[i], &m);
}

/* A domain of more hosts than are looked at: those that are short are worth more than those with the most room, but for half
 * of all, so that what the others could do isn't overlooked. */
static void put_short_first(const struct envmoves *s, vi_time now, struct em_look *k)
{
    struct vi_id all[ENVMOVE_HOSTS + ENVMOVE_HOSTS / 2];
    unsigned n = 0, shorts;
    for (unsigned i = 0; i < ENVMOVE_SHORTS && n < ENVMOVE_HOSTS / 2; i++)
        if (s->shorts[i].used && now - s->shorts[i].at <= s->cfg.short_stale)
            all[n++] = s->shorts[i].host;
    shorts = n;
    for (unsigned i = 0; i < k->n_hosts; i++) {
        unsigned twice = 0;
        while (twice < shorts && !vi_id_equal(&all[twice], &k->host[i]))
            twice++;
        if (twice == shorts)
            all[n++] = k->host[i];
    }
    k->n_hosts = n < ENVMOVE_HOSTS ? n : ENVMOVE_HOSTS;
    memcpy(k->host, all, k->n_hosts * sizeof all[0]);
}

/* env: only its guests are told of. home: whose guests are summed up. Either may be NULL; both: to decide who leaves. */
int em_look_begin(struct envmoves *s, vi_time now, const struct vi_id *env, const struct vi_id *home)
{
    for (int i = 0; i < EM_LOOKS; i++) {
        struct em_look *k = &s->looks[i];
        if (k->used)
            continue;
        memset(k, 0, sizeof *k);
        k->used = true;
        k->n = vi_rng_u64(s->rng);
        if (env)
            k->env = *env;
        if (home)
            k->home = *home;
        k->until = now + EM_LOOK_FOR;
        k->n_hosts = s->cfg.hooks.hosts(s->cfg.hooks.arg, env, home, k->host, ENVMOVE_HOSTS);
        if (!env && !home)
            put_short_first(s, now, k);
        ask_all(s, now, k);
        return i;
    }
    return -1;
}

void em_look_end(struct envmoves *s, int *look)
{
    if (*look >= 0)
        s->looks[*look].used = false;
    *look = -1;
}

bool em_look_whole(const struct em_look *k)
{
    for (unsigned i = 0; i < k->n_hosts; i++)
        if (!k->answered[i])
            return false;
    return true;
}

void em_look_tick(struct envmoves *s, vi_time now)
{
    for (unsigned i = 0; i < EM_LOOKS; i++) {
        struct em_look *k = &s->looks[i];
        if (!k->used || k->done)
            continue;
        if (now >= k->until)
            k->done = true; /* without those that didn't answer */
        else if (now >= k->next)
            ask_all(s, now, k);
    }
}

static void answer(struct envmoves *s, vi_time now, const struct vi_id *from, const struct em_msg *m)
{
    struct em_msg a = {.kind = EM_SEEN, .n = m->n, .more = m->more};
    uint64_t kb;
    double pct;
    s->cfg.hooks.look(s->cfg.hooks.arg, &m->env, &m->home, &a.seen);
    for (unsigned i = 0; i < a.seen.n; i++)
        a.seen.guest[i].stays |= em_recent(s, now, &a.seen.guest[i].env);
    (void)envmove_leased(s, &kb, &pct);
    a.seen.free_kb -= (int64_t)kb;
    a.seen.free_pct -= pct;
    if (!vi_id_is_zero(&m->home))
        em_lease_of_home(s, &m->home, &a.seen.of_home);
    em_send(s, now, from, &a);
}

void em_look_message(struct envmoves *s, vi_time now, const struct vi_id *from, const struct em_msg *m)
{
    if (m->kind == EM_LOOK) {
        answer(s, now, from, m);
        return;
    }
    for (unsigned i = 0; i < EM_LOOKS; i++) {
        struct em_look *k = &s->looks[i];
        unsigned left = 0;
        if (!k->used || k->n != m->n)
            continue;
        for (unsigned h = 0; h < k->n_hosts; h++) {
            if (vi_id_equal(&k->host[h], from) && !k->answered[h]) {
                k->answered[h] = true;
                k->seen[h] = m->seen;
            }
            left += !k->answered[h];
        }
        k->done = left == 0;
    }
}

/* ---- deciding ---- */

/* It moves, or comes here, now: it stays for a while. */
void em_remember(struct envmoves *s, vi_time now, const struct vi_id *env)
{
    unsigned at = s->next_recent;
    for (unsigned i = 0; i < EM_RECENT; i++)
        if (vi_id_equal(&s->recent[i].env, env))
            at = i;
    s->recent[at].env = *env;
    s->recent[at].until = now + s->cfg.cooldown;
    if (at == s->next_recent)
        s->next_recent = (s->next_recent + 1) % EM_RECENT;
}

bool em_recent(const struct envmoves *s, vi_time now, const struct vi_id *env)
{
    for (unsigned i = 0; i < EM_RECENT; i++)
        if (now < s->recent[i].until && vi_id_equal(&s->recent[i].env, env))
            return true;
    return false;
}

void em_decide_short(struct envmoves *s, vi_time now, const struct vi_id *host)
{
    struct em_short *place = NULL;
    for (unsigned i = 0; i < ENVMOVE_SHORTS; i++) {
        struct em_short *h = &s->shorts[i];
        if (h->used && now - h->at > s->cfg.short_stale)
            h->used = false;
        if (h->used && vi_id_equal(&h->host, host)) {
            h->n++;
            h->at = now;
            return;
        }
        if (!h->used && !place)
            place = h;
    }
    if (place)
        *place = (struct em_short){.used = true, .host = *host, .n = 1, .at = now};
}

static bool overloaded(struct envmoves *s, vi_time now)
{
    bool is = false;
    for (unsigned i = 0; i < ENVMOVE_SHORTS; i++) {
        struct em_short *h = &s->shorts[i];
        if (h->used && now - h->at > s->cfg.short_stale)
            h->used = false;
        is |= h->used && h->n >= s->cfg.needed;
    }
    return is;
}

struct may {
    struct envmoves *s;
    vi_time now;
};

static bool may_leave(void *arg, const struct vi_id *env)
{
    struct may *m = arg;
    struct vi_id domain;
    return !em_recent(m->s, m->now, env) && !em_lead_busy(m->s, env) &&
           m->s->cfg.hooks.domains(m->s->cfg.hooks.arg, env, 0, 0, &domain, 1) > 0;
}

/* Nobody was asked, for nobody is known to have room: that may change any time, and a look costs two messages a host. */
static void look_again(struct envmoves *s, vi_time now)
{
    s->decide_at = now + EM_LOOK_EVERY;
    s->look_early = true;
}

/* What was asked for wasn't had, or was only said: others are left in peace for a while. */
static void put_off(struct envmoves *s, vi_time now)
{
    s->look_early = false;
    s->decide_at = now + s->decide_wait;
    s->decide_wait = s->decide_wait * 2 > 10 * VI_MIN ? 10 * VI_MIN : s->decide_wait * 2;
}

/* Begins with the best environment that is left of the last decision. */
static void next_choice(struct envmoves *s, vi_time now)
{
    bool asked = s->choice_asked;
    while (s->next_choice < s->n_choices) {
        const struct envmove_choice *c = &s->choice[s->next_choice++];
        struct vi_id domains[ENVMOVE_DOMAINS], id;
        unsigned n = s->cfg.hooks.domains(s->cfg.hooks.arg, &c->env, c->kb, c->pct, domains, ENVMOVE_DOMAINS);
        vi_rng_id(s->rng, &id);
        if (n > 0 && !s->cfg.automatic) {
            em_note(s, &id, &c->env, "would move to another domain: its %u guests would gain %.0f CPU seconds for %.0f",
                    c->guests, c->gain_s, c->cost_s);
            em_would(s, &domains[0]);
            asked = true;
            break;
        }
        if (n > 0 && em_lead_start(s, now, &id, &c->env, domains, n, false) == 0) {
            em_note(s, &id, &c->env, "the domain is overloaded: its %u guests would gain %.0f CPU seconds for %.0f",
                    c->guests, c->gain_s, c->cost_s);
            s->choice_asked = true;
            return;
        }
    }
    s->choice_asked = false;
    if (asked)
        put_off(s, now);
    else
        look_again(s, now);
}

/* A move that was decided on here came to its end. */
void em_decide_ended(struct envmoves *s, vi_time now, const struct em_lead *l)
{
    if (l->phase == EL_MOVED || l->phase == EL_SPLIT) {
        em_remember(s, now, &l->plan.env);
        memset(s->shorts, 0, sizeof s->shorts); /* they say so again if it didn't help */
        s->n_choices = 0;
        s->choice_asked = false;
        s->look_early = false;
        s->decide_wait = VI_MIN;
        s->decide_at = now + VI_MIN;
    } else if (!l->by_operator && s->represents)
        next_choice(s, now);
}

/* Has another domain been heard of since that might have room for what could have left at the latest look? */
static bool room_is_heard_of(struct envmoves *s)
{
    struct vi_id domain;
    for (unsigned i = 0; i < s->n_choices; i++)
        if (s->cfg.hooks.domains(s->cfg.hooks.arg, &s->choice[i].env, s->choice[i].kb, s->choice[i].pct, &domain, 1) > 0)
            return true;
    return false;
}

void em_decide_tick(struct envmoves *s, vi_time now)
{
    struct may may = {.s = s, .now = now};
    struct em_look *k;
    struct envmove_seen *seen;
    unsigned n = 0;
    if (s->deciding < 0) {
        if (s->represents && (now >= s->decide_at || s->look_early) && !em_lead_busy(s, NULL) && overloaded(s, now) &&
            (now >= s->decide_at || room_is_heard_of(s)))
            s->deciding = em_look_begin(s, now, NULL, NULL);
        return;
    }
    k = &s->looks[s->deciding];
    if (!k->done)
        return;
    seen = k->seen; /* those that answered, together */
    for (unsigned i = 0; i < k->n_hosts; i++)
        if (k->answered[i])
            seen[n++] = seen[i];
    s->n_choices = envmove_choose(&s->cfg, seen, n, may_leave, &may, s->choice, EM_CHOICES);
    s->next_choice = 0;
    em_look_end(s, &s->deciding);
    next_choice(s, now);
}
