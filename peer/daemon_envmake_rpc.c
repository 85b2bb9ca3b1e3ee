/* Environments made from images, as people ask for them and see them. */
#include "peer/daemon_envmake.h"
#include "peer/daemon_image.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/rpc_write.h"

#define FILES (2 + ENVMAKE_DISKS) /* kernel, ramdisk, images */
#define FILE_TEXT 80
#define SECTORS_MIB 2048

/* One order, while its images' names are looked up. */
struct making {
    struct daemon *d;
    struct rpc_call *call;
    bool look; /* LOOK, not MAKE */
    bool add;  /* the environment is there */
    bool check; /* only whether it can be asked for: nothing is made */
    bool head, strict, spread;
    unsigned first, guests, shares, priority;
    struct vi_id head_host;
    char name[ENV_NAME_MAX];
    struct envmake_spec spec;
    char file[FILES][FILE_TEXT]; /* names or hashes; "" none */
    bool copy[ENVMAKE_DISKS];    /* of the image in file[2 + i]; sectors 0: as large as that is */
    unsigned at;
};

/* ---- parameters ---- */

static bool read_hash(const char *text, uint8_t hash[HV_HASH_SIZE])
{
    if (strlen(text) != 2 * HV_HASH_SIZE || strspn(text, "0123456789abcdefABCDEF") != 2 * HV_HASH_SIZE)
        return false;
    for (unsigned i = 0; i < HV_HASH_SIZE; i++) {
        unsigned v;
        (void)sscanf(text + 2 * i, "%2x", &v);
        hash[i] = (uint8_t)v;
    }
    return true;
}

/* "a,b": at most ENVMAKE_DISKS. */
static bool split_images(struct making *m, char *text)
{
    char *save = NULL;
    unsigned n = 2;
    for (char *w = strtok_r(text, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
        if (n == FILES || strlen(w) >= FILE_TEXT)
            return false;
        snprintf(m->file[n++], FILE_TEXT, "%s", w);
    }
    m->spec.n_disks = n - 2;
    return true;
}

/* "image=NAME", "copy=NAME", "copy=NAME:MIB" or "disk=MIB". */
static bool read_disk(struct making *m, unsigned i, char *word)
{
    char *value = strchr(word, '='), *number, *end;
    unsigned long long mib = 0;
    if (!value)
        return false;
    *value++ = '\0';
    m->copy[i] = !strcmp(word, "copy");
    number = m->copy[i] ? strrchr(value, ':') : !strcmp(word, "disk") ? value : NULL;
    if (number) {
        const char *digits = number == value ? value : number + 1;
        mib = strtoull(digits, &end, 10);
        if (strspn(digits, "0123456789") == 0 || *end || mib == 0 || mib > DISK_SECTORS_MAX / SECTORS_MIB)
            return false;
        *number = '\0';
    } else if (!m->copy[i] && strcmp(word, "image"))
        return false;
    m->spec.sectors[i] = mib * SECTORS_MIB;
    if (strlen(value) >= FILE_TEXT || (!value[0] && (m->copy[i] || !mib)))
        return false;
    snprintf(m->file[2 + i], FILE_TEXT, "%s", value);
    return true;
}

/* At most ENVMAKE_DISKS, a comma between two. */
static bool read_disks(struct making *m, char *text)
{
    char *save = NULL;
    unsigned n = 0;
    for (char *w = strtok_r(text, ",", &save); w; w = strtok_r(NULL, ",", &save))
        if (n == ENVMAKE_DISKS || !read_disk(m, n++, w))
            return false;
    m->spec.n_disks = n;
    return true;
}

/* "10.9.0.0/24" */
static bool read_network(struct envmake_spec *s, char *text)
{
    char *slash = strchr(text, '/'), *end;
    unsigned long prefix;
    if (!slash)
        return false;
    *slash = '\0';
    prefix = strtoul(slash + 1, &end, 10);
    s->prefix = prefix <= 32 ? (unsigned)prefix : 0;
    s->net = slash[1] && !*end && inet_pton(AF_INET, text, s->net4) == 1;
    return s->net;
}

static bool read_action(const char *text, enum hv_action otherwise, enum hv_action *out)
{
    static const char *const words[] = {[HV_ACT_DESTROY] = "destroy", [HV_ACT_RESTART] = "restart",
                                        [HV_ACT_PRESERVE] = "preserve"};
    *out = otherwise;
    for (unsigned i = 0; text[0] && i < 3; i++)
        if (!strcmp(text, words[i])) {
            *out = (enum hv_action)i;
            return true;
        }
    return !text[0];
}

static bool read_actions(struct rpc_call *call, struct vi_reader *p, struct envmake_spec *s)
{
    static const struct {
        const char *key;
        enum hv_action otherwise;
    } of[] = {{"on_poweroff", HV_ACT_DESTROY}, {"on_reboot", HV_ACT_RESTART}, {"on_crash", HV_ACT_DESTROY}};
    enum hv_action *to[] = {&s->on_poweroff, &s->on_reboot, &s->on_crash};
    for (unsigned i = 0; i < 3; i++) {
        char text[16];
        if (!rpc_param_text(call, *p, of[i].key, false, text, sizeof text))
            return false;
        if (!read_action(text, of[i].otherwise, to[i])) {
            rpc_error(call, VI_EINVAL, "%s `%s`: destroy, restart or preserve", of[i].key, text);
            return false;
        }
    }
    return true;
}

static bool read_sizes(struct rpc_call *call, struct vi_reader *p, struct envmake_spec *s)
{
    uint64_t memory = 256, most = 0, vcpus = 1, weight = 256;
    if (!rpc_param_uint(call, *p, "memory_mib", UINT32_MAX, &memory) ||
        !rpc_param_uint(call, *p, "max_mib", UINT32_MAX, &most) || !rpc_param_uint(call, *p, "vcpus", 128, &vcpus) ||
        !rpc_param_uint(call, *p, "weight", 65535, &weight))
        return false;
    s->kb = memory * 1024;
    s->max_kb = (most ? most : 2 * memory) * 1024; /* a guest can only ever grow to this */
    s->vcpus = (uint32_t)vcpus;
    s->weight = (uint32_t)weight;
    return true;
}

static bool read_files(struct rpc_call *call, struct vi_reader *p, struct making *m)
{
    char images[ENVMAKE_DISKS * FILE_TEXT], disks[ENVMAKE_DISKS * (FILE_TEXT + 16)], net[40];
    if (!rpc_param_text(call, *p, "kernel", true, m->file[0], FILE_TEXT) ||
        !rpc_param_text(call, *p, "ramdisk", false, m->file[1], FILE_TEXT) ||
        !rpc_param_text(call, *p, "images", false, images, sizeof images) ||
        !rpc_param_text(call, *p, "disks", false, disks, sizeof disks) ||
        !rpc_param_text(call, *p, "cmdline", false, m->spec.cmdline, sizeof m->spec.cmdline) ||
        !rpc_param_text(call, *p, "network", false, net, sizeof net))
        return false;
    m->spec.has_ramdisk = m->file[1][0] != '\0';
    if (!split_images(m, images)) {
        rpc_error(call, VI_EINVAL, "images: at most %d names or hashes, a comma between two", ENVMAKE_DISKS);
        return false;
    }
    if (disks[0] && (images[0] || !read_disks(m, disks))) {
        rpc_error(call, VI_EINVAL, "disks: at most %d of image=NAME, copy=NAME, copy=NAME:MIB and disk=MIB, a comma between two; "
                  "and no images beside", ENVMAKE_DISKS);
        return false;
    }
    if (net[0] && !read_network(&m->spec, net)) {
        rpc_error(call, VI_EINVAL, "network: like 10.9.0.0/24");
        return false;
    }
    return true;
}

static bool find_head_host(struct making *m, const char *name)
{
    struct gossip_member g;
    size_t pos = 0;
    if (!name[0])
        return true;
    while (gossip_member_next(m->d->gossip, &pos, &g))
        if (!strcmp(g.name, name) && g.state == GOSSIP_ALIVE) {
            m->head_host = g.id;
            return true;
        }
    rpc_error(m->call, VI_ENOTFOUND, "head: no living member is called `%.64s`; `violin members` shows them", name);
    return false;
}

static bool read_params(struct making *m, struct vi_reader *p)
{
    struct rpc_call *call = m->call;
    char head_host[128], name[128], why[ENVMAKE_WHY];
    uint64_t guests = 0, first = 1, head = 0, add = 0, check = 0, shares = 100, strict = 0, spread = 0, priority = ENV_PRIORITY;
    if (!rpc_param_text(call, *p, "name", true, name, sizeof name) ||
        !rpc_param_uint(call, *p, "guests", ENVMAKE_GUESTS, &guests) ||
        !rpc_param_uint(call, *p, "first", ENVMAKE_GUESTS, &first) || !rpc_param_uint(call, *p, "head", 1, &head) ||
        !rpc_param_text(call, *p, "head_host", false, head_host, sizeof head_host) ||
        !rpc_param_uint(call, *p, "add", 1, &add) || !rpc_param_uint(call, *p, "check", 1, &check) || !rpc_param_uint(call, *p, "shares", ENV_SHARES_MAX, &shares) ||
        !rpc_param_uint(call, *p, "strict", 1, &strict) || !rpc_param_uint(call, *p, "spread", 1, &spread) ||
        !rpc_param_uint(call, *p, "priority", ENV_PRIORITY_MAX, &priority) || !read_sizes(call, p, &m->spec) ||
        !read_files(call, p, m) || !read_actions(call, p, &m->spec) || !find_head_host(m, head_host))
        return false;
    if (!env_name_valid(name)) {
        rpc_error(call, VI_EINVAL, "name `%.40s`: 1 to %d letters, digits, '.', '_', '-', and no sign first", name,
                  ENV_NAME_MAX - 1);
        return false;
    }
    memcpy(m->name, name, strlen(name) + 1);
    m->guests = (unsigned)guests;
    m->first = (unsigned)first;
    m->head = head == 1;
    m->add = add == 1;
    m->check = check == 1;
    m->shares = (unsigned)shares;
    m->strict = strict == 1;
    m->spread = spread == 1;
    m->priority = (unsigned)priority;
    if (envmake_spec_check(&m->spec, why, sizeof why)) {
        rpc_error(call, VI_EINVAL, "%s", why);
        return false;
    }
    return true;
}

/* ---- beginning ---- */

static void answer_job(struct rpc_call *call, const struct vi_id *id)
{
    char text[VI_ID_TEXT];
    struct vi_writer *w = rpc_begin(call, 128);
    if (!w)
        return;
    vi_write_map(w, 1);
    put_text(w, "job", vi_id_format(id, text));
    rpc_end(call);
}

/* The environment that the guests shall be of, made if need be. */
static const struct env *environment(struct making *m, bool *fresh, int *err, char *why, size_t cap)
{
    const struct env *e = daemon_env_by_name(m->d, m->name);
    *fresh = false;
    *err = 0;
    if (!e && (m->look || m->add)) {
        *err = VI_ENOTFOUND;
        snprintf(why, cap, "there is no environment `%s`", m->name);
    } else if (e && strcmp(e->def.home, m->d->me.cert.domain)) {
        *err = VI_EAUTH;
        snprintf(why, cap, "%s is at home in %s; only that domain makes guests of it", e->def.name, e->def.home);
    } else if (e && !m->look && !m->add) {
        *err = VI_EEXIST;
        snprintf(why, cap, "there is an environment `%s` already", m->name);
    } else if (!e && !(*err = daemon_env_create(m->d, m->name, m->shares, m->strict, why, cap))) {
        *fresh = true;
        e = daemon_env_by_name(m->d, m->name);
        if (!e) {
            *err = VI_EFULL;
            snprintf(why, cap, "no room for another environment here");
        } else
            *err = daemon_rules_priority(m->d, m->name, m->priority, why, cap);
    }
    return *err ? NULL : e;
}

/* The guests that are to be kept apart: the new ones, and those of a rule that keeps some apart already, which it then replaces. */
static int apart(struct making *m, const struct env *e, const struct vi_id *job, struct policy_rule *r, unsigned *old, char *why, size_t cap)
{
    struct hv_description d;
    memset(r, 0, sizeof *r);
    r->env = e->def.id;
    r->kind = POLICY_RULE_SPREAD;
    *old = 0;
    for (unsigned i = 0; m->add && i < e->n_rules && !*old; i++)
        if (e->rule[i].kind == POLICY_RULE_SPREAD)
            *old = e->rule[i].number;
    for (unsigned i = 0; *old && i < e->n_rules; i++)
        for (unsigned k = 0; e->rule[i].number == *old && k < e->rule[i].n; k++)
            if (daemon_rules_placed(m->d, e, e->rule[i].guest[k])) /* one that was removed needs no place in it */
                memcpy(r->guest[r->n++], e->rule[i].guest[k], POLICY_RULE_TAG);
    if (m->guests > POLICY_RULE_GUESTS - r->n) {
        snprintf(why, cap, "a rule keeps %d guests apart at most", POLICY_RULE_GUESTS);
        return VI_EFULL;
    }
    for (unsigned i = 0; i < m->guests; i++) {
        if (envmake_describe(&m->spec, job, &e->def.id, e->def.name, m->first + i, &d))
            return VI_EINVAL;
        policy_rule_tag(&d.uuid, r->guest[r->n++]);
    }
    return 0;
}

/* Before they are placed, so that they are placed by it. One guest alone needs no rule. */
static int keep_apart(struct making *m, const struct env *e, const struct vi_id *job, unsigned *number, char *why, size_t cap)
{
    struct policy_rule r;
    unsigned old;
    int err = apart(m, e, job, &r, &old, why, cap);
    *number = 0;
    if (err || r.n < 2)
        return err;
    err = daemon_rules_add(m->d, m->name, &r, why, cap);
    if (!err && old)
        (void)daemon_rules_remove(m->d, m->name, old, why, cap);
    *number = err ? 0 : r.number;
    return err;
}

static void begin(struct making *m)
{
    struct envmake *core = m->d->envmake->core;
    char why[300] = "", gone[300];
    struct vi_id job;
    bool fresh;
    int err;
    const struct env *e = environment(m, &fresh, &err, why, sizeof why);
    unsigned rule = 0;
    vi_rng_id(&m->d->rng, &job);
    if (!err && m->spread && !m->look)
        err = keep_apart(m, e, &job, &rule, why, sizeof why);
    if (!err && m->look)
        err = envmake_order(core, daemon_now(), &job, &e->def.id, e->def.name, ENVMAKE_LOOK, false, 0, &m->spec, why,
                            sizeof why);
    else if (!err)
        err = envmake_begin(core, daemon_now(), &job, &e->def.id, e->def.name, &m->spec, m->first, m->guests, m->head,
                            &m->head_host, fresh, why, sizeof why);
    if (err && rule)
        (void)daemon_rules_remove(m->d, m->name, rule, gone, sizeof gone);
    if (err && fresh)
        (void)daemon_env_remove(m->d, m->name, gone, sizeof gone);
    if (err)
        rpc_error(m->call, err, "%s", why[0] ? why : vi_strerror(err));
    else
        answer_job(m->call, &job);
    free(m);
}

static void checked(struct making *m)
{
    struct vi_writer *w = rpc_begin(m->call, 32);
    if (w) {
        vi_write_map(w, 1);
        put_bool(w, "checked", true);
        rpc_end(m->call);
    }
    free(m);
}

static void go(struct making *m)
{
    if (m->check)
        checked(m);
    else
        begin(m);
}

/* A host that doesn't say may have a bridge for it: then the placing finds out. */
static void on_outside(struct daemon_views *v)
{
    struct making *m = v->arg;
    const char *at = NULL;
    bool any = v->unasked > 0;
    v->arg = NULL; /* it lives on */
    for (unsigned i = 0; i < v->n; i++) {
        any |= !v->view[i].known || !v->view[i].host.no_outside;
        at = v->view[i].name;
    }
    if (any) {
        go(m);
        return;
    }
    if (vi_id_is_zero(&m->head_host) || !at)
        rpc_error(m->call, VI_EUNSUPPORTED, "a head wants a leg outside, and no host of the domain has the key outside-bridge in its "
                  "configuration; nothing was made");
    else
        rpc_error(m->call, VI_EUNSUPPORTED, "a head wants a leg outside, and the configuration of %s names no outside-bridge; nothing was made", at);
    free(m);
}

/* A head is made only where a bridge for its second network card is: asked first, as the guests would be placed, and given up. */
static void head_or_go(struct making *m)
{
    int err = VI_EUNSUPPORTED;
    if (m->head && !m->look)
        err = vi_id_is_zero(&m->head_host) ? daemon_views_ask(m->d, NULL, on_outside, m)
                                           : daemon_views_ask_one(m->d, &m->head_host, on_outside, m);
    if (err)
        go(m);
}

static uint8_t *hash_of(struct making *m, unsigned file)
{
    return file == 0 ? m->spec.kernel : file == 1 ? m->spec.ramdisk : m->spec.disk[file - 2];
}

static void next_file(struct making *m);

static void on_image(void *arg, int err, const char *detail, const uint8_t hash[HV_HASH_SIZE])
{
    struct making *m = arg;
    if (err) {
        if (err == VI_ENOTFOUND)
            rpc_error(m->call, err, "%s: no image of that name is here or in image-dirs: `violin image add FILE`, or "
                      "`violin image fetch %s`", m->file[m->at], m->file[m->at]);
        else
            rpc_error(m->call, err, "%s: %s", m->file[m->at], detail);
        free(m);
        return;
    }
    memcpy(hash_of(m, m->at), hash, HV_HASH_SIZE);
    m->at++;
    next_file(m);
}

/* The name of one that was added or fetched here. */
static bool in_cache(struct making *m)
{
    char why[200];
    const struct image_file *f = image_by_text(m->d, m->file[m->at], why, sizeof why);
    if (f)
        memcpy(hash_of(m, m->at), f->hash, HV_HASH_SIZE);
    return f != NULL;
}

/* Copies for which no size was given are as large as their image. False: the call was answered. */
static bool size_copies(struct making *m)
{
    for (unsigned i = 0; i < m->spec.n_disks; i++) {
        const struct image_file *f = m->copy[i] ? image_here(m->d, m->spec.disk[i]) : NULL;
        if (m->copy[i] && !f && !m->spec.sectors[i]) {
            rpc_error(m->call, VI_EINVAL, "%s: how large it is isn't known on this host; say so, as in --copy %s:4G", m->file[2 + i],
                      m->file[2 + i]);
            return false;
        }
        if (f && m->spec.sectors[i] && f->size > m->spec.sectors[i] * 512) {
            rpc_error(m->call, VI_EINVAL, "%s has %llu MiB, more than its copy is to have", m->file[2 + i],
                      (unsigned long long)((f->size + (1 << 20) - 1) >> 20));
            return false;
        }
        if (f && !m->spec.sectors[i])
            m->spec.sectors[i] = (f->size + 4095) / 4096 * 8;
    }
    return true;
}

/* Names become hashes by this host's images, one after another. */
static void next_file(struct making *m)
{
    int err;
    while (m->at < FILES && (!m->file[m->at][0] || read_hash(m->file[m->at], hash_of(m, m->at)) || in_cache(m)))
        m->at++;
    if (m->at == FILES) {
        if (size_copies(m))
            head_or_go(m);
        else
            free(m);
        return;
    }
    if (strchr(m->file[m->at], '/')) {
        rpc_error(m->call, VI_EINVAL, "%s is a path: add the file first (violin image add), and give the image's name here",
                  m->file[m->at]);
        free(m);
        return;
    }
    err = strlen(m->file[m->at]) < HV_NAME_MAX ? m->d->hv->ops->image(m->d->hv, m->file[m->at], on_image, m) : VI_EINVAL;
    if (!err)
        return;
    rpc_error(m->call, err, "%s: %s", m->file[m->at], vi_strerror(err));
    free(m);
}

static void make_or_look(struct daemon *d, struct rpc_call *call, struct vi_reader *params, bool look)
{
    struct making *m = calloc(1, sizeof *m);
    if (!m) {
        rpc_error(call, VI_ENOMEM, "out of memory");
        return;
    }
    m->d = d;
    m->call = call;
    m->look = look;
    if (read_params(m, params))
        next_file(m);
    else
        free(m);
}

void daemon_do_env_make(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    make_or_look(arg, call, params, false);
}

void daemon_do_env_look(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    make_or_look(arg, call, params, true);
}

/* ---- start, stop, remove ---- */

static void order(struct daemon *d, struct rpc_call *call, const char *name, enum envmake_kind kind, bool force,
                  unsigned least)
{
    const struct env *e = daemon_env_by_name(d, name);
    char why[ENVMAKE_WHY] = "";
    struct vi_id job;
    int err;
    if (!e) {
        rpc_error(call, VI_ENOTFOUND, "there is no environment `%.40s`; `violin env list` shows them", name);
        return;
    }
    if (strcmp(e->def.home, d->me.cert.domain)) {
        rpc_error(call, VI_EAUTH, "%s is at home in %s; that domain starts, stops and removes its guests", e->def.name,
                  e->def.home);
        return;
    }
    vi_rng_id(&d->rng, &job);
    err = envmake_order(d->envmake->core, daemon_now(), &job, &e->def.id, e->def.name, kind, force, least, NULL, why,
                        sizeof why);
    if (err)
        rpc_error(call, err, "%s", why);
    else
        answer_job(call, &job);
}

static void by_name(struct daemon *d, struct rpc_call *call, struct vi_reader *params, enum envmake_kind kind)
{
    char name[128];
    uint64_t force = 0;
    if (rpc_param_text(call, *params, "name", true, name, sizeof name) &&
        rpc_param_uint(call, *params, "force", 1, &force))
        order(d, call, name, kind, force == 1, 0);
}

void daemon_do_env_start(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    by_name(arg, call, params, ENVMAKE_START);
}

void daemon_do_env_stop(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    by_name(arg, call, params, ENVMAKE_STOP);
}

/* Guests from a number on: fewer are wanted. */
void daemon_do_env_shrink(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    char name[128];
    uint64_t force = 0, least = 0;
    if (!rpc_param_text(call, *params, "name", true, name, sizeof name) ||
        !rpc_param_uint(call, *params, "force", 1, &force) ||
        !rpc_param_uint(call, *params, "from", ENVMAKE_GUESTS + 1, &least))
        return;
    if (least < 1)
        rpc_error(call, VI_EINVAL, "from: 1 to %d", ENVMAKE_GUESTS);
    else
        order(arg, call, name, ENVMAKE_REMOVE, force == 1, (unsigned)least);
}

void daemon_envmake_remove(struct daemon *d, struct rpc_call *call, const char *name, bool force)
{
    order(d, call, name, ENVMAKE_REMOVE, force, 0);
}

/* ---- shown ---- */

static const char *kind_word(enum envmake_kind k)
{
    static const char *const words[] = {[ENVMAKE_MAKE] = "make", [ENVMAKE_START] = "start", [ENVMAKE_STOP] = "stop",
                                        [ENVMAKE_REMOVE] = "remove", [ENVMAKE_LOOK] = "look"};
    return words[k];
}

static void write_item(struct daemon *d, struct vi_writer *w, const struct envmake_job_view *v,
                       const struct envmake_item_view *i)
{
    char name[HV_NAME_MAX];
    envmake_guest_name(v->env_name, i->number, name);
    vi_write_map(w, 7U + i->placed);
    put_text(w, "name", name);
    put_uint(w, "number", i->number);
    put_bool(w, "head", i->head);
    put_text(w, "state", i->state);
    put_bool(w, "done", i->done);
    put_bool(w, "differs", i->differs);
    put_text(w, "why", i->why);
    if (i->placed)
        put_text(w, "host", vi_id_equal(&i->host, &d->me.id) ? d->me.cert.host : daemon_member_name(d, &i->host));
}

/* Guests of it that no host of this domain has, whom start, stop and remove don't reach; where: of one of them. */
static unsigned elsewhere(struct daemon *d, const struct envmake_job_view *v, const char **where)
{
    struct switch_place p, before;
    struct gossip_member m;
    unsigned pos = 0, n = 0, k;
    *where = "";
    while (v->kind != ENVMAKE_LOOK && v->kind != ENVMAKE_MAKE && switch_place_next(d->vswitch, &v->env, &pos, &p)) {
        if (p.learned || vi_id_is_zero(&p.guest) || vi_id_equal(&p.peer, &d->me.id) || gossip_member_find(d->gossip, &p.peer, &m))
            continue;
        k = 0; /* with another of its MACs? */
        while (switch_place_next(d->vswitch, &v->env, &k, &before) && k < pos && !vi_id_equal(&before.guest, &p.guest))
            ;
        if (k < pos)
            continue;
        n++;
        *where = daemon_member_name(d, &p.peer);
    }
    return n;
}

static void write_job(struct daemon *d, struct vi_writer *w, const struct envmake_job_view *v, bool guests)
{
    const char *where;
    unsigned away = elsewhere(d, v, &where);
    const struct env_closing *c = daemon_envmake_closing(d, &v->id);
    bool waits = v->over && c && !c->over, failed = v->err || (c && c->over && c->err);
    char id[VI_ID_TEXT];
    vi_write_map(w, 11U + guests);
    put_uint(w, "elsewhere", away);
    put_text(w, "where", where);
    put_text(w, "id", vi_id_format(&v->id, id));
    put_text(w, "environment", v->env_name);
    put_text(w, "kind", kind_word(v->kind));
    put_text(w, "phase", waits ? "closing" : v->over && failed ? "failed" : v->phase);
    put_bool(w, "over", v->over && !waits);
    put_bool(w, "failed", v->over && !waits && failed);
    put_text(w, "why", v->err || !c ? v->why : c->why);
    put_uint(w, "done", v->done);
    put_uint(w, "total", v->n);
    if (!guests)
        return;
    vi_write_str(w, "guests");
    vi_write_array(w, v->n);
    for (unsigned i = 0; i < v->n; i++)
        write_item(d, w, v, &v->item[i]);
}

void daemon_do_env_jobs(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    static struct envmake_job_view v;
    struct daemon *d = arg;
    unsigned pos = 0, n = 0;
    struct vi_writer *w = rpc_begin(call, 16384);
    (void)params;
    if (!w)
        return;
    while (envmake_job_next(d->envmake->core, &pos, &v))
        n++;
    vi_write_array(w, n);
    for (pos = 0; envmake_job_next(d->envmake->core, &pos, &v);)
        write_job(d, w, &v, false);
    rpc_end(call);
}

void daemon_do_env_job(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    static struct envmake_job_view v;
    struct daemon *d = arg;
    struct vi_writer *w;
    struct vi_id id;
    char text[64];
    if (!rpc_param_text(call, *params, "id", true, text, sizeof text))
        return;
    if (vi_id_parse(&id, text) || !envmake_job(d->envmake->core, &id, &v)) {
        rpc_error(call, VI_ENOTFOUND, "no job `%s` (any more); `violin env jobs` shows them", text);
        return;
    }
    w = rpc_begin(call, 65536);
    if (!w)
        return;
    write_job(d, w, &v, true);
    rpc_end(call);
}

void daemon_envmake_write_env(struct daemon *d, struct vi_writer *w, const struct env *e)
{
    struct envmake_guest_view v;
    unsigned pos = 0, n = 0;
    while (envmake_guest_next(d->envmake->core, &pos, &v))
        n += vi_id_equal(&v.env, &e->def.id);
    vi_write_str(w, "kept");
    vi_write_array(w, n);
    for (pos = 0; envmake_guest_next(d->envmake->core, &pos, &v);) {
        if (!vi_id_equal(&v.env, &e->def.id))
            continue;
        vi_write_map(w, 4);
        put_text(w, "name", v.description.name);
        put_bool(w, "run", v.run);
        put_text(w, "state", v.state);
        put_text(w, "why", v.why);
    }
}
