/* Moves: who may go, where to, whether it pays, and what is done when it doesn't work. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "peer/base/err.h"
#include "tests/sim/policy_host.h"

static struct policy_host h;
static unsigned hungry, other;

/* A full host: one guest wants 768 MiB more, another is content. */
static int set_up(void **unused)
{
    (void)unused;
    ph_init(&h);
    hungry = ph_guest(&h, 768, 690, 1536);
    other = ph_guest(&h, 768, 480, 768);
    h.s.total_kb = (512 + 128 + 2 * 768) * PH_MIB;
    h.pct[hungry] = 60;
    h.pct[other] = 20;
    h.guest[other].movable = false;
    snprintf(h.guest[other].why_not, sizeof h.guest[other].why_not, "a device is passed through");
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    ph_close(&h);
    return 0;
}

static bool refused(const char *why)
{
    return h.t.of_kind[POLICY_REFUSE] && strstr(h.t.decision[POLICY_REFUSE].text, why);
}

/* ---- where to ---- */

static void test_to_the_least_utilised(void **unused)
{
    unsigned full = ph_peer(&h, 1000, 0), busy = ph_peer(&h, 8000, 390), a = ph_peer(&h, 2000, 100);
    unsigned b = ph_peer(&h, 9000, 100), c = ph_peer(&h, 4000, 100);
    (void)unused;
    ph_open(&h);
    ph_run(&h, 2);
    assert_int_equal(h.t.probes, 0);
    ph_evaluate(&h);
    assert_int_equal(h.t.probes, 3);
    assert_true(ph_probed(&h, a) && ph_probed(&h, b) && ph_probed(&h, c));
    ph_answer(&h, a, true);
    ph_answer(&h, c, true);
    assert_int_equal(h.t.moves, 0); /* one answer is out */
    ph_answer(&h, b, true);
    assert_int_equal(h.t.moves, 1);
    assert_true(vi_id_equal(&h.t.move.guest, &h.guest[hungry].uuid));
    assert_true(vi_id_equal(&h.t.move.peer, &h.peer[b].id));
    assert_int_equal(h.t.move.domid, h.guest[hungry].domid);
    assert_int_equal(h.t.move.needs.kb, 1536 * PH_MIB);
    assert_string_equal(ph_choice(&h, hungry, full), "not enough free memory there");
    assert_string_equal(ph_choice(&h, hungry, busy), "not enough CPU there");
    assert_string_equal(ph_choice(&h, hungry, b), "chosen: the least utilised of those asked");
    assert_string_equal(ph_choice(&h, hungry, a), "it would fit, another is less utilised");
    assert_int_equal(h.t.of_kind[POLICY_MOVE], 1);
    assert_true(h.t.decision[POLICY_MOVE].done);
}

/* Others are looked at when a guest should go, a few at random; all only if too few of these have room. */
static void test_looks_at_few(void **unused)
{
    unsigned n;
    (void)unused;
    for (unsigned i = 0; i < 500; i++)
        ph_peer(&h, 4000, 100);
    ph_open(&h);
    h.used_kb[hungry] = 480 * PH_MIB;
    ph_run(&h, 10);
    assert_int_equal(h.looks, 0);
    h.used_kb[hungry] = 690 * PH_MIB;
    ph_run(&h, 3);
    assert_int_equal(h.t.probes, 3);
    assert_int_equal(h.looks, 1);
    assert_in_range(h.looked, 3, 64);
    for (n = 0; n < 500; n++)
        ph_answer(&h, n, false);
    for (n = 0; n < 499; n++)
        h.peer[n].load.free_kb = 0;
    ph_run(&h, 5); /* it has backed off */
    assert_int_equal(h.t.probes, 4);
    assert_true(ph_probed(&h, 499));
    assert_int_equal(h.looked, POLICY_PEERS);
}

static void test_fresh_numbers_decide(void **unused)
{
    unsigned a = ph_peer(&h, 9000, 100), b = ph_peer(&h, 4000, 100);
    (void)unused;
    ph_open(&h);
    ph_run(&h, 3);
    h.peer[a].load.free_kb = 2000 * PH_MIB; /* since its summary */
    ph_answer(&h, a, true);
    ph_answer(&h, b, true);
    assert_true(vi_id_equal(&h.t.move.peer, &h.peer[b].id));
}

static void test_unfit_hosts(void **unused)
{
    unsigned old = ph_peer(&h, 9000, 0), crowded = ph_peer(&h, 9000, 0), whence = ph_peer(&h, 9000, 0);
    (void)unused;
    h.peer[old].age = 31 * VI_SEC;
    h.peer[crowded].load.arrivals = 2;
    h.cfg.cooldown = 0;
    ph_open(&h);
    ph_arrived(&h, hungry, whence);
    ph_run(&h, 3);
    assert_int_equal(h.t.probes, 0);
    assert_string_equal(ph_choice(&h, hungry, old), "its summary is too old");
    assert_string_equal(ph_choice(&h, hungry, crowded), "too many guests are arriving there");
    assert_string_equal(ph_choice(&h, hungry, whence), "it came from there a while ago");
    assert_true(refused("no other host has room for it"));
    ph_run(&h, 12 * 30); /* after half an hour it may go back */
    assert_true(ph_probed(&h, whence));
}

/* Several hosts in the same plight, and ten idle ones: they don't all ask the same three. */
static void test_no_herd(void **unused)
{
    unsigned asked[10] = {0};
    (void)unused;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        set_up(NULL);
        vi_rng_seed(&h.rng, seed);
        for (unsigned i = 0; i < 10; i++)
            ph_peer(&h, 9000, 0);
        ph_open(&h);
        ph_run(&h, 3);
        assert_int_equal(h.t.probes, 3);
        for (unsigned i = 0; i < 10; i++)
            asked[i] += ph_probed(&h, i);
        ph_close(&h);
    }
    for (unsigned i = 0; i < 10; i++)
        assert_in_range(asked[i], 6, 32); /* 18 each on average */
}

/* ---- answers ---- */

/* A host that has the guest's images goes before one that is less utilised; where none has them, one is taken still. */
static void test_images_before_utilisation(void **unused)
{
    unsigned a = ph_peer(&h, 9000, 0), b = ph_peer(&h, 4000, 0);
    (void)unused;
    ph_open(&h);
    ph_run(&h, 3);
    assert_int_equal(h.t.probes, 2);
    ph_answer_lacking(&h, a, true, 2);
    ph_answer(&h, b, true);
    assert_int_equal(h.t.moves, 1);
    assert_true(vi_id_equal(&h.t.move.peer, &h.peer[b].id));
    assert_string_equal(ph_choice(&h, hungry, a), "it would fit, but would have to fetch images first");
}

/* The same of its disks: where an old copy is. */
static void test_disks_from_before(void **unused)
{
    unsigned a = ph_peer(&h, 9000, 0), b = ph_peer(&h, 4000, 0);
    (void)unused;
    h.guest[hungry].disk_kb = 1024 * PH_MIB;
    ph_open(&h);
    ph_run(&h, 3);
    assert_int_equal(h.t.probes, 2);
    ph_answer_without_disks(&h, a, 1024 * PH_MIB);
    ph_answer(&h, b, true);
    assert_int_equal(h.t.moves, 1);
    assert_true(vi_id_equal(&h.t.move.peer, &h.peer[b].id));
    assert_string_equal(ph_choice(&h, hungry, a), "it would fit, but has nothing of its disks from before");
}

static void test_no_images_anywhere(void **unused)
{
    unsigned a = ph_peer(&h, 9000, 0), b = ph_peer(&h, 4000, 0);
    (void)unused;
    ph_open(&h);
    ph_run(&h, 3);
    ph_answer_lacking(&h, b, true, 1);
    ph_answer_lacking(&h, a, true, 1);
    assert_int_equal(h.t.moves, 1);
    assert_true(vi_id_equal(&h.t.move.peer, &h.peer[a].id));
}

static void test_garbage_is_no_answer(void **unused)
{
    static const uint8_t junk[] = {0x92, 1, 0xc4, 3, 1, 2, 3};
    unsigned a = ph_peer(&h, 9000, 0), b = ph_peer(&h, 8000, 0), c = ph_peer(&h, 7000, 0);
    struct policy_event ev = {.kind = POLICY_EV_PROBED, .guest = h.guest[hungry].uuid, .peer = h.peer[a].id, .data = junk, .len = sizeof junk};
    (void)unused;
    ph_open(&h);
    ph_run(&h, 3);
    policy_step(h.p, h.now, &ev);
    ev.len = 0;
    ev.peer = h.peer[b].id;
    policy_step(h.p, h.now, &ev);
    assert_string_equal(ph_choice(&h, hungry, a), "it did not answer");
    ph_answer(&h, a, true); /* it has had its say */
    assert_int_equal(h.t.moves, 0);
    ph_answer(&h, c, true);
    assert_int_equal(h.t.moves, 1);
    assert_true(vi_id_equal(&h.t.move.peer, &h.peer[c].id));
    ph_answer(&h, b, true); /* too late */
    assert_int_equal(h.t.moves, 1);
}

/* What was asked for another guest says nothing of this one. */
static void test_answer_of_another_question(void **unused)
{
    unsigned a = ph_peer(&h, 9000, 0);
    struct policy_event ev = {.kind = POLICY_EV_PROBED, .guest = ph_id('g', 77), .peer = h.peer[a].id, .err = VI_ETIMEDOUT};
    (void)unused;
    ph_open(&h);
    ph_run(&h, 3);
    policy_step(h.p, h.now, &ev);
    ph_take_effects(&h);
    assert_false(refused("no room for it"));
    ph_answer(&h, a, true);
    assert_int_equal(h.t.moves, 1);
}

/* Of more hosts than are noted the one that was chosen is. */
static void test_the_chosen_one_is_noted(void **unused)
{
    unsigned to;
    (void)unused;
    for (unsigned i = 0; i < 2 * POLICY_CHOICES; i++)
        ph_peer(&h, 10, 0);
    to = ph_peer(&h, 9000, 0);
    ph_open(&h);
    ph_run(&h, 3);
    ph_answer(&h, to, true);
    assert_int_equal(h.t.moves, 1);
    assert_string_equal(ph_choice(&h, hungry, to), "chosen: the least utilised of those asked");
    assert_string_equal(ph_choice(&h, hungry, 0), "not enough free memory there");
}

static void test_all_say_no(void **unused)
{
    unsigned a = ph_peer(&h, 9000, 0), b = ph_peer(&h, 8000, 0);
    struct policy_event ev = {.kind = POLICY_EV_PROBED, .guest = h.guest[hungry].uuid, .peer = h.peer[b].id, .err = VI_ETIMEDOUT};
    char why[4][POLICY_REASON];
    (void)unused;
    ph_open(&h);
    ph_run(&h, 3);
    ph_answer(&h, a, false);
    policy_step(h.p, h.now, &ev);
    ph_take_effects(&h);
    assert_true(refused("no room for it"));
    assert_string_equal(ph_choice(&h, hungry, a), "it has no room now");
    assert_int_equal(policy_send_reasons(h.p, h.now, &h.guest[hungry].uuid, &h.peer[a].id, why, 4), 1);
    assert_string_equal(why[0], "the hosts that were asked had no room for it a short while ago"); /* no move was offered */
    ph_run(&h, 3); /* they are left in peace for 20 s */
    assert_int_equal(h.t.probes, 2);
    ph_evaluate(&h);
    assert_int_equal(h.t.probes, 4);
    assert_int_equal(h.t.moves, 0);
}

static void test_silence(void **unused)
{
    unsigned a = ph_peer(&h, 9000, 0), b = ph_peer(&h, 8000, 0);
    (void)unused;
    ph_open(&h);
    ph_run(&h, 3);
    ph_answer(&h, b, true);
    assert_int_equal(h.t.moves, 0);
    ph_evaluate(&h); /* five seconds: without the other */
    assert_int_equal(h.t.moves, 1);
    assert_true(vi_id_equal(&h.t.move.peer, &h.peer[b].id));
    ph_answer(&h, a, true);
    assert_int_equal(h.t.moves, 1);
}

/* The guest went away while the others were asked. */
static void test_guest_gone_meanwhile(void **unused)
{
    unsigned a = ph_peer(&h, 9000, 0);
    (void)unused;
    ph_open(&h);
    ph_run(&h, 3);
    assert_int_equal(h.t.probes, 1);
    h.guest[hungry] = h.guest[other];
    h.s.n_guests = 1;
    ph_evaluate(&h);
    ph_answer(&h, a, true);
    ph_evaluate(&h);
    assert_int_equal(h.t.moves, 0);
}

/* ---- who ---- */

static void test_pinned_stays(void **unused)
{
    (void)unused;
    ph_peer(&h, 9000, 0);
    h.guest[hungry].movable = false;
    snprintf(h.guest[hungry].why_not, sizeof h.guest[hungry].why_not, "it is pinned to this host");
    ph_open(&h);
    ph_run(&h, 100);
    assert_int_equal(h.t.probes + h.t.moves, 0);
    assert_true(refused("it is pinned to this host"));
}

/* Frozen: a handover has it, perhaps one that nobody has decided yet. Nothing else moves meanwhile. */
static void test_frozen_stays(void **unused)
{
    (void)unused;
    ph_peer(&h, 9000, 0);
    h.guest[other].movable = true;
    h.guest[hungry].frozen = true;
    ph_open(&h);
    ph_run(&h, 100);
    assert_int_equal(h.t.probes + h.t.moves, 0);
    h.guest[hungry].frozen = false;
    h.guest[other].frozen = true;
    ph_run(&h, 10);
    assert_int_equal(h.t.probes + h.t.moves, 0);
    h.guest[other].frozen = false;
    ph_evaluate(&h);
    assert_int_equal(h.t.probes, 1);
}

static void test_another_makes_room(void **unused)
{
    unsigned to, small = ph_guest(&h, 256, 128, 256);
    (void)unused;
    to = ph_peer(&h, 9000, 0);
    h.s.total_kb += 256 * PH_MIB;
    h.guest[hungry].movable = false;
    h.guest[other].movable = true;
    ph_open(&h);
    ph_run(&h, 3);
    ph_answer(&h, to, true);
    assert_int_equal(h.t.moves, 1);
    assert_true(vi_id_equal(&h.t.move.guest, &h.guest[other].uuid)); /* the small one wouldn't do */
    assert_int_equal(h.t.move.needs.kb, 768 * PH_MIB);
    (void)small;
}

/* Of those whose going would do, the one that is cheapest to move. */
static void test_the_cheapest_goes(void **unused)
{
    unsigned to;
    (void)unused;
    to = ph_peer(&h, 9000, 0);
    h.guest[other].movable = true; /* as large, and does less */
    ph_open(&h);
    ph_run(&h, 3);
    ph_answer(&h, to, true);
    assert_true(vi_id_equal(&h.t.move.guest, &h.guest[other].uuid));
    ph_close(&h);
    set_up(NULL);
    to = ph_peer(&h, 9000, 0);
    h.guest[other].movable = true;
    h.pct[other] = 150;
    ph_open(&h);
    ph_run(&h, 3);
    ph_answer(&h, to, true);
    assert_true(vi_id_equal(&h.t.move.guest, &h.guest[hungry].uuid));
}

/* One that is as good but has a disk to copy stays, and the other goes. */
static void test_one_without_disks_goes_first(void **unused)
{
    unsigned to;
    (void)unused;
    to = ph_peer(&h, 9000, 0);
    h.guest[other].movable = true; /* as large, and does less: it would go */
    h.guest[other].disk_kb = 8192 * PH_MIB;
    ph_open(&h);
    ph_run(&h, 3);
    ph_answer(&h, to, true);
    assert_int_equal(h.t.moves, 1);
    assert_true(vi_id_equal(&h.t.move.guest, &h.guest[hungry].uuid));
}

/* Where there is no other it goes with its disk, as long as that pays; and how large that is is said. */
static void test_one_with_a_small_disk_goes(void **unused)
{
    const struct policy_decision *d = &h.t.decision[POLICY_MOVE];
    double mib = 0, takes = 0;
    unsigned to;
    (void)unused;
    to = ph_peer(&h, 9000, 0);
    h.guest[hungry].disk_kb = 1024 * PH_MIB;
    ph_open(&h);
    ph_run(&h, 3);
    ph_answer(&h, to, true);
    assert_int_equal(h.t.moves, 1);
    for (unsigned i = 0; i < d->n; i++) {
        mib = !strcmp(d->numbers[i].name, "disk_mib") ? d->numbers[i].value : mib;
        takes = !strcmp(d->numbers[i].name, "takes_s") ? d->numbers[i].value : takes;
    }
    assert_true(mib > 1023.9 && mib < 1024.1);
    assert_true(takes > 1792 * 1024 / h.cfg.bandwidth_kbps - 0.1 && takes < 1792 * 1024 / h.cfg.bandwidth_kbps + 0.1);
}

/* Near the end of its memory a guest is worth a whole CPU for the horizon: not if its disk takes as long as that. */
static void test_a_disk_beyond_the_horizon_stays(void **unused)
{
    (void)unused;
    ph_peer(&h, 9000, 0);
    h.used_kb[hungry] = 750 * PH_MIB;
    h.guest[hungry].disk_kb = (uint64_t)(h.cfg.bandwidth_kbps * (double)h.cfg.horizon / 1e6);
    ph_open(&h);
    ph_run(&h, 20);
    assert_int_equal(h.t.probes, 0);
    assert_true(refused("copying its disks would take longer"));
    policy_set_draining(h.p, h.now, true); /* an order is an order */
    ph_evaluate(&h);
    assert_int_equal(h.t.moves, 1);
}

static void test_settling(void **unused)
{
    (void)unused;
    ph_peer(&h, 9000, 0);
    h.cfg.settle = VI_MIN;
    ph_open(&h);
    ph_run(&h, 12);
    assert_int_equal(h.t.probes, 0);
    assert_true(refused("started a short while ago"));
    ph_evaluate(&h);
    assert_int_equal(h.t.probes, 1);
}

/* No host of the domain helps: that is said of a guest that has been here for a while. */
static void test_in_need(void **unused)
{
    (void)unused;
    ph_peer(&h, 10, 0);
    h.cfg.settle = VI_MIN;
    ph_open(&h);
    ph_run(&h, 12);
    assert_true(refused("started a short while ago"));
    assert_false(policy_in_need(h.p, h.now, &h.guest[hungry].uuid));
    ph_evaluate(&h);
    assert_true(policy_in_need(h.p, h.now, &h.guest[hungry].uuid));
}

static void test_cool_down(void **unused)
{
    (void)unused;
    ph_peer(&h, 9000, 0);
    ph_open(&h);
    ph_run(&h, 1);
    ph_arrived(&h, hungry, 77);
    ph_run(&h, 59); /* five minutes */
    assert_int_equal(h.t.probes, 0);
    assert_true(refused("moved a short while ago"));
    ph_evaluate(&h);
    assert_int_equal(h.t.probes, 1);
}

/* It is told of before the hypervisor's list has it: the cool-down isn't lost by that. */
static void test_cool_down_of_one_not_seen_yet(void **unused)
{
    (void)unused;
    ph_peer(&h, 9000, 0);
    ph_open(&h);
    h.s.n_guests = 0;
    ph_evaluate(&h);
    ph_arrived(&h, hungry, 77);
    ph_run(&h, 2);
    h.s.n_guests = 2;
    ph_run(&h, 50);
    assert_int_equal(h.t.probes, 0);
    assert_true(refused("moved a short while ago"));
}

/* ---- does it pay? ---- */

static void test_pay_off_of_memory(void **unused)
{
    (void)unused;
    ph_peer(&h, 9000, 0);
    h.cfg.bandwidth_kbps = 2 * 1024; /* six minutes of streaming */
    ph_open(&h);
    ph_run(&h, 20);
    assert_int_equal(h.t.probes, 0);
    assert_true(refused("would cost more than it gains"));
    h.used_kb[hungry] = 750 * PH_MIB; /* near its end: that is worth a CPU */
    ph_run(&h, 3);
    assert_int_equal(h.t.probes, 1);
}

static void two_busy(void)
{
    set_up(NULL);
    h.s.total_kb = 16384 * PH_MIB;
    h.used_kb[hungry] = 400 * PH_MIB;
    for (unsigned i = 0; i < 2; i++) {
        h.guest[i].vcpus = 4;
        h.guest[i].movable = true;
        h.pct[i] = 187.5;
        h.steal[i] = 62.5;
    }
    ph_peer(&h, 9000, 100);
}

static void test_pay_off_of_cpu(void **unused)
{
    (void)unused;
    ph_close(&h);
    two_busy();
    ph_open(&h);
    ph_run(&h, 12);
    assert_true(h.t.probes > 0);
    assert_true(ph_view(&h, hungry).short_of_cpu);
    ph_close(&h);
    two_busy();
    h.cfg.horizon = 5 * VI_SEC; /* it would be over before it helped */
    ph_open(&h);
    ph_run(&h, 12);
    assert_int_equal(h.t.probes, 0);
    assert_true(refused("would cost more than it gains"));
}

/* Busy, but the host has enough: nothing to gain. */
static void test_enough_cpu(void **unused)
{
    (void)unused;
    ph_close(&h);
    two_busy();
    for (unsigned i = 0; i < 2; i++) {
        h.pct[i] = 180;
        h.steal[i] = 0;
    }
    ph_open(&h);
    ph_run(&h, 100);
    assert_int_equal(h.t.probes + h.t.moves, 0);
}

/* ---- what comes of it ---- */

/* Evaluations until the hosts are asked again. */
static unsigned again_after(void)
{
    unsigned n = 0, was = h.t.probes;
    while (h.t.probes == was && n < 2000) {
        ph_evaluate(&h);
        n++;
    }
    return n;
}

static void test_failures_back_off(void **unused)
{
    unsigned expected = 8; /* × 5 s = 40 s */
    unsigned to;
    (void)unused;
    to = ph_peer(&h, 9000, 0);
    ph_open(&h);
    ph_run(&h, 3);
    for (unsigned i = 1; i <= 10; i++) {
        ph_answer(&h, to, true);
        assert_int_equal(h.t.moves, i);
        ph_moved(&h, hungry, to, VI_EREFUSED);
        assert_int_equal(h.t.of_kind[POLICY_FAILED], i);
        assert_int_equal(again_after(), expected);
        expected = expected < 1024 ? 2 * expected : 1024; /* 85 min at most */
    }
}

static void test_moved_cools_down(void **unused)
{
    unsigned to;
    (void)unused;
    to = ph_peer(&h, 9000, 0);
    ph_open(&h);
    ph_run(&h, 3);
    ph_answer(&h, to, true);
    ph_moved(&h, hungry, to, 0); /* it is seen here still */
    assert_int_equal(again_after(), 60);
}

static void test_hourly_budget(void **unused)
{
    (void)unused;
    ph_peer(&h, 9000, 0);
    h.cfg.moves_per_hour = 2;
    ph_open(&h);
    ph_run(&h, 2);
    ph_moved(&h, other, 0, 0);
    ph_moved(&h, other, 0, 0);
    ph_run(&h, 20);
    assert_int_equal(h.t.probes, 0);
    assert_true(refused("used up its moves of this hour"));
    assert_int_equal(again_after(), 720 - 20);
    ph_close(&h);
    set_up(NULL);
    h.cfg.moves_per_hour = 2;
    ph_peer(&h, 9000, 0);
    h.env[1].id = ph_id('e', 1); /* another environment's moves are not its */
    h.env[1].shares = 100;
    h.s.n_envs = 2;
    h.guest[other].env = h.env[1].id;
    ph_open(&h);
    ph_run(&h, 2);
    ph_moved(&h, other, 0, 0);
    ph_moved(&h, other, 0, 0);
    ph_evaluate(&h);
    assert_int_equal(h.t.probes, 1);
}

static void test_observing(void **unused)
{
    unsigned to;
    (void)unused;
    to = ph_peer(&h, 9000, 0);
    h.cfg.automatic = false;
    ph_open(&h);
    ph_run(&h, 3);
    assert_int_equal(h.t.probes, 1);
    ph_answer(&h, to, true);
    assert_int_equal(h.t.of_kind[POLICY_MOVE], 1);
    assert_false(h.t.decision[POLICY_MOVE].done);
    assert_int_equal(h.t.moves, 0);
    for (unsigned i = 0; i < 11; i++) {
        ph_evaluate(&h);
        ph_answer(&h, to, true);
    }
    assert_int_equal(h.t.moves, 0);
    assert_int_equal(h.t.of_kind[POLICY_MOVE], 1); /* said once in this minute */
    policy_set_automatic(h.p, true);
    ph_evaluate(&h);
    ph_answer(&h, to, true);
    assert_int_equal(h.t.moves, 1);
}

/* ---- an operator's move ---- */

static void test_operator(void **unused)
{
    struct vi_id peer, nobody = ph_id('g', 99);
    char why[160];
    unsigned a, b;
    (void)unused;
    ph_open(&h);
    ph_run(&h, 2);
    assert_int_equal(policy_operator_choice(h.p, h.now, &nobody, &peer, why, sizeof why), VI_ENOTFOUND);
    assert_int_equal(policy_operator_choice(h.p, h.now, &h.guest[other].uuid, &peer, why, sizeof why), VI_EUNSUPPORTED);
    assert_non_null(strstr(why, "a device is passed through"));
    assert_int_equal(policy_operator_choice(h.p, h.now, &h.guest[hungry].uuid, &peer, why, sizeof why), VI_EFULL);
    ph_peer(&h, 500, 0);
    a = ph_peer(&h, 3000, 0);
    b = ph_peer(&h, 6000, 0);
    h.peer[ph_peer(&h, 9000, 0)].age = VI_MIN;
    ph_evaluate(&h);
    assert_int_equal(policy_operator_choice(h.p, h.now, &h.guest[hungry].uuid, &peer, why, sizeof why), 0);
    assert_true(vi_id_equal(&peer, &h.peer[b].id));
    h.peer[b].load.demand_pct = 399;
    ph_evaluate(&h);
    assert_int_equal(policy_operator_choice(h.p, h.now, &h.guest[hungry].uuid, &peer, why, sizeof why), 0);
    assert_true(vi_id_equal(&peer, &h.peer[a].id));
    h.guest[hungry].frozen = true;
    ph_evaluate(&h);
    assert_int_equal(policy_operator_choice(h.p, h.now, &h.guest[hungry].uuid, &peer, why, sizeof why), VI_EUNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_to_the_least_utilised, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_looks_at_few, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_fresh_numbers_decide, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unfit_hosts, set_up, tear_down),
        cmocka_unit_test(test_no_herd),
        cmocka_unit_test_setup_teardown(test_images_before_utilisation, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_disks_from_before, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_images_anywhere, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_garbage_is_no_answer, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_answer_of_another_question, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_chosen_one_is_noted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_all_say_no, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_silence, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_guest_gone_meanwhile, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pinned_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_frozen_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_another_makes_room, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_cheapest_goes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_without_disks_goes_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_with_a_small_disk_goes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_disk_beyond_the_horizon_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_settling, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_in_need, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cool_down, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_cool_down_of_one_not_seen_yet, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pay_off_of_memory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pay_off_of_cpu, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_enough_cpu, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_failures_back_off, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_moved_cools_down, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_hourly_budget, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_observing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_operator, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
