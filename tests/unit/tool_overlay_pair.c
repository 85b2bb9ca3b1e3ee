/* One end of a pair of data paths with fixed keys and a TAP, for measuring: no mesh, no daemon.
 *
 *   overlay_pair SIDE TAP LISTEN PEER [cipher=aes|chacha] [gso=off] [vnet=off] [threads=N] [lanes=1] [path=BYTES]
 *                [mtu=N] [mac=XX] [peermac=XX] [rekey=MS]
 *
 * SIDE is 0 or 1; LISTEN and PEER are ADDRESS:PORT, an IPv6 address in brackets. The TAP is made, with the MAC 02:00:00:00:00:XX (default: 10
 * + SIDE, hexadecimal), and put up; frames for the peer's go through. Says `ready`, ends with its standard
 * input, and then prints its counters as JSON. With rekey= both ends (of one machine's clock) change their keys so
 * often: received with from the beginning of a period on, sent with from its middle on. */
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "overlay/overlay.h"

static const struct vi_id env = {.b = {0xe}};
static const char *tap_name;
static unsigned side, own_mac, peer_mac;
static int mtu = 1500;

static void wake(void *arg)
{
    (void)arg;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int open_queue(bool multi)
{
    struct ifreq r = {0};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC), size = DATAPATH_VNET_HDR;
    snprintf(r.ifr_name, sizeof r.ifr_name, "%.15s", tap_name);
    r.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (multi ? IFF_MULTI_QUEUE : 0));
    if (fd < 0 || ioctl(fd, TUNSETIFF, &r) || ioctl(fd, TUNSETVNETHDRSZ, &size))
        die("TAP");
    return fd;
}

static void tap_up(void)
{
    struct ifreq r = {0};
    int ctl = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    snprintf(r.ifr_name, sizeof r.ifr_name, "%.15s", tap_name);
    r.ifr_hwaddr.sa_family = ARPHRD_ETHER;
    r.ifr_hwaddr.sa_data[0] = 2;
    r.ifr_hwaddr.sa_data[5] = (char)(10 + side);
    if (ioctl(ctl, SIOCSIFHWADDR, &r))
        die("MAC");
    r.ifr_mtu = mtu;
    if (ioctl(ctl, SIOCSIFMTU, &r))
        die("MTU");
    r.ifr_flags = IFF_UP;
    if (ioctl(ctl, SIOCSIFFLAGS, &r))
        die("up");
    close(ctl);
}

static void put_mac(struct switch_env_table *t, unsigned last, bool local)
{
    uint8_t mac[6] = {2, 0, 0, 0, 0, (uint8_t)last};
    unsigned slot = switch_mac_slot(mac);
    while (t->macs[slot].used)
        slot++;
    t->macs[slot] = (struct switch_mac){.used = true, .local = local};
    memcpy(t->macs[slot].mac, mac, 6);
}

static struct switch_table *make_table(const struct vi_id *peer)
{
    struct switch_table *t = calloc(1, sizeof *t);
    if (!t || !(t->envs[0] = calloc(1, sizeof *t->envs[0])))
        die("memory");
    t->envs[0]->env = env;
    t->envs[0]->used = true;
    t->envs[0]->n_peers = 1;
    t->envs[0]->peers[0] = *peer;
    t->envs[0]->number[0] = 1;
    put_mac(t->envs[0], own_mac, true);
    put_mac(t->envs[0], peer_mac, false);
    return t;
}

static void set_keys(struct datapath *d, struct mesh_keys k, uint64_t period, bool send)
{
    uint32_t g = (uint32_t)(period % 1000000000u);
    k.generation = period + 1;
    k.local = 2 * g + 100 + side;
    k.remote = 2 * g + 101 - side;
    k.send = send;
    memset(k.tx_base, side ? 0x22 : 0x11, sizeof k.tx_base);
    memset(k.rx_base, side ? 0x11 : 0x22, sizeof k.rx_base);
    memcpy(k.tx_base, &period, sizeof period);
    memcpy(k.rx_base, &period, sizeof period);
    datapath_set_keys(d, &k);
    k.withdrawn = true;
    k.local = 2 * (g - 2) + 100 + side;
    k.generation = period - 1;
    if (send && g >= 2) /* those of two periods ago; what is under way came with the last ones */
        datapath_set_keys(d, &k);
}

/* Until the standard input ends. */
static void serve(struct datapath *d, const struct mesh_keys *k, int rekey)
{
    struct pollfd p = {.fd = 0, .events = POLLIN};
    uint64_t half = 0;
    char c;
    for (;;) {
        vi_time now = vi_clock_boottime();
        if (rekey && (uint64_t)now / 500 / (uint64_t)rekey != half) {
            half = (uint64_t)now / 500 / (uint64_t)rekey;
            set_keys(d, *k, half / 2, half % 2);
        }
        if (poll(&p, 1, rekey ? 20 : -1) == 1 && read(0, &c, 1) <= 0)
            return;
    }
}

static void print_counters(struct datapath *d)
{
    struct datapath_counters c;
    struct datapath_path p;
    struct vi_id peer = {.b = {(uint8_t)(2 - side)}};
    datapath_counters(d, &c);
    printf("{");
#define X(name)                                                                                    \
    if (c.name)                                                                                    \
        printf("\"%s\": %llu, ", #name, (unsigned long long)c.name);
    DATAPATH_COUNTERS(X)
#undef X
    for (unsigned i = 1; i < FORWARD_REASONS; i++)
        if (c.dropped[i])
            printf("\"dropped_%s\": %llu, ", forward_why_text((enum forward_why)i), (unsigned long long)c.dropped[i]);
    if (datapath_path(d, &peer, &p))
        printf("\"gso\": %s, \"bytes\": %u}\n", p.gso ? "true" : "false", p.bytes);
    else
        printf("\"bytes\": 0}\n");
}

int main(int argc, char **argv)
{
    struct datapath_config c = {.wake = wake, .threads = 1, .lanes = DATAPATH_LANES};
    struct mesh_keys k = {.cipher = NOISE_CHACHAPOLY, .send = true, .born = vi_clock_boottime() + VI_HOUR, .generation = 1};
    struct mesh_addr listen;
    struct udp_sockets u;
    struct datapath *d;
    char why[300], ip[MESH_ADDR_TEXT];
    int rekey = 0;
    if (argc < 5 || sodium_init() < 0 || mesh_addr_parse(&listen, argv[3]) || mesh_addr_parse(&k.addr, argv[4])) {
        fprintf(stderr, "usage: overlay_pair 0|1 TAP LISTEN PEER [option=value]…\n");
        return 2;
    }
    side = argv[1][0] == '1';
    tap_name = argv[2];
    own_mac = 10 + side;
    peer_mac = 11 - side;
    for (int i = 5; i < argc; i++) {
        const char *v = strchr(argv[i], '=');
        v = v ? v + 1 : "";
        if (!strcmp(argv[i], "cipher=aes"))
            k.cipher = NOISE_AESGCM;
        c.no_gso |= !strcmp(argv[i], "gso=off");
        c.no_vnet |= !strcmp(argv[i], "vnet=off");
        if (!strncmp(argv[i], "threads=", 8))
            c.threads = (unsigned)atoi(v);
        if (!strcmp(argv[i], "lanes=1"))
            c.lanes = 1;
        if (!strncmp(argv[i], "path=", 5))
            c.path_bytes = (unsigned)atoi(v);
        if (!strncmp(argv[i], "rekey=", 6))
            rekey = atoi(v);
        if (!strncmp(argv[i], "mtu=", 4))
            mtu = atoi(v);
        if (!strncmp(argv[i], "mac=", 4))
            own_mac = (unsigned)strtoul(v, NULL, 16);
        if (!strncmp(argv[i], "peermac=", 8))
            peer_mac = (unsigned)strtoul(v, NULL, 16);
    }
    mesh_addr_format(&listen, ip);
    ip[strlen(ip) - strlen(strrchr(ip, ':')) - (listen.family == 6)] = 0; /* without "]" and port */
    if (udp_open(&u, ip + (listen.family == 6), listen.port, c.threads * c.lanes, why, sizeof why)) {
        fprintf(stderr, "%s\n", why);
        return 1;
    }
    memcpy(c.udp_fd, u.data, sizeof u.data);
    d = datapath_start(&c);
    if (!d)
        die("data path");
    k.peer.b[0] = (uint8_t)(2 - side);
    k.tx_queues = k.rx_queues = (uint16_t)(c.threads * c.lanes + 1);
    datapath_set_tap(d, &env, open_queue(c.threads > 1), true);
    for (unsigned i = 1; i < c.threads; i++)
        datapath_add_queue(d, &env, open_queue(true));
    tap_up();
    set_keys(d, k, rekey ? (uint64_t)vi_clock_boottime() / 1000 / (uint64_t)rekey : 0, true);
    datapath_set_table(d, make_table(&k.peer));
    printf("ready\n");
    fflush(stdout);
    serve(d, &k, rekey);
    print_counters(d);
    datapath_stop(d);
    udp_close(&u);
    return 0;
}
