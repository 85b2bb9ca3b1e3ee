/* Bulk streams by whichever way there is. See daemon_dial.h.
 *
 *   DIRECT ── not open in time, or refused ──> REVERSE ── … ──> RELAY ── … ──> done(error of the last)
 *     └─────────────── open: from here on the stream's own end is the dial's ───────────┘
 *
 * Questions: CALL_CONNECT kind 1, token 16, relay 16 (zero for BULK_REVERSE), the stream's purpose;
 * CALL_SPLICE token 16, other 16. */
#include "peer/daemon_dial.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peer/base/err.h"
#include "peer/base/log.h"
#include "peer/daemon_disk.h"
#include "peer/daemon_image.h"

#define DIRECT_TIME     (6 * VI_SEC)
#define DIRECT_UNLIKELY (2 * VI_SEC) /* behind a NAT, or relayed */
#define REVERSE_TIME    (4 * VI_SEC)
#define RELAY_TIME      (10 * VI_SEC)
#define CONNECT_HEAD    (1 + BULK_TOKEN + VI_ID_SIZE)

enum stage { DIRECT, REVERSE, RELAY };

struct dial {
    struct daemon *d;
    struct vi_id peer, relay;
    uint8_t x[CERT_KEY], purpose[STREAM_PURPOSE], token[BULK_TOKEN];
    size_t purpose_len;
    int fd; /* each attempt has a copy */
    uint64_t bandwidth;
    enum stage stage;
    struct bulk *bulk;
    bool cancelled, over;
    unsigned asking; /* calls whose answers still come */
    bulk_done *done;
    void *arg;
};

static void attempt(struct dial *l, const char *why);

/* ---- where a peer listens ---- */

/* Where its datagrams come from, or where it says that it is: streams have the same port. */
static bool address_of(struct daemon *d, const struct vi_id *peer, struct mesh_addr *to, bool *likely)
{
    struct mesh_path_info path;
    struct gossip_member m;
    *likely = mesh_path_find(mesh_io_core(d->mesh), peer, &path) && path.kind == MESH_PATH_DIRECT;
    memset(to, 0, sizeof *to);
    if (*likely)
        *to = path.addr;
    else if (gossip_member_find(d->gossip, peer, &m))
        daemon_gossip_addr(to, &m.addr);
    else if (path.kind == MESH_PATH_PUNCHED) /* another domain's */
        *to = path.addr;
    return to->family != 0;
}

/* Its static key: by its own signed word, or, of another domain's peer, by its certificate in the session. */
static bool key_of(struct daemon *d, const struct vi_id *peer, uint8_t x[CERT_KEY])
{
    struct mesh_peer_info info;
    struct gossip_member m;
    struct cert c;
    if (gossip_member_find(d->gossip, peer, &m) && cert_decode(&c, m.cert, m.cert_len) == 0)
        memcpy(x, c.x, CERT_KEY);
    else if (mesh_peer_find(mesh_io_core(d->mesh), peer, &info) && info.has_cert)
        memcpy(x, info.cert->x, CERT_KEY);
    else
        return false;
    return true;
}

/* ---- the end ---- */

static void release(struct dial *l)
{
    if (!l->over || l->asking)
        return;
    free(l);
}

static void end(struct dial *l, int err, const char *why, uint64_t bytes)
{
    bulk_done *done = l->done;
    void *arg = l->arg;
    close(l->fd);
    l->over = true;
    release(l);
    done(arg, err, why, bytes);
}

static void on_done(void *arg, int err, const char *why, uint64_t bytes)
{
    struct dial *l = arg;
    bool open = bulk_opened(l->bulk);
    char text[160];
    l->bulk = NULL;
    if (l->cancelled || open || l->stage == RELAY) { /* somebody else may have been at that address */
        end(l, l->cancelled ? VI_ECANCELED : err, why, bytes);
        return;
    }
    snprintf(text, sizeof text, "%s", why);
    l->stage++;
    attempt(l, text);
}

void daemon_dial_cancel(struct dial *l)
{
    l->cancelled = true;
    if (l->bulk)
        bulk_cancel(l->bulk);
}

uint64_t daemon_dial_bytes(const struct dial *l)
{
    return l->bulk ? bulk_bytes(l->bulk) : 0;
}

void daemon_dial_limit(struct dial *l, uint64_t bandwidth)
{
    l->bandwidth = bandwidth;
    if (l->bulk)
        bulk_limit(l->bulk, bandwidth);
}

/* ---- attempts ---- */

/* The other side says no: this way is not waited for any longer. */
static void answered(struct dial *l, enum stage stage, int err)
{
    l->asking--;
    if (err && !l->over && l->stage == stage && l->bulk && !bulk_opened(l->bulk))
        bulk_cancel(l->bulk);
    release(l);
}

static void on_reverse_answer(void *arg, int err, const uint8_t *body, size_t len)
{
    (void)body;
    (void)len;
    answered(arg, REVERSE, err);
}

static void on_join_answer(void *arg, int err, const uint8_t *body, size_t len)
{
    (void)body;
    (void)len;
    answered(arg, RELAY, err);
}

static int ask(struct dial *l, const struct vi_id *whom, unsigned method, const uint8_t *body, size_t len,
               call_done *done)
{
    int err = calls_ask(l->d->calls, daemon_now(), whom, method, body, len, done, l);
    l->asking += err == 0;
    return err;
}

static int ask_to_connect(struct dial *l, enum bulk_hello kind)
{
    uint8_t body[CONNECT_HEAD + STREAM_PURPOSE] = {(uint8_t)kind};
    memcpy(body + 1, l->token, BULK_TOKEN);
    memcpy(body + 1 + BULK_TOKEN, l->relay.b, VI_ID_SIZE);
    memcpy(body + CONNECT_HEAD, l->purpose, l->purpose_len);
    return ask(l, &l->peer, CALL_CONNECT, body, CONNECT_HEAD + l->purpose_len,
               kind == BULK_JOIN ? on_join_answer : on_reverse_answer);
}

static int copy_fd(const struct dial *l)
{
    return fcntl(l->fd, F_DUPFD_CLOEXEC, 0);
}

static void direct(struct dial *l)
{
    struct daemon *d = l->d;
    struct mesh_addr to;
    bool likely;
    int fd = copy_fd(l);
    (void)address_of(d, &l->peer, &to, &likely); /* none: fails at once, and the next is tried */
    if (fd >= 0)
        l->bulk = bulk_send(&d->loop, &d->mesh_cfg, &d->rng, &to, l->x, &l->peer, l->purpose, l->purpose_len, fd,
                            l->bandwidth, on_done, l);
    if (l->bulk)
        bulk_open_within(l->bulk, likely ? DIRECT_TIME : DIRECT_UNLIKELY);
}

static void reverse(struct dial *l)
{
    int fd = copy_fd(l);
    vi_rng_bytes(&l->d->rng, l->token, sizeof l->token);
    if (fd >= 0)
        l->bulk = bulk_send_await(l->d->bulk, l->token, l->x, &l->peer, l->purpose, l->purpose_len, fd, l->bandwidth,
                                  on_done, l);
    if (!l->bulk)
        return;
    bulk_open_within(l->bulk, REVERSE_TIME);
    if (ask_to_connect(l, BULK_REVERSE))
        bulk_cancel(l->bulk);
}

/* The relay waits for both. */
static void on_splice(void *arg, int err, const uint8_t *body, size_t len)
{
    struct dial *l = arg;
    struct daemon *d = l->d;
    struct mesh_addr to;
    bool likely;
    int fd;
    (void)body;
    (void)len;
    l->asking--;
    if (l->cancelled || err || !address_of(d, &l->relay, &to, &likely)) {
        end(l, l->cancelled ? VI_ECANCELED : err ? err : VI_ENOTFOUND,
            err ? "no connection either way, and the relay refuses" : "no connection", 0);
        return;
    }
    fd = copy_fd(l);
    if (fd >= 0)
        l->bulk = bulk_send_through(&d->loop, &d->mesh_cfg, &d->rng, &to, l->token, l->x, &l->peer, l->purpose,
                                    l->purpose_len, fd, l->bandwidth, on_done, l);
    if (!l->bulk) {
        end(l, VI_ENOMEM, "out of memory", 0);
        return;
    }
    bulk_open_within(l->bulk, RELAY_TIME);
    if (ask_to_connect(l, BULK_JOIN))
        bulk_cancel(l->bulk);
}

static int through_relay(struct dial *l)
{
    uint8_t body[BULK_TOKEN + VI_ID_SIZE];
    if (!mesh_relay_for(mesh_io_core(l->d->mesh), daemon_now(), &l->peer, &l->relay))
        return VI_ENOTFOUND;
    vi_rng_bytes(&l->d->rng, l->token, sizeof l->token);
    memcpy(body, l->token, BULK_TOKEN);
    memcpy(body + BULK_TOKEN, l->peer.b, VI_ID_SIZE);
    return ask(l, &l->relay, CALL_SPLICE, body, sizeof body, on_splice);
}

/* why: of the attempt before, or NULL. */
static void attempt(struct dial *l, const char *why)
{
    static const char *const how[] = {"directly", "the other way round", "through a relay"};
    if (why)
        vi_log(VI_LOG_INFO, "stream", "to %s: %s; %s now", daemon_member_name(l->d, &l->peer), why, how[l->stage]);
    if (l->stage == DIRECT)
        direct(l);
    else if (l->stage == REVERSE)
        reverse(l);
    else if (through_relay(l)) {
        end(l, VI_EIO, why ? why : "no connection", 0);
        return;
    }
    if (!l->bulk && l->stage != RELAY && why) /* later; a first one is told by daemon_dial() */
        end(l, VI_ENOMEM, "out of memory", 0);
}

struct dial *daemon_dial(struct daemon *d, const struct vi_id *peer, const void *purpose, size_t len, int fd,
                         uint64_t bandwidth, bulk_done *done, void *arg, char *why, size_t cap)
{
    struct dial *l = calloc(1, sizeof *l);
    uint8_t x[CERT_KEY];
    if (!key_of(d, peer, x) || len > sizeof l->purpose) {
        snprintf(why, cap, "the destination isn't known any more");
        goto fail;
    }
    snprintf(why, cap, "out of memory");
    if (!l)
        goto fail;
    *l = (struct dial){.d = d, .peer = *peer, .purpose_len = len, .fd = fd, .bandwidth = bandwidth, .done = done,
                       .arg = arg};
    memcpy(l->x, x, sizeof l->x);
    memcpy(l->purpose, purpose, len);
    attempt(l, NULL);
    if (l->bulk)
        return l;
fail:
    free(l);
    close(fd);
    return NULL;
}

/* ---- asked by others ---- */

/* Is a stream with that purpose waited for? */
static bool expected(struct daemon *d, const struct vi_id *from, const uint8_t *purpose, size_t len)
{
    struct vi_id stream;
    if (len == DISK_PURPOSE)
        return daemon_disk_expects(d, from, purpose);
    memcpy(stream.b, purpose, VI_ID_SIZE);
    return len == VI_ID_SIZE &&
           (handover_expects_stream(d->handovers, &stream, from) || daemon_image_expects(d, &stream, from));
}

int daemon_dial_connect(struct daemon *d, const struct vi_id *from, const uint8_t *body, size_t len)
{
    struct vi_id whom = *from;
    struct mesh_addr to;
    bool likely;
    if (len < CONNECT_HEAD + VI_ID_SIZE || (body[0] != BULK_REVERSE && body[0] != BULK_JOIN))
        return VI_EPROTO;
    if (daemon_keys_blocked(d, from) || !d->bulk || !expected(d, from, body + CONNECT_HEAD, len - CONNECT_HEAD))
        return VI_EREFUSED;
    if (body[0] == BULK_JOIN)
        memcpy(whom.b, body + 1 + BULK_TOKEN, VI_ID_SIZE);
    if (!address_of(d, &whom, &to, &likely))
        return VI_ENOTFOUND;
    return bulk_server_dial(d->bulk, &to, body[0] == BULK_JOIN ? BULK_JOIN : BULK_REVERSE, body + 1);
}

int daemon_dial_splice(struct daemon *d, const struct vi_id *from, const uint8_t *body, size_t len)
{
    struct mesh_path_info path;
    struct vi_id other;
    if (len != BULK_TOKEN + VI_ID_SIZE)
        return VI_EPROTO;
    memcpy(other.b, body + BULK_TOKEN, VI_ID_SIZE);
    if (!d->cfg.relay_bandwidth || !d->bulk || !daemon_reach_may_relay(d, from, &other))
        return VI_EREFUSED;
    if (!mesh_path_find(mesh_io_core(d->mesh), &other, &path) || path.kind == MESH_PATH_NONE)
        return VI_ENOTFOUND;
    return bulk_server_splice(d->bulk, body, (uint64_t)d->cfg.relay_bandwidth * 1024);
}
