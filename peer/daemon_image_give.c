/* The daemon and images: what is given to others. See daemon_image.h.
 *
 * CALL_IMAGE_SEND → giving: file opened → (worker reads an item) → socket pair → bulk stream → … → end.
 * Two items are in memory at most: one that is written, one that is read meanwhile. The bulk stream writes no faster than
 * the other reads, and the limit `image-bandwidth` lets it.
 *
 * Who may have what: members of the own domain everything; another domain's host only images of guests here whose
 * environment that host takes part in. */
#include "peer/daemon_image.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer/base/err.h"
#include "peer/base/log.h"
#include "peer/daemon_dial.h"
#include "peer/daemon_federation.h"

struct giving {
    LIST_ENTRY(giving) link;
    struct daemon *d;
    struct vi_id peer;
    struct image_ask ask;
    struct image_file file;
    char folder[CONFIG_TEXT];
    struct dial *dial;
    uv_pipe_t pipe;
    uv_work_t req;
    uv_write_t write;
    unsigned range; /* of the item that is read next */
    uint32_t in_range;
    int fd;
    uint8_t *item[2]; /* 0: written; 1: read, or being read */
    size_t len[2];
    unsigned refs;    /* pipe, dial, work, write */
    bool reading, writing, read_all, ended;
};

/* ---- who may have it ---- */

static bool takes_part(const struct env *e, const struct vi_id *peer)
{
    for (unsigned i = 0; i < e->n_participants; i++)
        if (vi_id_equal(&e->participants[i], peer))
            return true;
    return false;
}

static bool may_have(struct daemon *d, const struct vi_id *peer, const uint8_t hash[IMAGE_HASH])
{
    uint8_t of[IMAGE_OF_GUEST][IMAGE_HASH];
    struct cert c;
    if (!fed_foreign(d, peer, &c))
        return true;
    for (unsigned i = 0; i < d->n_guests; i++) {
        const struct env *e = daemon_guest_env(d, &d->guests[i]);
        unsigned n = e && takes_part(e, peer) ? image_of_guest(&d->guests[i], of) : 0;
        for (unsigned k = 0; k < n; k++)
            if (!memcmp(of[k], hash, IMAGE_HASH))
                return true;
    }
    return false;
}

static struct image_file *by_name(struct daemon *d, const char *name)
{
    for (unsigned i = 0; i < d->images->n; i++)
        if (!strcmp(d->images->files[i].name, name))
            return &d->images->files[i];
    return NULL;
}

int daemon_image_find(struct daemon *d, const struct vi_id *from, const uint8_t *body, size_t len, uint8_t *out)
{
    struct image_find q;
    struct image_found a = {.size = 0};
    const struct image_file *f;
    int err = image_find_decode(&q, body, len);
    if (err)
        return err;
    f = q.by_name ? by_name(d, q.name) : image_here(d, q.hash);
    if (!f || !may_have(d, from, f->hash))
        return VI_ENOTFOUND;
    memcpy(a.hash, f->hash, IMAGE_HASH);
    memcpy(a.manifest, f->manifest, IMAGE_HASH);
    a.size = f->size;
    snprintf(a.name, sizeof a.name, "%s", image_name_valid(f->name) ? f->name : "");
    return image_found_encode(&a, out, CALL_BODY_MAX);
}

/* ---- the end ---- */

static void release(struct giving *g)
{
    if (--g->refs)
        return;
    LIST_REMOVE(g, link);
    g->d->images->n_giving--;
    if (g->fd >= 0)
        close(g->fd);
    free(g->item[0]);
    free(g->item[1]);
    free(g);
}

static void on_closed(uv_handle_t *h)
{
    release(h->data);
}

static void end(struct giving *g)
{
    g->ended = true;
    if (!uv_is_closing((uv_handle_t *)&g->pipe))
        uv_close((uv_handle_t *)&g->pipe, on_closed);
}

static void on_dial_done(void *arg, int err, const char *why, uint64_t bytes)
{
    struct giving *g = arg;
    g->dial = NULL;
    g->d->images->given_bytes += bytes;
    if (err && !g->ended)
        vi_log(VI_LOG_DEBUG, "image", "stream to %s: %s", daemon_member_name(g->d, &g->peer), why);
    end(g);
    release(g);
}

/* ---- items ---- */

static void go_on(struct giving *g);

static void read_manifest(struct giving *g)
{
    size_t len = 0;
    uint8_t *m = image_store_manifest(g->folder, &g->file, &len);
    g->item[1] = malloc(IMAGE_ITEM_HEAD + len);
    if (g->item[1]) {
        image_item_head(g->item[1], IMAGE_ITEM_MANIFEST, (uint32_t)len);
        if (m)
            memcpy(g->item[1] + IMAGE_ITEM_HEAD, m, len);
        g->len[1] = IMAGE_ITEM_HEAD + len;
    }
    free(m);
}

/* One that isn't there, or changed, is said to be missing. */
static void read_chunk(struct giving *g)
{
    uint32_t c = g->ask.ranges[g->range].first + g->in_range;
    uint32_t len = c < image_chunks(g->file.size) ? image_chunk_len(g->file.size, c) : 0;
    uint8_t *p = malloc(IMAGE_ITEM_HEAD + (size_t)len);
    if (!p)
        return;
    for (uint32_t n = 0; n < len;) {
        ssize_t r = pread(g->fd, p + IMAGE_ITEM_HEAD + n, len - n, (off_t)((uint64_t)c << IMAGE_CHUNK_SHIFT) + (off_t)n);
        if (r <= 0)
            len = 0;
        else
            n += (uint32_t)r;
    }
    image_item_head(p, c, len);
    g->item[1] = p;
    g->len[1] = IMAGE_ITEM_HEAD + (size_t)len;
}

static bool open_file(struct giving *g)
{
    struct stat st;
    g->fd = open(g->file.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    return g->fd >= 0 && fstat(g->fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == g->file.size;
}

static void on_work(uv_work_t *req)
{
    struct giving *g = req->data;
    if (g->ask.manifest)
        read_manifest(g);
    else if (g->fd >= 0 || open_file(g))
        read_chunk(g);
}

static void on_worked(uv_work_t *req, int status)
{
    struct giving *g = req->data;
    (void)status;
    g->reading = false;
    g->d->images->jobs--;
    if (g->ask.manifest || ++g->in_range == g->ask.ranges[g->range].n) {
        g->range++;
        g->in_range = 0;
    }
    g->read_all = g->ask.manifest || g->range == g->ask.n_ranges;
    if (!g->item[1])
        end(g); /* it can't be read: the stream ends early */
    go_on(g);
    release(g);
}

static void on_written(uv_write_t *req, int status)
{
    struct giving *g = req->data;
    g->writing = false;
    free(g->item[0]);
    g->item[0] = NULL;
    if (status < 0)
        end(g);
    go_on(g);
    release(g);
}

static void go_on(struct giving *g)
{
    uv_buf_t buf;
    if (g->ended)
        return;
    if (!g->writing && !g->reading && g->item[1]) {
        g->item[0] = g->item[1];
        g->len[0] = g->len[1];
        g->item[1] = NULL;
        g->write.data = g;
        buf = uv_buf_init((char *)g->item[0], (unsigned)g->len[0]);
        if (uv_write(&g->write, (uv_stream_t *)&g->pipe, &buf, 1, on_written)) {
            end(g);
            return;
        }
        g->writing = true;
        g->refs++;
    }
    if (!g->reading && !g->read_all && !g->item[1]) {
        g->req.data = g;
        if (uv_queue_work(&g->d->loop, &g->req, on_work, on_worked)) {
            end(g);
            return;
        }
        g->reading = true;
        g->refs++;
        g->d->images->jobs++;
    }
    if (g->read_all && !g->writing && !g->item[1])
        end(g); /* all of it is in the stream, which ends with it */
}

/* ---- beginning ---- */

static uint64_t bandwidth(const struct daemon *d)
{
    uint64_t all = (uint64_t)d->cfg.image_bandwidth * 1024; /* KiB/s */
    return all ? all / (d->images->n_giving ? d->images->n_giving : 1) + 1 : 0;
}

static int begin(struct daemon *d, const struct vi_id *peer, const struct image_ask *ask, const struct image_file *f)
{
    struct giving *g = calloc(1, sizeof *g);
    char why[160];
    int sv[2];
    if (!g || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0) {
        free(g);
        return VI_ENOMEM;
    }
    *g = (struct giving){.d = d, .peer = *peer, .ask = *ask, .file = *f, .fd = -1, .refs = 1};
    snprintf(g->folder, sizeof g->folder, "%s", d->cfg.image_cache);
    LIST_INSERT_HEAD(&d->images->giving, g, link);
    d->images->n_giving++;
    uv_pipe_init(&d->loop, &g->pipe, 0);
    g->pipe.data = g;
    if (uv_pipe_open(&g->pipe, sv[0])) {
        close(sv[0]);
        close(sv[1]);
        end(g);
        return VI_EIO;
    }
    g->dial = daemon_dial(d, peer, ask->stream.b, VI_ID_SIZE, sv[1], bandwidth(d), on_dial_done, g, why, sizeof why);
    if (!g->dial) {
        end(g);
        return VI_EIO;
    }
    g->refs++;
    go_on(g);
    return 0;
}

int daemon_image_send(struct daemon *d, const struct vi_id *from, const uint8_t *body, size_t len)
{
    struct image_ask q;
    struct giving *g;
    unsigned its = 0;
    struct image_file *f;
    int err = image_ask_decode(&q, body, len);
    if (err)
        return err;
    LIST_FOREACH (g, &d->images->giving, link) {
        its += vi_id_equal(&g->peer, from);
        if (vi_id_equal(&g->peer, from) && vi_id_equal(&g->ask.stream, &q.stream))
            return 0; /* asked again */
    }
    f = image_here(d, q.hash);
    if (!f || !may_have(d, from, q.hash))
        return VI_ENOTFOUND;
    if (!d->bulk || its >= IMAGE_GIVES_EACH || d->images->n_giving >= IMAGE_GIVES)
        return VI_EFULL;
    f->used = vi_clock_wall();
    return begin(d, from, &q, f);
}

void image_give_close(struct daemon *d)
{
    struct giving *g; /* none is freed in here: each still has its pipe to close */
    LIST_FOREACH (g, &d->images->giving, link) {
        end(g);
        if (g->dial)
            daemon_dial_cancel(g->dial);
    }
}
