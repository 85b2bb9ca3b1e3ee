/* The daemon and the ways to other peers: which relays to prefer, and `violin reachability`. */
#include "peer/daemon_internal.h"

#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/rpc_write.h"

#define EVERY      (5 * VI_SEC)
#define NAME_CAP   (2 * CERT_NAME_MAX + 2)
#define ROW_BYTES  640
#define PROBES_FEW 4 /* fewer say nothing about loss */

/* Another domain's hosts have ways through this one only for what environments they take part in. */
static bool relays_for(struct daemon *d, const struct vi_id *peer)
{
    return !daemon_keys_blocked(d, peer) && daemon_federation_has_ways(d, peer);
}

bool daemon_reach_may_relay(void *arg, const struct vi_id *from, const struct vi_id *to)
{
    struct daemon *d = arg;
    return relays_for(d, from) && relays_for(d, to);
}

void daemon_reach_seed(struct daemon *d, const struct vi_id *seed)
{
    for (unsigned i = 0; i < d->n_relays; i++)
        if (vi_id_equal(&d->relays[i], seed))
            return;
    if (d->n_relays < MESH_RELAYS)
        d->relays[d->n_relays++] = *seed;
}

/* Seeds are preferred as relays: they are where others can reach them. A host behind a NAT keeps its
 * sessions with them, or nobody could relay to it. */
void daemon_reach_tick(struct daemon *d, vi_time now)
{
    struct mesh *m = mesh_io_core(d->mesh);
    struct mesh_event self = {.kind = MESH_EV_SELF, .self = {.addr = d->own_addr}};
    struct mesh_event relays = {.kind = MESH_EV_RELAYS, .relays = {.id = d->relays, .n = d->n_relays}};
    if (now < d->next_reach)
        return;
    d->next_reach = now + EVERY;
    (void)mesh_step(m, now, &self);
    (void)mesh_step(m, now, &relays);
    for (unsigned i = 0; mesh_behind_nat(m) && i < d->n_relays; i++)
        if (!daemon_keys_blocked(d, &d->relays[i]))
            (void)mesh_io_connect(d->mesh, &d->relays[i], NULL, NULL); /* nothing if there is a session */
}

/* ---- `violin reachability` ---- */

struct row {
    struct vi_id id;
    char name[NAME_CAP];
    const char *state; /* NULL: no member of the domain */
    bool handshaking;
};

static const char *path_text(enum mesh_path_kind kind)
{
    static const char *const text[] = {[MESH_PATH_NONE] = "none", [MESH_PATH_DIRECT] = "direct",
                                       [MESH_PATH_PUNCHED] = "punched", [MESH_PATH_RELAYED] = "relayed"};
    return text[kind];
}

const char *daemon_reach_way(struct daemon *d, const struct vi_id *peer)
{
    struct mesh_path_info p;
    (void)mesh_path_find(mesh_io_core(d->mesh), peer, &p);
    return path_text(p.kind);
}

static void why_text(struct daemon *d, const struct mesh_path_info *p, bool known, char *out, size_t cap)
{
    const char *nat = mesh_behind_nat(mesh_io_core(d->mesh)) ? "; this host is behind a NAT" : "";
    if (p->kind == MESH_PATH_RELAYED || (p->kind == MESH_PATH_NONE && p->why == MESH_WHY_NO_ANSWER))
        snprintf(out, cap, "%s%s", mesh_path_why_text(p->why), nat);
    else if (p->kind != MESH_PATH_NONE)
        out[0] = 0;
    else if (!known || p->why != MESH_WHY_DOWN)
        snprintf(out, cap, "no session was needed yet");
    else if (p->down == MESH_DOWN_IDLE)
        snprintf(out, cap, "the session was not used and has ended; one is made when it is needed");
    else if (p->down == MESH_DOWN_TIMEOUT)
        snprintf(out, cap, "no answer, neither directly nor through another peer%s", nat);
    else
        snprintf(out, cap, "%s", mesh_down_text(p->down));
}

static void write_row(struct daemon *d, struct vi_writer *w, const struct row *r, vi_time now)
{
    struct mesh_path_info p;
    char id[VI_ID_TEXT], text[MESH_ADDR_TEXT], why[160];
    bool known = mesh_path_find(mesh_io_core(d->mesh), &r->id, &p), loss = p.probes >= PROBES_FEW;
    bool retry = p.kind == MESH_PATH_RELAYED && p.retry != VI_NEVER && p.retry > now;
    why_text(d, &p, known, why, sizeof why);
    vi_write_map(w, 3U + (r->state != NULL) + (p.addr.family != 0) + (p.kind == MESH_PATH_RELAYED) + (p.rtt != 0) +
                        loss + (p.since != 0) + (why[0] != 0) + retry + r->handshaking);
    put_text(w, "id", vi_id_format(&r->id, id));
    put_text(w, "name", r->name);
    if (r->state)
        put_text(w, "state", r->state);
    put_text(w, "path", path_text(p.kind));
    if (p.kind == MESH_PATH_RELAYED)
        put_text(w, "via", daemon_member_name(d, &p.relay));
    if (p.addr.family)
        put_text(w, "address", mesh_addr_format(&p.addr, text));
    if (p.rtt)
        put_number(w, "rtt_ms", (double)((p.rtt + 9) / 10) / 100);
    if (loss)
        put_number(w, "loss_pct", 100.0 * p.lost / p.probes);
    if (p.since)
        put_number(w, "since_s", (double)(now - p.since) / 1e6);
    if (why[0])
        put_text(w, "why", why);
    if (retry)
        put_number(w, "direct_tried_in_s", (double)(p.retry - now) / 1e6);
    if (r->handshaking)
        put_bool(w, "handshaking", true);
}

/* The peers one after another: the domain's members, then others there is or was a session with. */
struct walk {
    size_t member, peer;
};

static bool next_row(struct daemon *d, struct walk *at, struct row *r)
{
    struct gossip_member m;
    struct mesh_peer_info p;
    memset(r, 0, sizeof *r);
    while (gossip_member_next(d->gossip, &at->member, &m)) {
        if (m.self)
            continue;
        r->id = m.id;
        r->state = gossip_state_text(m.state);
        snprintf(r->name, sizeof r->name, "%s", m.name);
        r->handshaking = mesh_peer_find(mesh_io_core(d->mesh), &m.id, &p) && p.handshaking;
        return true;
    }
    while (mesh_peer_next(mesh_io_core(d->mesh), &at->peer, &p)) {
        if (!p.has_cert || gossip_member_find(d->gossip, &p.id, &m))
            continue;
        r->id = p.id;
        snprintf(r->name, sizeof r->name, "%s.%s", p.cert->host, p.cert->domain);
        r->handshaking = p.handshaking;
        return true;
    }
    return false;
}

static bool is_asked(const struct row *r, const char *want)
{
    char id[VI_ID_TEXT];
    size_t n = strlen(want);
    vi_id_format(&r->id, id);
    return n == 0 || !strcmp(r->name, want) || (n >= 8 && !strncmp(id, want, n));
}

void daemon_do_reachability(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    char want[NAME_CAP];
    struct walk at = {0};
    struct vi_writer *w;
    struct row r;
    uint32_t n = 0;
    vi_time now = daemon_now();
    if (!rpc_param_text(call, *params, "peer", false, want, sizeof want))
        return;
    while (next_row(d, &at, &r))
        n += is_asked(&r, want);
    if (want[0] && n == 0) {
        rpc_error(call, VI_ENOTFOUND, "no other peer is called `%s`; violin members lists them", want);
        return;
    }
    w = rpc_begin(call, n * (size_t)ROW_BYTES + 64 < RPC_RESULT_MAX ? n * (size_t)ROW_BYTES + 64 : RPC_RESULT_MAX);
    if (!w)
        return;
    vi_write_array(w, n);
    memset(&at, 0, sizeof at);
    while (next_row(d, &at, &r)) {
        if (!is_asked(&r, want))
            continue;
        if (want[0]) /* one that was asked for is tried, so that the next answer knows */
            (void)daemon_introduce(d, &r.id, NULL);
        write_row(d, w, &r, now);
    }
    rpc_end(call);
}
