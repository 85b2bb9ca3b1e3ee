/* One connection to a peer's control socket: blocking calls and notifications. */
#ifndef PEER_CLI_CLIENT_H
#define PEER_CLI_CLIENT_H

#include <msgpack.h>

#include "peer/base/wire.h"

#define CLI_STOPPED    (-1)       /* no exit status: stop_fd became readable while we waited */
#define CLI_ANSWER_MAX (8u << 20) /* bytes; larger answers are refused */

struct cli_client {
    int fd;
    int stop_fd; /* ends every wait, with CLI_STOPPED, when it is readable; -1: none. The caller's */
    uint8_t *in;
    size_t in_len, in_cap;
    size_t in_used; /* of in: the last message */
    uint32_t next_id;
    bool quiet; /* an error that a call is answered with isn't printed: the caller asks again */
    msgpack_unpacked answer; /* the last message; borrowed until the next call */
    bool has_answer;
};

/* 0, or an exit status with a line printed. */
int cli_connect(struct cli_client *c, const char *path);
void cli_disconnect(struct cli_client *c);

/* Begins a call: params is where the caller writes one map. */
struct cli_params {
    uint8_t bytes[4096];
    struct vi_writer w;
};
void cli_params_init(struct cli_params *p);

/* Sends, waits for the answer; *result is borrowed until the next call. 0, or an exit status with the
 * error printed (unless `quiet`). Notifications that come in between are dropped. */
int cli_call(struct cli_client *c, const char *method, const struct cli_params *params,
             msgpack_object *result);
/* Waits for the next notification of this method. 0, an exit status, or CLI_STOPPED. */
int cli_notification(struct cli_client *c, const char *method, msgpack_object *params);

#endif
