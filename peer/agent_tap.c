/* Bridges and TAPs of environments. See agent_tap.h. */
#include "peer/agent_tap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_bridge.h>
#include <linux/if_tun.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer/agent_guard.h"
#include "peer/base/err.h"

#define PORTS_MAX 1024

void agent_bridge_name(const struct vi_id *e, char out[AGENT_IFNAME])
{
    snprintf(out, AGENT_IFNAME, "vi-%02x%02x%02x%02x", e->b[0], e->b[1], e->b[2], e->b[3]);
}

void agent_tap_name(const struct vi_id *e, char out[AGENT_IFNAME])
{
    snprintf(out, AGENT_IFNAME, "vt-%02x%02x%02x%02x", e->b[0], e->b[1], e->b[2], e->b[3]);
}

static int say_errno(char *why, size_t why_size, const char *name, const char *what)
{
    snprintf(why, why_size, "%s: can't %s: %s", name, what, strerror(errno));
    return VI_EIO;
}

static int control_socket(char *why, size_t why_size)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        snprintf(why, why_size, "can't make a socket: %s", strerror(errno));
    return fd;
}

static void request(struct ifreq *r, const char *name)
{
    memset(r, 0, sizeof *r);
    snprintf(r->ifr_name, sizeof r->ifr_name, "%.15s", name);
}

static int set_mtu(int fd, const char *name, unsigned mtu)
{
    struct ifreq r;
    request(&r, name);
    r.ifr_mtu = (int)mtu;
    return ioctl(fd, SIOCSIFMTU, &r);
}

/* ARP is for guests: keep_ip_off(). */
static int set_up(int fd, const char *name, bool up)
{
    struct ifreq r;
    request(&r, name);
    if (ioctl(fd, SIOCGIFFLAGS, &r))
        return -1;
    r.ifr_flags = (short)(up ? r.ifr_flags | IFF_UP | IFF_NOARP : r.ifr_flags & ~IFF_UP);
    return ioctl(fd, SIOCSIFFLAGS, &r);
}

/* Only what is otherwise: each write to a bridge's is told to all who listen for changes of interfaces. */
static void set_number(const char *path, const char *value)
{
    char now[16] = "";
    int fd = open(path, O_RDWR | O_CLOEXEC);
    ssize_t n;
    if (fd < 0)
        return; /* without IPv6 there is nothing to do */
    n = read(fd, now, sizeof now - 1);
    if (n > 0 && strtoul(now, NULL, 0) != strtoul(value, NULL, 0))
        n = pwrite(fd, value, strlen(value), 0);
    close(fd);
}

static void set_sysctl(const char *family, const char *name, const char *what, const char *value)
{
    char path[96];
    snprintf(path, sizeof path, "/proc/sys/net/%s/conf/%.15s/%s", family, name, what);
    set_number(path, value);
}

/* What is sent to a link-local group (01:80:c2:00:00:0x, IEEE 802.1Q, table 8-1) a bridge takes for its host's, and hands it up
 * by the port that it came from, whatever it is: past the bridge's own device, its sysctls and its chain. Among guests these are
 * frames as any other, so they are forwarded; the bridge's mask can't have :02 (LACP), a port's can. :00 is forwarded without
 * STP, :01 (PAUSE) goes nowhere. */
static void set_mask(const char *name, const char *of, const char *value)
{
    char path[96];
    snprintf(path, sizeof path, "/sys/class/net/%.15s/%s/group_fwd_mask", name, of);
    set_number(path, value);
}

/* Nothing of the host's IP is reached from where guests are. The bridge has no address, but Linux takes its addresses for
 * the host's, not an interface's: it would answer ARP for any of them here, and take, or route, what is sent to the bridge's
 * MAC (RFC 1122, §3.3.4.2, the weak model). So: no ARP (IFF_NOARP, set_up()), nothing routed, and no source is right here,
 * since no route leads here (RFC 3704, strict; where conf/all says "loose", it is that). agent_guard.h is the better lock; this is
 * there where the kernel hasn't got what that needs. */
static void keep_ip_off(const char *name)
{
    set_sysctl("ipv6", name, "disable_ipv6", "1");
    set_sysctl("ipv4", name, "arp_ignore", "8");
    set_sysctl("ipv4", name, "forwarding", "0");
    set_sysctl("ipv4", name, "rp_filter", "1");
}

static void keep_port_off(const char *port)
{
    keep_ip_off(port);
    set_mask(port, "brport", "0xfffd");
}

void agent_bridge_keep_host_out(const char *bridge, const char *lan)
{
    char path[64];
    struct dirent *port;
    DIR *ports;
    keep_ip_off(bridge);
    set_mask(bridge, "bridge", "0xfff8");
    snprintf(path, sizeof path, "/sys/class/net/%.15s/brif", bridge);
    ports = opendir(path);
    while (ports && (port = readdir(ports)))
        if (port->d_name[0] != '.' && strcmp(port->d_name, lan))
            keep_port_off(port->d_name);
    if (ports)
        closedir(ports);
}

int agent_bridge_open(const char *bridge, unsigned mtu, char *why, size_t why_size)
{
    int err = 0, fd = control_socket(why, why_size);
    if (fd < 0)
        return VI_EIO;
    if (ioctl(fd, SIOCBRADDBR, bridge) && errno != EEXIST)
        err = say_errno(why, why_size, bridge, "make the bridge");
    if (!err) {
        keep_ip_off(bridge);
        set_mask(bridge, "bridge", "0xfff8");
        if (set_mtu(fd, bridge, mtu) || set_up(fd, bridge, true))
            err = say_errno(why, why_size, bridge, "set the bridge up");
    }
    close(fd);
    return err;
}

static int join_bridge(int fd, const char *bridge, const char *port)
{
    struct ifreq r;
    request(&r, bridge);
    r.ifr_ifindex = (int)if_nametoindex(port);
    return ioctl(fd, SIOCBRADDIF, &r) && errno != EBUSY ? -1 : 0; /* busy: it is in one already */
}

static int attach(const char *tap, bool queues, char *why, size_t why_size)
{
    struct ifreq r;
    int size = 10, fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return say_errno(why, why_size, "/dev/net/tun", "open it (modprobe tun)");
    request(&r, tap);
    r.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (queues ? IFF_MULTI_QUEUE : 0));
    if (ioctl(fd, TUNSETIFF, &r) || ioctl(fd, TUNSETVNETHDRSZ, &size)) {
        int err = say_errno(why, why_size, tap, "make the TAP");
        close(fd);
        return err;
    }
    return fd;
}

int agent_tap_queue(const char *tap, char *why, size_t why_size)
{
    return attach(tap, true, why, why_size);
}

int agent_tap_open(const char *tap, const char *bridge, unsigned mtu, bool queues, char *why, size_t why_size)
{
    int err = 0, fd, ctl = control_socket(why, why_size);
    if (ctl < 0)
        return VI_EIO;
    fd = attach(tap, queues, why, why_size);
    if (fd < 0) {
        err = fd;
        goto out;
    }
    keep_ip_off(tap);
    if (set_mtu(ctl, tap, mtu) || join_bridge(ctl, bridge, tap) || set_up(ctl, tap, true))
        err = say_errno(why, why_size, tap, "put the TAP into its bridge");
    keep_port_off(tap);
out:
    close(ctl);
    if (err && fd >= 0)
        close(fd);
    return err ? err : fd;
}

int agent_bridge_remove(const char *bridge, char *why, size_t why_size)
{
    int ports[PORTS_MAX], err = 0;
    struct ifreq r;
    unsigned long args[4] = {BRCTL_GET_PORT_LIST, (unsigned long)(uintptr_t)ports, PORTS_MAX, 0};
    int fd = control_socket(why, why_size);
    if (fd < 0)
        return VI_EIO;
    if (!if_nametoindex(bridge)) { /* by others: its chain may be there still */
        agent_guard_remove(bridge);
        goto out;
    }
    memset(ports, 0, sizeof ports);
    request(&r, bridge);
    r.ifr_data = (char *)args;
    if (ioctl(fd, SIOCDEVPRIVATE, &r) < 0) {
        err = say_errno(why, why_size, bridge, "list what is in the bridge");
        goto out;
    }
    for (int i = 0; i < PORTS_MAX; i++)
        if (ports[i]) {
            char name[IF_NAMESIZE] = "?";
            if_indextoname((unsigned)ports[i], name);
            snprintf(why, why_size, "%s: %s is still in the bridge", bridge, name);
            err = VI_ESTATE;
            goto out;
        }
    if (set_up(fd, bridge, false) || ioctl(fd, SIOCBRDELBR, bridge))
        err = say_errno(why, why_size, bridge, "remove the bridge");
    else
        agent_guard_remove(bridge);
out:
    close(fd);
    return err;
}

int agent_bridge_forget(const char *tap, const uint8_t mac[6], char *why, size_t why_size)
{
    struct {
        struct nlmsghdr h;
        struct ndmsg n;
        struct rtattr a;
        uint8_t mac[8];
    } q = {.h = {.nlmsg_len = sizeof q, .nlmsg_type = RTM_DELNEIGH,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK},
           .n = {.ndm_family = AF_BRIDGE, .ndm_flags = NTF_MASTER},
           .a = {.rta_len = RTA_LENGTH(6), .rta_type = NDA_LLADDR}};
    struct {
        struct nlmsghdr h;
        struct nlmsgerr e;
        uint8_t more[128];
    } reply;
    struct timeval second = {.tv_sec = 1};
    int err = 0, fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    memcpy(q.mac, mac, 6);
    q.n.ndm_ifindex = (int)if_nametoindex(tap);
    if (fd < 0 || !q.n.ndm_ifindex) {
        err = say_errno(why, why_size, tap, "find it");
        goto out;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second);
    if (send(fd, &q, sizeof q, 0) < 0 || recv(fd, &reply, sizeof reply, 0) < (ssize_t)sizeof reply.h) {
        err = say_errno(why, why_size, tap, "ask the kernel to forget an address");
        goto out;
    }
    if (reply.h.nlmsg_type == NLMSG_ERROR && reply.e.error && reply.e.error != -ENOENT) {
        errno = -reply.e.error;
        err = say_errno(why, why_size, tap, "forget an address");
    }
out:
    if (fd >= 0)
        close(fd);
    return err;
}
