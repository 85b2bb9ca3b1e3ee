/* The control socket: msgpack-RPC over a UNIX stream socket.
 *
 * https://github.com/msgpack-rpc/msgpack-rpc/blob/master/spec.md: request [0, id, method, params],
 * response [1, id, error, result], notification [2, method, params]. params is a map or nil.
 *
 * Who may: root, the peer's own user, and members of the group read; root and the peer's own user
 * change (SO_PEERCRED). Everybody else is told so and closed.
 *
 * Bounds: RPC_CLIENTS_MAX connections, beyond which the one that has been silent longest is closed;
 * a request of RPC_REQUEST_MAX bytes, beyond which the connection is answered with an error and
 * closed; RPC_BACKLOG_MAX bytes waiting for a slow follower, beyond which it is closed. */
#ifndef PEER_RPC_H
#define PEER_RPC_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#include "peer/base/wire.h"

#define RPC_CLIENTS_MAX 512
#define RPC_REQUEST_MAX 65536
#define RPC_RESULT_MAX  (4u << 20)
#define RPC_BACKLOG_MAX (1u << 20)

struct rpc;
struct rpc_call;

/* Answers with rpc_begin/rpc_end or rpc_error, now or later; exactly once. params stands on the
 * params value (a map, possibly empty) and is borrowed until the method returns. */
typedef void rpc_method(void *arg, struct rpc_call *call, struct vi_reader *params);

struct rpc_entry {
    const char *name;
    rpc_method *method;
    bool changes; /* needs the right to change things */
};

/* Listens at path (mode 0660, given to the group if it exists and that is allowed). table ends with
 * a NULL name and must outlive the server. NULL on failure, with a sentence in why. */
struct rpc *rpc_open(uv_loop_t *loop, const char *path, const char *group,
                     const struct rpc_entry *table, void *arg, char *why, size_t why_cap);
/* Closes every connection and removes the socket file. Calls not answered yet become dead:
 * answering them is harmless. */
void rpc_close(struct rpc *r);

/* Starts the result of a call: up to max bytes (≤ RPC_RESULT_MAX) may be written. NULL when memory
 * is short; the call is then answered with that error. */
struct vi_writer *rpc_begin(struct rpc_call *call, size_t max);
void rpc_end(struct rpc_call *call);
/* Answers with {code, message}. */
void rpc_error(struct rpc_call *call, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* From now on this connection gets notifications of rpc_notify. */
void rpc_follow(struct rpc_call *call);
bool rpc_has_followers(const struct rpc *r);
/* Sends [2, method, params] to every follower; params is one encoded value. */
void rpc_notify(struct rpc *r, const char *method, const void *params, size_t len);

unsigned rpc_clients(const struct rpc *r);

#endif
