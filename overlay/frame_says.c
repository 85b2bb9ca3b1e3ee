/* What a frame says about IP addresses. See frame_says.h. */
#include "overlay/frame_says.h"

#include <string.h>

#define ETHER        14
#define ARP_LEN      (ETHER + 28)
#define IP4_LEN      (ETHER + 20)
#define IP6_LEN      (ETHER + 40)
#define ND_LEN       24 /* up to the target's end */
#define ICMPV6       58
#define SOLICITATION 135
#define ADVERTISEMENT 136

static bool is_type(const uint8_t *frame, unsigned type)
{
    return (unsigned)(frame[12] << 8 | frame[13]) == type;
}

/* How many bytes of tags there are before what it carries. A tag of VLAN 0 tells a priority only: who gets the frame
 * takes it as one without. */
static size_t tags(const uint8_t *f, size_t len)
{
    size_t n = 0;
    while (len >= n + ETHER + 4 && (is_type(f + n, 0x8100) || is_type(f + n, 0x88a8)) && !(f[n + ETHER] & 15) &&
           !f[n + ETHER + 1])
        n += 4;
    return n;
}

/* Systems take ARP of IEEE 802's hardware type (6) like Ethernet's. */
static bool is_arp(const uint8_t *f, size_t len)
{
    static const uint8_t ip4[4] = {8, 0, 6, 4};
    return len >= ARP_LEN && is_type(f, 0x0806) && f[14] == 0 && (f[15] == 1 || f[15] == 6) && !memcmp(f + 16, ip4, 4) &&
           f[20] == 0 && (f[21] == 1 || f[21] == 2);
}

/* Where a solicitation or an advertisement begins, behind options and routing headers too; 0: it is none. */
static size_t nd_at(const uint8_t *f, size_t len)
{
    size_t at = IP6_LEN;
    uint8_t next;
    if (len < IP6_LEN || !is_type(f, 0x86dd))
        return 0;
    next = f[20];
    while ((next == 0 || next == 43 || next == 60) && len >= at + 8) {
        next = f[at];
        at += 8 + (size_t)f[at + 1] * 8;
    }
    return next == ICMPV6 && len >= at + ND_LEN && (f[at] == SOLICITATION || f[at] == ADVERTISEMENT) ? at : 0;
}

bool frame_resolves(const uint8_t *frame, size_t len)
{
    size_t skip = len < ETHER ? 0 : tags(frame, len);
    return is_arp(frame + skip, len - skip) || nd_at(frame + skip, len - skip);
}

static void set4(uint8_t out[IP_BYTES], const uint8_t ip[4])
{
    memset(out, 0, 10);
    memset(out + 10, 0xff, 2);
    memcpy(out + 12, ip, 4);
}

static bool any_set(const uint8_t *p, size_t n)
{
    uint8_t all = 0;
    for (size_t i = 0; i < n; i++)
        all |= p[i];
    return all != 0;
}

static void arp(struct frame_says *s, const uint8_t mac[6], const uint8_t *f)
{
    const uint8_t *sender = f + 28, *target = f + 38;
    s->forged = memcmp(f + 22, mac, 6) != 0;
    s->source = any_set(sender, 4);
    s->claim = s->source && !s->forged;
    set4(s->ip, sender);
    s->asks = f[21] == 1 && memcmp(sender, target, 4) != 0 && any_set(target, 4);
    set4(s->asked, target);
}

static void nd(struct frame_says *s, const uint8_t *f, size_t at)
{
    const uint8_t *source = f + 22, *target = f + at + 8;
    bool solicits = f[at] == SOLICITATION;
    memcpy(s->ip, solicits ? source : target, IP_BYTES);
    s->source = s->claim = any_set(s->ip, IP_BYTES) && s->ip[0] != 0xff;
    s->asks = solicits && memcmp(source, target, IP_BYTES) != 0;
    memcpy(s->asked, target, IP_BYTES);
}

void frame_says(struct frame_says *out, const uint8_t *frame, size_t len)
{
    size_t skip = len < ETHER ? 0 : tags(frame, len), at;
    const uint8_t *f = frame + skip;
    len -= skip;
    memset(out, 0, sizeof *out);
    if (is_arp(f, len)) {
        arp(out, frame + 6, f);
    } else if ((at = nd_at(f, len))) {
        nd(out, f, at);
    } else if (len >= IP4_LEN && is_type(f, 0x0800)) {
        set4(out->ip, f + 26);
        out->source = any_set(f + 26, 4);
    } else if (len >= IP6_LEN && is_type(f, 0x86dd)) {
        memcpy(out->ip, f + 22, IP_BYTES);
        out->source = any_set(out->ip, IP_BYTES);
    }
}
