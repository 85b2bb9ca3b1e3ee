/* Headers before frames, superframes split and joined. What comes out is held against a second, slow way that knows
 * nothing of the first: superframes cut one by one, every checksum summed over every byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "overlay/gso.h"
#include "peer/base/err.h"
#include "peer/base/rng.h"

#define FRAMES 512
#define ROOM   (65536 + 64)

static struct vi_rng rng;

static unsigned below(unsigned n)
{
    return (unsigned)(vi_rng_u64(&rng) % n);
}

static unsigned get16(const uint8_t *p)
{
    return (unsigned)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p + 2, v & 0xffff);
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)get16(p) << 16 | get16(p + 2);
}

/* ---- a superframe as a guest makes it ---- */

struct super {
    uint8_t hdr[VNET_HDR], frame[ROOM];
    size_t len;
    unsigned l3, l4, payload, size;
    bool v6, tcp;
};

struct stream { /* what goes on from one superframe to the next */
    unsigned vlan, options, port, id;
    uint32_t seq;
    bool v6, tcp, df;
};

/* The slow way's sum of the pseudo-header and of bytes. */
static unsigned slow_sum(const struct super *s, const uint8_t *frame, size_t l4_len, bool bytes)
{
    uint64_t sum = (s->tcp ? 6 : 17) + l4_len;
    const uint8_t *a = frame + s->l3 + (s->v6 ? 8 : 12);
    for (unsigned i = 0; i < (s->v6 ? 32u : 8u); i += 2)
        sum += get16(a + i);
    for (size_t i = 0; bytes && i < l4_len; i++)
        sum += (uint64_t)frame[s->l4 + i] << (i % 2 ? 0 : 8);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (unsigned)sum;
}

static void slow_ip(const struct super *s, uint8_t *frame, size_t len)
{
    uint8_t *ip = frame + s->l3;
    uint32_t sum = 0;
    if (s->v6) {
        put16(ip + 4, (unsigned)(len - s->l3 - 40));
        return;
    }
    put16(ip + 2, (unsigned)(len - s->l3));
    put16(ip + 10, 0);
    for (unsigned i = 0; i < 20; i += 2)
        sum += get16(ip + i);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    put16(ip + 10, ~sum & 0xffff);
}

static void make_stream(struct stream *st)
{
    *st = (struct stream){.vlan = below(4) == 0, .options = below(2) * 12, .port = below(60000), .id = below(65536),
                          .seq = (uint32_t)vi_rng_u64(&rng), .v6 = below(2), .tcp = below(3) > 0, .df = below(3) > 0};
}

static void make_super(struct super *s, struct stream *st, unsigned size, size_t payload)
{
    static const uint8_t macs[12] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2};
    uint8_t *f = s->frame, *ip;
    unsigned segments = (unsigned)((payload + size - 1) / size);
    memset(s, 0, offsetof(struct super, frame) + 128);
    memcpy(f, macs, 12);
    s->v6 = st->v6;
    s->tcp = st->tcp;
    s->l3 = st->vlan ? 18 : 14;
    if (st->vlan)
        put32(f + 12, 0x81000007);
    put16(f + s->l3 - 2, st->v6 ? 0x86dd : 0x0800);
    s->l4 = s->l3 + (st->v6 ? 40 : 20);
    s->payload = s->l4 + (st->tcp ? 20 + st->options : 8);
    s->len = s->payload + payload;
    s->size = size;
    ip = f + s->l3;
    ip[0] = st->v6 ? 0x60 : 0x45;
    if (st->v6) {
        ip[6] = st->tcp ? 6 : 17;
        ip[7] = 64;
        memset(ip + 8, 0x20, 32);
    } else {
        put16(ip + 4, st->id);
        ip[6] = st->df ? 0x40 : 0;
        ip[8] = 64;
        ip[9] = st->tcp ? 6 : 17;
        memset(ip + 12, 10, 8);
    }
    put16(f + s->l4, st->port);
    put16(f + s->l4 + 2, 80);
    if (st->tcp) {
        put32(f + s->l4 + 4, st->seq);
        put32(f + s->l4 + 8, 77);
        f[s->l4 + 12] = (uint8_t)((20 + st->options) / 4 << 4);
        f[s->l4 + 13] = (uint8_t)(0x10 | (below(2) ? 8 : 0) | (below(8) ? 0 : 0x80) | (below(16) ? 0 : 1));
        memset(f + s->l4 + 20, 1, st->options);
    } else
        put16(f + s->l4 + 4, (unsigned)(s->len - s->l4));
    for (size_t i = s->payload; i < s->len; i++)
        f[i] = (uint8_t)vi_rng_u64(&rng);
    slow_ip(s, f, s->len);
    put16(f + s->l4 + (st->tcp ? 16 : 6), slow_sum(s, f, s->len - s->l4, false));
    struct vnet_header h = {.flags = VNET_NEEDS_CSUM, .csum_start = (uint16_t)s->l4, .csum_offset = st->tcp ? 16 : 6};
    if (segments > 1) {
        h.gso_type = st->tcp ? st->v6 ? VNET_GSO_TCPV6 : VNET_GSO_TCPV4 : VNET_GSO_UDP_L4;
        h.gso_size = (uint16_t)size;
        h.hdr_len = (uint16_t)s->payload;
        if (st->tcp && f[s->l4 + 13] & 0x80)
            h.gso_type |= VNET_GSO_ECN;
    }
    vnet_write(s->hdr, &h);
    st->seq += (uint32_t)payload;
    st->id = (st->id + segments) & 0xffff;
}

/* ---- the slow way ---- */

struct list {
    unsigned n;
    size_t len[FRAMES];
    uint8_t *frame[FRAMES];
};

static void list_free(struct list *l)
{
    for (unsigned i = 0; i < l->n; i++)
        free(l->frame[i]);
    l->n = 0;
}

static uint8_t *list_add(struct list *l, const uint8_t *frame, size_t len)
{
    assert_true(l->n < FRAMES);
    l->frame[l->n] = malloc(len);
    assert_non_null(l->frame[l->n]);
    memcpy(l->frame[l->n], frame, len);
    l->len[l->n] = len;
    return l->frame[l->n++];
}

/* What a kernel without any offload would have sent: whole frames, whole checksums. */
static void slow_split(const struct super *s, struct list *out)
{
    size_t all = s->len - s->payload;
    unsigned k = 0;
    for (size_t at = 0; at < all; at += s->size, k++) {
        size_t n = all - at < s->size ? all - at : s->size, len = s->payload + n;
        uint8_t *f = list_add(out, s->frame, len), *l4 = f + s->l4;
        unsigned sum, at_sum = s->tcp ? 16 : 6;
        memcpy(f + s->payload, s->frame + s->payload + at, n);
        if (!s->v6)
            put16(f + s->l3 + 4, (get16(f + s->l3 + 4) + k) & 0xffff);
        slow_ip(s, f, len);
        if (s->tcp) {
            put32(l4 + 4, get32(l4 + 4) + (uint32_t)at);
            if (at + n < all)
                l4[13] &= (uint8_t)~9;
            if (k)
                l4[13] &= 0x7f;
        } else
            put16(l4 + 4, (unsigned)(len - s->l4));
        put16(l4 + at_sum, 0);
        sum = ~slow_sum(s, f, len - s->l4, true) & 0xffff;
        put16(l4 + at_sum, sum ? sum : 0xffff);
    }
}

/* A superframe that came out of a join, taken apart by what its own header says. */
static void slow_take_apart(const struct gso_part *part, unsigned n, struct list *out)
{
    static struct super s;
    struct vnet_header h;
    struct vnet_frame f;
    uint8_t all[VNET_HDR + ROOM];
    size_t len = 0;
    for (unsigned i = 0; i < n; i++) {
        memcpy(all + len, part[i].p, part[i].len);
        len += part[i].len;
    }
    len -= VNET_HDR;
    memcpy(s.hdr, all, VNET_HDR);
    memcpy(s.frame, all + VNET_HDR, len);
    vnet_read(&h, s.hdr);
    assert_int_equal(vnet_check(&f, s.hdr, s.frame, len), 0); /* what we write, we would read */
    if (h.flags == 0) {
        list_add(out, s.frame, len);
        return;
    }
    s.len = len;
    s.l3 = f.l3;
    s.l4 = f.l4;
    s.payload = f.payload;
    s.v6 = f.v6;
    s.tcp = f.proto == 6;
    s.size = h.gso_type ? h.gso_size : (unsigned)(len - f.payload ? len - f.payload : 1);
    assert_int_equal(get16(s.frame + s.l4 + (s.tcp ? 16 : 6)), slow_sum(&s, s.frame, len - s.l4, false));
    slow_split(&s, out);
}

static void lists_equal(const struct list *a, const struct list *b)
{
    assert_int_equal(a->n, b->n);
    for (unsigned i = 0; i < a->n; i++) {
        assert_int_equal(a->len[i], b->len[i]);
        assert_memory_equal(a->frame[i], b->frame[i], a->len[i]);
    }
}

/* ---- the property ---- */

static unsigned runs_of_many;

static void split_all(const struct super *s, size_t most, struct list *out)
{
    struct vnet_frame f;
    struct gso_split split;
    size_t n;
    assert_int_equal(vnet_check(&f, s->hdr, s->frame, s->len), 0);
    if (!f.gso) {
        list_add(out, s->frame, s->len);
        return;
    }
    gso_split_begin(&split, s->frame, s->len, &f, most);
    while ((n = gso_split_size(&split))) {
        uint8_t seg[ROOM];
        gso_split_next(&split, seg);
        list_add(out, seg, n);
    }
}

static void join_all(const struct list *in, struct list *out)
{
    static struct gso_run run;
    run.n = 0;
    for (unsigned i = 0; i < in->n; i++) {
        if (gso_run_add(&run, in->frame[i], in->len[i], true, true))
            continue;
        runs_of_many += run.n > 1;
        slow_take_apart(run.out, gso_run_finish(&run), out);
        run.n = 0;
        assert_true(gso_run_add(&run, in->frame[i], in->len[i], true, true));
    }
    if (run.n)
        slow_take_apart(run.out, gso_run_finish(&run), out);
    runs_of_many += run.n > 1;
}

/* The network loses some, and lets some overtake others. */
static void mistreat(struct list *a, struct list *b)
{
    unsigned loss = below(3) ? below(10) : 0, swaps = below(3) ? below(6) : 0;
    for (unsigned i = 0; i < a->n && loss; i++)
        if (below(100) < loss) {
            free(a->frame[i]);
            free(b->frame[i]);
            memmove(a->frame + i, a->frame + i + 1, (a->n - i - 1) * sizeof *a->frame);
            memmove(b->frame + i, b->frame + i + 1, (b->n - i - 1) * sizeof *b->frame);
            memmove(a->len + i, a->len + i + 1, (a->n - i - 1) * sizeof *a->len);
            memmove(b->len + i, b->len + i + 1, (b->n - i - 1) * sizeof *b->len);
            a->n--;
            b->n--;
        }
    for (unsigned k = 0; k < swaps && a->n > 1; k++) {
        unsigned i = below(a->n), j = (i + 1 + below(5)) % a->n;
        struct list *l[2] = {a, b};
        for (unsigned s = 0; s < 2; s++) {
            uint8_t *f = l[s]->frame[i];
            size_t n = l[s]->len[i];
            l[s]->frame[i] = l[s]->frame[j];
            l[s]->len[i] = l[s]->len[j];
            l[s]->frame[j] = f;
            l[s]->len[j] = n;
        }
    }
}

/* Frames → superframes → a hostile network → superframes are, frame for frame, byte for byte, what the same network
 * would have delivered of the frames. */
static void as_if_plain(void **state)
{
    static struct super s;
    const char *text = getenv("SEED");
    uint64_t first = text ? strtoull(text, NULL, 0) : 1;
    (void)state;
    runs_of_many = 0;
    for (uint64_t seed = first; seed < first + (text ? 1 : 400); seed++) {
        struct list sent = {.n = 0}, plain = {.n = 0}, got = {.n = 0};
        struct stream st[2];
        vi_rng_seed(&rng, seed);
        make_stream(&st[0]);
        make_stream(&st[1]);
        for (unsigned k = 0; k < 6; k++) {
            struct stream *one = &st[below(2)];
            unsigned size = 100 + below(1400), segs = 1 + below(one->tcp ? 40 : 20);
            size_t payload = (size_t)size * (segs - 1) + 1 + below(size);
            if (payload < VNET_TCP_MIN)
                payload = VNET_TCP_MIN;
            make_super(&s, one, size, payload > 65000 ? 65000 : payload);
            split_all(&s, 9216, &sent);
            slow_split(&s, &plain);
        }
        mistreat(&sent, &plain);
        join_all(&sent, &got);
        if (got.n != plain.n)
            print_error("seed %llu\n", (unsigned long long)seed);
        lists_equal(&got, &plain);
        list_free(&sent);
        list_free(&plain);
        list_free(&got);
    }
    assert_true(runs_of_many > (text ? 0 : 400)); /* joining did happen */
}

/* An undisturbed superframe comes out as one. */
static void whole_again(void **state)
{
    static struct super s;
    static struct gso_run run;
    (void)state;
    vi_rng_seed(&rng, 7);
    for (unsigned k = 0; k < 8; k++) {
        struct list l = {.n = 0};
        struct stream st = {.v6 = k & 1, .tcp = k & 2, .vlan = k & 4, .df = true, .port = 5};
        uint8_t all[VNET_HDR + ROOM];
        size_t len = 0;
        make_super(&s, &st, 1000, 20500);
        if (st.tcp)
            s.frame[s.l4 + 13] = 0x18;
        split_all(&s, 9216, &l);
        assert_int_equal(l.n, 21);
        run.n = 0;
        for (unsigned i = 0; i < l.n; i++)
            assert_true(gso_run_add(&run, l.frame[i], l.len[i], true, true));
        assert_true(run.closed);
        for (unsigned i = 0, n = gso_run_finish(&run); i < n; len += run.out[i++].len)
            memcpy(all + len, run.out[i].p, run.out[i].len);
        assert_int_equal(len, VNET_HDR + s.len);
        assert_memory_equal(all + VNET_HDR, s.frame, s.len);
        list_free(&l);
    }
}

/* A smaller path makes smaller segments of a stream, and the bytes are the same. */
static void smaller_segments(void **state)
{
    static struct super s;
    uint8_t bytes[ROOM];
    (void)state;
    vi_rng_seed(&rng, 8);
    for (unsigned df = 0; df < 2; df++) {
        struct list l = {.n = 0};
        struct stream st = {.tcp = true, .df = df, .seq = 0xfffff000u};
        size_t at = 0;
        make_super(&s, &st, 1460, 30000);
        split_all(&s, 1200, &l);
        for (unsigned i = 0; i < l.n; i++) {
            assert_int_equal(get32(l.frame[i] + s.l4 + 4), 0xfffff000u + (uint32_t)at);
            memcpy(bytes + at, l.frame[i] + s.payload, l.len[i] - s.payload);
            at += l.len[i] - s.payload;
            if (df)
                assert_true(l.len[i] <= 1200);
        }
        assert_int_equal(at, 30000);
        assert_memory_equal(bytes, s.frame + s.payload, at);
        if (!df) /* identity numbers of frames that may be fragmented must not be used twice */
            assert_int_equal(l.len[0], s.payload + 1460);
        list_free(&l);
    }
}

/* ---- what isn't joined ---- */

static bool joins(const uint8_t *a, const uint8_t *b, size_t len, bool partial)
{
    static struct gso_run run;
    uint8_t x[2048], y[2048];
    memcpy(x, a, len);
    memcpy(y, b, len);
    run.n = 0;
    assert_true(gso_run_add(&run, x, len, partial, true));
    return gso_run_add(&run, y, len, partial, true);
}

static void differences_keep_apart(void **state)
{
    static struct super s;
    struct stream st = {.tcp = true, .df = true, .options = 12, .port = 9};
    struct list l = {.n = 0};
    unsigned kept = 0;
    (void)state;
    vi_rng_seed(&rng, 9);
    make_super(&s, &st, 500, 1000);
    s.frame[s.l4 + 13] = 0x10;
    split_all(&s, 9216, &l);
    assert_true(joins(l.frame[0], l.frame[1], l.len[0], true));
    assert_false(joins(l.frame[0], l.frame[1], l.len[0], false)); /* whole checksums stay what they are */
    assert_false(joins(l.frame[1], l.frame[0], l.len[0], true));
    assert_false(joins(l.frame[0], l.frame[0], l.len[0], true));
    for (unsigned i = 0; i < s.payload; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            /* IP's and TCP's checksums are recomputed, lengths must be right anyway, PSH and FIN may end a run */
            bool free_to_differ = (i >= s.l3 + 10 && i < s.l3 + 12) || (i >= s.l4 + 16 && i < s.l4 + 18) ||
                                  (i == s.l4 + 13 && (bit == 0 || bit == 3));
            l.frame[1][i] ^= (uint8_t)(1 << bit);
            assert_int_equal(joins(l.frame[0], l.frame[1], l.len[0], true), free_to_differ);
            l.frame[1][i] ^= (uint8_t)(1 << bit);
            kept += !free_to_differ;
        }
    assert_int_equal(kept, s.payload * 8 - 34);
    list_free(&l);
}

/* ---- hostile headers ---- */

static int check(const struct super *s, struct vnet_header h)
{
    struct vnet_frame f;
    uint8_t hdr[VNET_HDR];
    vnet_write(hdr, &h);
    return vnet_check(&f, hdr, s->frame, s->len);
}

static void hostile_headers(void **state)
{
    static struct super s;
    struct stream st = {.tcp = true, .df = true};
    struct vnet_header good, h;
    (void)state;
    vi_rng_seed(&rng, 10);
    make_super(&s, &st, 1000, 5000);
    s.hdr[1] &= 0x7f;
    vnet_read(&good, s.hdr);
    assert_int_equal(check(&s, good), 0);
#define BAD(field, value)                                                                          \
    h = good;                                                                                      \
    h.field = (value);                                                                             \
    assert_int_equal(check(&s, h), VI_EPROTO)
    BAD(gso_size, 0);
    BAD(gso_size, 1);
    BAD(gso_size, VNET_TCP_MIN - 1);
    BAD(hdr_len, (uint16_t)(s.len + 1));
    BAD(csum_start, (uint16_t)s.len);
    BAD(csum_start, 65535);
    BAD(csum_start, 0);
    BAD(csum_start, good.csum_start + 2);
    BAD(csum_offset, 65535);
    BAD(csum_offset, 6);
    BAD(flags, 0);
    BAD(gso_type, VNET_GSO_TCPV6);
    BAD(gso_type, VNET_GSO_UDP_L4);
    BAD(gso_type, 3); /* UDP fragmentation: never offered */
    BAD(gso_type, 99);
    BAD(gso_type, VNET_GSO_ECN);
#undef BAD
    /* a frame that isn't what its header says */
    for (unsigned i = s.l3; i < s.l3 + 4; i++) {
        s.frame[i] ^= 0x04;
        assert_int_equal(check(&s, good), i == s.l3 + 1 ? 0 : VI_EPROTO); /* but for the type of service */
        s.frame[i] ^= 0x04;
    }
    s.frame[s.l3 + 6] ^= 0x20; /* a fragment */
    assert_int_equal(check(&s, good), VI_EPROTO);
    s.frame[s.l3 + 6] ^= 0x20;
    s.frame[s.l4 + 12] = 0xf0; /* options behind the header_len */
    h = good;
    assert_int_equal(check(&s, h), 0);
    s.frame[s.l4 + 12] = 0x40; /* less than a TCP header */
    assert_int_equal(check(&s, good), VI_EPROTO);
    for (size_t len = 0; len < 60; len++) {
        s.len = len;
        assert_int_equal(check(&s, good), VI_EPROTO);
        s.len = len;
        h = (struct vnet_header){0};
        assert_int_equal(check(&s, h), len < 14 ? VI_EPROTO : 0);
    }
}

static void too_many_datagrams(void **state)
{
    static struct super s;
    struct stream st = {.tcp = false};
    (void)state;
    vi_rng_seed(&rng, 11);
    make_super(&s, &st, 10, 10 * VNET_UDP_SEGS);
    assert_int_equal(check(&s, (struct vnet_header){1, VNET_GSO_UDP_L4, 42, 10, 34, 6}), 0);
    make_super(&s, &st, 10, 10 * VNET_UDP_SEGS + 1);
    assert_int_equal(check(&s, (struct vnet_header){1, VNET_GSO_UDP_L4, 42, 10, 34, 6}), VI_EPROTO);
    for (unsigned more = 0; more < 2; more++) {
        struct vnet_header h;
        st = (struct stream){.tcp = true};
        make_super(&s, &st, VNET_TCP_MIN, VNET_TCP_MIN * VNET_TCP_SEGS + more);
        vnet_read(&h, s.hdr);
        assert_int_equal(check(&s, h), more ? VI_EPROTO : 0);
    }
}

/* A checksum of something that isn't looked into is completed here, from its own place on. */
static void foreign_checksum(void **state)
{
    uint8_t frame[100] = {2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5}, hdr[VNET_HDR];
    struct vnet_header h = {.flags = 1, .csum_start = 20, .csum_offset = 4};
    struct vnet_frame f;
    uint32_t sum = 0;
    (void)state;
    for (unsigned i = 14; i < 100; i++)
        frame[i] = (uint8_t)(i * 3);
    vnet_write(hdr, &h);
    assert_int_equal(vnet_check(&f, hdr, frame, sizeof frame), 0);
    assert_false(f.partial);
    assert_int_equal(f.csum_at, 24);
    unsigned was = get16(frame + 24); /* stands for the sum of what isn't in the range */
    vnet_complete(frame, sizeof frame, f.csum_start, f.csum_at);
    for (unsigned i = 20; i < 100; i += 2)
        sum += get16(frame + i);
    sum += was;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    assert_int_equal(sum, 0xffff);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_if_plain),        cmocka_unit_test(whole_again),
        cmocka_unit_test(smaller_segments),   cmocka_unit_test(differences_keep_apart),
        cmocka_unit_test(hostile_headers),    cmocka_unit_test(too_many_datagrams),
        cmocka_unit_test(foreign_checksum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
