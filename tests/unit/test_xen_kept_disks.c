/* Which disks a guest that is started again has: the lines that say so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "xen/kept_disks.h"

#define ID "000102030405060708090a0b0c0d0e0f"

static void test_there_and_back(void **unused)
{
    struct kept_disk d[HV_DISKS_MAX] = {{.vdev = "xvda"}, {.vdev = "xvdb1", .id = {{7}}}}, back[HV_DISKS_MAX];
    char text[KEPT_DISKS_MAX + 8];
    unsigned n;
    (void)unused;
    for (unsigned i = 2; i < HV_DISKS_MAX; i++)
        snprintf(d[i].vdev, sizeof d[i].vdev, "abcdefghijklmn%u", i); /* as long as can be */
    int len = kept_disks_encode(d, HV_DISKS_MAX, text);
    assert_true(len > 0 && (size_t)len == strlen(text) && len < KEPT_DISKS_MAX);
    strcpy(text + len, "{rest}");
    assert_string_equal(kept_disks_decode(back, &n, text), "{rest}");
    assert_int_equal(n, HV_DISKS_MAX);
    for (unsigned i = 0; i < n; i++) {
        assert_string_equal(back[i].vdev, d[i].vdev);
        assert_true(vi_id_equal(&back[i].id, &d[i].id));
    }
}

static void test_none(void **unused)
{
    struct kept_disk back[HV_DISKS_MAX];
    char text[KEPT_DISKS_MAX];
    unsigned n = 9;
    (void)unused;
    assert_int_equal(kept_disks_encode(NULL, 0, text), 0);
    assert_string_equal(kept_disks_decode(back, &n, "{\"c_info\": 1}"), "{\"c_info\": 1}");
    assert_int_equal(n, 0);
    assert_string_equal(kept_disks_decode(back, &n, ""), "");
}

static void test_bad(void **unused)
{
    static const char *const bad[] = {
        "disk ", "disk xvda", "disk xvda " ID, "disk  " ID "\n", "disk xvda  " ID "\n", "disk xvda " ID " \n", "disk XVDA " ID "\n",
        "disk xvda " ID "0\n", "disk xvda 0001\n", "disk xvda 0001020304050607zz090a0b0c0d0e0f\n",
        "disk abcdefghijklmnop " ID "\n", "disk ../a " ID "\n", "disk xvda " ID "\ndisk \n", "disk xvda\n" ID "\n"};
    struct kept_disk back[HV_DISKS_MAX];
    char many[2 * KEPT_DISKS_MAX] = "";
    unsigned n;
    (void)unused;
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_null(kept_disks_decode(back, &n, bad[i]));
    for (unsigned i = 0; i <= HV_DISKS_MAX; i++)
        strcat(many, "disk xvda " ID "\n");
    assert_null(kept_disks_decode(back, &n, many));
}

static void test_not_written(void **unused)
{
    struct kept_disk d[HV_DISKS_MAX + 1] = {{.vdev = "xv da"}};
    char text[KEPT_DISKS_MAX];
    (void)unused;
    assert_int_equal(kept_disks_encode(d, 1, text), VI_EINVAL);
    d[0].vdev[0] = '\0';
    assert_int_equal(kept_disks_encode(d, 1, text), VI_EINVAL);
    for (unsigned i = 0; i <= HV_DISKS_MAX; i++)
        strcpy(d[i].vdev, "xvda");
    assert_int_equal(kept_disks_encode(d, HV_DISKS_MAX + 1, text), VI_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_none),
                                       cmocka_unit_test(test_bad), cmocka_unit_test(test_not_written)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
