/* What operators have done to this host's disks: made, adopted, removed, attached, detached. What is refused says the way out. */
#include "peer/daemon_disk_rpc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/daemon_envmake.h"
#include "peer/daemon_image.h"
#include "peer/rpc_write.h"

#define BLOCK   4096 /* bytes: sizes are rounded up to that */
#define NAME_ASKED 256 /* of a new disk: more than a name may have, so that the refusal says which they may be */
#define LETTERS 16   /* xvda … xvdp */
#define SEEN_MOST (5 * VI_SEC) /* until one that was made is in the view; unless it is gone again */

/* One order that waits for the agent. */
struct order {
    struct daemon *d;
    struct rpc_call *call;
    struct vi_id disk, guest;
    char name[DISK_NAME], guest_name[HV_NAME_MAX], vdev[16];
    struct disk_making *making;
    uint64_t bytes;
    uint8_t image[HV_HASH_SIZE];
    bool has_image;
};

static struct order *order_new(struct daemon *d, struct rpc_call *call)
{
    struct order *o = calloc(1, sizeof *o);
    if (!o) {
        rpc_error(call, VI_ENOMEM, "out of memory");
        return NULL;
    }
    o->d = d;
    o->call = call;
    return o;
}

static void said(const struct order *o, const char *what)
{
    daemon_event_done(o->d, daemon_event(o->d, "disk", o->name, "disk %s %s", o->name, what));
    daemon_disks_changed(o->d);
}

static void failed(struct order *o, int err, const char *detail)
{
    rpc_error(o->call, err, "%s", detail && detail[0] ? detail : vi_strerror(err));
    free(o);
}

static bool disks_there(struct daemon *d, struct rpc_call *call)
{
    if (daemon_disks(d)->ops)
        return true;
    rpc_error(call, VI_EUNSUPPORTED, "this host has no disks of its own: its agent doesn't know of any");
    return false;
}

static bool new_name(struct daemon *d, struct rpc_call *call, const char *name)
{
    if (!disk_name_ok(name))
        rpc_error(call, VI_EINVAL, "`%.64s`: a disk's name has letters, digits, `_`, `.`, `-`, begins with a letter "
                  "or digit, and has at most %d of them", name, DISK_NAME - 17);
    else if (daemon_disk_by_name(d, name))
        rpc_error(call, VI_EEXIST, "there is a disk %s on this host already: take another name, or remove that one "
                  "(violin disk remove %s)", name, name);
    else
        return true;
    return false;
}

/* ---- create ---- */

static struct disk_making *making_place(struct daemon *d)
{
    struct disk_making *old = NULL;
    for (unsigned i = 0; i < DISK_MAKINGS; i++) {
        struct disk_making *m = &d->disk_orders->making[i];
        if (!m->used)
            return m;
        if (m->over && (!old || m->ended < old->ended))
            old = m;
    }
    return old;
}

static void on_created(void *arg, int err, const char *detail)
{
    struct disk_making *m = arg;
    char text[300];
    m->over = true;
    m->ended = daemon_now();
    m->err = err;
    snprintf(m->why, sizeof m->why, "%s", err ? detail[0] ? detail : vi_strerror(err) : "");
    snprintf(text, sizeof text, err ? "disk %s isn't made: %s" : "disk %s is made%s", m->name, m->why);
    if (err == VI_ECANCELED)
        return; /* this process ends */
    daemon_event_done(m->d, daemon_event(m->d, "disk", m->name, "%s", text));
    daemon_disks_changed(m->d);
}

static void on_progress(void *arg, uint64_t in_sync, uint64_t sectors, uint64_t to_copy)
{
    struct disk_making *m = arg;
    (void)sectors;
    m->written = in_sync;
    m->of = to_copy;
}

static void create(struct order *o)
{
    struct disks *all = daemon_disks(o->d)->ops;
    struct disk_making *m = making_place(o->d);
    struct vi_writer *w;
    char id[VI_ID_TEXT];
    int err = m ? 0 : VI_EFULL;
    if (m) {
        memset(m, 0, sizeof *m);
        m->used = true;
        m->d = o->d;
        vi_rng_id(&o->d->rng, &m->id);
        snprintf(m->name, sizeof m->name, "%s", o->name);
        m->sectors = (o->bytes + BLOCK - 1) / BLOCK * (BLOCK / 512);
        err = all->ops->create(all, &m->id, m->name, m->sectors, o->has_image ? o->image : NULL, on_progress, on_created, m);
        m->used = !err;
    }
    if (err) {
        failed(o, err, m ? "this host's disks can't be asked"
                         : "as many disks as can be made at a time are being made; try again");
        return;
    }
    w = rpc_begin(o->call, 128);
    if (w) {
        vi_write_map(w, 1);
        put_text(w, "id", vi_id_format(&m->id, id));
        rpc_end(o->call);
    }
    free(o);
}

/* Its size is known, where the image is in a folder that this process can read. */
static void size_and_create(struct order *o)
{
    const struct image_file *f = image_here(o->d, o->image);
    if (!o->bytes && !f) {
        failed(o, VI_EINVAL, "how large that image is isn't known here: say how large the disk shall be, as in "
                             "--copy root.img:4G");
    } else if (f && o->bytes && o->bytes < f->size) {
        char why[120];
        snprintf(why, sizeof why, "the image has %llu MiB, more than the disk is to have",
                 (unsigned long long)((f->size + (1 << 20) - 1) >> 20));
        failed(o, VI_EINVAL, why);
    } else {
        o->bytes = o->bytes ? o->bytes : f->size;
        create(o);
    }
}

static void on_image(void *arg, int err, const char *detail, const uint8_t hash[HV_HASH_SIZE])
{
    struct order *o = arg;
    if (err) {
        failed(o, err, err != VI_ENOTFOUND ? detail
                                           : "no image of that name is here or in image-dirs: `violin image add FILE`, "
                                             "or `violin image fetch IMAGE`");
        return;
    }
    memcpy(o->image, hash, HV_HASH_SIZE);
    size_and_create(o);
}

/* A name becomes a hash by this host's images. */
static void find_image(struct order *o, const char *image)
{
    struct daemon *d = o->d;
    char why[200];
    const struct image_file *f = image_by_text(d, image, why, sizeof why);
    int err;
    o->has_image = true;
    if (f)
        memcpy(o->image, f->hash, HV_HASH_SIZE);
    if (f || !image_hash_parse(o->image, image)) {
        size_and_create(o);
        return;
    }
    if (strchr(image, '/')) {
        failed(o, VI_EINVAL, "that is a path: add the file first (violin image add FILE), and give the image's name here");
        return;
    }
    err = strlen(image) < HV_NAME_MAX ? d->hv->ops->image(d->hv, image, on_image, o) : VI_EINVAL;
    if (err)
        failed(o, err, vi_strerror(err));
}

void daemon_do_disk_create(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    char name[NAME_ASKED], image[IMAGE_PATH_MAX];
    struct order *o;
    uint64_t size = 0;
    if (!rpc_param_text(call, *params, "name", true, name, sizeof name) ||
        !rpc_param_uint(call, *params, "size", DISK_SECTORS_MAX * 512, &size) ||
        !rpc_param_text(call, *params, "image", false, image, sizeof image) || !disks_there(d, call) || !new_name(d, call, name))
        return;
    if (!size && !image[0]) {
        rpc_error(call, VI_EINVAL, "a disk needs a size, like 10G, or an image to be a copy of (--copy IMAGE)");
        return;
    }
    o = order_new(d, call);
    if (!o)
        return;
    memcpy(o->name, name, sizeof o->name); /* new_name(): it is no longer than that */
    o->bytes = size;
    if (image[0])
        find_image(o, image);
    else
        create(o);
}

void daemon_do_disk_making(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    const struct disk_making *m = NULL;
    const struct disk_info *k;
    struct vi_writer *w;
    struct vi_id id;
    char text[VI_ID_TEXT];
    bool over;
    if (!rpc_param_text(call, *params, "id", true, text, sizeof text))
        return;
    for (unsigned i = 0; vi_id_parse(&id, text) == 0 && i < DISK_MAKINGS; i++)
        if (d->disk_orders->making[i].used && vi_id_equal(&d->disk_orders->making[i].id, &id))
            m = &d->disk_orders->making[i];
    if (!m) {
        rpc_error(call, VI_ENOTFOUND, "no disk of that id is being made, or was lately; `violin disk list` shows those "
                  "that are here");
        return;
    }
    k = daemon_disk_by_id(d, &id);
    over = m->over && (m->err || k || daemon_now() - m->ended > SEEN_MOST); /* looked at since: its device is known */
    w = rpc_begin(call, 1024);
    if (!w)
        return;
    vi_write_map(w, 7U + (over && k && k->device[0]));
    put_text(w, "id", text);
    put_text(w, "name", m->name);
    put_uint(w, "size", m->sectors * 512);
    put_uint(w, "done_bytes", m->written * 512);
    put_uint(w, "of_bytes", m->of * 512);
    put_bool(w, "over", over);
    put_text(w, "why", m->why);
    if (over && k && k->device[0])
        put_text(w, "device", k->device);
    rpc_end(call);
}

/* ---- adopt ---- */

static void on_adopted_list(void *arg, int err, const char *detail, const struct disk_info *all, unsigned n, uint64_t room)
{
    struct order *o = arg;
    const struct disk_info *k = NULL;
    struct vi_writer *w;
    (void)room;
    for (unsigned i = 0; i < n; i++)
        if (vi_id_equal(&all[i].record.id, &o->disk))
            k = &all[i];
    if (err || !k) {
        failed(o, err ? err : VI_ENOTFOUND, err ? detail : "it was adopted, and is gone");
        return;
    }
    w = rpc_begin(o->call, 2048);
    if (w) {
        vi_write_map(w, daemon_disk_fields(o->d, k));
        daemon_disk_write(o->d, w, k);
        rpc_end(o->call);
    }
    free(o);
}

/* The key is root's to set, in a file that this process can't write. */
static void refused(struct order *o, const char *detail)
{
    char why[500];
    snprintf(why, sizeof why, "%s%s", detail, strstr(detail, "disk-adopt") ? "; name its folder there (disk-adopt = {\"/dev/vg0\"}), and "
             "restart violin" : "");
    failed(o, VI_EREFUSED, why);
}

static void on_adopted(void *arg, int err, const char *detail)
{
    struct order *o = arg;
    struct disks *all = daemon_disks(o->d)->ops;
    if (!err)
        said(o, "is adopted");
    if (!err && all->ops->list(all, on_adopted_list, o) == 0)
        return;
    if (err == VI_EREFUSED)
        refused(o, detail);
    else
        failed(o, err ? err : VI_EIO, err ? detail : "it is adopted; `violin disk list` shows its device");
}

void daemon_do_disk_adopt(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    struct disks *all = daemon_disks(d)->ops;
    char name[NAME_ASKED], path[DISK_PATH];
    struct order *o;
    int err;
    if (!rpc_param_text(call, *params, "name", true, name, sizeof name) ||
        !rpc_param_text(call, *params, "path", true, path, sizeof path) || !disks_there(d, call) || !new_name(d, call, name))
        return;
    if (path[0] != '/') {
        rpc_error(call, VI_EINVAL, "`%s`: the whole path of a block device or of a file, from / on", path);
        return;
    }
    o = order_new(d, call);
    if (!o)
        return;
    vi_rng_id(&d->rng, &o->disk);
    memcpy(o->name, name, sizeof o->name);
    err = all->ops->adopt(all, &o->disk, name, path, on_adopted, o);
    if (err)
        failed(o, err, "this host's disks can't be asked");
}

/* ---- remove ---- */

static void on_removed(void *arg, int err, const char *detail)
{
    struct order *o = arg;
    struct vi_writer *w;
    if (err) {
        failed(o, err, detail);
        return;
    }
    said(o, "is removed");
    w = rpc_begin(o->call, 16);
    if (w) {
        vi_write_map(w, 0);
        rpc_end(o->call);
    }
    free(o);
}

/* Until a move is over its records decide which copy is the true one: nothing else touches any of them. Answers the call then. */
static bool in_hand(struct daemon *d, struct rpc_call *call, const struct disk_info *k)
{
    if (!d->recovered)
        rpc_error(call, VI_EAGAIN, "which moves aren't over isn't known yet; try again in a moment (violin status says what is wrong)");
    else if (handover_has_disk(d->handovers, &k->record.id))
        rpc_error(call, VI_ESTATE, "%s: its move isn't over, and which copy is the true one not decided (violin handover list)", k->record.name);
    return !d->recovered || handover_has_disk(d->handovers, &k->record.id);
}

/* What can be known before the agent is asked. */
static bool may_remove(struct daemon *d, struct rpc_call *call, const struct disk_info *k, bool force)
{
    char user[HV_NAME_MAX + 32], state[200];
    const char *name = k->record.name;
    daemon_disk_user(d, &k->record.id, user, sizeof user);
    if (k->record.kind == DISK_ARRIVING && handover_has_disk(d->handovers, &k->record.id))
        rpc_error(call, VI_ESTATE, "%s is %s: it goes by itself if that isn't completed (violin handover list)", name,
                  daemon_disk_state(d, k, state, sizeof state));
    else if (in_hand(d, call, k))
        return false;
    else if (user[0])
        rpc_error(call, VI_ESTATE, "%s has it: take it away first (violin disk detach %s), or remove the guest", user, name);
    else if (k->record.kind == DISK_TRUE && !k->record.below[0] && !force)
        rpc_error(call, VI_ESTATE, "%s is the true copy: what is on it would be lost, and a guest that isn't running may be "
                  "started from it; --force removes it all the same", name);
    else
        return true;
    return false;
}

void daemon_do_disk_remove(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    struct disks *all = daemon_disks(d)->ops;
    const struct disk_info *k;
    char text[DISK_NAME];
    uint64_t force = 0;
    struct order *o;
    int err;
    if (!rpc_param_text(call, *params, "disk", true, text, sizeof text) || !rpc_param_uint(call, *params, "force", 1, &force) ||
        !(k = daemon_disk_named(d, call, text)) || !may_remove(d, call, k, force == 1) || !(o = order_new(d, call)))
        return;
    memcpy(o->name, k->record.name, sizeof o->name);
    if (k->record.kind == DISK_ARRIVING) /* what brought it is forgotten: what that would have done is done for it */
        err = all->ops->discard(all, &k->record.by, &k->record.id, on_removed, o);
    else
        err = all->ops->remove(all, &k->record.id, on_removed, o);
    if (err)
        failed(o, err, "this host's disks can't be asked");
}

/* ---- attach, detach ---- */

/* It is started so the next time, too. Says what can't be done. */
static const char *note(struct order *o, bool attach)
{
    struct envmake *core = o->d->envmake->core;
    int err = attach ? envmake_attached(core, &o->guest, &o->disk, o->vdev) : envmake_detached(core, &o->guest, &o->disk);
    return !err || err == VI_ENOTFOUND ? "" : "it can't be written down that it is so when violin starts the guest the next time";
}

static void answer_guest(struct order *o, bool attach)
{
    const char *why = note(o, attach);
    char text[HV_NAME_MAX + 40];
    struct vi_writer *w = rpc_begin(o->call, 1024);
    snprintf(text, sizeof text, attach ? "is attached to %s as %s" : "is taken from %s", o->guest_name, o->vdev);
    said(o, text);
    o->d->next_list = 0;
    if (w) {
        vi_write_map(w, 3U + attach);
        put_text(w, "disk", o->name);
        put_text(w, "guest", o->guest_name);
        put_text(w, "why", why);
        if (attach)
            put_text(w, "vdev", o->vdev);
        rpc_end(o->call);
    }
    free(o);
}

static void on_attached(void *arg, int err, const char *detail)
{
    if (err)
        failed(arg, err, detail);
    else
        answer_guest(arg, true);
}

static void on_detached(void *arg, int err, const char *detail)
{
    if (err)
        failed(arg, err, detail);
    else
        answer_guest(arg, false);
}

static bool may_attach(struct daemon *d, struct rpc_call *call, const struct disk_info *k, const struct hv_guest *g)
{
    char user[HV_NAME_MAX + 32];
    const char *name = k->record.name;
    unsigned writable = 0;
    for (unsigned i = 0; i < g->n_disks; i++)
        writable += g->disks[i].kind == HV_DISK_MOVABLE;
    daemon_disk_user(d, &k->record.id, user, sizeof user);
    if (k->record.kind == DISK_OLD)
        rpc_error(call, VI_ESTATE, "%s here is an old copy: its guest has moved, and nothing is started from it; "
                  "`violin disk show %s` says where the true one is", name, name);
    else if (k->record.kind == DISK_ARRIVING)
        rpc_error(call, VI_ESTATE, "%s isn't whole yet: it is on its way here (violin handover list)", name);
    else if (user[0])
        rpc_error(call, VI_ESTATE, "%s has %s already; `violin disk detach %s` takes it away", user, name, name);
    else if (handover_has_guest(d->handovers, &g->uuid))
        rpc_error(call, VI_ESTATE, "%s is moving: wait until it has arrived (violin handover list)", g->name);
    else if (in_hand(d, call, k))
        return false;
    else if (writable >= HANDOVER_DISKS)
        rpc_error(call, VI_ESTATE, "%s has %d writable disks; with more it could not move any more", g->name, HANDOVER_DISKS);
    else if (!d->hv->ops->attach)
        rpc_error(call, VI_EUNSUPPORTED, "this host's hypervisor attaches no disks");
    else
        return true;
    return false;
}

static bool has_vdev(const struct hv_guest *g, const char *vdev)
{
    for (unsigned i = 0; i < g->n_disks; i++)
        if (!strcmp(g->disks[i].vdev, vdev))
            return true;
    return false;
}

static bool choose_vdev(struct rpc_call *call, const struct hv_guest *g, char vdev[16])
{
    bool given = vdev[0] != '\0';
    if (given && !hv_vdev_ok(vdev)) {
        rpc_error(call, VI_EINVAL, "`%s`: what the guest sees it as is like xvdb", vdev);
        return false;
    }
    for (unsigned i = 0; !given && i < LETTERS && (!vdev[0] || has_vdev(g, vdev)); i++)
        snprintf(vdev, 16, "xvd%c", (char)('a' + i));
    if (!has_vdev(g, vdev))
        return true;
    rpc_error(call, VI_EEXIST, given ? "%s has a disk %s already; without that argument the next free one is taken"
                                     : "%s has disks up to %s: one has to go first", g->name, vdev);
    return false;
}

void daemon_do_disk_attach(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    const struct disk_info *k;
    const struct hv_guest *g;
    char text[DISK_NAME], guest[DAEMON_NAME], vdev[16];
    struct order *o;
    int err;
    if (!rpc_param_text(call, *params, "disk", true, text, sizeof text) ||
        !rpc_param_text(call, *params, "guest", true, guest, sizeof guest) ||
        !rpc_param_text(call, *params, "vdev", false, vdev, sizeof vdev) || !(k = daemon_disk_named(d, call, text)))
        return;
    g = daemon_guest_find(d, guest);
    if (!g) {
        rpc_error(call, VI_ENOTFOUND, "there is no guest `%.64s` on this host; `violin guests` shows those that are", guest);
        return;
    }
    if (!may_attach(d, call, k, g) || !choose_vdev(call, g, vdev) || !(o = order_new(d, call)))
        return;
    o->disk = k->record.id;
    o->guest = g->uuid;
    memcpy(o->name, k->record.name, sizeof o->name);
    memcpy(o->guest_name, g->name, sizeof o->guest_name);
    memcpy(o->vdev, vdev, sizeof o->vdev);
    err = d->hv->ops->attach(d->hv, g->domid, &g->uuid, &k->record.id, vdev, on_attached, o);
    if (err)
        failed(o, err, "the hypervisor can't be asked");
}

/* One that is kept and doesn't run isn't started with it any more. */
static bool detach_kept(struct daemon *d, const struct disk_info *k, struct order *o)
{
    static struct envmake_guest_view v;
    for (unsigned pos = 0; envmake_guest_next(d->envmake->core, &pos, &v);)
        for (unsigned i = 0; i < v.description.n_disks; i++)
            if (v.description.disks[i].kind == HV_DISK_MOVABLE && vi_id_equal(&v.description.disks[i].id, &k->record.id)) {
                o->guest = v.uuid;
                memcpy(o->guest_name, v.description.name, sizeof o->guest_name);
                return true;
            }
    return false;
}

void daemon_do_disk_detach(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    const struct disk_info *k;
    const struct hv_guest *g;
    char text[DISK_NAME];
    struct order *o;
    int err;
    if (!rpc_param_text(call, *params, "disk", true, text, sizeof text) || !(k = daemon_disk_named(d, call, text)) ||
        !(o = order_new(d, call)))
        return;
    o->disk = k->record.id;
    memcpy(o->name, k->record.name, sizeof o->name);
    g = daemon_disk_guest(d, &k->record.id);
    if (!g && detach_kept(d, k, o)) {
        answer_guest(o, false);
    } else if (!g) {
        failed(o, VI_ENOTFOUND, "no guest on this host has that disk");
    } else if (handover_has_guest(d->handovers, &g->uuid)) {
        failed(o, VI_ESTATE, "its guest is moving: wait until it has arrived (violin handover list)");
    } else {
        o->guest = g->uuid;
        memcpy(o->guest_name, g->name, sizeof o->guest_name);
        err = !d->hv->ops->detach ? VI_EUNSUPPORTED
                                  : d->hv->ops->detach(d->hv, g->domid, &g->uuid, &k->record.id, on_detached, o);
        if (err)
            failed(o, err, err == VI_EUNSUPPORTED ? "this host's hypervisor detaches no disks" : "the hypervisor can't be asked");
    }
}
