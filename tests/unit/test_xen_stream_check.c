/* The migration stream walker: a real stream passes however it is cut up, each kind of damage is
 * found, and nothing of what is wrong is let through. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "xen/stream_check.h"

#define REAL "tests/fuzz/corpus/stream_check/pvh-real-cut.bin" /* of a PVH guest, most pages cut out */

static uint8_t real[32 << 10];
static size_t real_len;

static int load(void **state)
{
    FILE *f = fopen(REAL, "rb");
    (void)state;
    if (!f)
        return -1;
    real_len = fread(real, 1, sizeof real, f);
    fclose(f);
    return real_len > 64 && real_len < sizeof real ? 0 : -1;
}

static enum stream_check_status walk(struct stream_check *s, const uint8_t *p, size_t len,
                                     size_t chunk, size_t *total)
{
    enum stream_check_status st = STREAM_MORE;
    stream_check_init(s, 0);
    *total = 0;
    while (len && st == STREAM_MORE) {
        size_t n = len < chunk ? len : chunk, used;
        st = stream_check_feed(s, p, n, &used);
        assert_true(used <= n && (st != STREAM_MORE || used == n));
        *total += used;
        p += n;
        len -= n;
    }
    return st;
}

static void test_real_in_all_chunks(void **state)
{
    static const size_t chunks[] = {1, 2, 3, 7, 8, 15, 24, 1000, 4096, sizeof real};
    (void)state;
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        struct stream_check s;
        size_t total;
        assert_int_equal(walk(&s, real, real_len, chunks[i], &total), STREAM_DONE);
        assert_int_equal(total, real_len);
        assert_int_equal(s.pages, 2);
    }
}

static void test_ends_at_its_end(void **state)
{
    uint8_t longer[sizeof real + 100];
    struct stream_check s;
    size_t total, used;
    (void)state;
    memset(longer, 0xff, sizeof longer);
    memcpy(longer, real, real_len);
    assert_int_equal(walk(&s, longer, real_len + 100, sizeof longer, &total), STREAM_DONE);
    assert_int_equal(total, real_len);
    assert_int_equal(stream_check_feed(&s, longer, 10, &used), STREAM_DONE);
    assert_int_equal(used, 0);
}

static void test_cut_needs_more(void **state)
{
    struct stream_check s;
    size_t total;
    (void)state;
    for (size_t n = 0; n < real_len; n += n < 2000 ? 1 : 97)
        assert_int_equal(walk(&s, real, n, 4096, &total), STREAM_MORE);
}

/* Where the records are in the stream. */
static size_t record(uint32_t type)
{
    size_t at = 16 + 8 + 24 + 16;
    for (;;) {
        uint32_t t, len;
        memcpy(&t, real + at, 4);
        memcpy(&len, real + at + 4, 4);
        if (t == type)
            return at;
        assert_int_not_equal(t, 0);
        at += 8 + ((len + 7) & ~7u);
    }
}

static void spoiled(size_t at, uint64_t value, size_t width, enum stream_check_reason why)
{
    static uint8_t bad[sizeof real];
    struct stream_check s;
    size_t total;
    memcpy(bad, real, real_len);
    memcpy(bad + at, &value, width);
    if (walk(&s, bad, real_len, 100, &total) != STREAM_BAD || s.reason != why)
        fail_msg("at %zu: %s instead of %s", at, stream_check_reason_name(s.reason),
                 stream_check_reason_name(why));
    assert_true(total < at + width + 64); /* found before any page or body passes */
    assert_int_equal(walk(&s, bad, real_len, 1, &total), STREAM_BAD);
    assert_int_equal(s.reason, why);
}

static void test_damage(void **state)
{
    size_t pages = record(1), params = record(10), cpuid = record(0x11), fixed = record(0x10);
    (void)state;
    spoiled(0, 0, 1, STREAM_NOT_LIBXL);
    spoiled(11, 3, 1, STREAM_NOT_LIBXL);  /* version */
    spoiled(15, 1, 1, STREAM_NOT_LIBXL);  /* big-endian */
    spoiled(16, 2, 4, STREAM_RECORD);     /* emulator data */
    spoiled(20, 8, 4, STREAM_RECORD);
    spoiled(16, 0, 4, STREAM_ORDER);      /* ends before it began */
    spoiled(24, 0, 1, STREAM_NOT_LIBXC);
    spoiled(39, 2, 1, STREAM_NOT_LIBXC);
    spoiled(48, 3, 4, STREAM_DOMAIN);
    spoiled(52, 13, 2, STREAM_DOMAIN);    /* page size */
    spoiled(cpuid, 2, 4, STREAM_TYPE);    /* a PV guest's record */
    spoiled(cpuid, 0x0b, 4, STREAM_TYPE);
    spoiled(cpuid, 0x0e, 4, STREAM_TYPE); /* checkpoint */
    spoiled(cpuid, 0x80000011, 4, STREAM_TYPE);
    spoiled(cpuid + 4, 25, 4, STREAM_LENGTH);
    spoiled(cpuid + 4, 0xffffffff, 4, STREAM_LENGTH);
    spoiled(record(0x12), 0x11, 4, STREAM_LENGTH);
    spoiled(fixed, 0, 4, STREAM_ORDER);   /* the end before anything */
    spoiled(pages + 4, 8, 4, STREAM_LENGTH);
    spoiled(pages + 8, 0, 4, STREAM_PAGES);
    spoiled(pages + 8, 1025, 4, STREAM_PAGES);
    spoiled(pages + 8, 2, 4, STREAM_PAGES);
    spoiled(pages + 12, 1, 4, STREAM_PAGES);
    spoiled(pages + 16, 5ull << 60, 8, STREAM_PAGES);
    spoiled(pages + 16, 1ull << 60, 8, STREAM_PAGES); /* page table of an HVM guest */
    spoiled(pages + 16, 1ull << 52, 8, STREAM_FRAME);
    spoiled(pages + 16, 1ull << 34, 8, STREAM_FRAME);
    spoiled(params + 8, 3, 4, STREAM_PARAMETERS);
    spoiled(params + 12, 3, 4, STREAM_PARAMETERS);
    spoiled(real_len - 8, 1, 4, STREAM_ORDER);
    spoiled(real_len - 4, 8, 4, STREAM_RECORD);
}

static void test_page_types_count(void **state)
{
    size_t pages = record(1);
    (void)state;
    /* A frame that brings no page, where the length says it brings one. */
    spoiled(pages + 16 + 7, 0xf0, 1, STREAM_PAGES);
}

static void test_twice_and_order(void **state)
{
    static uint8_t b[sizeof real * 2];
    size_t fixed = record(0x10), cpuid = record(0x11), n = fixed + 8 - cpuid, total;
    struct stream_check s;
    (void)state;
    memcpy(b, real, fixed);
    memcpy(b + fixed, real + cpuid, n); /* CPUID, MSR and the end of static data again */
    assert_int_equal(walk(&s, b, fixed + n, 512, &total), STREAM_BAD);
    assert_int_equal(s.reason, STREAM_TWICE);
    memcpy(b, real, cpuid);
    memcpy(b + cpuid, real + record(1), 64); /* memory before static data */
    assert_int_equal(walk(&s, b, cpuid + 64, 512, &total), STREAM_BAD);
    assert_int_equal(s.reason, STREAM_ORDER);
}

static int in_child(const uint8_t *data, size_t len, uint8_t *out, size_t cap, size_t *got)
{
    int in[2], back[2], status;
    assert_int_equal(pipe(in) | pipe(back), 0);
    pid_t writer = fork();
    if (writer == 0) {
        close(in[0]);
        _exit(write(in[1], data, len) == (ssize_t)len ? 0 : 1);
    }
    pid_t child = fork();
    if (child == 0) {
        close(in[1]);
        close(back[0]);
        _exit(stream_check_main(in[0], back[1]));
    }
    close(in[0]);
    close(in[1]);
    close(back[1]);
    ssize_t n;
    for (*got = 0; *got < cap && (n = read(back[0], out + *got, cap - *got)) > 0;)
        *got += (size_t)n;
    close(back[0]);
    waitpid(child, &status, 0);
    waitpid(writer, NULL, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void test_child_process(void **state)
{
    static uint8_t out[sizeof real], bad[sizeof real];
    size_t got;
    (void)state;
    assert_int_equal(in_child(real, real_len, out, sizeof out, &got), 0);
    assert_int_equal(got, real_len);
    assert_memory_equal(out, real, real_len);
    assert_int_equal(in_child(real, 100, out, sizeof out, &got), STREAM_CHECK_CUT);
    memcpy(bad, real, real_len);
    bad[39] = 7;
    assert_int_equal(in_child(bad, real_len, out, sizeof out, &got),
                     STREAM_CHECK_EXIT + STREAM_NOT_LIBXC);
    assert_true(got < 48);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_real_in_all_chunks), cmocka_unit_test(test_ends_at_its_end),
        cmocka_unit_test(test_cut_needs_more),     cmocka_unit_test(test_damage),
        cmocka_unit_test(test_page_types_count),   cmocka_unit_test(test_twice_and_order),
        cmocka_unit_test(test_child_process),
    };
    return cmocka_run_group_tests(tests, load, NULL);
}
