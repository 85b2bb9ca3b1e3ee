/* Guest reports: what a guest may say and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "xen/hypervisor.h"

static int parse(struct hv_report *r, const char *s)
{
    return hv_report_parse(r, s, strlen(s));
}

static void test_good(void **unused)
{
    struct hv_report r;
    (void)unused;
    assert_int_equal(parse(&r, "v=1 seq=7 total_kb=200000 available_kb=40000 swap_used_kb=12 "
                               "steal_ms=345"), 0);
    assert_true(r.present);
    assert_int_equal(r.sequence, 7);
    assert_int_equal(r.total_kb, 200000);
    assert_int_equal(r.available_kb, 40000);
    assert_int_equal(r.swap_used_kb, 12);
    assert_int_equal(r.steal_ms, 345);
}

static void test_order_newline_and_later_words(void **unused)
{
    struct hv_report r;
    (void)unused;
    assert_int_equal(parse(&r, "steal_ms=0 new=word seq=9007199254740992 v=1  total_kb=1 "
                               "available_kb=0 swap_used_kb=0\n"), 0);
    assert_true(r.present);
    assert_true(r.sequence == 9007199254740992u);
}

static void test_bad(void **unused)
{
    static const char *const bad[] = {
        "", " ", "v=1", "hello", "v=1 seq=1 total_kb=10 available_kb=5 swap_used_kb=0",
        "v=2 seq=1 total_kb=10 available_kb=5 swap_used_kb=0 steal_ms=0",
        "v=0 seq=1 total_kb=10 available_kb=5 swap_used_kb=0 steal_ms=0",
        "v=1 seq=1 total_kb=10 available_kb=11 swap_used_kb=0 steal_ms=0",
        "v=1 seq=1 total_kb=0 available_kb=0 swap_used_kb=0 steal_ms=0",
        "v=1 seq=-1 total_kb=10 available_kb=5 swap_used_kb=0 steal_ms=0",
        "v=1 seq= total_kb=10 available_kb=5 swap_used_kb=0 steal_ms=0",
        "v=1 seq=1 seq=2 total_kb=10 available_kb=5 swap_used_kb=0 steal_ms=0",
        "v=1 seq=99999999999999999999 total_kb=10 available_kb=5 swap_used_kb=0 steal_ms=0",
        "v=1 seq=1 total_kb=68719476737 available_kb=5 swap_used_kb=0 steal_ms=0",
        "v=1 seq=1 total_kb=0x10 available_kb=5 swap_used_kb=0 steal_ms=0",
        "v=1\tseq=1 total_kb=10 available_kb=5 swap_used_kb=0 steal_ms=0",
    };
    (void)unused;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct hv_report r = {.present = true};
        assert_int_equal(parse(&r, bad[i]), VI_EPROTO);
        assert_false(r.present);
        assert_int_equal(r.total_kb, 0);
    }
}

static void test_too_long_and_none(void **unused)
{
    char text[1024];
    struct hv_report r;
    (void)unused;
    memset(text, ' ', sizeof text);
    memcpy(text, "v=1 seq=1 total_kb=10 available_kb=5 swap_used_kb=0 steal_ms=0", 62);
    assert_int_equal(hv_report_parse(&r, text, sizeof text), VI_EPROTO);
    assert_int_equal(hv_report_parse(&r, text, 512), 0);
    assert_int_equal(hv_report_parse(&r, NULL, 0), VI_EPROTO);
}

static void test_names(void **unused)
{
    (void)unused;
    assert_string_equal(hv_state_name(HV_SUSPENDED), "suspended");
    assert_string_equal(hv_reason_name(HV_REASON_NONE), "");
    assert_string_equal(hv_reason_name(HV_REBOOT), "reboot");
    assert_string_equal(hv_type_name(HV_PVH), "pvh");
    assert_string_equal(hv_type_name((enum hv_type)9), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_order_newline_and_later_words),
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_too_long_and_none),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
