/* Suspending a simulated guest into a descriptor, and restoring one from it.
 *
 *   stream  = "VISIM001" frame* ; frame = type (1 byte), length (4 bytes, little-endian), bytes
 *   frames:   1 pages (counted, all alike: 0x5a), 2 the guest as text (once), 3 end: bytes of pages,
 *             4 what it has written to one of its disks: index (1 byte), numbers (simulated_disk.c)
 *
 * Sending, happy path: a round of all used memory (at most host.conf's stream), rounds of what was
 * dirtied meanwhile until little is left or ROUNDS_MAX, then the guest is suspended and its network
 * cut, what was dirtied last goes out, then 4 for each disk, 2 and 3. Before the suspend every failure leaves the
 * guest running; after it, suspended. Receiving: the guest is made at the end frame, so that before
 * it nothing has to be undone. Both sides wait for the descriptor, never block, and check at every
 * turn that the guest is still the one they began with. */
#include "xen/simulated_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAGIC       "VISIM001"
#define MAGIC_SIZE  8
#define HEAD        5
#define CHUNK       (64 * 1024)
#define ROUNDS_MAX  5
#define LITTLE      (256 * 1024) /* bytes: then the guest is stopped */
#define PAGES_MAX   ((uint64_t)64 << 30)
#define TURNS       32 /* chunks at once, then the loop's other work */

enum frame { FRAME_PAGES = 1, FRAME_STATE = 2, FRAME_END = 3, FRAME_WRITTEN = 4 };
enum phase { LIVE, CUTTING, LAST, TAIL, RECEIVING, FINISHED };

struct sim_stream {
    struct sim_stream *next;
    struct sim *sim;
    uv_poll_t poll;
    bool polling; /* poll is initialised */
    int fd;
    enum phase phase;
    unsigned waits; /* network commands under way */
    struct vi_id uuid;
    uint32_t domid;
    sim_stream_done *done;
    void *arg;
    int err;
    char detail[SIM_DETAIL];
    /* sending */
    uint64_t scale_num, scale_den; /* bytes sent per byte of memory */
    uint64_t left, sent;
    unsigned round;
    vi_time round_began;
    unsigned told; /* disks */
    /* receiving */
    struct hv_description description;
    struct sim_guest state;
    bool have_magic, have_state;
    uint64_t received;
    struct sim_tables tables;
    size_t at, len;
    uint8_t buffer[CHUNK + HEAD + 1];
};

/* ---- the end ------------------------------------------------------------------------------------------ */

static void unlink_stream(struct sim_stream *t)
{
    for (struct sim_stream **p = &t->sim->streams; *p; p = &(*p)->next)
        if (*p == t) {
            *p = t->next;
            return;
        }
}

static void try_free(struct sim_stream *t)
{
    if (t->phase != FINISHED || t->polling || t->waits)
        return;
    struct sim *s = t->sim;
    sim_tables_free(&t->tables);
    free(t);
    sim_release(s);
}

static void poll_closed(uv_handle_t *h)
{
    struct sim_stream *t = h->data;
    close(t->fd);
    t->polling = false;
    try_free(t);
}

static void finish(struct sim_stream *t, int err, const char *detail)
{
    if (t->phase == FINISHED)
        return;
    t->phase = FINISHED;
    unlink_stream(t);
    uv_poll_stop(&t->poll);
    uv_close((uv_handle_t *)&t->poll, poll_closed);
    t->done(t->arg, err, detail, t->domid);
}

/* ---- sending -------------------------------------------------------------------------------------------- */

static struct sim_guest *guest_of(struct sim_stream *t)
{
    sim_now(t->sim);
    return sim_model_find(t->sim->model, t->domid, &t->uuid);
}

static void put_head(uint8_t *p, enum frame type, uint32_t len)
{
    p[0] = (uint8_t)type;
    for (int i = 0; i < 4; i++)
        p[1 + i] = (uint8_t)(len >> 8 * i);
}

static void on_writable(uv_poll_t *poll, int status, int events);

/* What the guest dirtied since the round began, scaled like its memory. */
static uint64_t dirtied(struct sim_stream *t, const struct sim_guest *g)
{
    vi_time now = vi_clock_boottime();
    double secs = (double)(now - t->round_began) / 1e6;
    double bytes = (double)g->cfg.load.dirty_kb_s * 1024 * secs;
    double most = (double)g->cfg.load.used_kb * 1024;
    t->round_began = now;
    if (bytes > most)
        bytes = most;
    return (uint64_t)(bytes * (double)t->scale_num / (double)t->scale_den);
}

static void cut_done(void *arg, int err, const char *detail)
{
    struct sim_stream *t = arg;
    t->waits--;
    if (t->phase == FINISHED) {
        try_free(t);
        return;
    }
    struct sim_guest *g = guest_of(t);
    if (!g) {
        finish(t, VI_ENOTFOUND, "the guest is gone");
    } else if (err) {
        finish(t, err, detail);
    } else {
        t->left = dirtied(t, g);
        t->phase = LAST;
        if (uv_poll_start(&t->poll, UV_WRITABLE, on_writable))
            finish(t, VI_EIO, "can't wait for the stream");
    }
}

static void stop_guest(struct sim_stream *t, struct sim_guest *g)
{
    int err = sim_model_suspend(t->sim->model, g);
    if (err) {
        finish(t, err, "the guest stopped running meanwhile");
        return;
    }
    sim_save(t->sim, g);
    t->phase = CUTTING;
    t->waits++;
    uv_poll_stop(&t->poll);
    err = sim_net_cut(&t->sim->net, g, true, cut_done, t);
    if (err) {
        t->waits--;
        finish(t, err, "can't cut the guest's network");
    }
}

static void next_round(struct sim_stream *t, struct sim_guest *g)
{
    uint64_t more = dirtied(t, g);
    if (++t->round >= ROUNDS_MAX || more <= LITTLE)  {
        t->round_began = vi_clock_boottime();
        t->left = more;
        stop_guest(t, g);
    } else {
        t->left = more;
    }
}

static void fill_pages(struct sim_stream *t)
{
    uint32_t n = t->left < CHUNK ? (uint32_t)t->left : CHUNK;
    put_head(t->buffer, FRAME_PAGES, n);
    memset(t->buffer + HEAD, 0x5a, n);
    t->at = 0;
    t->len = HEAD + n;
    t->left -= n;
    t->sent += n;
}

static void fill_written(struct sim_stream *t, const struct sim_guest *g)
{
    size_t n = sim_disk_table(t->sim, g, t->told, t->buffer + HEAD + 1);
    t->buffer[HEAD] = (uint8_t)t->told++;
    put_head(t->buffer, FRAME_WRITTEN, (uint32_t)n + 1);
    t->at = 0;
    t->len = HEAD + 1 + n;
}

static int fill_tail(struct sim_stream *t, const struct sim_guest *g)
{
    int n = sim_text_write(g, (char *)t->buffer + HEAD, SIM_TEXT_MAX);
    if (n < 0)
        return n;
    put_head(t->buffer, FRAME_STATE, (uint32_t)n);
    uint8_t *end = t->buffer + HEAD + n;
    put_head(end, FRAME_END, 8);
    for (int i = 0; i < 8; i++)
        end[HEAD + i] = (uint8_t)(t->sent >> 8 * i);
    t->at = 0;
    t->len = HEAD + (size_t)n + HEAD + 8;
    t->phase = TAIL;
    return 0;
}

/* The buffer is empty: what comes now? */
static void refill(struct sim_stream *t)
{
    struct sim_guest *g = guest_of(t);
    if (!g) {
        finish(t, VI_ENOTFOUND, "the guest is gone");
    } else if (t->phase == TAIL) {
        finish(t, 0, "");
    } else if (t->phase == LIVE && g->state != HV_RUNNING) {
        finish(t, VI_ESTATE, "the guest stopped running meanwhile");
    } else if (t->left) {
        fill_pages(t);
    } else if (t->phase == LIVE) {
        next_round(t, g);
    } else if (t->told < g->cfg.n_disks) {
        fill_written(t, g);
    } else if (fill_tail(t, g)) {
        finish(t, VI_EINVAL, "the guest's state is too long");
    }
}

static void on_writable(uv_poll_t *poll, int status, int events)
{
    struct sim_stream *t = poll->data;
    (void)status;
    (void)events;
    for (int i = 0; i < TURNS && (t->phase == LIVE || t->phase == LAST || t->phase == TAIL); i++) {
        if (t->at == t->len) {
            refill(t);
            continue;
        }
        ssize_t n = write(t->fd, t->buffer + t->at, t->len - t->at);
        if (n > 0) {
            t->at += (size_t)n;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            return;
        } else if (errno != EINTR) {
            finish(t, VI_EIO, "the other end of the stream is closed");
            return;
        }
    }
}

/* ---- receiving -------------------------------------------------------------------------------------------- */

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void take_state(struct sim_stream *t, size_t len)
{
    char line[SIM_TEXT_MAX], why[SIM_DETAIL];
    if (len >= sizeof line || t->have_state || memchr(t->buffer + HEAD, 0, len)) {
        finish(t, VI_EPROTO, "the stream is malformed");
        return;
    }
    memcpy(line, t->buffer + HEAD, len);
    line[len] = '\0';
    sim_text_defaults(&t->state);
    if (sim_text_read(&t->state, line, why, sizeof why) ||
        !vi_id_equal(&t->state.cfg.uuid, &t->description.uuid))
        finish(t, VI_EPROTO, "the stream is of another guest than was described");
    t->have_state = true;
}

static void take_written(struct sim_stream *t, size_t len)
{
    int err = sim_table_take(&t->tables, t->buffer[HEAD], t->buffer + HEAD + 1, len - 1);
    if (err)
        finish(t, err, "the stream is malformed");
}

static void take_end(struct sim_stream *t)
{
    uint64_t said = (uint64_t)get32(t->buffer + HEAD) | (uint64_t)get32(t->buffer + HEAD + 4) << 32;
    if (!t->have_state || said != t->received) {
        finish(t, VI_EPROTO, "the stream isn't whole");
        return;
    }
    sim_now(t->sim);
    uint32_t domid = 0;
    int err = sim_model_receive(t->sim->model, &t->description, &t->state, &domid);
    if (err) {
        finish(t, err, "the guest can't be here (any more)");
        return;
    }
    struct sim_guest *g = sim_model_find(t->sim->model, domid, &t->uuid);
    char why[SIM_DETAIL];
    err = sim_disks_open(t->sim, g, true, &t->tables, why, sizeof why);
    if (err) {
        sim_model_destroy(t->sim->model, g);
        finish(t, err, why);
        return;
    }
    t->domid = domid;
    sim_save(t->sim, g);
    sim_emit(t->sim, HV_EV_APPEARED, domid, &t->uuid, HV_REASON_NONE);
    finish(t, 0, "");
}

/* Takes one frame out of the buffer. False when bytes are missing or it is over. */
static bool take_frame(struct sim_stream *t)
{
    if (!t->have_magic) {
        if (t->len < MAGIC_SIZE)
            return false;
        if (memcmp(t->buffer, MAGIC, MAGIC_SIZE)) {
            finish(t, VI_EPROTO, "this isn't a stream of a simulated guest");
            return false;
        }
        t->have_magic = true;
        t->len -= MAGIC_SIZE;
        memmove(t->buffer, t->buffer + MAGIC_SIZE, t->len);
        return true;
    }
    if (t->len < HEAD)
        return false;
    uint32_t len = get32(t->buffer + 1);
    uint8_t type = t->buffer[0];
    if (len > CHUNK || type < FRAME_PAGES || type > FRAME_WRITTEN || (type == FRAME_END && len != 8) ||
        (type == FRAME_WRITTEN && !len) ||
        t->received > PAGES_MAX) {
        finish(t, VI_EPROTO, "the stream is malformed");
        return false;
    }
    if (t->len < HEAD + len)
        return false;
    if (type == FRAME_PAGES)
        t->received += len;
    else if (type == FRAME_STATE)
        take_state(t, len);
    else if (type == FRAME_WRITTEN)
        take_written(t, len);
    else
        take_end(t);
    if (t->phase == FINISHED)
        return false;
    t->len -= HEAD + len;
    memmove(t->buffer, t->buffer + HEAD + len, t->len);
    return true;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct sim_stream *t = poll->data;
    (void)status;
    (void)events;
    for (int i = 0; i < TURNS && t->phase == RECEIVING; i++) {
        ssize_t n = read(t->fd, t->buffer + t->len, sizeof t->buffer - t->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (n <= 0) {
            finish(t, VI_EIO, "the stream ended early");
            return;
        }
        t->len += (size_t)n;
        while (take_frame(t))
            ;
    }
}

/* ---- beginning ------------------------------------------------------------------------------------------- */

static struct sim_stream *stream_new(struct sim *s, int fd, sim_stream_done *done, void *arg)
{
    struct sim_stream *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    if (uv_poll_init(s->loop, &t->poll, fd)) {
        free(t);
        return NULL;
    }
    t->poll.data = t;
    t->polling = true;
    t->sim = s;
    t->fd = fd;
    t->done = done;
    t->arg = arg;
    t->next = s->streams;
    s->streams = t;
    s->handles++;
    return t;
}

int sim_stream_send(struct sim *s, const struct sim_guest *g, int fd, sim_stream_done *done,
                    void *arg)
{
    struct sim_stream *t = stream_new(s, fd, done, arg);
    if (!t)
        return VI_EIO;
    uint64_t used = g->cfg.load.used_kb < g->current_kb ? g->cfg.load.used_kb : g->current_kb;
    t->uuid = g->cfg.uuid;
    t->domid = g->domid;
    t->phase = LIVE;
    t->scale_num = t->scale_den = 1;
    if (used > s->stream_max_kb) {
        t->scale_num = s->stream_max_kb;
        t->scale_den = used;
        used = s->stream_max_kb;
    }
    t->left = used * 1024;
    t->round_began = vi_clock_boottime();
    memcpy(t->buffer, MAGIC, MAGIC_SIZE);
    t->len = MAGIC_SIZE;
    uv_poll_start(&t->poll, UV_WRITABLE, on_writable);
    return 0;
}

int sim_stream_receive(struct sim *s, const struct hv_description *d, int fd, sim_stream_done *done,
                       void *arg)
{
    struct sim_stream *t = stream_new(s, fd, done, arg);
    if (!t)
        return VI_EIO;
    t->description = *d;
    t->uuid = d->uuid;
    t->phase = RECEIVING;
    uv_poll_start(&t->poll, UV_READABLE, on_readable);
    return 0;
}

void sim_stream_cancel_all(struct sim *s)
{
    while (s->streams)
        finish(s->streams, VI_ECANCELED, "canceled");
}
