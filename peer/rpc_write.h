/* Fields of a result, and parameters of a call, by name. */
#ifndef PEER_RPC_WRITE_H
#define PEER_RPC_WRITE_H

#include "peer/base/wire.h"
#include "peer/rpc.h"

static inline void put_text(struct vi_writer *w, const char *key, const char *v)
{
    vi_write_str(w, key);
    vi_write_str(w, v);
}

static inline void put_uint(struct vi_writer *w, const char *key, uint64_t v)
{
    vi_write_str(w, key);
    vi_write_uint(w, v);
}

static inline void put_number(struct vi_writer *w, const char *key, double v)
{
    vi_write_str(w, key);
    vi_write_double(w, v);
}

static inline void put_bool(struct vi_writer *w, const char *key, bool v)
{
    vi_write_str(w, key);
    vi_write_bool(w, v);
}

/* Each reads one parameter of the map that params stands on. false: the call was answered with an
 * error. text: "" when absent and not a must. uint: *value stays when absent. */
bool rpc_param_text(struct rpc_call *call, struct vi_reader params, const char *key, bool must,
                    char *out, size_t cap);
bool rpc_param_uint(struct rpc_call *call, struct vi_reader params, const char *key, uint64_t most,
                    uint64_t *value);

#endif
