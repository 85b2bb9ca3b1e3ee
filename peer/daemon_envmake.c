/* The daemon and environments made from images: the core's questions (what is here, who has room), its effects
 * (questions to other hosts, the hypervisor), records in the store, and the guests that this host keeps. */
#include "peer/daemon_envmake.h"
#include "peer/daemon_image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/log.h"

#define CLOSE_MOST  (2 * VI_MIN)  /* until every host has said that it takes part no more: leases of a move last longest */
#define CLOSE_SOON  (1 * VI_SEC)  /* nothing was removed: who takes part has guests that violin didn't make */
#define CLOSE_EVERY (500 * VI_MSEC)

/* ---- the core's questions ---- */

static enum store_kind store_kind_of(enum envmake_record kind)
{
    return kind == ENVMAKE_RECORD_GUEST ? STORE_KEPT : STORE_MAKING;
}

static int save(void *arg, enum envmake_record kind, const struct vi_id *key, const uint8_t *data, size_t len)
{
    struct daemon *d = arg;
    int err = store_put(d->store, store_kind_of(kind), key, data, len);
    daemon_warn(d, WARN_STORE, err ? "%s" : NULL, store_error(d->store));
    return err;
}

static int forget(void *arg, enum envmake_record kind, const struct vi_id *key)
{
    struct daemon *d = arg;
    int err = store_delete(d->store, store_kind_of(kind), key);
    if (err == VI_ENOTFOUND)
        err = 0;
    if (err)
        daemon_warn(d, WARN_STORE, "%s", store_error(d->store));
    return err;
}

static void view(void *arg, const struct vi_id *guest, struct envmake_view *out)
{
    struct daemon *d = arg;
    out->known = d->hv_there && d->recovered && d->listed && d->envmake->listed == d->envmake->changes;
    for (unsigned i = 0; i < d->n_guests; i++) {
        const struct hv_guest *g = &d->guests[i];
        if (!vi_id_equal(&g->uuid, guest))
            continue;
        out->here = true;
        out->running = g->state == HV_RUNNING && !g->incoming;
        out->paused = g->state == HV_PAUSED;
        out->incoming = g->incoming || g->state == HV_SUSPENDED;
        out->domid = g->domid;
    }
}

static bool env_open(void *arg, const struct vi_id *id)
{
    struct daemon *d = arg;
    const struct env *e = daemon_env_by_id(d, id);
    return e && e->open && !strcmp(e->def.home, d->me.cert.domain);
}

bool daemon_envmake_env_gone(struct daemon *d, const struct vi_id *id)
{
    static struct env_definition def;
    struct gossip_record r;
    return gossip_record_get(d->gossip, ENV_RECORD_DEFINITION, id, &r) && !env_definition_decode(&def, r.bytes, r.len) &&
           def.removed;
}

static bool env_gone(void *arg, const struct vi_id *id)
{
    return daemon_envmake_env_gone(arg, id);
}

static bool owned(void *arg, const struct vi_id *guest)
{
    return daemon_owns(arg, guest);
}

static bool moving(void *arg, const struct vi_id *guest)
{
    struct daemon *d = arg;
    return handover_has_guest(d->handovers, guest) || daemon_envmove_holds(d, guest);
}

static int can_take(void *arg, uint64_t kb, double pct, uint64_t made_kb, double made_pct, char *why, size_t cap)
{
    struct daemon *d = arg;
    struct policy_needs needs = {.kb = kb, .pct = pct};
    uint64_t promised_kb, leased_kb;
    double promised_pct, leased_pct;
    if (!d->hv_there || !d->recovered) {
        snprintf(why, cap, "no hypervisor here");
        return VI_EAGAIN;
    }
    (void)handover_promised(d->handovers, &promised_kb, &promised_pct);
    (void)daemon_envmove_leased(d, &leased_kb, &leased_pct);
    return policy_can_take(d->policy, &needs, promised_kb + leased_kb + made_kb, promised_pct + leased_pct + made_pct, 0,
                           why, cap);
}

static struct envmake_host of_load(const struct vi_id *id, const struct policy_load *l)
{
    struct envmake_host h = {.id = *id, .free_kb = l->free_kb, .total_kb = l->total_kb, .capacity_pct = l->capacity_pct};
    h.free_pct = l->capacity_pct - (l->demand_pct < l->capacity_pct ? l->demand_pct : l->capacity_pct);
    return h;
}

static int by_room(const void *a, const void *b)
{
    const struct envmake_host *x = a, *y = b;
    return x->free_kb < y->free_kb ? 1 : x->free_kb > y->free_kb ? -1 : vi_id_compare(&x->id, &y->id);
}

static unsigned candidates(void *arg, struct envmake_host *out, unsigned most)
{
    static struct envmake_host all[POLICY_PEERS + 1];
    struct daemon *d = arg;
    struct gossip_summary s;
    struct gossip_member m;
    struct policy_load l;
    unsigned n = 0;
    size_t pos = 0;
    if (policy_own_load(d->policy)->total_kb && !d->drain_until)
        all[n++] = of_load(&d->me.id, policy_own_load(d->policy));
    while (n < POLICY_PEERS && gossip_summary_next(d->gossip, daemon_now(), &pos, &s))
        if (!vi_id_equal(&s.id, &d->me.id) && !policy_summary_decode(&l, s.bytes, s.len) && !l.draining &&
            gossip_member_find(d->gossip, &s.id, &m) && m.state == GOSSIP_ALIVE)
            all[n++] = of_load(&s.id, &l);
    if (n > 0)
        qsort(all, n, sizeof all[0], by_room);
    n = n < most ? n : most;
    memcpy(out, all, n * sizeof *out);
    return n;
}

static unsigned hosts(void *arg, const struct vi_id *id, struct vi_id *out, unsigned most)
{
    struct daemon *d = arg;
    const struct env *e = daemon_env_by_id(d, id);
    struct gossip_member m;
    unsigned n = 0;
    out[n++] = d->me.id;
    for (unsigned i = 0; e && i < e->n_participants && n < most; i++)
        if (gossip_member_find(d->gossip, &e->participants[i], &m)) /* of our own domain */
            out[n++] = m.id;
    return n;
}

/* ---- opening ---- */

int daemon_envmake_open(struct daemon *d, char *why, size_t cap)
{
    struct envmake_config c = {.self = d->me.id, .start = !strcmp(d->cfg.start_guests, "yes")};
    c.hooks = (struct envmake_hooks){.arg = d, .save = save, .forget = forget, .view = view, .env_open = env_open, .env_gone = env_gone,
                                     .owned = owned, .moving = moving, .can_take = can_take, .left = daemon_envdisk_left, .candidates = candidates, .rules = daemon_rules_of,
                                     .hosts = hosts, .fault = daemon_fault};
    d->envmake = calloc(1, sizeof *d->envmake);
    if (d->envmake)
        d->envmake->core = envmake_new(&c);
    if (d->envmake && d->envmake->core)
        return 0;
    snprintf(why, cap, "out of memory");
    return VI_ENOMEM;
}

void daemon_envmake_free(struct daemon *d)
{
    if (d->envmake)
        envmake_free(d->envmake->core);
    free(d->envmake);
    d->envmake = NULL;
}

struct loading {
    struct daemon *d;
    enum envmake_record kind;
};

static bool one_record(void *arg, const struct vi_id *key, const void *value, size_t len)
{
    struct loading *l = arg;
    char id[VI_ID_TEXT];
    int err = envmake_load(l->d->envmake->core, daemon_now(), l->kind, key, value, len);
    if (err)
        daemon_warn(l->d, WARN_GUEST, "record %s of a guest that this host keeps can't be used: %s; it isn't started",
                    vi_id_format(key, id), vi_strerror(err));
    return true;
}

void daemon_envmake_load(struct daemon *d)
{
    struct loading guests = {d, ENVMAKE_RECORD_GUEST}, jobs = {d, ENVMAKE_RECORD_JOB};
    if (store_each(d->store, STORE_KEPT, one_record, &guests) || store_each(d->store, STORE_MAKING, one_record, &jobs)) {
        daemon_warn(d, WARN_STORE, "%s", store_error(d->store));
        return;
    }
    daemon_envdisk_load(d);
    envmake_loaded(d->envmake->core, daemon_now(), &d->host.boot_id);
}

/* ---- effects ---- */

struct asking {
    struct daemon *d;
    uint64_t token;
};

static void on_answer(void *arg, int err, const uint8_t *body, size_t len)
{
    struct asking *a = arg;
    envmake_answered(a->d->envmake->core, daemon_now(), a->token, err, body, len);
    free(a);
}

static void ask(struct daemon *d, const struct envmake_effect *fx)
{
    struct asking *a = malloc(sizeof *a);
    if (a)
        *a = (struct asking){d, fx->token};
    if (a && !calls_ask(d->calls, daemon_now(), &fx->peer, CALL_ENVMAKE, fx->data, fx->len, on_answer, a))
        return;
    free(a);
    envmake_answered(d->envmake->core, daemon_now(), fx->token, VI_EFULL, NULL, 0);
}

struct operation {
    struct daemon *d;
    struct vi_id guest, maker;
    enum envmake_op op;
    struct hv_description desc; /* CREATE, CHECK, DISKS, WIPE */
    struct envmake_disks disks;
};

/* The images that it lacks here: are all of them on their way? Says in why how far, or why not. */
static bool images_come(struct operation *o, char *why, size_t cap)
{
    uint8_t of[IMAGE_OF_GUEST][IMAGE_HASH];
    unsigned n = image_of_description(&o->desc, of);
    daemon_image_needed(o->d, &o->desc, vi_id_is_zero(&o->maker) ? NULL : &o->maker, why, cap);
    for (unsigned i = 0; i < n; i++) {
        const struct fetching *f = image_getting(o->d, of[i]);
        if (!image_here(o->d, of[i]) && (!f || f->over))
            return false;
    }
    return true; /* also when none is missing any more: the next look finds them */
}

static void ended(struct operation *o, int err, const char *detail)
{
    o->d->envmake->changes += o->op != ENVMAKE_OP_CHECK && o->op != ENVMAKE_OP_DISKS && o->op != ENVMAKE_OP_WIPE;
    o->d->next_list = 0;
    envmake_done(o->d->envmake->core, daemon_now(), &o->guest, o->op, err, err && !detail[0] ? vi_strerror(err) : detail);
    free(o);
}

static void on_done(void *arg, int err, const char *detail)
{
    ended(arg, err, detail);
}

static bool has_disks(const struct operation *o)
{
    for (unsigned i = 0; i < ENVMAKE_DISKS; i++)
        if (o->disks.sectors[i])
            return true;
    return false;
}

/* One that only lacks images can soon make it: they are fetched meanwhile. */
static void on_checked(void *arg, int err, const char *detail)
{
    struct operation *o = arg;
    char why[ENVMAKE_WHY];
    snprintf(why, sizeof why, "%s", detail);
    if (err == VI_ENOTFOUND && images_come(o, why, sizeof why))
        err = VI_EAGAIN;
    if (err || !has_disks(o))
        ended(arg, err, why);
    else if ((err = daemon_envdisk_room(o->d, &o->desc, &o->disks, on_done, o)) != 0)
        ended(arg, err, "this host has no disks of its own");
}

static int check(struct operation *o)
{
    if (has_disks(o))
        daemon_envdisk_as_images(&o->desc, &o->disks);
    return o->d->hv->ops->can_create(o->d->hv, &o->desc, on_checked, o);
}

static void on_created(void *arg, int err, const char *detail, uint32_t domid)
{
    (void)domid; /* the list tells */
    ended(arg, err, detail);
}

static void on_disks_there(void *arg, int err, const char *detail)
{
    struct operation *o = arg;
    char why[ENVMAKE_WHY];
    snprintf(why, sizeof why, "%s", detail);
    if (!err && (err = o->d->hv->ops->create(o->d->hv, &o->desc, on_created, o)) == 0)
        return;
    ended(o, err, why[0] ? why : "the hypervisor can't be asked");
}

/* Whoever it is made for, and whenever it is started again: only from disks that are the true copies. */
static int create(struct operation *o)
{
    if (daemon_envdisk_has(&o->desc))
        return daemon_envdisk_there(o->d, &o->desc, on_disks_there, o);
    return o->d->hv->ops->create(o->d->hv, &o->desc, on_created, o);
}

static void operate(struct daemon *d, const struct envmake_effect *fx)
{
    const struct hypervisor_ops *ops = d->hv->ops;
    struct operation *o = malloc(sizeof *o);
    int err = o ? 0 : VI_ENOMEM;
    if (o)
        *o = (struct operation){.d = d, .guest = fx->guest, .maker = fx->peer, .op = fx->op, .disks = fx->disks};
    if (!err && fx->len)
        err = hv_description_decode(&o->desc, fx->data, fx->len);
    if (!err)
        switch (fx->op) {
        case ENVMAKE_OP_CHECK: err = check(o); break;
        case ENVMAKE_OP_CREATE: err = create(o); break;
        case ENVMAKE_OP_RUN: err = ops->unpause(d->hv, fx->domid, &fx->guest, on_done, o); break;
        case ENVMAKE_OP_SHUTDOWN: err = ops->shutdown(d->hv, fx->domid, &fx->guest, on_done, o); break;
        case ENVMAKE_OP_DESTROY: err = ops->destroy(d->hv, fx->domid, &fx->guest, on_done, o); break;
        case ENVMAKE_OP_DISKS: err = daemon_envdisk_make(d, &o->desc, &o->disks, on_done, o); break;
        case ENVMAKE_OP_WIPE: err = daemon_envdisk_wipe(d, &o->desc, &o->disks, on_done, o); break;
        }
    if (!err)
        return;
    free(o);
    envmake_done(d->envmake->core, daemon_now(), &fx->guest, fx->op, err, "the hypervisor can't be asked");
}

/* Its guests are gone, or were never made: the definition follows. */
static void close_env(struct daemon *d, const struct envmake_effect *fx, vi_time most)
{
    struct env_closing *c = &d->envmake->closing[d->envmake->next_closing++ % ENVMAKE_JOBS];
    const struct env *e = daemon_env_by_id(d, &fx->env);
    memset(c, 0, sizeof *c);
    if (!e)
        return;
    c->used = true;
    c->job = fx->id;
    c->env = fx->env;
    snprintf(c->name, sizeof c->name, "%s", e->def.name);
    c->until = daemon_now() + most;
}

static void over(struct daemon *d, const struct envmake_effect *fx)
{
    static const char *const done[] = {[ENVMAKE_MAKE] = "its guests are made and run", [ENVMAKE_START] = "its guests are started",
                                       [ENVMAKE_STOP] = "its guests are stopped", [ENVMAKE_REMOVE] = "its guests are removed",
                                       [ENVMAKE_LOOK] = "looked at"};
    static const char *const failed[] = {[ENVMAKE_MAKE] = "its guests aren't made", [ENVMAKE_START] = "not all of its guests are started",
                                         [ENVMAKE_STOP] = "not all of its guests are stopped",
                                         [ENVMAKE_REMOVE] = "its guests aren't removed", [ENVMAKE_LOOK] = "not looked at"};
    const struct env *e = daemon_env_by_id(d, &fx->env);
    const char *name = e ? e->def.name : "an environment";
    struct envmake_job_view v;
    bool known = envmake_job(d->envmake->core, &fx->id, &v);
    if (fx->job != ENVMAKE_LOOK)
        daemon_event_done(d, daemon_event(d, "env", name, "%s: %s%s%s", name, (fx->err ? failed : done)[fx->job],
                                          fx->err ? ": " : "", fx->err ? fx->text : ""));
    if (fx->job == ENVMAKE_REMOVE && !fx->err && known && !v.part)
        close_env(d, fx, v.n ? CLOSE_MOST : CLOSE_SOON);
    else if (fx->job == ENVMAKE_MAKE && fx->err && fx->fresh)
        close_env(d, fx, CLOSE_MOST);
}

static void perform(struct daemon *d, const struct envmake_effect *fx)
{
    const struct env *e;
    switch (fx->kind) {
    case ENVMAKE_FX_ASK: ask(d, fx); break;
    case ENVMAKE_FX_HV: operate(d, fx); break;
    case ENVMAKE_FX_OVER: over(d, fx); break;
    case ENVMAKE_FX_NOTE:
        e = daemon_env_by_id(d, &fx->env);
        daemon_event_done(d, daemon_event(d, "env", e ? e->def.name : NULL, "%s", fx->text));
        break;
    }
}

/* ---- the turn ---- */

static void close_some(struct daemon *d, vi_time now)
{
    for (unsigned i = 0; i < ENVMAKE_JOBS; i++) {
        struct env_closing *c = &d->envmake->closing[i];
        const struct env *e = c->used && !c->over ? daemon_env_by_id(d, &c->env) : NULL;
        char why[ENVMAKE_WHY] = "";
        if (!c->used || c->over)
            continue;
        c->err = e ? daemon_env_remove(d, c->name, why, sizeof why) : 0;
        snprintf(c->why, sizeof c->why, "%s", c->err ? why : "");
        c->over = c->err != VI_ESTATE || now >= c->until;
    }
}

static void count_kept(struct daemon *d)
{
    bool changed = false;
    for (unsigned i = 0; i < ENV_MAX; i++) {
        struct env *e = &d->envs[i];
        unsigned n = e->used ? envmake_kept_of(d->envmake->core, &e->def.id) : 0;
        changed |= (n > 0) != (e->kept > 0);
        e->kept = n;
    }
    if (changed)
        daemon_envs_publish(d);
}

/* A guest that should run here and isn't started. */
static void warn(struct daemon *d)
{
    struct envmake_guest_view v;
    unsigned pos = 0;
    while (envmake_guest_next(d->envmake->core, &pos, &v))
        if (v.run && v.why[0]) {
            daemon_warn(d, WARN_ENVMAKE, "%s is %s: %s", v.description.name, v.state, v.why);
            return;
        }
    daemon_warn(d, WARN_ENVMAKE, NULL);
}

void daemon_envmake_pump(struct daemon *d, vi_time now)
{
    static struct envmake_effect copy;
    const struct envmake_effect *fx;
    if (!d->recovered)
        return;
    if (envmake_deadline(d->envmake->core) <= now) {
        envmake_tick(d->envmake->core, now); /* soon after whatever changed anything */
        warn(d);
        count_kept(d);
    }
    while ((fx = envmake_effect(d->envmake->core))) {
        copy = *fx;
        perform(d, &copy);
    }
    close_some(d, now);
    daemon_envdisk_tick(d, now);
}

vi_time daemon_envmake_deadline(const struct daemon *d)
{
    vi_time t = d->recovered ? envmake_deadline(d->envmake->core) : VI_NEVER;
    for (unsigned i = 0; i < ENVMAKE_JOBS; i++)
        if (d->envmake->closing[i].used && !d->envmake->closing[i].over && daemon_now() + CLOSE_EVERY < t)
            t = daemon_now() + CLOSE_EVERY;
    return t;
}

/* ---- what the rest of the daemon says and asks ---- */

/* Whoever may create environments may make their guests. */
int daemon_envmake_asked(struct daemon *d, const struct vi_id *from, const uint8_t *body, size_t len, uint8_t *out)
{
    struct gossip_member m;
    struct cert c;
    if (!gossip_member_find(d->gossip, from, &m) || !m.cert || cert_decode(&c, m.cert, m.cert_len) || !(c.caps & CERT_ENV))
        return VI_EREFUSED;
    return envmake_asked(d->envmake->core, daemon_now(), from, body, len, out);
}

void daemon_envmake_listing(struct daemon *d)
{
    d->envmake->listing = d->envmake->changes;
}

void daemon_envmake_listed(struct daemon *d)
{
    d->envmake->listed = d->envmake->listing;
}

void daemon_envmake_promised(const struct daemon *d, uint64_t *kb, double *pct)
{
    envmake_promised(d->envmake->core, kb, pct);
}

void daemon_envmake_arrived(struct daemon *d, const struct handover_guest *g)
{
    struct envmake_disks own = {.sectors = {0}};
    struct hv_description desc;
    struct vi_id id;
    if (hv_description_decode(&desc, g->description, g->description_len))
        return;
    for (unsigned p = 0; p < ENVMAKE_DISKS; p++) {
        envmake_disk_id(&g->uuid, p, &id);
        for (unsigned i = 0; i < g->n_disks; i++)
            if (vi_id_equal(&g->disks[i].id, &id))
                own.sectors[p] = g->disks[i].sectors;
    }
    daemon_envdisk_back(d, &g->uuid);
    envmake_arrived(d->envmake->core, daemon_now(), &g->env, &desc, &own);
}

void daemon_envmake_given(struct daemon *d, const struct vi_id *guest)
{
    envmake_given(d->envmake->core, guest);
}

static bool has_vdev(const struct hv_description *d, const char *vdev)
{
    for (unsigned i = 0; i < d->n_disks; i++)
        if (!strcmp(d->disks[i].vdev, vdev))
            return true;
    return false;
}

void daemon_envmake_describe(const struct daemon *d, const struct vi_id *guest, struct hv_description *out)
{
    struct hv_description made;
    if (!envmake_kept(d->envmake->core, guest, &made))
        return;
    out->kept = true;
    /* As it was made: the simulated hypervisor forgets some of it. */
    out->has_kernel = made.has_kernel;
    out->has_ramdisk = made.has_ramdisk;
    memcpy(out->kernel, made.kernel, sizeof out->kernel);
    memcpy(out->ramdisk, made.ramdisk, sizeof out->ramdisk);
    memcpy(out->cmdline, made.cmdline, sizeof out->cmdline);
    for (unsigned i = 0; i < made.n_disks && out->n_disks < HV_DISKS_MAX; i++) /* of those that move it has what the hypervisor says */
        if (made.disks[i].kind != HV_DISK_MOVABLE && !has_vdev(out, made.disks[i].vdev))
            out->disks[out->n_disks++] = made.disks[i];
}

const struct env_closing *daemon_envmake_closing(const struct daemon *d, const struct vi_id *job)
{
    for (unsigned i = 0; i < ENVMAKE_JOBS; i++)
        if (d->envmake->closing[i].used && vi_id_equal(&d->envmake->closing[i].job, job))
            return &d->envmake->closing[i];
    return NULL;
}
