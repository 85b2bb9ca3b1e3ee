/* What a host asks another of a guest's disks: there and back, and what isn't believed; nor an offer that brings other disks than its guest
 * has. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "peer/base/err.h"
#include "peer/daemon_disk.h"
#include "peer/diskask.h"

static void there_and_back(void **unused)
{
    struct diskask q = {.n = DISKASK_MOST}, r;
    uint8_t b[DISKASK_SIZE];
    int n;
    (void)unused;
    for (unsigned i = 0; i < q.n; i++) {
        memset(q.disk[i].id.b, (int)i + 1, VI_ID_SIZE);
        q.disk[i].sectors = ((uint64_t)1 << 40) - i;
    }
    q.disk[3].since.b[2] = 7;
    n = diskask_encode(&q, b, sizeof b);
    assert_true(n > 0);
    assert_int_equal(diskask_decode(&r, b, (size_t)n), 0);
    assert_memory_equal(&q, &r, sizeof q);
    for (int i = 0; i < n; i++)
        assert_int_equal(diskask_decode(&r, b, (size_t)i), VI_EPROTO);
    assert_int_equal(diskask_encode(&q, b, 40), VI_EFULL);
}

static void too_many_or_too_large(void **unused)
{
    struct diskask q = {.n = 1}, r;
    uint8_t b[DISKASK_SIZE];
    int n;
    (void)unused;
    q.disk[0].sectors = ((uint64_t)1 << 40) + 1;
    n = diskask_encode(&q, b, sizeof b);
    assert_int_equal(diskask_decode(&r, b, (size_t)n), VI_EPROTO);
    b[2] = 0x90 + DISKASK_MOST + 1;
    assert_int_equal(diskask_decode(&r, b, (size_t)n), VI_EPROTO);
    b[1] = 2; /* of a version to come */
    b[2] = 0x90;
    assert_int_equal(diskask_decode(&r, b, 3), VI_EPROTO);
    b[1] = 1;
    assert_int_equal(diskask_decode(&r, b, 3), 0);
    assert_int_equal(r.n, 0);
}

static void answers(void **unused)
{
    uint8_t b[DISKASK_SIZE];
    uint64_t lacks = 1;
    int n = diskask_answer_encode(409600, b, sizeof b);
    (void)unused;
    assert_int_equal(diskask_answer_decode(&lacks, b, (size_t)n), 0);
    assert_int_equal(lacks, 409600);
    for (int i = 0; i < n; i++)
        assert_int_equal(diskask_answer_decode(&lacks, b, (size_t)i), VI_EPROTO);
}

static void offers_bring_what_their_guests_have(void **unused)
{
    static struct hv_description desc;
    static struct handover_guest g;
    const struct vi_id one = {.b = {1}}, two = {.b = {2}}, three = {.b = {3}};
    (void)unused;
    assert_true(daemon_disks_agree(&desc, &g));
    desc.n_disks = 3;
    desc.disks[0].kind = HV_DISK_IMAGE; /* comes by itself */
    desc.disks[1] = (struct hv_disk){.kind = HV_DISK_MOVABLE, .id = one};
    desc.disks[2] = (struct hv_disk){.kind = HV_DISK_MOVABLE, .id = two};
    assert_false(daemon_disks_agree(&desc, &g)); /* whose are they? */
    g.n_disks = 2;
    g.disks[0].id = two;
    g.disks[1].id = one;
    assert_true(daemon_disks_agree(&desc, &g));
    g.disks[1].id = three;
    assert_false(daemon_disks_agree(&desc, &g));
    g.disks[1].id = one;
    desc.disks[2].id = one; /* twice */
    assert_false(daemon_disks_agree(&desc, &g));
    g.n_disks = 1;
    g.disks[0].id = one;
    assert_false(daemon_disks_agree(&desc, &g));
    desc.n_disks = 1;
    assert_false(daemon_disks_agree(&desc, &g));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(too_many_or_too_large),
        cmocka_unit_test(answers),
        cmocka_unit_test(offers_bring_what_their_guests_have),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
