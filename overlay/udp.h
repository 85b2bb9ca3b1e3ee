/* The two UDP sockets of the one port: control datagrams go to the first, data packets to the second,
 * sorted by the kernel (SO_REUSEPORT with a classic BPF program over the packet's first byte), so that
 * the data path can have a thread and a descriptor of its own. */
#ifndef OVERLAY_UDP_H
#define OVERLAY_UDP_H

#include "overlay/mesh.h"

struct udp_sockets {
    int control, data;
};

/* Binds both, non-blocking. listen: "0.0.0.0", "::" (then IPv4 too) or one address. 0, or VI_EIO with a
 * sentence in why that says what to do (port in use, address not here). */
int udp_open(struct udp_sockets *s, const char *listen, uint16_t port, char *why, size_t cap);
void udp_close(struct udp_sockets *s);

#endif
