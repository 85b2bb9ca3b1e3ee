/* The UDP sockets of the one port, sorted by the kernel (SO_REUSEPORT with a classic BPF program over the
 * packet's clear header). Control datagrams go to one; first messages of handshakes to another, so that a flood
 * of them fills no buffer but theirs, which is small: what waits there long is of no use, and they are answered
 * from there, too; data packets to the others by the sender's queue, so that each thread of the data path has a
 * descriptor of its own, and what one queue has sent always comes to the same thread. */
#ifndef OVERLAY_UDP_H
#define OVERLAY_UDP_H

#include "overlay/mesh.h"

#define UDP_DATA_MAX 16

struct udp_sockets {
    int control, first;
    int data[UDP_DATA_MAX];
    unsigned n; /* of data; queue q's packets come to data[(q - 1) % n] */
};

/* Binds them, n (1 … UDP_DATA_MAX) of data, non-blocking; what control and first send goes before data in the host's own
 * queues (SO_PRIORITY). listen: "0.0.0.0", "::" (then IPv4 too) or one address. 0, or VI_EIO with a sentence in why that says
 * what to do (port in use, address not here). */
int udp_open(struct udp_sockets *s, const char *listen, uint16_t port, unsigned n, char *why, size_t cap);
void udp_close(struct udp_sockets *s);

#endif
