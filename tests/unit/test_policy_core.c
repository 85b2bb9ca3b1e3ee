/* The core around the plan: bounds of tables, decisions kept, summaries and probes from others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"
#include "tests/sim/policy_host.h"

static struct policy_host h, there;

static int set_up(void **unused)
{
    (void)unused;
    ph_init(&h);
    ph_init(&there);
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    ph_close(&h);
    ph_close(&there);
    return 0;
}

/* ---- configuration ---- */

static void refuses(struct policy_config c)
{
    assert_null(policy_new(&c, &h.rng, 0));
}

static void test_figures_out_of_range(void **unused)
{
    struct policy_config good, c;
    struct policy *p;
    (void)unused;
    policy_config_init(&good);
    p = policy_new(&good, &h.rng, 5);
    assert_non_null(p);
    assert_true(policy_deadline(p) == 5 + good.period);
    policy_free(p);
    policy_free(NULL);
    c = good, c.range_low = 0, refuses(c);
    c = good, c.range_low = c.range_high, refuses(c);
    c = good, c.range_high = 1, refuses(c);
    c = good, c.range_high = 0.39, refuses(c);
    c = good, c.period = 0, refuses(c);
    c = good, c.needed = 0, refuses(c);
    c = good, c.needed = c.of + 1, refuses(c);
    c = good, c.of = 21, refuses(c);
    c = good, c.bandwidth_kbps = 0, refuses(c);
    c = good, c.shrink_window = 0, refuses(c);
}

/* ---- bounds ---- */

static void test_more_than_the_tables_hold(void **unused)
{
    (void)unused;
    for (unsigned i = 0; i < PH_GUESTS; i++)
        ph_guest(&h, 32, 16, 32);
    for (unsigned i = 0; i < PH_PEERS; i++)
        ph_peer(&h, 100, 0);
    for (unsigned i = 0; i < PH_ENVS; i++) {
        h.env[i].id = ph_id('e', i);
        h.env[i].shares = 100;
    }
    h.s.n_envs = PH_ENVS;
    ph_open(&h);
    ph_run(&h, 5);
    assert_true(ph_view(&h, POLICY_GUESTS - 1).measured);
    assert_false(ph_view(&h, POLICY_GUESTS).measured); /* there was no place for it */
    h.s.n_guests = 10;
    ph_evaluate(&h);
    assert_false(ph_view(&h, 10).measured);
    assert_int_equal(policy_own_load(h.p)->guests, 10);
    h.guest[0] = h.guest[POLICY_GUESTS]; /* now there is */
    ph_run(&h, 2);
    assert_true(ph_view(&h, POLICY_GUESTS).measured);
}

/* More arrivals announced than there are places, none of which is ever seen. */
static void test_arrivals_that_never_come(void **unused)
{
    struct policy_needs n = {.kb = 4711};
    struct vi_id one = ph_id('g', 3);
    (void)unused;
    ph_open(&h);
    for (unsigned i = 0; i < PH_GUESTS; i++)
        ph_arrived(&h, i, 1);
    ph_evaluate(&h);
    assert_int_equal(policy_needs(h.p, &one, &n), 0);
    assert_int_equal(n.kb, 4711); /* what the hypervisor says, not none */
    ph_run(&h, 12);
    assert_int_equal(policy_needs(h.p, &one, &n), VI_ENOTFOUND);
}

static unsigned untaken(void)
{
    unsigned n = 0;
    while (policy_effect(h.p))
        n++;
    return n;
}

/* Effects that nobody takes: 1024, then no more; what was not said is asked for again. */
static void test_effects_are_bounded(void **unused)
{
    struct policy_event ev = {.kind = POLICY_EV_EVALUATE};
    (void)unused;
    for (unsigned i = 0; i < POLICY_GUESTS; i++)
        ph_guest(&h, 32, 30, 64);
    h.s.total_kb *= 64;
    h.s.free_kb = h.s.total_kb;
    ph_open(&h);
    for (unsigned n = 0; n < 10; n++) {
        h.now += h.cfg.period;
        for (unsigned i = 0; i < POLICY_GUESTS; i++) {
            struct policy_guest *g = &h.guest[i];
            g->sequence++;
            g->total_kb = g->current_kb;
            g->available_kb = 2 * PH_MIB;
        }
        ev.snapshot = h.s;
        ev.snapshot.guests = h.guest;
        ev.snapshot.envs = h.env;
        policy_step(h.p, h.now, &ev);
    }
    assert_int_equal(untaken(), 1024);
    h.t.memories = 0;
    ph_run(&h, 3);
    assert_true(h.t.memories > 0);
}

/* ---- decisions ---- */

static void test_the_latest_are_kept(void **unused)
{
    unsigned g = ph_guest(&h, 512, 256, 512), n = 0, pos = 0;
    const struct policy_decision *d;
    struct vi_id nobody = ph_id('g', 5);
    vi_time before = INT64_MAX;
    (void)unused;
    ph_open(&h);
    h.obeys = false; /* so that every evaluation asks for the weight again */
    h.pct[g] = 10;
    ph_run(&h, 40);
    while (policy_decision_next(h.p, &h.guest[g].uuid, &pos, &d)) {
        assert_true(d->at < before);
        before = d->at;
        n++;
    }
    assert_int_equal(n, POLICY_KEPT);
    assert_true(before == h.now - (POLICY_KEPT - 1) * h.cfg.period);
    pos = 0;
    assert_false(policy_decision_next(h.p, &nobody, &pos, &d));
    assert_string_equal(policy_decision_text(POLICY_GROW), "grow");
    assert_string_equal(policy_decision_text(POLICY_FAILED), "failed");
    assert_string_equal(policy_decision_text((enum policy_decision_kind)99), "?");
}

static void test_choices_are_bounded(void **unused)
{
    unsigned g = ph_guest(&h, 1000, 900, 4000), n = 0, pos = 0;
    struct vi_id peer;
    const char *text;
    (void)unused;
    h.s.total_kb = (512 + 128 + 1000) * PH_MIB;
    h.pct[g] = 60;
    for (unsigned i = 0; i < 100; i++)
        ph_peer(&h, 100, 0);
    ph_open(&h);
    ph_run(&h, 3);
    while (policy_choice_next(h.p, &h.guest[g].uuid, &pos, &peer, &text))
        n++;
    assert_int_equal(n, POLICY_CHOICES);
}

static void test_unknown_guest(void **unused)
{
    struct policy_view v;
    struct policy_needs n;
    struct vi_id nobody = ph_id('g', 5);
    (void)unused;
    ph_open(&h);
    ph_evaluate(&h);
    assert_false(policy_view(h.p, h.now, &nobody, &v));
    assert_int_equal(policy_needs(h.p, &nobody, &n), VI_ENOTFOUND);
    ph_moved(&h, 5, 0, 0); /* nothing of theirs is kept */
    ph_moved(&h, 5, 0, VI_EIO);
    assert_int_equal(h.t.decisions, 0);
}

static void test_deadline(void **unused)
{
    (void)unused;
    ph_open(&h);
    ph_evaluate(&h);
    assert_true(policy_deadline(h.p) == h.now + h.cfg.period);
    assert_int_equal(h.t.summaries, 1);
    assert_false(policy_own_load(h.p)->observes);
    policy_set_automatic(h.p, false);
    assert_true(policy_own_load(h.p)->observes);
}

/* ---- summaries ---- */

static const struct policy_load some = {.capacity_pct = 375, .demand_pct = 120, .entitled_pct = 200,
                                        .total_kb = 16384 * PH_MIB, .charged_kb = 9000 * PH_MIB,
                                        .free_kb = 7000 * PH_MIB, .guests = 12, .arrivals = 1, .observes = true};

static void test_summary(void **unused)
{
    uint8_t b[POLICY_SUMMARY + 1] = {0};
    struct policy_load l;
    int n = policy_summary_encode(&some, b, sizeof b);
    (void)unused;
    assert_in_range(n, 1, POLICY_SUMMARY);
    assert_int_equal(policy_summary_decode(&l, b, (size_t)n), 0);
    assert_true(l.capacity_pct == 375 && l.demand_pct == 120 && l.entitled_pct == 200);
    assert_true(l.total_kb == some.total_kb && l.charged_kb == some.charged_kb && l.free_kb == some.free_kb);
    assert_true(l.guests == 12 && l.arrivals == 1 && l.observes);
    for (int cut = 0; cut < n; cut++) {
        assert_int_not_equal(policy_summary_decode(&l, b, (size_t)cut), 0);
        assert_int_equal(policy_summary_encode(&some, b + 1, (size_t)cut), VI_EFULL);
        policy_summary_encode(&some, b, sizeof b);
    }
    assert_int_not_equal(policy_summary_decode(&l, b, (size_t)n + 1), 0);
    assert_int_not_equal(policy_summary_decode(&l, b, sizeof b), 0);
    b[1] = 2;
    assert_int_equal(policy_summary_decode(&l, b, (size_t)n), VI_EVERSION);
}

static int decode_fields(const uint64_t f[10])
{
    uint8_t b[128];
    struct policy_load l;
    struct vi_writer w;
    vi_writer_init(&w, b, sizeof b);
    vi_write_array(&w, 10);
    for (unsigned i = 0; i < 10; i++)
        vi_write_uint(&w, f[i]);
    return policy_summary_decode(&l, b, w.len);
}

static void test_absurd_summaries(void **unused)
{
    const uint64_t good[10] = {1, 400, 100, 100, 1000, 500, 500, 3, 0, 0};
    (void)unused;
    assert_int_equal(decode_fields(good), 0);
    for (unsigned i = 0; i < 10; i++) {
        uint64_t f[10];
        memcpy(f, good, sizeof f);
        f[i] = UINT64_MAX;
        assert_int_not_equal(decode_fields(f), 0);
        memcpy(f, good, sizeof f);
        f[6] = f[4] + 1; /* more free than there is */
        assert_int_equal(decode_fields(f), VI_EINVAL);
    }
}

/* Every byte of a good one, changed to everything: either refused or within the bounds. */
static void test_altered_summaries(void **unused)
{
    uint8_t b[POLICY_SUMMARY], c[POLICY_SUMMARY];
    struct policy_load l;
    int n = policy_summary_encode(&some, b, sizeof b);
    (void)unused;
    for (int i = 0; i < n; i++)
        for (unsigned v = 0; v < 256; v++) {
            memcpy(c, b, sizeof c);
            c[i] = (uint8_t)v;
            if (policy_summary_decode(&l, c, (size_t)n))
                continue;
            assert_true(l.free_kb <= l.total_kb && l.guests <= 100000 && l.arrivals <= 1000);
            assert_true(l.capacity_pct <= 6553600 && l.demand_pct <= 6553600);
        }
}

/* ---- the other side of a probe ---- */

static void test_can_take(void **unused)
{
    struct policy_needs n = {.kb = 1000 * PH_MIB, .pct = 50};
    char why[120];
    (void)unused;
    h.pct[ph_guest(&h, 512, 256, 512)] = 100;
    h.s.total_kb = (512 + 128 + 512 + 2000) * PH_MIB;
    ph_open(&h);
    assert_int_equal(policy_can_take(h.p, &n, 0, 0, 0, why, sizeof why), VI_EAGAIN); /* not looked yet */
    ph_run(&h, 3);
    assert_int_equal(policy_can_take(h.p, &n, 0, 0, 0, why, sizeof why), 0);
    assert_int_equal(policy_can_take(h.p, &n, 0, 0, 1, why, sizeof why), 0);
    assert_int_equal(policy_can_take(h.p, &n, 0, 0, 2, why, sizeof why), VI_EAGAIN);
    assert_int_equal(policy_can_take(h.p, &n, 1000 * PH_MIB, 0, 1, why, sizeof why), 0);
    assert_int_equal(policy_can_take(h.p, &n, 1001 * PH_MIB, 0, 1, why, sizeof why), VI_EFULL);
    assert_int_equal(policy_can_take(h.p, &n, UINT64_MAX, 0, 1, why, sizeof why), VI_EFULL);
    assert_int_equal(policy_can_take(h.p, &n, 0, 226, 1, why, sizeof why), VI_EFULL); /* 375 − 100 − 226 */
    assert_non_null(strstr(why, "50 %"));
    h.s.reserved_kb = 600 * PH_MIB; /* once the snapshot has the promise it doesn't count twice */
    ph_evaluate(&h);
    assert_int_equal(policy_can_take(h.p, &n, 600 * PH_MIB, 0, 1, why, sizeof why), 0);
    n.kb = 1401 * PH_MIB;
    assert_int_equal(policy_can_take(h.p, &n, 600 * PH_MIB, 0, 1, why, sizeof why), VI_EFULL);
}

/* Between two evaluations: what came is counted at once, what left is not any more. */
static void test_comings_and_goings_count_at_once(void **unused)
{
    struct policy_needs n = {.kb = 1000 * PH_MIB, .pct = 200};
    struct policy_event came = {.kind = POLICY_EV_ARRIVED, .guest = ph_id('g', 9), .peer = ph_id('p', 0), .needs = n};
    char why[120];
    unsigned g = ph_guest(&h, 512, 256, 512);
    (void)unused;
    h.pct[g] = 100;
    h.s.total_kb = (512 + 128 + 512 + 1800) * PH_MIB;
    ph_peer(&h, 8000, 0);
    ph_open(&h);
    ph_run(&h, 3);
    assert_int_equal(policy_can_take(h.p, &n, 0, 0, 0, why, sizeof why), 0);
    policy_step(h.p, h.now, &came);
    assert_int_equal(policy_can_take(h.p, &n, 0, 0, 0, why, sizeof why), VI_EFULL); /* 375 − 100 − 200 */
    ph_moved(&h, g, 0, 0);
    n.kb = 1300 * PH_MIB; /* 1800 − 1000 + 512 */
    n.pct = 170;
    assert_int_equal(policy_can_take(h.p, &n, 0, 0, 0, why, sizeof why), 0);
    n.pct = 180;
    assert_int_equal(policy_can_take(h.p, &n, 0, 0, 0, why, sizeof why), VI_EFULL);
    h.s.n_guests = 1; /* it is in the next snapshot, and was not measured yet: what was said of it still holds */
    h.guest[0].uuid = came.guest;
    h.guest[0].current_kb = h.guest[0].target_kb = 1000 * PH_MIB;
    ph_evaluate(&h);
    assert_int_equal(policy_can_take(h.p, &n, 0, 0, 0, why, sizeof why), VI_EFULL);
    n.pct = 170;
    n.kb = 100 * PH_MIB;
    assert_int_equal(policy_can_take(h.p, &n, 0, 0, 0, why, sizeof why), 0);
    h.pct[0] = 10;
    ph_evaluate(&h);
    n.pct = 360;
    assert_int_equal(policy_can_take(h.p, &n, 0, 0, 0, why, sizeof why), 0);
}

/* One that was promised room before the snapshot takes the place of its promise. */
static void test_a_promise_is_kept_once(void **unused)
{
    struct policy_needs n = {.kb = 800 * PH_MIB, .pct = 10};
    struct policy_event came = {.kind = POLICY_EV_ARRIVED, .guest = ph_id('g', 9), .peer = ph_id('p', 0), .needs = n};
    char why[120];
    (void)unused;
    h.s.total_kb = (512 + 128 + 1600) * PH_MIB;
    h.s.reserved_kb = n.kb;
    ph_open(&h);
    ph_run(&h, 3);
    policy_step(h.p, h.now, &came);
    assert_int_equal(policy_can_take(h.p, &n, 0, 0, 0, why, sizeof why), 0);
    assert_int_equal(policy_can_take(h.p, &n, 1 * PH_MIB, 0, 0, why, sizeof why), VI_EFULL); /* a new promise counts */
}

static const struct vi_id asker = {{'a', 1}};

static int question(uint64_t version, uint64_t kb, uint64_t centi_pct, size_t cut, uint8_t out[POLICY_PROBE])
{
    uint8_t b[64];
    struct vi_writer w;
    vi_writer_init(&w, b, sizeof b);
    vi_write_array(&w, 3);
    vi_write_uint(&w, version);
    vi_write_uint(&w, kb);
    vi_write_uint(&w, centi_pct);
    b[w.len] = 0;
    return policy_probe_answer(h.p, h.now, &asker, b, w.len - cut, 0, 0, 0, out);
}

static void test_bad_questions(void **unused)
{
    uint8_t out[POLICY_PROBE];
    (void)unused;
    ph_open(&h);
    ph_run(&h, 3);
    assert_true(question(1, 1000, 100, 0, out) > 0);
    assert_int_equal(question(2, 1000, 100, 0, out), VI_EPROTO);
    assert_int_equal(question(1, UINT64_MAX, 100, 0, out), VI_EPROTO);
    assert_int_equal(question(1, 1000, UINT64_MAX, 0, out), VI_EPROTO);
    assert_int_equal(question(1, 1000, 100, 1, out), VI_EPROTO);
    assert_int_equal(question(1, 1000, 100, (size_t)-1, out), VI_EPROTO); /* a byte too many */
    assert_int_equal(policy_probe_answer(h.p, h.now, &asker, NULL, 0, 0, 0, 0, out), VI_EPROTO);
}

static char said[96]; /* why not there */

/* Two cores: what one asks the other answers, and the guest goes there, or not. */
static unsigned moves_with(uint64_t there_mib)
{
    uint8_t out[POLICY_PROBE];
    struct policy_event ev = {.kind = POLICY_EV_PROBED, .data = out};
    unsigned g, to;
    int n;
    set_up(NULL);
    g = ph_guest(&h, 1000, 900, 2000);
    h.pct[g] = 60;
    h.s.total_kb = (512 + 128 + 1000) * PH_MIB;
    there.s.total_kb = there_mib * PH_MIB;
    ph_open(&there);
    ph_run(&there, 2);
    to = ph_peer(&h, 9000, 0); /* its summary says so */
    ph_open(&h);
    ph_run(&h, 3);
    assert_int_equal(h.t.probes, 1);
    n = policy_probe_answer(there.p, h.now, &asker, h.t.probe[0].data, h.t.probe[0].len, 0, 0, 0, out);
    assert_true(n > 0);
    ev.guest = h.t.probe[0].guest;
    ev.peer = h.peer[to].id;
    ev.len = (size_t)n;
    policy_step(h.p, h.now, &ev);
    ph_take_effects(&h);
    snprintf(said, sizeof said, "%s", ph_choice(&h, g, to));
    tear_down(NULL);
    return h.t.moves;
}

static void test_both_sides(void **unused)
{
    (void)unused;
    assert_int_equal(moves_with(512 + 128 + 2000), 1);
    assert_int_equal(moves_with(512 + 128 + 1999), 0);
    assert_string_equal(said, "no: it needs 2000 MiB, 1999 are free"); /* a no says why */
}

static bool says_yes(const struct vi_id *to, vi_time now, uint64_t pct)
{
    uint8_t b[64], out[POLICY_PROBE];
    struct vi_writer w;
    struct vi_reader r;
    int n;
    vi_writer_init(&w, b, sizeof b);
    vi_write_array(&w, 3);
    vi_write_uint(&w, 1);
    vi_write_uint(&w, 100 * PH_MIB);
    vi_write_uint(&w, pct * 100);
    n = policy_probe_answer(h.p, now, to, b, w.len, 0, 0, 0, out);
    assert_true(n > 0);
    vi_reader_init(&r, out, (size_t)n);
    vi_read_array(&r, 2);
    return vi_read_uint(&r, 1);
}

/* A host says yes as long as everybody would be within the range: no further. */
static void test_not_out_of_range(void **unused)
{
    unsigned g = ph_guest(&h, 512, 256, 512);
    (void)unused;
    h.guest[g].vcpus = 4;
    h.pct[g] = 150; /* 200 to be in range, of 375; a hundredth less, which isn't measured */
    ph_open(&h);
    ph_run(&h, 3);
    assert_true(says_yes(&asker, h.now, 60));
    assert_true(says_yes(&asker, h.now, 100)); /* can't have more than the CPU */
    assert_true(says_yes(&asker, h.now, 130));
    assert_false(says_yes(&asker, h.now, 140));
}

/* One that wants nearly all of a host is in its range nowhere; it is taken where it would be alone. */
static void test_room_of_its_own(void **unused)
{
    (void)unused;
    ph_open(&h);
    ph_run(&h, 3);
    assert_true(says_yes(&asker, h.now, 350));
    assert_false(says_yes(&asker, h.now, 1000)); /* more than there is */
}

/* Many ask at once: a yes counts for a while, against others, until its guest comes or doesn't. */
static void test_a_yes_is_a_promise(void **unused)
{
    static const struct vi_id other = {{'a', 2}}, third = {{'a', 3}};
    uint64_t kb = 0;
    double pct = 0;
    unsigned g = ph_guest(&h, 512, 256, 512);
    (void)unused;
    h.guest[g].vcpus = 4;
    h.pct[g] = 150;
    ph_open(&h);
    ph_run(&h, 3);
    assert_true(says_yes(&asker, h.now, 90));
    assert_false(says_yes(&other, h.now + VI_SEC, 90));
    assert_true(says_yes(&other, h.now + VI_SEC, 30));
    policy_promised(h.p, h.now + VI_SEC, &third, &kb, &pct);
    assert_int_equal(kb, 200 * PH_MIB);
    assert_true(pct > 119.9 && pct < 120.1);
    kb = 0, pct = 0;
    policy_promised(h.p, h.now + VI_SEC, &asker, &kb, &pct); /* it comes: what stands for it from now on is its reservation */
    assert_int_equal(kb, 100 * PH_MIB);
    policy_promised(h.p, h.now + VI_SEC, &third, &kb, &pct);
    assert_int_equal(kb, 200 * PH_MIB);
    assert_true(says_yes(&third, h.now + 3 * VI_SEC, 90));
    for (unsigned i = 0; i < 50; i++) { /* more than are remembered */
        struct vi_id id = {{'b', (uint8_t)i}};
        (void)says_yes(&id, h.now + 3 * VI_SEC, 1);
    }
}

/* Who is of another domain may ask: that keeps no room from the hosts of this one. */
static void test_no_promise_to_foreigners(void **unused)
{
    uint64_t kb = 0;
    double pct = 0;
    unsigned g = ph_guest(&h, 512, 256, 512);
    (void)unused;
    h.pct[g] = 60;
    ph_open(&h);
    ph_run(&h, 3);
    for (unsigned i = 0; i < 50; i++)
        assert_true(says_yes(NULL, h.now, 90));
    policy_promised(h.p, h.now, &asker, &kb, &pct);
    assert_int_equal(kb, 0);
    assert_true(says_yes(&asker, h.now, 90));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_figures_out_of_range, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_more_than_the_tables_hold, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_arrivals_that_never_come, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_effects_are_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_latest_are_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_choices_are_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_unknown_guest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_deadline, set_up, tear_down),
        cmocka_unit_test(test_summary),
        cmocka_unit_test(test_absurd_summaries),
        cmocka_unit_test(test_altered_summaries),
        cmocka_unit_test_setup_teardown(test_can_take, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_comings_and_goings_count_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_promise_is_kept_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_questions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_not_out_of_range, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_room_of_its_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_yes_is_a_promise, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_promise_to_foreigners, set_up, tear_down),
        cmocka_unit_test(test_both_sides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
