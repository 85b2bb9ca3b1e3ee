/* The header before a frame, checked. See vnet.h. */
#include "overlay/vnet.h"

#include <string.h>

#include "peer/base/err.h"

#define TCP 6
#define UDP 17
#define EXTENSIONS 8 /* IPv6 extension headers that are walked */

static unsigned get16(const uint8_t *p)
{
    return (unsigned)(p[0] << 8 | p[1]);
}

void vnet_read(struct vnet_header *h, const uint8_t in[VNET_HDR])
{
    h->flags = in[0];
    h->gso_type = in[1];
    memcpy(&h->hdr_len, in + 2, 2);
    memcpy(&h->gso_size, in + 4, 2);
    memcpy(&h->csum_start, in + 6, 2);
    memcpy(&h->csum_offset, in + 8, 2);
}

void vnet_write(uint8_t out[VNET_HDR], const struct vnet_header *h)
{
    out[0] = h->flags;
    out[1] = h->gso_type;
    memcpy(out + 2, &h->hdr_len, 2);
    memcpy(out + 4, &h->gso_size, 2);
    memcpy(out + 6, &h->csum_start, 2);
    memcpy(out + 8, &h->csum_offset, 2);
}

/* The protocol behind IPv6's extension headers, and where it begins; 0: none that is looked for. */
static uint8_t walk_v6(const uint8_t *frame, size_t len, size_t l3, size_t *at)
{
    uint8_t next = frame[l3 + 6];
    *at = l3 + 40;
    for (unsigned i = 0; i < EXTENSIONS; i++) {
        if (next != 0 && next != 43 && next != 60)
            return next;
        if (*at + 8 > len)
            return 0;
        next = frame[*at];
        *at += 8 + (size_t)frame[*at + 1] * 8;
    }
    return 0;
}

void vnet_layers(struct vnet_frame *f, const uint8_t *frame, size_t len)
{
    size_t l3 = 14, l4, payload;
    unsigned type;
    uint8_t proto;
    memset(f, 0, sizeof *f);
    if (len < 14)
        return;
    type = get16(frame + 12);
    for (unsigned i = 0; i < 2 && (type == 0x8100 || type == 0x88a8) && len >= l3 + 4; i++) {
        type = get16(frame + l3 + 2);
        l3 += 4;
    }
    if (type == 0x0800 && len >= l3 + 20 && frame[l3] >> 4 == 4 && (frame[l3] & 15) >= 5) {
        if (get16(frame + l3 + 6) & 0x3fff)
            return; /* a fragment */
        l4 = l3 + (size_t)(frame[l3] & 15) * 4;
        proto = frame[l3 + 9];
    } else if (type == 0x86dd && len >= l3 + 40 && frame[l3] >> 4 == 6) {
        proto = walk_v6(frame, len, l3, &l4);
        f->v6 = true;
    } else
        return;
    if (l4 > VNET_L4_MAX || (proto != TCP && proto != UDP) || len < l4 + (proto == TCP ? 20 : 8))
        return;
    payload = l4 + (proto == UDP ? 8 : (size_t)(frame[l4 + 12] >> 4) * 4);
    if (payload > len || payload < l4 + (proto == TCP ? 20 : 8))
        return;
    f->proto = proto;
    f->l3 = (uint16_t)l3;
    f->l4 = (uint16_t)l4;
    f->payload = (uint16_t)payload;
}

size_t vnet_csum_at(const struct vnet_frame *f)
{
    return f->l4 + (f->proto == TCP ? 16u : 6u);
}

/* Is the superframe what its header says? Its lengths must be the frame's to the byte. */
static bool whole_superframe(const struct vnet_frame *f, unsigned type, const uint8_t *frame, size_t len)
{
    size_t l3_len = f->v6 ? 40 + get16(frame + f->l3 + 4) : get16(frame + f->l3 + 2);
    size_t payload = len - f->payload;
    if (!f->partial || l3_len != len - f->l3 || payload == 0)
        return false;
    if (type == VNET_GSO_TCPV4 || type == VNET_GSO_TCPV6)
        return f->proto == TCP && f->v6 == (type == VNET_GSO_TCPV6) && f->gso_size >= VNET_TCP_MIN &&
               payload <= (size_t)f->gso_size * VNET_TCP_SEGS;
    return type == VNET_GSO_UDP_L4 && f->proto == UDP && f->gso_size > 0 &&
           payload <= (size_t)f->gso_size * VNET_UDP_SEGS;
}

int vnet_check(struct vnet_frame *f, const uint8_t hdr[VNET_HDR], const uint8_t *frame, size_t len)
{
    struct vnet_header h;
    unsigned type;
    vnet_read(&h, hdr);
    vnet_layers(f, frame, len);
    type = h.gso_type & ~VNET_GSO_ECN & 0xff;
    if (len < 14 || (h.gso_type != VNET_GSO_NONE && h.hdr_len > len))
        return VI_EPROTO;
    if (h.flags & VNET_NEEDS_CSUM) {
        size_t at = (size_t)h.csum_start + h.csum_offset;
        if (h.csum_start < 14 || at + 2 > len || at > UINT16_MAX)
            return VI_EPROTO;
        f->partial = f->proto && h.csum_start == f->l4 && at == vnet_csum_at(f);
        if (!f->partial) {
            f->csum_start = h.csum_start;
            f->csum_at = (uint16_t)at;
        }
    }
    if (h.gso_type == VNET_GSO_NONE)
        return 0;
    f->gso = (uint8_t)type;
    f->gso_size = h.gso_size;
    return whole_superframe(f, type, frame, len) ? 0 : VI_EPROTO;
}

uint32_t vnet_sum(uint32_t sum, const uint8_t *p, size_t len)
{
    uint64_t s = sum;
    for (; len >= 2; p += 2, len -= 2)
        s += get16(p);
    if (len)
        s += (uint64_t)p[0] << 8;
    while (s >> 32)
        s = (s & 0xffffffff) + (s >> 32);
    return (uint32_t)s;
}

uint16_t vnet_fold(uint32_t sum)
{
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)sum;
}

uint16_t vnet_pseudo(const struct vnet_frame *f, const uint8_t *frame, size_t l4_len)
{
    const uint8_t *ip = frame + f->l3;
    uint32_t sum = f->v6 ? vnet_sum(0, ip + 8, 32) : vnet_sum(0, ip + 12, 8);
    return vnet_fold(vnet_fold(sum) + f->proto + (uint32_t)(l4_len >> 16) + (uint32_t)(l4_len & 0xffff));
}

void vnet_complete(uint8_t *frame, size_t len, size_t start, size_t at)
{
    uint16_t c = (uint16_t)~vnet_fold(vnet_sum(0, frame + start, len - start));
    if (c == 0)
        c = 0xffff; /* 0 would say "no checksum" with UDP, and is the same with the others */
    frame[at] = (uint8_t)(c >> 8);
    frame[at + 1] = (uint8_t)c;
}
