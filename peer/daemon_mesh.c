/* The daemon and the mesh: the sockets, what arrives on which channel, who is admitted. */
#include "peer/daemon_federation.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "peer/base/err.h"
#include "peer/base/log.h"
#include "peer/daemon_dial.h"
#include "peer/daemon_disk.h"
#include "peer/daemon_disk_rpc.h"
#include "peer/daemon_envmove.h"
#include "peer/daemon_image.h"
#include "peer/netaddr.h"

static void on_deliver(void *arg, const struct vi_id *from, unsigned channel, const uint8_t *data,
                       size_t len)
{
    struct daemon *d = arg;
    vi_time now = daemon_now();
    if (!daemon_federation_admits(d, from, channel))
        return;
    switch (channel) {
    case MESH_CHANNEL_GOSSIP:
        daemon_gossip_message(d, from, data, len);
        break;
    case MESH_CHANNEL_SWITCH:
        daemon_switch_message(d, from, data, len);
        break;
    case MESH_CHANNEL_HANDOVER:
        daemon_handover_message(d, from, data, len);
        break;
    case MESH_CHANNEL_CALL:
        calls_message(d->calls, now, from, data, len);
        break;
    case MESH_CHANNEL_ENVMOVE:
        daemon_envmove_message(d, from, data, len);
        break;
    case MESH_CHANNEL_FEDERATION:
        daemon_federation_message(d, from, data, len);
        break;
    default: /* a later version's */
        break;
    }
}

static void on_up(void *arg, const struct vi_id *peer, const struct cert *cert,
                  const struct mesh_addr *addr)
{
    struct daemon *d = arg;
    char text[MESH_ADDR_TEXT];
    vi_log(VI_LOG_DEBUG, "mesh", "session with %s at %s", cert->host, mesh_addr_format(addr, text));
    daemon_warn(d, WARN_REFUSED, NULL);
    daemon_gossip_session(d, peer);
}

static void on_down(void *arg, const struct vi_id *peer, enum mesh_down why, int err)
{
    struct daemon *d = arg;
    char id[VI_ID_TEXT];
    vi_id_format(peer, id);
    if (why == MESH_DOWN_REFUSED && !fed_any(d) && !daemon_keys_blocked(d, peer) && !daemon_keys_blocked(d, &d->me.id))
        daemon_warn(d, WARN_REFUSED, "no session with peer %.8s: %s", id,
                    err == VI_EEXPIRED ? "a certificate has expired (or a clock is wrong)"
                    : err == VI_EAUTH  ? "it and this host have certificates of different domain authorities"
                                       : "it refuses this host: revoked, or admitted by one that was");
    if (why == MESH_DOWN_TIMEOUT || why == MESH_DOWN_REFUSED)
        daemon_gossip_unreachable(d, peer);
    vi_log(VI_LOG_DEBUG, "mesh", "peer %.8s: %s", id, mesh_down_text(why));
}

static void on_keys(void *arg, const struct mesh_keys *keys)
{
    daemon_switch_keys(arg, keys);
}

static void on_data(void *arg, const uint8_t *data, size_t len)
{
    daemon_switch_relayed(arg, data, len);
}

static void on_admission(void *arg, const struct mesh_effect *fx)
{
    struct daemon *d = arg;
    struct mesh_event ev = {.kind = MESH_EV_ADMISSION_REPLY};
    uint8_t out[JOIN_MAX];
    char admitted[CERT_NAME_MAX + 1], text[MESH_ADDR_TEXT];
    size_t len = invites_admit(d->invites, vi_clock_wall(), &fx->token, fx->x, fx->data, fx->len, out,
                               admitted);
    if (len == 0)
        return;
    ev.admission_reply.admission = fx->admission;
    ev.admission_reply.data = out;
    ev.admission_reply.len = len;
    mesh_step(mesh_io_core(d->mesh), daemon_now(), &ev);
    if (admitted[0])
        daemon_event_done(d, daemon_event(d, "admitted", admitted, "%s at %s was admitted to the domain",
                                          admitted, mesh_addr_format(&fx->addr, text)));
}

static void connect_seed(struct daemon *d, const struct seed *s)
{
    struct mesh_addr a;
    struct vi_id id;
    char why[300];
    cert_peer_id(&id, s->ed);
    if (vi_id_equal(&id, &d->me.id) || daemon_keys_blocked(d, &id) || daemon_keys_blocked(d, &d->me.id))
        return;
    if (netaddr_resolve(&a, s->addr, why, sizeof why)) {
        vi_log(VI_LOG_WARN, "mesh", "seed: %s", why);
        return;
    }
    if (!d->own_addr.family) {
        d->towards = a;
        daemon_find_address(d, &a);
    }
    mesh_io_connect(d->mesh, &id, s->x, &a);
    daemon_reach_seed(d, &id);
    daemon_gossip_seed(d, &id, &a);
}

/* Seeds of the configuration, then those that joining left. Names are resolved once, at start. */
void daemon_connect_seeds(struct daemon *d)
{
    struct seed seeds[IDENTITY_SEEDS];
    unsigned n = identity_seeds(d->cfg.state_dir, seeds, IDENTITY_SEEDS);
    for (unsigned i = 0; i < d->cfg.n_seeds; i++) {
        struct seed s;
        if (seed_parse(&s, d->cfg.seeds[i]))
            vi_log(VI_LOG_WARN, "mesh", "seeds: `%.60s…` is no key@host:port", d->cfg.seeds[i]);
        else
            connect_seed(d, &s);
    }
    for (unsigned i = 0; i < n; i++)
        connect_seed(d, &seeds[i]);
}

static void calls_send(void *arg, const struct vi_id *peer, const uint8_t *data, size_t len)
{
    struct daemon *d = arg;
    /* also to a revoked peer: it is told that it is one */
    if (mesh_io_send(d->mesh, peer, MESH_CHANNEL_CALL, data, len) == VI_ENOTFOUND && !daemon_keys_blocked(d, peer) &&
        daemon_introduce(d, peer, NULL))
        (void)mesh_io_send(d->mesh, peer, MESH_CHANNEL_CALL, data, len);
}

static int calls_answer(void *arg, const struct vi_id *from, unsigned method, const uint8_t *body,
                        size_t len, uint8_t *out)
{
    if (!daemon_federation_may_ask(arg, from, method))
        return VI_EREFUSED;
    switch (method) {
    case CALL_DECLARE:
        return daemon_federation_declared(arg, from) ? 0 : VI_ENOTFOUND;
    case CALL_REDIRECT:
        daemon_federation_redirected(arg, body, len);
        return 0;
    case CALL_LOAD:
        return daemon_policy_probed(arg, from, body, len, out);
    case CALL_CONNECT:
        return daemon_dial_connect(arg, from, body, len);
    case CALL_SPLICE:
        return daemon_dial_splice(arg, from, body, len);
    case CALL_IMAGE_FIND:
        return daemon_image_find(arg, from, body, len, out);
    case CALL_IMAGE_SEND:
        return daemon_image_send(arg, from, body, len);
    case CALL_IMAGE_LACKS:
        return daemon_image_lacks(arg, body, len, out);
    case CALL_DISK_LACKS:
        return daemon_disk_lacks(arg, body, len, out);
    case CALL_DISK_COPY:
        return daemon_disk_copy_answer(arg, body, len, out);
    case CALL_ENVMOVE:
        return daemon_envmove_asked(arg, from, body, len, out);
    case CALL_ENVMAKE:
        return daemon_envmake_asked(arg, from, body, len, out);
    case CALL_TAKE_IN:
        return daemon_rules_ordered(arg, from, body, len);
    case CALL_GUEST:
        return daemon_rules_named(arg, body, len, out);
    case CALL_MOVES:
        return daemon_policy_moves(arg, body, len, out);
    case CALL_VIEW:
        return daemon_view_answer(arg, body, len, out);
    case CALL_WHYNOT:
        return daemon_whynot_answer(arg, from, body, len, out);
    case CALL_DRAIN:
        return daemon_drain_asked(arg, from, body, len, out);
    case CALL_RENEW:
        return daemon_renew_answer(arg, from, body, len, out);
    case CALL_REVOKED:
        daemon_keys_told(arg, body, len);
        return 0;
    default:
        return VI_EUNSUPPORTED;
    }
}

static bool lookup_psk(void *arg, const struct vi_id *token, uint8_t psk[32])
{
    struct daemon *d = arg;
    return invites_secret(d->invites, token, psk);
}

int daemon_mesh_open(struct daemon *d, char *why, size_t cap)
{
    struct mesh_config cfg = {.has_cert = true, .trust = d->trust.slot, .trusts = TRUST_MAX, .queues = (uint16_t)(d->udp.n + 1)};
    struct mesh_io_hooks hooks = {.arg = d,
                                  .deliver = on_deliver,
                                  .up = on_up,
                                  .down = on_down,
                                  .keys = on_keys,
                                  .admission = on_admission,
                                  .data = on_data};
    struct call_hooks call_hooks = {.arg = d, .send = calls_send, .answer = calls_answer};
    if (!strcmp(d->cfg.overlay_cipher, "chacha"))
        cfg.ciphers = 1u << NOISE_CHACHAPOLY;
    memcpy(cfg.secret, d->me.x_sk, sizeof cfg.secret);
    cfg.cert = d->me.cert;
    cfg.wall_minus_now = vi_clock_wall() - vi_clock_boottime();
    cfg.arg = d;
    cfg.lookup_psk = lookup_psk;
    cfg.refuse = daemon_federation_refuses;
    cfg.vouch = daemon_keys_vouches;
    cfg.relay = daemon_reach_may_relay;
    cfg.rekey_after = d->cfg.overlay_rekey * VI_SEC;
    cfg.relay_off = d->cfg.relay_bandwidth == 0;
    cfg.relay_bytes = (uint32_t)d->cfg.relay_bandwidth * 1048576U;
    cfg.relay_packets = cfg.relay_bytes / 512; /* small ones cost as much as half a kilobyte */
    d->mesh_cfg = cfg;
    d->mesh = mesh_io_open(&d->loop, d->udp.control, d->udp.first, &cfg, &d->rng, &hooks);
    d->calls = calls_new(&call_hooks, &d->rng);
    if (!d->mesh || !d->calls) {
        snprintf(why, cap, "out of memory");
        return VI_ENOMEM;
    }
    return 0;
}

/* The wall clock may be set while we run; certificates are judged by what it says now. */
void daemon_mesh_clock(struct daemon *d)
{
    d->mesh_cfg.wall_minus_now = vi_clock_wall() - vi_clock_boottime();
    mesh_set_wall(mesh_io_core(d->mesh), d->mesh_cfg.wall_minus_now);
}

void daemon_mesh_close(struct daemon *d)
{
    mesh_io_close(d->mesh);
    d->mesh = NULL;
    calls_free(d->calls);
    d->calls = NULL;
}
