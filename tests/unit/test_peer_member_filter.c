/* Which members a call means: names, ids, states, and what is no filter. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "peer/base/err.h"
#include "peer/member_filter.h"

static uint8_t bytes[8192];
static struct vi_writer w;

static int read_back(struct member_filter *f)
{
    struct vi_reader r;
    assert_int_equal(w.err, 0);
    vi_reader_init(&r, bytes, w.len);
    return member_filter_read(&r, f);
}

static void begin(uint32_t fields)
{
    vi_writer_init(&w, bytes, sizeof bytes);
    vi_write_map(&w, fields);
}

static void names(const char *name, unsigned n)
{
    vi_write_str(&w, "names");
    vi_write_array(&w, n);
    while (n--)
        vi_write_str(&w, name);
}

static void test_names(void **unused)
{
    struct vi_id id = {{0xab, 0xcd, 0xef, 0x01, 0x23}};
    struct member_filter f;
    (void)unused;
    begin(0);
    assert_int_equal(read_back(&f), 0);
    assert_int_equal(f.state, 0);
    assert_true(member_filter_names(&f, &id, "any"));
    assert_null(member_filter_missed(&f));
    begin(2);
    vi_write_str(&w, "of a later version");
    vi_write_array(&w, 1);
    vi_write_map(&w, 0);
    vi_write_str(&w, "names");
    vi_write_array(&w, 4);
    vi_write_str(&w, "north");
    vi_write_str(&w, "abcdef01");
    vi_write_str(&w, "abcdef0"); /* too short for an id */
    vi_write_str(&w, "south");
    assert_int_equal(read_back(&f), 0);
    assert_false(member_filter_names(&f, &(struct vi_id){{1}}, "nort"));
    assert_string_equal(member_filter_missed(&f), "north");
    assert_true(member_filter_names(&f, &(struct vi_id){{1}}, "north"));
    assert_true(member_filter_names(&f, &id, "west"));
    assert_string_equal(member_filter_missed(&f), "abcdef0");
    assert_true(member_filter_names(&f, &(struct vi_id){{2}}, "abcdef0")); /* a name like that */
    assert_string_equal(member_filter_missed(&f), "south");
    assert_true(member_filter_names(&f, &id, "south"));
    assert_null(member_filter_missed(&f));
}

static void test_states(void **unused)
{
    struct member_filter f;
    (void)unused;
    for (unsigned s = GOSSIP_ALIVE; s <= GOSSIP_LEFT; s++) {
        begin(1);
        vi_write_str(&w, "state");
        vi_write_str(&w, gossip_state_text((enum gossip_state)s));
        assert_int_equal(read_back(&f), 0);
        assert_int_equal(f.state, s);
    }
    begin(1);
    vi_write_str(&w, "state");
    vi_write_str(&w, "unknown");
    assert_int_equal(read_back(&f), VI_EINVAL);
    begin(1);
    vi_write_str(&w, "state");
    vi_write_uint(&w, 1);
    assert_int_equal(read_back(&f), VI_EINVAL);
}

static void test_bounds(void **unused)
{
    char longest[VI_ID_TEXT + GOSSIP_NAME_MAX + 1];
    struct member_filter f;
    (void)unused;
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = 0;
    begin(1);
    names("x", MEMBER_FILTER_NAMES);
    assert_int_equal(read_back(&f), 0);
    assert_int_equal(f.n, MEMBER_FILTER_NAMES);
    begin(1);
    names("x", MEMBER_FILTER_NAMES + 1);
    assert_int_equal(read_back(&f), VI_EINVAL);
    begin(1);
    names(longest, 1);
    assert_int_equal(read_back(&f), VI_EINVAL);
    begin(1);
    names(longest + 1, 1);
    assert_int_equal(read_back(&f), 0);
    begin(2); /* twice: the second counts */
    names("x", 3);
    names("y", 1);
    assert_int_equal(read_back(&f), 0);
    assert_int_equal(f.n, 1);
    assert_string_equal(f.name[0], "y");
    begin(2); /* cut off */
    names("x", 3);
    assert_int_equal(read_back(&f), VI_EINVAL);
    vi_writer_init(&w, bytes, sizeof bytes);
    vi_write_str(&w, "no map");
    assert_int_equal(read_back(&f), VI_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names), cmocka_unit_test(test_states), cmocka_unit_test(test_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
