/* Address forms. See netaddr.h. */
#include "peer/netaddr.h"

#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"

socklen_t netaddr_to_sockaddr(const struct mesh_addr *a, struct sockaddr_storage *to)
{
    memset(to, 0, sizeof *to);
    if (a->family == 6) {
        struct sockaddr_in6 *s = (struct sockaddr_in6 *)to;
        s->sin6_family = AF_INET6;
        s->sin6_port = htons(a->port);
        memcpy(&s->sin6_addr, a->ip, 16);
        return sizeof *s;
    }
    struct sockaddr_in *s = (struct sockaddr_in *)to;
    s->sin_family = AF_INET;
    s->sin_port = htons(a->port);
    memcpy(&s->sin_addr, a->ip, 4);
    return sizeof *s;
}

void netaddr_from_sockaddr(struct mesh_addr *a, const struct sockaddr_storage *from)
{
    memset(a, 0, sizeof *a);
    if (from->ss_family == AF_INET) {
        const struct sockaddr_in *s = (const struct sockaddr_in *)from;
        a->family = 4;
        a->port = ntohs(s->sin_port);
        memcpy(a->ip, &s->sin_addr, 4);
    } else if (from->ss_family == AF_INET6) {
        const struct sockaddr_in6 *s = (const struct sockaddr_in6 *)from;
        a->port = ntohs(s->sin6_port);
        if (IN6_IS_ADDR_V4MAPPED(&s->sin6_addr)) {
            a->family = 4;
            memcpy(a->ip, s->sin6_addr.s6_addr + 12, 4);
        } else {
            a->family = 6;
            memcpy(a->ip, &s->sin6_addr, 16);
        }
    }
}

int netaddr_resolve(struct mesh_addr *a, const char *text, char *why, size_t cap)
{
    char host[SEED_ADDR_MAX + 1];
    const char *colon = strrchr(text, ':');
    struct addrinfo hints = {.ai_socktype = SOCK_DGRAM, .ai_flags = AI_ADDRCONFIG}, *found = NULL;
    struct sockaddr_storage ss = {0};
    int err;
    if (mesh_addr_parse(a, text) == 0)
        return 0;
    if (!colon || colon == text || (size_t)(colon - text) >= sizeof host) {
        snprintf(why, cap, "address `%s`: expected host:port", text);
        return VI_EINVAL;
    }
    memcpy(host, text, (size_t)(colon - text));
    host[colon - text] = 0;
    err = getaddrinfo(host, colon + 1, &hints, &found);
    if (err || !found || found->ai_addrlen > sizeof ss) {
        snprintf(why, cap, "address `%s`: %s", text, gai_strerror(err));
        if (found)
            freeaddrinfo(found);
        return VI_ENOTFOUND;
    }
    memcpy(&ss, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    netaddr_from_sockaddr(a, &ss);
    return 0;
}
