/* The simulated hypervisor's model: shares, steal, balloon, suspend and restore; its text form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <stdio.h>
#include <cmocka.h>

#include "xen/simulated_internal.h"

#define MIB 1024u

static struct sim_model *host(uint32_t cpus, uint64_t mib)
{
    struct sim_host_config c = {.cpus = cpus, .total_kb = mib * MIB, .dom0_kb = 256 * MIB};
    c.boot_id.b[0] = 1;
    struct sim_model *m = sim_model_new(&c, 1000);
    assert_non_null(m);
    return m;
}

static struct sim_guest *guest(struct sim_model *m, uint8_t n, uint32_t weight, double cpu)
{
    struct sim_guest_config c = {.vcpus = 1, .memory_kb = 256 * MIB, .max_kb = 1024 * MIB,
                                 .weight = weight, .n_vifs = 1, .movable = true,
                                 .on_reboot = HV_ACT_RESTART};
    uint32_t domid;
    c.uuid.b[0] = n;
    c.vifs[0].mac[5] = n;
    snprintf(c.vifs[0].bridge, sizeof c.vifs[0].bridge, "vi-01020304");
    snprintf(c.name, sizeof c.name, "g%u", n);
    c.load.cpu = cpu;
    c.load.used_kb = 128 * MIB;
    assert_int_equal(sim_model_create(m, &c, &domid), 0);
    return sim_model_find(m, domid, &c.uuid);
}

static void weights_divide_the_cpu(void **state)
{
    (void)state;
    struct sim_model *m = host(1, 2048);
    struct sim_guest *a = guest(m, 1, 768, 100), *b = guest(m, 2, 256, 100);
    sim_model_advance(m, 1000 + 30 * VI_SEC);
    double ratio = (double)a->cpu_time_ns / (double)b->cpu_time_ns;
    assert_true(ratio > 2.99 && ratio < 3.01);
    assert_true(a->cpu_time_ns + b->cpu_time_ns <= 30000000000ull);
    assert_true(a->cpu_time_ns + b->cpu_time_ns > 29990000000ull);
    /* steal is what is missing to a whole CPU each */
    assert_true(b->steal_ns > 22490000000ull && b->steal_ns < 22510000000ull);
    assert_true(b->report.present && b->report.sequence == 6);
    sim_model_free(m);
}

static void nobody_gets_more_than_it_wants(void **state)
{
    (void)state;
    struct sim_model *m = host(2, 4096);
    struct sim_guest *idle = guest(m, 1, 1024, 10), *busy = guest(m, 2, 256, 400),
                     *capped = guest(m, 3, 256, 100), *big = guest(m, 4, 256, 300);
    big->cfg.vcpus = 4;
    capped->cfg.cap = 25;
    sim_model_advance(m, 1000 + 10 * VI_SEC);
    assert_true(idle->granted > 9.99 && idle->granted < 10.01);
    assert_true(capped->granted > 24.99 && capped->granted < 25.01);
    assert_true(busy->granted > 82.4 && busy->granted < 82.6);
    assert_true(big->granted > 82.4 && big->granted < 82.6);
    assert_int_equal(idle->steal_ns, 0);
    assert_true(capped->steal_ns > 7490000000ull);
    sim_model_free(m);
}

static void the_balloon_follows_its_target(void **state)
{
    (void)state;
    struct sim_model *m = host(2, 1024);
    struct sim_guest *a = guest(m, 1, 256, 10), *b = guest(m, 2, 256, 10);
    assert_int_equal(sim_model_set_memory(m, a, 2048 * MIB), VI_EINVAL);
    assert_int_equal(sim_model_set_memory(m, a, 1024 * MIB), 0);
    sim_model_advance(m, 1000 + VI_SEC / 4);
    assert_int_equal(a->current_kb, (256 + 128) * MIB);
    sim_model_advance(m, 1000 + 10 * VI_SEC);
    assert_int_equal(a->current_kb, 512 * MIB); /* 1024 - 256 of dom0 - 256 of b: no more is free */
    assert_int_equal(sim_model_set_memory(m, b, 128 * MIB), 0);
    sim_model_advance(m, 1000 + 20 * VI_SEC);
    assert_int_equal(b->current_kb, 128 * MIB);
    assert_int_equal(a->current_kb, 640 * MIB);
    struct hv_host h;
    sim_model_host(m, &h);
    assert_int_equal(h.free_kb, 0);
    sim_model_free(m);
}

static void reports_tell_what_the_guest_feels(void **state)
{
    (void)state;
    struct sim_model *m = host(2, 2048);
    struct sim_guest *a = guest(m, 1, 256, 10);
    a->cfg.load.used_kb = 300 * MIB;
    sim_model_advance(m, 1000 + 5 * VI_SEC - 1);
    assert_false(a->report.present);
    sim_model_advance(m, 1000 + 5 * VI_SEC);
    assert_true(a->report.present);
    assert_int_equal(a->report.total_kb, 256 * MIB);
    assert_int_equal(a->report.available_kb, 0);
    assert_int_equal(a->report.swap_used_kb, 44 * MIB);
    sim_model_advance(m, 1000); /* back in time: nothing */
    assert_int_equal(a->report.sequence, 1);
    sim_model_free(m);
}

static void a_move_conserves_the_guest(void **state)
{
    (void)state;
    struct sim_model *s = host(2, 2048), *d = host(2, 2048);
    struct sim_guest *a = guest(s, 1, 300, 50);
    struct hv_description desc;
    struct vi_id uuid = a->cfg.uuid;
    const char *why;
    uint32_t domid;
    sim_model_advance(s, 1000 + 7 * VI_SEC);
    sim_model_describe(s, a, &desc);
    memset(&desc.vifs[0].environment, 0xab, sizeof desc.vifs[0].environment);
    assert_int_equal(sim_model_resume(s, a), VI_ESTATE);
    assert_int_equal(sim_model_suspend(s, a), 0);
    assert_int_equal(sim_model_suspend(s, a), VI_ESTATE);
    uint64_t cpu = a->cpu_time_ns;
    sim_model_advance(s, 1000 + 20 * VI_SEC);
    assert_int_equal(a->cpu_time_ns, cpu);
    assert_int_equal(sim_model_can_receive(s, &desc, &why), VI_EEXIST);
    assert_int_equal(sim_model_can_receive(d, &desc, &why), 0);
    assert_int_equal(sim_model_receive(d, &desc, a, &domid), 0);
    struct sim_guest *b = sim_model_find(d, domid, &uuid);
    assert_non_null(b);
    assert_true(b->incoming && b->state == HV_PAUSED);
    assert_string_equal(b->cfg.vifs[0].bridge, "vi-abababab");
    assert_int_equal(b->target_kb, a->target_kb);
    assert_int_equal(b->cfg.weight, 300);
    sim_model_advance(d, 1000 + 20 * VI_SEC);
    assert_int_equal(b->cpu_time_ns, 0);
    assert_int_equal(sim_model_unpause(d, b), 0);
    assert_int_equal(sim_model_unpause(d, b), 0);
    assert_false(b->incoming);
    assert_int_equal(sim_model_resume(s, a), 0); /* the model doesn't know of each other's hosts */
    sim_model_destroy(s, a);
    assert_int_equal(sim_model_count(s), 0);
    sim_model_free(s);
    sim_model_free(d);
}

/* A guest's images go with it, as far as they can be had: read-only ones. */
static void images_go_with_it(void **state)
{
    (void)state;
    struct sim_model *s = host(2, 2048), *d = host(2, 2048);
    struct sim_guest *a = guest(s, 1, 300, 50);
    struct hv_description desc;
    struct hv_guest v;
    const char *why;
    uint32_t domid;
    a->cfg.n_images = 1;
    memset(a->cfg.images[0], 7, HV_HASH_SIZE);
    a->cfg.has_kernel = true;
    memset(a->cfg.kernel, 8, HV_HASH_SIZE);
    sim_model_describe(s, a, &desc);
    memset(&desc.vifs[0].environment, 0xab, sizeof desc.vifs[0].environment);
    assert_true(desc.disks[0].readonly && desc.disks[0].kind == HV_DISK_IMAGE);
    assert_int_equal(sim_model_can_receive(d, &desc, &why), 0);
    assert_int_equal(sim_model_receive(d, &desc, a, &domid), 0);
    sim_guest_view(sim_model_find(d, domid, &a->cfg.uuid), &v);
    assert_int_equal(v.n_disks, 1);
    assert_int_equal(v.n_boot, 1);
    assert_int_equal(v.boot[0][0], 8);
    assert_int_equal(v.disks[0].hash[0], 7);
    sim_model_destroy(s, a);
    desc.disks[0].kind = HV_DISK_SHARED;
    assert_int_equal(sim_model_can_receive(s, &desc, &why), VI_EUNSUPPORTED);
    sim_model_free(s);
    sim_model_free(d);
}

static void bounds_are_kept(void **state)
{
    (void)state;
    struct sim_model *m = host(2, 2048);
    struct sim_guest *a = guest(m, 1, 256, 10);
    struct sim_guest_config c = a->cfg;
    uint32_t domid;
    assert_int_equal(sim_model_create(m, &c, &domid), VI_EEXIST);
    c.uuid.b[0] = 9;
    snprintf(c.name, sizeof c.name, "other");
    assert_int_equal(sim_model_create(m, &c, &domid), VI_EEXIST); /* the MAC */
    c.vifs[0].mac[5] = 9;
    c.memory_kb = c.max_kb = 4096 * MIB;
    assert_int_equal(sim_model_create(m, &c, &domid), VI_EFULL);
    c.vcpus = 0;
    assert_int_equal(sim_model_create(m, &c, &domid), VI_EINVAL);
    assert_int_equal(sim_model_set_sched(m, a, 0, 0), VI_EINVAL);
    assert_int_equal(sim_model_set_sched(m, a, 256, 101), VI_EINVAL);
    assert_int_equal(sim_model_shutdown(m, a, HV_REBOOT), 0);
    assert_int_equal(sim_model_action(a), HV_ACT_RESTART);
    assert_int_equal(sim_model_restart(m, a, &domid), 0);
    assert_int_not_equal(domid, 1);
    sim_model_free(m);
}

static void text_reads_back(void **state)
{
    (void)state;
    struct sim_model *m = host(2, 2048);
    struct sim_guest *a = guest(m, 1, 256, 12.5), back;
    char text[SIM_TEXT_MAX], again[SIM_TEXT_MAX], why[SIM_DETAIL];
    a->cfg.memory_kb = 262145;
    snprintf(a->cfg.netns, sizeof a->cfg.netns, "guest-1");
    snprintf(a->cfg.ifname, sizeof a->cfg.ifname, "eth0");
    a->cfg.n_disks = 2;
    a->cfg.disks[0] = (struct sim_guest_disk){.id = {.b = {0xd1}}, .vdev = "xvdb"};
    a->cfg.disks[1] = (struct sim_guest_disk){.id = {.b = {0xd2}}, .vdev = "xvdz"};
    a->cfg.load.writes = 20;
    sim_model_advance(m, 1000 + 7 * VI_SEC);
    assert_true(sim_text_write(a, text, sizeof text) > 0);
    sim_text_defaults(&back);
    assert_int_equal(sim_text_read(&back, text, why, sizeof why), 0);
    assert_true(sim_text_write(&back, again, sizeof again) > 0);
    assert_string_equal(text, again);
    assert_int_equal(back.cfg.memory_kb, 262145);
    assert_int_equal(sim_text_write(a, text, 100), VI_EFULL);
    static const char *const bad[] = {"cpu=-1", "cpu=nan", "name=a/b", "mac=1:2", "vcpus=1x", "x",
                                      "bridge=vi-1", "memory=1e99", "netns=../x", "on_crash=explode",
                                      "disk=web", "disk=00000000000000000000000000000000", "writes=1000000",
                                      "disk=d1000000000000000000000000000000:../x", "disk=d1000000000000000000000000000000:",
                                      "disk=d1000000000000000000000000000000 disk=d1000000000000000000000000000000:xvdq"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        sim_text_defaults(&back);
        assert_int_equal(sim_text_read(&back, bad[i], why, sizeof why), VI_EINVAL);
    }
    sim_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_divide_the_cpu),
        cmocka_unit_test(nobody_gets_more_than_it_wants),
        cmocka_unit_test(the_balloon_follows_its_target),
        cmocka_unit_test(reports_tell_what_the_guest_feels),
        cmocka_unit_test(a_move_conserves_the_guest),
        cmocka_unit_test(images_go_with_it),
        cmocka_unit_test(bounds_are_kept),
        cmocka_unit_test(text_reads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
