/* The port's sockets: what the kernel sorts to which, and what is said when the port can't be
 * had. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "overlay/udp.h"
#include "peer/base/err.h"

#define SOON 10000 /* ms */

static struct udp_sockets u;
static uint16_t port;
static char why[300];

static uint16_t free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    close(fd);
    return ntohs(at.sin_port);
}

static int set_up(void **state)
{
    (void)state;
    u.control = u.first = -1;
    u.n = 0;
    port = free_port();
    memset(why, 0, sizeof why);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    udp_close(&u);
    assert_int_equal(u.control, -1);
    assert_int_equal(u.first, -1);
    assert_int_equal(u.n, 0);
    udp_close(&u); /* a second time does nothing */
    return 0;
}

/* A new socket each time, so that its own port would spread what isn't sorted. */
static void say_v4(uint8_t first, size_t len)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    uint8_t b[64] = {first};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(sendto(fd, b, len, 0, (struct sockaddr *)&to, sizeof to), (ssize_t)len);
    close(fd);
}

static bool say_v6(uint8_t first)
{
    struct sockaddr_in6 to = {
        .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    uint8_t b[64] = {first};
    int fd = socket(AF_INET6, SOCK_DGRAM, 0);
    bool sent =
        fd >= 0 && sendto(fd, b, sizeof b, 0, (struct sockaddr *)&to, sizeof to) == sizeof b;
    if (fd >= 0)
        close(fd);
    return sent;
}

static void expect(int fd, int other, uint8_t first)
{
    int third = u.control + u.data[0] + u.first - fd - other;
    struct pollfd p = {.fd = fd, .events = POLLIN};
    uint8_t b[64];
    assert_int_equal(poll(&p, 1, SOON), 1);
    assert_true(recv(fd, b, sizeof b, 0) > 0);
    assert_int_equal(b[0], first);
    assert_int_equal(recv(other, b, sizeof b, 0), -1); /* at once: none blocks */
    if (fd == u.control || fd == u.data[0] || fd == u.first)
        assert_int_equal(recv(third, b, sizeof b, 0), -1);
}

static void sorted_by_first_byte(void **state)
{
    (void)state;
    assert_int_equal(udp_open(&u, "127.0.0.1", port, 1, why, sizeof why), 0);
    for (unsigned i = 0; i < 256; i++) {
        say_v4((uint8_t)i, i % 2 ? 64 : 1);
        if (i == MESH_DATA)
            expect(u.data[0], u.control, (uint8_t)i);
        else if (i == MESH_INIT)
            expect(u.first, u.control, (uint8_t)i);
        else
            expect(u.control, u.data[0], (uint8_t)i);
    }
    for (unsigned i = 0; i < 40; i++) {
        say_v4(MESH_DATA, 64);
        expect(u.data[0], u.control, MESH_DATA);
    }
}

static int priority(int fd)
{
    int value = -1;
    socklen_t len = sizeof value;
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_PRIORITY, &value, &len), 0);
    return value;
}

static void control_goes_before_data(void **state)
{
    (void)state;
    assert_int_equal(udp_open(&u, "127.0.0.1", port, 1, why, sizeof why), 0);
    assert_true(priority(u.control) > priority(u.data[0]));
    assert_int_equal(priority(u.first), priority(u.control));
}

static void both_families(void **state)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof to;
    int fd;
    (void)state;
    if (udp_open(&u, "::", port, 1, why, sizeof why))
        skip(); /* a kernel without IPv6 */
    say_v4(3, 64);
    expect(u.control, u.data[0], 3);
    say_v4(MESH_DATA, 64);
    expect(u.data[0], u.control, MESH_DATA);
    if (say_v6(MESH_DATA))
        expect(u.data[0], u.control, MESH_DATA);
    if (say_v6(2))
        expect(u.control, u.data[0], 2);
    fd = socket(AF_INET, SOCK_DGRAM, 0); /* an IPv4 address is one that it can send to as it is */
    assert_int_equal(bind(fd, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&to, &len), 0);
    assert_int_equal(sendto(u.data[0], "x", 1, 0, (struct sockaddr *)&to, sizeof to), 1);
    expect(fd, u.data[0], 'x');
    close(fd);
}

static void what_cannot_be(void **state)
{
    struct udp_sockets second;
    (void)state;
    assert_int_equal(udp_open(&second, "no address", port, 1, why, sizeof why), VI_EINVAL);
    assert_non_null(strstr(why, "no address"));
    assert_int_equal(udp_open(&second, "1.2.3", port, 1, why, sizeof why), VI_EINVAL);
    assert_int_equal(udp_open(&second, "", port, 1, why, sizeof why), VI_EINVAL);
    assert_int_equal(udp_open(&second, "192.0.2.1", port, 1, why, sizeof why),
                     VI_EIO); /* of documentation: nobody's */
    assert_non_null(strstr(why, "not on this host"));
    assert_int_equal(udp_open(&u, "127.0.0.1", port, 1, why, sizeof why), 0);
    assert_int_equal(udp_open(&second, "127.0.0.1", port, 1, why, sizeof why), VI_EIO);
    assert_non_null(strstr(why, "another peer"));
    assert_int_equal(udp_open(&second, "0.0.0.0", port, 1, why, sizeof why), VI_EIO);
    assert_int_equal(second.control, -1);
    assert_int_equal(second.n, 0);
    say_v4(MESH_DATA, 64); /* the first was not disturbed */
    expect(u.data[0], u.control, MESH_DATA);
    udp_close(&u);
    assert_int_equal(udp_open(&u, "0.0.0.0", port, 1, why, sizeof why), 0); /* free again at once */
}

/* What one queue sends comes to one socket, whatever port it comes from. */
static void queues_have_their_sockets(void **state)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    (void)state;
    assert_int_equal(udp_open(&u, "127.0.0.1", port, UDP_DATA_MAX + 1, why, sizeof why), VI_EINVAL);
    assert_int_equal(udp_open(&u, "127.0.0.1", port, 0, why, sizeof why), VI_EINVAL);
    assert_int_equal(udp_open(&u, "127.0.0.1", port, 3, why, sizeof why), 0);
    assert_int_equal(u.n, 3);
    for (unsigned i = 0; i < 60; i++) {
        struct mesh_header h = {.type = MESH_DATA, .queue = (uint16_t)(i % (MESH_QUEUES - 1) + 1)};
        uint8_t b[64] = {0}, got[64];
        int fd = socket(AF_INET, SOCK_DGRAM, 0), at = u.data[(h.queue - 1) % 3];
        struct pollfd p = {.fd = at, .events = POLLIN};
        mesh_header_write(b, &h);
        assert_int_equal(sendto(fd, b, sizeof b, 0, (struct sockaddr *)&to, sizeof to), (ssize_t)sizeof b);
        close(fd);
        assert_int_equal(poll(&p, 1, SOON), 1);
        assert_int_equal(recv(at, got, sizeof got, 0), (ssize_t)sizeof got);
        assert_memory_equal(b, got, sizeof got);
    }
    say_v4(MESH_DATA, 1); /* too short to have a queue */
    say_v4(MESH_CONTROL, 64);
    expect(u.control, u.data[0], MESH_DATA);
    expect(u.control, u.data[0], MESH_CONTROL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(queues_have_their_sockets, set_up, tear_down),
        cmocka_unit_test_setup_teardown(sorted_by_first_byte, set_up, tear_down),
        cmocka_unit_test_setup_teardown(control_goes_before_data, set_up, tear_down),
        cmocka_unit_test_setup_teardown(both_families, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
