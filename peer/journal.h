/* The handover journal's writer: a worker thread with its own connection to the store, so that an
 * fsync never stops the loop. Writes are done one at a time in the order they were asked for. */
#ifndef PEER_JOURNAL_H
#define PEER_JOURNAL_H

#include <uv.h>

#include "peer/base/id.h"

#define JOURNAL_QUEUE_MAX 256 /* writes waiting; one more is VI_EFULL, as a failed write */

struct journal;

/* err: 0 when the record is on the disk, else VI_EIO with a sentence. */
typedef void journal_done(void *arg, uint64_t handle, int err, const char *text);

/* Opens the store in dir a second time. NULL with why. */
struct journal *journal_open(uv_loop_t *loop, const char *dir, journal_done *done, void *arg,
                             char *why, size_t cap);
/* Waits for the write under way; the others are forgotten without a callback. */
void journal_close(struct journal *j);

/* record is copied. done(handle) comes later, on the loop. 0, VI_EFULL or VI_ENOMEM. */
int journal_put(struct journal *j, uint64_t handle, const struct vi_id *handover,
                const void *record, size_t len);
/* Forgets a handover that is over. No callback: one that stays costs a row, no more. */
void journal_forget(struct journal *j, const struct vi_id *handover);

#endif
