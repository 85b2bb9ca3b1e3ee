/* The control socket's methods about keys; peer/rpc.md has the fields. */
#include "peer/daemon_keys.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/rpc_write.h"

static const char *issuer_of(struct daemon *d, const struct cert *c)
{
    if (c->delegated && !memcmp(c->by.issuer, d->me.ed_pk, CERT_KEY))
        return d->me.cert.host;
    return daemon_keys_issuer(d, c->delegated, &c->by);
}

/* The domain's authorities: the newest, those that still count, the former ones. */
static void write_authorities(const struct daemon *d, struct vi_writer *w)
{
    const struct trust *t = &d->trust;
    char id[VI_ID_TEXT];
    struct vi_id a;
    uint32_t n = t->n_former;
    for (unsigned i = 0; i < TRUST_MAX; i++)
        n += !strcmp(t->slot[i].domain, t->domain);
    vi_write_str(w, "authorities");
    vi_write_array(w, n);
    for (unsigned i = 0; i < TRUST_MAX; i++) {
        bool ends = t->until[i] != VI_NEVER;
        if (strcmp(t->slot[i].domain, t->domain))
            continue;
        cert_authority_id(&a, t->slot[i].authority);
        vi_write_map(w, 2U + ends);
        put_text(w, "id", vi_id_format(&a, id));
        put_text(w, "state", i == 0 ? "newest" : "trusted");
        if (ends)
            put_number(w, "until", (double)t->until[i] / 1e6);
    }
    for (unsigned i = 0; i < t->n_former; i++) {
        cert_authority_id(&a, t->former[i].authority);
        vi_write_map(w, 2);
        put_text(w, "id", vi_id_format(&a, id));
        put_text(w, "state", "retired");
    }
}

void daemon_do_cert(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    const struct cert *c = &d->me.cert;
    vi_time wall = vi_clock_wall();
    uint32_t caps = keyring_caps(&d->keys->ring, d->me.ed_pk, wall);
    struct vi_writer *w = rpc_begin(call, 8192);
    char id[VI_ID_TEXT], text[CAPS_TEXT];
    uint8_t secret[64];
    bool here = daemon_keys_authority(d, secret), trouble = d->keys->trouble[0] != 0;
    sodium_memzero(secret, sizeof secret);
    (void)params;
    if (!w)
        return;
    vi_write_map(w, 12U + (caps ? 2U : 0) + trouble);
    put_text(w, "host", c->host);
    put_text(w, "domain", c->domain);
    put_text(w, "peer", vi_id_format(&d->me.id, id));
    put_text(w, "state", daemon_keys_blocked(d, &d->me.id) ? "revoked"
                         : wall - CERT_SKEW > c->not_after ? "expired" : "good");
    put_text(w, "authority", vi_id_format(&c->authority, id));
    put_text(w, "issued_by", issuer_of(d, c));
    put_number(w, "not_before", (double)c->not_before / 1e6);
    put_number(w, "not_after", (double)c->not_after / 1e6);
    put_number(w, "renews_at", (double)daemon_renew_at(d) / 1e6);
    put_text(w, "rights", caps_format(c->caps, text));
    put_bool(w, "authority_here", here);
    if (caps) {
        put_text(w, "capabilities", caps_format(caps, text));
        put_number(w, "capabilities_until", (double)d->me.delegation.not_after / 1e6);
    }
    if (trouble)
        put_text(w, "trouble", d->keys->trouble);
    write_authorities(d, w);
    rpc_end(call);
}

void daemon_do_cert_renew(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    char why[300] = "";
    int err = daemon_renew_now(arg, call, why, sizeof why);
    (void)params;
    if (err)
        rpc_error(call, err, "%s", why);
}

static void answer_peer(struct rpc_call *call, int err, const char *why, const struct vi_id *peer)
{
    char id[VI_ID_TEXT];
    struct vi_writer *w;
    if (err) {
        rpc_error(call, err, "%s", why[0] ? why : vi_strerror(err));
        return;
    }
    w = rpc_begin(call, 128);
    if (!w)
        return;
    vi_write_map(w, 1);
    put_text(w, "peer", vi_id_format(peer, id));
    rpc_end(call);
}

void daemon_do_revoke(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    char who[128], text[256], why[400] = "";
    struct vi_id peer;
    int err;
    if (!rpc_param_text(call, *params, "host", true, who, sizeof who) ||
        !rpc_param_text(call, *params, "why", false, text, sizeof text))
        return;
    err = daemon_revoke(arg, who, text, &peer, why, sizeof why);
    answer_peer(call, err, why, &peer);
}

void daemon_do_revocations(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    const struct blocklist *b = &d->keys->ring.revoked;
    struct vi_writer *w = rpc_begin(call, 64 + (size_t)b->n * 512);
    char id[VI_ID_TEXT];
    (void)params;
    if (!w)
        return;
    vi_write_array(w, b->n);
    for (unsigned i = 0; i < b->n; i++) {
        const struct revocation *r = &b->e[i].r;
        vi_write_map(w, 3U + (r->host[0] != 0) + (r->why[0] != 0));
        put_text(w, "peer", vi_id_format(&b->e[i].peer, id));
        if (r->host[0])
            put_text(w, "host", r->host);
        put_number(w, "at", (double)r->at / 1e6);
        put_text(w, "by", daemon_keys_issuer(d, r->delegated, &r->by));
        if (r->why[0])
            put_text(w, "why", r->why);
    }
    rpc_end(call);
}

void daemon_do_delegate(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    char who[128], text[64], why[400] = "";
    uint64_t ttl = 365 * 86400;
    struct vi_id peer;
    uint32_t caps;
    int err;
    if (!rpc_param_text(call, *params, "host", true, who, sizeof who) ||
        !rpc_param_text(call, *params, "capabilities", true, text, sizeof text) ||
        !rpc_param_uint(call, *params, "ttl_s", UINT64_C(3660) * 86400, &ttl))
        return;
    if (caps_parse(&caps, text) || ttl == 0) {
        rpc_error(call, VI_EINVAL, "capabilities `%s`: admit, renew, revoke, env, federate, separated by commas; or none", text);
        return;
    }
    err = daemon_delegate(arg, who, caps, (vi_time)ttl * VI_SEC, &peer, why, sizeof why);
    answer_peer(call, err, why, &peer);
}

static void answer_newest(struct daemon *d, struct rpc_call *call)
{
    struct vi_writer *w = rpc_begin(call, 8192);
    if (!w)
        return;
    vi_write_map(w, 1);
    write_authorities(d, w);
    rpc_end(call);
}

void daemon_do_rollover(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    uint64_t overlap = ROLLOVER_OVERLAP / VI_SEC;
    char why[400] = "";
    int err;
    if (!rpc_param_uint(call, *params, "overlap_s", UINT64_C(3660) * 86400, &overlap))
        return;
    if (overlap < 60) {
        rpc_error(call, VI_EINVAL, "the overlap is at least a minute");
        return;
    }
    err = daemon_rollover(arg, (vi_time)overlap * VI_SEC, why, sizeof why);
    if (err)
        rpc_error(call, err, "%s", why);
    else
        answer_newest(arg, call);
}

void daemon_do_retire(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    char why[600] = "";
    uint64_t force = 0;
    int err;
    if (!rpc_param_uint(call, *params, "force", 1, &force))
        return;
    err = daemon_retire(arg, force != 0, why, sizeof why);
    if (err)
        rpc_error(call, err, "%s", why);
    else
        answer_newest(arg, call);
}
