/* The store: one SQLite database in the state folder, for what must outlive the process.
 *
 * synchronous=EXTRA (FULL, and the folder synced too) with a rollback journal: when a function
 * returns 0, the change is on the disk.
 * One file may be opened twice, by two threads, each with its own `struct store`: a writer waits up
 * to 5 s for the other. Functions block; the handover journal is therefore written by a worker
 * thread (peer/journal.h).
 *
 * Every failure is VI_EIO with a sentence in store_error(): what failed and what to do. */
#ifndef PEER_BASE_STORE_H
#define PEER_BASE_STORE_H

#include "peer/base/clock.h"
#include "peer/base/id.h"

#define STORE_VERSION     1
#define STORE_RECORD_MAX  16384 /* bytes of one record */
#define STORE_HISTORY_MAX   20000 /* rows; the oldest go */
#define STORE_HISTORY_AGE   ((vi_time)90 * 24 * VI_HOUR) /* older ones go, too … */
#define STORE_HISTORY_LEAST 1000  /* … but for the newest so many */

struct store;

/* Opens dir/violin.db, makes or upgrades it. A newer version is refused. NULL with why. */
struct store *store_open(const char *dir, char *why, size_t cap);
void store_close(struct store *s);
const char *store_error(const struct store *s);
/* Random, made with the database: tells a lost journal from an empty one. */
void store_journal_id(const struct store *s, struct vi_id *id);

/* ---- the handover journal: records of one handover in the order they were written ---- */
int store_journal_put(struct store *s, const struct vi_id *handover, const void *record, size_t len);
/* In the order written, all handovers mixed. each returns false to stop. */
int store_journal_each(struct store *s,
                       bool (*each)(void *arg, const struct vi_id *handover, const void *record,
                                    size_t len),
                       void *arg);
int store_journal_forget(struct store *s, const struct vi_id *handover);

/* ---- small records by kind and key: peers, environments, ownership, … ---- */
enum store_kind {
    STORE_PEER = 1,    /* how to reach a member */
    STORE_RECORD = 2,  /* a signed record of the gossip's store */
    STORE_OWNER = 3,   /* who owns a guest */
    STORE_INVITE = 4,
    STORE_TAKES_PART = 5, /* a host's signed list of the environments it takes part in */
    STORE_TRANSFERS = 6,  /* of a guest that came or went: the latest, each with its length in two bytes before it */
    STORE_ATTACHED = 7,   /* an environment's LAN: peer/attach.h */
    STORE_KEPT = 30,     /* a guest that violin made: peer/envmake.h */
    STORE_MAKING = 31,   /* an environment whose guests are being made */
    STORE_LEFT_DISK = 32, /* an old copy of such a guest's disk: its environment */
    STORE_FEDERATION = 20,      /* a domain that we are, or were, federated with */
    STORE_FEDERATION_VIEW = 21, /* where to reach it */
    STORE_FEDERATION_KEYS = 22, /* what it said about its keys */
    STORE_IMAGE = 24, /* an image that is here, by its path: peer/daemon_image.c */
    STORE_STATEMENT = 10 /* about keys: its kind in a byte, then peer/statements.h */
};
int store_put(struct store *s, enum store_kind kind, const struct vi_id *key, const void *value,
              size_t len);
/* VI_ENOTFOUND; VI_EFULL if it is longer than cap. */
int store_get(struct store *s, enum store_kind kind, const struct vi_id *key, void *value,
              size_t cap, size_t *len);
int store_delete(struct store *s, enum store_kind kind, const struct vi_id *key);
int store_each(struct store *s, enum store_kind kind,
               bool (*each)(void *arg, const struct vi_id *key, const void *value, size_t len),
               void *arg);

/* ---- counters and settings that survive ---- */
int store_set_number(struct store *s, const char *name, int64_t value);
int64_t store_number(struct store *s, const char *name, int64_t otherwise);

/* ---- history: what was decided and done ---- */
int store_history_add(struct store *s, vi_time wall, const void *record, size_t len);
/* Newest first. each returns false to stop. */
int store_history_back(struct store *s, bool (*each)(void *arg, uint64_t seq, vi_time wall, const void *record, size_t len),
                       void *arg);
/* The newest `limit`, oldest of them first. */
int store_history_each(struct store *s, unsigned limit,
                       bool (*each)(void *arg, uint64_t seq, vi_time wall, const void *record,
                                    size_t len),
                       void *arg);

/* For tests: the nth write from now (1: the next) and all after it fail as on a full disk; 0: none. */
void store_fail_after(struct store *s, unsigned n);

#endif
