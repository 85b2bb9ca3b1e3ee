/* A simulated peer and the rules of environments: where its guests may be, where others' are, how often an environment moved.
 * As peer/daemon_rules.c does; what hosts state of their guests is known to the others at once. */
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "tests/sim/violin_internal.h"

bool vn_rules_open(struct violin *v)
{
    const struct pw_scenario *s = v->pw->s;

    v->epoch = calloc(v->pw->n_guests + 1, sizeof *v->epoch);
    for (unsigned i = 0; i < s->n_rules; i++) {
        const struct pw_rule *from = &s->rule[i];
        struct policy_rule *to = &v->rule[i];

        *to = (struct policy_rule){.env = v->env_id[from->env], .number = i + 1, .kind = from->kind, .n = from->n};
        if (from->kind == POLICY_RULE_PIN || from->kind == POLICY_RULE_NEVER)
            to->host = v->disk[from->host].id;
        for (unsigned k = 0; k < from->n; k++) {
            struct vi_id id;

            vn_guest_id(v->pw->env[from->env].first + from->guest[k], &id);
            policy_rule_tag(&id, to->guest[k]);
        }
    }
    return v->epoch;
}

static bool has_of(const struct vn_host *h, unsigned env)
{
    for (unsigned k = 0; k < h->n_copies; k++)
        if (h->v->pw->guest[h->copy[k].guest].env == env)
            return true;
    return false;
}

static void place_of(const struct violin *v, unsigned guest, struct policy_place *p)
{
    const struct pw_guest *g = &v->pw->guest[guest];

    *p = (struct policy_place){.env = v->env_id[g->env], .host = v->disk[g->host].id, .epoch = v->epoch[guest] + 1};
    vn_guest_id(guest, &p->guest);
    policy_rule_tag(&p->guest, p->tag);
}

void vn_rules_snapshot(struct vn_host *h, struct policy_snapshot *s)
{
    static struct policy_rule rules[PW_RULES];
    static struct policy_place places[POLICY_PLACES];
    const struct pw_world *w = h->v->pw;

    s->self = h->v->disk[h->n].id;
    s->rules = (struct policy_rules){.rule = rules, .place = places};
    for (unsigned i = 0; i < w->s->n_rules; i++)
        if (has_of(h, w->s->rule[i].env))
            rules[s->rules.n++] = h->v->rule[i];
    for (unsigned e = 0; e < w->s->n_envs; e++) {
        if (w->env[e].state != PW_RUNS || w->s->env[e].guests < 2 || !has_of(h, e))
            continue;
        for (unsigned k = 0; k < w->s->env[e].guests && s->rules.n_places < POLICY_PLACES; k++)
            if (w->guest[w->env[e].first + k].host != h->n)
                place_of(h->v, w->env[e].first + k, &places[s->rules.n_places++]);
    }
}

/* Whoever talks is counted where one of them is; what is known of two on one host is what was seen before. */
void vn_rules_talks(struct vn_host *h, struct policy_snapshot *s)
{
    static struct policy_talk talks[PW_TALKS];
    const struct pw_world *w = h->v->pw;

    s->talks = talks;
    for (unsigned i = 0; i < w->s->n_talks; i++) {
        const struct pw_talk *t = &w->s->talk[i];
        unsigned a = w->env[t->env].first + t->a, b = w->env[t->env].first + t->b;
        struct policy_talk *to = &talks[s->n_talks];

        if (w->env[t->env].state != PW_RUNS || (w->guest[a].host != h->n && w->guest[b].host != h->n))
            continue;
        vn_guest_id(a, &to->a);
        vn_guest_id(b, &to->b);
        to->bytes_s = t->kbps * 1024;
        s->n_talks++;
    }
}

const struct policy_rules *vn_rules_all(void *arg)
{
    static struct policy_rules all;
    struct vn_host *h = arg;

    all = (struct policy_rules){.rule = h->v->rule, .n = h->v->pw->s->n_rules};
    return &all;
}

/* Its own guests, and those that are on their way here: nobody knows these as well. */
bool vn_rules_refuse(struct vn_host *h, const struct handover_guest *g, char why[POLICY_RULE_TEXT])
{
    struct policy_place here[PW_GUESTS];
    struct policy_rules v = {.rule = h->v->rule, .n = h->v->pw->s->n_rules, .place = here};
    unsigned guest = vn_guest_of(h->v, &g->uuid);
    const struct policy_rule *against;
    uint8_t tag[POLICY_RULE_TAG];

    for (unsigned k = 0; k < h->n_copies && v.n_places < PW_GUESTS; k++)
        if (h->copy[k].guest != guest && vi_id_equal(&h->v->env_id[h->v->pw->guest[h->copy[k].guest].env], &g->env)) {
            place_of(h->v, h->copy[k].guest, &here[v.n_places]);
            here[v.n_places++].host = h->v->disk[h->n].id;
        }
    policy_rule_tag(&g->uuid, tag);
    against = policy_rule_against(&v, &g->env, tag, &h->v->disk[h->n].id);
    if (against)
        policy_rule_text(against, why);
    return against;
}

/* ---- the budget: who gets a guest asks where it came from ---- */

static void on_moves(void *arg, int err, const uint8_t *body, size_t len)
{
    struct vn_probing *p = arg; /* peer: the environment */

    p->used = false;
    if (!err)
        (void)policy_moves_heard(p->h->policy, vn_now(p->h), &p->peer, body, len);
}

void vn_rules_came(struct vn_host *h, const struct handover_guest *g, const struct vi_id *from)
{
    unsigned n = vn_host_of(h->v, from), guest = vn_guest_of(h->v, &g->uuid), k = 0;
    uint8_t b[POLICY_MOVES];
    int len = policy_moves_ask(&g->env, b);

    if (guest != PW_NOWHERE)
        h->v->epoch[guest]++;
    while (k < CALLS_MAX && h->probing[k].used)
        k++;
    if (k == CALLS_MAX || len < 0 || n == PW_NOWHERE || h->v->pw->host[n].domain != h->domain)
        return; /* another domain's hosts aren't asked */
    h->probing[k] = (struct vn_probing){true, h, g->env, g->uuid};
    if (calls_ask(h->calls, vn_now(h), from, CALL_MOVES, b, (size_t)len, on_moves, &h->probing[k]))
        h->probing[k].used = false;
}

int vn_rules_moves(struct vn_host *h, const struct vi_id *from, const uint8_t *body, size_t len, uint8_t *out)
{
    unsigned n = vn_host_of(h->v, from);

    if (n == PW_NOWHERE || h->v->pw->host[n].domain != h->domain)
        return VI_EREFUSED;
    return policy_moves_tell(h->policy, vn_now(h), body, len, out);
}
