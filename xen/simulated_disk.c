/* Disks of simulated guests: files, and what their guests write to them. See simulated_internal.h.
 *
 * A block that a guest writes says which block of which disk it is and the number of its write; the rest follows from these.
 * The table has the number last written, and that of the write under way: it is put down before the block is, so that after
 * the process was killed in between either of both is what was written last. The table is a file beside the guest's,
 * UUID.DISK.writes. */
#include "xen/simulated_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer/base/log.h"

#define MAGIC     0x76696f6c696e6469ULL
#define WORDS     (SIM_BLOCK / 8)
#define AT_ONCE   200 /* writes of one disk in one turn, at most: what couldn't be done is left out */

struct entry {
    uint32_t done, intended;
};

struct sim_disk {
    struct sim_disk *next;
    struct vi_id guest, id;
    int fd, table_fd;
    uint32_t blocks, number;
    unsigned errors;
    double due; /* writes, with what is left of the last turn */
    struct entry *table;
};

/* ---- blocks and tables */

static void fill(uint64_t data[WORDS], const struct vi_id *disk, uint32_t block, uint32_t number)
{
    uint64_t x;
    memcpy(&x, disk->b, sizeof x);
    data[0] = MAGIC;
    data[1] = block;
    data[2] = number;
    for (unsigned i = 3; i < WORDS; i++) {
        x = x * 6364136223846793005ULL + number * 1000003ULL + block + 1;
        data[i] = x;
    }
}

static bool read_block(const struct sim_disk *d, uint32_t block, uint64_t data[WORDS])
{
    return pread(d->fd, data, SIM_BLOCK, (off_t)block * SIM_BLOCK) == SIM_BLOCK;
}

static bool block_is(const struct sim_disk *d, uint32_t block, uint32_t number, const uint64_t data[WORDS])
{
    uint64_t want[WORDS];
    fill(want, &d->id, block, number);
    return memcmp(data, want, SIM_BLOCK) == 0;
}

static bool save_entry(const struct sim_disk *d, uint32_t block)
{
    return pwrite(d->table_fd, &d->table[block], sizeof d->table[0], (off_t)(block * sizeof d->table[0])) ==
           sizeof d->table[0];
}

static bool save_table(const struct sim_disk *d)
{
    size_t size = d->blocks * sizeof d->table[0];
    return pwrite(d->table_fd, d->table, size, 0) == (ssize_t)size;
}

/* Which of both a write came to that was cut short. */
static void settle(struct sim_disk *d, uint32_t block)
{
    struct entry *e = &d->table[block];
    uint64_t data[WORDS];
    if (e->done == e->intended)
        return;
    if (read_block(d, block, data) && block_is(d, block, e->intended, data))
        e->done = e->intended;
    else
        e->intended = e->done;
    save_entry(d, block);
}

static void table_path(const struct sim *s, const struct vi_id *guest, const struct vi_id *disk, char out[400])
{
    char uuid[VI_UUID_TEXT], id[VI_ID_TEXT];
    snprintf(out, 400, "%s/guests/%s.%s.writes", s->dir, vi_uuid_format(guest, uuid), vi_id_format(disk, id));
}

/* ---- opening */

static void free_disk(struct sim_disk *d)
{
    if (d->fd >= 0)
        close(d->fd);
    if (d->table_fd >= 0)
        close(d->table_fd);
    free(d->table);
    free(d);
}

static bool fill_table(struct sim_disk *d, const struct sim_written *written)
{
    size_t size = d->blocks * sizeof d->table[0];
    ssize_t n = written ? 0 : pread(d->table_fd, d->table, size, 0);
    if (n < 0)
        return false;
    if (n != (ssize_t)size)
        memset(d->table, 0, size); /* none yet, or not of this process's making */
    for (uint32_t b = 0; written && b < d->blocks && b < written->blocks; b++)
        d->table[b].done = d->table[b].intended = written->numbers[b];
    for (uint32_t b = 0; b < d->blocks; b++) {
        settle(d, b);
        d->number = d->table[b].done > d->number ? d->table[b].done : d->number;
    }
    return save_table(d);
}

static struct sim_disk *open_one(struct sim *s, const struct vi_id *guest, const struct vi_id *id, bool arriving,
                                 const struct sim_written *written, int *err, char *why, size_t why_size)
{
    char path[DISK_PATH], table[400];
    struct sim_disk *d = calloc(1, sizeof *d);
    struct stat st;
    *err = d ? s->disks ? disk_host_device(s->disks, id, arriving, path, why, why_size) : VI_EUNSUPPORTED : VI_ENOMEM;
    if (*err) {
        free(d);
        return NULL;
    }
    d->guest = *guest;
    d->id = *id;
    table_path(s, guest, id, table);
    d->table_fd = -1;
    d->fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (d->fd >= 0 && flock(d->fd, LOCK_EX | LOCK_NB)) {
        snprintf(why, why_size, "another guest has its disk");
        *err = VI_ESTATE;
    } else if (d->fd < 0 || (d->table_fd = open(table, O_RDWR | O_CREAT | O_CLOEXEC, 0600)) < 0 || fstat(d->fd, &st)) {
        snprintf(why, why_size, "%s: %s", d->fd < 0 ? path : table, strerror(errno));
        *err = VI_EIO;
    } else {
        d->blocks = st.st_size / SIM_BLOCK < SIM_BLOCKS_MAX ? (uint32_t)(st.st_size / SIM_BLOCK) : SIM_BLOCKS_MAX;
        d->table = calloc(d->blocks ? d->blocks : 1, sizeof *d->table);
        if (!d->table || !fill_table(d, written))
            *err = d->table ? VI_EIO : VI_ENOMEM;
    }
    if (!*err)
        return d;
    free_disk(d);
    return NULL;
}

/* tables: what has been written; NULL: as it is kept here. */
static int open_all(struct sim *s, const struct sim_guest *g, bool arriving, const struct sim_tables *tables, char *why,
                    size_t why_size)
{
    static const struct sim_written none = {.blocks = 0};
    int err = 0;
    if (!g->cfg.n_disks)
        return 0;
    snprintf(why, why_size, "this host has no disks that move");
    for (unsigned i = 0; i < g->cfg.n_disks && !err; i++) {
        struct sim_disk *d = open_one(s, &g->cfg.uuid, &g->cfg.disks[i].id, arriving,
                                      !tables ? NULL : i < tables->n ? &tables->of[i] : &none, &err, why, why_size);
        if (d) {
            d->next = s->open_disks;
            s->open_disks = d;
        }
    }
    return err;
}

int sim_disks_open(struct sim *s, const struct sim_guest *g, bool arriving, const struct sim_tables *tables, char *why,
                   size_t why_size)
{
    static const struct sim_tables none = {.n = 0};
    int err = open_all(s, g, arriving, tables ? tables : &none, why, why_size);
    for (unsigned i = 0; err && i < g->cfg.n_disks; i++)
        sim_disks_close(s, &g->cfg.uuid, &g->cfg.disks[i].id);
    return err;
}

int sim_disks_keep(struct sim *s, const struct sim_guest *g, char *why, size_t why_size)
{
    return open_all(s, g, g->incoming, NULL, why, why_size);
}

int sim_disks_there(struct sim *s, const struct hv_description *d, bool arriving, char *why, size_t why_size)
{
    char path[DISK_PATH];
    int err = 0;
    snprintf(why, why_size, "this host has no disks that move");
    for (unsigned i = 0; i < d->n_disks && !err; i++)
        if (d->disks[i].kind == HV_DISK_MOVABLE)
            err = s->disks ? disk_host_device(s->disks, &d->disks[i].id, arriving, path, why, why_size) : VI_EUNSUPPORTED;
    return err;
}

void sim_disks_close(struct sim *s, const struct vi_id *guest, const struct vi_id *disk)
{
    char table[400];
    for (struct sim_disk **p = &s->open_disks, *d; (d = *p);) {
        if (!vi_id_equal(&d->guest, guest) || (disk && !vi_id_equal(&d->id, disk))) {
            p = &d->next;
            continue;
        }
        *p = d->next;
        table_path(s, &d->guest, &d->id, table);
        unlink(table);
        free_disk(d);
    }
}

void sim_disks_close_all(struct sim *s)
{
    while (s->open_disks) {
        struct sim_disk *d = s->open_disks;
        s->open_disks = d->next;
        free_disk(d);
    }
}

/* ---- writing */

static void write_one(struct sim *s, struct sim_disk *d)
{
    uint32_t block = vi_rng_below(&s->rng, d->blocks);
    uint64_t data[WORDS];
    d->table[block].intended = ++d->number;
    fill(data, &d->id, block, d->number);
    if (!save_entry(d, block) || pwrite(d->fd, data, SIM_BLOCK, (off_t)block * SIM_BLOCK) != SIM_BLOCK) {
        d->errors++;
        settle(d, block);
        return;
    }
    disk_host_wrote(s->disks, &d->id, (uint64_t)block * SIM_BLOCK, SIM_BLOCK);
    d->table[block].done = d->number;
    if (!save_entry(d, block))
        d->errors++;
}

void sim_disks_write(struct sim *s)
{
    vi_time now = vi_clock_boottime();
    double seconds = (double)(now - s->wrote_at) / (double)VI_SEC;
    s->wrote_at = now;
    for (struct sim_disk *d = s->open_disks; d; d = d->next) {
        struct sim_guest *g = sim_model_by_uuid(s->model, &d->guest);
        if (!g || g->state != HV_RUNNING || !g->cfg.load.writes || !d->blocks) {
            d->due = 0;
            continue;
        }
        d->due += seconds * g->cfg.load.writes / g->cfg.n_disks;
        if (d->due > AT_ONCE)
            d->due = AT_ONCE;
        for (; d->due >= 1; d->due--)
            write_one(s, d);
    }
}

/* ---- telling */

void sim_disks_verify(struct sim *s, const struct vi_id *guest, unsigned *blocks, unsigned *bad, unsigned *errors)
{
    uint64_t data[WORDS];
    *blocks = *bad = *errors = 0;
    for (const struct sim_disk *d = s->open_disks; d; d = d->next) {
        if (!vi_id_equal(&d->guest, guest))
            continue;
        *errors += d->errors;
        for (uint32_t b = 0; b < d->blocks; b++) {
            uint32_t number = d->table[b].done;
            bool got = read_block(d, b, data);
            *blocks += number > 0;
            /* where it has written nothing may be anything but what was written elsewhere */
            *bad += !got || (number ? !block_is(d, b, number, data) : data[0] == MAGIC && data[1] != b);
        }
    }
}

size_t sim_disk_table(struct sim *s, const struct sim_guest *g, unsigned i, uint8_t *out)
{
    for (const struct sim_disk *d = s->open_disks; d; d = d->next) {
        if (!vi_id_equal(&d->guest, &g->cfg.uuid) || !vi_id_equal(&d->id, &g->cfg.disks[i].id))
            continue;
        for (uint32_t b = 0; b < d->blocks; b++)
            for (unsigned k = 0; k < 4; k++)
                out[b * 4 + k] = (uint8_t)(d->table[b].done >> 8 * k);
        return (size_t)d->blocks * 4;
    }
    return 0;
}

int sim_table_take(struct sim_tables *t, unsigned i, const uint8_t *data, size_t len)
{
    struct sim_written *w;
    if (i >= SIM_DISKS_MAX || t->n != i || len % 4 || len / 4 > SIM_BLOCKS_MAX)
        return VI_EPROTO;
    w = &t->of[i];
    w->blocks = (uint32_t)(len / 4);
    w->numbers = calloc(w->blocks ? w->blocks : 1, sizeof *w->numbers);
    if (!w->numbers)
        return VI_ENOMEM;
    t->n++;
    for (uint32_t b = 0; b < w->blocks; b++)
        for (unsigned k = 0; k < 4; k++)
            w->numbers[b] |= (uint32_t)data[b * 4 + k] << 8 * k;
    return 0;
}

void sim_tables_free(struct sim_tables *t)
{
    for (unsigned i = 0; i < t->n; i++)
        free(t->of[i].numbers);
    memset(t, 0, sizeof *t);
}
