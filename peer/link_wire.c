/* hypervisor.h's structures on the agent link. See link_wire.h. */
#include "peer/link_wire.h"

#include <string.h>

#include "peer/base/err.h"

#define GUEST_FIELDS 20

static void read_memory(struct vi_reader *r, uint64_t *kb)
{
    *kb = vi_read_uint(r, (uint64_t)1 << 50);
}

static void expect_array(struct vi_reader *r, uint32_t n)
{
    if (vi_read_array(r, n) != n && !r->err)
        r->err = VI_EPROTO;
}

void link_write_host(struct vi_writer *w, const struct hv_host *h)
{
    vi_write_array(w, 8);
    vi_write_id(w, &h->boot_id);
    vi_write_str(w, h->kind);
    vi_write_str(w, h->version);
    vi_write_uint(w, h->cpus);
    vi_write_uint(w, h->total_kb);
    vi_write_uint(w, h->free_kb);
    vi_write_uint(w, h->dom0_kb);
    vi_write_bin(w, h->cpu_features, sizeof h->cpu_features);
}

void link_read_host(struct vi_reader *r, struct hv_host *h)
{
    memset(h, 0, sizeof *h);
    expect_array(r, 8);
    vi_read_id(r, &h->boot_id);
    vi_read_cstr(r, h->kind, sizeof h->kind);
    vi_read_cstr(r, h->version, sizeof h->version);
    h->cpus = (uint32_t)vi_read_uint(r, 1u << 20);
    read_memory(r, &h->total_kb);
    read_memory(r, &h->free_kb);
    read_memory(r, &h->dom0_kb);
    vi_read_bytes(r, h->cpu_features, sizeof h->cpu_features);
}

static void write_disk(struct vi_writer *w, const struct hv_disk *d)
{
    vi_write_array(w, 6);
    vi_write_uint(w, d->kind);
    vi_write_bool(w, d->readonly);
    vi_write_str(w, d->vdev);
    vi_write_bin(w, d->hash, sizeof d->hash);
    vi_write_str(w, d->storage_id);
    vi_write_id(w, &d->id);
}

static void read_disk(struct vi_reader *r, struct hv_disk *d)
{
    expect_array(r, 6);
    d->kind = (enum hv_disk_kind)vi_read_uint(r, HV_DISK_MOVABLE);
    d->readonly = vi_read_bool(r);
    vi_read_cstr(r, d->vdev, sizeof d->vdev);
    vi_read_bytes(r, d->hash, sizeof d->hash);
    vi_read_cstr(r, d->storage_id, sizeof d->storage_id);
    vi_read_id(r, &d->id);
}

static void write_report(struct vi_writer *w, const struct hv_report *p)
{
    if (!p->present) {
        vi_write_nil(w);
        return;
    }
    vi_write_array(w, 5);
    vi_write_uint(w, p->sequence);
    vi_write_uint(w, p->total_kb);
    vi_write_uint(w, p->available_kb);
    vi_write_uint(w, p->swap_used_kb);
    vi_write_uint(w, p->steal_ms);
}

static void read_report(struct vi_reader *r, struct hv_report *p)
{
    if (vi_read_peek(r) == VI_WIRE_NIL) {
        vi_read_nil(r);
        return;
    }
    expect_array(r, 5);
    p->present = true;
    p->sequence = vi_read_uint(r, UINT64_MAX);
    p->total_kb = vi_read_uint(r, UINT64_MAX);
    p->available_kb = vi_read_uint(r, UINT64_MAX);
    p->swap_used_kb = vi_read_uint(r, UINT64_MAX);
    p->steal_ms = vi_read_uint(r, UINT64_MAX);
}

void link_write_guest(struct vi_writer *w, const struct hv_guest *g)
{
    vi_write_array(w, GUEST_FIELDS);
    vi_write_uint(w, g->domid);
    vi_write_id(w, &g->uuid);
    vi_write_str(w, g->name);
    vi_write_uint(w, g->type);
    vi_write_uint(w, g->state);
    vi_write_uint(w, g->reason);
    vi_write_bool(w, g->incoming);
    vi_write_uint(w, g->vcpus);
    vi_write_uint(w, g->cpu_time_ns);
    vi_write_uint(w, g->current_kb);
    vi_write_uint(w, g->target_kb);
    vi_write_uint(w, g->max_kb);
    vi_write_uint(w, g->weight);
    vi_write_uint(w, g->cap);
    vi_write_array(w, g->n_vifs);
    for (unsigned i = 0; i < g->n_vifs; i++) {
        vi_write_array(w, 2);
        vi_write_bin(w, g->vifs[i].mac, 6);
        vi_write_str(w, g->vifs[i].bridge);
    }
    vi_write_array(w, g->n_disks);
    for (unsigned i = 0; i < g->n_disks; i++)
        write_disk(w, &g->disks[i]);
    write_report(w, &g->report);
    vi_write_bool(w, g->movable);
    vi_write_str(w, g->why_not);
    vi_write_array(w, g->n_boot);
    for (unsigned i = 0; i < g->n_boot; i++)
        vi_write_bin(w, g->boot[i], HV_HASH_SIZE);
}

void link_read_guest(struct vi_reader *r, struct hv_guest *g)
{
    memset(g, 0, sizeof *g);
    expect_array(r, GUEST_FIELDS);
    g->domid = (uint32_t)vi_read_uint(r, UINT32_MAX);
    vi_read_id(r, &g->uuid);
    vi_read_cstr(r, g->name, sizeof g->name);
    g->type = (enum hv_type)vi_read_uint(r, HV_PV);
    g->state = (enum hv_guest_state)vi_read_uint(r, HV_SHUTDOWN);
    g->reason = (enum hv_reason)vi_read_uint(r, HV_WATCHDOG);
    g->incoming = vi_read_bool(r);
    g->vcpus = (uint32_t)vi_read_uint(r, 1u << 20);
    g->cpu_time_ns = vi_read_uint(r, UINT64_MAX);
    read_memory(r, &g->current_kb);
    read_memory(r, &g->target_kb);
    read_memory(r, &g->max_kb);
    g->weight = (uint32_t)vi_read_uint(r, UINT32_MAX);
    g->cap = (uint32_t)vi_read_uint(r, UINT32_MAX);
    g->n_vifs = vi_read_array(r, HV_VIFS_MAX);
    for (unsigned i = 0; i < g->n_vifs && !r->err; i++) {
        expect_array(r, 2);
        vi_read_bytes(r, g->vifs[i].mac, 6);
        vi_read_cstr(r, g->vifs[i].bridge, sizeof g->vifs[i].bridge);
    }
    g->n_disks = vi_read_array(r, HV_DISKS_MAX);
    for (unsigned i = 0; i < g->n_disks && !r->err; i++)
        read_disk(r, &g->disks[i]);
    read_report(r, &g->report);
    g->movable = vi_read_bool(r);
    vi_read_cstr(r, g->why_not, sizeof g->why_not);
    g->n_boot = vi_read_array(r, HV_BOOT_MAX);
    for (unsigned i = 0; i < g->n_boot && !r->err; i++)
        vi_read_bytes(r, g->boot[i], HV_HASH_SIZE);
}

void link_write_disk(struct vi_writer *w, const struct disk_info *d)
{
    const struct disk_record *k = &d->record;
    vi_write_array(w, 10);
    vi_write_id(w, &k->id);
    vi_write_str(w, k->name);
    vi_write_uint(w, k->kind);
    vi_write_uint(w, k->sectors);
    vi_write_uint(w, k->generation);
    vi_write_id(w, &k->by);
    vi_write_str(w, k->below);
    vi_write_str(w, d->device);
    vi_write_bool(w, d->busy);
    vi_write_uint(w, d->since > 0 ? (uint64_t)d->since : 0);
}

void link_read_disk(struct vi_reader *r, struct disk_info *d)
{
    struct disk_record *k = &d->record;
    memset(d, 0, sizeof *d);
    expect_array(r, 10);
    vi_read_id(r, &k->id);
    vi_read_cstr(r, k->name, sizeof k->name);
    k->kind = (enum disk_kind)vi_read_uint(r, DISK_OLD);
    k->sectors = vi_read_uint(r, DISK_SECTORS_MAX);
    k->generation = vi_read_uint(r, UINT64_MAX);
    vi_read_id(r, &k->by);
    vi_read_cstr(r, k->below, sizeof k->below);
    vi_read_cstr(r, d->device, sizeof d->device);
    d->busy = vi_read_bool(r);
    d->since = (int64_t)vi_read_uint(r, INT64_MAX);
}

void link_write_event(struct vi_writer *w, const struct hv_event *e)
{
    vi_write_array(w, 4);
    vi_write_uint(w, e->kind);
    vi_write_uint(w, e->domid);
    vi_write_id(w, &e->uuid);
    vi_write_uint(w, e->reason);
}

void link_read_event(struct vi_reader *r, struct hv_event *e)
{
    expect_array(r, 4);
    e->kind = (enum hv_event_kind)vi_read_uint(r, HV_EV_BACK);
    e->domid = (uint32_t)vi_read_uint(r, UINT32_MAX);
    vi_read_id(r, &e->uuid);
    e->reason = (enum hv_reason)vi_read_uint(r, HV_WATCHDOG);
}

void link_write_description(struct vi_writer *w, const struct hv_description *d)
{
    uint8_t bytes[HV_DESCRIPTION_MAX];
    int n = hv_description_encode(d, bytes, sizeof bytes);
    if (n < 0)
        w->err = n;
    else
        vi_write_bin(w, bytes, (size_t)n);
}

void link_read_description(struct vi_reader *r, struct hv_description *d)
{
    size_t len = 0;
    const uint8_t *bytes = vi_read_bin(r, HV_DESCRIPTION_MAX, &len);
    memset(d, 0, sizeof *d);
    if (!r->err && hv_description_decode(d, bytes, len))
        r->err = VI_EPROTO;
}
