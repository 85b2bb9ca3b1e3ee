/* The environment moves' messages and records: [version, kind, move, n, …] and [version, what, boot, …]. Both
 * hostile: bounded before they are believed. A plan names its hosts once, in a table. */
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"
#include "policy/envmove_internal.h"

#define VERSION 1
#define KB_MAX  ((uint64_t)1 << 40)
#define PCT_MAX 100000000 /* hundredths of a percent of one CPU */
#define NO_HOST 255

void em_grant_key(struct vi_id *key, const struct vi_id *move)
{
    vi_id_hash(key, "violin environment move: grant", move->b, VI_ID_SIZE, NULL, 0);
}

void em_lease_key(struct vi_id *key, const struct vi_id *move, const struct vi_id *guest)
{
    vi_id_hash(key, "violin environment move: lease", move->b, VI_ID_SIZE, guest->b, VI_ID_SIZE);
}

static void write_pct(struct vi_writer *w, double pct)
{
    vi_write_int(w, (int64_t)(pct * 100));
}

static double read_pct(struct vi_reader *r, bool negative)
{
    return (double)vi_read_int(r, negative ? -(int64_t)PCT_MAX : 0, PCT_MAX) / 100;
}

/* ---- plan ---- */

static unsigned host_index(struct vi_id *table, unsigned *n, const struct vi_id *id)
{
    if (vi_id_is_zero(id))
        return NO_HOST;
    for (unsigned i = 0; i < *n; i++)
        if (vi_id_equal(&table[i], id))
            return i;
    table[*n] = *id;
    return (*n)++;
}

static void write_plan(struct vi_writer *w, const struct em_plan *p)
{
    struct vi_id table[2 * ENVMOVE_GUESTS];
    unsigned n = 0;
    for (unsigned i = 0; i < p->n; i++) {
        (void)host_index(table, &n, &p->g[i].from);
        (void)host_index(table, &n, &p->g[i].to);
    }
    vi_write_id(w, &p->env);
    vi_write_id(w, &p->domain);
    vi_write_id(w, &p->lead);
    vi_write_uint(w, p->version);
    vi_write_bin(w, table, n * sizeof table[0]);
    vi_write_array(w, p->n * 6);
    for (unsigned i = 0; i < p->n; i++) {
        const struct em_part *g = &p->g[i];
        vi_write_id(w, &g->uuid);
        vi_write_uint(w, host_index(table, &n, &g->from));
        vi_write_uint(w, host_index(table, &n, &g->to));
        vi_write_uint(w, g->kb);
        write_pct(w, g->pct);
        vi_write_uint(w, g->state);
    }
}

static void read_host(struct vi_reader *r, const uint8_t *table, size_t bytes, struct vi_id *id)
{
    uint64_t i = vi_read_uint(r, NO_HOST);
    memset(id, 0, sizeof *id);
    if (r->err || i == NO_HOST)
        return;
    if ((i + 1) * VI_ID_SIZE > bytes)
        r->err = VI_EPROTO;
    else
        memcpy(id->b, table + i * VI_ID_SIZE, VI_ID_SIZE);
}

static void read_plan(struct vi_reader *r, struct em_plan *p)
{
    const uint8_t *table;
    size_t bytes;
    uint32_t n;
    vi_read_id(r, &p->env);
    vi_read_id(r, &p->domain);
    vi_read_id(r, &p->lead);
    p->version = (unsigned)vi_read_uint(r, 60000);
    table = vi_read_bin(r, 2 * ENVMOVE_GUESTS * VI_ID_SIZE, &bytes);
    n = vi_read_array(r, ENVMOVE_GUESTS * 6);
    if (!r->err && (bytes % VI_ID_SIZE || n % 6 || n == 0))
        r->err = VI_EPROTO;
    for (unsigned i = 0; !r->err && i < n / 6; i++) {
        struct em_part *g = &p->g[i];
        vi_read_id(r, &g->uuid);
        read_host(r, table, bytes, &g->from);
        read_host(r, table, bytes, &g->to);
        g->kb = vi_read_uint(r, KB_MAX);
        g->pct = read_pct(r, false);
        g->state = (enum envmove_guest_state)vi_read_uint(r, ENVMOVE_LEFT);
        if (vi_id_is_zero(&g->from))
            r->err = VI_EPROTO;
    }
    p->n = r->err ? 0 : n / 6;
}

/* ---- seen ---- */

/* What a later version tells of the guests beside it, their ages and who stays, is appended as a list of its own, for an asker
 * whose LOOK says that it understands it: in its move, which earlier versions leave zero, echo, and don't look at. */
#define AGE_STEP (10 * VI_SEC)
#define AGE_MOST 16383 /* 45 hours */

static void write_seen_more(struct vi_writer *w, const struct envmove_seen *s)
{
    vi_write_array(w, s->n);
    for (unsigned i = 0; i < s->n; i++) {
        uint64_t age = s->guest[i].age > 0 ? (uint64_t)(s->guest[i].age / AGE_STEP) : 0;
        vi_write_uint(w, (unsigned)s->guest[i].stays | (age < AGE_MOST ? age : AGE_MOST) << 1);
    }
}

static void read_seen_more(struct vi_reader *r, struct envmove_seen *s)
{
    uint32_t n = vi_read_array(r, ENVMOVE_SEEN);
    if (!r->err && n != s->n)
        r->err = VI_EPROTO;
    for (unsigned i = 0; !r->err && i < n; i++) {
        uint64_t more = vi_read_uint(r, (uint64_t)AGE_MOST << 1 | 1);
        s->guest[i].stays = more & 1;
        s->guest[i].age = (vi_time)(more >> 1) * AGE_STEP;
    }
}

static void write_seen(struct vi_writer *w, const struct envmove_seen *s)
{
    vi_write_uint(w, s->total_kb);
    write_pct(w, s->capacity_pct);
    vi_write_int(w, s->free_kb);
    write_pct(w, s->free_pct);
    vi_write_uint(w, s->of_home.guests);
    vi_write_uint(w, s->of_home.kb);
    write_pct(w, s->of_home.pct);
    vi_write_uint(w, s->more);
    vi_write_array(w, s->n * 6);
    for (unsigned i = 0; i < s->n; i++) {
        const struct envmove_guest *g = &s->guest[i];
        vi_write_id(w, &g->uuid);
        vi_write_id(w, &g->env);
        vi_write_uint(w, g->kb);
        vi_write_uint(w, g->size_kb);
        write_pct(w, g->pct);
        vi_write_uint(w, (unsigned)g->movable | (unsigned)g->running << 1);
    }
}

static void read_seen(struct vi_reader *r, struct envmove_seen *s)
{
    uint32_t n;
    s->total_kb = vi_read_uint(r, KB_MAX);
    s->capacity_pct = read_pct(r, false);
    s->free_kb = vi_read_int(r, -(int64_t)KB_MAX, (int64_t)KB_MAX);
    s->free_pct = read_pct(r, true);
    s->of_home.guests = (uint32_t)vi_read_uint(r, 100000);
    s->of_home.kb = vi_read_uint(r, KB_MAX);
    s->of_home.pct = read_pct(r, false);
    s->more = (unsigned)vi_read_uint(r, 100000);
    n = vi_read_array(r, ENVMOVE_SEEN * 6);
    if (!r->err && n % 6)
        r->err = VI_EPROTO;
    for (unsigned i = 0; !r->err && i < n / 6; i++) {
        struct envmove_guest *g = &s->guest[i];
        uint64_t flags;
        vi_read_id(r, &g->uuid);
        vi_read_id(r, &g->env);
        g->kb = vi_read_uint(r, KB_MAX);
        g->size_kb = vi_read_uint(r, KB_MAX);
        g->pct = read_pct(r, false);
        flags = vi_read_uint(r, (uint64_t)AGE_MOST << 2 | 3); /* some told of its age so, whoever asked */
        g->age = (vi_time)(flags >> 2) * AGE_STEP;
        g->movable = flags & 1;
        g->running = flags & 2;
    }
    s->n = r->err ? 0 : n / 6;
}

/* ---- messages ---- */

/* Fields beside version, kind, move and n, in this order; a plan counts six, a host as seen nine. */
enum { ENV = 1, HOME = 2, GUEST = 4, PEER = 8, NEEDS = 16, LEFT = 32, ERR = 64, WHY = 128, PLAN = 256, SEEN = 512,
       ROUND = 1024, FLAG = 2048 };

static const unsigned fields[] = {
    [EM_LOOK] = ENV | HOME,
    [EM_SEEN] = SEEN,
    [EM_SHORT] = ENV | NEEDS,
    [EM_GRANT] = PLAN | ROUND,
    [EM_GRANTED] = ROUND,
    [EM_BUSY] = PEER,
    [EM_YIELD] = PEER,
    [EM_TAKE] = 0,
    [EM_HELD] = PLAN | FLAG,
    [EM_NONE] = FLAG,
    [EM_RELEASE] = 0,
    [EM_GO] = PLAN | ROUND,
    [EM_ASK] = PLAN | ROUND,
    [EM_WAIT] = WHY | ROUND,
    [EM_ROOM] = PLAN | LEFT | ROUND,
    [EM_REFUSE] = WHY | ROUND,
    [EM_BACK] = 0,
    [EM_LEASE] = ENV | HOME | GUEST | PEER | NEEDS,
    [EM_LEASED] = GUEST,
    [EM_NOLEASE] = GUEST | WHY,
    [EM_RENEW_LEASE] = GUEST,
    [EM_DROP] = GUEST,
    [EM_SHIFT] = GUEST | PEER,
    [EM_SHIFTED] = GUEST | ERR | WHY,
};

static unsigned count(unsigned f)
{
    unsigned n = 4;
    for (unsigned bit = ENV; bit <= FLAG; bit <<= 1)
        if (f & bit)
            n += bit == PLAN ? 6 : bit == SEEN ? 9 : bit == NEEDS ? 2 : 1;
    return n;
}

int em_encode(const struct em_msg *m, uint8_t *out, size_t cap)
{
    unsigned f = fields[m->kind];
    bool more = m->kind == EM_SEEN && m->more;
    struct vi_id move = m->move;
    struct vi_writer w;
    vi_writer_init(&w, out, cap < ENVMOVE_MESSAGE_MAX ? cap : ENVMOVE_MESSAGE_MAX);
    if (m->kind == EM_LOOK)
        move.b[0] = m->more ? EM_SEEN_MORE : 0;
    vi_write_array(&w, count(f) + more);
    vi_write_uint(&w, VERSION);
    vi_write_uint(&w, m->kind);
    vi_write_id(&w, &move);
    vi_write_uint(&w, m->n);
    if (f & ENV)
        vi_write_id(&w, &m->env);
    if (f & HOME)
        vi_write_id(&w, &m->home);
    if (f & GUEST)
        vi_write_id(&w, &m->guest);
    if (f & PEER)
        vi_write_id(&w, &m->peer);
    if (f & NEEDS) {
        vi_write_uint(&w, m->kb);
        write_pct(&w, m->pct);
    }
    if (f & LEFT)
        vi_write_uint(&w, (uint64_t)(m->left / VI_MSEC));
    if (f & ERR)
        vi_write_int(&w, m->err);
    if (f & WHY)
        vi_write_str(&w, m->why);
    if (f & PLAN)
        write_plan(&w, &m->plan);
    if (f & SEEN)
        write_seen(&w, &m->seen);
    if (f & ROUND)
        vi_write_uint(&w, m->round);
    if (f & FLAG)
        vi_write_bool(&w, m->flag);
    if (more)
        write_seen_more(&w, &m->seen);
    return w.err ? w.err : (int)w.len;
}

static void read_fields(struct vi_reader *r, struct em_msg *m, unsigned f)
{
    if (f & ENV)
        vi_read_id(r, &m->env);
    if (f & HOME)
        vi_read_id(r, &m->home);
    if (f & GUEST)
        vi_read_id(r, &m->guest);
    if (f & PEER)
        vi_read_id(r, &m->peer);
    if (f & NEEDS) {
        m->kb = vi_read_uint(r, KB_MAX);
        m->pct = read_pct(r, false);
    }
    if (f & LEFT)
        m->left = (vi_time)vi_read_uint(r, 3600000) * VI_MSEC;
    if (f & ERR)
        m->err = (int)vi_read_int(r, -1000, 0);
    if (f & WHY)
        vi_read_cstr(r, m->why, sizeof m->why);
    if (f & PLAN)
        read_plan(r, &m->plan);
    if (f & SEEN)
        read_seen(r, &m->seen);
    if (f & ROUND)
        m->round = (unsigned)vi_read_uint(r, UINT32_MAX);
    if (f & FLAG)
        m->flag = vi_read_bool(r);
}

int em_decode(struct em_msg *m, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    uint32_t n;
    memset(m, 0, sizeof *m);
    if (len > ENVMOVE_MESSAGE_MAX)
        return VI_EPROTO;
    vi_reader_init(&r, data, len);
    n = vi_read_array(&r, 32);
    if (vi_read_uint(&r, 255) != VERSION)
        return r.err ? VI_EPROTO : VI_EVERSION;
    m->kind = (enum em_kind)vi_read_uint(&r, EM_SHIFTED);
    if (r.err || m->kind < EM_LOOK)
        return VI_EPROTO;
    m->more = m->kind == EM_SEEN && n == count(fields[EM_SEEN]) + 1;
    if (n != count(fields[m->kind]) + m->more)
        return VI_EPROTO;
    vi_read_id(&r, &m->move);
    m->n = vi_read_uint(&r, UINT64_MAX);
    read_fields(&r, m, fields[m->kind]);
    if (m->kind == EM_LOOK)
        m->more = m->move.b[0] >= EM_SEEN_MORE;
    else if (m->more)
        read_seen_more(&r, &m->seen);
    return vi_read_end(&r);
}

/* ---- records ---- */

enum { GRANT_RECORD = 1, LEASE_RECORD = 2 };

int em_grant_encode(const struct em_grant *g, const struct vi_id *boot, uint8_t *out, size_t cap)
{
    struct vi_writer w;
    vi_writer_init(&w, out, cap < ENVMOVE_RECORD_MAX ? cap : ENVMOVE_RECORD_MAX);
    vi_write_array(&w, 12);
    vi_write_uint(&w, VERSION);
    vi_write_uint(&w, GRANT_RECORD);
    vi_write_id(&w, boot);
    vi_write_id(&w, &g->move);
    vi_write_uint(&w, g->over ? 2 : g->phase == EG_GO);
    vi_write_uint(&w, g->ballot);
    write_plan(&w, &g->plan);
    return w.err ? w.err : (int)w.len;
}

int em_lease_encode(const struct em_lease *e, const struct vi_id *boot, uint8_t *out, size_t cap)
{
    struct vi_writer w;
    vi_writer_init(&w, out, cap < ENVMOVE_RECORD_MAX ? cap : ENVMOVE_RECORD_MAX);
    vi_write_array(&w, 11);
    vi_write_uint(&w, VERSION);
    vi_write_uint(&w, LEASE_RECORD);
    vi_write_id(&w, boot);
    vi_write_id(&w, &e->move);
    vi_write_id(&w, &e->env);
    vi_write_id(&w, &e->home);
    vi_write_id(&w, &e->guest);
    vi_write_id(&w, &e->from);
    vi_write_uint(&w, e->kb);
    write_pct(&w, e->pct);
    vi_write_int(&w, e->since);
    return w.err ? w.err : (int)w.len;
}

int em_record_decode(bool *is_lease, struct em_grant *g, struct em_lease *e, struct vi_id *boot, const uint8_t *data,
                     size_t len)
{
    struct vi_reader r;
    uint64_t what, phase;
    uint32_t n;
    memset(g, 0, sizeof *g);
    memset(e, 0, sizeof *e);
    if (len > ENVMOVE_RECORD_MAX)
        return VI_EPROTO;
    vi_reader_init(&r, data, len);
    n = vi_read_array(&r, 12);
    if (vi_read_uint(&r, 255) != VERSION)
        return r.err ? VI_EPROTO : VI_EVERSION;
    what = vi_read_uint(&r, LEASE_RECORD);
    *is_lease = what == LEASE_RECORD;
    if (n != (*is_lease ? 11 : 12))
        return VI_EPROTO;
    vi_read_id(&r, boot);
    if (what == GRANT_RECORD) {
        vi_read_id(&r, &g->move);
        phase = vi_read_uint(&r, 2);
        g->phase = phase ? EG_GO : EG_GRANTED;
        g->over = phase == 2;
        g->ballot = vi_read_uint(&r, UINT64_MAX);
        read_plan(&r, &g->plan);
    } else if (what == LEASE_RECORD) {
        vi_read_id(&r, &e->move);
        vi_read_id(&r, &e->env);
        vi_read_id(&r, &e->home);
        vi_read_id(&r, &e->guest);
        vi_read_id(&r, &e->from);
        e->kb = vi_read_uint(&r, KB_MAX);
        e->pct = read_pct(&r, false);
        e->since = vi_read_int(&r, 0, INT64_MAX);
        e->phase = EE_LEASED;
    } else
        return VI_EPROTO;
    return vi_read_end(&r);
}

int envmove_message_check(const uint8_t *data, size_t len)
{
    static struct em_msg m;
    return em_decode(&m, data, len);
}

int envmove_record_check(const uint8_t *data, size_t len)
{
    static struct em_grant g;
    struct em_lease e;
    struct vi_id boot;
    bool is_lease;
    return em_record_decode(&is_lease, &g, &e, &boot, data, len);
}
