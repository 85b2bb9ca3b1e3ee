/* The daemon and the gossip: membership on the mesh, load summaries, environment records. */
#include "peer/daemon_federation.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "peer/base/err.h"
#include "peer/base/log.h"
#include "peer/netaddr.h"
#include "peer/represent.h"

/* ---- addresses: family, port, IP ---- */

void daemon_gossip_encode_addr(struct gossip_addr *out, const struct mesh_addr *a)
{
    uint8_t n = a->family == 6 ? 16 : 4;
    memset(out, 0, sizeof *out);
    if (a->family != 4 && a->family != 6)
        return;
    out->len = (uint8_t)(3 + n);
    out->b[0] = a->family;
    out->b[1] = (uint8_t)(a->port >> 8);
    out->b[2] = (uint8_t)a->port;
    memcpy(out->b + 3, a->ip, n);
}

#define KNOWN_TRIED 192 /* of the members remembered; the gossip has room for 256 seeds, the configuration's come first */

void daemon_gossip_addr(struct mesh_addr *out, const struct gossip_addr *a)
{
    memset(out, 0, sizeof *out);
    if (a->len != 7 && a->len != 19)
        return;
    if (a->b[0] != (a->len == 19 ? 6 : 4))
        return;
    out->family = a->b[0];
    out->port = (uint16_t)(a->b[1] << 8 | a->b[2]);
    memcpy(out->ip, a->b + 3, a->len - 3U);
}

/* The address that the system would use towards `to`. */
static bool local_towards(const struct mesh_addr *to, struct mesh_addr *out)
{
    struct sockaddr_storage ss;
    socklen_t len = netaddr_to_sockaddr(to, &ss);
    int fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool ok = fd >= 0 && connect(fd, (struct sockaddr *)&ss, len) == 0;
    len = sizeof ss;
    ok = ok && getsockname(fd, (struct sockaddr *)&ss, &len) == 0;
    if (ok)
        netaddr_from_sockaddr(out, &ss);
    if (fd >= 0)
        close(fd);
    return ok;
}

/* Without a seed or a route: the first address of an interface that isn't loopback or ours. */
static bool first_address(struct mesh_addr *out)
{
    struct ifaddrs *all, *i;
    bool found = false;
    if (getifaddrs(&all) < 0)
        return false;
    for (i = all; i && !found; i = i->ifa_next) {
        struct sockaddr_storage ss = {0};
        if (!i->ifa_addr || i->ifa_addr->sa_family != AF_INET || (i->ifa_flags & IFF_LOOPBACK) ||
            !(i->ifa_flags & IFF_UP) || !strncmp(i->ifa_name, "vi-", 3))
            continue;
        memcpy(&ss, i->ifa_addr, sizeof(struct sockaddr_in));
        netaddr_from_sockaddr(out, &ss);
        found = true;
    }
    freeifaddrs(all);
    return found;
}

void daemon_find_address(struct daemon *d, const struct mesh_addr *towards)
{
    struct mesh_addr a = {0}, outside;
    char why[300];
    if (d->cfg.advertise[0]) {
        if (netaddr_resolve(&a, d->cfg.advertise, why, sizeof why))
            vi_log(VI_LOG_WARN, "mesh", "advertise: %s", why);
    } else {
        (void)mesh_addr_parse(&outside, "192.0.2.1:9"); /* documentation's: never sent to */
        if (!(towards && local_towards(towards, &a)) && !local_towards(&outside, &a))
            first_address(&a);
        a.port = (uint16_t)d->cfg.port;
    }
    if (a.family)
        d->own_addr = a;
    mesh_addr_format(&d->own_addr, d->address);
}

#define ADDRESS_EVERY (10 * VI_SEC)

void daemon_gossip_address(struct daemon *d, vi_time now)
{
    struct gossip_event ev = {.kind = GOSSIP_EV_SET_SELF};
    struct mesh_addr before = d->own_addr;
    struct gossip_addr a;
    if (d->cfg.advertise[0] || now < d->next_address)
        return;
    d->next_address = now + ADDRESS_EVERY;
    daemon_find_address(d, d->towards.family ? &d->towards : NULL);
    if (!before.family || mesh_addr_equal(&before, &d->own_addr))
        return;
    daemon_event_done(d, daemon_event(d, "address", d->me.cert.host, "this host is at %s now", d->address));
    daemon_gossip_encode_addr(&a, &d->own_addr);
    ev.self.addr = &a;
    daemon_gossip_self(d, &ev);
}

void daemon_gossip_self(struct daemon *d, const struct gossip_event *ev)
{
    (void)gossip_step(d->gossip, daemon_now(), ev);
    daemon_federation_self(d, ev);
}

/* ---- the core's pure calls ---- */

static void do_sign(void *arg, const uint8_t *data, size_t len, uint8_t sig[GOSSIP_SIG])
{
    struct daemon *d = arg;
    crypto_sign_detached(sig, NULL, data, len, d->me.ed_sk);
}

static bool do_verify(void *arg, const uint8_t key[GOSSIP_KEY], const uint8_t *data, size_t len,
                      const uint8_t sig[GOSSIP_SIG])
{
    (void)arg;
    return crypto_sign_verify_detached(sig, data, len, key) == 0;
}

static bool good_cert(const struct daemon *d, const uint8_t *bytes, size_t len, struct cert *c)
{
    /* expiry is tested at handshakes only */
    return cert_decode(c, bytes, len) == 0 && daemon_keys_admits(d, c);
}

static bool do_admit(void *arg, const struct vi_id *id, const uint8_t key[GOSSIP_KEY],
                     const uint8_t *bytes, size_t len)
{
    struct cert c;
    (void)id;
    return good_cert(arg, bytes, len, &c) && !memcmp(c.ed, key, 32);
}

bool daemon_gossip_definition(struct daemon *d, const struct gossip *g, const struct vi_id *key, const struct vi_id *origin,
                              uint64_t version, const uint8_t *bytes, size_t len)
{
    struct env_definition e;
    struct vi_id id;
    struct cert c;
    if (env_definition_decode(&e, bytes, len) ||
        !(!strcmp(e.home, d->me.cert.domain) ? good_cert(d, e.cert, e.cert_len, &c)
                                             : daemon_federation_definition(d, &e, &c)))
        return false;
    cert_peer_id(&id, c.ed);
    return vi_id_equal(&e.id, key) && vi_id_equal(&id, origin) && e.version == version && (c.caps & CERT_ENV) &&
           !strcmp(e.home, c.domain) && env_record_verify(bytes, len, c.ed) == 0 && fed_room_definition(d, g, &e);
}

/* A page of rules: signed in its environment's home domain by who may, like the definition, which must be known. */
bool daemon_gossip_rules(struct daemon *d, const struct vi_id *key, const struct vi_id *origin, uint64_t version,
                         const uint8_t *bytes, size_t len)
{
    static struct env_rules r;
    static struct env_definition def;
    const struct env *e;
    struct vi_id id;
    struct cert c;
    if (env_rules_decode(&r, bytes, len) || !(e = daemon_env_by_id(d, &r.env)))
        return false;
    def = e->def;
    memcpy(def.cert, r.cert, sizeof def.cert);
    def.cert_len = r.cert_len;
    if (!(!strcmp(def.home, d->me.cert.domain) ? good_cert(d, r.cert, r.cert_len, &c) : daemon_federation_definition(d, &def, &c)))
        return false;
    cert_peer_id(&id, c.ed);
    if (!vi_id_equal(&id, origin) || r.version != version || !(c.caps & CERT_ENV) || strcmp(def.home, c.domain))
        return false;
    env_rules_key(&id, &r.env, r.page);
    return vi_id_equal(&id, key) && env_record_verify(bytes, len, c.ed) == 0;
}

static bool do_accept(void *arg, uint8_t kind, const struct vi_id *key, const struct vi_id *origin,
                      uint64_t version, const uint8_t *bytes, size_t len)
{
    struct daemon *d = arg;
    struct gossip_member m;
    struct vi_id id;
    if (kind == ENV_RECORD_DEFINITION)
        return daemon_gossip_definition(d, d->gossip, key, origin, version, bytes, len);
    if (kind == ENV_RECORD_RULES)
        return daemon_gossip_rules(d, key, origin, version, bytes, len);
    if (daemon_federation_accepts(arg, kind, key, origin, version, bytes, len))
        return true;
    if (kind == ENV_RECORD_TAKES_PART) {
        struct env_takes_part t;
        if (env_takes_part_decode(&t, bytes, len))
            return false;
        cert_peer_id(&id, t.key);
        /* a member's: anybody can make keys, and fill the store with their lists */
        return vi_id_equal(&id, key) && vi_id_equal(&id, origin) && t.version == version &&
               gossip_member_find(d->gossip, &id, &m) && !daemon_keys_blocked(d, &id) &&
               env_record_verify(bytes, len, t.key) == 0;
    }
    return daemon_keys_accept(arg, kind, key, origin, version, bytes, len);
}

/* ---- opening ---- */

int daemon_gossip_open(struct daemon *d, char *why, size_t cap)
{
    struct gossip_config c;
    size_t len;
    gossip_config_domain(&c);
    c.id = d->me.id;
    memcpy(c.key, d->me.ed_pk, 32);
    daemon_gossip_encode_addr(&c.addr, &d->own_addr);
    snprintf(c.name, sizeof c.name, "%.*s", GOSSIP_NAME_MAX, d->me.cert.host);
    if (cert_encode(&d->me.cert, c.cert, sizeof c.cert, &len)) {
        snprintf(why, cap, "the certificate can't be encoded");
        return VI_EINVAL;
    }
    c.cert_len = (uint16_t)len;
    daemon_federation_meta(d, c.meta);
    c.meta_len = REP_META;
    c.initial_incarnation = (uint64_t)store_number(d->store, "incarnation", 0);
    c.probe_interval = d->cfg.probe_interval * VI_MSEC;
    c.mortal_kind = FED_RECORD_PRESENCE;
    c.mortal_life = FED_FORGET;
    c.arg = d;
    c.sign = do_sign;
    c.verify = do_verify;
    c.admit = do_admit;
    c.accept = do_accept;
    d->gossip = gossip_new(&c, &d->rng, daemon_now());
    if (!d->gossip) {
        snprintf(why, cap, "the gossip can't be set up: out of memory, or probe-interval out of range");
        return VI_ENOMEM;
    }
    return 0;
}

/* ---- in ---- */

void daemon_gossip_message(struct daemon *d, const struct vi_id *from, const uint8_t *data,
                           size_t len)
{
    struct gossip_event ev = {.kind = GOSSIP_EV_DATAGRAM};
    ev.datagram.from = *from;
    ev.datagram.data = data;
    ev.datagram.len = len;
    (void)gossip_step(d->gossip, daemon_now(), &ev);
}

void daemon_gossip_session(struct daemon *d, const struct vi_id *peer)
{
    struct gossip_event ev = {.kind = GOSSIP_EV_REACHABLE, .peer = *peer};
    (void)gossip_step(d->gossip, daemon_now(), &ev);
}

void daemon_gossip_unreachable(struct daemon *d, const struct vi_id *peer)
{
    struct gossip_event ev = {.kind = GOSSIP_EV_UNREACHABLE, .peer = *peer};
    (void)gossip_step(d->gossip, daemon_now(), &ev);
}

void daemon_gossip_seed(struct daemon *d, const struct vi_id *id, const struct mesh_addr *a)
{
    struct gossip_event ev = {.kind = GOSSIP_EV_SEED};
    ev.seed.id = *id;
    daemon_gossip_encode_addr(&ev.seed.addr, a);
    (void)gossip_step(d->gossip, daemon_now(), &ev);
}

void daemon_gossip_lag(struct daemon *d, vi_time lag)
{
    struct gossip_event ev = {.kind = GOSSIP_EV_LAG, .lag = lag};
    (void)gossip_step(d->gossip, daemon_now(), &ev);
}

void daemon_gossip_summary(struct daemon *d, const uint8_t *bytes, size_t len)
{
    struct gossip_event ev = {.kind = GOSSIP_EV_SET_SUMMARY};
    ev.summary.bytes = bytes;
    ev.summary.len = len;
    (void)gossip_step(d->gossip, daemon_now(), &ev);
}

int daemon_gossip_record(struct daemon *d, unsigned kind, const struct vi_id *key,
                         const struct vi_id *origin, uint64_t version, const uint8_t *bytes,
                         size_t len)
{
    return represent_put(d->gossip, daemon_now(), kind, key, origin, version, bytes, len, 0);
}

void daemon_gossip_leave(struct daemon *d)
{
    struct gossip_event ev = {.kind = GOSSIP_EV_LEAVE};
    (void)gossip_step(d->gossip, daemon_now(), &ev);
}

/* ---- out ---- */

/* Tells the mesh a member's key and address, from its own signed record. */
bool daemon_introduce(struct daemon *d, const struct vi_id *peer, const struct gossip_addr *addr)
{
    struct gossip_member m;
    struct mesh_addr a;
    struct cert c;
    if (!gossip_member_find(d->gossip, peer, &m) || cert_decode(&c, m.cert, m.cert_len))
        return daemon_federation_introduce(d, peer);
    daemon_gossip_addr(&a, addr && addr->len ? addr : &m.addr);
    return mesh_io_connect(d->mesh, peer, c.x, a.family ? &a : NULL) == 0;
}

int daemon_send(struct daemon *d, const struct vi_id *to, unsigned channel, const void *data,
                size_t len)
{
    int err = daemon_keys_blocked(d, to) || daemon_keys_blocked(d, &d->me.id) ? VI_EREFUSED : mesh_io_send(d->mesh, to, channel, data, len);
    if (err == VI_ENOTFOUND && daemon_introduce(d, to, NULL))
        err = mesh_io_send(d->mesh, to, channel, data, len);
    return err;
}

static void send_gossip(struct daemon *d, const struct gossip_effect *fx)
{
    int err;
    if (daemon_keys_blocked(d, &fx->id) || daemon_keys_blocked(d, &d->me.id))
        return; /* who knows that it was revoked leaves the others in peace */
    err = mesh_io_send(d->mesh, &fx->id, MESH_CHANNEL_GOSSIP, fx->data, fx->len);
    if (err == VI_ENOTFOUND && daemon_introduce(d, &fx->id, &fx->addr))
        (void)mesh_io_send(d->mesh, &fx->id, MESH_CHANNEL_GOSSIP, fx->data, fx->len);
}

static void remember_peer(struct daemon *d, const struct vi_id *id)
{
    uint8_t b[GOSSIP_CERT_MAX + GOSSIP_ADDR_MAX + 1];
    struct gossip_member m;
    if (!gossip_member_find(d->gossip, id, &m) || m.self || !m.addr.len)
        return;
    b[0] = m.addr.len;
    memcpy(b + 1, m.addr.b, m.addr.len);
    memcpy(b + 1 + m.addr.len, m.cert, m.cert_len);
    if (store_put(d->store, STORE_PEER, id, b, 1U + m.addr.len + m.cert_len))
        daemon_warn(d, WARN_STORE, "%s", store_error(d->store));
}

static void member_changed(struct daemon *d, const struct gossip_effect *fx)
{
    daemon_members_changed(d, fx);
    if (fx->change == GOSSIP_CONFIRMED)
        return;
    if (fx->change == GOSSIP_UP || fx->change == GOSSIP_CHANGED)
        remember_peer(d, &fx->id);
    daemon_federation_member(d);
    daemon_envs_member(d, &fx->id, fx->state);
}

void daemon_gossip_pump(struct daemon *d, vi_time now)
{
    const struct gossip_effect *fx;
    static uint8_t bytes[GOSSIP_DATAGRAM_MAX];
    if (gossip_deadline(d->gossip) <= now) {
        struct gossip_event tick = {.kind = GOSSIP_EV_TICK};
        (void)gossip_step(d->gossip, now, &tick);
    }
    while ((fx = gossip_effect(d->gossip))) {
        struct gossip_effect copy = *fx;
        if (fx->data && fx->len <= sizeof bytes) {
            memcpy(bytes, fx->data, fx->len);
            copy.data = bytes;
        }
        switch (copy.kind) {
        case GOSSIP_FX_SEND:
            send_gossip(d, &copy);
            break;
        case GOSSIP_FX_MEMBER:
            member_changed(d, &copy);
            break;
        case GOSSIP_FX_PERSIST:
            if (store_set_number(d->store, "incarnation", (int64_t)copy.number))
                daemon_warn(d, WARN_STORE, "%s", store_error(d->store));
            break;
        case GOSSIP_FX_RECORD:
            daemon_envs_record(d, copy.record_kind, &copy.id);
            daemon_keys_record(d, copy.record_kind, &copy.id);
            daemon_federation_record(d, copy.record_kind, &copy.id);
            break;
        case GOSSIP_FX_GONE:
            d->said_goodbye = true;
            break;
        }
    }
}

/* Peers known from earlier runs: tried like seeds, so that a whole domain comes back from a power cut
 * whatever the configured seeds do. Of very many some are chosen by chance as seeds, others at the next start: those
 * that went for good are among them, and one that lives leads to all. */
struct known {
    struct daemon *d;
    uint32_t left, want;
};

static bool count_known(void *arg, const struct vi_id *key, const void *value, size_t len)
{
    struct known *k = arg;
    (void)key, (void)value, (void)len;
    k->left++;
    return true;
}

static bool known_peer(void *arg, const struct vi_id *key, const void *value, size_t len)
{
    struct known *k = arg;
    struct daemon *d = k->d;
    const uint8_t *b = value;
    struct gossip_addr ga = {0};
    struct mesh_addr a;
    struct cert c;
    struct vi_id id;
    bool chosen = k->left > 0 && vi_rng_below(&d->rng, k->left--) < k->want;
    k->want -= chosen;
    if (len < 2 || b[0] > GOSSIP_ADDR_MAX || len < 1U + b[0])
        return true;
    ga.len = b[0];
    memcpy(ga.b, b + 1, ga.len);
    daemon_gossip_addr(&a, &ga);
    if (!a.family || !good_cert(d, b + 1 + ga.len, len - 1 - ga.len, &c))
        return true;
    cert_peer_id(&id, c.ed);
    if (!vi_id_equal(&id, key))
        return true;
    mesh_io_connect(d->mesh, &id, c.x, &a);
    if (chosen)
        daemon_gossip_seed(d, &id, &a);
    return true;
}

void daemon_gossip_known_peers(struct daemon *d)
{
    struct known k = {.d = d, .want = KNOWN_TRIED};
    (void)store_each(d->store, STORE_PEER, count_known, &k);
    (void)store_each(d->store, STORE_PEER, known_peer, &k);
}
