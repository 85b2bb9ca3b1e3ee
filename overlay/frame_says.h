/* What a frame says about IP addresses: whose it says it is, and whom it asks for. Pure. ARP (RFC 826), neighbour
 * discovery (RFC 4861 §4.3, §4.4), IPv4, IPv6. A frame with a VLAN tag says nothing: addresses in there are others. */
#ifndef OVERLAY_FRAME_SAYS_H
#define OVERLAY_FRAME_SAYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IP_BYTES 16 /* IPv4 as ::ffff:a.b.c.d (RFC 4291 §2.5.5.2) */

struct frame_says {
    bool source; /* ip: the address that the sender says it has */
    bool claim;  /* … by ARP or neighbour discovery: by this others will find it */
    bool asks;   /* asked: an ARP request or neighbour solicitation for it; not when it asks for its own */
    bool forged; /* ARP with another sender's MAC than the frame's */
    uint8_t ip[IP_BYTES], asked[IP_BYTES];
};

/* len bytes of a frame, headers in its beginning; a frame that is cut says nothing. */
void frame_says(struct frame_says *out, const uint8_t *frame, size_t len);
/* Is it ARP or neighbour discovery, the only ones that ask and claim? Cheap, for every frame. */
bool frame_resolves(const uint8_t *frame, size_t len);

#endif
