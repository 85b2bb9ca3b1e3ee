/* See soak_hostile.h. */
#include "tests/sim/soak_hostile.h"

#include <string.h>

#include "gossip/codec.h"

struct lie {
    uint8_t buf[GOSSIP_DATAGRAM_MAX + 200];
    struct gsp_out o;
};

void hostile_init(struct hostile *h, struct peers *p, unsigned n, unsigned self, uint64_t seed)
{
    *h = (struct hostile){.p = p, .n = n, .self = self};
    vi_rng_seed(&h->rng, seed ^ UINT64_C(0x6c69617273));
}

void hostile_hears(struct hostile *h, const uint8_t *data, size_t len)
{
    unsigned k = h->nkept < HOSTILE_KEPT ? h->nkept++ : vi_rng_below(&h->rng, HOSTILE_KEPT);

    if (len > sizeof h->kept[k].data)
        return;
    memcpy(h->kept[k].data, data, len);
    h->kept[k].len = len;
}

static unsigned somebody(struct hostile *h)
{
    unsigned who = vi_rng_below(&h->rng, h->n - 1);

    return who < h->self ? who : who + 1;
}

static void begin(struct lie *l, uint8_t type)
{
    gsp_out_init(&l->o, l->buf, GOSSIP_DATAGRAM_MAX);
    gsp_put_u8(&l->o, GOSSIP_WIRE);
    gsp_put_u8(&l->o, type);
}

static void send_to(struct hostile *h, const struct lie *l, unsigned to)
{
    world_send(peers_world(h->p), h->self, to, l->o.p, l->o.len);
}

static void junk(struct hostile *h, struct lie *l, size_t len)
{
    uint8_t bytes[256];

    vi_rng_bytes(&h->rng, bytes, sizeof bytes);
    while (len) {
        size_t n = len < sizeof bytes ? len : sizeof bytes;

        gsp_put(&l->o, bytes, n);
        len -= n;
    }
}

/* What is known of one; false: nothing. */
static bool known(struct hostile *h, unsigned who, struct gossip_member *m)
{
    return gossip_member_find(peers_core(h->p, h->self), peers_id(h->p, who), m);
}

static struct gsp_statement statement(const struct gossip_member *m)
{
    struct gsp_statement st = {.id = m->id, .incarnation = m->incarnation, .addr = m->addr};

    st.name_len = (uint8_t)strlen(m->name);
    memcpy(st.name, m->name, st.name_len);
    return st;
}

/* Another's word with a signature that isn't its. */
static void forged_word(struct hostile *h, struct lie *l)
{
    uint8_t sig[GOSSIP_SIG];
    struct gossip_member m, own;
    struct gsp_statement st;

    if (!known(h, somebody(h), &m) || !known(h, h->self, &own))
        return;
    st = statement(&m);
    st.incarnation += 1 + vi_rng_below(&h->rng, 1000);
    st.left = vi_rng_below(&h->rng, 2);
    vi_rng_bytes(&h->rng, sig, sizeof sig);
    begin(l, GSP_GOSSIP);
    if (vi_rng_below(&h->rng, 2)) {
        gsp_put_word(&l->o, &st, sig);
        return;
    }
    if (vi_rng_below(&h->rng, 2)) /* a stranger's, with a certificate of somebody else */
        vi_rng_id(&h->rng, &st.id);
    gsp_put_full(&l->o, &st, sig, vi_rng_below(&h->rng, 2) ? own.key : m.key, m.cert, m.cert_len);
}

/* Its own word, rightly signed: gone, back, moved, a number far ahead. */
static void own_word(struct hostile *h, struct lie *l)
{
    static const char label[] = "violin member";
    uint8_t buf[sizeof label + GSP_STATEMENT_MAX], sig[GOSSIP_SIG];
    struct gossip_member m;
    struct gsp_statement st;
    struct gsp_out o;

    if (!known(h, h->self, &m))
        return;
    st = statement(&m);
    st.incarnation += 1 + vi_rng_below(&h->rng, 3) + (vi_rng_below(&h->rng, 50) ? 0 : vi_rng_u64(&h->rng) >> 34);
    st.left = vi_rng_below(&h->rng, 4) == 0;
    st.addr.len = (uint8_t)vi_rng_below(&h->rng, GOSSIP_ADDR_MAX + 1);
    gsp_out_init(&o, buf, sizeof buf);
    gsp_put(&o, label, sizeof label);
    gsp_put_statement(&o, &st);
    peers_sign(h->p, h->self, buf, o.len, sig);
    begin(l, vi_rng_below(&h->rng, 2) ? GSP_JOIN : GSP_GOSSIP);
    gsp_put_full(&l->o, &st, sig, m.key, m.cert, m.cert_len);
}

/* Members' suspicions and verdicts that they never had. */
static void accusation(struct hostile *h, struct lie *l)
{
    begin(l, GSP_GOSSIP);
    for (unsigned many = 1 + vi_rng_below(&h->rng, 10); many; many--) {
        struct gsp_accusation a = {.death = vi_rng_below(&h->rng, 2), .n = 1 + vi_rng_below(&h->rng, GSP_ACCUSERS)};
        struct gossip_member m;

        if (!known(h, somebody(h), &m))
            return;
        memcpy(a.id, m.id.b, GSP_PREFIX);
        a.incarnation = m.incarnation;
        if (vi_rng_below(&h->rng, 8) == 0)
            a.incarnation += vi_rng_u64(&h->rng) >> 40;
        if (vi_rng_below(&h->rng, 16) == 0)
            vi_rng_bytes(&h->rng, a.id, sizeof a.id);
        for (unsigned k = 0; k < a.n; k++)
            memcpy(a.accusers[k], peers_id(h->p, vi_rng_below(&h->rng, h->n))->b, GSP_PREFIX);
        if (vi_rng_below(&h->rng, 16) == 0)
            vi_rng_bytes(&h->rng, a.accusers, sizeof a.accusers);
        gsp_put_accusation(&l->o, &a);
    }
}

static void put_prefix(struct hostile *h, struct lie *l)
{
    struct vi_id id = *peers_id(h->p, vi_rng_below(&h->rng, h->n));

    if (vi_rng_below(&h->rng, 2))
        vi_rng_id(&h->rng, &id);
    gsp_put(&l->o, id.b, GSP_PREFIX);
}

/* Lists of members that there aren't, in numbers that there never were; with lengths that don't fit. */
static void lists(struct hostile *h, struct lie *l)
{
    unsigned n = vi_rng_below(&h->rng, 256);

    switch (vi_rng_below(&h->rng, 4)) {
    case 0:
        begin(l, GSP_HASH);
        gsp_put_u32(&l->o, (uint32_t)vi_rng_u64(&h->rng));
        junk(h, l, VI_ID_SIZE);
        break;
    case 1:
        begin(l, GSP_BUCKETS);
        junk(h, l, vi_rng_below(&h->rng, 8) ? 1024 : vi_rng_below(&h->rng, 1024));
        break;
    case 2:
        begin(l, GSP_LIST);
        gsp_put_u16(&l->o, 0);
        gsp_put_u16(&l->o, UINT16_MAX);
        gsp_put_u8(&l->o, (uint8_t)(n % 80));
        for (unsigned k = 0; k < n % 80; k++) {
            put_prefix(h, l);
            gsp_put_u64(&l->o, vi_rng_u64(&h->rng) >> vi_rng_below(&h->rng, 64));
        }
        break;
    default:
        begin(l, GSP_PULL);
        gsp_put_u8(&l->o, (uint8_t)n);
        for (unsigned k = 0; k < n && k < 145; k++)
            put_prefix(h, l);
        break;
    }
}

static void digest(struct hostile *h, struct lie *l)
{
    unsigned n = vi_rng_below(&h->rng, 62);
    bool want = vi_rng_below(&h->rng, 2);

    begin(l, want ? GSP_WANT : GSP_DIGEST);
    if (!want)
        gsp_put_u8(&l->o, vi_rng_below(&h->rng, 2) ? 1 : 0);
    gsp_put_u8(&l->o, (uint8_t)n);
    for (unsigned k = 0; k < n; k++) {
        gsp_put_u8(&l->o, (uint8_t)vi_rng_below(&h->rng, 5));
        put_prefix(h, l);
        if (want)
            continue;
        gsp_put_u64(&l->o, vi_rng_u64(&h->rng) >> vi_rng_below(&h->rng, 64));
        junk(h, l, 2);
    }
}

/* Summaries are advice and unsigned: others' with numbers that they didn't give. Records: its own, ever
 * more of them, and others' that they didn't sign. */
static void values(struct hostile *h, struct lie *l)
{
    uint8_t bytes[200] = {0};

    begin(l, GSP_VALUES);
    for (unsigned many = 1 + vi_rng_below(&h->rng, 4); many; many--) {
        unsigned of = vi_rng_below(&h->rng, 3) ? h->self : somebody(h);
        uint64_t version = vi_rng_u64(&h->rng) >> vi_rng_below(&h->rng, 64);
        struct vi_id key = *peers_id(h->p, of);
        struct gossip_member m;

        if (vi_rng_below(&h->rng, 2) && known(h, somebody(h), &m)) {
            version = m.incarnation << 20 | vi_rng_below(&h->rng, 1 << 20);
            gsp_put_u8(&l->o, 0);
            gsp_put(&l->o, m.id.b, VI_ID_SIZE);
            gsp_put_u64(&l->o, version);
            gsp_put_u32(&l->o, (uint32_t)vi_rng_u64(&h->rng));
            gsp_put_u16(&l->o, 20);
            gsp_put(&l->o, bytes, 20);
            continue;
        }
        if (of == h->self)
            vi_rng_id(&h->rng, &key);
        peers_record(h->p, h->self, 7, &key, version, bytes, sizeof bytes);
        gsp_put_u8(&l->o, 7);
        gsp_put(&l->o, key.b, VI_ID_SIZE);
        gsp_put(&l->o, peers_id(h->p, of)->b, VI_ID_SIZE);
        gsp_put_u64(&l->o, version);
        gsp_put_u32(&l->o, 0);
        gsp_put_u16(&l->o, sizeof bytes);
        gsp_put(&l->o, bytes, sizeof bytes);
    }
}

static void probes(struct hostile *h, struct lie *l)
{
    static const uint8_t types[] = {GSP_PING, GSP_ACK, GSP_NACK, GSP_PING_REQ};
    uint8_t type = types[vi_rng_below(&h->rng, 4)];

    begin(l, type);
    gsp_put_u32(&l->o, (uint32_t)vi_rng_u64(&h->rng));
    if (type == GSP_PING_REQ)
        gsp_put(&l->o, peers_id(h->p, somebody(h))->b, VI_ID_SIZE);
}

void hostile_lies(struct hostile *h)
{
    unsigned to = somebody(h), times = vi_rng_below(&h->rng, 40) ? 1 : 100, kind = vi_rng_below(&h->rng, 10);
    struct lie l = {0};

    if (!peers_core(h->p, h->self))
        return;
    switch (kind) {
    case 0:
        forged_word(h, &l);
        break;
    case 1:
        own_word(h, &l);
        break;
    case 2:
    case 3:
        accusation(h, &l);
        break;
    case 4:
        lists(h, &l);
        break;
    case 5:
        digest(h, &l);
        break;
    case 6:
        values(h, &l);
        break;
    case 7:
        probes(h, &l);
        break;
    case 8:
        if (h->nkept) {
            unsigned k = vi_rng_below(&h->rng, h->nkept);

            memcpy(l.buf, h->kept[k].data, h->kept[k].len);
            l.o = (struct gsp_out){.p = l.buf, .len = h->kept[k].len};
        }
        break;
    default: /* noise, also longer than a datagram may be */
        gsp_out_init(&l.o, l.buf, sizeof l.buf);
        gsp_put_u8(&l.o, GOSSIP_WIRE);
        gsp_put_u8(&l.o, (uint8_t)vi_rng_below(&h->rng, 16));
        junk(h, &l, vi_rng_below(&h->rng, sizeof l.buf - 2));
        break;
    }
    if (!l.o.len)
        return;
    h->lies++;
    while (times--) /* a burst floods one */
        send_to(h, &l, to);
}
