/* Hosts with disks, hypervisors and a network, on virtual time, and an envmake core on each: the world of
 * test_peer_envmake.c. A fault strikes at a named point or at a message, of any kind. */
#ifndef TESTS_UNIT_ENVMAKE_WORLD_H
#define TESTS_UNIT_ENVMAKE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "peer/base/err.h"
#include "peer/envmake.h"

#define HOSTS   4
#define GUESTS  4
#define RECORDS 160
#define WAITING 512
#define STEP    (50 * VI_MSEC)

enum fault { F_NONE, F_KILL, F_REBOOT, F_CUT, F_CUT_LONG, F_DISK, F_CREATE, F_KINDS };
static const char *const fault_names[] = {"none", "kill", "reboot", "cut", "cut for long", "disk full", "create fails"};

struct record {
    bool used;
    enum envmake_record kind;
    struct vi_id key;
    size_t len;
    uint8_t data[ENVMAKE_RECORD_MAX];
};

struct domain {
    bool used, running;
    struct vi_id uuid;
    uint32_t domid;
};

struct own_disk {
    bool used, old;
    struct vi_id id;
};

struct host {
    unsigned index;
    struct vi_id id, boot;
    struct envmake *core;
    bool dying, slow_create;
    vi_time images_at; /* until then they are being fetched */
    vi_time back, cut_until, disk_until, create_until;
    bool reboot, no_image, ignores_shutdown;
    struct vi_id moving, not_ours; /* guests: of an undecided handover; of another host */
    struct record record[RECORDS];
    struct domain domain[64];
    struct own_disk disk[64];
    uint64_t room; /* sectors of disks that fit here */
    unsigned left; /* guests with disks that were told to be another host's */
    uint32_t next_domid;
};

enum what { W_QUESTION, W_ANSWER, W_HV };

struct waiting {
    bool used;
    vi_time at;
    enum what what;
    unsigned from, to;
    uint64_t token;
    int err;
    enum envmake_op op;
    struct vi_id guest;
    struct envmake_disks disks;
    size_t len;
    uint8_t data[ENVMAKE_QUESTION_MAX];
    struct envmake *to_core; /* a peer that was started again knows nothing of it */
};

static struct {
    vi_time now;
    struct host host[HOSTS];
    struct waiting waiting[WAITING];
    unsigned points, target, messages; /* fault points and messages gone by; the one to act at */
    enum fault fault;
    bool at_message;
    int victim; /* a host; -1: whose point it is */
    struct vi_id env;
    bool env_known;
    const struct envmake_spec *spec;
    unsigned over;
    int over_err;
    char over_text[ENVMAKE_WHY];
} w;

static const struct envmake_spec spec = {.vcpus = 1, .kb = 64 * 1024, .max_kb = 128 * 1024, .weight = 256,
                                         .kernel = {1}, .on_reboot = HV_ACT_RESTART};

/* A read-only image, and a writable disk that is a copy of another one. */
static const struct envmake_spec with_disks = {.vcpus = 1, .kb = 64 * 1024, .max_kb = 128 * 1024, .weight = 256, .kernel = {1},
                                               .n_disks = 2, .disk = {{2}, {3}}, .sectors = {0, 2048},
                                               .on_reboot = HV_ACT_RESTART};

static struct vi_id an_id(unsigned n)
{
    struct vi_id id = {{0}};
    id.b[0] = (uint8_t)n;
    id.b[15] = (uint8_t)(n >> 8);
    id.b[7] = 7;
    return id;
}

/* ---- the hosts' hooks ---- */

static void strike(struct host *h)
{
    struct host *v = w.victim < 0 ? h : &w.host[w.victim];
    switch (w.fault) {
    case F_KILL: case F_REBOOT:
        v->dying = true;
        v->reboot = w.fault == F_REBOOT;
        v->back = w.now + 5 * VI_SEC;
        break;
    case F_CUT: v->cut_until = w.now + 12 * VI_SEC; break;
    case F_CUT_LONG: v->cut_until = w.now + 400 * VI_SEC; break;
    case F_DISK: v->disk_until = w.now + 30 * VI_SEC; break;
    case F_CREATE: v->create_until = w.now + 30 * VI_SEC; break;
    default: break;
    }
}

static void fault(void *arg, const char *name)
{
    (void)name;
    if (!w.at_message && ++w.points == w.target)
        strike(arg);
}

static int save(void *arg, enum envmake_record kind, const struct vi_id *key, const uint8_t *data, size_t len)
{
    struct host *h = arg;
    struct record *at = NULL;
    if (h->dying)
        return 0;
    if (w.now < h->disk_until)
        return VI_EIO;
    for (unsigned i = 0; i < RECORDS; i++) {
        struct record *r = &h->record[i];
        if (r->used && r->kind == kind && vi_id_equal(&r->key, key)) {
            at = r;
            break;
        }
        if (!r->used && !at)
            at = r;
    }
    assert_true(at && len <= sizeof at->data);
    *at = (struct record){.used = true, .kind = kind, .key = *key, .len = len};
    memcpy(at->data, data, len);
    return 0;
}

static int forget(void *arg, enum envmake_record kind, const struct vi_id *key)
{
    struct host *h = arg;
    if (h->dying)
        return 0;
    if (w.now < h->disk_until)
        return VI_EIO;
    for (unsigned i = 0; i < RECORDS; i++)
        if (h->record[i].used && h->record[i].kind == kind && vi_id_equal(&h->record[i].key, key))
            h->record[i].used = false;
    return 0;
}

static struct domain *domain_of(struct host *h, const struct vi_id *uuid)
{
    for (unsigned i = 0; i < 64; i++)
        if (h->domain[i].used && vi_id_equal(&h->domain[i].uuid, uuid))
            return &h->domain[i];
    return NULL;
}

static void view(void *arg, const struct vi_id *guest, struct envmake_view *out)
{
    const struct domain *d = domain_of(arg, guest);
    out->known = true;
    out->here = d != NULL;
    out->running = d && d->running;
    out->paused = d && !d->running;
    out->domid = d ? d->domid : 0;
}

static bool env_open(void *arg, const struct vi_id *env)
{
    (void)arg;
    return w.env_known && vi_id_equal(env, &w.env);
}

static bool env_gone(void *arg, const struct vi_id *env)
{
    return !env_open(arg, env);
}

static bool owned(void *arg, const struct vi_id *guest)
{
    return !vi_id_equal(guest, &((const struct host *)arg)->not_ours);
}

static bool moving(void *arg, const struct vi_id *guest)
{
    return vi_id_equal(guest, &((const struct host *)arg)->moving);
}

static uint64_t free_kb(const struct host *h)
{
    uint64_t kb = 1024 * 1024;
    for (unsigned i = 0; i < 64; i++)
        kb -= h->domain[i].used ? spec.kb : 0;
    return kb;
}

static int can_take(void *arg, uint64_t kb, double pct, uint64_t promised_kb, double promised_pct, char *why, size_t cap)
{
    (void)pct;
    (void)promised_pct;
    if (kb + promised_kb <= free_kb(arg))
        return 0;
    snprintf(why, cap, "not enough memory");
    return VI_EFULL;
}

static unsigned candidates(void *arg, struct envmake_host *out, unsigned most)
{
    (void)arg;
    for (unsigned i = 0; i < HOSTS && i < most; i++)
        out[i] = (struct envmake_host){w.host[i].id, free_kb(&w.host[i]), 1024 * 1024, 400, 400};
    return HOSTS;
}

static unsigned hosts(void *arg, const struct vi_id *env, struct vi_id *out, unsigned most)
{
    (void)arg;
    (void)env;
    for (unsigned i = 0; i < HOSTS && i < most; i++)
        out[i] = w.host[i].id;
    return HOSTS;
}

static void left(void *arg, const struct vi_id *env, const struct vi_id *guest, const struct envmake_disks *disks)
{
    struct host *h = arg;
    struct vi_id id;
    assert_true(vi_id_equal(env, &w.env));
    assert_int_equal(disks->sectors[1], with_disks.sectors[1]);
    envmake_disk_id(guest, 1, &id);
    for (unsigned i = 0; i < 64; i++)
        assert_false(h->disk[i].used && !h->disk[i].old && vi_id_equal(&h->disk[i].id, &id));
    h->left++;
}

/* ---- the world ---- */

static void open_core(struct host *h)
{
    struct envmake_config c = {.self = h->id, .start = true,
                               .hooks = {h, save, forget, view, env_open, env_gone, owned, moving, can_take, candidates, hosts, fault, NULL,
                                         left}};
    h->core = envmake_new(&c);
    assert_non_null(h->core);
    for (unsigned i = 0; i < RECORDS; i++)
        if (h->record[i].used)
            assert_int_equal(envmake_load(h->core, w.now, h->record[i].kind, &h->record[i].key, h->record[i].data,
                                          h->record[i].len), 0);
    envmake_loaded(h->core, w.now, &h->boot);
}

static void world_new(void)
{
    memset(&w, 0, sizeof w);
    w.now = 1000 * VI_SEC;
    w.env = an_id(99);
    w.env_known = true;
    w.spec = &spec;
    w.victim = -1;
    for (unsigned i = 0; i < HOSTS; i++) {
        w.host[i].index = i;
        w.host[i].id = an_id(i + 1);
        w.host[i].boot = an_id(100 + i);
        w.host[i].next_domid = 1;
        w.host[i].room = 64 * 2048;
        open_core(&w.host[i]);
    }
}

static void world_free(void)
{
    for (unsigned i = 0; i < HOSTS; i++)
        envmake_free(w.host[i].core);
}

static struct waiting *later(vi_time delay)
{
    for (unsigned i = 0; i < WAITING; i++)
        if (!w.waiting[i].used) {
            memset(&w.waiting[i], 0, sizeof w.waiting[i]);
            w.waiting[i].used = true;
            w.waiting[i].at = w.now + delay;
            return &w.waiting[i];
        }
    fail_msg("too much is under way");
    return NULL;
}

static unsigned host_of(const struct vi_id *id)
{
    for (unsigned i = 0; i < HOSTS; i++)
        if (vi_id_equal(&w.host[i].id, id))
            return i;
    fail_msg("no such host");
    return 0;
}

static bool reaches(const struct host *a, const struct host *b)
{
    return a->core && b->core && !a->dying && !b->dying && w.now >= a->cut_until && w.now >= b->cut_until;
}

static void take_effects(struct host *h)
{
    const struct envmake_effect *fx;
    struct waiting *x;
    while (h->core && !h->dying && (fx = envmake_effect(h->core)))
        switch (fx->kind) {
        case ENVMAKE_FX_ASK:
            x = later(20 * VI_MSEC);
            *x = (struct waiting){true, x->at, W_QUESTION, .from = h->index, .to = host_of(&fx->peer), .token = fx->token,
                                  .to_core = h->core, .len = fx->len};
            memcpy(x->data, fx->data, fx->len);
            if (w.at_message && ++w.messages == w.target)
                strike(w.victim < 0 ? &w.host[x->to] : h);
            break;
        case ENVMAKE_FX_HV:
            x = later(fx->op == ENVMAKE_OP_CREATE || fx->op == ENVMAKE_OP_DISKS ? 900 * VI_MSEC : 100 * VI_MSEC);
            *x = (struct waiting){true, x->at, W_HV, .to = h->index, .op = fx->op, .guest = fx->guest, .to_core = h->core,
                                  .disks = fx->disks};
            if (fx->op == ENVMAKE_OP_DISKS)
                envmake_copied(h->core, &fx->guest, 41);
            break;
        case ENVMAKE_FX_OVER:
            w.over++;
            w.over_err = fx->err;
            snprintf(w.over_text, sizeof w.over_text, "%s", fx->text);
            break;
        case ENVMAKE_FX_NOTE:
            break;
        }
}

static struct own_disk *disk_of(struct host *h, const struct vi_id *id)
{
    for (unsigned i = 0; i < 64; i++)
        if (h->disk[i].used && vi_id_equal(&h->disk[i].id, id))
            return &h->disk[i];
    return NULL;
}

static int make_disk(struct host *h, const struct waiting *x)
{
    struct vi_id id;
    unsigned i = 0;
    envmake_disk_id(&x->guest, 1, &id);
    assert_int_equal(x->disks.image[1][0], 3);
    if (disk_of(h, &id))
        return 0;
    if (w.now < h->create_until || h->room < x->disks.sectors[1])
        return VI_EFULL;
    while (h->disk[i].used)
        i++;
    h->room -= x->disks.sectors[1];
    h->disk[i] = (struct own_disk){true, false, id};
    return 0;
}

static int wipe_disk(struct host *h, const struct waiting *x)
{
    struct own_disk *k;
    struct vi_id id;
    envmake_disk_id(&x->guest, 1, &id);
    assert_null(domain_of(h, &x->guest)); /* a guest that is there has it */
    k = disk_of(h, &id);
    if (!k)
        return 0;
    h->room += with_disks.sectors[1];
    k->used = false;
    return 0;
}

/* Is what it is started from here? */
static bool disks_here(struct host *h, const struct waiting *x)
{
    const struct own_disk *k;
    struct vi_id id;
    envmake_disk_id(&x->guest, 1, &id);
    k = disk_of(h, &id);
    return !x->disks.sectors[1] || (k && !k->old);
}

static int hv(struct host *h, const struct waiting *x)
{
    struct domain *d = domain_of(h, &x->guest);
    switch (x->op) {
    case ENVMAKE_OP_CHECK:
        return h->no_image ? VI_EUNSUPPORTED : d ? VI_EEXIST : w.now < h->images_at ? VI_EAGAIN : 0;
    case ENVMAKE_OP_CREATE:
        if (d)
            return VI_EEXIST;
        if (w.now < h->create_until || h->no_image || !disks_here(h, x))
            return VI_EIO;
        for (d = h->domain; d->used; d++)
            ;
        *d = (struct domain){true, false, x->guest, h->next_domid++};
        return 0;
    case ENVMAKE_OP_RUN:
        if (d)
            d->running = true;
        return d ? 0 : VI_ENOTFOUND;
    case ENVMAKE_OP_SHUTDOWN:
        if (d && !h->ignores_shutdown)
            d->used = false;
        return d ? 0 : VI_ENOTFOUND;
    case ENVMAKE_OP_DESTROY:
        if (d)
            d->used = false;
        return d ? 0 : VI_ENOTFOUND;
    case ENVMAKE_OP_DISKS:
        return make_disk(h, x);
    case ENVMAKE_OP_WIPE:
        return wipe_disk(h, x);
    }
    return VI_EUNSUPPORTED;
}

static void deliver(struct waiting *x)
{
    struct waiting y = *x, *back;
    struct host *to = &w.host[y.to], *from = &w.host[y.from];
    uint8_t out[ENVMAKE_ANSWER_MAX];
    int n;
    x->used = false;
    switch (y.what) {
    case W_HV: /* the agent goes on with it whatever becomes of the peer; not over a reboot */
        n = y.err ? y.err : hv(to, &y);
        if (to->core == y.to_core && !to->dying)
            envmake_done(to->core, w.now, &y.guest, y.op, n, n ? "as the test says" : "");
        break;
    case W_QUESTION:
        n = reaches(from, to) ? envmake_asked(to->core, w.now, &from->id, y.data, y.len, out) : VI_ETIMEDOUT;
        assert_int_not_equal(n, VI_EPROTO);
        assert_int_not_equal(n, VI_EINVAL);
        take_effects(to);
        back = later(!reaches(from, to) ? 2800 * VI_MSEC : 20 * VI_MSEC);
        back->what = W_ANSWER;
        back->to = y.from;
        back->from = y.to;
        back->token = y.token;
        back->to_core = y.to_core;
        back->err = !reaches(from, to) ? VI_ETIMEDOUT : n < 0 ? n : 0;
        back->len = n > 0 ? (size_t)n : 0;
        memcpy(back->data, out, back->len);
        break;
    case W_ANSWER:
        if (to->core == y.to_core && !to->dying)
            envmake_answered(to->core, w.now, y.token, y.err, y.data, y.len);
        take_effects(to);
        break;
    }
}

static void die_and_come_back(struct host *h)
{
    if (h->dying) {
        envmake_free(h->core);
        h->core = NULL;
        h->dying = false;
        if (h->reboot) {
            memset(h->domain, 0, sizeof h->domain);
            h->boot.b[3]++;
            for (unsigned i = 0; i < WAITING; i++)
                if (w.waiting[i].used && w.waiting[i].what == W_HV && w.waiting[i].to == h->index)
                    w.waiting[i].used = false;
        }
    }
    if (!h->core && w.now >= h->back)
        open_core(h);
}

/* Every guest at most once, at any time. */
static void never_twice(void)
{
    for (unsigned a = 0; a < HOSTS; a++)
        for (unsigned i = 0; i < 64; i++) {
            const struct domain *d = &w.host[a].domain[i];
            if (!d->used)
                continue;
            for (unsigned b = a + 1; b < HOSTS; b++)
                assert_null(domain_of(&w.host[b], &d->uuid));
        }
}

static void turn(void)
{
    w.now += STEP;
    for (unsigned i = 0; i < HOSTS; i++)
        die_and_come_back(&w.host[i]);
    for (unsigned i = 0; i < WAITING; i++)
        if (w.waiting[i].used && w.waiting[i].at <= w.now)
            deliver(&w.waiting[i]);
    for (unsigned i = 0; i < HOSTS; i++) {
        struct host *h = &w.host[i];
        if (h->core && !h->dying && envmake_deadline(h->core) <= w.now)
            envmake_tick(h->core, w.now);
        take_effects(h);
    }
    never_twice();
}

static void run_for(vi_time t)
{
    for (vi_time end = w.now + t; w.now < end;)
        turn();
}

static bool run_until_over(vi_time most)
{
    unsigned before = w.over;
    for (vi_time end = w.now + most; w.now < end && w.over == before;)
        turn();
    return w.over > before;
}

static unsigned domains(bool running)
{
    unsigned n = 0;
    for (unsigned a = 0; a < HOSTS; a++)
        for (unsigned i = 0; i < 64; i++)
            n += w.host[a].domain[i].used && (!running || w.host[a].domain[i].running);
    return n;
}

static unsigned disks(bool old)
{
    unsigned n = 0;
    for (unsigned a = 0; a < HOSTS; a++)
        for (unsigned i = 0; i < 64; i++)
            n += w.host[a].disk[i].used && w.host[a].disk[i].old == old;
    return n;
}

static unsigned records(enum envmake_record kind)
{
    unsigned n = 0;
    for (unsigned a = 0; a < HOSTS; a++)
        for (unsigned i = 0; i < RECORDS; i++)
            n += w.host[a].record[i].used && w.host[a].record[i].kind == kind;
    return n;
}

static void nothing_promised(void)
{
    uint64_t kb;
    double pct;
    for (unsigned a = 0; a < HOSTS; a++) {
        envmake_promised(w.host[a].core, &kb, &pct);
        assert_int_equal(kb, 0);
    }
}

static void begin(unsigned guests, bool head)
{
    struct vi_id job = an_id(1000);
    char why[ENVMAKE_WHY] = "";
    assert_int_equal(envmake_begin(w.host[0].core, w.now, &job, &w.env, "web", w.spec, 1, guests, head, NULL, true,
                                   why, sizeof why), 0);
}

static void order_begins(enum envmake_kind kind, bool force)
{
    static unsigned n = 2000;
    struct vi_id job = an_id(n++);
    char why[ENVMAKE_WHY] = "";
    assert_int_equal(envmake_order(w.host[1].core, w.now, &job, &w.env, "web", kind, force, 0, NULL, why,
                                   sizeof why), 0);
}

static void order(enum envmake_kind kind, bool force)
{
    order_begins(kind, force);
    assert_true(run_until_over(300 * VI_SEC));
}

#endif
