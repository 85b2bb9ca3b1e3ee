/* The daemon and its history: what was decided and done is kept in the store, over restarts, and told. */
#include "peer/daemon_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/history.h"
#include "peer/rpc_write.h"

#define TOLD_MOST 1000 /* records of one answer */

void daemon_history(struct daemon *d, const struct event *ev)
{
    uint8_t b[EVENT_BYTES_MAX];
    struct vi_writer w;
    daemon_event_done(d, ev);
    if (history_again(&d->kept, daemon_now(), ev))
        return;
    vi_writer_init(&w, b, sizeof b);
    event_write(&w, ev);
    if (!w.err && store_history_add(d->store, ev->wall, b, w.len))
        daemon_warn(d, WARN_STORE, "%s", store_error(d->store));
}

/* ---- told ---- */

struct asked {
    struct history_filter filter;
    struct history_summary sum;
    unsigned limit, n, rows;
    vi_time oldest;
    struct event *record; /* the newest first */
};

static bool one(void *arg, uint64_t seq, vi_time wall, const void *record, size_t len)
{
    struct asked *a = arg;
    struct event ev;
    a->rows++;
    a->oldest = wall;
    if (event_read(&ev, record, len)) /* an older violin's, or damaged: the others are told of */
        return true;
    ev.seq = seq;
    ev.wall = wall;
    if (!history_match(&a->filter, &ev))
        return true;
    history_count(&a->sum, &ev);
    if (a->n < a->limit)
        a->record[a->n++] = ev;
    return true;
}

static void write_summary(struct vi_writer *w, const struct asked *a)
{
    const struct history_summary *s = &a->sum;
    vi_write_str(w, "summary");
    vi_write_map(w, 6U + (s->pauses > 0));
    put_uint(w, "records", s->records);
    put_uint(w, "moved", s->moved);
    put_uint(w, "arrived", s->arrived);
    put_uint(w, "failed", s->failed);
    put_uint(w, "environments", s->environments);
    put_number(w, "bytes", s->bytes);
    if (s->pauses)
        put_number(w, "mean_pause_s", s->pause_s / s->pauses);
}

static void write_all(struct daemon *d, struct vi_writer *w, const struct asked *a)
{
    vi_write_map(w, 4);
    put_text(w, "host", d->me.cert.host);
    vi_write_str(w, "kept");
    vi_write_map(w, 3U + (a->rows > 0));
    put_uint(w, "records", a->rows);
    put_uint(w, "most", STORE_HISTORY_MAX);
    put_uint(w, "days", (uint64_t)(STORE_HISTORY_AGE / (24 * VI_HOUR)));
    if (a->rows)
        put_number(w, "since", (double)a->oldest / 1e6);
    write_summary(w, a);
    vi_write_str(w, "records");
    vi_write_array(w, a->n);
    for (unsigned i = a->n; i-- > 0;)
        event_write(w, &a->record[i]);
}

#define LATEST 5

struct latest {
    unsigned n;
    struct event ev[LATEST];
};

static bool one_of_latest(void *arg, uint64_t seq, vi_time wall, const void *record, size_t len)
{
    struct latest *l = arg;
    struct event *ev = &l->ev[l->n];
    if (event_read(ev, record, len))
        return true;
    ev->seq = seq;
    ev->wall = wall;
    return ++l->n < LATEST;
}

void daemon_history_latest(struct daemon *d, struct vi_writer *w)
{
    struct latest l = {.n = 0};
    if (store_history_back(d->store, one_of_latest, &l))
        daemon_warn(d, WARN_STORE, "%s", store_error(d->store));
    vi_write_array(w, l.n);
    for (unsigned i = l.n; i-- > 0;)
        event_write(w, &l.ev[i]);
}

/* guest:NAME, env:NAME, host:NAME, or a name that is of one of these only. Of what is gone any name will do. */
static bool subject(struct daemon *d, struct rpc_call *call, struct vi_reader params, struct history_filter *f)
{
    char text[DAEMON_NAME];
    const char *name;
    unsigned what;
    if (!rpc_param_text(call, params, "subject", false, text, sizeof text))
        return false;
    if (!text[0])
        return true;
    what = daemon_name_means(d, text, &name);
    if (what & (what - 1)) {
        daemon_name_ambiguous(call, name, what);
        return false;
    }
    f->what = what;
    if (strlen(name) >= sizeof f->subject) {
        rpc_error(call, VI_EINVAL, "`%s` is longer than any name", name);
        return false;
    }
    if (what != DAEMON_IS_HOST || strcmp(name, d->me.cert.host)) /* all of it is this host's */
        snprintf(f->subject, sizeof f->subject, "%s", name);
    return true;
}

static bool wanted(struct daemon *d, struct rpc_call *call, struct vi_reader params, struct asked *a)
{
    char kinds[160], bad[32];
    uint64_t since = 0, limit = 100;
    if (!subject(d, call, params, &a->filter) || !rpc_param_text(call, params, "kind", false, kinds, sizeof kinds) ||
        !rpc_param_uint(call, params, "since_s", UINT32_MAX, &since) ||
        !rpc_param_uint(call, params, "limit", TOLD_MOST, &limit))
        return false;
    if (kinds[0] && history_kinds(&a->filter, kinds, bad, sizeof bad)) {
        rpc_error(call, VI_EINVAL, "`%s` is no kind that the history has", bad);
        return false;
    }
    a->filter.since = since ? vi_clock_wall() - (vi_time)since * VI_SEC : INT64_MIN;
    a->limit = (unsigned)limit;
    return true;
}

void daemon_do_history(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    struct asked *a = calloc(1, sizeof *a);
    struct vi_writer *w;
    if (!a) {
        rpc_error(call, VI_ENOMEM, "out of memory");
        return;
    }
    if (!wanted(d, call, *params, a))
        goto out;
    a->record = calloc(a->limit ? a->limit : 1, sizeof *a->record);
    if (!a->record) {
        rpc_error(call, VI_ENOMEM, "out of memory");
        goto out;
    }
    if (store_history_back(d->store, one, a)) {
        rpc_error(call, VI_EIO, "%s", store_error(d->store));
        goto out;
    }
    w = rpc_begin(call, 1024 + (size_t)a->n * EVENT_BYTES_MAX);
    if (w) {
        write_all(d, w, a);
        rpc_end(call);
    }
out:
    free(a->record);
    free(a);
}
