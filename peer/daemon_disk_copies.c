/* Where a disk's other copies are: the domain's living members are asked, some at a time; who is silent is named. */
#include "peer/daemon_disk_rpc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/diskcopy.h"
#include "peer/rpc_write.h"

#define ASKED_MOST 64 /* hosts of one question; more aren't asked, and that is said */
#define AT_ONCE    8

struct asked {
    struct vi_id id;
    char name[CERT_NAME_MAX + 1];
    bool answered;
    struct diskcopy copy;
};

struct disk_copies {
    struct daemon *d;
    struct rpc_call *call;
    struct vi_id disk;
    unsigned n, next, under_way, unasked;
    struct asked host[ASKED_MOST];
};

int daemon_disk_copy_answer(struct daemon *d, const uint8_t *body, size_t len, uint8_t *out)
{
    const struct disk_info *k;
    struct diskcopy c = {.here = false};
    struct vi_id disk;
    if (diskcopy_asked(&disk, body, len))
        return VI_EPROTO;
    if (!daemon_disks(d)->known)
        return VI_EAGAIN;
    k = daemon_disk_by_id(d, &disk);
    if (k)
        c = (struct diskcopy){true, k->record.kind, k->record.generation, k->since};
    return diskcopy_encode(&c, out);
}

/* ---- answered ---- */

static void write_copies(struct disk_copies *q, struct vi_writer *w)
{
    char state[200];
    unsigned n = 0;
    for (unsigned i = 0; i < q->n; i++)
        n += q->host[i].answered && q->host[i].copy.here;
    vi_write_str(w, "copies");
    vi_write_array(w, n);
    for (unsigned i = 0; i < q->n; i++) {
        const struct diskcopy *c = &q->host[i].copy;
        if (!q->host[i].answered || !c->here)
            continue;
        vi_write_map(w, 4);
        put_text(w, "host", q->host[i].name);
        put_text(w, "state", daemon_disk_kind_text(c->kind, c->since, false, state, sizeof state));
        put_uint(w, "generation", c->generation);
        put_number(w, "since", (double)c->since);
    }
    n = 0;
    for (unsigned i = 0; i < q->n; i++)
        n += !q->host[i].answered;
    vi_write_str(w, "silent");
    vi_write_array(w, n);
    for (unsigned i = 0; i < q->n; i++)
        if (!q->host[i].answered)
            vi_write_str(w, q->host[i].name);
    put_uint(w, "unasked", q->unasked);
}

static void answer(struct disk_copies *q)
{
    const struct disk_info *k = daemon_disk_by_id(q->d, &q->disk);
    struct vi_writer *w;
    if (!k) {
        rpc_error(q->call, VI_ENOTFOUND, "the disk is gone from this host meanwhile");
        return;
    }
    w = rpc_begin(q->call, 32768);
    if (!w)
        return;
    vi_write_map(w, daemon_disk_fields(q->d, k) + 3);
    daemon_disk_write(q->d, w, k);
    write_copies(q, w);
    rpc_end(q->call);
}

/* ---- asked ---- */

struct asking {
    struct disk_copies *q;
    unsigned at;
};

static void go_on(struct disk_copies *q);

static void on_answer(void *arg, int err, const uint8_t *body, size_t len)
{
    struct asking *a = arg;
    struct disk_copies *q = a->q;
    struct asked *h = &q->host[a->at];
    h->answered = !err && !diskcopy_decode(&h->copy, body, len);
    q->under_way--;
    free(a);
    go_on(q);
}

static bool ask(struct disk_copies *q, unsigned at)
{
    struct asking *a = malloc(sizeof *a);
    uint8_t b[DISKCOPY_MAX];
    int n = diskcopy_ask(&q->disk, b);
    if (!a || n < 0) {
        free(a);
        return false;
    }
    *a = (struct asking){q, at};
    if (!calls_ask(q->d->calls, daemon_now(), &q->host[at].id, CALL_DISK_COPY, b, (size_t)n, on_answer, a))
        return true;
    free(a);
    return false;
}

/* The next ones; when all have said something, or won't, it is over. */
static void go_on(struct disk_copies *q)
{
    while (q->next < q->n && q->under_way < AT_ONCE)
        q->under_way += ask(q, q->next++);
    if (q->under_way)
        return;
    answer(q);
    for (unsigned i = 0; i < DISK_QUESTIONS; i++)
        if (q->d->disk_orders->asking[i] == q)
            q->d->disk_orders->asking[i] = NULL;
    free(q);
}

static void members(struct disk_copies *q)
{
    struct gossip_member m;
    size_t pos = 0;
    while (gossip_member_next(q->d->gossip, &pos, &m)) {
        struct asked *h = &q->host[q->n];
        if (m.state != GOSSIP_ALIVE || vi_id_equal(&m.id, &q->d->me.id))
            continue;
        if (q->n == ASKED_MOST) {
            q->unasked++;
            continue;
        }
        h->id = m.id;
        snprintf(h->name, sizeof h->name, "%s", m.name);
        q->n++;
    }
}

void daemon_do_disk_show(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    struct disk_copies **place = NULL;
    const struct disk_info *k;
    char text[DISK_NAME];
    if (!rpc_param_text(call, *params, "disk", true, text, sizeof text) || !(k = daemon_disk_named(d, call, text)))
        return;
    for (unsigned i = 0; i < DISK_QUESTIONS && !place; i++)
        if (!d->disk_orders->asking[i])
            place = &d->disk_orders->asking[i];
    if (place)
        *place = calloc(1, sizeof **place);
    if (!place || !*place) {
        rpc_error(call, VI_EFULL, "too many such questions are under way; try again");
        return;
    }
    (*place)->d = d;
    (*place)->call = call;
    (*place)->disk = k->record.id;
    members(*place);
    go_on(*place);
}
