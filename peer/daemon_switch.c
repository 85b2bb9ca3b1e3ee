/* The daemon and the environments' Ethernet: the switch core, the data path, their sockets and keys. */
#include "peer/daemon_internal.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "peer/base/err.h"
#include "peer/base/log.h"
#include "peer/rpc_write.h"

#define USED_EVERY VI_SEC
#define LINGERS (10 * VI_SEC) /* after its last guest has gone, this host takes part so long */
#define CHAIN_BYTES (SWITCH_CHAIN * (2 + TRANSFER_MAX))

static void on_wake(void *arg)
{
    struct daemon *d = arg;
    uv_async_send(&d->datapath_wake);
}

static void on_used(void *arg, uint32_t local, uint64_t sent, uint64_t received,
                    const struct mesh_addr *from)
{
    struct daemon *d = arg;
    struct mesh_event ev = {.kind = MESH_EV_USED};
    ev.used.local = local;
    ev.used.sent = sent;
    ev.used.received = received;
    ev.used.from = *from;
    (void)mesh_step(mesh_io_core(d->mesh), daemon_now(), &ev);
}

static void on_unknown(void *arg, const struct mesh_addr *from, const uint8_t *data, size_t len)
{
    struct daemon *d = arg;
    mesh_io_datagram(d->mesh, from, data, len);
}

static void on_relayed(void *arg, uint32_t local, const uint8_t *data, size_t len)
{
    struct daemon *d = arg;
    struct mesh_event ev = {.kind = MESH_EV_RELAYED, .relayed = {.local = local, .data = data, .len = len}};
    (void)mesh_step(mesh_io_core(d->mesh), daemon_now(), &ev);
}

static void on_claim(void *arg, const struct datapath_claim *c)
{
    struct daemon *d = arg;
    static const uint8_t none[IP_BYTES];
    struct switch_event ev = {.kind = SWITCH_EV_ADDRESS, .env = c->env};
    if (!memcmp(c->ip, none, sizeof none))
        ev.kind = SWITCH_EV_LEARNED;
    memcpy(ev.mac, c->mac, sizeof ev.mac);
    memcpy(ev.ip, c->ip, sizeof ev.ip);
    switch_step(d->vswitch, daemon_now(), &ev);
}

static void on_collect(uv_async_t *a)
{
    struct daemon *d = a->data;
    if (!d->datapath || !d->mesh)
        return;
    datapath_collect(d->datapath, NULL, on_unknown, d);
    datapath_collect_relayed(d->datapath, on_relayed, d);
    datapath_collect_claims(d->datapath, on_claim, d);
}

void daemon_switch_relayed(struct daemon *d, const uint8_t *data, size_t len)
{
    if (d->datapath)
        datapath_inject(d->datapath, data, len);
}

static bool key_of(void *arg, const struct vi_id *peer, uint8_t pk[32])
{
    struct daemon *d = arg;
    struct gossip_member m;
    if (vi_id_equal(peer, &d->me.id)) {
        memcpy(pk, d->me.ed_pk, 32);
        return true;
    }
    if (!d->gossip || !gossip_member_find(d->gossip, peer, &m) || !m.key)
        return d->fed && daemon_federation_key_of(d, peer, pk);
    memcpy(pk, m.key, 32);
    return true;
}

bool daemon_key_of(void *arg, const struct vi_id *peer, uint8_t pk[32])
{
    return key_of(arg, peer, pk);
}

/* One is enough for what two processors can carry; with more, a quarter of them. */
unsigned daemon_switch_threads(const struct daemon *d)
{
    long n = d->cfg.overlay_threads ? d->cfg.overlay_threads : sysconf(_SC_NPROCESSORS_ONLN) / 4;
    return n < 1 ? 1 : n > DATAPATH_THREADS ? DATAPATH_THREADS : (unsigned)n;
}

int daemon_switch_open_sockets(struct daemon *d, char *why, size_t cap)
{
    return udp_open(&d->udp, d->cfg.listen, (uint16_t)d->cfg.port, daemon_switch_threads(d) * DATAPATH_LANES, why, cap);
}

static void on_buffers(void *arg, int err, const char *detail)
{
    (void)arg;
    if (err) /* a smaller one only loses frames sooner */
        vi_log(VI_LOG_INFO, "switch", "larger socket buffers: %s %s", vi_strerror(err), detail);
}

int daemon_switch_open(struct daemon *d, char *why, size_t cap)
{
    struct switch_config c = {.self = d->me.id, .arg = d, .key_of = key_of};
    struct datapath_config p = {.threads = daemon_switch_threads(d), .lanes = DATAPATH_LANES, .no_gso = !strcmp(d->cfg.overlay_gso, "off"),
                                .no_vnet = !strcmp(d->cfg.overlay_vnet_hdr, "off"), .arg = d, .wake = on_wake};
    memcpy(p.udp_fd, d->udp.data, sizeof d->udp.data);
    for (unsigned i = 0; i < d->udp.n; i += DATAPATH_LANES) /* light flows fill none */
        (void)agent_udp_buffers(d->agent, d->udp.data[i], on_buffers, d);
    p.no_learn = !strcmp(d->cfg.overlay_learn, "off");
    p.limits = (struct forward_limits){.all = (double)d->cfg.overlay_broadcast_rate,
                                       .guest = (double)d->cfg.overlay_guest_rate,
                                       .unknown = (double)d->cfg.overlay_unknown_rate,
                                       .bytes = (double)d->cfg.overlay_bandwidth * 1048576};
    /* less the headers of IPv4 and UDP */
    p.path_bytes = d->cfg.overlay_path_mtu ? (unsigned)d->cfg.overlay_path_mtu - 28 : 0;
    /* greater than in any earlier run, also when the wall clock was set back */
    int64_t kept = store_number(d->store, "switch-counter", 0), wall = vi_clock_wall();
    c.first_counter = (uint64_t)(wall > kept ? wall : kept + 1000000);
    (void)store_set_number(d->store, "switch-counter", (int64_t)c.first_counter);
    uv_async_init(&d->loop, &d->datapath_wake, on_collect);
    d->datapath_wake.data = d;
    d->vswitch = switch_new(&c, daemon_now());
    d->datapath = datapath_start(&p);
    if (!d->vswitch || !d->datapath) {
        snprintf(why, cap, "the data path can't be started: out of memory or threads");
        return VI_ENOMEM;
    }
    return 0;
}

void daemon_switch_close(struct daemon *d)
{
    datapath_stop(d->datapath);
    d->datapath = NULL;
    switch_free(d->vswitch);
    d->vswitch = NULL;
    if (d->udp.control > 0 || d->udp.n > 0)
        udp_close(&d->udp);
}

vi_time daemon_switch_deadline(const struct daemon *d)
{
    vi_time t = switch_deadline(d->vswitch);
    return t < d->next_used ? t : d->next_used;
}

static void said_conflict(struct daemon *d, const struct switch_effect *fx)
{
    static const char *const text[] = {
        "%s: %02x:%02x:%02x:%02x:%02x:%02x is stated by %s, but %s has it, and nobody shows a transfer: it stays there",
        "%s: %02x:%02x:%02x:%02x:%02x:%02x is stated by %s, which gave it away by its own transfer: it stays with %s",
        "%s: %02x:%02x:%02x:%02x:%02x:%02x is stated by %s, and so it is, by a transfer of %s"};
    char peer[64], line[300];
    const struct env *e = daemon_env_by_id(d, &fx->env);
    snprintf(peer, sizeof peer, "%s", daemon_member_name(d, &fx->peer));
    snprintf(line, sizeof line, text[fx->decided], e ? e->def.name : "?", fx->mac[0], fx->mac[1], fx->mac[2], fx->mac[3],
             fx->mac[4], fx->mac[5], peer, daemon_member_name(d, &fx->other));
    if (fx->decided == SWITCH_UNDECIDED)
        daemon_warn(d, WARN_CONFLICT, "%s", line);
    else
        daemon_event_done(d, daemon_event(d, "conflict", e ? e->def.name : "?", "%s", line));
}

/* The warning goes when no conflict is left without a decision. */
static void look_at_conflicts(struct daemon *d)
{
    struct switch_dispute c;
    bool open = false;
    for (unsigned i = 0; i < ENV_MAX && d->warnings[WARN_CONFLICT][0]; i++) {
        unsigned pos = 0;
        while (d->envs[i].used && switch_dispute_next(d->vswitch, &d->envs[i].def.id, &pos, &c))
            open |= c.decided == SWITCH_UNDECIDED;
    }
    if (!open)
        daemon_warn(d, WARN_CONFLICT, NULL);
}

/* ---- transfers that outlive the process ---- */

static void keep_transfer(struct daemon *d, const struct switch_effect *fx)
{
    uint8_t b[CHAIN_BYTES + 2 + TRANSFER_MAX];
    size_t have = 0, drop = 0;
    if (store_get(d->store, STORE_TRANSFERS, &fx->peer, b, CHAIN_BYTES, &have))
        have = 0;
    while (have > drop && have - drop > CHAIN_BYTES - 2 - TRANSFER_MAX)
        drop += 2U + ((size_t)b[drop] << 8 | b[drop + 1]);
    drop = drop < have ? drop : have;
    have -= drop;
    memmove(b, b + drop, have);
    b[have] = (uint8_t)(fx->len >> 8);
    b[have + 1] = (uint8_t)fx->len;
    memcpy(b + have + 2, fx->data, fx->len);
    if (store_put(d->store, STORE_TRANSFERS, &fx->peer, b, have + 2 + fx->len))
        daemon_warn(d, WARN_STORE, "%s", store_error(d->store));
}

static bool kept_transfers(void *arg, const struct vi_id *guest, const void *value, size_t len)
{
    struct daemon *d = arg;
    const uint8_t *b = value;
    (void)guest;
    for (size_t at = 0; at + 2 <= len;) {
        struct switch_event ev = {.kind = SWITCH_EV_KEPT, .data = b + at + 2, .len = (size_t)b[at] << 8 | b[at + 1]};
        if (ev.len > len - at - 2)
            break;
        switch_step(d->vswitch, daemon_now(), &ev);
        at += 2 + ev.len;
    }
    return true;
}

static void on_announced(void *arg, int err, const char *detail)
{
    (void)arg;
    if (err)
        vi_log(VI_LOG_DEBUG, "switch", "announcing: %s", detail);
}

void daemon_switch_pump(struct daemon *d, vi_time now)
{
    const struct switch_effect *fx;
    if (switch_deadline(d->vswitch) <= now) {
        struct switch_event tick = {.kind = SWITCH_EV_TICK};
        switch_step(d->vswitch, now, &tick);
    }
    if (d->next_used <= now) {
        d->next_used = now + USED_EVERY;
        datapath_collect(d->datapath, on_used, NULL, d);
        look_at_conflicts(d);
    }
    while ((fx = switch_effect(d->vswitch))) {
        struct switch_effect copy = *fx;
        switch (copy.kind) {
        case SWITCH_FX_SEND:
            (void)daemon_send(d, &copy.peer, MESH_CHANNEL_SWITCH, copy.data, copy.len);
            break;
        case SWITCH_FX_TABLE:
            datapath_set_table(d->datapath, copy.table);
            break;
        case SWITCH_FX_ANNOUNCE:
            (void)agent_announce(d->agent, &copy.env, copy.mac, on_announced, d);
            break;
        case SWITCH_FX_CONFLICT:
            said_conflict(d, &copy);
            break;
        case SWITCH_FX_KEEP:
            keep_transfer(d, &copy);
            break;
        }
    }
}

void daemon_switch_message(struct daemon *d, const struct vi_id *from, const uint8_t *data, size_t len)
{
    struct switch_event ev = {.kind = SWITCH_EV_MESSAGE, .peer = *from, .data = data, .len = len};
    switch_step(d->vswitch, daemon_now(), &ev);
}

void daemon_switch_keys(struct daemon *d, const struct mesh_keys *keys)
{
    struct switch_event up = {.kind = SWITCH_EV_PEER_UP, .peer = keys->peer};
    datapath_set_keys(d->datapath, keys);
    if (keys->send && !keys->withdrawn)
        switch_step(d->vswitch, daemon_now(), &up);
}

static void on_queue(void *arg, int err, const char *detail, const struct vi_id *env, int fd)
{
    struct daemon *d = arg;
    if (err) /* the TAP was made for one, by an earlier configuration: one thread serves it */
        vi_log(VI_LOG_INFO, "switch", "another queue of a TAP: %s", detail);
    else
        datapath_add_queue(d->datapath, env, fd);
}

/* The threads share its bandwidth out. */
static struct switch_event env_event(const struct daemon *d, const struct env *e)
{
    struct switch_event ev = {.kind = SWITCH_EV_ENV, .env = e->def.id, .on = true, .strict = e->def.strict};
    unsigned threads = d->udp.n / DATAPATH_LANES; /* each has a socket a lane */
    ev.bandwidth = (double)e->def.bandwidth * 1048576 / (threads ? threads : 1);
    return ev;
}

void daemon_switch_env_changed(struct daemon *d, const struct env *e)
{
    struct switch_event ev = env_event(d, e);
    if (e->open)
        switch_step(d->vswitch, daemon_now(), &ev);
}

void daemon_switch_env_open(struct daemon *d, struct env *e, int tap_fd, bool vnet)
{
    struct switch_event ev = env_event(d, e);
    switch_step(d->vswitch, daemon_now(), &ev);
    datapath_set_tap(d->datapath, &e->def.id, tap_fd, vnet);
    for (unsigned i = 1; i < daemon_switch_threads(d); i++)
        (void)agent_env_queue(d->agent, &e->def.id, on_queue, d);
    (void)store_each(d->store, STORE_TRANSFERS, kept_transfers, d);
    daemon_switch_participants(d, e);
    daemon_switch_guests(d);
    daemon_switch_away(d);
}

void daemon_switch_env_close(struct daemon *d, struct env *e)
{
    struct switch_event ev = {.kind = SWITCH_EV_ENV, .env = e->def.id, .on = false};
    switch_step(d->vswitch, daemon_now(), &ev);
    datapath_set_tap(d->datapath, &e->def.id, -1, false);
}

void daemon_switch_participants(struct daemon *d, struct env *e)
{
    struct switch_event ev = {.kind = SWITCH_EV_PARTICIPANTS, .env = e->def.id, .peers = e->participants,
                              .n = e->n_participants};
    if (e->open)
        switch_step(d->vswitch, daemon_now(), &ev);
}

bool daemon_env_here(const struct env *e)
{
    return e->local_guests || e->kept || e->expecting || e->attached || daemon_now() < e->lingers_until;
}

void daemon_switch_given(struct daemon *d, const struct vi_id *env)
{
    struct env *e = daemon_env_by_id(d, env);
    if (e)
        e->lingers_until = daemon_now() + LINGERS;
}

/* Before guests were listed for the first time, nobody knows. */
void daemon_switch_away(struct daemon *d)
{
    for (unsigned i = 0; i < ENV_MAX; i++) {
        struct switch_event ev = {.kind = SWITCH_EV_AWAY, .env = d->envs[i].def.id,
                                  .on = d->listed && !daemon_env_here(&d->envs[i])};
        if (d->envs[i].used && d->envs[i].open)
            switch_step(d->vswitch, daemon_now(), &ev);
    }
}

void daemon_switch_member(struct daemon *d, const struct vi_id *peer, enum gossip_state state)
{
    struct switch_event ev = {.kind = SWITCH_EV_PEER_GONE, .peer = *peer, .left = daemon_keys_blocked(d, peer)};
    if (state == GOSSIP_DEAD || state == GOSSIP_LEFT)
        switch_step(d->vswitch, daemon_now(), &ev);
}

void daemon_switch_guest(struct daemon *d, const struct hv_guest *g, bool present)
{
    struct switch_event ev = {.kind = SWITCH_EV_LOCAL, .guest = g->uuid, .on = present,
                              .epoch = daemon_epoch_of(d, &g->uuid), .pinned = !g->movable};
    uint8_t macs[HV_VIFS_MAX][6];
    for (unsigned v = 0; v < g->n_vifs; v++) {
        struct env *e = daemon_env_by_bridge(d, g->vifs[v].bridge);
        if (!e || !e->open)
            continue;
        ev.env = e->def.id;
        ev.n = 0;
        for (unsigned k = 0; k < g->n_vifs; k++) /* all its MACs in this environment at once */
            if (!strcmp(g->vifs[k].bridge, g->vifs[v].bridge))
                memcpy(macs[ev.n++], g->vifs[k].mac, 6);
        ev.macs = (const uint8_t(*)[6])macs;
        switch_step(d->vswitch, daemon_now(), &ev);
    }
}

/* Guests that are ours and not on their way in state their MACs; a suspended one on its way out keeps
 * them until its transfer. */
void daemon_switch_guests(struct daemon *d)
{
    for (unsigned i = 0; i < ENV_MAX; i++) { /* said again: a step that found no memory must not be the last word */
        struct switch_event ev = env_event(d, &d->envs[i]);
        if (!d->envs[i].open || switch_has(d->vswitch, &ev.env))
            continue;
        switch_step(d->vswitch, daemon_now(), &ev);
        daemon_switch_participants(d, &d->envs[i]);
    }
    for (unsigned i = 0; i < d->n_guests; i++) {
        const struct hv_guest *g = &d->guests[i];
        if (!g->incoming && daemon_owns(d, &g->uuid))
            daemon_switch_guest(d, g, true);
    }
}
