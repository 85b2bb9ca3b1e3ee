/* The daemon and the rules of environments: where they come from (pages in the gossip's record store, signed at home),
 * where guests are (this host's, those that are arriving, and what the other hosts state), who asks about them (the
 * policy, a guest's admission, an operator), and what people change.
 *
 * A rule is kept whoever is asked: the host that chooses a place, which knows what others state, and the host that is
 * chosen, which knows its own guests. An operator's order may go beyond one; its destination is told so beforehand. */
#include "peer/daemon_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/rpc_write.h"

#define ORDER_HOLDS VI_MIN /* an order to take a guest in against a rule */

/* ---- from the record store ---- */

static bool numbered(const struct env *e, unsigned number)
{
    for (unsigned i = 0; i < e->n_rules; i++)
        if (e->rule[i].number == number)
            return true;
    return false;
}

void daemon_rules_reload(struct daemon *d, struct env *e)
{
    static struct env_rules page;
    e->n_rules = 0;
    e->priority = ENV_PRIORITY;
    for (unsigned i = 0; i < ENV_PAGES; i++) {
        struct gossip_record r;
        struct vi_id key;
        env_rules_key(&key, &e->def.id, i);
        if (!gossip_record_get(d->gossip, ENV_RECORD_RULES, &key, &r) || env_rules_decode(&page, r.bytes, r.len))
            continue;
        if (i == 0)
            e->priority = page.priority;
        for (unsigned k = 0; k < page.n && e->n_rules < ENV_RULES; k++)
            if (!numbered(e, page.rule[k].number)) {
                e->rule_page[e->n_rules] = (uint8_t)i;
                e->rule[e->n_rules++] = page.rule[k];
            }
    }
}

void daemon_rules_record(struct daemon *d, const struct vi_id *key)
{
    static struct env_rules page;
    struct gossip_record r;
    struct env *e;
    if (!gossip_record_get(d->gossip, ENV_RECORD_RULES, key, &r) || env_rules_decode(&page, r.bytes, r.len))
        return;
    e = daemon_env_by_id(d, &page.env);
    if (!e)
        return;
    if (store_put(d->store, STORE_RECORD, key, r.bytes, r.len))
        daemon_warn(d, WARN_STORE, "%s", store_error(d->store));
    daemon_rules_reload(d, e);
}

/* From the store, once the definitions are known. */
static bool stored_page(void *arg, const struct vi_id *key, const void *value, size_t len)
{
    static struct env_rules page;
    struct daemon *d = arg;
    struct vi_id signer;
    struct env *e;
    struct cert c;
    if (env_rules_decode(&page, value, len) || cert_decode(&c, page.cert, page.cert_len))
        return true;
    e = daemon_env_by_id(d, &page.env);
    cert_peer_id(&signer, c.ed);
    if (e && daemon_gossip_record(d, ENV_RECORD_RULES, key, &signer, page.version, value, len) == 0)
        daemon_rules_reload(d, e);
    return true;
}

void daemon_rules_load(struct daemon *d)
{
    (void)store_each(d->store, STORE_RECORD, stored_page, d);
}

void daemon_rules_forget(struct daemon *d, const struct vi_id *env)
{
    for (unsigned i = 0; i < ENV_PAGES; i++) {
        struct vi_id key;
        env_rules_key(&key, env, i);
        if (store_delete(d->store, STORE_RECORD, &key))
            daemon_warn(d, WARN_STORE, "%s", store_error(d->store));
    }
}

/* ---- where guests are ---- */

static void add(struct policy_place *out, unsigned cap, unsigned *n, const struct env *e, const struct vi_id *guest,
                const struct vi_id *host, uint64_t epoch)
{
    struct policy_place *p;
    for (unsigned i = 0; i < *n; i++)
        if (vi_id_equal(&out[i].guest, guest))
            return; /* with another of its MACs */
    if (*n >= cap)
        return;
    p = &out[(*n)++];
    p->env = e->def.id;
    p->guest = *guest;
    p->host = *host;
    p->epoch = epoch;
    policy_rule_tag(guest, p->tag);
}

/* Guests of an environment elsewhere, as their hosts state. */
static unsigned elsewhere(struct daemon *d, const struct env *e, struct policy_place *out, unsigned cap)
{
    struct switch_place p;
    unsigned pos = 0, n = 0;
    while (switch_place_next(d->vswitch, &e->def.id, &pos, &p))
        if (!p.learned && !vi_id_is_zero(&p.guest) && !vi_id_equal(&p.peer, &d->me.id))
            add(out, cap, &n, e, &p.guest, &p.peer, p.epoch);
    return n;
}

static unsigned here(struct daemon *d, const struct env *e, struct policy_place *out, unsigned cap)
{
    static struct handover_view v;
    unsigned pos = 0, n = 0;
    for (unsigned i = 0; i < d->n_guests; i++)
        if (daemon_guest_env(d, &d->guests[i]) == e && !d->guests[i].incoming)
            add(out, cap, &n, e, &d->guests[i].uuid, &d->me.id, 0);
    while (handover_next(d->handovers, &pos, &v))
        if (v.role == HANDOVER_DESTINATION && !v.over && v.state != HD_ADMITTING && vi_id_equal(&v.guest->env, &e->def.id))
            add(out, cap, &n, e, &v.guest->uuid, &d->me.id, 0);
    return n;
}

void daemon_rules_snapshot(struct daemon *d, struct policy_snapshot *s)
{
    static struct policy_rule rules[POLICY_RULES];
    static struct policy_place places[POLICY_PLACES];
    s->self = d->me.id;
    s->rules.rule = rules;
    s->rules.place = places;
    for (unsigned i = 0; i < ENV_MAX; i++) {
        const struct env *e = &d->envs[i];
        if (!e->used || !e->local_guests)
            continue;
        for (unsigned k = 0; k < e->n_rules && s->rules.n < POLICY_RULES; k++)
            rules[s->rules.n++] = e->rule[k];
        s->rules.n_places += elsewhere(d, e, places + s->rules.n_places, POLICY_PLACES - s->rules.n_places);
    }
}

/* Where all guests of an environment are, as far as this host knows, now; until the next call. */
static void places_of(struct daemon *d, const struct env *e, struct policy_rules *v)
{
    static struct policy_place places[POLICY_PLACES];
    v->place = places;
    v->n_places = elsewhere(d, e, places, POLICY_PLACES);
    v->n_places += here(d, e, places + v->n_places, POLICY_PLACES - v->n_places);
}

bool daemon_rules_against(struct daemon *d, const struct env *e, const struct vi_id *guest, const struct vi_id *host,
                          char text[POLICY_RULE_TEXT])
{
    struct policy_rules v = {.rule = e->rule, .n = e->n_rules};
    const struct policy_rule *rule;
    uint8_t tag[POLICY_RULE_TAG];
    if (e->n_rules == 0)
        return false;
    policy_rule_tag(guest, tag);
    places_of(d, e, &v);
    rule = policy_rule_against(&v, &e->def.id, tag, host);
    if (rule)
        policy_rule_text(rule, text);
    return rule != NULL;
}

const struct policy_rules *daemon_rules_all(void *arg)
{
    static struct policy_rule rules[POLICY_RULES];
    static struct policy_rules all;
    struct daemon *d = arg;
    all = (struct policy_rules){.rule = rules};
    for (unsigned i = 0; i < ENV_MAX; i++)
        for (unsigned k = 0; d->envs[i].used && k < d->envs[i].n_rules && all.n < POLICY_RULES; k++)
            rules[all.n++] = d->envs[i].rule[k];
    return &all;
}

bool daemon_rules_broken(struct daemon *d, const struct env *e, const struct policy_rule *rule)
{
    struct policy_rules v = {.rule = rule, .n = 1};
    places_of(d, e, &v);
    for (unsigned i = 0; i < v.n_places; i++) {
        const struct policy_place *p = &v.place[i];
        struct vi_id to;
        if (vi_id_equal(&p->host, &d->me.id) && policy_rule_broken(&v, &e->def.id, p->tag, &p->host, &to))
            return true;
    }
    return false;
}

bool daemon_rules_placed(struct daemon *d, const struct env *e, const uint8_t tag[POLICY_RULE_TAG])
{
    struct policy_rules v = {.n = 0};
    places_of(d, e, &v);
    for (unsigned i = 0; i < v.n_places; i++)
        if (!memcmp(v.place[i].tag, tag, POLICY_RULE_TAG))
            return true;
    return false;
}

/* The environment's rules, and where its guests are; until the next call. */
const struct policy_rules *daemon_rules_of(void *arg, const struct vi_id *env)
{
    static struct policy_rules v;
    struct daemon *d = arg;
    const struct env *e = daemon_env_by_id(d, env);
    if (!e || !e->n_rules)
        return NULL;
    v = (struct policy_rules){.rule = e->rule, .n = e->n_rules};
    places_of(d, e, &v);
    return &v;
}

bool daemon_rules_pinned(struct daemon *d, const struct env *e, const struct vi_id *guest)
{
    struct policy_rules v = {.rule = e->rule, .n = e->n_rules};
    uint8_t tag[POLICY_RULE_TAG];
    if (e->n_rules == 0)
        return false;
    policy_rule_tag(guest, tag);
    return policy_rule_pins(&v, &e->def.id, tag, &d->me.id) != NULL;
}

/* ---- a guest is to come in ---- */

int daemon_rules_ordered(struct daemon *d, const struct vi_id *from, const uint8_t *body, size_t len)
{
    struct gossip_member m;
    if (len != VI_ID_SIZE || !gossip_member_find(d->gossip, from, &m))
        return VI_EREFUSED;
    memcpy(d->ordered.guest.b, body, VI_ID_SIZE);
    d->ordered.from = *from;
    d->ordered.until = daemon_now() + ORDER_HOLDS;
    return 0;
}

bool daemon_rules_refuse(struct daemon *d, const struct env *e, const struct vi_id *guest, const struct vi_id *from,
                         char why[POLICY_RULE_TEXT])
{
    if (d->ordered.until > daemon_now() && vi_id_equal(&d->ordered.guest, guest) && vi_id_equal(&d->ordered.from, from))
        return false;
    return daemon_rules_against(d, e, guest, &d->me.id, why);
}

struct ordering {
    struct daemon *d;
    struct vi_id guest, peer;
    struct rpc_call *call;
};

static void on_told(void *arg, int err, const uint8_t *body, size_t len)
{
    struct ordering *o = arg;
    char why[HANDOVER_WHY] = "";
    (void)body;
    (void)len;
    (void)err; /* one that doesn't know of rules doesn't keep them either */
    err = daemon_handover_start(o->d, &o->guest, &o->peer, "ordered by an operator, against a rule", o->call, why, sizeof why);
    if (err)
        rpc_error(o->call, err, "%s", why[0] ? why : vi_strerror(err));
    free(o);
}

int daemon_rules_order(struct daemon *d, const struct vi_id *guest, const struct vi_id *peer, struct rpc_call *call)
{
    struct ordering *o = malloc(sizeof *o);
    int err;
    if (!o)
        return VI_ENOMEM;
    *o = (struct ordering){.d = d, .guest = *guest, .peer = *peer, .call = call};
    err = calls_ask(d->calls, daemon_now(), peer, CALL_TAKE_IN, guest->b, VI_ID_SIZE, on_told, o);
    if (err)
        free(o);
    return err;
}

/* ---- changing ---- */

/* Signs a page and publishes it. */
static int publish(struct daemon *d, struct env *e, struct env_rules *page, char *why, size_t cap)
{
    uint8_t b[ENV_RECORD_MAX];
    struct gossip_record old;
    struct vi_id key;
    size_t len;
    int n, err;
    env_rules_key(&key, &e->def.id, page->page);
    page->env = e->def.id;
    page->version = (uint64_t)vi_clock_wall();
    if (gossip_record_get(d->gossip, ENV_RECORD_RULES, &key, &old) && old.version >= page->version)
        page->version = old.version + 1;
    if (cert_encode(&d->me.cert, page->cert, sizeof page->cert, &len))
        return VI_EINVAL;
    page->cert_len = (unsigned)len;
    n = env_rules_encode(page, d->me.ed_sk, b, sizeof b);
    if (n < 0)
        return n;
    err = daemon_gossip_record(d, ENV_RECORD_RULES, &key, &d->me.id, page->version, b, (size_t)n);
    if (err) {
        snprintf(why, cap, "the rules can't be published: %s", vi_strerror(err));
        return err;
    }
    if (store_put(d->store, STORE_RECORD, &key, b, (size_t)n))
        daemon_warn(d, WARN_STORE, "%s", store_error(d->store));
    daemon_rules_reload(d, e);
    return 0;
}

static void page_of(const struct env *e, unsigned page, struct env_rules *out)
{
    memset(out, 0, sizeof *out);
    out->page = page;
    out->priority = page == 0 ? e->priority : ENV_PRIORITY;
    for (unsigned i = 0; i < e->n_rules; i++)
        if (e->rule_page[i] == page)
            out->rule[out->n++] = e->rule[i];
}

static struct env *ours(struct daemon *d, const char *name, char *why, size_t cap, int *err)
{
    struct env *e = daemon_env_by_name(d, name);
    *err = 0;
    if (!e) {
        snprintf(why, cap, "there is no environment `%.40s`; `violin env list` shows them", name);
        *err = VI_ENOTFOUND;
    } else if (strcmp(e->def.home, d->me.cert.domain)) {
        snprintf(why, cap, "%s is at home in %s; only that domain rules it", e->def.name, e->def.home);
        *err = VI_EAUTH;
    } else if (!(d->me.cert.caps & CERT_ENV)) {
        snprintf(why, cap, "this host may not change environments");
        *err = VI_EAUTH;
    }
    return *err ? NULL : e;
}

int daemon_rules_priority(struct daemon *d, const char *name, unsigned priority, char *why, size_t cap)
{
    static struct env_rules page;
    int err;
    struct env *e = ours(d, name, why, cap, &err);
    if (!e || e->priority == priority)
        return err;
    page_of(e, 0, &page);
    page.priority = priority;
    return publish(d, e, &page, why, cap);
}

int daemon_rules_add(struct daemon *d, const char *name, struct policy_rule *rule, char *why, size_t cap)
{
    static struct env_rules page;
    int err;
    struct env *e = ours(d, name, why, cap, &err);
    if (!e)
        return err;
    for (rule->number = 1; numbered(e, rule->number); rule->number++)
        ;
    err = VI_EFULL;
    for (unsigned i = 0; i < ENV_PAGES && err == VI_EFULL && rule->number <= ENV_RULES; i++) {
        page_of(e, i, &page);
        page.rule[page.n++] = *rule;
        err = publish(d, e, &page, why, cap);
    }
    if (err == VI_EFULL && !why[0])
        snprintf(why, cap, "%s has as many rules as there is room for (%u)", e->def.name, e->n_rules);
    return err;
}

int daemon_rules_remove(struct daemon *d, const char *name, unsigned number, char *why, size_t cap)
{
    static struct env_rules page;
    int err;
    struct env *e = ours(d, name, why, cap, &err);
    for (unsigned i = 0; e && i < e->n_rules; i++) {
        if (e->rule[i].number != number)
            continue;
        page_of(e, e->rule_page[i], &page);
        for (unsigned k = 0; k < page.n; k++)
            if (page.rule[k].number == number)
                page.rule[k--] = page.rule[--page.n];
        return publish(d, e, &page, why, cap);
    }
    if (e)
        snprintf(why, cap, "%s has no rule %u; `violin env rule %s` lists them", e->def.name, number, e->def.name);
    return err ? err : VI_ENOTFOUND;
}

/* Is the page's signature one that newcomers wouldn't believe, or is it gone with the host that signed it? */
static bool needs_signing(struct daemon *d, const struct env *e, unsigned page, bool all)
{
    static struct env_rules have;
    struct gossip_record r;
    struct vi_id key, signer;
    struct cert c;
    bool used = false;
    for (unsigned i = 0; i < e->n_rules; i++)
        used |= e->rule_page[i] == page;
    env_rules_key(&key, &e->def.id, page);
    if (!gossip_record_get(d->gossip, ENV_RECORD_RULES, &key, &r))
        return used;
    if (env_rules_decode(&have, r.bytes, r.len) || cert_decode(&c, have.cert, have.cert_len))
        return false;
    cert_peer_id(&signer, c.ed);
    return daemon_keys_blocked(d, &signer) ||
           (!vi_id_equal(&c.authority, &d->me.cert.authority) && (all || vi_id_equal(&signer, &d->me.id)));
}

void daemon_rules_resign(struct daemon *d, struct env *e, bool all)
{
    static struct env_rules page;
    char why[200] = "";
    if (!(d->me.cert.caps & CERT_ENV))
        return;
    for (unsigned i = 0; i < ENV_PAGES; i++) {
        if (!needs_signing(d, e, i, all))
            continue;
        page_of(e, i, &page);
        if (publish(d, e, &page, why, sizeof why))
            daemon_warn(d, WARN_GUEST, "the rules of %s can't be signed again: %s", e->def.name, why);
    }
}
