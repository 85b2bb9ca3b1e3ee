/* Out of memory at every allocation in turn: the pure cores and the store do their work while the nth
 * allocation fails, and once more while the nth and the four after it do. Nothing may crash or leak (run
 * under ASan for that); a constructor may answer NULL, everything else has to be made good later: when
 * memory is there again the work gets done.
 * Policy and handover allocate when they are made, and the parsers of certificates, tokens and environments
 * never do: "makers" has the former.
 *
 * Linked with --wrap for malloc, calloc and realloc (Makefile); SQLite's allocations fail through its own
 * interface. CASE=name runs one of them, N=n one allocation of it. */
#include <sodium.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gossip/gossip.h"
#include "overlay/mesh.h"
#include "overlay/stream.h"
#include "overlay/switch.h"
#include "peer/base/err.h"
#include "peer/base/store.h"
#include "peer/events.h"
#include "policy/handover.h"
#include "policy/policy.h"

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

static unsigned long counted, fail_at, fail_for;
static bool armed;

static bool fails(void)
{
    if (!armed)
        return false;
    counted++;
    return fail_at && counted >= fail_at && counted < fail_at + fail_for;
}

void *__wrap_malloc(size_t n)
{
    return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    return fails() ? NULL : __real_realloc(p, n);
}

/* Did an allocation fail already in this run? */
static bool failed_one(void)
{
    return fail_at && counted >= fail_at;
}

#define WALL (INT64_C(1700000000) * VI_SEC)

/* ---- two gossip peers get to know each other, their summaries and a record ----------------------- */

static struct gossip_config gc[2];
static struct gossip *gg[2];
static vi_time now;

static void g_sign(void *arg, const uint8_t *data, size_t len, uint8_t sig[GOSSIP_SIG])
{
    (void)arg;
    crypto_generichash(sig, GOSSIP_SIG, data, len, NULL, 0);
}

static bool g_verify(void *arg, const uint8_t key[GOSSIP_KEY], const uint8_t *data, size_t len,
                     const uint8_t sig[GOSSIP_SIG])
{
    uint8_t want[GOSSIP_SIG];
    (void)key;
    g_sign(arg, data, len, want);
    return memcmp(want, sig, sizeof want) == 0;
}

static bool g_admit(void *arg, const struct vi_id *id, const uint8_t key[GOSSIP_KEY], const uint8_t *cert, size_t len)
{
    (void)arg, (void)id, (void)key;
    return len == 1 && cert[0] == 'c';
}

static bool g_accept(void *arg, uint8_t kind, const struct vi_id *key, const struct vi_id *origin, uint64_t version,
                     const uint8_t *bytes, size_t len)
{
    (void)arg, (void)kind, (void)key, (void)origin, (void)version, (void)bytes;
    return len > 0;
}

static void g_configure(unsigned i)
{
    struct gossip_config *c = &gc[i];
    gossip_config_domain(c);
    memset(c->key, (int)i + 1, sizeof c->key);
    vi_id_hash(&c->id, "violin peer", c->key, sizeof c->key, NULL, 0);
    c->addr.len = 1;
    c->addr.b[0] = (uint8_t)i;
    c->name[0] = (char)('a' + i);
    c->cert[0] = 'c';
    c->cert_len = 1;
    c->sign = g_sign;
    c->verify = g_verify;
    c->admit = g_admit;
    c->accept = g_accept;
}

static void g_drain(void)
{
    static uint8_t data[GOSSIP_DATAGRAM_MAX];
    for (unsigned i = 0, quiet = 0; quiet < 2; i ^= 1) {
        const struct gossip_effect *fx = gossip_effect(gg[i]);
        struct gossip_event ev = {.kind = GOSSIP_EV_DATAGRAM, .datagram = {.from = gc[i].id, .data = data}};
        quiet = fx ? 0 : quiet + 1;
        if (!fx || fx->kind != GOSSIP_FX_SEND || !vi_id_equal(&fx->id, &gc[i ^ 1].id))
            continue;
        memcpy(data, fx->data, fx->len);
        ev.datagram.len = fx->len;
        gossip_step(gg[i ^ 1], now, &ev);
    }
}

/* The owner's own words, said again until they are taken. */
static void g_tell(unsigned i)
{
    struct gossip_event seed = {.kind = GOSSIP_EV_SEED, .seed = {.id = gc[i ^ 1].id, .addr = gc[i ^ 1].addr}};
    struct gossip_event sum = {.kind = GOSSIP_EV_SET_SUMMARY, .summary = {.bytes = (const uint8_t *)"load", .len = 4}};
    struct gossip_event rec = {.kind = GOSSIP_EV_SET_RECORD,
                               .record = {.kind = 3, .key = gc[i].id, .origin = gc[i].id, .version = 1,
                                          .bytes = (const uint8_t *)"record", .len = 6}};
    struct gossip_event *all[] = {&seed, &sum, &rec};
    for (unsigned k = 0; k < 3; k++)
        for (unsigned tries = 0; gossip_step(gg[i], now, all[k]) == VI_ENOMEM && tries < 20; tries++)
            ;
}

static bool g_done(void)
{
    for (unsigned i = 0; i < 2; i++) {
        struct gossip_record r;
        struct gossip_summary s;
        size_t pos = 0;
        unsigned sums = 0;
        while (gossip_summary_next(gg[i], now, &pos, &s))
            sums++;
        if (gossip_alive(gg[i]) != 2 || sums != 2 || !gossip_record_get(gg[i], 3, &gc[i ^ 1].id, &r))
            return false;
    }
    return true;
}

static bool gossip_case(void)
{
    struct vi_rng rng;
    bool done = false;
    vi_rng_seed(&rng, 5);
    now = VI_SEC;
    for (unsigned i = 0; i < 2; i++) {
        g_configure(i);
        gg[i] = gossip_new(&gc[i], &rng, now);
    }
    if (!gg[0] || !gg[1]) {
        done = failed_one();
        goto out;
    }
    g_tell(0);
    g_tell(1);
    for (unsigned turn = 0; turn < 5000 && !done && now < 300 * VI_SEC; turn++) {
        struct gossip_event tick = {.kind = GOSSIP_EV_TICK};
        vi_time a = gossip_deadline(gg[0]), b = gossip_deadline(gg[1]);
        vi_time next = a < b ? a : b;
        if (next > now)
            now = next;
        for (unsigned i = 0; i < 2; i++)
            if (gossip_deadline(gg[i]) <= now)
                gossip_step(gg[i], now, &tick);
        g_drain();
        done = g_done();
    }
out:
    gossip_free(gg[0]);
    gossip_free(gg[1]);
    return done;
}

/* ---- two mesh peers shake hands and speak --------------------------------------------------------- */

#define MESHES 3

static struct mesh_config mc[MESHES];
static struct mesh_trust trust;
static struct vi_id mid[MESHES];
static struct mesh_addr maddr[MESHES];
static uint8_t mx[MESHES][32];
static bool m_made;

static void m_configure(void)
{
    uint8_t pk[32], sk[64], ed_pk[32], ed_sk[64], seed[32] = {1};
    if (m_made)
        return;
    m_made = true;
    crypto_sign_seed_keypair(pk, sk, seed);
    snprintf(trust.domain, sizeof trust.domain, "lab");
    memcpy(trust.authority, pk, 32);
    for (unsigned i = 0; i < MESHES; i++) {
        struct cert *c = &mc[i].cert;
        seed[0] = (uint8_t)(2 + i);
        crypto_sign_seed_keypair(ed_pk, ed_sk, seed);
        memset(mc[i].secret, (int)(7 + i), 32);
        crypto_scalarmult_base(mx[i], mc[i].secret);
        cert_peer_id(&mid[i], ed_pk);
        maddr[i] = (struct mesh_addr){.family = 4, .port = 7000, .ip = {10, 0, 0, (uint8_t)(i + 1)}};
        snprintf(c->domain, sizeof c->domain, "lab");
        snprintf(c->host, sizeof c->host, "h%u", i);
        memcpy(c->ed, ed_pk, 32);
        memcpy(c->x, mx[i], 32);
        c->not_before = WALL - VI_HOUR;
        c->not_after = WALL + 24 * VI_HOUR;
        mc[i].has_cert = cert_issue(c, sk) == 0;
        mc[i].trust = &trust;
        mc[i].trusts = 1;
        mc[i].wall_minus_now = WALL;
    }
}

/* How many of the messages came, over one turn of both. */
static unsigned m_exchange(struct mesh *m[2])
{
    static uint8_t data[2048];
    unsigned came = 0;
    for (unsigned i = 0, quiet = 0; quiet < 2; i ^= 1) {
        const struct mesh_effect *fx = mesh_effect(m[i]);
        struct mesh_event ev = {.kind = MESH_EV_DATAGRAM, .datagram = {.from = maddr[i], .data = data}};
        quiet = fx ? 0 : quiet + 1;
        came += fx && fx->kind == MESH_FX_DELIVER;
        if (!fx || fx->kind != MESH_FX_DATAGRAM || fx->len > sizeof data)
            continue;
        memcpy(data, fx->data, fx->len);
        ev.datagram.len = fx->len;
        (void)mesh_step(m[i ^ 1], now, &ev);
    }
    return came;
}

static bool mesh_case(void)
{
    struct mesh *m[2];
    struct vi_rng rng;
    unsigned came = 0;
    bool done = false;
    m_configure();
    vi_rng_seed(&rng, 6);
    now = 50 * VI_SEC;
    for (unsigned i = 0; i < 2; i++)
        m[i] = mesh_new(&mc[i], &rng, now);
    if (!m[0] || !m[1])
        done = failed_one();
    for (unsigned turn = 0; m[0] && m[1] && !done && turn < 200; turn++) {
        now += VI_SEC / 2;
        for (unsigned i = 0; i < 2; i++) {
            struct mesh_event tick = {.kind = MESH_EV_TICK};
            struct mesh_event con = {.kind = MESH_EV_CONNECT,
                                     .connect = {.peer = mid[i ^ 1], .x = mx[i ^ 1], .addr = maddr[i ^ 1]}};
            struct mesh_event say = {.kind = MESH_EV_SEND,
                                     .send = {.peer = mid[i ^ 1], .channel = 1, .data = (const uint8_t *)"hello", .len = 5}};
            (void)mesh_step(m[i], now, &tick);
            if (i == 0)
                (void)mesh_step(m[i], now, &con);
            (void)mesh_step(m[i], now, &say);
        }
        came += m_exchange(m);
        done = came >= 6;
    }
    mesh_free(m[0]);
    mesh_free(m[1]);
    return done;
}

/* ---- two that speak through a third ---------------------------------------------------------------- */

/* All that waits is delivered, but for what goes directly between the last two. Messages from one of these. */
static unsigned m_deliver(struct mesh *m[MESHES])
{
    static uint8_t data[2048];
    unsigned came = 0;
    for (unsigned i = 0, quiet = 0; quiet < MESHES; i = (i + 1) % MESHES) {
        const struct mesh_effect *fx = mesh_effect(m[i]);
        struct mesh_event ev = {.kind = MESH_EV_DATAGRAM, .datagram = {.from = maddr[i], .data = data}};
        unsigned to = fx && fx->kind == MESH_FX_DATAGRAM ? fx->addr.ip[3] - 1U : MESHES;
        quiet = fx ? 0 : quiet + 1;
        came += fx && fx->kind == MESH_FX_DELIVER && i && !vi_id_equal(&fx->peer, &mid[0]);
        if (to >= MESHES || fx->len > sizeof data || (i && to))
            continue;
        memcpy(data, fx->data, fx->len);
        ev.datagram.len = fx->len;
        (void)mesh_step(m[to], now, &ev);
    }
    return came;
}

static void m_do(struct mesh *m, unsigned kind, unsigned to)
{
    struct mesh_event ev = {.kind = kind};
    if (kind == MESH_EV_CONNECT) {
        ev.connect.peer = mid[to];
        ev.connect.x = mx[to];
        ev.connect.addr = maddr[to];
    } else if (kind == MESH_EV_SEND) {
        ev.send.peer = mid[to];
        ev.send.channel = 1;
        ev.send.data = (const uint8_t *)"hello";
        ev.send.len = 5;
    }
    (void)mesh_step(m, now, &ev);
}

static bool relay_case(void)
{
    struct mesh *m[MESHES];
    struct vi_rng rng;
    unsigned came = 0;
    bool done = false;
    m_configure();
    vi_rng_seed(&rng, 9);
    now = 50 * VI_SEC;
    for (unsigned i = 0; i < MESHES; i++)
        m[i] = mesh_new(&mc[i], &rng, now);
    if (!m[0] || !m[1] || !m[2])
        done = failed_one();
    for (unsigned turn = 0; m[0] && m[1] && m[2] && !done && turn < 400; turn++) {
        now += VI_SEC / 2;
        for (unsigned i = 0; i < MESHES; i++) {
            m_do(m[i], MESH_EV_TICK, 0);
            if (!i)
                continue;
            m_do(m[i], MESH_EV_CONNECT, 0);
            m_do(m[i], MESH_EV_CONNECT, 3 - i);
            m_do(m[i], MESH_EV_SEND, 3 - i);
        }
        came += m_deliver(m);
        done = came >= 6;
    }
    for (unsigned i = 0; i < MESHES; i++)
        mesh_free(m[i]);
    return done;
}

/* ---- a bulk stream of 300 kB ------------------------------------------------------------------------ */

static bool stream_case(void)
{
    static uint8_t plain[300000], got[sizeof plain];
    struct stream *s[2];
    struct vi_rng rng;
    size_t said = 0, came = 0;
    bool done = false, bad = false, ended = false;
    m_configure();
    vi_rng_seed(&rng, 7);
    for (size_t i = 0; i < sizeof plain; i++)
        plain[i] = (uint8_t)(i * 31 >> 3);
    now = 50 * VI_SEC;
    s[0] = stream_new(&mc[0], &rng, mx[1], &mid[1], "purpose", 7, now);
    s[1] = stream_new(&mc[1], &rng, NULL, NULL, NULL, 0, now);
    if (!s[0] || !s[1])
        bad = true;
    for (unsigned turn = 0; !bad && !done && turn < 2000; turn++) {
        for (unsigned i = 0; i < 2 && !bad; i++) {
            size_t n, used;
            const uint8_t *p = stream_pending(s[i], &n);
            struct stream_event ev;
            while (p && n && !bad) {
                stream_feed(s[i ^ 1], p, n, &used, &ev);
                stream_sent(s[i], used);
                if (ev.kind == STREAM_FAILED)
                    bad = true;
                if (ev.kind == STREAM_DATA && came + ev.len <= sizeof got) {
                    memcpy(got + came, ev.data, ev.len);
                    came += ev.len;
                }
                p = bad ? NULL : stream_pending(s[i], &n);
            }
        }
        if (!bad && said < sizeof plain) {
            size_t used = 0;
            int err = stream_write(s[0], plain + said, sizeof plain - said, &used);
            said += used;
            bad = err == VI_ENOMEM ? false : err && err != VI_EAGAIN && err != VI_ESTATE;
        } else if (!bad && !ended)
            ended = stream_end(s[0]) == 0;
        done = came == sizeof plain;
    }
    stream_free(s[0]);
    stream_free(s[1]);
    /* a stream may break for want of memory; it never says that it is whole when it isn't */
    return done ? memcmp(plain, got, sizeof plain) == 0 : bad && failed_one();
}

/* ---- two switches -------------------------------------------------------------------------------- */

static bool no_key(void *arg, const struct vi_id *peer, uint8_t pk[32])
{
    (void)arg, (void)peer, (void)pk;
    return false;
}

static bool knows_mac(struct vswitch *s, struct switch_table *t, const struct vi_id *env, const uint8_t mac[6])
{
    struct switch_place p;
    unsigned pos = 0;
    bool book = false;
    while (switch_place_next(s, env, &pos, &p))
        book |= memcmp(p.mac, mac, 6) == 0;
    for (unsigned i = 0; t && i < SWITCH_ENVS; i++)
        if (t->envs[i] && vi_id_equal(&t->envs[i]->env, env))
            return book && switch_table_find(t->envs[i], mac);
    return false;
}

static bool switch_case(void)
{
    static const uint8_t mac[2][1][6] = {{{2, 0, 0, 0, 0, 1}}, {{2, 0, 0, 0, 0, 2}}};
    struct vi_id id[2], env, guest[2];
    struct vswitch *s[2];
    struct switch_table *t[2] = {NULL, NULL};
    bool done = false;
    memset(env.b, 9, sizeof env.b);
    for (unsigned i = 0; i < 2; i++) {
        struct switch_config c = {.first_counter = 1, .key_of = no_key};
        memset(id[i].b, (int)i + 1, sizeof id[i].b);
        memset(guest[i].b, (int)i + 11, sizeof guest[i].b);
        c.self = id[i];
        s[i] = switch_new(&c, now = VI_SEC);
    }
    if (!s[0] || !s[1])
        done = failed_one();
    for (unsigned turn = 0; s[0] && s[1] && !done && turn < 60; turn++) {
        now += VI_SEC / 2;
        for (unsigned i = 0; i < 2; i++) {
            struct switch_event tick = {.kind = SWITCH_EV_TICK};
            struct switch_event ev = {.kind = SWITCH_EV_ENV, .env = env, .on = true};
            const struct switch_effect *fx;
            switch_step(s[i], now, &ev); /* as the daemon does: again with every look at the guests */
            ev = (struct switch_event){.kind = SWITCH_EV_PARTICIPANTS, .env = env, .peers = &id[i ^ 1], .n = 1};
            switch_step(s[i], now, &ev);
            ev = (struct switch_event){.kind = SWITCH_EV_LOCAL, .env = env, .guest = guest[i], .on = true, .epoch = 1,
                                       .macs = mac[i], .n = 1};
            switch_step(s[i], now, &ev);
            switch_step(s[i], now, &tick);
            while ((fx = switch_effect(s[i]))) {
                static struct switch_effect copy;
                struct switch_event msg = {.kind = SWITCH_EV_MESSAGE, .peer = id[i]};
                copy = *fx;
                msg.data = copy.data;
                msg.len = copy.len;
                if (copy.kind == SWITCH_FX_TABLE) {
                    switch_table_free(t[i]);
                    t[i] = copy.table;
                } else if (copy.kind == SWITCH_FX_SEND)
                    switch_step(s[i ^ 1], now, &msg);
            }
        }
        done = knows_mac(s[0], t[0], &env, mac[1][0]) && knows_mac(s[1], t[1], &env, mac[0][0]);
    }
    for (unsigned i = 0; i < 2; i++) {
        switch_table_free(t[i]);
        switch_free(s[i]);
    }
    return done;
}

/* ---- the store, SQLite's own memory included -------------------------------------------------------- */

static sqlite3_mem_methods real_memory;

static void *sql_malloc(int n)
{
    return fails() ? NULL : real_memory.xMalloc(n);
}

static void *sql_realloc(void *p, int n)
{
    return fails() ? NULL : real_memory.xRealloc(p, n);
}

static void fail_sqlite_too(void)
{
    sqlite3_mem_methods m;
    sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real_memory);
    m = real_memory;
    m.xMalloc = sql_malloc;
    m.xRealloc = sql_realloc;
    sqlite3_config(SQLITE_CONFIG_MALLOC, &m);
}

static bool count_record(void *arg, const struct vi_id *id, const void *record, size_t len)
{
    unsigned *n = arg;
    (void)id;
    *n += len == 6 && memcmp(record, "record", 6) == 0;
    return true;
}

/* What was said to be on the disk is there afterwards. One of which that wasn't said may be there, too:
 * memory can fail after the commit; who is told of an error writes again. */
static bool store_case(void)
{
    char dir[] = "/tmp/violin-oom-XXXXXX", file[64], why[256];
    struct vi_id id;
    unsigned put = 0, have = 0;
    struct store *s;
    bool ok = true, was = armed;
    memset(id.b, 3, sizeof id.b);
    if (!mkdtemp(dir))
        return false;
    s = store_open(dir, why, sizeof why);
    for (unsigned i = 0; s && i < 3; i++)
        put += store_journal_put(s, &id, "record", 6) == 0;
    if (!s)
        ok = failed_one();
    store_close(s);
    armed = false;
    s = store_open(dir, why, sizeof why);
    ok = ok && s && store_journal_each(s, count_record, &have) == 0 && have >= put && have <= 3 && (put == 3 || failed_one());
    store_close(s);
    armed = was;
    snprintf(file, sizeof file, "%s/violin.db", dir);
    unlink(file);
    snprintf(file, sizeof file, "%s/violin.db-journal", dir);
    unlink(file);
    return rmdir(dir) == 0 && ok;
}

/* ---- those that allocate when they are made only ------------------------------------------------------ */

static bool makers_case(void)
{
    struct policy_config pc;
    struct handover_config hc = {.key_of = no_key};
    struct vi_rng rng;
    struct policy *p;
    struct handovers *h;
    struct events *e;
    bool ok;
    vi_rng_seed(&rng, 8);
    policy_config_init(&pc);
    p = policy_new(&pc, &rng, now);
    h = handovers_new(&hc, &rng, now);
    e = events_new(16);
    ok = (p && h && e) || failed_one();
    policy_free(p);
    handovers_free(h);
    events_free(e);
    return ok;
}

/* ---- */

static unsigned passed, failed;

static bool run(const char *name, bool (*work)(void), unsigned long at, unsigned long for_n)
{
    bool ok;
    counted = 0;
    fail_at = at;
    fail_for = for_n;
    armed = true;
    ok = work();
    armed = false;
    if (ok)
        passed++;
    else {
        failed++;
        printf("CASE=%s N=%lu: not done, %lu from the %luth allocation on failed\n", name, at, for_n, at);
    }
    return counted >= at; /* it struck */
}

int main(void)
{
    static const struct {
        const char *name;
        bool (*work)(void);
    } cases[] = {{"gossip", gossip_case}, {"mesh", mesh_case},   {"relay", relay_case}, {"stream", stream_case},
                 {"switch", switch_case}, {"store", store_case}, {"makers", makers_case}};
    const char *only = getenv("CASE"), *n = getenv("N");
    if (sodium_init() < 0)
        return 1;
    fail_sqlite_too();
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned long at = 0;
        if (only && strcmp(only, cases[i].name) != 0)
            continue;
        if (n) {
            run(cases[i].name, cases[i].work, strtoul(n, NULL, 10), 1);
            continue;
        }
        run(cases[i].name, cases[i].work, 0, 0);
        for (at = 1; at < 5000 && run(cases[i].name, cases[i].work, at, 1); at++)
            if (!run(cases[i].name, cases[i].work, at, 5))
                break;
        printf("  %-8s each of %lu allocations failed\n", cases[i].name, at - 1);
    }
    printf("oom: %u passed, %u failed\n", passed, failed);
    return failed > 0;
}
