/* A guest as one line of `key=value` words. See simulated_internal.h. */
#include "xen/simulated_internal.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KB_MAX ((uint64_t)1 << 34)

bool sim_name_ok(const char *s)
{
    if (!*s || *s == '.' || *s == '-' || *s == '+')
        return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && !strchr("_.+-", *s))
            return false;
    return true;
}

static const char *const actions[] = {"destroy", "restart", "preserve", NULL};
static const char *const states[] = {"running", "paused", "suspended", "shutdown", NULL};
static const char *const reasons[] = {"none", "poweroff", "reboot", "suspend", "crash", "watchdog",
                                      NULL};
static const char *const types[] = {"pvh", "hvm", "pv", NULL};

const char *sim_action_name(enum hv_action a)
{
    return actions[a];
}

void sim_text_defaults(struct sim_guest *g)
{
    memset(g, 0, sizeof *g);
    g->cfg.vcpus = 1;
    g->cfg.weight = 256;
    g->cfg.movable = true;
    g->cfg.on_reboot = HV_ACT_RESTART;
    snprintf(g->cfg.ifname, sizeof g->cfg.ifname, "eth0");
}

static int read_choice(const char *v, const char *const *names, int *out)
{
    for (int i = 0; names[i]; i++)
        if (!strcmp(v, names[i])) {
            *out = i;
            return 0;
        }
    return VI_EINVAL;
}

static int read_number(const char *v, uint64_t max, uint64_t *out)
{
    char *end;
    errno = 0;
    if (!isdigit((unsigned char)*v))
        return VI_EINVAL;
    unsigned long long n = strtoull(v, &end, 10);
    if (errno || *end || n > max)
        return VI_EINVAL;
    *out = n;
    return 0;
}

static int read_u32(const char *v, uint32_t max, uint32_t *out)
{
    uint64_t n;
    int err = read_number(v, max, &n);
    if (!err)
        *out = (uint32_t)n;
    return err;
}

/* MiB with a fraction, kept as KiB. */
static int read_mib(const char *v, uint64_t *kb)
{
    char *end;
    double d;
    if (!isdigit((unsigned char)*v))
        return VI_EINVAL;
    d = strtod(v, &end);
    if (*end || !(d >= 0) || d * 1024 > (double)KB_MAX)
        return VI_EINVAL;
    *kb = (uint64_t)(d * 1024 + 0.5);
    return 0;
}

static int read_mac(const char *v, struct sim_guest_config *c)
{
    uint8_t m[6];
    int used = 0;
    if (sscanf(v, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &m[0], &m[1], &m[2], &m[3], &m[4], &m[5],
               &used) != 6 || v[used] || m[0] & 1)
        return VI_EINVAL;
    if (c->n_vifs == HV_VIFS_MAX)
        return VI_EFULL;
    memset(&c->vifs[c->n_vifs], 0, sizeof c->vifs[0]);
    memcpy(c->vifs[c->n_vifs++].mac, m, 6);
    return 0;
}

static int read_name(const char *v, char *out, size_t cap)
{
    if (!sim_name_ok(v) || strlen(v) >= cap)
        return VI_EINVAL;
    snprintf(out, cap, "%s", v);
    return 0;
}

static int read_hash(const char *v, uint8_t hash[HV_HASH_SIZE])
{
    int used = 0;
    if (strlen(v) != 2 * HV_HASH_SIZE)
        return VI_EINVAL;
    for (unsigned i = 0; i < HV_HASH_SIZE; i++)
        if (sscanf(v + 2 * i, "%2hhx%n", &hash[i], &used) != 1 || used != 2)
            return VI_EINVAL;
    return 0;
}

static int read_image(const char *v, struct sim_guest_config *c)
{
    return c->n_images == SIM_IMAGES_MAX ? VI_EFULL : read_hash(v, c->images[c->n_images]) ? VI_EINVAL : (c->n_images++, 0);
}

/* An id, or an id and where the guest finds it: `ID:xvdb`; without, the next letter. */
static int read_disk(const char *v, struct sim_guest_config *c)
{
    struct sim_guest_disk *d = &c->disks[c->n_disks];
    char id[VI_ID_TEXT];
    if (c->n_disks == SIM_DISKS_MAX)
        return VI_EFULL;
    memset(d, 0, sizeof *d);
    snprintf(id, sizeof id, "%s", v);
    if (strlen(id) != VI_ID_TEXT - 1 || vi_id_parse(&d->id, id) || vi_id_is_zero(&d->id))
        return VI_EINVAL;
    v += VI_ID_TEXT - 1;
    if (*v && (*v != ':' || strlen(v + 1) < 2 || strlen(v + 1) >= sizeof d->vdev))
        return VI_EINVAL;
    if (*v)
        snprintf(d->vdev, sizeof d->vdev, "%s", v + 1);
    else
        snprintf(d->vdev, sizeof d->vdev, "xvd%c", (char)('a' + c->n_images + c->n_disks));
    for (const char *p = d->vdev; *p; p++)
        if (!(*p >= 'a' && *p <= 'z') && !(p > d->vdev && *p >= '0' && *p <= '9'))
            return VI_EINVAL;
    for (unsigned i = 0; i < c->n_disks; i++)
        if (!strcmp(c->disks[i].vdev, d->vdev) || vi_id_equal(&c->disks[i].id, &d->id))
            return VI_EINVAL;
    c->n_disks++;
    return 0;
}

static int read_boolean(const char *v, bool *out)
{
    *out = !strcmp(v, "yes") || !strcmp(v, "1");
    return *out || !strcmp(v, "no") || !strcmp(v, "0") ? 0 : VI_EINVAL;
}

/* What a person writes. VI_ENOTFOUND: another key. */
static int read_config(struct sim_guest_config *c, const char *k, const char *v)
{
    int n = 0, err;
    if (!strcmp(k, "name"))
        return read_name(v, c->name, sizeof c->name);
    if (!strcmp(k, "uuid"))
        return vi_id_parse(&c->uuid, v);
    if (!strcmp(k, "type")) {
        err = read_choice(v, types, &n);
        c->type = (enum hv_type)n;
        return err;
    }
    if (!strcmp(k, "memory"))
        return read_mib(v, &c->memory_kb);
    if (!strcmp(k, "maxmem"))
        return read_mib(v, &c->max_kb);
    if (!strcmp(k, "vcpus"))
        return read_u32(v, 128, &c->vcpus);
    if (!strcmp(k, "weight"))
        return read_u32(v, 65535, &c->weight);
    if (!strcmp(k, "cap"))
        return read_u32(v, 12800, &c->cap);
    if (!strcmp(k, "mac"))
        return read_mac(v, c);
    if (!strcmp(k, "bridge"))
        return c->n_vifs ? read_name(v, c->vifs[c->n_vifs - 1].bridge, 16) : VI_EINVAL;
    if (!strcmp(k, "netns"))
        return read_name(v, c->netns, sizeof c->netns);
    if (!strcmp(k, "ifname"))
        return read_name(v, c->ifname, sizeof c->ifname);
    if (!strcmp(k, "image"))
        return read_image(v, c);
    if (!strcmp(k, "disk"))
        return read_disk(v, c);
    if (!strcmp(k, "kernel")) {
        c->has_kernel = true;
        return read_hash(v, c->kernel);
    }
    if (!strcmp(k, "ramdisk")) {
        c->has_ramdisk = true;
        return read_hash(v, c->ramdisk);
    }
    if (!strcmp(k, "movable"))
        return read_boolean(v, &c->movable);
    if (!strcmp(k, "on_poweroff") || !strcmp(k, "on_reboot") || !strcmp(k, "on_crash")) {
        enum hv_action *a = k[3] == 'p' ? &c->on_poweroff : k[3] == 'r' ? &c->on_reboot : &c->on_crash;
        err = read_choice(v, actions, &n);
        *a = (enum hv_action)n;
        return err;
    }
    return VI_ENOTFOUND;
}

static int read_load(struct sim_load *l, const char *k, const char *v)
{
    if (!strcmp(k, "cpu")) {
        char *end;
        double d = strtod(v, &end);
        if (!isdigit((unsigned char)*v) || *end || !(d >= 0 && d <= 1e6))
            return VI_EINVAL;
        l->cpu = d;
        return 0;
    }
    if (!strcmp(k, "used"))
        return read_mib(v, &l->used_kb);
    if (!strcmp(k, "dirty"))
        return read_mib(v, &l->dirty_kb_s);
    if (!strcmp(k, "writes"))
        return read_u32(v, SIM_WRITES_MAX, &l->writes);
    return VI_ENOTFOUND;
}

/* What only files and streams have. */
static int read_state(struct sim_guest *g, const char *k, const char *v)
{
    int n = 0, err;
    if (!strcmp(k, "domid"))
        return read_u32(v, 0x7fffffff, &g->domid);
    if (!strcmp(k, "state")) {
        err = read_choice(v, states, &n);
        g->state = (enum hv_guest_state)n;
        return err;
    }
    if (!strcmp(k, "reason")) {
        err = read_choice(v, reasons, &n);
        g->reason = (enum hv_reason)n;
        return err;
    }
    if (!strcmp(k, "incoming"))
        return read_boolean(v, &g->incoming);
    if (!strcmp(k, "current_kb"))
        return read_number(v, KB_MAX, &g->current_kb);
    if (!strcmp(k, "target_kb"))
        return read_number(v, KB_MAX, &g->target_kb);
    if (!strcmp(k, "cpu_ns"))
        return read_number(v, UINT64_MAX / 2, &g->cpu_time_ns);
    if (!strcmp(k, "steal_ns"))
        return read_number(v, UINT64_MAX / 2, &g->steal_ns);
    if (!strcmp(k, "sequence"))
        return read_number(v, UINT64_MAX / 2, &g->report.sequence);
    return VI_EINVAL;
}

int sim_text_read(struct sim_guest *g, const char *line, char *why, size_t why_size)
{
    char copy[SIM_TEXT_MAX], *save = NULL;
    if (strlen(line) >= sizeof copy) {
        snprintf(why, why_size, "the line is too long");
        return VI_EINVAL;
    }
    snprintf(copy, sizeof copy, "%s", line);
    for (char *word = strtok_r(copy, " \t\r\n", &save); word; word = strtok_r(NULL, " \t\r\n", &save)) {
        char *value = strchr(word, '=');
        int err = VI_EINVAL;
        if (value) {
            *value++ = '\0';
            err = read_config(&g->cfg, word, value);
            if (err == VI_ENOTFOUND)
                err = read_load(&g->cfg.load, word, value);
            if (err == VI_ENOTFOUND)
                err = read_state(g, word, value);
        }
        if (err) {
            snprintf(why, why_size, "%.32s: unknown, or its value is not possible", word);
            return VI_EINVAL;
        }
    }
    return 0;
}

static void add(char *out, size_t cap, size_t *at, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static void add(char *out, size_t cap, size_t *at, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = *at < cap ? vsnprintf(out + *at, cap - *at, fmt, ap) : 0;
    va_end(ap);
    *at = n < 0 ? cap : *at + (size_t)n;
}

static void add_hash(char *out, size_t cap, size_t *at, const char *key, const uint8_t hash[HV_HASH_SIZE])
{
    add(out, cap, at, "%s", key);
    for (unsigned i = 0; i < HV_HASH_SIZE; i++)
        add(out, cap, at, "%02x", hash[i]);
}

int sim_text_write(const struct sim_guest *g, char *out, size_t cap)
{
    const struct sim_guest_config *c = &g->cfg;
    char uuid[VI_UUID_TEXT];
    size_t at = 0;
    add(out, cap, &at, "name=%s uuid=%s type=%s memory=%.6f maxmem=%.6f vcpus=%" PRIu32, c->name,
        vi_uuid_format(&c->uuid, uuid), types[c->type], (double)c->memory_kb / 1024,
        (double)c->max_kb / 1024, c->vcpus);
    add(out, cap, &at, " weight=%" PRIu32 " cap=%" PRIu32, c->weight, c->cap);
    for (unsigned i = 0; i < c->n_vifs; i++) {
        const uint8_t *m = c->vifs[i].mac;
        add(out, cap, &at, " mac=%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
        if (c->vifs[i].bridge[0])
            add(out, cap, &at, " bridge=%s", c->vifs[i].bridge);
    }
    if (c->netns[0])
        add(out, cap, &at, " netns=%s", c->netns);
    if (c->ifname[0])
        add(out, cap, &at, " ifname=%s", c->ifname);
    for (unsigned i = 0; i < c->n_images; i++)
        add_hash(out, cap, &at, " image=", c->images[i]);
    for (unsigned i = 0; i < c->n_disks; i++) {
        char id[VI_ID_TEXT];
        add(out, cap, &at, " disk=%s:%s", vi_id_format(&c->disks[i].id, id), c->disks[i].vdev);
    }
    if (c->has_kernel)
        add_hash(out, cap, &at, " kernel=", c->kernel);
    if (c->has_ramdisk)
        add_hash(out, cap, &at, " ramdisk=", c->ramdisk);
    add(out, cap, &at, " movable=%s on_poweroff=%s on_reboot=%s on_crash=%s",
        c->movable ? "yes" : "no", actions[c->on_poweroff], actions[c->on_reboot],
        actions[c->on_crash]);
    add(out, cap, &at, " cpu=%.3f used=%.6f dirty=%.6f", c->load.cpu,
        (double)c->load.used_kb / 1024, (double)c->load.dirty_kb_s / 1024);
    if (c->load.writes)
        add(out, cap, &at, " writes=%" PRIu32, c->load.writes);
    add(out, cap, &at, " domid=%" PRIu32 " state=%s reason=%s incoming=%d", g->domid,
        states[g->state], reasons[g->reason], g->incoming);
    add(out, cap, &at, " current_kb=%" PRIu64 " target_kb=%" PRIu64, g->current_kb, g->target_kb);
    add(out, cap, &at, " cpu_ns=%" PRIu64 " steal_ns=%" PRIu64 " sequence=%" PRIu64, g->cpu_time_ns,
        g->steal_ns, g->report.sequence);
    return at < cap ? (int)at : VI_EFULL;
}
