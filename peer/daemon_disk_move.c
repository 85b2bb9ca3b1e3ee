/* The streams of disks that are being copied to another host, or here. See daemon_disk.h.
 *
 * Source: MIRROR → a socket pair for each disk, "data" is dialled → "replies" (and "hashes") are let in → the agent gets the
 * other end and mirrors → in sync → FINISH: the agent closes its end, and so the streams end one after another.
 * Destination: "data" is let in → the agent gets the other end of a pair and serves → "replies" (and "hashes") are dialled.
 *
 * A stream that ends before its time is told to the core as a reason to give up; what the agent says decides. All that is
 * of one handover lives until its last stream has ended and its agent has answered. */
#include "peer/daemon_disk.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer/base/err.h"
#include "peer/base/log.h"
#include "peer/daemon_dial.h"
#include "peer/daemon_internal.h"

#define WAYS 3

struct disk_stream {
    struct disk_line *line;
    enum disk_way way;
    bool open;
    struct dial *dial; /* ours; NULL: it came in */
    uint64_t bytes;    /* once ended */
    uint64_t was_bytes; /* a second ago */
    double limit;      /* KiB/s; 0: not limited yet */
};

/* One disk. */
struct disk_line {
    struct disk_move *move;
    unsigned index;
    struct handover_disk disk;
    int fd, hash_fd;             /* our ends of the pairs; hash_fd until a stream has it */
    int agent_fd, agent_hash_fd; /* the agent's, until it is asked */
    bool asked, settled;
    uint64_t in_sync, to_copy;
    struct disk_stream stream[WAYS];
    struct disk_op *op; /* MIRROR, until it is answered for this disk */
};

struct disk_move {
    LIST_ENTRY(disk_move) link;
    struct daemon *d;
    struct vi_id handover, peer;
    bool source, cancelled;
    unsigned n, refs; /* refs: streams, what the agent was asked, and who looks at it just now */
    struct disk_line line[HANDOVER_DISKS];
};

static struct disk_stream *stream_of(struct disk_line *l, enum disk_way way)
{
    return &l->stream[way - DISK_DATA];
}

static struct disk_move *find(const struct daemon *d, const struct vi_id *handover)
{
    struct disk_move *m;
    LIST_FOREACH (m, &d->disks->moves, link)
        if (vi_id_equal(&m->handover, handover))
            return m;
    return NULL;
}

/* ---- the life of a move */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static struct disk_move *move_new(struct daemon *d, const struct vi_id *handover, const struct vi_id *peer,
                                  const struct handover_guest *g, bool source)
{
    struct disk_move *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->d = d;
    m->handover = *handover;
    m->peer = *peer;
    m->source = source;
    m->n = g->n_disks;
    m->refs = 1;
    for (unsigned i = 0; i < m->n; i++) {
        struct disk_line *l = &m->line[i];
        l->move = m;
        l->index = i;
        l->disk = g->disks[i];
        l->fd = l->hash_fd = l->agent_fd = l->agent_hash_fd = -1;
        for (unsigned k = 0; k < WAYS; k++) {
            l->stream[k].line = l;
            l->stream[k].way = DISK_DATA + k;
        }
    }
    LIST_INSERT_HEAD(&d->disks->moves, m, link);
    return m;
}

static uint64_t bytes_of(const struct disk_move *m)
{
    uint64_t bytes = 0;
    for (unsigned i = 0; i < m->n; i++)
        for (unsigned k = 0; k < WAYS; k++) {
            const struct disk_stream *s = &m->line[i].stream[k];
            bytes += s->dial ? daemon_dial_bytes(s->dial) : s->open ? bulk_server_bytes(m->d->bulk, s) : s->bytes;
        }
    return bytes;
}

static void release(struct disk_move *m)
{
    struct transit *t;
    if (--m->refs > 0)
        return;
    t = daemon_transit(m->d, &m->handover);
    if (t)
        t->disk_bytes += bytes_of(m);
    for (unsigned i = 0; i < m->n; i++) {
        close_fd(&m->line[i].fd);
        close_fd(&m->line[i].hash_fd);
        close_fd(&m->line[i].agent_fd);
        close_fd(&m->line[i].agent_hash_fd);
    }
    LIST_REMOVE(m, link);
    free(m);
}

/* ---- giving up */

static void mirrored(struct disk_line *l, int err, const char *why)
{
    struct disk_op *op = l->op;
    l->op = NULL;
    if (op)
        disk_op_part(op, err, why);
}

static void end_line(struct disk_line *l)
{
    for (unsigned k = 0; k < WAYS; k++) {
        struct disk_stream *s = &l->stream[k];
        if (s->dial)
            daemon_dial_cancel(s->dial);
        else if (s->open)
            bulk_server_cancel(l->move->d->bulk, s);
    }
    if (l->fd >= 0)
        shutdown(l->fd, SHUT_RDWR);
    close_fd(&l->hash_fd);
    close_fd(&l->agent_fd);
    close_fd(&l->agent_hash_fd);
    if (!l->asked)
        mirrored(l, VI_ECANCELED, "given up");
}

static void end_move(struct disk_move *m)
{
    if (m->cancelled)
        return;
    m->cancelled = true;
    m->refs++;
    for (unsigned i = 0; i < m->n; i++)
        end_line(&m->line[i]);
    release(m);
}

void daemon_disk_end(struct daemon *d, const struct vi_id *handover)
{
    struct disk_move *m = find(d, handover);
    if (m)
        end_move(m);
}

void daemon_disk_drop_peer(struct daemon *d, const struct vi_id *peer)
{
    struct disk_move *m, *next;
    for (m = LIST_FIRST(&d->disks->moves); m; m = next) {
        next = LIST_NEXT(m, link);
        if (vi_id_equal(&m->peer, peer))
            end_move(m);
    }
}

void daemon_disks_close(struct daemon *d)
{
    struct disk_move *m, *next;
    for (m = d->disks ? LIST_FIRST(&d->disks->moves) : NULL; m; m = next) {
        next = LIST_NEXT(m, link);
        end_move(m);
    }
}

void disk_move_settle(struct daemon *d, const struct vi_id *handover)
{
    struct disk_move *m = find(d, handover);
    for (unsigned i = 0; m && i < m->n; i++)
        m->line[i].settled = true;
}

/* The core decides what it means, and ends the others by daemon_disk_end(). */
static void broken(struct disk_line *l, const char *what, const char *why)
{
    struct disk_move *m = l->move;
    struct handover_event ev = {.kind = HANDOVER_EV_CANCEL, .id = m->handover};
    char text[HANDOVER_WHY];
    if (l->settled || m->cancelled)
        return;
    l->settled = true; /* said once */
    snprintf(text, sizeof text, "its disk %.40s: %s%.90s", l->disk.name, what, why);
    vi_log(VI_LOG_INFO, "disk", "%s", text);
    ev.why = text;
    (void)handovers_step(m->d->handovers, daemon_now(), &ev);
}

/* ---- streams */

/* Data that was cut ends the copy on both sides. At the destination replies that can't go back do so only if there is
 * something left to say: the source may have got all it waited for. */
static void ended_early(struct disk_stream *s, const char *why)
{
    struct disk_line *l = s->line;
    if (l->fd >= 0 && s->way != DISK_HASHES)
        shutdown(l->fd, l->move->source || s->way == DISK_DATA ? SHUT_RDWR : SHUT_RD);
    if (l->move->source)
        broken(l, "the stream was cut: ", why);
}

static void on_stream_done(void *arg, int err, const char *why, uint64_t bytes)
{
    struct disk_stream *s = arg;
    struct disk_move *m = s->line->move;
    s->open = false;
    s->dial = NULL;
    s->bytes = bytes;
    if (err)
        ended_early(s, why);
    else if (m->source && s->way != DISK_HASHES)
        broken(s->line, "the copy has ended early", "");
    release(m);
}

static int copy_fd(int fd)
{
    return fcntl(fd, F_DUPFD_CLOEXEC, 0);
}

/* fd is taken over. */
static int dial(struct disk_line *l, enum disk_way way, int fd, char *why, size_t cap)
{
    struct disk_move *m = l->move;
    struct disk_stream *s = stream_of(l, way);
    uint8_t purpose[DISK_PURPOSE];
    memcpy(purpose, m->handover.b, VI_ID_SIZE);
    purpose[VI_ID_SIZE] = (uint8_t)way;
    purpose[VI_ID_SIZE + 1] = (uint8_t)l->index;
    if (fd < 0) {
        snprintf(why, cap, "no descriptor left");
        return VI_EIO;
    }
    s->dial = daemon_dial(m->d, &m->peer, purpose, sizeof purpose, fd, (uint64_t)m->d->cfg.migration_bandwidth * 1024,
                          on_stream_done, s, why, cap);
    if (!s->dial)
        return VI_ENOTFOUND;
    s->open = true;
    m->refs++;
    return 0;
}

static int pairs(struct disk_line *l)
{
    int sv[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
        return VI_EIO;
    l->fd = sv[0];
    l->agent_fd = sv[1];
    if (!l->disk.base)
        return 0;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0)
        return VI_EIO;
    l->hash_fd = sv[0];
    l->agent_hash_fd = sv[1];
    return 0;
}

/* ---- the source */

static void on_mirrored(void *arg, int err, const char *detail)
{
    struct disk_line *l = arg;
    struct disk_move *m = l->move;
    if (!err)
        l->in_sync = l->disk.sectors;
    mirrored(l, err, detail);
    if (err)
        end_move(m); /* one that can't go keeps them all here */
    release(m);
}

static void on_progress(void *arg, uint64_t in_sync, uint64_t sectors, uint64_t to_copy)
{
    struct disk_line *l = arg;
    l->to_copy = to_copy < sectors ? to_copy : sectors;
    l->in_sync = in_sync < sectors ? in_sync : sectors;
}

/* The way there and back is open: from now on what the agent asks is answered, and in time. */
static void begin_copy(struct disk_line *l)
{
    struct disk_move *m = l->move;
    struct disks *k = m->d->disks->ops;
    int fd = l->agent_fd, hashes = l->agent_hash_fd, err;
    if (l->asked || !stream_of(l, DISK_REPLIES)->open || (l->disk.base && !stream_of(l, DISK_HASHES)->open))
        return;
    l->asked = true;
    l->agent_fd = l->agent_hash_fd = -1;
    m->refs++;
    err = k->ops->mirror(k, &m->handover, &l->disk.id, fd, hashes, on_progress, on_mirrored, l);
    if (err)
        on_mirrored(l, err, "this host's disks can't be asked");
}

void disk_move_mirror(struct daemon *d, const struct handover_effect *fx, struct disk_op *op)
{
    struct disk_move *m = find(d, &fx->id) ? NULL : move_new(d, &fx->id, &fx->peer, fx->guest, true);
    char why[HANDOVER_WHY];
    if (!m) {
        op->left++;
        disk_op_part(op, VI_ENOMEM, "out of memory");
        return;
    }
    op->left += m->n;
    for (unsigned i = 0; i < m->n; i++)
        m->line[i].op = op;
    for (unsigned i = 0; i < m->n && !m->cancelled; i++) {
        struct disk_line *l = &m->line[i];
        int err = pairs(l);
        snprintf(why, sizeof why, "no socket pair");
        if (!err)
            err = dial(l, DISK_DATA, copy_fd(l->fd), why, sizeof why);
        if (!err)
            continue;
        mirrored(l, err, why);
        end_move(m);
    }
    release(m);
}

/* ---- the destination */

static void on_served(void *arg, int err, const char *detail)
{
    struct disk_line *l = arg;
    if (err)
        broken(l, "", detail);
    l->settled = true;
    release(l->move);
}

static int serve(struct disk_line *l)
{
    struct disk_move *m = l->move;
    struct disks *k = m->d->disks->ops;
    char why[HANDOVER_WHY];
    int fd, hashes, err = pairs(l);
    if (err)
        return -1;
    fd = l->agent_fd;
    hashes = l->agent_hash_fd;
    l->agent_fd = l->agent_hash_fd = -1;
    l->asked = true;
    err = k->ops->serve(k, &m->handover, &l->disk.id, fd, hashes, on_served, l);
    if (err) {
        broken(l, "", "this host's disks can't be asked");
        return -1;
    }
    m->refs++;
    err = dial(l, DISK_REPLIES, copy_fd(l->fd), why, sizeof why);
    if (!err && l->disk.base) {
        fd = l->hash_fd;
        l->hash_fd = -1;
        err = dial(l, DISK_HASHES, fd, why, sizeof why);
    }
    if (err)
        broken(l, "no way back: ", why);
    return err ? -1 : copy_fd(l->fd);
}

/* Data for a disk that this handover has made here. */
static int let_data_in(struct daemon *d, const struct vi_id *handover, const struct vi_id *peer, unsigned i, struct disk_stream **s)
{
    struct disk_move *m = find(d, handover);
    struct handover_view v;
    int fd;
    if (!handover_find(d->handovers, handover, &v))
        return -1;
    if (!m)
        m = move_new(d, handover, peer, v.guest, false);
    else
        m->refs++;
    if (!m)
        return -1;
    fd = serve(&m->line[i]);
    if (fd >= 0) {
        *s = stream_of(&m->line[i], DISK_DATA);
        (*s)->open = true;
        m->refs++;
    } else
        end_line(&m->line[i]);
    release(m);
    return fd;
}

/* ---- both */

/* Does a disk of the source wait for that stream? */
static struct disk_stream *awaited(struct daemon *d, const struct vi_id *handover, const struct vi_id *peer, enum disk_way way,
                                   unsigned i)
{
    struct disk_move *m = find(d, handover);
    struct disk_line *l = m && i < m->n ? &m->line[i] : NULL;
    if (!l || !m->source || m->cancelled || l->asked || !vi_id_equal(&m->peer, peer) || stream_of(l, way)->open ||
        (way == DISK_REPLIES ? l->fd : l->hash_fd) < 0)
        return NULL;
    return stream_of(l, way);
}

static bool data_expected(struct daemon *d, const struct vi_id *handover, const struct vi_id *peer, unsigned i)
{
    struct disk_move *m = find(d, handover);
    return d->disks->ops && handover_expects_disk(d->handovers, handover, peer, i) &&
           (!m || (!m->source && !m->cancelled && i < m->n && !m->line[i].asked));
}

bool daemon_disk_expects(struct daemon *d, const struct vi_id *peer, const uint8_t *purpose)
{
    enum disk_way way = purpose[VI_ID_SIZE];
    struct vi_id handover;
    memcpy(handover.b, purpose, VI_ID_SIZE);
    if (way == DISK_DATA)
        return data_expected(d, &handover, peer, purpose[VI_ID_SIZE + 1]);
    return (way == DISK_REPLIES || way == DISK_HASHES) && awaited(d, &handover, peer, way, purpose[VI_ID_SIZE + 1]);
}

int daemon_disk_stream(struct daemon *d, const struct vi_id *peer, const uint8_t *purpose, bulk_done **done, void **done_arg)
{
    enum disk_way way = purpose[VI_ID_SIZE];
    unsigned i = purpose[VI_ID_SIZE + 1];
    struct disk_stream *s = NULL;
    struct vi_id handover;
    int fd;
    memcpy(handover.b, purpose, VI_ID_SIZE);
    if (!daemon_disk_expects(d, peer, purpose))
        return -1;
    if (way == DISK_DATA)
        fd = let_data_in(d, &handover, peer, i, &s);
    else {
        s = awaited(d, &handover, peer, way, i);
        fd = way == DISK_REPLIES ? copy_fd(s->line->fd) : s->line->hash_fd;
        if (way == DISK_HASHES)
            s->line->hash_fd = -1;
        s->open = fd >= 0;
        s->line->move->refs += fd >= 0;
    }
    if (fd < 0)
        return -1;
    *done = on_stream_done;
    *done_arg = s;
    if (way != DISK_DATA)
        begin_copy(s->line);
    return fd;
}

/* ---- once a second */

/* Sectors that were compared with an old copy. (Of its hashes far more may have come than the agent has got to.) */
static uint64_t compared(const struct disk_line *l)
{
    uint64_t sectors = l->disk.base ? l->in_sync + l->to_copy : 0;
    return sectors < l->disk.sectors ? sectors : l->disk.sectors;
}

static void tell_progress(struct disk_move *m)
{
    struct handover_event ev = {.kind = HANDOVER_EV_PROGRESS, .id = m->handover};
    for (unsigned i = 0; i < m->n; i++) {
        ev.done += m->line[i].in_sync;
        ev.compared += compared(&m->line[i]);
    }
    (void)handovers_step(m->d->handovers, daemon_now(), &ev);
}

/* What a stream wants: one that uses all it may, or is new, everything; another somewhat more than it uses. */
static double wanted(const struct dial *dial, uint64_t *before, double had, double capacity)
{
    uint64_t bytes = daemon_dial_bytes(dial);
    double used = (double)(bytes - (*before < bytes ? *before : bytes)) / 1024;
    bool is_new = *before == 0;
    *before = bytes;
    return is_new || used > 0.8 * had ? capacity : 1.5 * used + capacity / 32;
}

/* A move is no faster than the configuration says, whatever it takes along: its memory and its disks divide that. */
static void share_bandwidth(struct disk_move *m)
{
    struct transit *t = daemon_transit(m->d, &m->handover);
    double capacity = (double)m->d->cfg.migration_bandwidth * 1024, want[1 + HANDOVER_DISKS], part[1 + HANDOVER_DISKS],
           shares[1 + HANDOVER_DISKS];
    struct dial *dials[1 + HANDOVER_DISKS];
    double *had[1 + HANDOVER_DISKS];
    uint64_t *before[1 + HANDOVER_DISKS];
    unsigned n = 0;
    if (t && t->dial) {
        dials[n] = t->dial;
        before[n] = &t->was_bytes;
        had[n++] = &t->limit;
    }
    for (unsigned i = 0; i < m->n; i++) {
        struct disk_stream *s = stream_of(&m->line[i], DISK_DATA);
        if (!s->dial)
            continue;
        dials[n] = s->dial;
        before[n] = &s->was_bytes;
        had[n++] = &s->limit;
    }
    for (unsigned i = 0; i < n; i++) {
        want[i] = wanted(dials[i], before[i], *had[i], capacity);
        shares[i] = 1;
    }
    policy_divide(capacity, n, want, shares, part);
    for (unsigned i = 0; i < n; i++) {
        *had[i] = part[i];
        daemon_dial_limit(dials[i], (uint64_t)part[i] + 1);
    }
}

void disk_moves_turn(struct daemon *d)
{
    struct disk_move *m;
    LIST_FOREACH (m, &d->disks->moves, link) {
        if (!m->source)
            continue;
        tell_progress(m);
        if (d->cfg.migration_bandwidth)
            share_bandwidth(m);
    }
}

void daemon_disk_figures(const struct daemon *d, const struct vi_id *handover, struct disk_figures *f)
{
    const struct disk_move *m = find(d, handover);
    const struct transit *t = daemon_transit((struct daemon *)d, handover);
    memset(f, 0, sizeof *f);
    f->bytes = t ? t->disk_bytes : 0;
    if (!m)
        return;
    f->copying = true;
    f->bytes += bytes_of(m);
    for (unsigned i = 0; i < m->n; i++)
        f->in_sync += m->line[i].in_sync;
}

unsigned daemon_disk_streams(const struct daemon *d)
{
    static struct handover_view v;
    unsigned n = 0, pos = 0;
    while (handover_next(d->handovers, &pos, &v))
        if (!v.over)
            n += v.role == HANDOVER_SOURCE ? 2 * v.guest->n_disks : 1 + v.guest->n_disks;
    return n;
}
