/* What comes from the other host's nbd, and what the kernel says of a mirror. The devices themselves: tests/xen/check_disks.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer/base/err.h"
#include "xen/disk.h"

static void request(uint8_t out[DISK_REQUEST_SIZE], uint32_t type, uint64_t from, uint32_t len)
{
    static const uint8_t magic[4] = {0x25, 0x60, 0x95, 0x13};
    memset(out, 0, DISK_REQUEST_SIZE);
    memcpy(out, magic, 4);
    for (int i = 0; i < 4; i++)
        out[4 + i] = (uint8_t)(type >> (24 - 8 * i));
    memset(out + 8, 0xab, 8);
    for (int i = 0; i < 8; i++)
        out[16 + i] = (uint8_t)(from >> (56 - 8 * i));
    for (int i = 0; i < 4; i++)
        out[24 + i] = (uint8_t)(len >> (24 - 8 * i));
}

static void requests_and_replies_of_ours(void **state)
{
    struct disk_request q = {.command = DISK_WRITE, .handle = 0x1122334455667788, .offset = 65536, .length = 4096}, r;
    uint8_t b[DISK_REQUEST_SIZE], reply[DISK_REPLY_SIZE];
    uint64_t handle;
    (void)state;
    disk_request_encode(b, &q);
    assert_int_equal(disk_request_decode(&r, b, 1 << 20), 0);
    assert_int_equal(r.command, q.command);
    assert_int_equal(r.handle, q.handle);
    assert_int_equal(r.offset, q.offset);
    assert_int_equal(r.length, q.length);
    disk_reply_encode(reply, q.handle, 0);
    assert_int_equal(disk_reply_decode(reply, &handle), 0);
    assert_int_equal(handle, q.handle);
    disk_reply_encode(reply, q.handle, 5);
    assert_int_equal(disk_reply_decode(reply, &handle), VI_EIO);
    reply[0] ^= 1;
    assert_int_equal(disk_reply_decode(reply, &handle), VI_EPROTO);
}

static void requests_stay_inside_of_the_disk(void **state)
{
    struct disk_request q;
    uint8_t b[DISK_REQUEST_SIZE];
    const uint64_t size = 1 << 20;
    (void)state;
    request(b, 1, 4096, 8192);
    assert_int_equal(disk_request_decode(&q, b, size), 0);
    assert_int_equal(q.command, DISK_WRITE);
    assert_int_equal(q.offset, 4096);
    assert_int_equal(q.length, 8192);
    request(b, 0x10001, 4096, 512); /* with a flag */
    assert_int_equal(disk_request_decode(&q, b, size), 0);
    request(b, 0, size - 512, 512);
    assert_int_equal(disk_request_decode(&q, b, size), 0);
    request(b, 0, size - 511, 512);
    assert_int_equal(disk_request_decode(&q, b, size), VI_EPROTO);
    request(b, 1, UINT64_MAX - 100, 4096);
    assert_int_equal(disk_request_decode(&q, b, size), VI_EPROTO);
    request(b, 1, size, 1);
    assert_int_equal(disk_request_decode(&q, b, size), VI_EPROTO);
    request(b, 1, 0, 0);
    assert_int_equal(disk_request_decode(&q, b, size), VI_EPROTO);
    request(b, 1, 0, DISK_IO_MAX + 1);
    assert_int_equal(disk_request_decode(&q, b, (uint64_t)1 << 40), VI_EPROTO);
    request(b, 4, 0, 512); /* TRIM was not offered */
    assert_int_equal(disk_request_decode(&q, b, size), VI_EPROTO);
    request(b, 3, UINT64_MAX, 0);
    assert_int_equal(disk_request_decode(&q, b, size), 0);
    assert_int_equal(q.command, DISK_FLUSH);
    b[0] ^= 1;
    assert_int_equal(disk_request_decode(&q, b, size), VI_EPROTO);
}

static void replies_give_the_handle_back(void **state)
{
    static const uint8_t well[DISK_REPLY_SIZE] = {0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0, 0xab, 0xab, 0xab, 0xab, 0xab, 0xab, 0xab, 0xab};
    struct disk_request q;
    uint8_t b[DISK_REQUEST_SIZE], out[DISK_REPLY_SIZE];
    (void)state;
    request(b, 3, 0, 0);
    assert_int_equal(disk_request_decode(&q, b, 512), 0);
    disk_reply_encode(out, q.handle, 0);
    assert_memory_equal(out, well, sizeof well);
    disk_reply_encode(out, q.handle, 5);
    assert_int_equal(out[7], 5);
}

static void the_kernels_word_on_a_mirror(void **state)
{
    struct disk_mirror_status s;
    (void)state;
    assert_int_equal(disk_mirror_status_parse(&s, "2 254:1 43:0 17/384 1 AA 1 core"), 0);
    assert_int_equal(s.in_sync, 17);
    assert_int_equal(s.regions, 384);
    assert_false(s.whole || s.broken);
    assert_int_equal(disk_mirror_status_parse(&s, "2 7:0 43:0 384/384 1 AA 3 disk 7:3 A"), 0);
    assert_true(s.whole);
    assert_int_equal(disk_mirror_status_parse(&s, "2 7:0 43:0 384/384 1 AD 1 core"), 0);
    assert_true(s.broken && !s.whole && !s.own_lost);
    assert_int_equal(disk_mirror_status_parse(&s, "2 7:0 43:0 384/384 1 DA 1 core"), 0);
    assert_true(s.broken && s.own_lost);
    assert_int_equal(disk_mirror_status_parse(&s, "2 7:0 43:0 385/384 1 AA 1 core"), VI_EPROTO);
    assert_int_equal(disk_mirror_status_parse(&s, "3 7:0 43:0 7:1 384/384 1 AAA 1 core"), VI_EPROTO);
    assert_int_equal(disk_mirror_status_parse(&s, "7:0 0"), VI_EPROTO);
    assert_int_equal(disk_mirror_status_parse(&s, ""), VI_EPROTO);
}

static void a_log_as_the_kernel_reads_it(void **state)
{
    static uint8_t log[16384];
    static const uint8_t bits[2] = {0xfd, 0x03}, head[16] = {0x72, 0x52, 0x69, 0x4d, 2, 0, 0, 0, 10};
    (void)state;
    assert_int_equal(disk_regions(640), 10);
    assert_int_equal(disk_regions(641), 11);
    assert_in_range(disk_log_size(10), 1024 + 2, sizeof log);
    assert_int_equal(disk_log_size(10) % 512, 0);
    disk_log_encode(log, 10, bits);
    assert_memory_equal(log, head, sizeof head);
    assert_memory_equal(log + 1024, bits, 2);
    assert_int_equal(log[1026], 0);
}

/* ---- the destination */

struct serving {
    int fd, err;
    char path[32], why[160];
    uint64_t written;
};

static void *serve(void *arg)
{
    struct serving *s = arg;
    s->err = disk_serve(s->fd, s->path, &s->written, s->why, sizeof s->why);
    return NULL;
}

static int ask(int fd, enum disk_command command, const void *data, uint32_t len)
{
    struct disk_request q = {.command = command, .handle = 7, .offset = 0, .length = len};
    uint8_t head[DISK_REQUEST_SIZE], reply[DISK_REPLY_SIZE];
    uint64_t handle;
    disk_request_encode(head, &q);
    assert_int_equal(write(fd, head, sizeof head), sizeof head);
    if (len)
        assert_int_equal(write(fd, data, len), len);
    if (command == DISK_DISCONNECT)
        return 0;
    assert_int_equal(recv(fd, reply, sizeof reply, MSG_WAITALL), sizeof reply);
    return disk_reply_decode(reply, &handle);
}

/* failing: one write in between, which the source is told, and may forget. */
static int served(bool failing)
{
    static const uint8_t block[4096] = {1};
    struct serving s = {.path = "/tmp/violin-served.XXXXXX"};
    struct rlimit was, none;
    pthread_t thread;
    int pair[2], file = mkstemp(s.path);
    assert_true(file >= 0);
    assert_int_equal(ftruncate(file, 1 << 20), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    s.fd = pair[1];
    assert_int_equal(pthread_create(&thread, NULL, serve, &s), 0);
    assert_int_equal(ask(pair[0], DISK_WRITE, block, sizeof block), 0);
    if (failing) {
        signal(SIGXFSZ, SIG_IGN);
        assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
        none = (struct rlimit){.rlim_cur = 0, .rlim_max = was.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
        assert_int_equal(ask(pair[0], DISK_WRITE, block, sizeof block), VI_EIO);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    }
    assert_int_equal(ask(pair[0], DISK_WRITE, block, sizeof block), 0);
    assert_int_equal(ask(pair[0], DISK_FLUSH, NULL, 0), 0);
    assert_int_equal(ask(pair[0], DISK_DISCONNECT, NULL, 0), 0);
    pthread_join(thread, NULL);
    close(pair[0]);
    close(pair[1]);
    close(file);
    unlink(s.path);
    return s.err;
}

static void what_could_not_be_written_once_is_no_whole_copy(void **state)
{
    (void)state;
    assert_int_equal(served(false), 0);
    assert_int_equal(served(true), VI_EIO);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_and_replies_of_ours),
        cmocka_unit_test(requests_stay_inside_of_the_disk),
        cmocka_unit_test(replies_give_the_handle_back),
        cmocka_unit_test(the_kernels_word_on_a_mirror),
        cmocka_unit_test(a_log_as_the_kernel_reads_it),
        cmocka_unit_test(what_could_not_be_written_once_is_no_whole_copy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
