/* A bulk stream to a peer, by whichever way there is: we connect; or the other connects, asked over the
 * mesh; or both connect to a relay, asked as well. One after another, until a stream is open; what is to be
 * sent isn't touched before. */
#ifndef PEER_DAEMON_DIAL_H
#define PEER_DAEMON_DIAL_H

#include "overlay/overlay.h"

struct daemon;
struct dial;

/* As bulk_send(): fd is taken over; done is called once, never from inside, and ends the dial. NULL with why when
 * the peer isn't known or memory is short; fd is then closed. bandwidth: KiB/s, 0: no limit. */
struct dial *daemon_dial(struct daemon *d, const struct vi_id *peer, const void *purpose, size_t len, int fd,
                         uint64_t bandwidth, bulk_done *done, void *arg, char *why, size_t cap);
void daemon_dial_cancel(struct dial *l); /* done is called with VI_ECANCELED, later */
uint64_t daemon_dial_bytes(const struct dial *l);
void daemon_dial_limit(struct dial *l, uint64_t bandwidth); /* from now on */
/* Answers to CALL_CONNECT ("connect to me, or to that relay, for a stream of mine") and CALL_SPLICE ("join two
 * connections that will say this token"): a length or a vi_err. */
int daemon_dial_connect(struct daemon *d, const struct vi_id *from, const uint8_t *body, size_t len);
int daemon_dial_splice(struct daemon *d, const struct vi_id *from, const uint8_t *body, size_t len);

#endif
