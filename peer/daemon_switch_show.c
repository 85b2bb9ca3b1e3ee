/* What `violin env show` tells about an environment's Ethernet. */
#include "peer/daemon_internal.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "peer/rpc_write.h"

#define TRAFFIC_ROWS 1024 /* told of an environment; the first ones that were seen */

static const char *name_of(struct daemon *d, const struct vi_id *peer)
{
    return vi_id_equal(peer, &d->me.id) ? d->me.cert.host : daemon_member_name(d, peer);
}

static void write_dropped(struct vi_writer *w, const uint64_t dropped[FORWARD_REASONS])
{
    for (unsigned i = 1; i < FORWARD_REASONS; i++)
        if (dropped[i]) {
            char key[40];
            snprintf(key, sizeof key, "dropped_%s", forward_why_text((enum forward_why)i));
            put_uint(w, key, dropped[i]);
        }
}

static unsigned reasons(const uint64_t dropped[FORWARD_REASONS])
{
    unsigned n = 0;
    for (unsigned i = 1; i < FORWARD_REASONS; i++)
        n += dropped[i] != 0;
    return n;
}

void daemon_switch_write_counters(struct daemon *d, struct vi_writer *w)
{
    struct datapath_counters c;
    unsigned n;
    datapath_counters(d->datapath, &c);
    n = reasons(c.dropped);
#define X(name) n += c.name != 0;
    DATAPATH_COUNTERS(X)
#undef X
    vi_write_str(w, "counters");
    vi_write_map(w, n);
#define X(name)                                                                                    \
    if (c.name)                                                                                    \
        put_uint(w, #name, c.name);
    DATAPATH_COUNTERS(X)
#undef X
    write_dropped(w, c.dropped);
}

static void write_env_counters(struct daemon *d, struct vi_writer *w, const struct env *e)
{
    struct datapath_env_counters c;
    unsigned n;
    (void)datapath_env_counters(d->datapath, &e->def.id, &c); /* not open here: zeros */
    n = reasons(c.dropped);
#define X(name) n += c.name != 0;
    DATAPATH_ENV_COUNTERS(X)
#undef X
    vi_write_str(w, "counters");
    vi_write_map(w, n);
#define X(name)                                                                                    \
    if (c.name)                                                                                    \
        put_uint(w, #name, c.name);
    DATAPATH_ENV_COUNTERS(X)
#undef X
    write_dropped(w, c.dropped);
}

static const char *mac_text(const uint8_t m[6], char out[18])
{
    snprintf(out, 18, "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
    return out;
}

static void write_traffic(struct daemon *d, struct vi_writer *w, const struct env *e)
{
    static struct matrix_row rows[TRAFFIC_ROWS];
    unsigned n = datapath_traffic(d->datapath, &e->def.id, rows, TRAFFIC_ROWS);
    char mac[18];
    vi_write_str(w, "traffic");
    vi_write_array(w, n);
    for (unsigned i = 0; i < n; i++) {
        vi_write_map(w, 4);
        put_text(w, "from", mac_text(rows[i].from, mac));
        put_text(w, "to", mac_text(rows[i].to, mac));
        put_uint(w, "frames", rows[i].frames);
        put_uint(w, "bytes", rows[i].bytes);
    }
}

static void write_place(struct daemon *d, struct vi_writer *w, const struct switch_place *p)
{
    static const uint8_t v4[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    char text[INET6_ADDRSTRLEN], uuid[VI_UUID_TEXT];
    uint8_t tag[POLICY_RULE_TAG];
    const char *name;
    policy_rule_tag(&p->guest, tag);
    name = p->learned ? NULL : daemon_guest_name(d, tag);
    vi_write_map(w, p->learned ? 4 : 8);
    put_text(w, "mac", mac_text(p->mac, text));
    put_text(w, "host", name_of(d, &p->peer));
    put_bool(w, "learned", p->learned);
    if (!p->learned) {
        put_text(w, "guest", vi_uuid_format(&p->guest, uuid));
        put_text(w, "name", name ? name : uuid);
        put_uint(w, "epoch", p->epoch);
        put_bool(w, "pinned", p->pinned);
    }
    vi_write_str(w, "addresses");
    vi_write_array(w, p->n_ips);
    for (unsigned i = 0; i < p->n_ips; i++) {
        bool four = !memcmp(p->ips[i], v4, sizeof v4);
        vi_write_str(w, inet_ntop(four ? AF_INET : AF_INET6, p->ips[i] + (four ? 12 : 0), text, sizeof text));
    }
}

static void write_conflicts(struct daemon *d, struct vi_writer *w, const struct env *e)
{
    static const char *const how[] = {"undecided", "stays", "moves"};
    struct switch_dispute c;
    unsigned pos = 0;
    uint32_t n = 0;
    char mac[18];
    while (switch_dispute_next(d->vswitch, &e->def.id, &pos, &c))
        n++;
    vi_write_str(w, "conflicts");
    vi_write_array(w, n);
    for (pos = 0; switch_dispute_next(d->vswitch, &e->def.id, &pos, &c);) {
        vi_write_map(w, 4);
        put_text(w, "mac", mac_text(c.mac, mac));
        put_text(w, "stated_by", name_of(d, &c.peer));
        put_text(w, "has", name_of(d, &c.has));
        put_text(w, "decided", how[c.decided]);
    }
}

static void write_limits(struct daemon *d, struct vi_writer *w, const struct env *e)
{
    long host = d->cfg.overlay_bandwidth, own = (long)e->def.bandwidth, most = !own || (host && host < own) ? host : own;
    vi_write_str(w, "limits");
    vi_write_map(w, 4);
    put_uint(w, "broadcast_per_s", (uint64_t)d->cfg.overlay_broadcast_rate);
    put_uint(w, "guest_per_s", (uint64_t)d->cfg.overlay_guest_rate);
    put_uint(w, "unknown_per_s", (uint64_t)d->cfg.overlay_unknown_rate);
    put_uint(w, "bandwidth_mib_s", (uint64_t)most);
}

void daemon_switch_write_env(struct daemon *d, struct vi_writer *w, const struct env *e)
{
    struct switch_place p;
    unsigned pos = 0;
    uint32_t n = 0;
    put_uint(w, "mtu", (uint64_t)d->cfg.overlay_mtu);
    write_limits(d, w, e);
    while (switch_place_next(d->vswitch, &e->def.id, &pos, &p))
        n++;
    vi_write_str(w, "macs");
    vi_write_array(w, n);
    for (pos = 0; switch_place_next(d->vswitch, &e->def.id, &pos, &p);)
        write_place(d, w, &p);
    write_conflicts(d, w, e);
    write_env_counters(d, w, e);
    write_traffic(d, w, e);
}
