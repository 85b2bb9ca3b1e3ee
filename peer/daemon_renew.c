/* Certificates: our own is renewed in time, others' when they ask and this host may.
 *
 * When two thirds of its validity are over, when its authority isn't the newest any more, or when its
 * issuer was revoked, each peer asks a member that holds `renew`, one after another; itself first, if it
 * does. Failures: nobody may, nobody answers, everybody refuses: tried again after 5 s, doubling to 10 min;
 * once the time is short, `status` says so. An answer that isn't better than what we have is not taken. */
#include "peer/daemon_keys.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "peer/base/err.h"
#include "peer/base/log.h"
#include "peer/rpc_write.h"

static bool is_newest(const struct daemon *d, const struct vi_id *authority)
{
    struct vi_id id;
    cert_authority_id(&id, trust_newest(&d->trust));
    return vi_id_equal(&id, authority);
}

vi_time daemon_renew_at(const struct daemon *d)
{
    return d->me.cert.not_before + (d->me.cert.not_after - d->me.cert.not_before) / 3 * 2;
}

/* ---- a new certificate of our own ---- */

static void answer_waiting(struct daemon *d, int err, const char *why)
{
    struct rpc_call *call = d->keys->waiting;
    struct vi_writer *w;
    d->keys->waiting = NULL;
    d->keys->forced = false;
    if (!call)
        return;
    if (err) {
        rpc_error(call, err, "%s", why);
        return;
    }
    w = rpc_begin(call, 64);
    if (!w)
        return;
    vi_write_map(w, 1);
    put_number(w, "not_after", (double)d->me.cert.not_after / 1e6);
    rpc_end(call);
}

static int store_cert(struct daemon *d, const struct cert *c, const uint8_t *bytes, size_t len,
                      const uint8_t *authority, char *why, size_t cap)
{
    int err = identity_write_file(d->cfg.state_dir, "cert", bytes, len, why, cap);
    (void)c;
    if (!err && memcmp(authority, d->me.authority, CERT_KEY))
        err = identity_write_file(d->cfg.state_dir, "authority.pub", authority, CERT_KEY, why, cap);
    return err;
}

/* Stored first; then used. */
static int take_cert(struct daemon *d, const struct cert *c, char *why, size_t cap)
{
    struct gossip_event ev = {.kind = GOSSIP_EV_SET_SELF};
    const uint8_t *authority = trust_own_key(&d->trust, &c->authority, NULL);
    uint8_t bytes[CERT_MAX];
    bool other;
    size_t len;
    char until[32];
    time_t t = (time_t)(c->not_after / VI_SEC);
    struct tm tm;
    int err = authority ? cert_encode(c, bytes, sizeof bytes, &len) : VI_EAUTH;
    if (!err)
        err = store_cert(d, c, bytes, len, authority, why, cap);
    if (err)
        return err;
    other = memcmp(authority, d->me.authority, CERT_KEY) != 0;
    d->me.cert = *c;
    memcpy(d->me.authority, authority, CERT_KEY);
    d->mesh_cfg.cert = *c;
    (void)mesh_set_cert(mesh_io_core(d->mesh), c);
    ev.self.cert = bytes;
    ev.self.cert_len = (uint16_t)len;
    daemon_gossip_self(d, &ev);
    strftime(until, sizeof until, "%Y-%m-%d %H:%M:%S", localtime_r(&t, &tm));
    daemon_event_done(d, daemon_event(d, "keys", d->me.cert.host, "certificate renewed by %s until %s%s",
                                      daemon_keys_issuer(d, c->delegated, &c->by), until,
                                      other ? ", of the new authority" : ""));
    d->keys->retry = 0;
    d->keys->rest_until = daemon_now() + (c->not_after - c->not_before) / 6;
    d->keys->go_over_at = 0;
    d->keys->trouble[0] = 0;
    daemon_warn(d, WARN_CERT, NULL);
    if (other)
        daemon_envs_resign(d, false);
    return 0;
}

/* Is it ours, good, and better than what we have? */
static bool better(const struct daemon *d, const struct cert *c)
{
    const struct cert *have = &d->me.cert;
    return !strcmp(c->domain, have->domain) && !strcmp(c->host, have->host) &&
           !memcmp(c->ed, d->me.ed_pk, CERT_KEY) && !memcmp(c->x, d->me.x_pk, CERT_KEY) &&
           trust_check(&d->trust, c, vi_clock_wall()) == 0 && !keyring_refuses(&d->keys->ring, &d->me.id, c) &&
           (c->not_after > have->not_after || c->not_before > have->not_before ||
            !vi_id_equal(&c->authority, &have->authority));
}

/* ---- asking ---- */

static void failed(struct daemon *d, const char *text)
{
    struct keys *k = d->keys;
    vi_time left = d->me.cert.not_after - vi_clock_wall();
    char until[32];
    time_t t = (time_t)(d->me.cert.not_after / VI_SEC);
    struct tm tm;
    if (left < -CERT_SKEW) /* nobody speaks with us any more */
        text = "it is over: remove `cert` from the state folder and join again, with the same keys";
    k->asking = false;
    k->tried = 0;
    k->retry = k->retry ? 2 * k->retry : RENEW_RETRY;
    if (k->retry > RENEW_RETRY_MOST)
        k->retry = RENEW_RETRY_MOST;
    k->retry_at = daemon_now() + k->retry;
    snprintf(k->trouble, sizeof k->trouble, "%s", text);
    strftime(until, sizeof until, "%Y-%m-%d %H:%M", localtime_r(&t, &tm));
    vi_log(VI_LOG_INFO, "keys", "no renewal: %s", text);
    if (vi_clock_wall() > daemon_renew_at(d) && !daemon_keys_blocked(d, &d->me.id))
        daemon_warn(d, WARN_CERT, "this host's certificate %s %s and is not renewed: %s",
                    left > 0 ? "ends at" : "has ended at", until, text);
    answer_waiting(d, VI_EREFUSED, k->trouble);
}

/* The nth member that may renew; those under the newest authority only, if that is what we want. */
static bool candidate(struct daemon *d, unsigned n, struct vi_id *peer)
{
    bool newest = !is_newest(d, &d->me.cert.authority);
    vi_time wall = vi_clock_wall();
    struct gossip_member m;
    size_t pos = 0;
    while (gossip_member_next(d->gossip, &pos, &m)) {
        const struct delegation *e;
        if (m.self || (m.state != GOSSIP_ALIVE && m.state != GOSSIP_SUSPECT) ||
            !(keyring_caps(&d->keys->ring, m.key, wall) & CERT_RENEW))
            continue;
        e = keyring_delegation(&d->keys->ring, m.key);
        if (newest && !is_newest(d, &e->authority))
            continue;
        if (n-- == 0) {
            *peer = m.id;
            return true;
        }
    }
    return false;
}

static void ask_next(struct daemon *d, const char *trouble);

static void on_answer(void *arg, int err, const uint8_t *body, size_t len)
{
    struct daemon *d = arg;
    struct cert c;
    char why[300] = "";
    if (d->stopping)
        return;
    if (err)
        snprintf(why, sizeof why, "%s", err == VI_ETIMEDOUT ? "a host that may renew does not answer"
                                        : err == VI_EEXPIRED ? "this certificate has expired: remove `cert` from the state folder and join again"
                                        : err == VI_EREFUSED ? "this host was revoked" : vi_strerror(err));
    else if (cert_decode(&c, body, len) ||
             (!better(d, &c) && memcmp(c.sig, d->me.cert.sig, CERT_SIG))) /* the same: had it already */
        snprintf(why, sizeof why, "the answer's certificate isn't good, or no better");
    else if (!better(d, &c) || take_cert(d, &c, why, sizeof why) == 0) {
        d->keys->asking = false;
        d->keys->tried = 0;
        answer_waiting(d, 0, "");
        return;
    }
    ask_next(d, why);
}

static int renew_self(struct daemon *d, char *why, size_t cap)
{
    uint8_t secret[64];
    bool authority = daemon_keys_authority(d, secret);
    struct cert c;
    int err;
    if (!authority && !keyring_mine(&d->keys->ring, CERT_RENEW, vi_clock_wall(), NULL))
        return VI_ENOTFOUND;
    err = keyring_renew(&d->keys->ring, authority ? secret : NULL, &d->me.cert, vi_clock_wall(),
                        (vi_time)d->cfg.cert_lifetime * VI_SEC, &c, why, cap);
    sodium_memzero(secret, sizeof secret);
    if (!err && !better(d, &c)) {
        snprintf(why, cap, "a new one would be no better");
        err = VI_EAUTH;
    }
    return err ? err : take_cert(d, &c, why, cap);
}

static void ask_next(struct daemon *d, const char *trouble)
{
    struct keys *k = d->keys;
    uint8_t b[CERT_MAX];
    struct vi_id peer;
    size_t len;
    if (!candidate(d, k->tried++, &peer)) {
        failed(d, trouble[0] ? trouble : "no living member may renew certificates");
        return;
    }
    if (cert_encode(&d->me.cert, b, sizeof b, &len) ||
        calls_ask(d->calls, daemon_now(), &peer, CALL_RENEW, b, len, on_answer, d))
        failed(d, "too many questions are under way");
}

static void begin(struct daemon *d)
{
    char why[300] = "";
    d->keys->asking = true;
    d->keys->tried = 0;
    if (renew_self(d, why, sizeof why) == 0) {
        d->keys->asking = false;
        answer_waiting(d, 0, "");
        return;
    }
    ask_next(d, why);
}

/* Under a new authority all want a new certificate at once: spread by how many we are. */
static bool going_over(struct daemon *d, vi_time now)
{
    struct keys *k = d->keys;
    uint32_t spread = gossip_alive(d->gossip) * 50 + 1000;
    if (is_newest(d, &d->me.cert.authority))
        return false;
    if (!k->go_over_at)
        k->go_over_at = now + (vi_time)vi_rng_below(&d->rng, spread) * VI_MSEC;
    return now >= k->go_over_at;
}

void daemon_renew_tick(struct daemon *d, vi_time now)
{
    struct keys *k = d->keys;
    bool due = (vi_clock_wall() >= daemon_renew_at(d) && now >= k->rest_until) || going_over(d, now) ||
               keyring_refuses(&k->ring, &d->me.id, &d->me.cert);
    if (k->asking || !due || now < k->retry_at || daemon_keys_blocked(d, &d->me.id))
        return;
    begin(d);
}

int daemon_renew_now(struct daemon *d, struct rpc_call *call, char *why, size_t cap)
{
    if (d->keys->waiting) {
        snprintf(why, cap, "a renewal is under way");
        return VI_EEXIST;
    }
    if (daemon_keys_blocked(d, &d->me.id)) {
        snprintf(why, cap, "this host was revoked; `violin status` says more");
        return VI_EREFUSED;
    }
    d->keys->waiting = call;
    d->keys->forced = true;
    if (!d->keys->asking)
        begin(d);
    return 0;
}

/* ---- answering ---- */

static struct issued *issued_to(struct keys *k, const struct vi_id *peer, vi_time now)
{
    for (unsigned i = 0; i < ISSUED_KEPT; i++)
        if (k->issued[i].at && now - k->issued[i].at < ISSUE_GAP && vi_id_equal(&k->issued[i].peer, peer))
            return &k->issued[i];
    return NULL;
}

static int issue(struct daemon *d, const struct vi_id *from, const uint8_t *body, size_t len,
                 struct issued *i)
{
    uint8_t secret[64];
    struct cert old, c;
    struct vi_id id;
    char why[200] = "";
    bool authority;
    int err;
    if (cert_decode(&old, body, len))
        return VI_EPROTO;
    cert_peer_id(&id, old.ed);
    if (!vi_id_equal(&id, from))
        return VI_EAUTH;
    authority = daemon_keys_authority(d, secret);
    err = keyring_renew(&d->keys->ring, authority ? secret : NULL, &old, vi_clock_wall(),
                        (vi_time)d->cfg.cert_lifetime * VI_SEC, &c, why, sizeof why);
    sodium_memzero(secret, sizeof secret);
    if (!err)
        err = cert_encode(&c, i->cert, sizeof i->cert, &i->len);
    vi_log(VI_LOG_INFO, "keys", "%s's certificate is %srenewed here%s%s", old.host, err ? "not " : "",
           err ? ": " : "", why);
    return err;
}

/* Who asks again within ISSUE_GAP, because the answer was lost or to make us work, gets the same answer. */
int daemon_renew_answer(struct daemon *d, const struct vi_id *from, const uint8_t *body, size_t len,
                        uint8_t *out)
{
    struct keys *k = d->keys;
    vi_time now = daemon_now();
    struct issued *i = issued_to(k, from, now);
    if (!i) {
        i = &k->issued[k->next_issued++ % ISSUED_KEPT];
        i->peer = *from;
        i->at = now;
        i->err = issue(d, from, body, len, i);
    }
    if (i->err)
        return i->err;
    memcpy(out, i->cert, i->len);
    return (int)i->len;
}
