/* Splitting superframes, and joining frames. See gso.h. */
#include "overlay/gso.h"

#include <string.h>

#define TCP 6
#define UDP 17
#define FIN 0x01
#define SYN 0x02
#define RST 0x04
#define PSH 0x08
#define URG 0x20
#define CWR 0x80

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void put16(uint8_t *p, size_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
    put16(p, v >> 16);
    put16(p + 2, v & 0xffff);
}

/* Lengths, identity and header checksum of the IP header for a frame of len bytes. */
static void set_ip(const struct vnet_frame *f, uint8_t *frame, size_t len, uint16_t id)
{
    uint8_t *ip = frame + f->l3;
    if (f->v6) {
        put16(ip + 4, len - f->l3 - 40);
        return;
    }
    put16(ip + 2, len - f->l3);
    put16(ip + 4, id);
    put16(ip + 10, 0);
    put16(ip + 10, (uint16_t)~vnet_fold(vnet_sum(0, ip, (size_t)(ip[0] & 15) * 4)));
}

/* ---- splitting ---- */

void gso_split_begin(struct gso_split *s, const uint8_t *frame, size_t len, const struct vnet_frame *f,
                     size_t most)
{
    memset(s, 0, sizeof *s);
    s->frame = frame;
    s->len = len;
    s->f = *f;
    s->size = f->gso_size;
    s->pseudo = vnet_pseudo(f, frame, 0);
    if (f->proto == TCP && f->payload + s->size > most && most >= (size_t)f->payload + VNET_TCP_MIN &&
        (f->v6 || frame[f->l3 + 6] & 0x40))
        s->size = (unsigned)(most - f->payload);
}

size_t gso_split_size(const struct gso_split *s)
{
    size_t left = s->len - s->f.payload - s->at;
    return left == 0 ? 0 : s->f.payload + (left < s->size ? left : s->size);
}

void gso_split_next(struct gso_split *s, uint8_t *out)
{
    const struct vnet_frame *f = &s->f;
    size_t len = gso_split_size(s), n = len - f->payload, l4_len = len - f->l4;
    uint8_t *l4 = out + f->l4;
    bool last = s->at + n == s->len - f->payload;
    memcpy(out, s->frame, f->payload);
    memcpy(out + f->payload, s->frame + f->payload + s->at, n);
    set_ip(f, out, len, f->v6 ? 0 : (uint16_t)(get16(s->frame + f->l3 + 4) + s->index));
    if (f->proto == TCP) {
        put32(l4 + 4, get32(l4 + 4) + (uint32_t)s->at);
        if (!last)
            l4[13] &= (uint8_t) ~(FIN | PSH);
        if (s->index)
            l4[13] &= (uint8_t)~CWR;
    } else
        put16(l4 + 4, l4_len);
    put16(out + vnet_csum_at(f), vnet_fold((uint32_t)s->pseudo + (uint32_t)l4_len));
    s->at += n;
    s->index++;
}

/* ---- joining ---- */

/* May a frame be part of a superframe at all? */
static bool joinable(const struct vnet_frame *f, const uint8_t *frame, size_t len, bool partial, bool udp)
{
    size_t l3_len;
    if (!partial || !f->proto || f->payload == len || f->payload > VNET_HEADERS)
        return false;
    l3_len = f->v6 ? 40u + get16(frame + f->l3 + 4) : get16(frame + f->l3 + 2);
    if (l3_len != len - f->l3) /* padded, or lying */
        return false;
    if (f->proto == TCP)
        return len - f->payload >= VNET_TCP_MIN && !(frame[f->l4 + 13] & (SYN | RST | URG | CWR));
    return udp && get16(frame + f->l4 + 4) == len - f->l4;
}

/* Are the headers equal, but for what differs between the frames of one superframe? */
static bool same_headers(const struct vnet_frame *f, const uint8_t *a, const uint8_t *b)
{
    const uint8_t *x = a + f->l3, *y = b + f->l3;
    if (memcmp(a, b, f->l3))
        return false;
    if (f->v6) { /* all but the length */
        if (memcmp(x, y, 4) || memcmp(x + 6, y + 6, (size_t)(f->l4 - f->l3) - 6))
            return false;
    } else if (memcmp(x, y, 2) || memcmp(x + 6, y + 6, 4) || memcmp(x + 12, y + 12, (size_t)(f->l4 - f->l3) - 12))
        return false;
    x = a + f->l4;
    y = b + f->l4;
    if (memcmp(x, y, 4)) /* ports */
        return false;
    if (f->proto == UDP)
        return true;
    return !memcmp(x + 8, y + 8, 5) && !((x[13] ^ y[13]) & ~(FIN | PSH)) && !memcmp(x + 14, y + 14, 2) &&
           !memcmp(x + 18, y + 18, (size_t)(f->payload - f->l4) - 18);
}

static void begin(struct gso_run *r, uint8_t *frame, size_t len, bool partial, bool udp)
{
    vnet_layers(&r->f, frame, len);
    r->n = 1;
    r->len = len;
    r->partial = partial && r->f.proto;
    r->frame[0] = (struct gso_part){frame, len};
    r->closed = !joinable(&r->f, frame, len, partial, udp);
    if (r->closed)
        return;
    r->f.gso_size = (uint16_t)(len - r->f.payload);
    r->next_id = r->f.v6 ? 0 : (uint16_t)(get16(frame + r->f.l3 + 4) + 1);
    if (r->f.proto == TCP) {
        r->next_seq = get32(frame + r->f.l4 + 4) + r->f.gso_size;
        r->closed = frame[r->f.l4 + 13] & (FIN | PSH);
    }
}

bool gso_run_add(struct gso_run *r, uint8_t *frame, size_t len, bool partial, bool udp)
{
    const struct vnet_frame *f = &r->f;
    struct vnet_frame other;
    size_t payload;
    if (r->n == 0) {
        begin(r, frame, len, partial, udp);
        return true;
    }
    if (r->closed || r->n == GSO_RUN || len <= f->payload)
        return false;
    vnet_layers(&other, frame, len);
    payload = len - f->payload;
    if (!joinable(&other, frame, len, partial, udp) || other.proto != f->proto || other.v6 != f->v6 ||
        other.l3 != f->l3 || other.l4 != f->l4 || other.payload != f->payload || payload > f->gso_size ||
        r->len + payload - f->l3 > 65535 || !same_headers(f, r->frame[0].p, frame))
        return false;
    if (!f->v6 && get16(frame + f->l3 + 4) != r->next_id)
        return false;
    if (f->proto == TCP && get32(frame + f->l4 + 4) != r->next_seq)
        return false;
    r->frame[r->n++] = (struct gso_part){frame, len};
    r->len += payload;
    r->next_id++;
    r->next_seq += (uint32_t)payload;
    r->closed = payload < f->gso_size || (f->proto == TCP && frame[f->l4 + 13] & (FIN | PSH));
    return true;
}

unsigned gso_run_finish(struct gso_run *r)
{
    const struct vnet_frame *f = &r->f;
    struct vnet_header h = {0};
    uint8_t *head = r->head + VNET_HDR;
    const struct gso_part *last = &r->frame[r->n - 1];
    if (r->partial) {
        h.flags = VNET_NEEDS_CSUM;
        h.csum_start = f->l4;
        h.csum_offset = (uint16_t)(vnet_csum_at(f) - f->l4);
    }
    if (r->n == 1) {
        vnet_write(r->head, &h);
        r->out[0] = (struct gso_part){r->head, VNET_HDR};
        r->out[1] = r->frame[0];
        return 2;
    }
    h.gso_type = f->proto == UDP ? VNET_GSO_UDP_L4 : f->v6 ? VNET_GSO_TCPV6 : VNET_GSO_TCPV4;
    h.gso_size = f->gso_size;
    h.hdr_len = f->payload;
    vnet_write(r->head, &h);
    memcpy(head, r->frame[0].p, f->payload);
    set_ip(f, head, r->len, f->v6 ? 0 : get16(head + f->l3 + 4));
    if (f->proto == TCP)
        head[f->l4 + 13] |= last->p[f->l4 + 13] & (FIN | PSH);
    else
        put16(head + f->l4 + 4, r->len - f->l4);
    put16(head + vnet_csum_at(f), vnet_pseudo(f, head, r->len - f->l4));
    r->out[0] = (struct gso_part){r->head, VNET_HDR + (size_t)f->payload};
    for (unsigned i = 0; i < r->n; i++)
        r->out[i + 1] = (struct gso_part){r->frame[i].p + f->payload, r->frame[i].len - f->payload};
    return r->n + 1;
}
