/* Datagrams of the gossip. See codec.h. */
#include "gossip/codec.h"

#include <string.h>

void gsp_out_init(struct gsp_out *o, uint8_t *p, size_t cap)
{
    *o = (struct gsp_out){.p = p, .cap = cap};
}

void gsp_put(struct gsp_out *o, const void *p, size_t len)
{
    if (o->full || len > o->cap - o->len) {
        o->full = true;
        return;
    }
    if (len)
        memcpy(o->p + o->len, p, len);
    o->len += len;
}

void gsp_put_u8(struct gsp_out *o, uint8_t v)
{
    gsp_put(o, &v, 1);
}

static void put_le(struct gsp_out *o, uint64_t v, size_t n)
{
    uint8_t b[8];

    for (size_t i = 0; i < n; i++)
        b[i] = (uint8_t)(v >> (8 * i));
    gsp_put(o, b, n);
}

void gsp_put_u16(struct gsp_out *o, uint16_t v)
{
    put_le(o, v, 2);
}

void gsp_put_u32(struct gsp_out *o, uint32_t v)
{
    put_le(o, v, 4);
}

void gsp_put_u64(struct gsp_out *o, uint64_t v)
{
    put_le(o, v, 8);
}

void gsp_cur_init(struct gsp_cur *c, const void *p, size_t len)
{
    c->p = p;
    c->end = c->p ? c->p + len : NULL;
    c->bad = false;
}

size_t gsp_left(const struct gsp_cur *c)
{
    return c->p ? (size_t)(c->end - c->p) : 0;
}

const uint8_t *gsp_get(struct gsp_cur *c, size_t len)
{
    const uint8_t *p = c->p;

    if (c->bad || gsp_left(c) < len) {
        c->bad = true;
        return NULL;
    }
    if (len)
        c->p += len;
    return p;
}

static uint64_t get_le(struct gsp_cur *c, size_t n)
{
    const uint8_t *p = gsp_get(c, n);
    uint64_t v = 0;

    for (size_t i = 0; p && i < n; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

uint8_t gsp_get_u8(struct gsp_cur *c)
{
    return (uint8_t)get_le(c, 1);
}

uint16_t gsp_get_u16(struct gsp_cur *c)
{
    return (uint16_t)get_le(c, 2);
}

uint32_t gsp_get_u32(struct gsp_cur *c)
{
    return (uint32_t)get_le(c, 4);
}

uint64_t gsp_get_u64(struct gsp_cur *c)
{
    return get_le(c, 8);
}

void gsp_put_leb(struct gsp_out *o, uint64_t v)
{
    for (; v >= 128; v >>= 7)
        gsp_put_u8(o, (uint8_t)(v | 128));
    gsp_put_u8(o, (uint8_t)v);
}

uint64_t gsp_get_leb(struct gsp_cur *c)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t b = gsp_get_u8(c);

        if (shift == 63 && b > 1)
            break;
        v |= (uint64_t)(b & 127) << shift;
        if (!(b & 128)) {
            if (!b && shift)
                break;
            return c->bad ? 0 : v;
        }
    }
    c->bad = true;
    return 0;
}

static void get_into(struct gsp_cur *c, void *out, size_t len)
{
    const uint8_t *p = gsp_get(c, len);

    if (p && len)
        memcpy(out, p, len);
}

void gsp_get_id(struct gsp_cur *c, struct vi_id *id)
{
    memset(id, 0, sizeof *id);
    get_into(c, id->b, VI_ID_SIZE);
}

/* ---- statements ----------------------------------------------------------------------------- */

void gsp_put_statement(struct gsp_out *o, const struct gsp_statement *s)
{
    gsp_put(o, s->id.b, VI_ID_SIZE);
    gsp_put_u64(o, s->incarnation);
    gsp_put_u8(o, s->left ? 1 : 0);
    gsp_put_u8(o, s->addr.len);
    gsp_put(o, s->addr.b, s->addr.len);
    gsp_put_u8(o, s->name_len);
    gsp_put(o, s->name, s->name_len);
    gsp_put_u8(o, s->meta_len);
    gsp_put(o, s->meta, s->meta_len);
    gsp_put_u32(o, s->cert_tag);
}

static uint8_t get_len(struct gsp_cur *c, uint8_t most)
{
    uint8_t n = gsp_get_u8(c);

    if (n > most)
        c->bad = true;
    return c->bad ? 0 : n;
}

void gsp_get_statement(struct gsp_cur *c, struct gsp_statement *s)
{
    uint8_t flags;

    memset(s, 0, sizeof *s);
    gsp_get_id(c, &s->id);
    s->incarnation = gsp_get_u64(c);
    flags = gsp_get_u8(c);
    if (flags > 1)
        c->bad = true;
    s->left = flags == 1;
    s->addr.len = get_len(c, GOSSIP_ADDR_MAX);
    get_into(c, s->addr.b, s->addr.len);
    s->name_len = get_len(c, GOSSIP_NAME_MAX);
    get_into(c, s->name, s->name_len);
    s->meta_len = get_len(c, GOSSIP_META_MAX);
    get_into(c, s->meta, s->meta_len);
    s->cert_tag = gsp_get_u32(c);
    if (memchr(s->name, 0, s->name_len)) /* it will be shown as text */
        c->bad = true;
}

/* ---- items ---------------------------------------------------------------------------------- */

static bool whole(struct gsp_out *o, size_t before)
{
    if (!o->full)
        return true;
    o->full = false;
    o->len = before;
    return false;
}

bool gsp_put_word(struct gsp_out *o, const struct gsp_statement *s, const uint8_t sig[GOSSIP_SIG])
{
    size_t before = o->len;

    gsp_put_u8(o, GSP_WORD);
    gsp_put_statement(o, s);
    gsp_put(o, sig, GOSSIP_SIG);
    return whole(o, before);
}

bool gsp_put_full(struct gsp_out *o, const struct gsp_statement *s, const uint8_t sig[GOSSIP_SIG],
                  const uint8_t key[GOSSIP_KEY], const uint8_t *cert, size_t cert_len)
{
    size_t before = o->len;

    gsp_put_u8(o, GSP_FULL);
    gsp_put_statement(o, s);
    gsp_put(o, sig, GOSSIP_SIG);
    gsp_put(o, key, GOSSIP_KEY);
    gsp_put_u16(o, (uint16_t)cert_len);
    gsp_put(o, cert, cert_len);
    return whole(o, before);
}

bool gsp_put_accusation(struct gsp_out *o, const struct gsp_accusation *a)
{
    size_t before = o->len;

    gsp_put_u8(o, a->death ? GSP_DEATH : GSP_ACCUSE);
    gsp_put(o, a->id, GSP_PREFIX);
    gsp_put_leb(o, a->incarnation);
    gsp_put_u8(o, (uint8_t)a->n);
    gsp_put(o, a->accusers, a->n * sizeof a->accusers[0]);
    return whole(o, before);
}

static void get_word(struct gsp_cur *c, struct gsp_read_item *it)
{
    it->signed_bytes = c->p;
    gsp_get_statement(c, &it->st);
    it->signed_len = c->bad ? 0 : (size_t)(c->p - it->signed_bytes);
    it->sig = gsp_get(c, GOSSIP_SIG);
    if (it->kind != GSP_FULL)
        return;
    it->key = gsp_get(c, GOSSIP_KEY);
    it->cert_len = gsp_get_u16(c);
    if (it->cert_len > GOSSIP_CERT_MAX)
        c->bad = true;
    it->cert = gsp_get(c, it->cert_len);
}

static void get_prefix(struct gsp_cur *c, uint8_t out[GSP_PREFIX], bool whole_id)
{
    get_into(c, out, GSP_PREFIX);
    if (whole_id)
        gsp_get(c, VI_ID_SIZE - GSP_PREFIX);
}

static void get_accusation(struct gsp_cur *c, struct gsp_read_item *it)
{
    struct gsp_accusation *a = &it->ac;
    bool whole_ids = it->kind == GSP_ACCUSE_LONG || it->kind == GSP_DEATH_LONG;

    a->death = it->kind == GSP_DEATH || it->kind == GSP_DEATH_LONG;
    get_prefix(c, a->id, whole_ids);
    a->incarnation = whole_ids ? gsp_get_u64(c) : gsp_get_leb(c);
    a->n = gsp_get_u8(c);
    if (a->n < 1 || a->n > GSP_ACCUSERS)
        c->bad = true;
    for (unsigned i = 0; i < a->n && !c->bad; i++)
        get_prefix(c, a->accusers[i], whole_ids);
}

bool gsp_get_item(struct gsp_cur *c, struct gsp_read_item *it)
{
    uint8_t kind;

    if (c->bad || !gsp_left(c))
        return false;
    memset(it, 0, sizeof *it);
    kind = gsp_get_u8(c);
    it->kind = (enum gsp_item)kind;
    if (kind == GSP_WORD || kind == GSP_FULL)
        get_word(c, it);
    else if (kind >= GSP_ACCUSE_LONG && kind <= GSP_DEATH)
        get_accusation(c, it);
    else
        c->bad = true;
    return !c->bad;
}
