/* Data paths whose peer is reached through a relay: packets are left for the owner and taken from it. The
 * test is the mesh and the relay between two of them; their sockets reach nobody. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <poll.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "overlay/overlay.h"

#define SOON 10000 /* ms */

struct side {
    struct datapath *d;
    int udp, tap; /* tap: the test's end */
    uint16_t port;
    struct vi_id id;
    uint8_t mac[6];
    _Atomic unsigned wakes;
};

static struct side a, b;
static struct vi_id env;
static uint64_t generation;
static unsigned carried;
static size_t longest;

static void on_wake(void *arg)
{
    struct side *s = arg;
    atomic_fetch_add(&s->wakes, 1);
}

static struct mesh_keys keys_for(const struct side *to, uint32_t local, uint32_t remote, bool via)
{
    struct mesh_keys k = {.peer = to->id, .local = local, .remote = remote, .generation = generation,
                          .cipher = NOISE_CHACHAPOLY, .tx_queues = 2, .rx_queues = 2, .send = true,
                          .born = vi_clock_boottime()};
    memset(k.tx_base, local < remote ? 0x11 : 0x22, sizeof k.tx_base);
    memset(k.rx_base, local < remote ? 0x22 : 0x11, sizeof k.rx_base);
    if (via) {
        k.addr.family = MESH_VIA;
        memset(k.addr.ip, 9, 16);
        k.addr.to = to->id;
    } else {
        k.addr = (struct mesh_addr){.family = 4, .port = to->port, .ip = {127, 0, 0, 1}};
    }
    return k;
}

static void set_keys(bool via)
{
    struct mesh_keys k = keys_for(&b, 100, 200, via);
    datapath_set_keys(a.d, &k);
    k = keys_for(&a, 200, 100, via);
    datapath_set_keys(b.d, &k);
}

static void put_mac(struct switch_env_table *t, const uint8_t mac[6], bool local)
{
    unsigned slot = switch_mac_slot(mac);
    while (t->macs[slot].used)
        slot++;
    t->macs[slot] = (struct switch_mac){.used = true, .local = local};
    memcpy(t->macs[slot].mac, mac, 6);
}

static void set_table(struct side *s, const struct side *other)
{
    struct switch_table *t = calloc(1, sizeof *t);
    assert_non_null(t);
    t->envs[0] = calloc(1, sizeof *t->envs[0]);
    assert_non_null(t->envs[0]);
    t->envs[0]->env = env;
    t->envs[0]->used = true;
    t->envs[0]->n_peers = 1;
    t->envs[0]->peers[0] = other->id;
    t->envs[0]->number[0] = 1;
    put_mac(t->envs[0], s->mac, true);
    put_mac(t->envs[0], other->mac, false);
    datapath_set_table(s->d, t);
}

static void open_side(struct side *s, uint8_t n)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct datapath_config c = {.wake = on_wake, .arg = s};
    socklen_t len = sizeof at;
    int pair[2];
    memset(s, 0, sizeof *s);
    memset(s->id.b, n, sizeof s->id.b);
    s->mac[0] = 2;
    s->mac[5] = n;
    s->udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(s->udp, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(getsockname(s->udp, (struct sockaddr *)&at, &len), 0);
    s->port = ntohs(at.sin_port);
    c.udp_fd[0] = s->udp;
    s->d = datapath_start(&c);
    assert_non_null(s->d);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    s->tap = pair[0];
    datapath_set_tap(s->d, &env, pair[1], true);
}

static int set_up(void **state)
{
    (void)state;
    memset(env.b, 0xe, sizeof env.b);
    open_side(&a, 1);
    open_side(&b, 2);
    generation = 1;
    carried = 0;
    longest = 0;
    set_keys(true);
    set_table(&a, &b);
    set_table(&b, &a);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    datapath_stop(a.d);
    datapath_stop(b.d);
    close(a.tap);
    close(b.tap);
    close(a.udp);
    close(b.udp);
    return 0;
}

/* ---- the relay ---- */

static void to_a(void *arg, uint32_t local, const uint8_t *data, size_t len)
{
    (void)arg;
    assert_int_equal(local, 200);
    carried++;
    longest = len > longest ? len : longest;
    datapath_inject(a.d, data, len);
}

static void to_b(void *arg, uint32_t local, const uint8_t *data, size_t len)
{
    (void)arg;
    assert_int_equal(local, 100);
    carried++;
    longest = len > longest ? len : longest;
    datapath_inject(b.d, data, len);
}

static void carry(void)
{
    datapath_collect_relayed(a.d, to_b, NULL);
    datapath_collect_relayed(b.d, to_a, NULL);
}

/* ---- frames ---- */

static size_t make_frame(const struct side *from, const struct side *to, uint8_t *out, size_t len, uint8_t mark)
{
    memset(out, 0, DATAPATH_VNET_HDR);
    memcpy(out + DATAPATH_VNET_HDR, to->mac, 6);
    memcpy(out + DATAPATH_VNET_HDR + 6, from->mac, 6);
    out[DATAPATH_VNET_HDR + 12] = 0x88; /* a local experiment's */
    out[DATAPATH_VNET_HDR + 13] = 0xb5;
    memset(out + DATAPATH_VNET_HDR + 14, mark, len - 14);
    return len + DATAPATH_VNET_HDR;
}

static bool readable(const struct side *s, int ms)
{
    struct pollfd p = {.fd = s->tap, .events = POLLIN};
    return poll(&p, 1, ms) == 1;
}

static bool reads(struct side *s, const uint8_t *frame, size_t len)
{
    uint8_t got[9300];
    ssize_t n = read(s->tap, got, sizeof got);
    return n == (ssize_t)len && !memcmp(got + DATAPATH_VNET_HDR, frame + DATAPATH_VNET_HDR, len - DATAPATH_VNET_HDR);
}

static bool comes(struct side *s, const uint8_t *frame, size_t len)
{
    for (int i = 0; i < SOON; i += 5) {
        carry();
        if (readable(s, 5))
            return reads(s, frame, len);
    }
    return false;
}

static void exchange(size_t len, uint8_t mark)
{
    uint8_t f[9300];
    size_t n = make_frame(&a, &b, f, len, mark);
    assert_int_equal(write(a.tap, f, n), n);
    assert_true(comes(&b, f, n));
    n = make_frame(&b, &a, f, len, mark);
    assert_int_equal(write(b.tap, f, n), n);
    assert_true(comes(&a, f, n));
}

/* ---- tests ---- */

static void frames_pass(void **state)
{
    struct datapath_counters c;
    (void)state;
    exchange(60, 1);
    exchange(1300, 2);
    exchange(1514, 3); /* in two parts */
    exchange(9014, 4);
    assert_true(carried >= 2 + 2 + 4 + 14);
    assert_true(longest <= MESH_INNER_MAX - MESH_VIA_OVERHEAD); /* with the relay's around it, it passes an Ethernet */
    assert_true(atomic_load(&a.wakes) > 0 && atomic_load(&b.wakes) > 0);
    datapath_counters(a.d, &c);
    assert_true(c.tx_relayed >= 11 && c.rx_relayed >= 11);
    assert_int_equal(c.tx_errors, 0);
    assert_int_equal(c.rx_auth + c.rx_replay, 0);
}

/* Direct, relayed, direct: the same session and its counters, and no frame lost between. */
static void ways_change(void **state)
{
    (void)state;
    for (uint8_t i = 0; i < 20; i++) {
        unsigned before = carried;
        set_keys(i % 2);
        exchange(200 + i, i);
        if (i % 2)
            assert_true(carried >= before + 2);
    }
}

static uint8_t kept[MESH_INNER_MAX];
static size_t kept_len;

static void keep(void *arg, uint32_t local, const uint8_t *data, size_t len)
{
    (void)arg;
    (void)local;
    if (len != 100 + DATAPATH_OVERHEAD)
        return; /* a probe of the path's size */
    memcpy(kept, data, len);
    kept_len = len;
}

static void replays_and_forgeries(void **state)
{
    struct datapath_counters c;
    uint8_t f[300];
    size_t n = make_frame(&a, &b, f, 100, 7);
    (void)state;
    assert_int_equal(write(a.tap, f, n), n);
    for (int i = 0; i < SOON && kept_len == 0; i++) {
        datapath_collect_relayed(a.d, keep, NULL);
        usleep(1000);
    }
    assert_true(kept_len > 100);
    kept[kept_len - 1] ^= 1;
    datapath_inject(b.d, kept, kept_len); /* bent */
    kept[kept_len - 1] ^= 1;
    datapath_inject(b.d, kept, kept_len);
    datapath_inject(b.d, kept, kept_len); /* twice */
    datapath_inject(b.d, kept, 10);       /* cut */
    kept[0] = MESH_CONTROL;
    datapath_inject(b.d, kept, kept_len); /* not the data path's */
    kept[0] = MESH_DATA;
    kept[2] = kept[3] = 0;
    datapath_inject(b.d, kept, kept_len); /* of no queue */
    assert_true(readable(&b, SOON) && reads(&b, f, n)); /* a probe of the path's size, carried now, would be counted, too */
    for (int i = 0; i < SOON; i++) {
        datapath_counters(b.d, &c);
        if (c.rx_auth && c.rx_replay)
            break;
        usleep(1000);
    }
    assert_int_equal(c.rx_auth, 1);
    assert_int_equal(c.rx_replay, 1);
    assert_int_equal(c.rx_frames, 1);
    assert_int_equal(c.rx_relayed, 3);
    kept_len = 0;
}

/* Nobody collects: so many are kept, the rest is counted. */
static void bounded(void **state)
{
    struct datapath_counters c;
    uint8_t f[300];
    size_t n = make_frame(&a, &b, f, 100, 9);
    unsigned sent = 0;
    (void)state;
    while (sent < DATAPATH_RELAYED + 100)
        if (write(a.tap, f, n) == (ssize_t)n)
            sent++;
        else
            usleep(1000);
    for (int i = 0; i < SOON; i++) {
        datapath_counters(a.d, &c);
        if (c.tx_relayed + c.tx_relay_full >= sent)
            break;
        usleep(1000);
    }
    assert_int_equal(c.tx_relayed, DATAPATH_RELAYED);
    assert_true(c.tx_relay_full >= 100);
    carry();
    assert_true(carried >= DATAPATH_RELAYED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(frames_pass, set_up, tear_down),
        cmocka_unit_test_setup_teardown(ways_change, set_up, tear_down),
        cmocka_unit_test_setup_teardown(replays_and_forgeries, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bounded, set_up, tear_down),
    };
    if (sodium_init() < 0)
        return 2;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
