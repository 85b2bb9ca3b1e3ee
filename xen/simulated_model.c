/* Hosts and guests as numbers. See simulated_model.h. */
#include "xen/simulated_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_WEIGHT 256
#define FIRST_DOMID    1

struct sim_model {
    struct sim_host_config host;
    vi_time now;
    uint32_t next_domid;
    unsigned n;
    struct sim_guest guests[HV_GUESTS_MAX];
};

struct sim_model *sim_model_new(const struct sim_host_config *cfg, vi_time now)
{
    struct sim_model *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->host = *cfg;
    m->now = now;
    m->next_domid = FIRST_DOMID;
    return m;
}

void sim_model_free(struct sim_model *m)
{
    free(m);
}

/* ---- time --------------------------------------------------------------------------------------- */

static double wanted(const struct sim_guest *g)
{
    double most = 100.0 * g->cfg.vcpus;
    if (g->state != HV_RUNNING || g->cfg.load.cpu <= 0)
        return 0;
    return g->cfg.load.cpu < most ? g->cfg.load.cpu : most;
}

static double allowed(const struct sim_guest *g)
{
    double w = wanted(g);
    return g->cfg.cap && w > g->cfg.cap ? g->cfg.cap : w;
}

/* Water filling: in each round everybody who would get more than it may use is given just that and
 * leaves; the others share what is left. At most n rounds, since each but the last removes one. */
static void divide_cpu(struct sim_model *m)
{
    double left = 100.0 * m->host.cpus;
    bool settled[HV_GUESTS_MAX] = {false};
    bool again = true;
    while (again) {
        double weights = 0, share = left;
        again = false;
        for (unsigned i = 0; i < m->n; i++)
            weights += settled[i] ? 0 : m->guests[i].cfg.weight;
        for (unsigned i = 0; i < m->n; i++) {
            struct sim_guest *g = &m->guests[i];
            if (settled[i])
                continue;
            g->granted = weights > 0 ? share * g->cfg.weight / weights : 0;
            if (g->granted >= allowed(g)) {
                g->granted = allowed(g);
                left -= g->granted;
                settled[i] = true;
                again = true;
            }
        }
        if (left < 0)
            left = 0;
    }
}

static uint64_t taken_kb(const struct sim_model *m)
{
    uint64_t kb = m->host.dom0_kb;
    for (unsigned i = 0; i < m->n; i++)
        kb += m->guests[i].current_kb;
    return kb;
}

static uint64_t free_kb(const struct sim_model *m)
{
    uint64_t taken = taken_kb(m);
    return taken < m->host.total_kb ? m->host.total_kb - taken : 0;
}

static void move_balloons(struct sim_model *m, vi_time dt)
{
    uint64_t most = (uint64_t)dt * SIM_BALLOON_KB_S / (uint64_t)VI_SEC;
    for (unsigned i = 0; i < m->n; i++) { /* down first: it frees what others take */
        struct sim_guest *g = &m->guests[i];
        if (g->state == HV_RUNNING && g->current_kb > g->target_kb) {
            uint64_t down = g->current_kb - g->target_kb;
            g->current_kb -= down < most ? down : most;
        }
    }
    uint64_t spare = free_kb(m);
    for (unsigned i = 0; i < m->n; i++) {
        struct sim_guest *g = &m->guests[i];
        if (g->state != HV_RUNNING || g->current_kb >= g->target_kb)
            continue;
        uint64_t up = g->target_kb - g->current_kb;
        up = up < most ? up : most;
        up = up < spare ? up : spare;
        g->current_kb += up;
        spare -= up;
    }
}

static void report(struct sim_guest *g)
{
    uint64_t used = g->cfg.load.used_kb;
    g->report.present = true;
    g->report.sequence++;
    g->report.total_kb = g->current_kb;
    g->report.available_kb = used < g->current_kb ? g->current_kb - used : 0;
    g->report.swap_used_kb = used > g->current_kb ? used - g->current_kb : 0;
    g->report.steal_ms = g->steal_ns / 1000000;
}

void sim_model_advance(struct sim_model *m, vi_time now)
{
    while (m->now < now) {
        vi_time to = now;
        for (unsigned i = 0; i < m->n; i++) {
            const struct sim_guest *g = &m->guests[i];
            if (g->state == HV_RUNNING && g->next_report > m->now && g->next_report < to)
                to = g->next_report;
        }
        vi_time dt = to - m->now;
        m->now = to;
        divide_cpu(m);
        move_balloons(m, dt);
        for (unsigned i = 0; i < m->n; i++) {
            struct sim_guest *g = &m->guests[i];
            /* percent × µs × 10 = ns of one CPU */
            g->cpu_time_ns += (uint64_t)(g->granted * (double)dt * 10.0);
            g->steal_ns += (uint64_t)((wanted(g) - g->granted) * (double)dt * 10.0);
            if (g->state == HV_RUNNING && g->next_report <= m->now) {
                report(g);
                g->next_report = m->now + SIM_REPORT_EVERY;
            }
        }
    }
}

/* ---- looking -------------------------------------------------------------------------------------- */

void sim_cpu_features(uint8_t out[32])
{
    static const char text[32] = "violin simulated cpu, one for al";
    memcpy(out, text, 32);
}

void sim_bridge_name(const struct vi_id *e, char out[16])
{
    snprintf(out, 16, "vi-%02x%02x%02x%02x", e->b[0], e->b[1], e->b[2], e->b[3]);
}

void sim_model_host(const struct sim_model *m, struct hv_host *out)
{
    memset(out, 0, sizeof *out);
    out->boot_id = m->host.boot_id;
    snprintf(out->kind, sizeof out->kind, "simulated");
    snprintf(out->version, sizeof out->version, "1");
    out->cpus = m->host.cpus;
    out->total_kb = m->host.total_kb;
    out->free_kb = free_kb(m);
    out->dom0_kb = m->host.dom0_kb;
    sim_cpu_features(out->cpu_features);
}

static bool vdev_taken(const struct sim_guest *g, const char *vdev)
{
    for (unsigned i = 0; i < g->cfg.n_disks; i++)
        if (!strcmp(g->cfg.disks[i].vdev, vdev))
            return true;
    return false;
}

/* Images have the first names that no disk has. */
static unsigned put_disks(const struct sim_guest *g, struct hv_disk *out)
{
    char letter = 'a';
    unsigned n = 0;
    for (unsigned i = 0; i < g->cfg.n_images; i++, n++) {
        out[n].kind = HV_DISK_IMAGE;
        out[n].readonly = true;
        do
            snprintf(out[n].vdev, sizeof out[n].vdev, "xvd%c", letter++);
        while (vdev_taken(g, out[n].vdev));
        memcpy(out[n].hash, g->cfg.images[i], HV_HASH_SIZE);
    }
    for (unsigned i = 0; i < g->cfg.n_disks; i++, n++) {
        out[n].kind = HV_DISK_MOVABLE;
        out[n].id = g->cfg.disks[i].id;
        memcpy(out[n].vdev, g->cfg.disks[i].vdev, sizeof out[n].vdev);
    }
    return n;
}

void sim_guest_view(const struct sim_guest *g, struct hv_guest *out)
{
    memset(out, 0, sizeof *out);
    out->domid = g->domid;
    out->uuid = g->cfg.uuid;
    memcpy(out->name, g->cfg.name, sizeof out->name);
    out->type = g->cfg.type;
    out->state = g->state;
    out->reason = g->reason;
    out->incoming = g->incoming;
    out->vcpus = g->cfg.vcpus;
    out->cpu_time_ns = g->cpu_time_ns;
    out->current_kb = g->current_kb;
    out->target_kb = g->target_kb;
    out->max_kb = g->cfg.max_kb;
    out->weight = g->cfg.weight;
    out->cap = g->cfg.cap;
    out->n_vifs = g->cfg.n_vifs;
    memcpy(out->vifs, g->cfg.vifs, sizeof out->vifs);
    out->n_disks = put_disks(g, out->disks);
    if (g->cfg.has_kernel)
        memcpy(out->boot[out->n_boot++], g->cfg.kernel, HV_HASH_SIZE);
    if (g->cfg.has_ramdisk)
        memcpy(out->boot[out->n_boot++], g->cfg.ramdisk, HV_HASH_SIZE);
    out->report = g->report;
    out->movable = g->cfg.movable;
    if (!g->cfg.movable)
        snprintf(out->why_not, sizeof out->why_not, "it was made with movable=no");
}

unsigned sim_model_list(const struct sim_model *m, struct hv_guest *out, unsigned cap)
{
    unsigned n = 0;
    for (unsigned i = 0; i < m->n && n < cap; i++)
        sim_guest_view(&m->guests[i], &out[n++]);
    return n;
}

unsigned sim_model_count(const struct sim_model *m)
{
    return m->n;
}

struct sim_guest *sim_model_at(struct sim_model *m, unsigned i)
{
    return i < m->n ? &m->guests[i] : NULL;
}

struct sim_guest *sim_model_by_uuid(struct sim_model *m, const struct vi_id *uuid)
{
    for (unsigned i = 0; i < m->n; i++)
        if (vi_id_equal(&m->guests[i].cfg.uuid, uuid))
            return &m->guests[i];
    return NULL;
}

struct sim_guest *sim_model_find(struct sim_model *m, uint32_t domid, const struct vi_id *uuid)
{
    struct sim_guest *g = sim_model_by_uuid(m, uuid);
    return g && g->domid == domid ? g : NULL;
}

struct sim_guest *sim_model_by_name(struct sim_model *m, const char *name)
{
    for (unsigned i = 0; i < m->n; i++)
        if (!strcmp(m->guests[i].cfg.name, name))
            return &m->guests[i];
    return NULL;
}

static bool mac_is_here(const struct sim_model *m, const uint8_t mac[6])
{
    for (unsigned i = 0; i < m->n; i++)
        for (unsigned k = 0; k < m->guests[i].cfg.n_vifs; k++)
            if (!memcmp(m->guests[i].cfg.vifs[k].mac, mac, 6))
                return true;
    return false;
}

/* ---- coming and going -------------------------------------------------------------------------------- */

static bool is_sane(const struct sim_guest_config *c)
{
    return c->name[0] && memchr(c->name, 0, sizeof c->name) && c->vcpus >= 1 && c->vcpus <= 1024 &&
           c->memory_kb >= SIM_GUEST_MIN_KB && c->memory_kb <= c->max_kb && c->n_vifs <= HV_VIFS_MAX &&
           c->weight <= 65535 && c->load.cpu >= 0 && !vi_id_is_zero(&c->uuid);
}

static struct sim_guest *add(struct sim_model *m, const struct sim_guest_config *cfg)
{
    struct sim_guest *g = &m->guests[m->n++];
    memset(g, 0, sizeof *g);
    g->cfg = *cfg;
    if (!g->cfg.weight)
        g->cfg.weight = DEFAULT_WEIGHT;
    g->domid = m->next_domid++;
    g->current_kb = g->target_kb = cfg->memory_kb;
    g->next_report = m->now + SIM_REPORT_EVERY;
    return g;
}

int sim_model_create(struct sim_model *m, const struct sim_guest_config *cfg, uint32_t *domid)
{
    if (!is_sane(cfg))
        return VI_EINVAL;
    if (sim_model_by_uuid(m, &cfg->uuid) || sim_model_by_name(m, cfg->name))
        return VI_EEXIST;
    for (unsigned i = 0; i < cfg->n_vifs; i++)
        if (mac_is_here(m, cfg->vifs[i].mac))
            return VI_EEXIST;
    for (unsigned i = 0; i < cfg->n_disks; i++)
        if (sim_model_has_disk(m, &cfg->disks[i].id))
            return VI_EEXIST;
    if (m->n == HV_GUESTS_MAX || cfg->memory_kb > free_kb(m))
        return VI_EFULL;
    *domid = add(m, cfg)->domid;
    return 0;
}

int sim_model_put(struct sim_model *m, const struct sim_guest *g)
{
    if (!is_sane(&g->cfg) || !g->domid || g->domid >= UINT32_MAX - 1)
        return VI_EINVAL;
    if (sim_model_by_uuid(m, &g->cfg.uuid))
        return VI_EEXIST;
    for (unsigned i = 0; i < m->n; i++)
        if (m->guests[i].domid == g->domid)
            return VI_EEXIST;
    if (m->n == HV_GUESTS_MAX)
        return VI_EFULL;
    m->guests[m->n] = *g;
    m->guests[m->n].next_report = m->now + SIM_REPORT_EVERY;
    m->n++;
    if (m->next_domid <= g->domid)
        m->next_domid = g->domid + 1;
    return 0;
}

bool sim_model_has_disk(const struct sim_model *m, const struct vi_id *disk)
{
    for (unsigned i = 0; i < m->n; i++)
        for (unsigned k = 0; k < m->guests[i].cfg.n_disks; k++)
            if (vi_id_equal(&m->guests[i].cfg.disks[k].id, disk))
                return true;
    return false;
}

/* Images and disks that move with their guest, as many as a simulated one can have. */
static bool plain_disks(const struct hv_description *d)
{
    unsigned images = 0, disks = 0;
    for (unsigned i = 0; i < d->n_disks; i++) {
        images += d->disks[i].kind == HV_DISK_IMAGE;
        disks += d->disks[i].kind == HV_DISK_MOVABLE;
    }
    return images + disks == d->n_disks && images <= SIM_IMAGES_MAX && disks <= SIM_DISKS_MAX;
}

int sim_model_can_receive(const struct sim_model *m, const struct hv_description *d,
                          const char **why)
{
    uint8_t features[32];
    sim_cpu_features(features);
    *why = "";
    for (unsigned i = 0; i < m->n; i++)
        if (vi_id_equal(&m->guests[i].cfg.uuid, &d->uuid)) {
            *why = "a guest with this UUID is here already";
            return VI_EEXIST;
        }
    for (unsigned i = 0; i < d->n_vifs; i++)
        if (mac_is_here(m, d->vifs[i].mac)) {
            *why = "a guest with one of its MAC addresses is here already";
            return VI_EEXIST;
        }
    for (unsigned i = 0; i < d->n_disks; i++)
        if (d->disks[i].kind == HV_DISK_MOVABLE && sim_model_has_disk(m, &d->disks[i].id)) {
            *why = "another guest here has one of its disks";
            return VI_EEXIST;
        }
    if (memcmp(features, d->cpu_features, sizeof features) || !plain_disks(d)) {
        *why = "it comes from another kind of hypervisor; a simulated one can't run it";
        return VI_EUNSUPPORTED;
    }
    if (m->n == HV_GUESTS_MAX) {
        *why = "this host has as many guests as it can have";
        return VI_EFULL;
    }
    if (d->target_kb > free_kb(m)) {
        *why = "not enough free memory here";
        return VI_EFULL;
    }
    return 0;
}

/* A name that nobody has here: its own, or with -1, -2, … */
static void free_name(struct sim_model *m, const char *name, char out[HV_NAME_MAX])
{
    snprintf(out, HV_NAME_MAX, "%s", name);
    for (unsigned i = 1; sim_model_by_name(m, out); i++)
        snprintf(out, HV_NAME_MAX, "%.*s-%u", HV_NAME_MAX - 12, name, i);
}

int sim_model_receive(struct sim_model *m, const struct hv_description *d,
                      const struct sim_guest *state, uint32_t *domid)
{
    const char *why;
    struct sim_guest_config c = state->cfg;
    int err = sim_model_can_receive(m, d, &why);
    if (err)
        return err;
    c.uuid = d->uuid;
    c.type = d->type;
    c.vcpus = d->vcpus;
    c.memory_kb = d->target_kb;
    c.max_kb = d->max_kb;
    c.weight = d->weight;
    c.cap = d->cap;
    c.n_vifs = d->n_vifs;
    for (unsigned i = 0; i < d->n_vifs && i < HV_VIFS_MAX; i++) {
        memcpy(c.vifs[i].mac, d->vifs[i].mac, 6);
        sim_bridge_name(&d->vifs[i].environment, c.vifs[i].bridge);
    }
    sim_take_images(&c, d);
    c.on_poweroff = d->on_poweroff;
    c.on_reboot = d->on_reboot;
    c.on_crash = d->on_crash;
    c.movable = true;
    free_name(m, d->name, c.name);
    if (!is_sane(&c))
        return VI_EINVAL;
    struct sim_guest *g = add(m, &c);
    g->state = HV_PAUSED;
    g->incoming = true;
    g->steal_ns = state->steal_ns; /* the guest's own count goes on; the hypervisor's starts anew */
    g->report = state->report;
    *domid = g->domid;
    return 0;
}

void sim_model_destroy(struct sim_model *m, struct sim_guest *g)
{
    unsigned i = (unsigned)(g - m->guests);
    memmove(&m->guests[i], &m->guests[i + 1], (m->n - i - 1) * sizeof m->guests[0]);
    m->n--;
}

void sim_model_reboot(struct sim_model *m, const struct vi_id *boot_id)
{
    m->n = 0;
    m->next_domid = FIRST_DOMID;
    m->host.boot_id = *boot_id;
}

/* ---- changing ----------------------------------------------------------------------------------------- */

int sim_model_set_memory(struct sim_model *m, struct sim_guest *g, uint64_t kb)
{
    (void)m;
    if (kb < SIM_GUEST_MIN_KB || kb > g->cfg.max_kb)
        return VI_EINVAL;
    g->target_kb = kb;
    return 0;
}

int sim_model_set_sched(struct sim_model *m, struct sim_guest *g, uint32_t weight, uint32_t cap)
{
    (void)m;
    if (weight < 1 || weight > 65535 || cap > 100 * g->cfg.vcpus)
        return VI_EINVAL;
    g->cfg.weight = weight;
    g->cfg.cap = cap;
    return 0;
}

static void stop_cpu(struct sim_guest *g)
{
    g->granted = 0;
}

int sim_model_suspend(struct sim_model *m, struct sim_guest *g)
{
    (void)m;
    if (g->state != HV_RUNNING)
        return VI_ESTATE;
    g->state = HV_SUSPENDED;
    g->reason = HV_SUSPEND;
    stop_cpu(g);
    return 0;
}

static void run(struct sim_model *m, struct sim_guest *g)
{
    g->state = HV_RUNNING;
    g->reason = HV_REASON_NONE;
    g->next_report = m->now + SIM_REPORT_EVERY;
}

int sim_model_resume(struct sim_model *m, struct sim_guest *g)
{
    if (g->state != HV_SUSPENDED)
        return VI_ESTATE;
    run(m, g);
    return 0;
}

int sim_model_pause(struct sim_model *m, struct sim_guest *g)
{
    (void)m;
    if (g->state == HV_PAUSED)
        return 0;
    if (g->state != HV_RUNNING)
        return VI_ESTATE;
    g->state = HV_PAUSED;
    stop_cpu(g);
    return 0;
}

int sim_model_unpause(struct sim_model *m, struct sim_guest *g)
{
    if (g->state == HV_RUNNING && !g->incoming)
        return 0;
    if (g->state != HV_PAUSED)
        return VI_ESTATE;
    g->incoming = false;
    run(m, g);
    return 0;
}

int sim_model_shutdown(struct sim_model *m, struct sim_guest *g, enum hv_reason reason)
{
    (void)m;
    if (g->state != HV_RUNNING)
        return VI_ESTATE;
    g->state = HV_SHUTDOWN;
    g->reason = reason;
    stop_cpu(g);
    return 0;
}

enum hv_action sim_model_action(const struct sim_guest *g)
{
    switch (g->reason) {
    case HV_REBOOT: return g->cfg.on_reboot;
    case HV_CRASH:
    case HV_WATCHDOG: return g->cfg.on_crash;
    default: return g->cfg.on_poweroff;
    }
}

int sim_model_restart(struct sim_model *m, struct sim_guest *g, uint32_t *domid)
{
    if (g->state != HV_SHUTDOWN)
        return VI_ESTATE;
    struct sim_guest_config cfg = g->cfg;
    uint64_t target = g->target_kb;
    sim_model_destroy(m, g);
    struct sim_guest *again = add(m, &cfg);
    again->current_kb = again->target_kb = target;
    *domid = again->domid;
    return 0;
}

int sim_model_rename(struct sim_model *m, struct sim_guest *g, const char *name)
{
    struct sim_guest *other = sim_model_by_name(m, name);
    if (!name[0] || strlen(name) >= HV_NAME_MAX)
        return VI_EINVAL;
    if (other && other != g)
        return VI_EEXIST;
    snprintf(g->cfg.name, sizeof g->cfg.name, "%s", name);
    return 0;
}

void sim_model_describe(const struct sim_model *m, const struct sim_guest *g,
                        struct hv_description *out)
{
    (void)m;
    memset(out, 0, sizeof *out);
    out->uuid = g->cfg.uuid;
    memcpy(out->name, g->cfg.name, sizeof out->name);
    out->type = g->cfg.type;
    out->vcpus = g->cfg.vcpus;
    out->target_kb = g->target_kb;
    out->max_kb = g->cfg.max_kb;
    out->weight = g->cfg.weight;
    out->cap = g->cfg.cap;
    out->n_vifs = g->cfg.n_vifs;
    for (unsigned i = 0; i < g->cfg.n_vifs; i++)
        memcpy(out->vifs[i].mac, g->cfg.vifs[i].mac, 6);
    out->n_disks = put_disks(g, out->disks);
    out->has_kernel = g->cfg.has_kernel;
    memcpy(out->kernel, g->cfg.kernel, sizeof out->kernel);
    out->has_ramdisk = g->cfg.has_ramdisk;
    memcpy(out->ramdisk, g->cfg.ramdisk, sizeof out->ramdisk);
    out->on_poweroff = g->cfg.on_poweroff;
    out->on_reboot = g->cfg.on_reboot;
    out->on_crash = g->cfg.on_crash;
    sim_cpu_features(out->cpu_features);
}
