/* The disk of handover_disks.h. */
#include "tests/sim/handover_disks.h"

#include <string.h>

#include "peer/base/err.h"

static struct hwd disk;
struct hwd *hwd = &disk;

static void bad(const char *what)
{
    if (!disk.bad)
        disk.bad = what;
}

void hwd_begin(bool back, bool stale)
{
    struct hwd_copy *s = &disk.copy[0], *d = &disk.copy[1];
    memset(&disk, 0, sizeof disk);
    s->kind = HWD_TRUE;
    s->generation = back ? 6 : 1;
    s->synced = true;
    for (unsigned b = 0; b < HWD_BLOCKS; b++)
        s->block[b] = disk.acked[b] = ++disk.written;
    if (!back)
        return;
    *d = *s;
    d->kind = HWD_OLD;
    d->generation = 5;
    memset(d->by.b, 0x55, sizeof d->by.b);
    s->since = s->by = d->by;
    s->dirty[1] = s->dirty[4] = true;
    d->block[1] = d->block[4] = 0;
    if (!stale)
        return;
    d->generation = 3;
    memset(d->by.b, 0x33, sizeof d->by.b);
    d->block[2] = 0;
}

void hwd_describe(struct handover_guest *g)
{
    g->n_disks = 1;
    memset(g->disks[0].id.b, 0xd1, sizeof g->disks[0].id.b);
    g->disks[0].sectors = HWD_SECTORS;
    g->disks[0].generation = disk.copy[0].generation;
    g->disks[0].since = disk.copy[0].since;
}

/* ---- writes ---- */

static void on_mirror(unsigned block, uint64_t seq)
{
    if (!disk.mirror || disk.broken || !disk.in_sync[block])
        return;
    if (!disk.open) {
        disk.broken = true; /* and the guest goes on with its own copy */
        return;
    }
    disk.copy[1].block[block] = seq;
}

static void land(int n, unsigned block, uint64_t seq)
{
    disk.copy[n].block[block] = seq;
    disk.copy[n].dirty[block] = true;
    if (n == 0)
        on_mirror(block, seq);
}

void hwd_lands(int n, unsigned block, uint64_t seq, bool running)
{
    if (disk.copy[n].landing[block] != seq)
        return; /* it went with its host, or landed with the others */
    disk.copy[n].landing[block] = 0;
    land(n, block, seq);
    if (running && disk.pending[block] == seq)
        disk.acked[block] = seq;
}

void hwd_all_land(int n)
{
    for (unsigned b = 0; b < HWD_BLOCKS; b++)
        if (disk.copy[n].landing[b])
            hwd_lands(n, b, disk.copy[n].landing[b], false);
}

static void write_now(int n, unsigned block)
{
    land(n, block, disk.pending[block]);
    disk.acked[block] = disk.pending[block];
}

int hwd_guest_writes(int n, struct vi_rng *rng)
{
    unsigned block = (unsigned)vi_rng_below(rng, HWD_BLOCKS);
    for (unsigned b = 0; b < HWD_BLOCKS; b++) /* what it was never told of */
        if (disk.pending[b] > disk.acked[b] && !disk.copy[n].landing[b])
            write_now(n, b);
    if (disk.copy[n].landing[block])
        return -1;
    disk.pending[block] = ++disk.written;
    if (vi_rng_below(rng, 3)) {
        write_now(n, block);
        return -1;
    }
    disk.copy[n].landing[block] = disk.pending[block];
    return (int)block;
}

/* ---- faults ---- */

void hwd_cut(void)
{
    disk.open = false;
    disk.broken |= disk.mirror;
}

void hwd_host_dies(int n)
{
    struct hwd_copy *c = &disk.copy[n];
    hwd_cut();
    memset(c->landing, 0, sizeof c->landing);
    if (n == 0)
        disk.mirror = false;
    if (c->kind == HWD_ARRIVING && !c->synced)
        memset(c->block, 0, sizeof c->block); /* it was in the host's memory */
}

/* ---- what the agent does ---- */

static int finish(void)
{
    hwd_all_land(0);
    if (!disk.mirror || disk.broken || !disk.open)
        return VI_EIO;
    for (unsigned b = 0; b < HWD_BLOCKS; b++)
        if (!disk.in_sync[b])
            return VI_EIO;
    disk.mirror = false;
    return 0;
}

static int make(struct hwd_copy *c, const struct vi_id *id, bool full)
{
    if (c->kind == HWD_TRUE) {
        bad("a true copy is written over");
        return VI_EEXIST;
    }
    if (disk.asked.base ? c->kind != HWD_OLD || !vi_id_equal(&c->by, &disk.asked.since) : full)
        return VI_EFULL;
    if (!disk.asked.base)
        memset(c->block, 0, sizeof c->block);
    c->kind = HWD_ARRIVING;
    c->by = *id;
    c->synced = false;
    disk.open = true;
    return 0;
}

static int mirror(bool cut)
{
    const struct hwd_copy *s = &disk.copy[0];
    if (cut || !disk.open)
        return VI_EIO;
    disk.mirror = true;
    disk.broken = false;
    for (unsigned b = 0; b < HWD_BLOCKS; b++)
        disk.in_sync[b] = disk.asked.base && !s->dirty[b];
    return 0;
}

static int own(struct hwd_copy *c, const struct vi_id *id)
{
    if (c->kind == HWD_TRUE && vi_id_equal(&c->by, id))
        return 0;
    if (c->kind != HWD_ARRIVING || !vi_id_equal(&c->by, id) || !c->synced) {
        bad("a copy is owned that is none, or isn't whole");
        return VI_ENOTFOUND;
    }
    c->kind = HWD_TRUE;
    c->since = *id;
    c->generation = disk.asked.generation + 1;
    memset(c->dirty, 0, sizeof c->dirty);
    return 0;
}

static int complete(struct hwd_copy *c, const struct vi_id *id, bool full)
{
    disk.open = false;
    if (full || c->kind != HWD_ARRIVING || !vi_id_equal(&c->by, id))
        return VI_EIO;
    c->synced = true;
    return 0;
}

int hwd_op(int n, enum handover_op op, const struct vi_id *id, bool cut, vi_time now)
{
    struct hwd_copy *c = &disk.copy[n];
    bool full = now < disk.full_until;
    switch (op) {
    case HANDOVER_OP_MIRROR: return mirror(cut);
    case HANDOVER_OP_FINISH: return cut ? VI_EIO : finish();
    case HANDOVER_OP_UNMIRROR:
        disk.mirror = false;
        return 0;
    case HANDOVER_OP_RETIRE:
        if (c->kind == HWD_TRUE && c->generation == disk.asked.generation) {
            c->kind = HWD_OLD;
            c->by = *id;
        }
        return 0;
    case HANDOVER_OP_MAKE: return make(c, id, full);
    case HANDOVER_OP_COMPLETE: return complete(c, id, full);
    case HANDOVER_OP_OWN: return own(c, id);
    case HANDOVER_OP_DISCARD:
        if ((c->kind == HWD_ARRIVING || c->kind == HWD_TRUE) && vi_id_equal(&c->by, id)) {
            c->kind = HWD_NONE;
            disk.open = false;
        }
        return 0;
    default: return VI_EUNSUPPORTED;
    }
}

int hwd_mirror_step(bool cut, vi_time now, uint64_t *done)
{
    unsigned n = 0;
    int next = -1;
    if (cut || now < disk.full_until)
        disk.broken = true;
    if (!disk.mirror || disk.broken || !disk.open)
        return VI_EIO;
    for (unsigned b = 0; b < HWD_BLOCKS; b++) {
        if (!disk.in_sync[b] && next < 0)
            next = (int)b;
        n += disk.in_sync[b];
    }
    if (next >= 0 && !disk.stalled) {
        disk.copy[1].block[next] = disk.copy[0].block[next];
        disk.in_sync[next] = true;
        disk.copied++;
        n++;
    }
    *done = n * (HWD_SECTORS / HWD_BLOCKS);
    return 0;
}

/* ---- judging ---- */

void hwd_decided_for(int n)
{
    for (unsigned b = 0; b < HWD_BLOCKS; b++)
        disk.acked[b] = disk.pending[b] = disk.copy[n].block[b];
}

/* Is every write in it that the guest was told of? One that it wasn't may be, or not. */
static bool whole(const struct hwd_copy *c)
{
    for (unsigned b = 0; b < HWD_BLOCKS; b++)
        if (c->block[b] != disk.acked[b] && c->block[b] != disk.pending[b])
            return false;
    return true;
}

void hwd_check(int n)
{
    if (n >= 0 && disk.copy[n].kind != HWD_TRUE)
        bad("the guest runs on a copy that is not the true one");
    else if (n >= 0 && !whole(&disk.copy[n]))
        bad("the copy that it runs on lacks a write");
    if (disk.copy[0].kind == HWD_TRUE && disk.copy[1].kind == HWD_TRUE &&
        disk.copy[0].generation == disk.copy[1].generation)
        bad("two true copies of one generation");
}

const char *hwd_judge(int runs)
{
    int n = disk.copy[1].kind == HWD_TRUE ? 1 : 0;
    if (disk.bad)
        return disk.bad;
    if (disk.copy[n].kind != HWD_TRUE)
        return "no true copy of the disk is left";
    if (disk.copy[1 - n].kind == HWD_TRUE)
        return "two true copies of the disk";
    if (disk.copy[1 - n].kind == HWD_ARRIVING)
        return "a copy of the disk is left that is neither true nor old";
    if (runs >= 0 && runs != n)
        return "it runs where the true copy isn't";
    if (!whole(&disk.copy[n]))
        return "the true copy lacks a write";
    return disk.mirror ? "the mirror is left" : NULL;
}
