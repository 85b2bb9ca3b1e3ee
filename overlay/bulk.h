/* Bulk streams over TCP: a guest's memory goes from a local descriptor, encrypted, to another host's
 * descriptor, no faster than the slower of both.
 *
 * On the port's number, TCP. The stream's first record is its purpose; the accepting side gives the
 * descriptor for it, or refuses. Back pressure: at most a few MiB are kept on each side; nothing is read
 * from the descriptor while the connection is full, nor from the connection while the descriptor is. */
#ifndef OVERLAY_BULK_H
#define OVERLAY_BULK_H

#include <uv.h>

#include "overlay/stream.h"

#define BULK_STREAMS_MAX 32
#define BULK_SILENCE     (60 * VI_SEC) /* nothing moved for so long: given up */
#define BULK_HANDSHAKE   (10 * VI_SEC)

/* Where the sender can't connect, it is done the other way round, or through a relay that both connect to and
 * that passes on what it can't read. Such a connection begins with a hello, which the stream follows:
 *
 *   "Violin\1" 7 · kind 1 · token 16, which the sender made and the others were told through the mesh
 *
 * A stream begins with its first message's length, which is never that large. */
#define BULK_TOKEN       16
#define BULK_HELLO       24
#define BULK_SPLICES_MAX 16
#define BULK_MEET        (20 * VI_SEC) /* both ends have connected to the relay by then */
enum bulk_hello { BULK_REVERSE = 1, BULK_JOIN = 2 };
/* 0 and kind and token, VI_EAGAIN (more bytes are needed), or VI_EPROTO. */
int bulk_hello_read(const uint8_t *data, size_t len, enum bulk_hello *kind, uint8_t token[BULK_TOKEN]);

struct bulk_server;
struct bulk;

/* err: 0 when the whole stream went through and both sides ended it; else a vi_err. bytes: plaintext.
 * Called once, never from inside a bulk_ function. The bulk is freed afterwards. */
typedef void bulk_done(void *arg, int err, const char *why, uint64_t bytes);

/* A stream has come with this purpose from this peer. The callee returns the descriptor to write it to
 * (taken over) and sets done and its arg, or returns -1 to refuse. */
typedef int bulk_accept(void *arg, const struct vi_id *peer, const uint8_t *purpose, size_t len,
                        bulk_done **done, void **done_arg);

/* Listens. cfg (the mesh's) and rng are borrowed. NULL with why. */
struct bulk_server *bulk_listen(uv_loop_t *loop, const char *listen, uint16_t port,
                                const struct mesh_config *cfg, struct vi_rng *rng, bulk_accept *accept,
                                void *arg, char *why, size_t cap);
void bulk_server_close(struct bulk_server *s);
/* Gives up the streams that come from that peer. */
void bulk_server_drop(struct bulk_server *s, const struct vi_id *peer);

/* Connects and sends all that comes out of fd (taken over) until its end. bandwidth: KiB/s, 0: no limit.
 * NULL when out of memory; fd is then closed. */
struct bulk *bulk_send(uv_loop_t *loop, const struct mesh_config *cfg, struct vi_rng *rng,
                       const struct mesh_addr *to, const uint8_t x[CERT_KEY], const struct vi_id *peer,
                       const void *purpose, size_t len, int fd, uint64_t bandwidth, bulk_done *done,
                       void *arg);
/* The same over a connection that the other makes to this server and that says the token. */
struct bulk *bulk_send_await(struct bulk_server *s, const uint8_t token[BULK_TOKEN], const uint8_t x[CERT_KEY],
                             const struct vi_id *peer, const void *purpose, size_t len, int fd, uint64_t bandwidth,
                             bulk_done *done, void *arg);
/* The same over a relay, which joins this connection to the one that says the same token. */
struct bulk *bulk_send_through(uv_loop_t *loop, const struct mesh_config *cfg, struct vi_rng *rng,
                               const struct mesh_addr *relay, const uint8_t token[BULK_TOKEN], const uint8_t x[CERT_KEY],
                               const struct vi_id *peer, const void *purpose, size_t len, int fd, uint64_t bandwidth,
                               bulk_done *done, void *arg);
/* Given up when it isn't open after so long; BULK_HANDSHAKE without. */
void bulk_open_within(struct bulk *b, vi_time span);
/* Has the other been there? Before that nothing is read from the descriptor. Also from within done. */
bool bulk_opened(const struct bulk *b);
/* Connects for a stream that is to come: to its sender (BULK_REVERSE) or to a relay (BULK_JOIN); what then comes
 * is a stream like those that come by themselves. Asked again with the same token: nothing. 0 or VI_ENOMEM. */
int bulk_server_dial(struct bulk_server *s, const struct mesh_addr *to, enum bulk_hello kind,
                     const uint8_t token[BULK_TOKEN]);
/* As a relay: joins two connections that will say this token; bandwidth: KiB/s each way, 0: no limit. 0 (also when
 * asked again), VI_EFULL, VI_ENOMEM. */
int bulk_server_splice(struct bulk_server *s, const uint8_t token[BULK_TOKEN], uint64_t bandwidth);
/* Gives up; done is called with VI_ECANCELED, later. */
void bulk_cancel(struct bulk *b);
uint64_t bulk_bytes(const struct bulk *b);
/* From now on no faster than so many KiB/s; 0: no limit. */
void bulk_limit(struct bulk *b, uint64_t bandwidth);
/* The same of a stream that came in, by the arg that accept set for its done. */
void bulk_server_cancel(struct bulk_server *s, const void *done_arg);
uint64_t bulk_server_bytes(const struct bulk_server *s, const void *done_arg);

#endif
