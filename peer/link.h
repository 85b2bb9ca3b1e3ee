/* The agent link: messages between two processes of one host over a SOCK_SEQPACKET socket pair.
 *
 * One msgpack value per packet, at most LINK_MESSAGE_MAX bytes, at most one descriptor with it
 * (SCM_RIGHTS):
 *   request       [0, id, method, params]
 *   response      [1, id, error, result]   error: nil, or [code, text]
 *   notification  [2, method, params]
 * The decoder is bounded and allocates nothing: the agent reads with it what an enemy may have
 * written. Everything runs on one libuv loop. */
#ifndef PEER_LINK_H
#define PEER_LINK_H

#include <uv.h>

#include "peer/base/wire.h"

#define LINK_MESSAGE_MAX 65536
#define LINK_METHOD_MAX  24  /* with its NUL */
#define LINK_TEXT_MAX    256 /* an error's text, with its NUL */
#define LINK_QUEUE_MAX   512 /* messages that wait for the other side to read */

enum link_kind { LINK_REQUEST, LINK_RESPONSE, LINK_NOTIFICATION };

struct link_message {
    enum link_kind kind;
    uint32_t id;                  /* requests and responses */
    char method[LINK_METHOD_MAX]; /* requests and notifications */
    int err;                      /* responses: 0 or a vi_err */
    char text[LINK_TEXT_MAX];     /* responses: what to tell people, "" when err is 0 */
    struct vi_reader body;        /* params or result: exactly one value, checked to be whole */
};

/* Takes one packet apart; body reads inside data. 0 or VI_EPROTO. Pure. */
int link_decode(struct link_message *m, const void *data, size_t len);

/* Begin a message; the caller then writes exactly one value (params or result; nil if nothing). */
void link_write_request(struct vi_writer *w, uint32_t id, const char *method);
void link_write_response(struct vi_writer *w, uint32_t id, int err, const char *text);
void link_write_notification(struct vi_writer *w, const char *method);

struct link;

/* m and *fd are borrowed; a callee that keeps the descriptor sets *fd to -1 (else it is closed).
 * *fd is -1 when the message carried none. May call link_close. */
typedef void link_on_message(void *arg, const struct link_message *m, int *fd);
/* The other side is gone or broke the protocol; called once, never from inside link_send or after
 * link_close. The owner still calls link_close. */
typedef void link_on_lost(void *arg, const char *why);

/* A connected pair, both close-on-exec. 0 or VI_EIO. */
int link_pair(int fds[2]);

/* Takes fd over in every case. NULL on VI_ENOMEM or a bad descriptor. */
struct link *link_open(uv_loop_t *loop, int fd, link_on_message *on_message, link_on_lost *on_lost,
                       void *arg);
/* Sends now or queues. fd (-1: none) is duplicated, the caller's stays the caller's. 0, VI_EFULL
 * at LINK_QUEUE_MAX, VI_EINVAL for a packet that is too long, VI_EIO when the link is lost. */
int link_send(struct link *l, const void *data, size_t len, int fd);
/* Frees l (through the loop) and closes its descriptor; no callback comes after. NULL is fine. */
void link_close(struct link *l);

#endif
