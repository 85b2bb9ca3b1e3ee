/* The mesh core on a real UDP socket. */
#ifndef PEER_MESH_IO_H
#define PEER_MESH_IO_H

#include <uv.h>

#include "overlay/overlay.h"

#define MESH_CHANNEL_GOSSIP    1
#define MESH_CHANNEL_SWITCH    2
#define MESH_CHANNEL_HANDOVER  3
#define MESH_CHANNEL_CALL      4

/* Everything is called from mesh_io_pump() or mesh_io_drain(), never from inside a send. */
struct mesh_io_hooks {
    void *arg;
    void (*deliver)(void *arg, const struct vi_id *from, unsigned channel, const uint8_t *data,
                    size_t len);
    void (*up)(void *arg, const struct vi_id *peer, const struct cert *cert,
               const struct mesh_addr *addr);
    void (*down)(void *arg, const struct vi_id *peer, enum mesh_down why, int err);
    void (*keys)(void *arg, const struct mesh_keys *keys);
    void (*admission)(void *arg, const struct mesh_effect *request);
    /* A data packet that came through a relay, for the data path. */
    void (*data)(void *arg, const uint8_t *data, size_t len);
};

struct mesh_io;

/* fd, first: bound, non-blocking UDP sockets, borrowed; first messages come by `first`, a few a turn, so that
 * a flood of them leaves the time for all else. cfg as for mesh_new(). NULL when out of memory. */
struct mesh_io *mesh_io_open(uv_loop_t *loop, int fd, int first, const struct mesh_config *cfg,
                             struct vi_rng *rng, const struct mesh_io_hooks *hooks);
/* The handle closes with the loop's next turn; the memory goes then. */
void mesh_io_close(struct mesh_io *m);

struct mesh *mesh_io_core(struct mesh_io *m);
/* Reads everything that waits in the socket but first messages (bounded), so that no timer judges before it. */
void mesh_io_drain(struct mesh_io *m);
/* Takes the core's effects: sends, delivers. Steps the core's timers that are due. */
void mesh_io_pump(struct mesh_io *m, vi_time now);
vi_time mesh_io_deadline(const struct mesh_io *m);

/* Sends a control message; what can't be sent is counted by the core. */
int mesh_io_send(struct mesh_io *m, const struct vi_id *to, unsigned channel, const void *data,
                 size_t len);
/* Makes a peer known: its static key (or NULL if known) and where to try it. */
int mesh_io_connect(struct mesh_io *m, const struct vi_id *peer, const uint8_t *x,
                    const struct mesh_addr *addr);
void mesh_io_forget(struct mesh_io *m, const struct vi_id *peer);
/* A packet that the data path got and couldn't use. */
void mesh_io_datagram(struct mesh_io *m, const struct mesh_addr *from, const void *data,
                      size_t len);

#endif
