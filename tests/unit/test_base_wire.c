/* Bounded msgpack: every type at its boundaries, messages cut at every byte, bombs, trailing bytes. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"

static uint8_t buf[1 << 18];
static struct vi_writer w;
static struct vi_reader r;

static void begin(void)
{
    vi_writer_init(&w, buf, sizeof buf);
}

/* A reader over an allocation of exactly len bytes, so that a sanitizer sees one byte too many. */
static uint8_t *exact;

static void read_bytes(const void *p, size_t len)
{
    free(exact);
    exact = malloc(len ? len : 1);
    assert_non_null(exact);
    memcpy(exact, p, len);
    vi_reader_init(&r, exact, len);
}

static void read_written(void)
{
    assert_int_equal(w.err, 0);
    read_bytes(buf, w.len);
}

static void assert_written(const char *hex)
{
    size_t n = strlen(hex) / 2;
    assert_int_equal(w.err, 0);
    assert_int_equal(w.len, n);
    for (size_t i = 0; i < n; i++) {
        char two[3] = {hex[2 * i], hex[2 * i + 1], 0};
        assert_int_equal(buf[i], strtoul(two, NULL, 16));
    }
}

/* ---- what is written, and in its shortest form ---- */

static void test_uint(void **unused)
{
    static const struct {
        uint64_t v;
        const char *hex;
    } t[] = {{0, "00"}, {127, "7f"}, {128, "cc80"}, {255, "ccff"}, {256, "cd0100"}, {65535, "cdffff"},
             {65536, "ce00010000"}, {UINT32_MAX, "ceffffffff"}, {UINT64_C(1) << 32, "cf0000000100000000"},
             {INT64_MAX, "cf7fffffffffffffff"}, {UINT64_MAX, "cfffffffffffffffff"}};
    (void)unused;
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        begin();
        vi_write_uint(&w, t[i].v);
        assert_written(t[i].hex);
        read_written();
        assert_int_equal(vi_read_peek(&r), VI_WIRE_UINT);
        assert_true(vi_read_uint(&r, t[i].v) == t[i].v);
        assert_int_equal(vi_read_end(&r), 0);
        if (t[i].v) {
            read_written();
            assert_true(vi_read_uint(&r, t[i].v - 1) == 0);
            assert_int_equal(r.err, VI_EPROTO);
        }
        read_written();
        if (t[i].v <= INT64_MAX) {
            assert_true(vi_read_int(&r, INT64_MIN, INT64_MAX) == (int64_t)t[i].v);
            assert_int_equal(vi_read_end(&r), 0);
        } else {
            vi_read_int(&r, INT64_MIN, INT64_MAX);
            assert_int_equal(r.err, VI_EPROTO);
        }
    }
}

static void test_int(void **unused)
{
    static const struct {
        int64_t v;
        const char *hex;
    } t[] = {{-1, "ff"}, {-32, "e0"}, {-33, "d0df"}, {-128, "d080"}, {-129, "d1ff7f"}, {-32768, "d18000"},
             {-32769, "d2ffff7fff"}, {INT32_MIN, "d280000000"}, {(int64_t)INT32_MIN - 1, "d3ffffffff7fffffff"},
             {INT64_MIN, "d38000000000000000"}};
    (void)unused;
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        begin();
        vi_write_int(&w, t[i].v);
        assert_written(t[i].hex);
        read_written();
        assert_int_equal(vi_read_peek(&r), VI_WIRE_INT);
        assert_true(vi_read_int(&r, t[i].v, t[i].v) == t[i].v);
        assert_int_equal(vi_read_end(&r), 0);
        read_written();
        vi_read_int(&r, t[i].v + 1, INT64_MAX);
        assert_int_equal(r.err, VI_EPROTO);
        read_written();
        vi_read_uint(&r, UINT64_MAX);
        assert_int_equal(r.err, VI_EPROTO);
    }
    read_bytes("\xd0\x05", 2); /* a signed form of what isn't negative */
    assert_int_equal(vi_read_uint(&r, 5), 5);
    read_bytes("\xd3\x7f\xff\xff\xff\xff\xff\xff\xff", 9);
    assert_true(vi_read_int(&r, INT64_MIN, INT64_MAX) == INT64_MAX);
}

static void test_simple(void **unused)
{
    (void)unused;
    begin();
    vi_write_nil(&w);
    vi_write_bool(&w, true);
    vi_write_bool(&w, false);
    vi_write_str(&w, NULL);
    assert_written("c0c3c2c0");
    read_written();
    vi_read_nil(&r);
    assert_true(vi_read_bool(&r));
    assert_false(vi_read_bool(&r));
    assert_int_equal(vi_read_peek(&r), VI_WIRE_NIL);
    vi_read_nil(&r);
    assert_int_equal(vi_read_peek(&r), VI_WIRE_END);
    assert_int_equal(vi_read_end(&r), 0);
    vi_read_nil(&r); /* beyond the end */
    assert_int_equal(r.err, VI_EPROTO);
    assert_int_equal(vi_read_peek(&r), VI_WIRE_BAD);
}

static void test_double(void **unused)
{
    static const double good[] = {0, -0.0, 1.5, -1e300, 5e-324, 1.7976931348623157e308};
    const double bad[] = {(double)NAN, (double)INFINITY, -(double)INFINITY};
    (void)unused;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        begin();
        vi_write_double(&w, good[i]);
        read_written();
        assert_true(vi_read_double(&r) == good[i]);
        assert_int_equal(vi_read_end(&r), 0);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        begin();
        vi_write_double(&w, bad[i]);
        read_written();
        assert_true(vi_read_double(&r) == 0);
        assert_int_equal(r.err, VI_EPROTO);
    }
    read_bytes("\xca\x3f\xc0\x00\x00", 5); /* a float */
    assert_true(vi_read_double(&r) == 1.5);
    read_bytes("\xfe\xcf\xff\xff\xff\xff\xff\xff\xff\xff", 10); /* integers will do */
    assert_true(vi_read_double(&r) == -2);
    assert_true(vi_read_double(&r) == 18446744073709551616.0);
    assert_int_equal(vi_read_end(&r), 0);
}

static const struct {
    size_t len;
    unsigned str_head, bin_head;
} lengths[] = {{0, 1, 2}, {1, 1, 2}, {31, 1, 2}, {32, 2, 2}, {255, 2, 2}, {256, 3, 3}, {65535, 3, 3}, {65536, 5, 5}};

static void test_lengths(void **unused)
{
    static char text[65537];
    size_t n;
    (void)unused;
    memset(text, 'x', sizeof text - 1);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        size_t len = lengths[i].len;
        begin();
        vi_write_strn(&w, text, len);
        assert_int_equal(w.len, len + lengths[i].str_head);
        read_written();
        assert_memory_equal(vi_read_str(&r, len, &n), text, len);
        assert_int_equal(n, len);
        assert_int_equal(vi_read_end(&r), 0);
        begin();
        vi_write_bin(&w, text, len);
        assert_int_equal(w.len, len + lengths[i].bin_head);
        read_written();
        assert_memory_equal(vi_read_bin(&r, len, &n), text, len);
        assert_int_equal(n, len);
        assert_int_equal(vi_read_end(&r), 0);
        if (len) {
            read_written();
            vi_read_bin(&r, len - 1, &n);
            assert_int_equal(r.err, VI_EPROTO);
            assert_int_equal(n, 0);
        }
        read_bytes(buf, w.len - (len > 0)); /* the last byte missing */
        vi_read_bin(&r, len, &n);
        assert_int_equal(r.err, len ? VI_EPROTO : 0);
    }
}

static void test_text_and_ids(void **unused)
{
    static const struct vi_id id = {{1, 2, 3}};
    struct vi_id got;
    uint8_t five[5];
    char text[6];
    (void)unused;
    begin();
    vi_write_str(&w, "hello");
    vi_write_id(&w, &id);
    vi_write_bin(&w, "12345", 5);
    read_written();
    vi_read_cstr(&r, text, sizeof text);
    assert_string_equal(text, "hello");
    vi_read_id(&r, &got);
    assert_true(vi_id_equal(&got, &id));
    vi_read_bytes(&r, five, 5);
    assert_memory_equal(five, "12345", 5);
    assert_int_equal(vi_read_end(&r), 0);
    read_written();
    vi_read_cstr(&r, text, 5); /* no room for the NUL */
    assert_int_equal(r.err, VI_EPROTO);
    assert_string_equal(text, "");
    memset(&got, 0xee, sizeof got);
    vi_read_id(&r, &got); /* failed once, zeros from then on */
    assert_true(vi_id_is_zero(&got));
    read_bytes("\xa3" "a\0b", 4);
    vi_read_cstr(&r, text, sizeof text);
    assert_int_equal(r.err, VI_EPROTO);
    read_bytes("\xc4\x04" "1234", 6);
    vi_read_bytes(&r, five, 5); /* one short */
    assert_int_equal(r.err, VI_EPROTO);
    read_bytes("\xa0", 1);
    vi_read_cstr(&r, text, 0);
    assert_int_equal(r.err, 0);
}

static void test_containers(void **unused)
{
    static const uint32_t counts[] = {0, 1, 15, 16, 65535, 65536};
    (void)unused;
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        uint32_t n = counts[i];
        begin();
        vi_write_array(&w, n);
        for (uint32_t k = 0; k < n; k++)
            vi_write_nil(&w);
        read_written();
        assert_int_equal(vi_read_array(&r, n), n);
        for (uint32_t k = 0; k < n; k++)
            vi_read_nil(&r);
        assert_int_equal(vi_read_end(&r), 0);
        begin();
        vi_write_map(&w, n);
        for (uint32_t k = 0; k < 2 * n; k++)
            vi_write_uint(&w, 1);
        read_written();
        assert_int_equal(vi_read_map(&r, n), n);
        assert_int_equal(r.err, 0);
        read_written();
        vi_read_skip(&r);
        assert_int_equal(vi_read_end(&r), 0);
        if (n) {
            read_written();
            assert_int_equal(vi_read_map(&r, n - 1), 0);
            assert_int_equal(r.err, VI_EPROTO);
            read_bytes(buf, w.len - 1); /* a pair that can't be there */
            assert_int_equal(vi_read_map(&r, n), 0);
            assert_int_equal(r.err, VI_EPROTO);
        }
    }
}

static void test_key(void **unused)
{
    (void)unused;
    begin();
    vi_write_str(&w, "key");
    vi_write_uint(&w, 7);
    read_written();
    assert_false(vi_read_key(&r, "ke"));
    assert_false(vi_read_key(&r, "keys"));
    assert_true(vi_read_key(&r, "key"));
    assert_false(vi_read_key(&r, "key")); /* a number, and no error */
    assert_int_equal(vi_read_uint(&r, 9), 7);
    assert_false(vi_read_key(&r, "")); /* the end */
    assert_int_equal(vi_read_end(&r), 0);
}

/* ---- a writer that is full ---- */

static void everything(void)
{
    vi_write_array(&w, 9);
    vi_write_nil(&w);
    vi_write_bool(&w, true);
    vi_write_uint(&w, 1000000);
    vi_write_int(&w, -1000000);
    vi_write_double(&w, 2.5);
    vi_write_str(&w, "some text that is longer than thirty-one bytes");
    vi_write_bin(&w, "\1\2\3", 3);
    vi_write_map(&w, 1);
    vi_write_str(&w, "k");
    vi_write_array(&w, 0);
    vi_write_id(&w, &(struct vi_id){{9}});
}

static void read_everything(void)
{
    struct vi_id id;
    char text[64];
    size_t n;
    vi_read_array(&r, 9);
    vi_read_nil(&r);
    vi_read_bool(&r);
    vi_read_uint(&r, UINT64_MAX);
    vi_read_int(&r, INT64_MIN, 0);
    vi_read_double(&r);
    vi_read_cstr(&r, text, sizeof text);
    vi_read_bin(&r, 3, &n);
    vi_read_map(&r, 1);
    vi_read_cstr(&r, text, sizeof text);
    vi_read_array(&r, 0);
    vi_read_id(&r, &id);
}

static void test_writer_full(void **unused)
{
    size_t whole;
    (void)unused;
    begin();
    everything();
    whole = w.len;
    for (size_t cap = 0; cap < whole; cap++) {
        uint8_t *small = malloc(cap ? cap : 1);
        size_t at = 0, used;
        vi_writer_init(&w, small, cap);
        everything();
        assert_int_equal(w.err, VI_EFULL);
        assert_true(w.len <= cap);
        assert_memory_equal(small, buf, w.len);
        /* what is there is whole values: after the array's head, each can be walked to w.len */
        for (at = w.len ? 1 : 0; at < w.len; at += used)
            if (small[at] == 0x81) /* the map's head stands alone; its pair follows */
                used = 1;
            else
                assert_int_equal(vi_wire_walk(small + at, w.len - at, 8, 100, &used), 0);
        assert_int_equal(at, w.len);
        free(small);
    }
    uint8_t *fits = malloc(whole);
    vi_writer_init(&w, fits, whole);
    everything();
    assert_int_equal(w.err, 0);
    assert_int_equal(w.len, whole);
    free(fits);
}

/* ---- what an enemy sends ---- */

static void test_cut_everywhere(void **unused)
{
    size_t used;
    (void)unused;
    begin();
    everything();
    for (size_t len = 0; len < w.len; len++) {
        read_bytes(buf, len);
        read_everything();
        assert_int_equal(vi_read_end(&r), VI_EPROTO);
        assert_true(r.p <= r.end);
        assert_int_equal(vi_wire_walk(exact, len, 8, 1000, &used), VI_EAGAIN);
        read_bytes(buf, len);
        vi_read_skip(&r);
        assert_int_equal(r.err, VI_EPROTO);
    }
    read_written();
    read_everything();
    assert_int_equal(vi_read_end(&r), 0);
    assert_int_equal(vi_wire_walk(buf, w.len, 8, 1000, &used), 0);
    assert_int_equal(used, w.len);
    read_bytes(buf, w.len + 1); /* a byte too many */
    read_everything();
    assert_int_equal(r.err, 0);
    assert_int_equal(vi_read_end(&r), VI_EPROTO);
}

static void test_every_first_byte(void **unused)
{
    uint8_t b[9] = {0};
    size_t used;
    (void)unused;
    for (unsigned c = 0; c < 256; c++) {
        b[0] = (uint8_t)c;
        read_bytes(b, 1);
        assert_true((vi_read_peek(&r) == VI_WIRE_BAD) == (vi_wire_walk(b, 1, 8, 100, &used) != 0 &&
                    !(c > 0x80 && c < 0xa0)));
        vi_read_skip(&r);
        memset(b + 1, 0xff, 8); /* every length at its most */
        read_bytes(b, sizeof b);
        vi_read_skip(&r);
        assert_true(r.p <= r.end);
    }
    assert_int_equal(vi_wire_walk("\xc1", 1, 8, 100, &used), VI_EPROTO); /* never used */
}

static void test_huge_counts(void **unused)
{
    static const uint8_t bombs[][5] = {{0xdd, 0x00, 0xff, 0xff, 0xff}, {0xdd, 0xff, 0xff, 0xff, 0xff},
                                       {0xdf, 0x00, 0xff, 0xff, 0xff}, {0xdf, 0xff, 0xff, 0xff, 0xff}};
    static const uint8_t lengths32[] = {0xc6, 0xdb, 0xc9};
    size_t used, n;
    (void)unused;
    for (size_t i = 0; i < 4; i++) {
        read_bytes(bombs[i], 5);
        assert_int_equal(i < 2 ? vi_read_array(&r, UINT32_MAX) : vi_read_map(&r, UINT32_MAX), 0);
        assert_int_equal(r.err, VI_EPROTO);
        /* refused when it is announced, not once that much was awaited */
        assert_int_equal(vi_wire_walk(bombs[i], 5, 8, 4096, &used), VI_EFULL);
        read_bytes(bombs[i], 5);
        vi_read_skip(&r);
        assert_int_equal(r.err, VI_EPROTO);
    }
    for (size_t i = 0; i < sizeof lengths32; i++) {
        uint8_t b[7] = {lengths32[i], 0xff, 0xff, 0xff, 0xff, 0, 0};
        read_bytes(b, sizeof b);
        vi_read_bin(&r, SIZE_MAX, &n);
        assert_int_equal(r.err, VI_EPROTO);
        assert_int_equal(vi_wire_walk(b, sizeof b, 8, 4096, &used), VI_EAGAIN);
    }
}

static void test_depth(void **unused)
{
    static uint8_t deep[100000];
    size_t used;
    (void)unused;
    memset(deep, 0x91, sizeof deep);
    assert_int_equal(vi_wire_walk(deep, sizeof deep, 8, UINT32_MAX, &used), VI_EFULL);
    assert_int_equal(vi_wire_walk(deep, sizeof deep, UINT32_MAX, UINT32_MAX, &used), VI_EFULL);
    read_bytes(deep, sizeof deep);
    vi_read_skip(&r);
    assert_int_equal(r.err, VI_EPROTO);
    for (unsigned d = 0; d <= VI_WIRE_DEPTH + 1; d++) {
        deep[d] = 0xc0;
        assert_int_equal(vi_wire_walk(deep, d + 1, VI_WIRE_DEPTH, 100, &used), d <= VI_WIRE_DEPTH ? 0 : VI_EFULL);
        read_bytes(deep, d + 1);
        vi_read_skip(&r);
        assert_int_equal(vi_read_end(&r), d <= VI_WIRE_DEPTH ? 0 : VI_EPROTO);
        deep[d] = 0x91;
    }
}

static void test_walk(void **unused)
{
    static const uint8_t two[] = {0x92, 0x01, 0x92, 0x02, 0x90, 0xc0};
    size_t used = 99;
    (void)unused;
    assert_int_equal(vi_wire_walk(NULL, 0, 8, 100, &used), VI_EAGAIN);
    assert_int_equal(vi_wire_walk(two, sizeof two, 8, 100, &used), 0);
    assert_int_equal(used, 5); /* the nil behind it is the next value */
    assert_int_equal(vi_wire_walk(two, sizeof two, 8, 5, &used), 0);
    assert_int_equal(vi_wire_walk(two, sizeof two, 8, 4, &used), VI_EFULL);
    assert_int_equal(vi_wire_walk(two, sizeof two, 3, 100, &used), 0);
    assert_int_equal(vi_wire_walk(two, sizeof two, 2, 100, &used), VI_EFULL);
    vi_reader_init(&r, NULL, 0);
    assert_int_equal(vi_read_peek(&r), VI_WIRE_END);
    assert_int_equal(vi_read_end(&r), 0);
}

static void test_ext(void **unused)
{
    static const uint8_t exts[][18] = {{0xd4, 1, 0}, {0xd5, 1, 0, 0}, {0xd6, 1}, {0xd7, 1}, {0xd8, 1},
                                       {0xc7, 2, 1, 9, 9}, {0xc8, 0, 2, 1, 9, 9}, {0xc9, 0, 0, 0, 2, 1, 9, 9}};
    static const size_t lens[] = {3, 4, 6, 10, 18, 5, 6, 8};
    (void)unused;
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        read_bytes(exts[i], lens[i]);
        assert_int_equal(vi_read_peek(&r), VI_WIRE_EXT);
        vi_read_skip(&r);
        assert_int_equal(vi_read_end(&r), 0);
        read_bytes(exts[i], lens[i] - 1);
        vi_read_skip(&r);
        assert_int_equal(r.err, VI_EPROTO);
    }
}

/* After an error nothing more is read, whatever follows. */
static void test_stays_failed(void **unused)
{
    size_t n;
    (void)unused;
    read_bytes("\x01\x02\xa1x", 4);
    vi_read_nil(&r);
    assert_int_equal(r.err, VI_EPROTO);
    assert_int_equal(vi_read_uint(&r, 9), 0);
    assert_int_equal(vi_read_int(&r, -9, 9), 0);
    assert_true(vi_read_double(&r) == 0);
    assert_false(vi_read_bool(&r));
    assert_string_equal(vi_read_str(&r, 9, &n), "");
    assert_int_equal(n, 0);
    assert_int_equal(vi_read_array(&r, 9) + vi_read_map(&r, 9), 0);
    assert_false(vi_read_key(&r, "x"));
    vi_read_skip(&r);
    assert_int_equal(vi_read_end(&r), VI_EPROTO);
}

static int tear_down(void **unused)
{
    (void)unused;
    free(exact);
    exact = NULL;
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_uint), cmocka_unit_test(test_int), cmocka_unit_test(test_simple),
        cmocka_unit_test(test_double), cmocka_unit_test(test_lengths), cmocka_unit_test(test_text_and_ids),
        cmocka_unit_test(test_containers), cmocka_unit_test(test_key), cmocka_unit_test(test_writer_full),
        cmocka_unit_test(test_cut_everywhere), cmocka_unit_test(test_every_first_byte),
        cmocka_unit_test(test_huge_counts), cmocka_unit_test(test_depth), cmocka_unit_test(test_walk),
        cmocka_unit_test(test_ext), cmocka_unit_test(test_stays_failed),
    };
    return cmocka_run_group_tests(tests, NULL, tear_down);
}
