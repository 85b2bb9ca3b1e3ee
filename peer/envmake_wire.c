/* Questions, answers and records of the envmake core: msgpack, bounded. See envmake_internal.h.
 *
 *   question [1, ask, job, guest, env, number, head, committed, want, description, disks?]
 *   answer   [2, state, more, why, [[uuid, number, head, state, print]…]]
 *   guest    [3, kept, uuid, env, job, maker, number, head, want, boot, description, disks?]
 *   job      [4, committed, fresh, id, env, name, spec, [[number, head, host]…]]
 *   spec     [vcpus, kb, max_kb, weight, kernel, ramdisk|nil, [disk…], cmdline, net|nil, prefix, poweroff, reboot, crash,
 *             [sectors…]?]
 *   disks    [[place, sectors, image|nil]…]
 *
 * What ends with ? is there only where guests have writable disks: a version that doesn't know them refuses those whole, and
 * understands all others. */
#include "peer/envmake_internal.h"

#include <string.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"

enum { W_QUESTION = 1, W_ANSWER, W_GUEST, W_JOB };

static int ended(const struct vi_writer *w)
{
    return w->err ? w->err : (int)w->len;
}

static bool begins(struct vi_reader *r, const uint8_t *data, size_t len, uint32_t n, unsigned kind)
{
    vi_reader_init(r, data, len);
    return vi_read_array(r, n) == n && vi_read_uint(r, W_JOB) == kind && !r->err;
}

/* n fields, or one more: *more. */
static bool begins_or_more(struct vi_reader *r, const uint8_t *data, size_t len, uint32_t n, unsigned kind, bool *more)
{
    uint32_t fields;
    vi_reader_init(r, data, len);
    fields = vi_read_array(r, n + 1);
    *more = fields == n + 1;
    return fields >= n && vi_read_uint(r, W_JOB) == kind && !r->err;
}

static bool read_or_nil(struct vi_reader *r, void *out, size_t len)
{
    if (vi_read_peek(r) == VI_WIRE_NIL) {
        vi_read_nil(r);
        return false;
    }
    vi_read_bytes(r, out, len);
    return true;
}

static void write_disks(struct vi_writer *w, const struct envmake_disks *k)
{
    static const uint8_t none[HV_HASH_SIZE];
    uint32_t n = 0;
    for (unsigned i = 0; i < ENVMAKE_DISKS; i++)
        n += k->sectors[i] > 0;
    vi_write_array(w, n);
    for (unsigned i = 0; i < ENVMAKE_DISKS; i++) {
        if (!k->sectors[i])
            continue;
        vi_write_array(w, 3);
        vi_write_uint(w, i);
        vi_write_uint(w, k->sectors[i]);
        if (memcmp(k->image[i], none, HV_HASH_SIZE))
            vi_write_bin(w, k->image[i], HV_HASH_SIZE);
        else
            vi_write_nil(w);
    }
}

static void read_disks(struct vi_reader *r, struct envmake_disks *k)
{
    uint32_t n = vi_read_array(r, ENVMAKE_DISKS);
    for (uint32_t i = 0; i < n && !r->err; i++) {
        uint64_t place, sectors;
        if (vi_read_array(r, 3) != 3)
            r->err = VI_EPROTO;
        place = vi_read_uint(r, ENVMAKE_DISKS - 1);
        sectors = vi_read_uint(r, DISK_SECTORS_MAX);
        if (!r->err && (sectors == 0 || k->sectors[place]))
            r->err = VI_EPROTO;
        if (r->err)
            return;
        k->sectors[place] = sectors;
        (void)read_or_nil(r, k->image[place], HV_HASH_SIZE);
    }
}

int mk_question_encode(const struct mk_question *q, uint8_t *out, size_t cap)
{
    struct vi_writer w;
    if (q->len > ENVMAKE_DESCRIPTION)
        return VI_EFULL;
    vi_writer_init(&w, out, cap);
    vi_write_array(&w, 10U + mk_has_disks(&q->disks));
    vi_write_uint(&w, W_QUESTION);
    vi_write_uint(&w, q->ask);
    vi_write_id(&w, &q->job);
    vi_write_id(&w, &q->guest);
    vi_write_id(&w, &q->env);
    vi_write_uint(&w, q->number);
    vi_write_bool(&w, q->head);
    vi_write_bool(&w, q->committed);
    vi_write_uint(&w, q->want);
    vi_write_bin(&w, q->description ? q->description : (const uint8_t *)"", q->len);
    if (mk_has_disks(&q->disks))
        write_disks(&w, &q->disks);
    return ended(&w);
}

int mk_question_decode(struct mk_question *q, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    bool disks;
    memset(q, 0, sizeof *q);
    if (len > ENVMAKE_QUESTION_MAX || !begins_or_more(&r, data, len, 10, W_QUESTION, &disks))
        return VI_EPROTO;
    q->ask = (enum mk_ask)vi_read_uint(&r, MK_WHAT);
    vi_read_id(&r, &q->job);
    vi_read_id(&r, &q->guest);
    vi_read_id(&r, &q->env);
    q->number = (unsigned)vi_read_uint(&r, ENVMAKE_GUESTS + 1);
    q->head = vi_read_bool(&r);
    q->committed = vi_read_bool(&r);
    q->want = (enum mk_want)vi_read_uint(&r, MK_WANT_REMOVE);
    q->description = vi_read_bin(&r, ENVMAKE_DESCRIPTION, &q->len);
    if (disks)
        read_disks(&r, &q->disks);
    if (vi_read_end(&r) || q->ask == 0 || (q->ask == MK_SET && q->want == 0))
        return VI_EPROTO;
    if (q->ask == MK_LEASE || q->ask == MK_MAKE) { /* what it says beside must be what it describes */
        struct hv_description d;
        if (hv_description_decode(&d, q->description, q->len) || !vi_id_equal(&d.uuid, &q->guest) || !d.kept ||
            d.n_vifs == 0 || !vi_id_equal(&d.vifs[0].environment, &q->env) || q->number > ENVMAKE_GUESTS ||
            !mk_disks_fit(&q->disks, &d))
            return VI_EINVAL;
    }
    return 0;
}

int mk_answer_encode(const struct mk_answer *a, uint8_t *out, size_t cap)
{
    struct vi_writer w;
    vi_writer_init(&w, out, cap);
    vi_write_array(&w, 5);
    vi_write_uint(&w, W_ANSWER);
    vi_write_uint(&w, a->state);
    vi_write_bool(&w, a->more);
    vi_write_str(&w, a->why);
    vi_write_array(&w, a->n);
    for (unsigned i = 0; i < a->n; i++) {
        vi_write_array(&w, 5);
        vi_write_id(&w, &a->listed[i].uuid);
        vi_write_uint(&w, a->listed[i].number);
        vi_write_bool(&w, a->listed[i].head);
        vi_write_uint(&w, a->listed[i].state);
        vi_write_uint(&w, a->listed[i].print);
    }
    return ended(&w);
}

int mk_answer_decode(struct mk_answer *a, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    memset(a, 0, sizeof *a);
    if (len > ENVMAKE_ANSWER_MAX || !begins(&r, data, len, 5, W_ANSWER))
        return VI_EPROTO;
    a->state = (enum mk_state)vi_read_uint(&r, ES_COPYING);
    a->more = vi_read_bool(&r);
    vi_read_cstr(&r, a->why, sizeof a->why);
    a->n = vi_read_array(&r, ENVMAKE_LISTED);
    for (unsigned i = 0; i < a->n && !r.err; i++) {
        if (vi_read_array(&r, 5) != 5)
            r.err = VI_EPROTO;
        vi_read_id(&r, &a->listed[i].uuid);
        a->listed[i].number = (unsigned)vi_read_uint(&r, ENVMAKE_GUESTS);
        a->listed[i].head = vi_read_bool(&r);
        a->listed[i].state = (enum mk_state)vi_read_uint(&r, ES_COPYING);
        a->listed[i].print = vi_read_uint(&r, UINT64_MAX);
    }
    return vi_read_end(&r) ? VI_EPROTO : 0;
}

int mk_guest_encode(const struct mk_guest *g, uint8_t *out, size_t cap)
{
    struct vi_writer w;
    vi_writer_init(&w, out, cap);
    vi_write_array(&w, 11U + mk_has_disks(&g->disks));
    vi_write_uint(&w, W_GUEST);
    vi_write_bool(&w, g->phase == EP_KEPT);
    vi_write_id(&w, &g->uuid);
    vi_write_id(&w, &g->env);
    vi_write_id(&w, &g->job);
    vi_write_id(&w, &g->maker);
    vi_write_uint(&w, g->number);
    vi_write_bool(&w, g->head);
    vi_write_uint(&w, g->want == MK_WANT_KILL ? MK_WANT_STOP : g->want);
    vi_write_id(&w, &g->boot);
    vi_write_bin(&w, g->description, g->len);
    if (mk_has_disks(&g->disks))
        write_disks(&w, &g->disks);
    return ended(&w);
}

int mk_guest_decode(struct mk_guest *g, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    struct hv_description d;
    const uint8_t *p;
    bool kept, disks;
    memset(g, 0, sizeof *g);
    if (len > ENVMAKE_RECORD_MAX || !begins_or_more(&r, data, len, 11, W_GUEST, &disks))
        return VI_EPROTO;
    kept = vi_read_bool(&r);
    g->phase = kept ? EP_KEPT : EP_MAKING;
    vi_read_id(&r, &g->uuid);
    vi_read_id(&r, &g->env);
    vi_read_id(&r, &g->job);
    vi_read_id(&r, &g->maker);
    g->number = (unsigned)vi_read_uint(&r, UINT8_MAX);
    g->head = vi_read_bool(&r);
    g->want = (enum mk_want)vi_read_uint(&r, MK_WANT_REMOVE);
    vi_read_id(&r, &g->boot);
    p = vi_read_bin(&r, sizeof g->description, &g->len);
    if (disks)
        read_disks(&r, &g->disks);
    if (vi_read_end(&r) || (kept && g->want == 0) || hv_description_decode(&d, p, g->len) ||
        !vi_id_equal(&d.uuid, &g->uuid)) {
        memset(g, 0, sizeof *g);
        return VI_EPROTO;
    }
    memcpy(g->description, p, g->len);
    g->kb = d.target_kb;
    g->pct = MK_PCT_VCPU * d.vcpus;
    return 0;
}

static void write_spec(struct vi_writer *w, const struct envmake_spec *s)
{
    bool sized = false;
    for (unsigned i = 0; i < s->n_disks; i++)
        sized |= s->sectors[i] > 0;
    vi_write_array(w, 13U + sized);
    vi_write_uint(w, s->vcpus);
    vi_write_uint(w, s->kb);
    vi_write_uint(w, s->max_kb);
    vi_write_uint(w, s->weight);
    vi_write_bin(w, s->kernel, HV_HASH_SIZE);
    if (s->has_ramdisk)
        vi_write_bin(w, s->ramdisk, HV_HASH_SIZE);
    else
        vi_write_nil(w);
    vi_write_array(w, s->n_disks);
    for (unsigned i = 0; i < s->n_disks; i++)
        vi_write_bin(w, s->disk[i], HV_HASH_SIZE);
    vi_write_str(w, s->cmdline);
    if (s->net)
        vi_write_bin(w, s->net4, sizeof s->net4);
    else
        vi_write_nil(w);
    vi_write_uint(w, s->prefix);
    vi_write_uint(w, s->on_poweroff);
    vi_write_uint(w, s->on_reboot);
    vi_write_uint(w, s->on_crash);
    if (!sized)
        return;
    vi_write_array(w, s->n_disks);
    for (unsigned i = 0; i < s->n_disks; i++)
        vi_write_uint(w, s->sectors[i]);
}

static void read_spec(struct vi_reader *r, struct envmake_spec *s)
{
    uint32_t fields = vi_read_array(r, 14);
    if (fields < 13)
        r->err = VI_EPROTO;
    s->vcpus = (uint32_t)vi_read_uint(r, UINT32_MAX);
    s->kb = vi_read_uint(r, UINT64_MAX);
    s->max_kb = vi_read_uint(r, UINT64_MAX);
    s->weight = (uint32_t)vi_read_uint(r, UINT32_MAX);
    vi_read_bytes(r, s->kernel, HV_HASH_SIZE);
    s->has_ramdisk = read_or_nil(r, s->ramdisk, HV_HASH_SIZE);
    s->n_disks = vi_read_array(r, ENVMAKE_DISKS);
    for (unsigned i = 0; i < s->n_disks && !r->err; i++)
        vi_read_bytes(r, s->disk[i], HV_HASH_SIZE);
    vi_read_cstr(r, s->cmdline, sizeof s->cmdline);
    s->net = read_or_nil(r, s->net4, sizeof s->net4);
    s->prefix = (unsigned)vi_read_uint(r, 32);
    s->on_poweroff = (enum hv_action)vi_read_uint(r, HV_ACT_PRESERVE);
    s->on_reboot = (enum hv_action)vi_read_uint(r, HV_ACT_PRESERVE);
    s->on_crash = (enum hv_action)vi_read_uint(r, HV_ACT_PRESERVE);
    if (fields == 14 && vi_read_array(r, ENVMAKE_DISKS) != s->n_disks)
        r->err = VI_EPROTO;
    for (unsigned i = 0; fields == 14 && i < s->n_disks && !r->err; i++)
        s->sectors[i] = vi_read_uint(r, DISK_SECTORS_MAX);
}

int mk_job_encode(const struct mk_job *j, uint8_t *out, size_t cap)
{
    struct vi_writer w;
    vi_writer_init(&w, out, cap);
    vi_write_array(&w, 8);
    vi_write_uint(&w, W_JOB);
    vi_write_bool(&w, j->phase == EJ_RUNNING);
    vi_write_bool(&w, j->fresh);
    vi_write_id(&w, &j->id);
    vi_write_id(&w, &j->env);
    vi_write_str(&w, j->name);
    write_spec(&w, &j->spec);
    vi_write_array(&w, j->n);
    for (unsigned i = 0; i < j->n; i++) {
        vi_write_array(&w, 3);
        vi_write_uint(&w, j->item[i].number);
        vi_write_bool(&w, j->item[i].head);
        vi_write_id(&w, &j->item[i].host);
    }
    return ended(&w);
}

/* What isn't written follows: the guests' UUIDs from job and number. */
static int fill_items(struct mk_job *j)
{
    struct hv_description d;
    for (unsigned i = 0; i < j->n; i++) {
        int err = envmake_describe(&j->spec, &j->id, &j->env, j->name, j->item[i].number, &d);
        if (err)
            return err;
        j->item[i].uuid = d.uuid;
        j->item[i].placed = !vi_id_is_zero(&j->item[i].host);
        j->item[i].done = !j->item[i].placed; /* nobody was asked to make it */
    }
    return 0;
}

int mk_job_decode(struct mk_job *j, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    char why[ENVMAKE_WHY];
    memset(j, 0, sizeof *j);
    if (len > ENVMAKE_RECORD_MAX || !begins(&r, data, len, 8, W_JOB))
        return VI_EPROTO;
    j->kind = ENVMAKE_MAKE;
    j->phase = vi_read_bool(&r) ? EJ_RUNNING : EJ_DROPPING;
    j->fresh = vi_read_bool(&r);
    vi_read_id(&r, &j->id);
    vi_read_id(&r, &j->env);
    vi_read_cstr(&r, j->name, sizeof j->name);
    read_spec(&r, &j->spec);
    j->n = vi_read_array(&r, ENVMAKE_GUESTS + 1);
    for (unsigned i = 0; i < j->n && !r.err; i++) {
        if (vi_read_array(&r, 3) != 3)
            r.err = VI_EPROTO;
        j->item[i].number = (unsigned)vi_read_uint(&r, ENVMAKE_GUESTS);
        j->item[i].head = vi_read_bool(&r);
        vi_read_id(&r, &j->item[i].host);
    }
    if (vi_read_end(&r) || envmake_spec_check(&j->spec, why, sizeof why) || fill_items(j)) {
        memset(j, 0, sizeof *j);
        return VI_EPROTO;
    }
    return 0;
}

int envmake_wire_check(const uint8_t *data, size_t len)
{
    static struct mk_job j;
    struct mk_question q;
    struct mk_answer a;
    struct mk_guest g;
    if (!mk_question_decode(&q, data, len) || !mk_answer_decode(&a, data, len) || !mk_guest_decode(&g, data, len))
        return 0;
    return mk_job_decode(&j, data, len);
}
