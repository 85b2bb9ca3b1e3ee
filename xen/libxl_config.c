/* Between libxl's configurations and ours: what a guest's configuration says about whether it may
 * move, its description for another host, and the configuration built here from a description.
 *
 * Nothing of a description becomes a path, a script, a device model or a back end: kernel, ramdisk
 * and read-only disks are found by hash in this host's image folders, writable ones by their id (libxl_disk.c), the
 * bridge follows from the environment's id, all else is libxl's default. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "xen/libxl_internal.h"

enum hv_action lx_action(libxl_action_on_shutdown a)
{
    switch (a) {
    case LIBXL_ACTION_ON_SHUTDOWN_RESTART:
    case LIBXL_ACTION_ON_SHUTDOWN_RESTART_RENAME:
    case LIBXL_ACTION_ON_SHUTDOWN_COREDUMP_RESTART:
    case LIBXL_ACTION_ON_SHUTDOWN_SOFT_RESET:
        return HV_ACT_RESTART;
    case LIBXL_ACTION_ON_SHUTDOWN_PRESERVE:
        return HV_ACT_PRESERVE;
    default:
        return HV_ACT_DESTROY;
    }
}

static enum hv_type type_of(const libxl_domain_config *c)
{
    return c->c_info.type == LIBXL_DOMAIN_TYPE_PVH  ? HV_PVH
           : c->c_info.type == LIBXL_DOMAIN_TYPE_PV ? HV_PV
                                                    : HV_HVM;
}

/* As images_hash_of; a file that has not been read yet is noted, so that it will be. */
static int known_image(struct lx *lx, const char *path, uint8_t hash[HV_HASH_SIZE])
{
    int err = images_hash_of(lx->images, path, hash);
    if (err == VI_EAGAIN)
        lx->unread = true;
    return err;
}

static void read_disk(struct lx *lx, const libxl_device_disk *k, struct hv_disk *out)
{
    memset(out, 0, sizeof *out);
    out->kind = HV_DISK_LOCAL;
    out->readonly = !k->readwrite;
    snprintf(out->vdev, sizeof out->vdev, "%s", k->vdev ? k->vdev : "");
    if (lx_disk_moves(lx, k, &out->id))
        out->kind = HV_DISK_MOVABLE;
    else if (out->readonly && k->pdev_path && !k->script && k->format == LIBXL_DISK_FORMAT_RAW &&
        known_image(lx, k->pdev_path, out->hash) == 0)
        out->kind = HV_DISK_IMAGE;
}

/* Why this file keeps a guest from moving, or NULL if it is an image. */
static const char *image_problem(struct lx *lx, const char *path, uint8_t hash[HV_HASH_SIZE])
{
    switch (known_image(lx, path, hash)) {
    case 0:         return NULL;
    case VI_EAGAIN: return "has not been read yet; try again soon";
    default:        return "is in none of the image-dirs";
    }
}

static bool why_files(struct lx *lx, const libxl_domain_config *c, char *why, size_t cap)
{
    const char *files[2] = {c->b_info.kernel, c->b_info.ramdisk};
    uint8_t hash[HV_HASH_SIZE];

    if (!files[0] && c->c_info.type != LIBXL_DOMAIN_TYPE_HVM) {
        snprintf(why, cap, "its kernel comes from a boot loader, not from a file");
        return true;
    }
    for (int i = 0; i < 2; i++) {
        const char *problem = files[i] && files[i][0] ? image_problem(lx, files[i], hash) : NULL;
        if (problem) {
            const char *name = strlen(files[i]) > 48 ? strrchr(files[i], '/') : files[i];
            snprintf(why, cap, "%.48s %s", name ? name : files[i], problem);
            return true;
        }
    }
    return false;
}

static bool why_devices(struct lx *lx, const libxl_domain_config *c, char *why, size_t cap)
{
    int moving = 0;

    if (c->num_pcidevs || c->num_usbdevs || c->num_usbctrls || c->num_dtdevs || c->num_rdms ||
        c->b_info.num_iomem || c->b_info.num_ioports || c->b_info.num_irqs) {
        snprintf(why, cap, "it has passed-through devices");
        return true;
    }
    if (c->num_vtpms || c->num_p9s || c->num_pvcallsifs || c->num_vdispls || c->num_vsnds ||
        c->num_channels || c->num_vfbs || c->num_vkbs) {
        snprintf(why, cap, "it has devices other than network cards and disks");
        return true;
    }
    if (c->num_nics > HV_VIFS_MAX || c->num_disks > HV_DISKS_MAX) {
        snprintf(why, cap, "it has more than %d network cards or disks", HV_VIFS_MAX);
        return true;
    }
    for (int i = 0; i < c->num_nics; i++)
        if (c->nics[i].backend_domid || c->nics[i].rate_bytes_per_interval) {
            snprintf(why, cap, "network card %d has a driver domain or a rate limit", i);
            return true;
        }
    for (int i = 0; i < c->num_disks; i++) {
        struct hv_disk k;
        read_disk(lx, &c->disks[i], &k);
        if (k.kind == HV_DISK_LOCAL || c->disks[i].backend_domid || c->disks[i].is_cdrom) {
            lx_disk_why_local(lx, &c->disks[i], why, cap);
            return true;
        }
        moving += k.kind == HV_DISK_MOVABLE;
    }
    if (moving > HV_MOVABLE_MAX) {
        snprintf(why, cap, "it has more than %d disks that would move with it", HV_MOVABLE_MAX);
        return true;
    }
    return false;
}

static bool by_libvirt(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "/run/libvirt/libxl/%s.xml", name);
    return access(path, F_OK) == 0;
}

static bool is_set(libxl_defbool b)
{
    return !libxl_defbool_is_default(b) && libxl_defbool_val(b);
}

/* Fills why with the reason that keeps the guest here; "" if it may move. */
static void why_not(struct lx *lx, const libxl_domain_config *c, char *why, size_t cap)
{
    const libxl_domain_build_info *b = &c->b_info;
    bool pvh = c->c_info.type == LIBXL_DOMAIN_TYPE_PVH;

    why[0] = '\0';
    if (c->c_info.type == LIBXL_DOMAIN_TYPE_HVM)
        snprintf(why, cap, "an HVM guest has a device model, whose state violin does not move");
    else if (c->c_info.type == LIBXL_DOMAIN_TYPE_PV && !lx->shadow)
        snprintf(why, cap, "PV guest, and this hypervisor has no shadow paging: use type = \"pvh\"");
    else if (by_libvirt(c->c_info.name ? c->c_info.name : ""))
        snprintf(why, cap, "it is managed by libvirt");
    else if (is_set(b->disable_migrate))
        snprintf(why, cap, "its configuration says nomigrate");
    else if (pvh && is_set(b->u.pvh.pvshim))
        snprintf(why, cap, "it is a PV guest in a shim");
    else if (b->bootloader || libxl_cpuid_policy_list_length(&b->cpuid) > 0)
        snprintf(why, cap, "its configuration has a boot loader or CPUID settings of its own");
    else if (b->cmdline && strlen(b->cmdline) >= sizeof ((struct hv_description *)0)->cmdline)
        snprintf(why, cap, "its kernel command line is longer than 511 characters");
    else if (!why_devices(lx, c, why, cap))
        why_files(lx, c, why, cap);
}

void lx_static_read(struct lx *lx, const struct lx_dom *dom, const libxl_domain_config *c,
                    struct lx_static *st)
{
    (void)dom;
    memset(st, 0, sizeof *st);
    st->type = type_of(c);
    st->vcpus = (uint32_t)c->b_info.max_vcpus;
    st->max_kb = c->b_info.max_memkb;
    for (int i = 0; i < c->num_nics && st->n_vifs < HV_VIFS_MAX; i++) {
        struct hv_vif *v = &st->vifs[st->n_vifs++];
        memcpy(v->mac, c->nics[i].mac, 6);
        snprintf(v->bridge, sizeof v->bridge, "%s", c->nics[i].bridge ? c->nics[i].bridge : "");
    }
    for (int i = 0; i < c->num_disks && st->n_disks < HV_DISKS_MAX; i++)
        read_disk(lx, &c->disks[i], &st->disks[st->n_disks++]);
    const char *boot[HV_BOOT_MAX] = {c->b_info.kernel, c->b_info.ramdisk};
    for (int i = 0; i < HV_BOOT_MAX; i++)
        if (boot[i] && boot[i][0] && images_hash_of(lx->images, boot[i], st->boot[st->n_boot]) == 0)
            st->n_boot++;
    why_not(lx, c, st->why_not, sizeof st->why_not);
}

int lx_describe_config(struct lx *lx, const libxl_domain_config *c, struct hv_description *d,
                       char *why, size_t cap)
{
    uint8_t encoded[HV_DESCRIPTION_MAX];
    const libxl_domain_build_info *b = &c->b_info;

    why_not(lx, c, why, cap);
    if (why[0])
        return VI_EUNSUPPORTED;
    memset(d, 0, sizeof *d);
    memcpy(d->uuid.b, libxl_uuid_bytearray_const(&c->c_info.uuid), VI_ID_SIZE);
    lx_own_name(c->c_info.name ? c->c_info.name : "", d->name, sizeof d->name);
    d->type = type_of(c);
    d->vcpus = (uint32_t)b->max_vcpus;
    d->target_kb = b->target_memkb;
    d->max_kb = b->max_memkb;
    d->has_kernel = b->kernel && images_hash_of(lx->images, b->kernel, d->kernel) == 0;
    d->has_ramdisk = b->ramdisk && b->ramdisk[0] &&
                     images_hash_of(lx->images, b->ramdisk, d->ramdisk) == 0;
    snprintf(d->cmdline, sizeof d->cmdline, "%s", b->cmdline ? b->cmdline : "");
    for (int i = 0; i < c->num_nics; i++)
        memcpy(d->vifs[d->n_vifs++].mac, c->nics[i].mac, 6);
    for (int i = 0; i < c->num_disks; i++)
        read_disk(lx, &c->disks[i], &d->disks[d->n_disks++]);
    d->on_poweroff = lx_action(c->on_poweroff);
    d->on_reboot = lx_action(c->on_reboot);
    d->on_crash = lx_action(c->on_crash);
    memcpy(d->cpu_features, lx->cpu_features, sizeof d->cpu_features);
    d->weight = 256;
    if (hv_description_encode(d, encoded, sizeof encoded) < 0) {
        snprintf(why, cap, "its name, devices or command line are not plain enough to be described");
        return VI_EUNSUPPORTED;
    }
    return 0;
}

/* ---- building */

static int image_path(struct lx *lx, const char *what, const uint8_t hash[HV_HASH_SIZE], char **out,
                      char *why, size_t cap)
{
    char path[IMAGES_PATH];

    if (images_path_of(lx->images, hash, path)) {
        snprintf(why, cap, "its %s (BLAKE2b %02x%02x%02x%02x…) is in none of this host's image-dirs",
                 what, hash[0], hash[1], hash[2], hash[3]);
        return VI_ENOTFOUND;
    }
    *out = strdup(path);
    return *out ? 0 : VI_ENOMEM;
}

static int build_nics(struct lx *lx, const struct hv_description *d, libxl_domain_config *c, char *why, size_t cap)
{
    if (!d->n_vifs)
        return 0;
    c->nics = calloc(d->n_vifs, sizeof *c->nics);
    if (!c->nics)
        return VI_ENOMEM;
    for (unsigned i = 0; i < d->n_vifs; i++) {
        libxl_device_nic *nic = &c->nics[c->num_nics++];
        const uint8_t *e = d->vifs[i].environment.b;
        char bridge[16];
        bool outside = vi_id_is_zero(&d->vifs[i].environment);
        libxl_device_nic_init(nic);
        if (outside && !lx->outside) {
            snprintf(why, cap, "it wants a leg outside, and this host's configuration names no outside-bridge");
            return VI_EUNSUPPORTED;
        }
        if (outside)
            snprintf(bridge, sizeof bridge, "%s", lx->outside);
        else
            snprintf(bridge, sizeof bridge, "vi-%02x%02x%02x%02x", e[0], e[1], e[2], e[3]);
        nic->devid = (int)i;
        nic->nictype = LIBXL_NIC_TYPE_VIF;
        memcpy(nic->mac, d->vifs[i].mac, 6);
        if (!(nic->bridge = strdup(bridge)))
            return VI_ENOMEM;
    }
    return 0;
}

static int build_image(struct lx *lx, const struct hv_disk *d, libxl_device_disk *k, char *why, size_t cap)
{
    k->format = LIBXL_DISK_FORMAT_RAW;
    k->readwrite = 0;
    if (!(k->vdev = strdup(d->vdev)))
        return VI_ENOMEM;
    return image_path(lx, "disk", d->hash, &k->pdev_path, why, cap);
}

static int build_disks(struct lx_op *op, enum lx_purpose purpose, char *why, size_t cap)
{
    const struct hv_description *d = op->d;
    libxl_domain_config *c = &op->config;

    if (!d->n_disks)
        return 0;
    c->disks = calloc(d->n_disks, sizeof *c->disks);
    if (!c->disks)
        return VI_ENOMEM;
    for (unsigned i = 0; i < d->n_disks; i++) {
        libxl_device_disk *k = &c->disks[c->num_disks++];
        libxl_device_disk_init(k);
        int err = VI_EUNSUPPORTED;
        if (d->disks[i].kind == HV_DISK_IMAGE)
            err = build_image(op->lx, &d->disks[i], k, why, cap);
        else if (d->disks[i].kind == HV_DISK_MOVABLE)
            err = lx_disk_build(op, purpose, d->disks[i].vdev, &d->disks[i].id, k, why, cap);
        else
            snprintf(why, cap, "disk %s: this host has no storage %.40s", d->disks[i].vdev,
                     d->disks[i].storage_id);
        if (err)
            return err;
    }
    return 0;
}

static libxl_action_on_shutdown to_libxl(enum hv_action a)
{
    return a == HV_ACT_RESTART    ? LIBXL_ACTION_ON_SHUTDOWN_RESTART
           : a == HV_ACT_PRESERVE ? LIBXL_ACTION_ON_SHUTDOWN_PRESERVE
                                  : LIBXL_ACTION_ON_SHUTDOWN_DESTROY;
}

static int build_boot(struct lx *lx, const struct hv_description *d, libxl_domain_build_info *b,
                      char *why, size_t cap)
{
    int err = 0;

    if (!d->has_kernel) {
        snprintf(why, cap, "a guest without a kernel image can't be received");
        return VI_EUNSUPPORTED;
    }
    err = image_path(lx, "kernel", d->kernel, &b->kernel, why, cap);
    if (!err && d->has_ramdisk)
        err = image_path(lx, "ramdisk", d->ramdisk, &b->ramdisk, why, cap);
    if (!err && d->cmdline[0] && !(b->cmdline = strdup(d->cmdline)))
        err = VI_ENOMEM;
    return err;
}

/* The name for a copy that is being received: its own one if no domain here has that. */
static void free_name(struct lx *lx, const struct hv_description *d, char *out, size_t cap)
{
    uint32_t domid;

    snprintf(out, cap, "%s" LX_INCOMING, d->name);
    if (libxl_name_to_domid(lx->ctx, d->name, &domid) == 0 ||
        libxl_name_to_domid(lx->ctx, out, &domid) == 0)
        snprintf(out, cap, "%s-%02x%02x%02x%02x" LX_INCOMING, d->name, d->uuid.b[0], d->uuid.b[1],
                 d->uuid.b[2], d->uuid.b[3]);
}

int lx_build_config(struct lx_op *op, enum lx_purpose purpose, char *why, size_t cap)
{
    struct lx *lx = op->lx;
    const struct hv_description *d = op->d;
    libxl_domain_config *c = &op->config;
    char name[LX_NAME_MAX];
    int err;

    snprintf(why, cap, "out of memory");
    if (d->type == HV_HVM || (d->type == HV_PV && !lx->shadow)) {
        snprintf(why, cap, "this host can't receive %s guests", hv_type_name(d->type));
        return VI_EUNSUPPORTED;
    }
    free_name(lx, d, name, sizeof name);
    c->c_info.type = d->type == HV_PVH ? LIBXL_DOMAIN_TYPE_PVH : LIBXL_DOMAIN_TYPE_PV;
    memcpy(libxl_uuid_bytearray(&c->c_info.uuid), d->uuid.b, VI_ID_SIZE);
    c->c_info.name = strdup(name);
    libxl_domain_build_info_init_type(&c->b_info, c->c_info.type);
    c->b_info.max_vcpus = (int)d->vcpus;
    if (!c->c_info.name || libxl_cpu_bitmap_alloc(lx->ctx, &c->b_info.avail_vcpus, (int)d->vcpus))
        return VI_ENOMEM;
    libxl_bitmap_set_none(&c->b_info.avail_vcpus);
    for (unsigned i = 0; i < d->vcpus; i++)
        libxl_bitmap_set(&c->b_info.avail_vcpus, (int)i);
    c->b_info.target_memkb = d->target_kb;
    c->b_info.max_memkb = d->max_kb;
    c->b_info.sched_params.weight = (int)d->weight;
    c->b_info.sched_params.cap = (int)d->cap;
    c->on_poweroff = to_libxl(d->on_poweroff);
    c->on_reboot = to_libxl(d->on_reboot);
    c->on_crash = c->on_watchdog = to_libxl(d->on_crash);
    c->on_soft_reset = LIBXL_ACTION_ON_SHUTDOWN_SOFT_RESET;
    err = build_boot(lx, d, &c->b_info, why, cap);
    if (!err)
        err = build_nics(lx, d, c, why, cap);
    if (!err)
        err = build_disks(op, purpose, why, cap);
    return err;
}
