/* Descriptions: what goes out comes back, what is not sensible neither goes out nor comes in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "peer/base/wire.h"
#include "xen/hypervisor.h"

static struct hv_description sample(void)
{
    struct hv_description d = {
        .type = HV_PVH,
        .vcpus = 2,
        .target_kb = 200 << 10,
        .max_kb = 400 << 10,
        .weight = 256,
        .has_kernel = true,
        .has_ramdisk = true,
        .n_vifs = 2,
        .n_disks = 2,
        .on_poweroff = HV_ACT_DESTROY,
        .on_reboot = HV_ACT_RESTART,
        .on_crash = HV_ACT_PRESERVE,
    };
    memset(d.uuid.b, 5, sizeof d.uuid.b);
    snprintf(d.name, sizeof d.name, "node-1.lab+x_y");
    snprintf(d.cmdline, sizeof d.cmdline, "console=hvc0 quiet ip4=10.0.0.5/24");
    memset(d.kernel, 1, sizeof d.kernel);
    memset(d.ramdisk, 2, sizeof d.ramdisk);
    memset(d.cpu_features, 3, sizeof d.cpu_features);
    for (unsigned i = 0; i < d.n_vifs; i++) {
        memcpy(d.vifs[i].mac, (uint8_t[]){0, 0x16, 0x3e, 0, 0, (uint8_t)(i + 1)}, 6);
        memset(d.vifs[i].environment.b, 0x1a, VI_ID_SIZE);
    }
    d.disks[0] = (struct hv_disk){.kind = HV_DISK_IMAGE, .readonly = true, .vdev = "xvda"};
    memset(d.disks[0].hash, 9, HV_HASH_SIZE);
    d.disks[1] = (struct hv_disk){.kind = HV_DISK_SHARED, .vdev = "xvdb", .storage_id = "san-7.a"};
    return d;
}

static void test_round_trip(void **unused)
{
    struct hv_description d = sample(), e;
    uint8_t b[HV_DESCRIPTION_MAX];
    int n;
    (void)unused;
    d.kept = true;
    n = hv_description_encode(&d, b, sizeof b);
    assert_true(n > 0);
    assert_int_equal(hv_description_decode(&e, b, (size_t)n), 0);
    assert_true(e.kept);
    d.kept = false; /* without, it is as who doesn't know such guests says it */
    assert_int_equal(hv_description_encode(&d, b, sizeof b), n - 1);
    n--;
    assert_int_equal(hv_description_decode(&e, b, (size_t)n), 0);
    assert_false(e.kept);
    assert_int_equal(hv_description_decode(&e, b, (size_t)n), 0);
    assert_memory_equal(&d.uuid, &e.uuid, sizeof d.uuid);
    assert_string_equal(e.name, d.name);
    assert_string_equal(e.cmdline, d.cmdline);
    assert_int_equal(e.type, HV_PVH);
    assert_int_equal(e.max_kb, 400 << 10);
    assert_int_equal(e.n_vifs, 2);
    assert_memory_equal(e.vifs, d.vifs, sizeof d.vifs);
    assert_int_equal(e.disks[0].kind, HV_DISK_IMAGE);
    assert_memory_equal(e.disks[0].hash, d.disks[0].hash, HV_HASH_SIZE);
    assert_string_equal(e.disks[1].storage_id, "san-7.a");
    assert_int_equal(e.on_reboot, HV_ACT_RESTART);
    assert_int_equal(e.on_crash, HV_ACT_PRESERVE);
    assert_memory_equal(e.cpu_features, d.cpu_features, 32);
}

static void test_disks_that_move(void **unused)
{
    struct hv_description d = sample(), e;
    uint8_t b[HV_DESCRIPTION_MAX];
    int n;
    (void)unused;
    d.n_disks = 3;
    d.disks[2] = (struct hv_disk){.kind = HV_DISK_MOVABLE, .vdev = "xvdc", .id = {.b = {7}}};
    n = hv_description_encode(&d, b, sizeof b);
    assert_true(n > 0);
    assert_int_equal(hv_description_decode(&e, b, (size_t)n), 0);
    assert_int_equal(e.disks[2].kind, HV_DISK_MOVABLE);
    assert_true(vi_id_equal(&e.disks[2].id, &d.disks[2].id));
    d.disks[2].readonly = true;
    assert_int_equal(hv_description_encode(&d, b, sizeof b), VI_EINVAL);
    d.disks[2].readonly = false;
    memset(&d.disks[2].id, 0, sizeof d.disks[2].id);
    assert_int_equal(hv_description_encode(&d, b, sizeof b), VI_EINVAL);
    d.disks[2].id.b[0] = 7;
    d.disks[1] = d.disks[2]; /* one disk twice */
    snprintf(d.disks[1].vdev, sizeof d.disks[1].vdev, "xvdb");
    assert_int_equal(hv_description_encode(&d, b, sizeof b), VI_EINVAL);
    d.disks[1].id.b[0] = 8;
    assert_true(hv_description_encode(&d, b, sizeof b) > 0);
    d.disks[1].kind = HV_DISK_LOCAL;
    assert_int_equal(hv_description_encode(&d, b, sizeof b), VI_EINVAL);
}

static void test_largest_fits(void **unused)
{
    struct hv_description d = sample(), e;
    uint8_t b[HV_DESCRIPTION_MAX];
    (void)unused;
    d.n_vifs = HV_VIFS_MAX;
    d.n_disks = HV_DISKS_MAX;
    memset(d.name, 'n', sizeof d.name - 1);
    memset(d.cmdline, 'c', sizeof d.cmdline - 1);
    for (unsigned i = 0; i < HV_VIFS_MAX; i++)
        memcpy(d.vifs[i].mac, (uint8_t[]){2, 0, 0, 0, 0, (uint8_t)i}, 6);
    for (unsigned i = 0; i < HV_DISKS_MAX; i++) {
        d.disks[i] = (struct hv_disk){.kind = HV_DISK_SHARED};
        snprintf(d.disks[i].vdev, sizeof d.disks[i].vdev, "xvd%ccccccccccc", (char)('a' + i));
        memset(d.disks[i].storage_id, 's', sizeof d.disks[i].storage_id - 1);
    }
    int n = hv_description_encode(&d, b, sizeof b);
    assert_true(n > 0);
    assert_int_equal(hv_description_decode(&e, b, (size_t)n), 0);
    assert_int_equal(hv_description_encode(&d, b, (size_t)n - 1), VI_EFULL);
}

/* Every way of not being sensible, as a change to the sample. */
static void spoil(struct hv_description *d, int how)
{
    switch (how) {
    case 0: memset(&d->uuid, 0, sizeof d->uuid); break;
    case 1: d->name[0] = '\0'; break;
    case 2: snprintf(d->name, sizeof d->name, "../x"); break;
    case 3: snprintf(d->name, sizeof d->name, "a b"); break;
    case 4: memset(d->name, 'x', sizeof d->name); break;
    case 5: d->type = (enum hv_type)7; break;
    case 6: d->vcpus = 0; break;
    case 7: d->vcpus = 129; break;
    case 8: d->target_kb = d->max_kb + 1; break;
    case 9: d->max_kb = UINT64_MAX; break;
    case 10: d->weight = 0; break;
    case 11: d->weight = 65536; break;
    case 12: d->cap = 201; break;
    case 13: d->cmdline[3] = '\n'; break;
    case 14: memset(d->cmdline, 'x', sizeof d->cmdline); break;
    case 15: d->n_vifs = HV_VIFS_MAX + 1; break;
    case 16: d->vifs[1] = d->vifs[0]; break;
    case 17: d->vifs[0].mac[0] = 1; break;
    case 18: memset(d->vifs[0].mac, 0, 6); break;
    case 19: d->disks[0].kind = HV_DISK_LOCAL; break;
    case 20: d->disks[0].readonly = false; break;
    case 21: snprintf(d->disks[0].vdev, sizeof d->disks[0].vdev, "/dev/sda"); break;
    case 22: snprintf(d->disks[1].vdev, sizeof d->disks[1].vdev, "xvda"); break;
    case 23: snprintf(d->disks[1].storage_id, sizeof d->disks[1].storage_id, "a/b"); break;
    case 24: d->on_crash = (enum hv_action)3; break;
    case 25: d->n_disks = HV_DISKS_MAX + 1; break;
    case 26: d->has_kernel = false; break;
    case 27: d->target_kb = 100; break;
    case 28: memset(d->disks[0].vdev, 'x', sizeof d->disks[0].vdev); break;
    default: fail();
    }
}

static void test_senseless(void **unused)
{
    uint8_t b[HV_DESCRIPTION_MAX];
    (void)unused;
    for (int how = 0; how <= 28; how++) {
        struct hv_description d = sample();
        spoil(&d, how);
        if (hv_description_encode(&d, b, sizeof b) != VI_EINVAL)
            fail_msg("spoiled in way %d, it was encoded", how);
    }
}

/* Any change of a byte gives an error or something that encodes again. */
static void test_altered_and_cut(void **unused)
{
    struct hv_description d = sample(), e;
    uint8_t b[HV_DESCRIPTION_MAX], c[HV_DESCRIPTION_MAX];
    int n = hv_description_encode(&d, b, sizeof b);
    (void)unused;
    for (int i = 0; i < n; i++) {
        assert_int_not_equal(hv_description_decode(&e, b, (size_t)i), 0);
        for (int bit = 0; bit < 8; bit++) {
            memcpy(c, b, (size_t)n);
            c[i] ^= (uint8_t)(1 << bit);
            if (hv_description_decode(&e, c, (size_t)n) == 0)
                assert_true(hv_description_encode(&e, c, sizeof c) > 0);
        }
    }
    b[n] = 0xc0;
    assert_int_equal(hv_description_decode(&e, b, (size_t)n + 1), VI_EPROTO);
}

static void test_other_version(void **unused)
{
    struct hv_description d = sample(), e;
    uint8_t b[HV_DESCRIPTION_MAX];
    int n = hv_description_encode(&d, b, sizeof b);
    (void)unused;
    b[3] = 2; /* after the array's three bytes */
    assert_int_equal(hv_description_decode(&e, b, (size_t)n), VI_EVERSION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),      cmocka_unit_test(test_largest_fits), cmocka_unit_test(test_disks_that_move),
        cmocka_unit_test(test_senseless),       cmocka_unit_test(test_altered_and_cut),
        cmocka_unit_test(test_other_version),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
