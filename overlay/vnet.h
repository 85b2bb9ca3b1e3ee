/* What stands before each frame on a TAP: struct virtio_net_hdr (10 bytes, the machine's byte order;
 * Virtual I/O Device 1.2, §5.1.6). A guest can have anything written there, so it is checked against
 * the frame before anybody believes it. Pure. */
#ifndef OVERLAY_VNET_H
#define OVERLAY_VNET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VNET_HDR      10
#define VNET_L4_MAX   256 /* offset of TCP or UDP, at most; further in, they aren't looked for */
#define VNET_HEADERS  (VNET_L4_MAX + 60) /* all headers of a frame that is split or joined, at most */
#define VNET_TCP_MIN  8    /* a superframe's segments have at least so many bytes of payload (Linux: an MSS of 48 less the options) … */
#define VNET_TCP_SEGS 2048 /* … and there are at most so many of them, … */
#define VNET_UDP_SEGS 128  /* … or, with UDP, so many */

#define VNET_NEEDS_CSUM 1 /* flags */
#define VNET_GSO_NONE   0 /* types */
#define VNET_GSO_TCPV4  1
#define VNET_GSO_TCPV6  4
#define VNET_GSO_UDP_L4 5
#define VNET_GSO_ECN    0x80

struct vnet_header {
    uint8_t flags, gso_type;
    uint16_t hdr_len, gso_size, csum_start, csum_offset;
};
void vnet_read(struct vnet_header *h, const uint8_t in[VNET_HDR]);
void vnet_write(uint8_t out[VNET_HDR], const struct vnet_header *h);

/* Where things are in a frame. */
struct vnet_frame {
    bool v6;
    uint8_t proto;     /* 6, 17, or 0: no TCP or UDP, a fragment, or not understood; then the rest is 0 */
    uint16_t l3, l4, payload;
    uint8_t gso;       /* VNET_GSO_…, without ECN; not 0: a superframe, its segments have gso_size bytes */
    uint16_t gso_size;
    bool partial;      /* the TCP or UDP checksum field holds only the pseudo-header's sum */
    uint16_t csum_start, csum_at; /* a checksum of something else is to be completed; csum_at 0: none */
};

/* Ethernet (with up to two VLAN tags), IPv4 or IPv6, TCP or UDP. Sets all but gso, partial, csum. */
void vnet_layers(struct vnet_frame *f, const uint8_t *frame, size_t len);

/* The header against the frame. 0; or VI_EPROTO: it names places outside the frame, a kind that was
 * never offered, or a superframe whose headers aren't what it says. */
int vnet_check(struct vnet_frame *f, const uint8_t hdr[VNET_HDR], const uint8_t *frame, size_t len);

/* RFC 1071: the sum, not inverted, of len bytes on top of sum. */
uint32_t vnet_sum(uint32_t sum, const uint8_t *p, size_t len);
uint16_t vnet_fold(uint32_t sum);
/* The folded sum of the pseudo-header (RFC 9293 §3.1, RFC 8200 §8.1) for l4_len bytes from f->l4. */
uint16_t vnet_pseudo(const struct vnet_frame *f, const uint8_t *frame, size_t l4_len);
/* Completes a checksum whose field (2 bytes at `at`) holds what isn't from start to the frame's end. */
void vnet_complete(uint8_t *frame, size_t len, size_t start, size_t at);
/* The checksum field's offset in the frame; f->proto isn't 0. */
size_t vnet_csum_at(const struct vnet_frame *f);

#endif
