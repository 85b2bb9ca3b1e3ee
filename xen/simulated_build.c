/* A simulated guest from a description, as libxl_create.c makes a real one. Pure. See simulated_model.h. */
#include "xen/simulated_model.h"

#include <stdio.h>
#include <string.h>

void sim_take_images(struct sim_guest_config *c, const struct hv_description *d)
{
    c->n_images = c->n_disks = 0;
    for (unsigned i = 0; i < d->n_disks && i < HV_DISKS_MAX; i++) {
        if (d->disks[i].kind == HV_DISK_IMAGE && c->n_images < SIM_IMAGES_MAX) {
            memcpy(c->images[c->n_images++], d->disks[i].hash, HV_HASH_SIZE);
        } else if (d->disks[i].kind == HV_DISK_MOVABLE && c->n_disks < SIM_DISKS_MAX) {
            struct sim_guest_disk *k = &c->disks[c->n_disks++];
            k->id = d->disks[i].id;
            memcpy(k->vdev, d->disks[i].vdev, sizeof k->vdev);
        }
    }
    c->has_kernel = d->has_kernel;
    memcpy(c->kernel, d->kernel, sizeof c->kernel);
    c->has_ramdisk = d->has_ramdisk;
    memcpy(c->ramdisk, d->ramdisk, sizeof c->ramdisk);
}

static int fill(struct sim_guest_config *c, const struct hv_description *d, const char *outside, const char **why)
{
    memset(c, 0, sizeof *c);
    c->uuid = d->uuid;
    memcpy(c->name, d->name, sizeof c->name);
    c->type = d->type;
    c->vcpus = d->vcpus;
    c->memory_kb = d->target_kb;
    c->max_kb = d->max_kb;
    c->weight = d->weight;
    c->cap = d->cap;
    c->n_vifs = d->n_vifs;
    c->movable = true;
    sim_take_images(c, d);
    c->on_poweroff = d->on_poweroff;
    c->on_reboot = d->on_reboot;
    c->on_crash = d->on_crash;
    c->load.used_kb = d->target_kb / 2; /* what an idle guest of that size might use */
    snprintf(c->ifname, sizeof c->ifname, "eth0");
    for (unsigned i = 0; i < d->n_vifs && i < HV_VIFS_MAX; i++) {
        bool out = vi_id_is_zero(&d->vifs[i].environment);
        memcpy(c->vifs[i].mac, d->vifs[i].mac, 6);
        if (out && !outside) {
            *why = "it wants a leg outside, and this host's configuration names no outside-bridge";
            return VI_EUNSUPPORTED;
        }
        if (out)
            snprintf(c->vifs[i].bridge, sizeof c->vifs[i].bridge, "%s", outside);
        else
            sim_bridge_name(&d->vifs[i].environment, c->vifs[i].bridge);
    }
    return 0;
}

static bool taken(struct sim_model *m, const struct sim_guest_config *c)
{
    if (sim_model_by_uuid(m, &c->uuid) || sim_model_by_name(m, c->name))
        return true;
    for (unsigned i = 0; i < c->n_disks; i++)
        if (sim_model_has_disk(m, &c->disks[i].id))
            return true;
    for (unsigned i = 0; i < sim_model_count(m); i++) {
        const struct sim_guest *g = sim_model_at(m, i);
        for (unsigned a = 0; a < g->cfg.n_vifs; a++)
            for (unsigned b = 0; b < c->n_vifs; b++)
                if (!memcmp(g->cfg.vifs[a].mac, c->vifs[b].mac, 6))
                    return true;
    }
    return false;
}

int sim_model_build(struct sim_model *m, const struct hv_description *d, const char *outside, const char *netns_prefix,
                    bool create, uint32_t *domid, const char **why)
{
    struct sim_guest_config c;
    int err = fill(&c, d, outside, why);
    if (err)
        return err;
    if (netns_prefix[0] &&
        snprintf(c.netns, sizeof c.netns, "%s%s", netns_prefix, c.name) >= (int)sizeof c.netns) {
        *why = "its namespace's name would be too long";
        return VI_EINVAL;
    }
    *why = "a guest with its UUID, its name, one of its MAC addresses or of its disks is here already";
    if (taken(m, &c))
        return VI_EEXIST;
    *why = "";
    if (!create)
        return 0;
    err = sim_model_create(m, &c, domid);
    if (err) {
        *why = err == VI_EFULL ? "not enough free memory here" : "its description is out of range";
        return err;
    }
    return sim_model_pause(m, sim_model_find(m, *domid, &c.uuid));
}
