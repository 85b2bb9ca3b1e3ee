/* The agent's disks as the peer sees them: disks.h over the link. See agent_client_internal.h. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peer/agent_client_internal.h"
#include "peer/link_wire.h"

static struct agent_client *client_of(struct disks *s)
{
    return (struct agent_client *)(void *)((char *)s - offsetof(struct agent_client, disks));
}

/* ---- answers */

static void take_page(struct agent_client *c, struct vi_reader *r)
{
    struct disk_info *more;
    struct call *k;
    uint32_t n;
    vi_read_array(r, 2);
    k = agent_call_find(c, (uint32_t)vi_read_uint(r, UINT32_MAX));
    n = vi_read_array(r, DISKS_MAX);
    if (!k || k->kind != R_DISKS || r->err || n == 0)
        return;
    more = realloc(k->disks, (k->n_disks + n) * sizeof *more);
    if (!more) {
        k->no_memory = true;
        return;
    }
    k->disks = more;
    for (uint32_t i = 0; i < n && k->n_disks < DISKS_MAX; i++) {
        link_read_disk(r, &k->disks[k->n_disks]);
        if (r->err)
            return;
        k->n_disks++;
    }
}

static void take_progress(struct agent_client *c, struct vi_reader *r)
{
    struct call *k;
    uint64_t in_sync, sectors, to_copy;
    vi_read_array(r, 4);
    k = agent_call_find(c, (uint32_t)vi_read_uint(r, UINT32_MAX));
    in_sync = vi_read_uint(r, UINT64_MAX);
    sectors = vi_read_uint(r, UINT64_MAX);
    to_copy = vi_read_uint(r, UINT64_MAX);
    if (!r->err && k && k->kind == R_DONE && k->progress)
        k->progress(k->arg, in_sync, sectors, to_copy);
}

void agent_disks_told(struct agent_client *c, const char *method, struct vi_reader *r)
{
    if (!strcmp(method, "disk.page"))
        take_page(c, r);
    else if (!strcmp(method, "disk.progress"))
        take_progress(c, r);
}

void agent_disks_answer(struct call *k, int err, const char *text, struct vi_reader *r)
{
    static const struct disk_info none;
    uint64_t room = 0;
    if (!err && k->no_memory)
        err = VI_ENOMEM;
    if (!err) {
        vi_read_array(r, 2);
        (void)vi_read_uint(r, DISKS_MAX);
        room = vi_read_uint(r, UINT64_MAX);
        err = r->err ? VI_EPROTO : 0;
    }
    k->cb.disks(k->arg, err, text, k->disks ? k->disks : &none, err ? 0 : k->n_disks, room);
}

/* ---- questions */

static int begin(struct hv_call *q, struct disks *s, const char *method, hv_done *done, void *arg)
{
    int err = agent_call_begin(q, client_of(s), R_DONE, method, arg);
    if (!err)
        q->slot->cb.done = done;
    return err;
}

static int op_list(struct disks *s, disks_list_done *done, void *arg)
{
    struct hv_call q;
    int err = agent_call_begin(&q, client_of(s), R_DISKS, "disk.list", arg);
    if (err)
        return err;
    q.slot->cb.disks = done;
    vi_write_nil(&q.w);
    return agent_call_send(&q, -1);
}

static int op_create(struct disks *s, const struct vi_id *id, const char *name, uint64_t sectors,
                     const uint8_t image[HV_HASH_SIZE], disks_progress *progress, hv_done *done, void *arg)
{
    struct hv_call q;
    int err = begin(&q, s, "disk.create", done, arg);
    if (err)
        return err;
    q.slot->progress = progress;
    vi_write_array(&q.w, 4);
    vi_write_id(&q.w, id);
    vi_write_str(&q.w, name);
    vi_write_uint(&q.w, sectors);
    if (image)
        vi_write_bin(&q.w, image, HV_HASH_SIZE);
    else
        vi_write_nil(&q.w);
    return agent_call_send(&q, -1);
}

static int op_adopt(struct disks *s, const struct vi_id *id, const char *name, const char *path, hv_done *done, void *arg)
{
    struct hv_call q;
    int err = begin(&q, s, "disk.adopt", done, arg);
    if (err)
        return err;
    vi_write_array(&q.w, 3);
    vi_write_id(&q.w, id);
    vi_write_str(&q.w, name);
    vi_write_str(&q.w, path);
    return agent_call_send(&q, -1);
}

static int op_remove(struct disks *s, const struct vi_id *id, hv_done *done, void *arg)
{
    struct hv_call q;
    int err = begin(&q, s, "disk.remove", done, arg);
    if (err)
        return err;
    vi_write_array(&q.w, 1);
    vi_write_id(&q.w, id);
    return agent_call_send(&q, -1);
}

/* Methods whose parameters begin with the handover and the disk. */
static int begin_handover(struct hv_call *q, struct disks *s, const char *method, const struct vi_id *handover,
                          const struct vi_id *id, uint32_t n_more, hv_done *done, void *arg)
{
    int err = begin(q, s, method, done, arg);
    if (err)
        return err;
    vi_write_array(&q->w, 2 + n_more);
    vi_write_id(&q->w, handover);
    vi_write_id(&q->w, id);
    return 0;
}

/* The second descriptor goes first, in a message of its own; that it couldn't be taken the copy's answer says. */
static int send_hashes(struct disks *s, const struct vi_id *handover, const struct vi_id *id, int hashes)
{
    struct hv_call q;
    int err = begin_handover(&q, s, "disk.hashes", handover, id, 0, NULL, NULL);
    if (err) {
        close(hashes);
        return err;
    }
    q.slot->kind = R_IGNORED;
    return agent_call_send_stream(&q, hashes);
}

static int copy(struct disks *s, const char *method, const struct vi_id *handover, const struct vi_id *id, int fd, int hashes,
                disks_progress *progress, hv_done *done, void *arg)
{
    struct hv_call q;
    int err = hashes < 0 ? 0 : send_hashes(s, handover, id, hashes);
    if (!err)
        err = begin_handover(&q, s, method, handover, id, 1, done, arg);
    if (err) {
        close(fd);
        return err;
    }
    q.slot->progress = progress;
    vi_write_bool(&q.w, hashes >= 0);
    return agent_call_send_stream(&q, fd);
}

static int op_mirror(struct disks *s, const struct vi_id *handover, const struct vi_id *id, int fd, int hashes,
                     disks_progress *progress, hv_done *done, void *arg)
{
    return copy(s, "disk.mirror", handover, id, fd, hashes, progress, done, arg);
}

static int op_serve(struct disks *s, const struct vi_id *handover, const struct vi_id *id, int fd, int hashes, hv_done *done,
                    void *arg)
{
    return copy(s, "disk.serve", handover, id, fd, hashes, NULL, done, arg);
}

static int plain(struct disks *s, const char *method, const struct vi_id *handover, const struct vi_id *id, hv_done *done,
                 void *arg)
{
    struct hv_call q;
    int err = begin_handover(&q, s, method, handover, id, 0, done, arg);
    return err ? err : agent_call_send(&q, -1);
}

static int op_finish(struct disks *s, const struct vi_id *handover, const struct vi_id *id, hv_done *done, void *arg)
{
    return plain(s, "disk.finish", handover, id, done, arg);
}

static int op_unmirror(struct disks *s, const struct vi_id *handover, const struct vi_id *id, hv_done *done, void *arg)
{
    return plain(s, "disk.unmirror", handover, id, done, arg);
}

static int op_complete(struct disks *s, const struct vi_id *handover, const struct vi_id *id, hv_done *done, void *arg)
{
    return plain(s, "disk.complete", handover, id, done, arg);
}

static int op_discard(struct disks *s, const struct vi_id *handover, const struct vi_id *id, hv_done *done, void *arg)
{
    return plain(s, "disk.discard", handover, id, done, arg);
}

static int with_generation(struct disks *s, const char *method, const struct vi_id *handover, const struct vi_id *id,
                           uint64_t generation, hv_done *done, void *arg)
{
    struct hv_call q;
    int err = begin_handover(&q, s, method, handover, id, 1, done, arg);
    if (err)
        return err;
    vi_write_uint(&q.w, generation);
    return agent_call_send(&q, -1);
}

static int op_retire(struct disks *s, const struct vi_id *handover, const struct vi_id *id, uint64_t generation, hv_done *done,
                     void *arg)
{
    return with_generation(s, "disk.retire", handover, id, generation, done, arg);
}

static int op_own(struct disks *s, const struct vi_id *handover, const struct vi_id *id, uint64_t generation, hv_done *done,
                  void *arg)
{
    return with_generation(s, "disk.own", handover, id, generation, done, arg);
}

static int op_make(struct disks *s, const struct vi_id *handover, const struct vi_id *id, const char *name, uint64_t sectors,
                   bool base, hv_done *done, void *arg)
{
    struct hv_call q;
    int err = begin_handover(&q, s, "disk.make", handover, id, 3, done, arg);
    if (err)
        return err;
    vi_write_str(&q.w, name);
    vi_write_uint(&q.w, sectors);
    vi_write_bool(&q.w, base);
    return agent_call_send(&q, -1);
}

static const struct disks_ops remote_ops = {
    .list = op_list, .create = op_create, .adopt = op_adopt, .remove = op_remove, .mirror = op_mirror,
    .finish = op_finish, .unmirror = op_unmirror, .retire = op_retire, .make = op_make, .serve = op_serve,
    .complete = op_complete, .own = op_own, .discard = op_discard,
};

void agent_disks_init(struct agent_client *c)
{
    c->disks.ops = &remote_ops;
}

struct disks *agent_client_disks(struct agent_client *c)
{
    return &c->disks;
}
