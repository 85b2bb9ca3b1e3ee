/* A host's interface in an environment's bridge. See agent_attach.h. */
#include "peer/agent_attach.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <ifaddrs.h>
#include <linux/filter.h>
#include <linux/if_bridge.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer/attach.h"
#include "peer/base/err.h"

#define PORTS_MAX 1024

bool agent_iface_name_ok(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n >= AGENT_IFNAME || !isalnum((unsigned char)name[0]))
        return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)name[i]) && !strchr("._-@", name[i]))
            return false;
    return true;
}

static void request(struct ifreq *r, const char *name)
{
    memset(r, 0, sizeof *r);
    snprintf(r->ifr_name, sizeof r->ifr_name, "%.15s", name);
}

static int say(char *why, size_t why_size, const char *iface, const char *what)
{
    snprintf(why, why_size, "%s: can't %s: %s", iface, what, strerror(errno));
    return VI_EIO;
}

static int control_socket(void)
{
    return socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
}

/* Is it a port of this bridge? */
static bool in_bridge(int fd, const char *iface, const char *bridge)
{
    int ports[PORTS_MAX] = {0}, index = (int)if_nametoindex(iface);
    unsigned long args[4] = {BRCTL_GET_PORT_LIST, (unsigned long)(uintptr_t)ports, PORTS_MAX, 0};
    struct ifreq r;
    request(&r, bridge);
    r.ifr_data = (char *)args;
    if (!index || ioctl(fd, SIOCDEVPRIVATE, &r) < 0)
        return false;
    for (int i = 0; i < PORTS_MAX; i++)
        if (ports[i] == index)
            return true;
    return false;
}

bool agent_iface_in(const char *iface, const struct vi_id *env)
{
    char bridge[AGENT_IFNAME];
    int fd = control_socket();
    bool in;
    if (fd < 0)
        return false;
    agent_bridge_name(env, bridge);
    in = in_bridge(fd, iface, bridge);
    close(fd);
    return in;
}

/* The first address that the host itself has there (not a link-local one); false: none. */
static bool has_address(const char *iface, char *out, socklen_t size)
{
    struct ifaddrs *list, *a;
    bool found = false;
    if (getifaddrs(&list))
        return false;
    for (a = list; a && !found; a = a->ifa_next) {
        if (!a->ifa_addr || strcmp(a->ifa_name, iface) != 0)
            continue;
        if (a->ifa_addr->sa_family == AF_INET) {
            struct sockaddr_in v4;
            memcpy(&v4, a->ifa_addr, sizeof v4);
            found = inet_ntop(AF_INET, &v4.sin_addr, out, size) != NULL;
        } else if (a->ifa_addr->sa_family == AF_INET6) {
            struct sockaddr_in6 v6;
            memcpy(&v6, a->ifa_addr, sizeof v6);
            found = !IN6_IS_ADDR_LINKLOCAL(&v6.sin6_addr) && inet_ntop(AF_INET6, &v6.sin6_addr, out, size);
        }
    }
    freeifaddrs(list);
    return found;
}

static int judge(int fd, const char *iface, char *why, size_t why_size)
{
    char address[INET6_ADDRSTRLEN];
    struct ifreq r;
    if (!strncmp(iface, "vi-", 3) || !strncmp(iface, "vt-", 3) || !strncmp(iface, "vif", 3)) {
        snprintf(why, why_size, "%s is an environment's or a guest's own", iface);
        return VI_EINVAL;
    }
    request(&r, iface);
    if (ioctl(fd, SIOCGIFHWADDR, &r)) {
        snprintf(why, why_size, "there is no interface %s", iface);
        return VI_ENOTFOUND;
    }
    if (r.ifr_hwaddr.sa_family != ARPHRD_ETHER) {
        snprintf(why, why_size, "%s is no Ethernet", iface);
        return VI_EINVAL;
    }
    if (has_address(iface, address, sizeof address)) {
        snprintf(why, why_size, "%s has this host's address %s: what is attached to an environment has none; give it "
                                "another interface", iface, address);
        return VI_ESTATE;
    }
    return 0;
}

int agent_iface_check(const char *iface, char *why, size_t why_size)
{
    int err, fd = control_socket();
    if (fd < 0)
        return say(why, why_size, iface, "make a socket");
    err = judge(fd, iface, why, why_size);
    close(fd);
    return err;
}

static int put_up(int fd, const char *iface)
{
    struct ifreq r;
    request(&r, iface);
    if (ioctl(fd, SIOCGIFFLAGS, &r))
        return -1;
    r.ifr_flags = (short)(r.ifr_flags | IFF_UP);
    return ioctl(fd, SIOCSIFFLAGS, &r);
}

int agent_iface_listen(const char *iface, char *why, size_t why_size)
{
    struct sock_filter only[] = {
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 12),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ATTACH_TYPE, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, ATTACH_FRAME),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_fprog filter = {sizeof only / sizeof only[0], only};
    struct sockaddr_ll at = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
    int one = 1, fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return say(why, why_size, iface, "make a packet socket");
    at.sll_ifindex = (int)if_nametoindex(iface);
    if (!at.sll_ifindex || put_up(fd, iface) ||
        setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter) ||
        setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &one, sizeof one) || bind(fd, (struct sockaddr *)&at, sizeof at)) {
        int err = say(why, why_size, iface, "listen there");
        close(fd);
        return err;
    }
    return fd;
}

/* errno stays. */
static void fd_close(int fd)
{
    int kept = errno;
    close(fd);
    errno = kept;
}

static int port(const char *iface, const char *bridge, unsigned long what)
{
    struct ifreq r;
    int err, fd = control_socket();
    if (fd < 0)
        return -1;
    request(&r, bridge);
    r.ifr_ifindex = (int)if_nametoindex(iface);
    if ((what == SIOCBRADDIF) == in_bridge(fd, iface, bridge))
        err = 0;
    else
        err = ioctl(fd, what, &r);
    if (!err && what == SIOCBRADDIF)
        err = put_up(fd, iface);
    fd_close(fd);
    return err;
}

int agent_iface_join(const char *iface, const char *bridge, char *why, size_t why_size)
{
    if (!port(iface, bridge, SIOCBRADDIF))
        return 0;
    if (errno != EBUSY)
        return say(why, why_size, iface, "put it into the bridge");
    snprintf(why, why_size, "%s is in another bridge", iface);
    return VI_ESTATE;
}

int agent_iface_part(const char *iface, const char *bridge, char *why, size_t why_size)
{
    return port(iface, bridge, SIOCBRDELIF) ? say(why, why_size, iface, "take it out of the bridge") : 0;
}
