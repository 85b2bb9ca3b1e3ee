/* What a frame says about IP addresses. See frame_says.h. */
#include "overlay/frame_says.h"

#include <string.h>

#define ETHER        14
#define ARP_LEN      (ETHER + 28)
#define IP4_LEN      (ETHER + 20)
#define IP6_LEN      (ETHER + 40)
#define ND_LEN       (IP6_LEN + 24) /* up to the target's end */
#define ICMPV6       58
#define SOLICITATION 135
#define ADVERTISEMENT 136

static bool is_type(const uint8_t *frame, unsigned type)
{
    return (unsigned)(frame[12] << 8 | frame[13]) == type;
}

static bool is_arp(const uint8_t *f, size_t len)
{
    static const uint8_t ethernet_ip4[6] = {0, 1, 8, 0, 6, 4};
    return len >= ARP_LEN && is_type(f, 0x0806) && !memcmp(f + ETHER, ethernet_ip4, 6) && f[20] == 0 &&
           (f[21] == 1 || f[21] == 2);
}

static bool is_nd(const uint8_t *f, size_t len)
{
    return len >= ND_LEN && is_type(f, 0x86dd) && f[20] == ICMPV6 &&
           (f[IP6_LEN] == SOLICITATION || f[IP6_LEN] == ADVERTISEMENT);
}

bool frame_resolves(const uint8_t *frame, size_t len)
{
    return is_arp(frame, len) || is_nd(frame, len);
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

static void arp(struct frame_says *s, const uint8_t *f)
{
    const uint8_t *sender = f + 28, *target = f + 38;
    s->forged = memcmp(f + 22, f + 6, 6) != 0;
    s->source = any_set(sender, 4);
    s->claim = s->source && !s->forged;
    set4(s->ip, sender);
    s->asks = f[21] == 1 && memcmp(sender, target, 4) != 0 && any_set(target, 4);
    set4(s->asked, target);
}

static void nd(struct frame_says *s, const uint8_t *f)
{
    const uint8_t *source = f + 22, *target = f + IP6_LEN + 8;
    bool solicits = f[IP6_LEN] == SOLICITATION;
    memcpy(s->ip, solicits ? source : target, IP_BYTES);
    s->source = s->claim = any_set(s->ip, IP_BYTES) && s->ip[0] != 0xff;
    s->asks = solicits && memcmp(source, target, IP_BYTES) != 0;
    memcpy(s->asked, target, IP_BYTES);
}

void frame_says(struct frame_says *out, const uint8_t *f, size_t len)
{
    memset(out, 0, sizeof *out);
    if (is_arp(f, len)) {
        arp(out, f);
    } else if (is_nd(f, len)) {
        nd(out, f);
    } else if (len >= IP4_LEN && is_type(f, 0x0800)) {
        set4(out->ip, f + 26);
        out->source = any_set(f + 26, 4);
    } else if (len >= IP6_LEN && is_type(f, 0x86dd)) {
        memcpy(out->ip, f + 22, IP_BYTES);
        out->source = any_set(out->ip, IP_BYTES);
    }
}
