/* The SQLite store. See store.h. */
#include "peer/base/store.h"

#include <sodium.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"

struct store {
    sqlite3 *db;
    struct vi_id journal_id;
    char error[900];
    char path[512];
    unsigned fail_after;
};

static const char schema[] =
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;"
    "CREATE TABLE journal (seq INTEGER PRIMARY KEY AUTOINCREMENT, handover BLOB NOT NULL, record BLOB NOT NULL);"
    "CREATE INDEX journal_handover ON journal (handover);"
    "CREATE TABLE records (kind INTEGER, key BLOB, value BLOB NOT NULL, PRIMARY KEY (kind, key)) WITHOUT ROWID;"
    "CREATE TABLE history (seq INTEGER PRIMARY KEY AUTOINCREMENT, wall INTEGER NOT NULL, record BLOB NOT NULL);";

const char *store_error(const struct store *s)
{
    return s->error;
}

static const char *advice(int code)
{
    switch (code & 0xff) {
    case SQLITE_FULL: return "the disk is full; make room";
    case SQLITE_READONLY: case SQLITE_CANTOPEN: case SQLITE_PERM:
        return "it can't be written; give it to the peer's user";
    case SQLITE_CORRUPT: case SQLITE_NOTADB:
        return "it is damaged; restore a copy, or move it away to begin anew (guests under way are then shown as undecided)";
    case SQLITE_IOERR: return "input/output error; is the disk full or broken?";
    case SQLITE_BUSY: return "another process holds it";
    default: return sqlite3_errstr(code);
    }
}

static int failed(struct store *s, const char *what)
{
    int code = s->db ? sqlite3_extended_errcode(s->db) : SQLITE_NOMEM;
    snprintf(s->error, sizeof s->error, "%s: %s: %s", s->path, what, advice(code));
    return VI_EIO;
}

static int exec(struct store *s, const char *sql)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : failed(s, "can't be set up");
}

/* ---- statements: prepared, bound by type letters, stepped ---- */

static sqlite3_stmt *prepare(struct store *s, const char *sql)
{
    sqlite3_stmt *st = NULL;
    if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK) {
        failed(s, "can't be read");
        return NULL;
    }
    return st;
}

/* A full disk, made by a test. */
static bool made_to_fail(struct store *s)
{
    if (s->fail_after == 0)
        return false;
    if (s->fail_after > 1) {
        s->fail_after--;
        return false;
    }
    snprintf(s->error, sizeof s->error, "%s: can't be written: the disk is full; make room", s->path);
    return true;
}

/* Runs a statement that changes something, and frees it. */
static int finish_write(struct store *s, sqlite3_stmt *st)
{
    int err = 0;
    if (!st)
        return VI_EIO;
    if (made_to_fail(s))
        err = VI_EIO;
    else if (sqlite3_step(st) != SQLITE_DONE)
        err = failed(s, "can't be written");
    sqlite3_finalize(st);
    return err;
}

/* SQLITE_STATIC: what is bound outlives the step, and binding it needs no memory that could lack. */
static void bind_id(sqlite3_stmt *st, int at, const struct vi_id *id)
{
    if (st)
        sqlite3_bind_blob(st, at, id->b, VI_ID_SIZE, SQLITE_STATIC);
}

static void bind_blob(sqlite3_stmt *st, int at, const void *p, size_t len)
{
    if (st && len == 0)
        sqlite3_bind_zeroblob(st, at, 0);
    else if (st)
        sqlite3_bind_blob(st, at, p, (int)len, SQLITE_STATIC);
}

static bool column_id(sqlite3_stmt *st, int at, struct vi_id *id)
{
    const void *p = sqlite3_column_blob(st, at);
    if (!p || sqlite3_column_bytes(st, at) != VI_ID_SIZE)
        return false;
    memcpy(id->b, p, VI_ID_SIZE);
    return true;
}

/* A blob, which is NULL both when it is empty and when there was no memory to read it: false then. */
static bool column_blob(struct store *s, sqlite3_stmt *st, int at, const void **p, size_t *len)
{
    *p = sqlite3_column_blob(st, at);
    *len = (size_t)sqlite3_column_bytes(st, at);
    return *p || sqlite3_errcode(s->db) != SQLITE_NOMEM;
}

/* Id and blob of row after row. 0, also when each stops it, or VI_EIO: a row that can't be read must not
 * be taken for one that isn't there. */
static int each_row(struct store *s, sqlite3_stmt *st,
                    bool (*each)(void *arg, const struct vi_id *id, const void *value, size_t len), void *arg)
{
    struct vi_id id;
    int r;
    while ((r = sqlite3_step(st)) == SQLITE_ROW) {
        const void *value;
        size_t len;
        bool has_id = column_id(st, 0, &id);
        if (!column_blob(s, st, 1, &value, &len))
            return failed(s, "can't be read");
        if (has_id && !each(arg, &id, value, len))
            return 0;
    }
    return r == SQLITE_DONE ? 0 : failed(s, "can't be read");
}

/* ---- opening ---- */

static int64_t user_version(struct store *s)
{
    sqlite3_stmt *st = prepare(s, "PRAGMA user_version");
    int64_t v = -1;
    if (st && sqlite3_step(st) == SQLITE_ROW)
        v = sqlite3_column_int64(st, 0);
    else
        failed(s, "can't be read");
    sqlite3_finalize(st);
    return v;
}

static int make_schema(struct store *s)
{
    char version[64];
    sqlite3_stmt *st;
    struct vi_id id;
    int err = exec(s, "BEGIN IMMEDIATE");
    if (err)
        return err;
    /* another connection may have made it while we waited for the lock */
    if (user_version(s) == STORE_VERSION)
        return exec(s, "COMMIT");
    err = exec(s, schema);
    if (!err) {
        randombytes_buf(id.b, sizeof id.b);
        st = prepare(s, "INSERT INTO meta (name, value) VALUES ('journal', ?)");
        bind_id(st, 1, &id);
        err = finish_write(s, st);
    }
    snprintf(version, sizeof version, "PRAGMA user_version = %d", STORE_VERSION);
    if (!err)
        err = exec(s, version);
    if (!err)
        err = exec(s, "COMMIT");
    if (err)
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return err;
}

static int read_journal_id(struct store *s)
{
    sqlite3_stmt *st = prepare(s, "SELECT value FROM meta WHERE name = 'journal'");
    bool ok = st && sqlite3_step(st) == SQLITE_ROW && column_id(st, 0, &s->journal_id);
    sqlite3_finalize(st);
    return ok ? 0 : failed(s, "has no journal id");
}

static int set_up(struct store *s)
{
    int64_t v;
    int err;
    sqlite3_busy_timeout(s->db, 5000);
    /* EXTRA is FULL, and the folder is synced after the rollback journal is removed: with FULL alone
     * that removal could be undone by a power cut, and a committed record with it. */
    err = exec(s, "PRAGMA journal_mode = DELETE; PRAGMA synchronous = EXTRA; PRAGMA fullfsync = ON;"
                  "PRAGMA cache_size = -512; PRAGMA trusted_schema = OFF;");
    if (err)
        return err;
    v = user_version(s);
    if (v < 0)
        return VI_EIO;
    if (v > STORE_VERSION) {
        snprintf(s->error, sizeof s->error,
                 "%s: written by a later violin (version %lld, this one knows %d); install that one",
                 s->path, (long long)v, STORE_VERSION);
        return VI_EVERSION;
    }
    if (v == 0)
        err = make_schema(s);
    return err ? err : read_journal_id(s);
}

struct store *store_open(const char *dir, char *why, size_t cap)
{
    struct store *s = calloc(1, sizeof *s);
    if (!s) {
        snprintf(why, cap, "out of memory");
        return NULL;
    }
    if ((size_t)snprintf(s->path, sizeof s->path, "%s/violin.db", dir) >= sizeof s->path) {
        snprintf(why, cap, "state-dir is too long");
        free(s);
        return NULL;
    }
    if (sqlite3_open_v2(s->path, &s->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK) {
        failed(s, "can't be opened");
    } else if (!set_up(s)) {
        return s;
    }
    snprintf(why, cap, "%s", s->error);
    store_close(s);
    return NULL;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    sqlite3_close_v2(s->db);
    free(s);
}

void store_journal_id(const struct store *s, struct vi_id *id)
{
    *id = s->journal_id;
}

void store_fail_after(struct store *s, unsigned n)
{
    s->fail_after = n;
}

/* ---- journal ---- */

int store_journal_put(struct store *s, const struct vi_id *handover, const void *record, size_t len)
{
    sqlite3_stmt *st;
    if (len > STORE_RECORD_MAX)
        return VI_EINVAL;
    st = prepare(s, "INSERT INTO journal (handover, record) VALUES (?, ?)");
    bind_id(st, 1, handover);
    bind_blob(st, 2, record, len);
    return finish_write(s, st);
}

int store_journal_each(struct store *s,
                       bool (*each)(void *arg, const struct vi_id *handover, const void *record,
                                    size_t len),
                       void *arg)
{
    sqlite3_stmt *st = prepare(s, "SELECT handover, record FROM journal ORDER BY seq");
    int r;
    if (!st)
        return VI_EIO;
    r = each_row(s, st, each, arg);
    sqlite3_finalize(st);
    return r;
}

int store_journal_forget(struct store *s, const struct vi_id *handover)
{
    sqlite3_stmt *st = prepare(s, "DELETE FROM journal WHERE handover = ?");
    bind_id(st, 1, handover);
    return finish_write(s, st);
}

/* ---- records ---- */

int store_put(struct store *s, enum store_kind kind, const struct vi_id *key, const void *value,
              size_t len)
{
    sqlite3_stmt *st;
    if (len > STORE_RECORD_MAX)
        return VI_EINVAL;
    st = prepare(s, "INSERT OR REPLACE INTO records (kind, key, value) VALUES (?, ?, ?)");
    if (st)
        sqlite3_bind_int(st, 1, kind);
    bind_id(st, 2, key);
    bind_blob(st, 3, value, len);
    return finish_write(s, st);
}

int store_get(struct store *s, enum store_kind kind, const struct vi_id *key, void *value,
              size_t cap, size_t *len)
{
    sqlite3_stmt *st = prepare(s, "SELECT value FROM records WHERE kind = ? AND key = ?");
    const void *have;
    int r, err = 0;
    if (!st)
        return VI_EIO;
    sqlite3_bind_int(st, 1, kind);
    bind_id(st, 2, key);
    r = sqlite3_step(st);
    if (r == SQLITE_DONE)
        err = VI_ENOTFOUND;
    else if (r != SQLITE_ROW || !column_blob(s, st, 0, &have, len))
        err = failed(s, "can't be read");
    else if (*len > cap)
        err = VI_EFULL;
    else if (*len)
        memcpy(value, have, *len);
    sqlite3_finalize(st);
    return err;
}

int store_delete(struct store *s, enum store_kind kind, const struct vi_id *key)
{
    sqlite3_stmt *st = prepare(s, "DELETE FROM records WHERE kind = ? AND key = ?");
    if (st)
        sqlite3_bind_int(st, 1, kind);
    bind_id(st, 2, key);
    return finish_write(s, st);
}

int store_each(struct store *s, enum store_kind kind,
               bool (*each)(void *arg, const struct vi_id *key, const void *value, size_t len),
               void *arg)
{
    sqlite3_stmt *st = prepare(s, "SELECT key, value FROM records WHERE kind = ? ORDER BY key");
    int r;
    if (!st)
        return VI_EIO;
    sqlite3_bind_int(st, 1, kind);
    r = each_row(s, st, each, arg);
    sqlite3_finalize(st);
    return r;
}

/* ---- numbers ---- */

int store_set_number(struct store *s, const char *name, int64_t value)
{
    sqlite3_stmt *st = prepare(s, "INSERT OR REPLACE INTO meta (name, value) VALUES ('n.' || ?, ?)");
    if (st) {
        sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
        sqlite3_bind_int64(st, 2, value);
    }
    return finish_write(s, st);
}

int64_t store_number(struct store *s, const char *name, int64_t otherwise)
{
    sqlite3_stmt *st = prepare(s, "SELECT value FROM meta WHERE name = 'n.' || ?");
    int64_t v = otherwise;
    if (st) {
        sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
        if (sqlite3_step(st) == SQLITE_ROW)
            v = sqlite3_column_int64(st, 0);
    }
    sqlite3_finalize(st);
    return v;
}

/* ---- history ---- */

/* By number, and by age beyond the newest STORE_HISTORY_LEAST: a clock that was wrong for a moment must not cost all. */
static int prune_history(struct store *s, vi_time wall)
{
    sqlite3_stmt *st = prepare(s, "DELETE FROM history WHERE seq <= (SELECT max(seq) FROM history) - ? OR "
                                  "(wall < ? AND seq <= (SELECT max(seq) FROM history) - ?)");
    if (st) {
        sqlite3_bind_int(st, 1, STORE_HISTORY_MAX);
        sqlite3_bind_int64(st, 2, wall - STORE_HISTORY_AGE);
        sqlite3_bind_int(st, 3, STORE_HISTORY_LEAST);
    }
    return finish_write(s, st);
}

int store_history_add(struct store *s, vi_time wall, const void *record, size_t len)
{
    sqlite3_stmt *st;
    int err;
    if (len > STORE_RECORD_MAX)
        return VI_EINVAL;
    st = prepare(s, "INSERT INTO history (wall, record) VALUES (?, ?)");
    if (st)
        sqlite3_bind_int64(st, 1, wall);
    bind_blob(st, 2, record, len);
    err = finish_write(s, st);
    /* now and then, so that a row costs one write */
    if (!err && sqlite3_last_insert_rowid(s->db) % 256 == 0)
        err = prune_history(s, wall);
    return err;
}

/* Row after row of a prepared SELECT seq, wall, record, which it frees. */
static int each_history(struct store *s, sqlite3_stmt *st,
                        bool (*each)(void *arg, uint64_t seq, vi_time wall, const void *record, size_t len), void *arg)
{
    int r = SQLITE_ERROR;
    while ((r = sqlite3_step(st)) == SQLITE_ROW) {
        const void *record;
        size_t len;
        if (!column_blob(s, st, 2, &record, &len)) {
            r = SQLITE_NOMEM;
            break;
        }
        if (!each(arg, (uint64_t)sqlite3_column_int64(st, 0), sqlite3_column_int64(st, 1), record, len))
            break;
    }
    sqlite3_finalize(st);
    return r == SQLITE_DONE || r == SQLITE_ROW ? 0 : failed(s, "can't be read");
}

int store_history_each(struct store *s, unsigned limit,
                       bool (*each)(void *arg, uint64_t seq, vi_time wall, const void *record,
                                    size_t len),
                       void *arg)
{
    sqlite3_stmt *st = prepare(s, "SELECT seq, wall, record FROM (SELECT * FROM history "
                                  "ORDER BY seq DESC LIMIT ?) ORDER BY seq");
    if (!st)
        return VI_EIO;
    sqlite3_bind_int64(st, 1, limit);
    return each_history(s, st, each, arg);
}

int store_history_back(struct store *s, bool (*each)(void *arg, uint64_t seq, vi_time wall, const void *record, size_t len),
                       void *arg)
{
    sqlite3_stmt *st = prepare(s, "SELECT seq, wall, record FROM history ORDER BY seq DESC");
    return st ? each_history(s, st, each, arg) : VI_EIO;
}
