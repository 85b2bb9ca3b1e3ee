/* The three UDP sockets of the one port: control datagrams go to the first, data packets to the second,
 * first messages of handshakes to the third, sorted by the kernel (SO_REUSEPORT with a classic BPF program
 * over the packet's first byte): the data path can have a thread and a descriptor of its own, and a flood of
 * first messages fills no buffer but theirs, which is small: what waits there long is of no use. They are
 * answered from there, too. */
#ifndef OVERLAY_UDP_H
#define OVERLAY_UDP_H

#include "overlay/mesh.h"

struct udp_sockets {
    int control, data, first;
};

/* Binds them, non-blocking. listen: "0.0.0.0", "::" (then IPv4 too) or one address. 0, or VI_EIO with a
 * sentence in why that says what to do (port in use, address not here). */
int udp_open(struct udp_sockets *s, const char *listen, uint16_t port, char *why, size_t cap);
void udp_close(struct udp_sockets *s);

#endif
