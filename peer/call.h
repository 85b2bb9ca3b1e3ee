/* Small questions between peers (mesh channel 4): one datagram there, one back, asked again a few
 * times, and then given up. Pure: driven by `now`, sends through a callback. Questions must be
 * harmless to answer twice. */
#ifndef PEER_CALL_H
#define PEER_CALL_H

#include <stdbool.h>
#include <stddef.h>

#include "peer/base/clock.h"
#include "peer/base/id.h"
#include "peer/base/rng.h"

#define CALLS_MAX     64   /* under way at a time; further ones are VI_EFULL */
#define CALL_BODY_MAX 1000 /* bytes of a question or an answer */
#define CALL_RETRY    (700 * VI_MSEC)
#define CALL_TRIES    4
#define CALL_LATER    (CALL_BODY_MAX + 1)

enum call_method {
    CALL_LOAD = 1,     /* "how full are you, and would this fit?" body and answer are the policy's */
    CALL_CONNECT = 8,  /* connect to us, or to that relay, for a stream of ours: daemon_dial.c */
    CALL_SPLICE = 9,   /* relay a stream */
    CALL_DECLARE = 2,  /* told: "I represent the domain" (gossip/representative.h) */
    CALL_REDIRECT = 3, /* told, to another domain's host: who represents ours */
    CALL_ENVMOVE = 10, /* an operator's order to who represents the domain: daemon_envmove_rpc.c */
    CALL_ENVMAKE = 11, /* guests of environments, made and kept: peer/envmake.h */
    CALL_TAKE_IN = 12, /* an operator orders that guest to come, whatever a rule says: its UUID; daemon_rules.c */
    CALL_GUEST = 13,   /* the UUID of that environment's guest of that name: daemon_rules_rpc.c */
    CALL_MOVES = 14,   /* moves of that environment in the last hour; body and answer are the policy's */
    CALL_VIEW = 32,    /* a host in detail, page by page: peer/hostview.h */
    CALL_WHYNOT = 33,  /* why that host would not take a guest: daemon_whynot.c */
    CALL_DRAIN = 34,   /* a host's draining: order, end, how far: daemon_drain.c */
    CALL_RENEW = 16,   /* our certificate → a new one */
    CALL_REVOKED = 17, /* told, not asked: a revocation's statement */
    CALL_IMAGE_FIND = 24, /* "have you got it?", CALL_IMAGE_SEND "send me these chunks": peer/image.h */
    CALL_IMAGE_SEND = 25,
    CALL_IMAGE_LACKS = 26, /* "how many of these haven't you got?" */
    CALL_DISK_LACKS = 27,  /* "of which of these disks have you nothing from before?": peer/diskask.h */
    CALL_DISK_COPY = 28    /* "have you a copy of that disk?": peer/diskcopy.h */
};

/* err: 0 and the answer's bytes; what the other answered; or VI_ETIMEDOUT. */
typedef void call_done(void *arg, int err, const uint8_t *body, size_t len);

struct call_hooks {
    void *arg;
    void (*send)(void *arg, const struct vi_id *peer, const uint8_t *data, size_t len);
    /* Writes the answer into out[CALL_BODY_MAX]; returns its length, a vi_err, or CALL_LATER: nothing is answered now,
     * for it takes a moment; the question comes again. */
    int (*answer)(void *arg, const struct vi_id *from, unsigned method, const uint8_t *body,
                  size_t len, uint8_t *out);
};

struct calls;
struct calls *calls_new(const struct call_hooks *hooks, struct vi_rng *rng);
/* Calls still under way are forgotten without their callback. */
void calls_free(struct calls *c);
/* 0, or VI_EFULL, VI_EINVAL; done is called once, never from inside. */
int calls_ask(struct calls *c, vi_time now, const struct vi_id *peer, unsigned method,
              const uint8_t *body, size_t len, call_done *done, void *done_arg);
/* Says something once that needs no answer. */
void calls_tell(struct calls *c, const struct vi_id *peer, unsigned method, const uint8_t *body,
                size_t len);
void calls_message(struct calls *c, vi_time now, const struct vi_id *from, const uint8_t *data,
                   size_t len);
void calls_tick(struct calls *c, vi_time now);
vi_time calls_deadline(const struct calls *c);

#endif
