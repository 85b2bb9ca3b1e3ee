/* What the files of the bulk streams share. */
#ifndef OVERLAY_BULK_INTERNAL_H
#define OVERLAY_BULK_INTERNAL_H

#include <sys/queue.h>

#include "overlay/bulk.h"

#define READ_BYTES  65536
#define WRITE_BYTES (256U << 10) /* in one write; the next waits for it */
#define KEEP        (1U << 20)   /* plaintext waiting for the descriptor, before reading stops */

struct bulk {
    LIST_ENTRY(bulk) link;
    struct bulk_server *server; /* NULL: we send */
    struct bulk_server *awaits; /* sender: the other connects */
    uv_tcp_t tcp;
    uv_poll_t poll; /* the descriptor's */
    uv_timer_t timer;
    uv_connect_t connect;
    struct stream *stream;
    int fd;
    struct vi_id from; /* receiver: whose stream it is, once open */
    bool sending, open, polling, reading, fd_done, writing, ended, finished, connected;
    bool has_hello; /* said before the stream */
    bool peeking;   /* it isn't known yet what this connection is for */
    uint8_t hello[BULK_HELLO], peek[BULK_HELLO];
    unsigned peeked;
    unsigned handles;
    int err;
    char why[128];
    uint64_t bytes, bandwidth;
    double tokens; /* bytes that may be sent now, when there is a limit */
    vi_time began, moved, filled, open_within;
    bulk_done *done;
    void *arg;
    uint8_t *keep; /* receiver: plaintext that the descriptor hasn't taken */
    size_t keep_len, keep_at, keep_cap;
    uint8_t in[READ_BYTES], plain[READ_BYTES];
    size_t plain_len, plain_at; /* sender: read, not sealed yet */
};

LIST_HEAD(bulk_list, bulk);
LIST_HEAD(splice_list, splice);

struct bulk_server {
    uv_tcp_t tcp;
    uv_loop_t *loop;
    const struct mesh_config *cfg;
    struct vi_rng *rng;
    bulk_accept *accept;
    void *arg;
    struct bulk_list streams, awaiting;
    struct splice_list splices;
    unsigned n, n_splices; /* n: of all that holds on to the server */
    bool closing;
};

/* bulk.c */
struct bulk *bulk_make(uv_loop_t *loop, const struct mesh_config *cfg, struct vi_rng *rng, const uint8_t *x,
                       const struct vi_id *peer, const void *purpose, size_t len);
struct bulk *bulk_make_sender(uv_loop_t *loop, const struct mesh_config *cfg, struct vi_rng *rng,
                              const uint8_t x[CERT_KEY], const struct vi_id *peer, const void *purpose, size_t len,
                              int fd, uint64_t bandwidth, bulk_done *done, void *arg);
void bulk_connect(struct bulk *b, const struct mesh_addr *to);
void bulk_connected(struct bulk *b);
void bulk_finish(struct bulk *b, int err, const char *why);

/* bulk_server.c */
void bulk_server_left(struct bulk_server *s); /* one of n */
/* n bytes of a connection that came in are in b->in. true: they are a stream's. */
bool bulk_server_peek(struct bulk *b, size_t n);
void bulk_hello_write(uint8_t out[BULK_HELLO], enum bulk_hello kind, const uint8_t token[BULK_TOKEN]);

/* bulk_splice.c */
/* A connection with this token (fd is taken over), of which some bytes were read already. 0, VI_ENOTFOUND. */
int splice_join(struct bulk_server *s, const uint8_t token[BULK_TOKEN], int fd, const uint8_t *rest, size_t len);
void splice_close_all(struct bulk_server *s);

#endif
