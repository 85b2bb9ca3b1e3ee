/* The daemon and the environments: definitions, their bridges here, who takes part.
 *
 * A definition travels in the gossip's record store and is kept in ours. Every member makes the bridge
 * of every environment it knows, so that a guest can be created anywhere; a host takes part (and is
 * sent frames) from the time it has one of the guests, or expects one. */
#include "peer/daemon_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peer/base/err.h"
#include "peer/base/log.h"
#include "peer/daemon_federation.h"

struct env *daemon_env_by_id(struct daemon *d, const struct vi_id *id)
{
    for (unsigned i = 0; i < ENV_MAX; i++)
        if (d->envs[i].used && vi_id_equal(&d->envs[i].def.id, id))
            return &d->envs[i];
    return NULL;
}

/* NAME, ours before others' of the same name, or NAME@DOMAIN. */
struct env *daemon_env_by_name(struct daemon *d, const char *name)
{
    const char *at = strchr(name, '@');
    size_t n = at ? (size_t)(at - name) : strlen(name);
    struct env *found = NULL;
    for (unsigned i = 0; i < ENV_MAX; i++) {
        struct env *e = &d->envs[i];
        if (!e->used || strncmp(e->def.name, name, n) || e->def.name[n] || (at && strcmp(e->def.home, at + 1)))
            continue;
        if (!found || !strcmp(e->def.home, d->me.cert.domain))
            found = e;
    }
    return found;
}

struct env *daemon_env_by_bridge(struct daemon *d, const char *bridge)
{
    char name[ENV_BRIDGE_MAX];
    for (unsigned i = 0; i < ENV_MAX; i++)
        if (d->envs[i].used && !strcmp(env_bridge_name(&d->envs[i].def.id, name), bridge))
            return &d->envs[i];
    return NULL;
}

static struct env *env_by_tag(struct daemon *d, const uint8_t tag[ENV_TAG_SIZE])
{
    for (unsigned i = 0; i < ENV_MAX; i++)
        if (d->envs[i].used && !memcmp(d->envs[i].def.id.b, tag, ENV_TAG_SIZE))
            return &d->envs[i];
    return NULL;
}

/* ---- bridge and TAP ---- */

struct opening {
    struct daemon *d;
    struct vi_id env;
};

static void on_env_closed(void *arg, int err, const char *detail)
{
    (void)arg;
    if (err)
        vi_log(VI_LOG_WARN, "env", "a removed environment's bridge stays: %s", detail);
}

static void on_opened(void *arg, int err, const char *detail, const struct agent_tap *tap)
{
    struct opening *o = arg;
    struct env *e = daemon_env_by_id(o->d, &o->env);
    if (e)
        e->opening = false;
    if (err) {
        vi_log(VI_LOG_WARN, "env", "%s: bridge: %s", e ? e->def.name : "?", detail);
        if (e)
            e->retry_at = daemon_now() + 5 * VI_SEC;
    } else if (!e) { /* removed meanwhile */
        close(tap->fd);
        (void)agent_env_close(o->d->agent, &o->env, true, on_env_closed, o->d);
    } else {
        e->open = true;
        daemon_switch_env_open(o->d, e, tap->fd, tap->vnet);
        daemon_attach_env_open(o->d, e);
        vi_log(VI_LOG_INFO, "env", "%s: bridge %s is ready", e->def.name, tap->bridge);
    }
    free(o);
}

static void open_env(struct daemon *d, struct env *e)
{
    struct opening *o = calloc(1, sizeof *o);
    if (!o)
        return;
    o->d = d;
    o->env = e->def.id;
    e->opening = true;
    if (agent_env_open(d->agent, &e->def.id, (unsigned)d->cfg.overlay_mtu, daemon_switch_threads(d), on_opened, o)) {
        e->opening = false;
        e->retry_at = daemon_now() + 5 * VI_SEC;
        free(o);
    }
}

void daemon_envs_tick(struct daemon *d, vi_time now)
{
    for (unsigned i = 0; i < ENV_MAX; i++) {
        struct env *e = &d->envs[i];
        if (e->used && !e->open && !e->opening && e->retry_at <= now)
            open_env(d, e);
    }
}

/* ---- definitions ---- */

static void forget_env(struct daemon *d, struct env *e)
{
    daemon_event_done(d, daemon_event(d, "env", e->def.name, "environment %s is removed", e->def.name));
    daemon_attach_env_close(d, e);
    daemon_switch_env_close(d, e);
    if (e->open)
        (void)agent_env_close(d->agent, &e->def.id, true, on_env_closed, d);
    daemon_rules_forget(d, &e->def.id);
    memset(e, 0, sizeof *e);
}

static void take_definition(struct daemon *d, const struct env_definition *def)
{
    struct env *e = daemon_env_by_id(d, &def->id);
    char bridge[ENV_BRIDGE_MAX];
    if (def->removed) {
        if (e)
            forget_env(d, e);
        return;
    }
    if (e) {
        e->def = *def;
        daemon_switch_env_changed(d, e);
        daemon_rules_reload(d, e);
        daemon_envs_participants(d); /* it may be elsewhere now, or not any more */
        return;
    }
    if (daemon_env_by_bridge(d, env_bridge_name(&def->id, bridge))) {
        daemon_warn(d, WARN_GUEST, "environment %s: its bridge name %s is taken by another; it is left out here",
                    def->name, bridge);
        return;
    }
    for (unsigned i = 0; i < ENV_MAX; i++) {
        if (d->envs[i].used)
            continue;
        e = &d->envs[i];
        memset(e, 0, sizeof *e);
        e->used = true;
        e->def = *def;
        daemon_rules_reload(d, e);
        daemon_event_done(d, daemon_event(d, "env", def->name, "environment %s is known, bridge %s",
                                          def->name, bridge));
        open_env(d, e);
        daemon_envs_participants(d);
        return;
    }
    daemon_warn(d, WARN_GUEST, "environment %s: %d environments are known already; it is left out here",
                def->name, ENV_MAX);
}

/* A host that has an environment in common with this one: after a restart its frames are taken at once, not
 * when gossip comes round to its list. */
static void keep_list(struct daemon *d, const struct gossip_record *r)
{
    static struct env_takes_part t;
    bool common = false;
    if (env_takes_part_decode(&t, r->bytes, r->len))
        return;
    for (unsigned i = 0; i < t.n && !common; i++)
        common = env_by_tag(d, t.envs[i]) != NULL;
    if (common && store_put(d->store, STORE_TAKES_PART, &r->key, r->bytes, r->len))
        daemon_warn(d, WARN_STORE, "%s", store_error(d->store));
}

void daemon_envs_record(struct daemon *d, unsigned kind, const struct vi_id *key)
{
    struct gossip_record r;
    static struct env_definition def;
    if (!gossip_record_get(d->gossip, (uint8_t)kind, key, &r))
        return;
    if (kind == ENV_RECORD_TAKES_PART) {
        keep_list(d, &r);
        daemon_envs_participants(d);
        return;
    }
    if (kind == ENV_RECORD_RULES)
        daemon_rules_record(d, key);
    if (kind != ENV_RECORD_DEFINITION || env_definition_decode(&def, r.bytes, r.len))
        return;
    /* what another domain removed it doesn't say for ever: no place is kept for it */
    if (def.removed && strcmp(def.home, d->me.cert.domain) ? store_delete(d->store, STORE_RECORD, key)
                                                           : store_put(d->store, STORE_RECORD, key, r.bytes, r.len))
        daemon_warn(d, WARN_STORE, "%s", store_error(d->store));
    take_definition(d, &def);
}

static bool stored_definition(void *arg, const struct vi_id *key, const void *value, size_t len)
{
    struct daemon *d = arg;
    static struct env_definition def;
    struct cert c;
    struct vi_id signer;
    if (env_definition_decode(&def, value, len) || cert_decode(&c, def.cert, def.cert_len))
        return true;
    cert_peer_id(&signer, c.ed);
    if (daemon_gossip_record(d, ENV_RECORD_DEFINITION, key, &signer, def.version, value, len) == 0)
        take_definition(d, &def);
    return true;
}

static bool stored_list(void *arg, const struct vi_id *key, const void *value, size_t len)
{
    static struct env_takes_part t;
    if (!env_takes_part_decode(&t, value, len)) /* as new or newer there, or not accepted any more: all the same */
        (void)daemon_gossip_record(arg, ENV_RECORD_TAKES_PART, key, key, t.version, value, len);
    return true;
}

void daemon_envs_load(struct daemon *d)
{
    (void)store_each(d->store, STORE_TAKES_PART, stored_list, d);
    (void)store_each(d->store, STORE_RECORD, stored_definition, d);
    daemon_rules_load(d);
}

/* Signs a new version and publishes it. */
static int publish(struct daemon *d, struct env_definition *def, char *why, size_t cap)
{
    uint8_t b[ENV_RECORD_MAX];
    size_t len;
    int n, err;
    if (!(d->me.cert.caps & CERT_ENV)) {
        snprintf(why, cap, "this host may not create or remove environments");
        return VI_EAUTH;
    }
    if (cert_encode(&d->me.cert, def->cert, sizeof def->cert, &len))
        return VI_EINVAL;
    def->cert_len = (unsigned)len;
    def->version++;
    n = env_definition_encode(def, d->me.ed_sk, b, sizeof b);
    if (n < 0) {
        snprintf(why, cap, "the definition does not fit: %s", vi_strerror(n));
        return n;
    }
    if (store_put(d->store, STORE_RECORD, &def->id, b, (size_t)n)) {
        snprintf(why, cap, "%s", store_error(d->store));
        return VI_EIO;
    }
    err = daemon_gossip_record(d, ENV_RECORD_DEFINITION, &def->id, &d->me.id, def->version, b, (size_t)n);
    if (err) {
        snprintf(why, cap, "the definition can't be published: %s", vi_strerror(err));
        return err;
    }
    take_definition(d, def);
    return 0;
}

void daemon_envs_resign(struct daemon *d, bool all)
{
    static struct env_definition def;
    char why[300] = "";
    struct vi_id signer;
    struct cert c;
    for (unsigned i = 0; i < ENV_MAX; i++) {
        bool stale, orphan;
        if (!d->envs[i].used || cert_decode(&c, d->envs[i].def.cert, d->envs[i].def.cert_len) ||
            strcmp(c.domain, d->me.cert.domain))
            continue;
        daemon_rules_resign(d, &d->envs[i], all);
        cert_peer_id(&signer, c.ed);
        orphan = daemon_keys_blocked(d, &signer);
        stale = !vi_id_equal(&c.authority, &d->me.cert.authority) && (all || vi_id_equal(&signer, &d->me.id));
        if (!orphan && !stale)
            continue;
        def = d->envs[i].def;
        if (publish(d, &def, why, sizeof why))
            vi_log(VI_LOG_WARN, "env", "%s can't be signed again: %s", def.name, why);
    }
}

int daemon_env_create(struct daemon *d, const char *name, unsigned shares, bool strict, char *why, size_t cap)
{
    static struct env_definition def;
    const struct env *e;
    if (!env_name_valid(name)) {
        snprintf(why, cap, "name `%.40s`: 1 to %d letters, digits, '.', '_', '-', and no sign first", name,
                 ENV_NAME_MAX - 1);
        return VI_EINVAL;
    }
    if (shares == 0 || shares > ENV_SHARES_MAX) {
        snprintf(why, cap, "shares: 1 to %d", ENV_SHARES_MAX);
        return VI_EINVAL;
    }
    e = daemon_env_by_name(d, name);
    if (e && !strcmp(e->def.home, d->me.cert.domain)) {
        snprintf(why, cap, "there is an environment `%s` already", name);
        return VI_EEXIST;
    }
    memset(&def, 0, sizeof def);
    snprintf(def.name, sizeof def.name, "%s", name);
    snprintf(def.home, sizeof def.home, "%s", d->me.cert.domain);
    vi_rng_id(&d->rng, &def.nonce);
    def.shares = shares;
    def.strict = strict;
    env_definition_identify(&def);
    return publish(d, &def, why, cap);
}

int daemon_env_allow(struct daemon *d, const char *name, const char *domain, bool allow, char *why, size_t cap)
{
    struct env *e = daemon_env_by_name(d, name);
    static struct env_definition def;
    unsigned at;
    if (!e) {
        snprintf(why, cap, "there is no environment `%.40s`", name);
        return VI_ENOTFOUND;
    }
    if (!cert_name_ok(domain) || !strcmp(domain, e->def.home)) {
        snprintf(why, cap, "`%.64s` is no other domain's name", domain);
        return VI_EINVAL;
    }
    if (strcmp(e->def.home, d->me.cert.domain)) {
        snprintf(why, cap, "%s is at home in %s; only that domain says where it may be", e->def.name, e->def.home);
        return VI_EAUTH;
    }
    def = e->def;
    for (at = 0; at < def.n_allowed && strcmp(def.allowed[at], domain); at++)
        ;
    if (allow == (at < def.n_allowed))
        return 0; /* as it is */
    if (allow && def.n_allowed == ENV_ALLOWED) {
        snprintf(why, cap, "%s is allowed in %d domains already", e->def.name, ENV_ALLOWED);
        return VI_EFULL;
    }
    if (allow)
        snprintf(def.allowed[def.n_allowed++], sizeof def.allowed[0], "%s", domain);
    else
        memmove(def.allowed[at], def.allowed[at + 1], (size_t)(--def.n_allowed - at) * sizeof def.allowed[0]);
    return publish(d, &def, why, cap);
}

/* What its guests on one host may send to others, MiB/s; 0: no limit. */
int daemon_env_limit(struct daemon *d, const char *name, unsigned bandwidth, char *why, size_t cap)
{
    struct env *e = daemon_env_by_name(d, name);
    static struct env_definition def;
    if (!e) {
        snprintf(why, cap, "there is no environment `%.40s`", name);
        return VI_ENOTFOUND;
    }
    if (strcmp(e->def.home, d->me.cert.domain)) {
        snprintf(why, cap, "%s is at home in %s; only that domain limits it", e->def.name, e->def.home);
        return VI_EAUTH;
    }
    def = e->def;
    def.bandwidth = bandwidth;
    return def.bandwidth == e->def.bandwidth ? 0 : publish(d, &def, why, cap);
}

int daemon_env_remove(struct daemon *d, const char *name, char *why, size_t cap)
{
    struct env *e = daemon_env_by_name(d, name);
    static struct env_definition def;
    if (!e) {
        snprintf(why, cap, "there is no environment `%.40s`", name);
        return VI_ENOTFOUND;
    }
    if (strcmp(e->def.home, d->me.cert.domain) && fed_find(d, e->def.home)) {
        snprintf(why, cap, "%s is at home in %s; only that domain removes it", e->def.name, e->def.home);
        return VI_EAUTH;
    }
    if (e->local_guests || e->n_participants) {
        snprintf(why, cap, "%u host(s) have guests of %s, or had a short while ago; move or end them first",
                 e->n_participants + (e->local_guests ? 1 : 0), name);
        return VI_ESTATE;
    }
    def = e->def;
    def.removed = true;
    return publish(d, &def, why, cap);
}

/* ---- who takes part ---- */

void daemon_envs_member(struct daemon *d, const struct vi_id *peer, enum gossip_state state)
{
    daemon_switch_member(d, peer, state);
    daemon_envs_participants(d);
}

/* Which members take part in what, from their own lists. */
void daemon_envs_participants(struct daemon *d)
{
    static struct env_takes_part t;
    struct gossip_record r;
    struct gossip_member m;
    size_t pos = 0;
    for (unsigned i = 0; i < ENV_MAX; i++)
        d->envs[i].n_participants = 0;
    while (gossip_record_next(d->gossip, &pos, &r)) {
        if (r.kind != ENV_RECORD_TAKES_PART || vi_id_equal(&r.key, &d->me.id) ||
            env_takes_part_decode(&t, r.bytes, r.len))
            continue;
        if (!gossip_member_find(d->gossip, &r.key, &m) ||
            (m.state != GOSSIP_ALIVE && m.state != GOSSIP_SUSPECT))
            continue;
        for (unsigned i = 0; i < t.n; i++) {
            struct env *e = env_by_tag(d, t.envs[i]);
            if (e && e->n_participants < ENV_PARTICIPANTS)
                e->participants[e->n_participants++] = r.key;
        }
    }
    for (unsigned i = 0; i < ENV_MAX; i++) {
        struct env *e = &d->envs[i];
        if (!e->used)
            continue;
        e->n_participants += daemon_federation_participants(d, e, e->participants + e->n_participants,
                                                            ENV_PARTICIPANTS - e->n_participants);
        daemon_switch_participants(d, e);
    }
}

/* Publishes our own list when it changed. */
void daemon_envs_publish(struct daemon *d)
{
    static struct env_takes_part t;
    uint8_t b[ENV_RECORD_MAX];
    struct gossip_record old;
    uint64_t version = (uint64_t)vi_clock_wall();
    int n;
    daemon_switch_away(d);
    memset(&t, 0, sizeof t);
    memcpy(t.key, d->me.ed_pk, 32);
    for (unsigned i = 0; i < ENV_MAX; i++) {
        const struct env *e = &d->envs[i];
        if (e->used && daemon_env_here(e))
            memcpy(t.envs[t.n++], e->def.id.b, ENV_TAG_SIZE);
    }
    if (d->published_list && t.n == d->published.n && !memcmp(t.envs, d->published.envs, sizeof t.envs))
        return;
    if (gossip_record_get(d->gossip, ENV_RECORD_TAKES_PART, &d->me.id, &old) && old.version >= version)
        version = old.version + 1;
    t.version = version;
    n = env_takes_part_encode(&t, d->me.ed_sk, b, sizeof b);
    if (n > 0 && daemon_gossip_record(d, ENV_RECORD_TAKES_PART, &d->me.id, &d->me.id, t.version, b,
                                      (size_t)n) == 0) {
        d->published = t;
        d->published_list = true;
    }
}
