/* A guest's description on the wire: msgpack, version 1.
 *
 *   [1, uuid, name, type, vcpus, target_kb, max_kb, weight, cap, kernel|nil, ramdisk|nil, cmdline,
 *    [[mac, environment]…], [[kind, readonly, vdev, hash|storage id|disk's id]…],
 *    on_poweroff, on_reboot, on_crash, cpu_features, kept?]
 *
 * It comes from another host, perhaps of another domain, and what is built from it runs as root:
 * whatever is not plainly sensible is refused, by encode as well, so that a host never offers what
 * no host takes. A version that knows no disks which move with their guest refuses their kind. */
#include "peer/base/wire.h"
#include "xen/hypervisor.h"

#include <string.h>

#define VERSION   1
#define FIELDS    18 /* and a 19th where the guest is kept: who doesn't know it must not take such a guest */
#define VCPUS_MAX 128
#define KB_MIN    4096
#define KB_MAX    ((uint64_t)1 << 34) /* 16 TiB */

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("_.+-", c));
}

static bool name_ok(const char *s)
{
    if (!name_char(s[0]) || s[0] == '-' || s[0] == '.')
        return false;
    for (; *s; s++)
        if (!name_char(*s))
            return false;
    return true;
}

static bool printable(const char *s)
{
    for (; *s; s++)
        if (*s < 0x20 || *s > 0x7e)
            return false;
    return true;
}

static bool vifs_ok(const struct hv_description *d)
{
    static const uint8_t zero[6];
    if (d->n_vifs > HV_VIFS_MAX)
        return false;
    for (unsigned i = 0; i < d->n_vifs; i++) {
        if (d->vifs[i].mac[0] & 1 || memcmp(d->vifs[i].mac, zero, 6) == 0)
            return false;
        for (unsigned j = 0; j < i; j++)
            if (memcmp(d->vifs[i].mac, d->vifs[j].mac, 6) == 0)
                return false;
    }
    return true;
}

static bool disk_ok(const struct hv_disk *k)
{
    if (!hv_vdev_ok(k->vdev))
        return false;
    switch (k->kind) {
    case HV_DISK_IMAGE: return k->readonly;
    case HV_DISK_SHARED: return name_ok(k->storage_id);
    case HV_DISK_MOVABLE: return !k->readonly && !vi_id_is_zero(&k->id);
    default: return false; /* HV_DISK_LOCAL */
    }
}

static bool disks_ok(const struct hv_description *d)
{
    if (d->n_disks > HV_DISKS_MAX)
        return false;
    for (unsigned i = 0; i < d->n_disks; i++) {
        const struct hv_disk *k = &d->disks[i];
        if (!disk_ok(k))
            return false;
        for (unsigned j = 0; j < i; j++)
            if (strcmp(k->vdev, d->disks[j].vdev) == 0 ||
                (k->kind == HV_DISK_MOVABLE && d->disks[j].kind == HV_DISK_MOVABLE && vi_id_equal(&k->id, &d->disks[j].id)))
                return false;
    }
    return true;
}

static bool action_ok(enum hv_action a)
{
    return a == HV_ACT_DESTROY || a == HV_ACT_RESTART || a == HV_ACT_PRESERVE;
}

static bool sensible(const struct hv_description *d)
{
    return !vi_id_is_zero(&d->uuid) && name_ok(d->name) &&
           (d->type == HV_PVH || d->type == HV_HVM || d->type == HV_PV) && d->vcpus >= 1 &&
           d->vcpus <= VCPUS_MAX && d->target_kb >= KB_MIN && d->target_kb <= d->max_kb &&
           d->max_kb <= KB_MAX && d->weight >= 1 && d->weight <= 65535 &&
           d->cap <= 100 * d->vcpus && printable(d->cmdline) && vifs_ok(d) && disks_ok(d) &&
           action_ok(d->on_poweroff) && action_ok(d->on_reboot) && action_ok(d->on_crash) &&
           (d->has_kernel || !d->has_ramdisk);
}

/* A string field that lacks its NUL within cap must not be read past its end. */
static bool terminated(const struct hv_description *d)
{
    bool ok = memchr(d->name, 0, sizeof d->name) && memchr(d->cmdline, 0, sizeof d->cmdline);
    for (unsigned i = 0; i < HV_DISKS_MAX && i < d->n_disks; i++)
        ok = ok && memchr(d->disks[i].vdev, 0, sizeof d->disks[i].vdev) &&
             memchr(d->disks[i].storage_id, 0, sizeof d->disks[i].storage_id);
    return ok;
}

static void write_devices(struct vi_writer *w, const struct hv_description *d)
{
    vi_write_array(w, d->n_vifs);
    for (unsigned i = 0; i < d->n_vifs; i++) {
        vi_write_array(w, 2);
        vi_write_bin(w, d->vifs[i].mac, 6);
        vi_write_id(w, &d->vifs[i].environment);
    }
    vi_write_array(w, d->n_disks);
    for (unsigned i = 0; i < d->n_disks; i++) {
        vi_write_array(w, 4);
        vi_write_uint(w, d->disks[i].kind);
        vi_write_bool(w, d->disks[i].readonly);
        vi_write_str(w, d->disks[i].vdev);
        if (d->disks[i].kind == HV_DISK_IMAGE)
            vi_write_bin(w, d->disks[i].hash, HV_HASH_SIZE);
        else if (d->disks[i].kind == HV_DISK_MOVABLE)
            vi_write_id(w, &d->disks[i].id);
        else
            vi_write_str(w, d->disks[i].storage_id);
    }
}

static void write_hash(struct vi_writer *w, bool has, const uint8_t hash[HV_HASH_SIZE])
{
    if (has)
        vi_write_bin(w, hash, HV_HASH_SIZE);
    else
        vi_write_nil(w);
}

int hv_description_encode(const struct hv_description *d, uint8_t *out, size_t cap)
{
    struct vi_writer w;

    if (!terminated(d) || !sensible(d))
        return VI_EINVAL;
    vi_writer_init(&w, out, cap < HV_DESCRIPTION_MAX ? cap : HV_DESCRIPTION_MAX);
    vi_write_array(&w, FIELDS + d->kept);
    vi_write_uint(&w, VERSION);
    vi_write_id(&w, &d->uuid);
    vi_write_str(&w, d->name);
    vi_write_uint(&w, d->type);
    vi_write_uint(&w, d->vcpus);
    vi_write_uint(&w, d->target_kb);
    vi_write_uint(&w, d->max_kb);
    vi_write_uint(&w, d->weight);
    vi_write_uint(&w, d->cap);
    write_hash(&w, d->has_kernel, d->kernel);
    write_hash(&w, d->has_ramdisk, d->ramdisk);
    vi_write_str(&w, d->cmdline);
    write_devices(&w, d);
    vi_write_uint(&w, d->on_poweroff);
    vi_write_uint(&w, d->on_reboot);
    vi_write_uint(&w, d->on_crash);
    vi_write_bin(&w, d->cpu_features, sizeof d->cpu_features);
    if (d->kept)
        vi_write_bool(&w, true);
    return w.err ? w.err : (int)w.len;
}

static void read_devices(struct vi_reader *r, struct hv_description *d)
{
    d->n_vifs = vi_read_array(r, HV_VIFS_MAX);
    for (unsigned i = 0; i < d->n_vifs && !r->err; i++) {
        if (vi_read_array(r, 2) != 2)
            r->err = VI_EPROTO;
        vi_read_bytes(r, d->vifs[i].mac, 6);
        vi_read_id(r, &d->vifs[i].environment);
    }
    d->n_disks = r->err ? 0 : vi_read_array(r, HV_DISKS_MAX);
    for (unsigned i = 0; i < d->n_disks && !r->err; i++) {
        struct hv_disk *k = &d->disks[i];
        if (vi_read_array(r, 4) != 4)
            r->err = VI_EPROTO;
        k->kind = (enum hv_disk_kind)vi_read_uint(r, HV_DISK_MOVABLE);
        k->readonly = vi_read_bool(r);
        vi_read_cstr(r, k->vdev, sizeof k->vdev);
        if (k->kind == HV_DISK_IMAGE)
            vi_read_bytes(r, k->hash, HV_HASH_SIZE);
        else if (k->kind == HV_DISK_MOVABLE)
            vi_read_id(r, &k->id);
        else
            vi_read_cstr(r, k->storage_id, sizeof k->storage_id);
    }
}

static bool read_hash(struct vi_reader *r, uint8_t hash[HV_HASH_SIZE])
{
    if (vi_read_peek(r) == VI_WIRE_NIL) {
        vi_read_nil(r);
        return false;
    }
    vi_read_bytes(r, hash, HV_HASH_SIZE);
    return true;
}

int hv_description_decode(struct hv_description *d, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    uint32_t fields;
    int err;

    memset(d, 0, sizeof *d);
    if (len > HV_DESCRIPTION_MAX)
        return VI_EPROTO;
    vi_reader_init(&r, data, len);
    fields = vi_read_array(&r, FIELDS + 1);
    if (fields < FIELDS)
        return VI_EPROTO;
    if (vi_read_uint(&r, UINT32_MAX) != VERSION)
        return r.err ? VI_EPROTO : VI_EVERSION;
    vi_read_id(&r, &d->uuid);
    vi_read_cstr(&r, d->name, sizeof d->name);
    d->type = (enum hv_type)vi_read_uint(&r, HV_PV);
    d->vcpus = (uint32_t)vi_read_uint(&r, VCPUS_MAX);
    d->target_kb = vi_read_uint(&r, KB_MAX);
    d->max_kb = vi_read_uint(&r, KB_MAX);
    d->weight = (uint32_t)vi_read_uint(&r, 65535);
    d->cap = (uint32_t)vi_read_uint(&r, 100 * VCPUS_MAX);
    d->has_kernel = read_hash(&r, d->kernel);
    d->has_ramdisk = read_hash(&r, d->ramdisk);
    vi_read_cstr(&r, d->cmdline, sizeof d->cmdline);
    read_devices(&r, d);
    d->on_poweroff = (enum hv_action)vi_read_uint(&r, HV_ACT_PRESERVE);
    d->on_reboot = (enum hv_action)vi_read_uint(&r, HV_ACT_PRESERVE);
    d->on_crash = (enum hv_action)vi_read_uint(&r, HV_ACT_PRESERVE);
    vi_read_bytes(&r, d->cpu_features, sizeof d->cpu_features);
    d->kept = fields > FIELDS && vi_read_bool(&r);
    err = vi_read_end(&r);
    if (!err && !sensible(d))
        err = VI_EINVAL;
    if (err)
        memset(d, 0, sizeof *d);
    return err;
}
