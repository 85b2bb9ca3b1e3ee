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
/* Gives up; done is called with VI_ECANCELED, later. */
void bulk_cancel(struct bulk *b);
uint64_t bulk_bytes(const struct bulk *b);

#endif
