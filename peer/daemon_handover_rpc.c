/* Handovers as people begin, see and decide them. */
#include "peer/daemon_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/daemon_dial.h"
#include "peer/daemon_disk.h"
#include "peer/rpc_write.h"

/* ---- beginning: describe the guest, then START ---- */

struct beginning {
    struct daemon *d;
    struct vi_id guest, peer;
    struct rpc_call *call;
    char reason[POLICY_TEXT];
    struct hv_description description;
};

static void not_begun(struct beginning *b, int err, const char *why)
{
    if (b->call)
        rpc_error(b->call, err, "%s", why);
    daemon_policy_moved(b->d, &b->guest, &b->peer, err, why, false);
    free(b);
}

static void begun(struct beginning *b, const struct vi_id *id)
{
    char text[VI_ID_TEXT];
    struct vi_writer *w = b->call ? rpc_begin(b->call, 128) : NULL;
    daemon_handover_reason(b->d, id, b->reason);
    if (w) {
        vi_write_map(w, 1);
        put_text(w, "handover", vi_id_format(id, text));
        rpc_end(b->call);
    }
    free(b);
}

static void fill_guest(struct daemon *d, struct handover_guest *g, const struct hv_guest *have, const struct env *e)
{
    struct policy_needs needs = {.kb = have->target_kb > have->current_kb ? have->target_kb : have->current_kb};
    memset(g, 0, sizeof *g);
    (void)policy_needs(d->policy, &have->uuid, &needs);
    g->uuid = have->uuid;
    g->env = e->def.id;
    snprintf(g->name, sizeof g->name, "%s", have->name);
    g->domid = have->domid;
    g->kb = needs.kb;
    g->pct = needs.pct;
    for (unsigned i = 0; i < have->n_vifs && g->n_macs < TRANSFER_MACS; i++)
        memcpy(g->macs[g->n_macs++], have->vifs[i].mac, 6);
}

int daemon_offer_describe(struct daemon *d, const struct vi_id *uuid, const struct hv_description *desc, uint8_t *out, size_t cap,
                          const char **why)
{
    const struct hv_guest *have = daemon_guest_by_id(d, uuid);
    const struct env *e = have ? daemon_guest_env(d, have) : NULL;
    struct hv_description full = *desc;
    int n;
    *why = "the guest is gone";
    if (!e)
        return VI_ENOTFOUND;
    daemon_envmake_describe(d, uuid, &full);
    for (unsigned i = 0; i < full.n_vifs; i++) {
        const struct env *of = i < have->n_vifs ? daemon_env_by_bridge(d, have->vifs[i].bridge) : NULL;
        *why = "its network interfaces are not all in its environment";
        if (of != e)
            return VI_EUNSUPPORTED;
        full.vifs[i].environment = e->def.id;
    }
    n = hv_description_encode(&full, out, cap);
    *why = "its description is larger than an offer can hold";
    return n;
}

/* Its disks were looked at just now, if it has any that move with it. */
static void begin(struct beginning *b)
{
    static struct handover_guest guest;
    struct handover_event ev = {.kind = HANDOVER_EV_START, .peer = b->peer, .guest = &guest};
    const struct hv_guest *have = daemon_guest_by_id(b->d, &b->guest);
    char disk_why[HANDOVER_WHY];
    const char *why = disk_why;
    int n, err;
    if (!have || !daemon_guest_env(b->d, have)) {
        not_begun(b, VI_ENOTFOUND, "the guest is gone");
        return;
    }
    fill_guest(b->d, &guest, have, daemon_guest_env(b->d, have));
    n = daemon_disk_offer(b->d, &b->description, &guest, disk_why, sizeof disk_why);
    if (n == 0)
        n = daemon_offer_describe(b->d, &b->guest, &b->description, guest.description, sizeof guest.description, &why);
    if (n < 0) {
        not_begun(b, n, why);
        return;
    }
    guest.description_len = (size_t)n;
    vi_rng_id(&b->d->rng, &ev.id);
    ev.epoch = daemon_epoch_of(b->d, &b->guest);
    err = handovers_step(b->d->handovers, daemon_now(), &ev);
    if (err)
        not_begun(b, err, err == VI_EEXIST   ? "it is being moved already"
                          : err == VI_EINVAL ? "its description and its disks are more than an offer can hold"
                                             : vi_strerror(err));
    else
        begun(b, &ev.id);
}

static void on_disks(void *arg, int err)
{
    struct beginning *b = arg;
    if (err)
        not_begun(b, err, "this host's disks can't be asked");
    else
        begin(b);
}

static void on_described(void *arg, int err, const char *detail, const struct hv_description *desc)
{
    struct beginning *b = arg;
    bool disks = false;
    if (err) {
        not_begun(b, err, detail);
        return;
    }
    b->description = *desc;
    for (unsigned i = 0; i < desc->n_disks; i++)
        disks |= desc->disks[i].kind == HV_DISK_MOVABLE;
    if (!disks)
        begin(b);
    else if ((err = daemon_disks_ask(b->d, on_disks, b)) != 0)
        not_begun(b, err, "this host's disks can't be asked");
}

int daemon_handover_start(struct daemon *d, const struct vi_id *guest, const struct vi_id *peer, const char *reason,
                          struct rpc_call *call, char *why, size_t cap)
{
    struct beginning *b;
    const struct hv_guest *g = NULL;
    int err;
    for (unsigned i = 0; i < d->n_guests; i++)
        if (vi_id_equal(&d->guests[i].uuid, guest))
            g = &d->guests[i];
    if (!g || !d->recovered || handover_has_guest(d->handovers, guest)) {
        snprintf(why, cap, "%s", !g ? "the guest is gone" : !d->recovered ? "no hypervisor" : "it is being moved already");
        return VI_ESTATE;
    }
    if (!g->movable) {
        snprintf(why, cap, "%s can't move: %s", g->name[0] ? g->name : "the guest",
                 g->why_not[0] ? g->why_not : "it has only just come; try again in some seconds");
        return VI_EUNSUPPORTED;
    }
    b = calloc(1, sizeof *b);
    if (!b)
        return VI_ENOMEM;
    b->d = d;
    b->guest = *guest;
    b->peer = *peer;
    b->call = call;
    snprintf(b->reason, sizeof b->reason, "%s", reason);
    err = d->hv->ops->describe(d->hv, g->domid, guest, on_described, b);
    if (err) {
        snprintf(why, cap, "the hypervisor can't be asked");
        free(b);
    }
    return err;
}

/* ---- looking ---- */

uint64_t daemon_handover_bytes(const struct daemon *d, const struct vi_id *id)
{
    for (unsigned i = 0; i < HANDOVERS_MAX; i++) {
        const struct transit *t = &d->transits[i];
        if (t->used && vi_id_equal(&t->id, id))
            return t->dial ? daemon_dial_bytes(t->dial) : t->bytes;
    }
    return 0;
}

static const struct moved *moved_of(const struct daemon *d, const struct handover_view *v)
{
    for (unsigned i = 0; v->over && i < HANDOVERS_MAX; i++)
        if (vi_id_equal(&d->moved[i].id, &v->id))
            return &d->moved[i];
    return NULL;
}

void daemon_handover_drop_peer(struct daemon *d, const struct vi_id *peer)
{
    bulk_server_drop(d->bulk, peer);
    daemon_disk_drop_peer(d, peer);
    for (unsigned i = 0; i < HANDOVERS_MAX; i++)
        if (d->transits[i].dial && vi_id_equal(&d->transits[i].peer, peer))
            daemon_dial_cancel(d->transits[i].dial);
}

/* Past the point at which only the two of them can say how it ends? */
static bool is_owed(const struct handover_view *v)
{
    if (v->role == HANDOVER_SOURCE)
        return v->state == HS_GO || v->state == HS_DESTROYING || v->state == HS_ABORTING;
    return v->state >= HD_RESTORED && v->state != HD_ABORTED && v->state != HD_DONE;
}

bool daemon_handover_owes(const struct daemon *d, const struct vi_id *peer)
{
    struct handover_view v;
    unsigned pos = 0;
    while (d->handovers && handover_next(d->handovers, &pos, &v))
        if (!v.over && vi_id_equal(&v.peer, peer) && is_owed(&v))
            return true;
    return false;
}

void daemon_handover_counts(struct daemon *d, struct vi_writer *w)
{
    struct handover_view v;
    unsigned pos = 0, active = 0, undecided = 0;
    while (handover_next(d->handovers, &pos, &v)) {
        active += !v.over;
        undecided += v.undecided;
    }
    vi_write_str(w, "handovers");
    vi_write_map(w, 2);
    put_uint(w, "active", active);
    put_uint(w, "undecided", undecided);
}

static void write_disks(struct daemon *d, struct vi_writer *w, const struct handover_view *v)
{
    const struct moved *m = moved_of(d, v);
    struct disk_figures f;
    uint64_t sectors = 0;
    daemon_disk_figures(d, &v->id, &f);
    if (m)
        f.bytes = m->disk_bytes;
    for (unsigned i = 0; i < v->guest->n_disks; i++)
        sectors += v->guest->disks[i].sectors;
    put_uint(w, "disks", v->guest->n_disks);
    put_number(w, "disk_mib", (double)sectors / 2048);
    put_uint(w, "disk_bytes", f.bytes);
    if (v->role == HANDOVER_SOURCE) /* once they are copied they stay so, until the streams end */
        put_number(w, "disk_in_sync_mib", (double)(v->state == HS_DONE ? sectors : f.copying ? f.in_sync : 0) / 2048);
}

static void write_one(struct daemon *d, struct vi_writer *w, const struct handover_view *v)
{
    bool source = v->role == HANDOVER_SOURCE;
    char id[VI_ID_TEXT], uuid[VI_UUID_TEXT];
    const char *peer = daemon_member_name(d, &v->peer);
    const struct moved *m = moved_of(d, v);
    uint64_t bytes = m ? m->bytes : daemon_handover_bytes(d, &v->id);
    vi_write_map(w, 10U + (bytes > 0) + (v->guest->n_disks ? 3U + source : 0U) + (v->why[0] != '\0'));
    put_text(w, "id", vi_id_format(&v->id, id));
    put_text(w, "guest", v->guest->name);
    put_text(w, "uuid", vi_uuid_format(&v->guest->uuid, uuid));
    put_text(w, "role", source ? "source" : "destination");
    put_text(w, "from", source ? d->me.cert.host : peer);
    put_text(w, "to", source ? peer : d->me.cert.host);
    put_text(w, "state", handover_state_text(v->state));
    put_number(w, "since_s", (double)(daemon_now() - v->since) / 1e6);
    put_number(w, "memory_mib", (double)v->guest->kb / 1024);
    put_bool(w, "undecided", v->undecided);
    if (bytes)
        put_uint(w, "bytes", bytes);
    if (v->guest->n_disks)
        write_disks(d, w, v);
    if (v->why[0])
        put_text(w, "why", v->why);
}

void daemon_do_handover_list(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    struct vi_writer *w = rpc_begin(call, 65536);
    struct handover_view v;
    unsigned pos = 0, n = 0;
    (void)params;
    if (!w)
        return;
    while (handover_next(d->handovers, &pos, &v))
        n++;
    vi_write_array(w, n);
    for (pos = 0; handover_next(d->handovers, &pos, &v);)
        write_one(d, w, &v);
    rpc_end(call);
}

/* By the whole id or its beginning, as the list shows it. */
static bool find_one(struct daemon *d, const char *text, struct handover_view *out)
{
    struct handover_view v;
    unsigned pos = 0, found = 0;
    char id[VI_ID_TEXT];
    while (strlen(text) >= 4 && handover_next(d->handovers, &pos, &v))
        if (!strncmp(vi_id_format(&v.id, id), text, strlen(text))) {
            *out = v;
            found++;
        }
    return found == 1;
}

void daemon_do_handover_show(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    struct handover_view v;
    struct vi_writer *w;
    char id[64];
    if (!rpc_param_text(call, *params, "id", true, id, sizeof id))
        return;
    if (!find_one(d, id, &v)) {
        rpc_error(call, VI_ENOTFOUND, "no handover `%s`; `violin handover list` shows them", id);
        return;
    }
    w = rpc_begin(call, 4096);
    if (!w)
        return;
    write_one(d, w, &v);
    rpc_end(call);
}

void daemon_do_handover_resolve(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    struct handover_event ev = {.kind = HANDOVER_EV_RESOLVE};
    struct handover_view v;
    struct vi_writer *w;
    char id[64], action[32];
    if (!rpc_param_text(call, *params, "id", true, id, sizeof id) ||
        !rpc_param_text(call, *params, "action", true, action, sizeof action))
        return;
    if (strcmp(action, "keep-here") != 0 && strcmp(action, "give-up") != 0) {
        rpc_error(call, VI_EINVAL, "action `%s`: keep-here or give-up", action);
        return;
    }
    if (!find_one(d, id, &v)) {
        rpc_error(call, VI_ENOTFOUND, "no handover `%s`; `violin handover list` shows them", id);
        return;
    }
    ev.id = v.id;
    ev.keep = !strcmp(action, "keep-here");
    if (handovers_step(d->handovers, daemon_now(), &ev)) {
        rpc_error(call, VI_ESTATE, "this handover is not undecided (it is %s)", handover_state_text(v.state));
        return;
    }
    w = rpc_begin(call, 16);
    if (w) {
        vi_write_map(w, 0);
        rpc_end(call);
    }
}
