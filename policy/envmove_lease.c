/* Leases, at the host that gives them. One keeps room for one guest of a move until the guest is here, its term is
 * over, or who asked for it drops it. It is on the disk before it is said; one found there after a restart counts
 * anew from then, once: nobody trusts it for longer. After a reboot none count.
 *
 * Only hosts of our own domain are given leases (whoever plans for it has looked at the limits); the guest's host,
 * in another domain, may renew the one that names it. */
#include "policy/envmove_internal.h"

#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"

static struct em_lease *find(struct envmoves *s, const struct vi_id *guest)
{
    for (unsigned i = 0; i < ENVMOVE_LEASES; i++)
        if (s->lease[i].used && vi_id_equal(&s->lease[i].guest, guest))
            return &s->lease[i];
    return NULL;
}

static struct em_lease *find_key(struct envmoves *s, const struct vi_id *key)
{
    for (unsigned i = 0; i < ENVMOVE_LEASES; i++) {
        struct vi_id k;
        if (!s->lease[i].used)
            continue;
        em_lease_key(&k, &s->lease[i].move, &s->lease[i].guest);
        if (vi_id_equal(&k, key))
            return &s->lease[i];
    }
    return NULL;
}

static struct em_lease *place(struct envmoves *s)
{
    for (unsigned i = 0; i < ENVMOVE_LEASES; i++)
        if (!s->lease[i].used)
            return &s->lease[i];
    return NULL;
}

static void expect(struct envmoves *s, const struct em_lease *e, bool on)
{
    struct envmove_effect *fx = em_push(s, ENVMOVE_FX_EXPECT);
    if (!fx)
        return;
    fx->id = e->move;
    fx->env = e->env;
    fx->guest = e->guest;
    fx->peer = e->from;
    fx->on = on;
}

static void let_go(struct envmoves *s, struct em_lease *e)
{
    struct envmove_effect *fx = em_push(s, ENVMOVE_FX_FORGET);
    if (fx)
        em_lease_key(&fx->id, &e->move, &e->guest);
    if (e->phase == EE_LEASED)
        expect(s, e, false);
    e->used = false;
}

static void say(struct envmoves *s, vi_time now, const struct em_lease *e, const struct vi_id *to)
{
    struct em_msg m = {.kind = EM_LEASED, .move = e->move, .guest = e->guest, .n = e->asked};
    em_send(s, now, to, &m);
}

static void refuse(struct envmoves *s, vi_time now, const struct vi_id *to, const struct em_msg *asked, const char *why)
{
    struct em_msg m = {.kind = EM_NOLEASE, .move = asked->move, .guest = asked->guest, .n = asked->n};
    snprintf(m.why, sizeof m.why, "%s", why);
    em_send(s, now, to, &m);
}

static bool here(const struct envmoves *s, const struct vi_id *guest)
{
    bool busy;
    return s->cfg.hooks.guest(s->cfg.hooks.arg, guest, &busy);
}

/* Does its room count beside everything else's? Not if the guest is coming, or has come: that is counted already. */
static bool counts(const struct envmoves *s, const struct em_lease *e)
{
    return e->used && !s->cfg.hooks.arriving(s->cfg.hooks.arg, &e->guest) && !here(s, &e->guest);
}

unsigned envmove_leased(const struct envmoves *s, uint64_t *kb, double *pct)
{
    unsigned n = 0;
    *kb = 0;
    *pct = 0;
    for (unsigned i = 0; i < ENVMOVE_LEASES; i++)
        if (s->lease[i].used && counts(s, &s->lease[i])) {
            n++;
            *kb += s->lease[i].kb;
            *pct += s->lease[i].pct;
        }
    return n;
}

bool envmove_lease_of(const struct envmoves *s, vi_time now, const struct vi_id *guest, const struct vi_id *from,
                      uint64_t *kb, double *pct)
{
    for (unsigned i = 0; i < ENVMOVE_LEASES; i++) {
        const struct em_lease *e = &s->lease[i];
        if (e->used && e->phase == EE_LEASED && now < e->until && vi_id_equal(&e->guest, guest) &&
            vi_id_equal(&e->from, from)) {
            *kb = e->kb;
            *pct = e->pct;
            return true;
        }
    }
    return false;
}

void em_lease_of_home(const struct envmoves *s, const struct vi_id *home, struct envmove_limits *add)
{
    for (unsigned i = 0; i < ENVMOVE_LEASES; i++)
        if (s->lease[i].used && vi_id_equal(&s->lease[i].home, home) && !here(s, &s->lease[i].guest)) {
            add->guests++;
            add->kb += s->lease[i].kb;
            add->pct += s->lease[i].pct;
        }
}

/* Could it be taken? Foreign guests are held to their home's limits by each host on its own, too. */
static int judge(struct envmoves *s, const struct em_msg *m, char *why, size_t cap)
{
    struct envmove_env env;
    uint64_t kb;
    double pct;
    if (!s->cfg.hooks.env(s->cfg.hooks.arg, &m->env, &env) || !env.allowed) {
        snprintf(why, cap, "its environment isn't known here, or may not be here");
        return VI_ENOTFOUND;
    }
    if (here(s, &m->guest)) {
        snprintf(why, cap, "a guest with its UUID is here");
        return VI_EEXIST;
    }
    if (!env.at_home && (m->kb > env.limits.kb || m->pct > env.limits.pct || env.limits.guests == 0)) {
        snprintf(why, cap, "more than its domain's limits allow");
        return VI_EFULL;
    }
    (void)envmove_leased(s, &kb, &pct);
    return s->cfg.hooks.can_take(s->cfg.hooks.arg, m->kb, m->pct, kb, pct, why, cap);
}

static bool came(const struct envmoves *s, const struct em_msg *m)
{
    for (unsigned i = 0; i < EM_CAME; i++)
        if (vi_id_equal(&s->came[i].move, &m->move) && vi_id_equal(&s->came[i].guest, &m->guest))
            return true;
    return false;
}

static void write_down(struct envmoves *s, struct em_lease *e)
{
    struct envmove_effect *fx = em_push(s, ENVMOVE_FX_PERSIST);
    int n;
    if (!fx) {
        e->used = false;
        return;
    }
    em_lease_key(&fx->id, &e->move, &e->guest);
    n = em_lease_encode(e, &s->cfg.boot, fx->data, sizeof fx->data);
    fx->len = n > 0 ? (size_t)n : 0;
}

static void ask(struct envmoves *s, vi_time now, const struct vi_id *from, const struct em_msg *m)
{
    struct em_lease *e = find(s, &m->guest);
    char why[ENVMOVE_WHY] = "";
    if (e && vi_id_equal(&e->move, &m->move) && e->phase == EE_LEASED) {
        if (!e->came)
            e->until = now + ENVMOVE_TERM;
        e->asker = *from;
        e->asked = m->n;
        say(s, now, e, from);
        return;
    }
    if (came(s, m)) { /* and went on: whoever asks hasn't heard of it yet */
        refuse(s, now, from, m, "it has come already");
        return;
    }
    if (e && (e->phase != EE_LEASED || s->cfg.hooks.arriving(s->cfg.hooks.arg, &e->guest))) {
        if (!vi_id_equal(&e->move, &m->move))
            refuse(s, now, from, m, "it is being moved otherwise");
        return;
    }
    if (e)
        let_go(s, e); /* of an earlier move that came to nothing */
    e = place(s);
    if (!e || judge(s, m, why, sizeof why)) {
        refuse(s, now, from, m, e ? why : "too many leases are given already");
        return;
    }
    *e = (struct em_lease){.used = true, .phase = EE_WRITING, .move = m->move, .env = m->env, .home = m->home,
                           .guest = m->guest, .from = m->peer, .asker = *from, .kb = m->kb, .pct = m->pct,
                           .asked = m->n, .since = now, .until = now + ENVMOVE_TERM};
    write_down(s, e);
}

bool em_lease_persisted(struct envmoves *s, vi_time now, const struct vi_id *key, int err)
{
    struct em_lease *e = find_key(s, key);
    if (!e || e->phase != EE_WRITING)
        return e != NULL;
    if (err) { /* nobody was told; who asked asks again */
        e->used = false;
        return true;
    }
    em_fault(s, "envmove.lease.journalled");
    e->phase = EE_LEASED;
    expect(s, e, true);
    say(s, now, e, &e->asker);
    return true;
}

static void renew(struct envmoves *s, vi_time now, const struct vi_id *from, const struct em_msg *m)
{
    struct em_lease *e = find(s, &m->guest);
    if (e && vi_id_equal(&e->move, &m->move) && vi_id_equal(&e->from, from) && e->phase == EE_LEASED) {
        if (!e->came)
            e->until = now + ENVMOVE_TERM;
        e->asked = m->n;
        say(s, now, e, from);
    } else if (!e || e->phase == EE_LEASED)
        refuse(s, now, from, m, "no lease for it is known");
}

void em_lease_message(struct envmoves *s, vi_time now, const struct vi_id *from, const struct em_msg *m)
{
    struct em_lease *e;
    switch (m->kind) {
    case EM_LEASE:
        ask(s, now, from, m);
        break;
    case EM_RENEW_LEASE:
        renew(s, now, from, m);
        break;
    case EM_DROP: /* of a move, all (no guest named) or one */
        for (unsigned i = 0; i < ENVMOVE_LEASES; i++) {
            e = &s->lease[i];
            if (e->used && e->phase == EE_LEASED && vi_id_equal(&e->move, &m->move) &&
                (vi_id_is_zero(&m->guest) || vi_id_equal(&e->guest, &m->guest)) &&
                !s->cfg.hooks.arriving(s->cfg.hooks.arg, &e->guest))
                let_go(s, e);
        }
        break;
    default:
        break;
    }
}

/* From here on it is counted as a guest, once it is listed as one; it may be gone again before anybody sees it. */
void em_lease_came(struct envmoves *s, vi_time now, const struct vi_id *guest)
{
    struct em_lease *e = find(s, guest);
    if (!e || e->phase != EE_LEASED)
        return;
    em_remember(s, now, &e->env);
    s->came[s->next_came].move = e->move;
    s->came[s->next_came].guest = e->guest;
    s->next_came = (s->next_came + 1) % EM_CAME;
    e->came = true;
    if (e->until > now + EM_CAME_FOR)
        e->until = now + EM_CAME_FOR;
}

void em_lease_tick(struct envmoves *s, vi_time now)
{
    for (unsigned i = 0; i < ENVMOVE_LEASES; i++) {
        struct em_lease *e = &s->lease[i];
        if (!e->used || s->cfg.hooks.arriving(s->cfg.hooks.arg, &e->guest))
            continue;
        if (here(s, &e->guest) || now >= e->until)
            let_go(s, e);
    }
}

int em_lease_recover(struct envmoves *s, vi_time now, const struct em_lease *found)
{
    struct em_lease *e = find(s, &found->guest);
    if (e && !vi_id_equal(&e->move, &found->move))
        let_go(s, e); /* the later record is of the later move */
    if (!e || !e->used)
        e = place(s);
    if (!e)
        return VI_EFULL;
    *e = *found;
    e->used = true;
    e->since = found->since < now ? found->since : now;
    e->until = now + ENVMOVE_TERM;
    expect(s, e, true);
    return 0;
}
