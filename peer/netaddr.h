/* Addresses between the mesh's form, the system's, and people's. */
#ifndef PEER_NETADDR_H
#define PEER_NETADDR_H

#include <sys/socket.h>

#include "overlay/overlay.h"

/* The length to use with to. */
socklen_t netaddr_to_sockaddr(const struct mesh_addr *a, struct sockaddr_storage *to);
/* IPv4-mapped IPv6 becomes IPv4. family 0 for anything that is neither. */
void netaddr_from_sockaddr(struct mesh_addr *a, const struct sockaddr_storage *from);
/* "host:port" or "[v6]:port", by name if need be (blocks). 0, VI_EINVAL or VI_ENOTFOUND with why. */
int netaddr_resolve(struct mesh_addr *a, const char *text, char *why, size_t cap);

#endif
