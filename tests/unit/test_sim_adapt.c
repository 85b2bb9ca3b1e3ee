/* The simulated world for adaptation: its files, its arithmetic, the reference's figures on the frozen inputs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/policy_report.h"

#define HEAD "name t\ndomain A hosts 2\ndomain B hosts 2 memory 1GB cpus 2\nrun 1000s\n"

static void parse(struct pw_scenario *s, const char *text)
{
    struct words_error err;

    if (!pw_parse(s, text, strlen(text), &err))
        fail_msg("line %u: %s", err.line, err.text);
}

static void read_file(struct pw_scenario *s, const char *path)
{
    static char text[PW_FILE_MAX + 1];
    FILE *f = fopen(path, "r");
    size_t len;

    if (!f)
        fail_msg("%s can't be read", path);
    len = fread(text, 1, PW_FILE_MAX, f);
    fclose(f);
    text[len] = 0;
    parse(s, text);
}

static struct pw_run *play(const struct pw_scenario *s, enum pw_system system)
{
    struct pw_run *r = policy_run(s, system, 1);

    assert_non_null(r);
    return r;
}

static void near(double is, double should, double by)
{
    if (!(fabs(is - should) <= by))
        fail_msg("%f, not %f", is, should);
}

static void every_word_is_read(void **state)
{
    struct pw_scenario s;

    (void)state;
    parse(&s, HEAD "title two words # comment\nlink 100Mb/s\nevaluate every 2s needed 4\nrange 30% 80% floor 100MB\n"
              "environment E in A static B guests 2 size 1/4 start 7s dirty 3MB/s maximum 2GB\n"
              "stage E demand 25% for 200s\nstage E work 7\nstage E demand 50%\n"
              "environment F in B guests 2 memory 300MB used 100MB on each host\nstage F\nuse F 200MB at 50s\n"
              "at 9s move E to B\npaper average_reduction_pct -3.5\n");
    assert_string_equal(s.title, "two words");
    assert_int_equal(s.n_hosts, 4);
    assert_int_equal(s.domain[1].first, 2);
    assert_int_equal(s.domain[1].cpus, 2);
    assert_int_equal(s.domain[1].kb, 1024 * PW_MIB);
    near(s.link_kbps, 12207.03, .01);
    assert_int_equal(s.period, 2 * VI_SEC);
    assert_int_equal(s.needed, 4);
    near(s.range_low + s.range_high, 1.1, 1e-9);
    assert_int_equal(s.floor_kb, 100 * PW_MIB);
    assert_int_equal(s.env[0].domain_static, 1);
    assert_int_equal(s.env[0].start, 7 * VI_SEC);
    assert_int_equal(s.env[0].n_stages, 4);
    near(s.env[0].stage[0].work, 500, 1e-9); /* 1000 x 1/4 x 4/2 */
    near(s.env[0].stage[1].work, 50, 1e-9);
    near(s.env[0].stage[2].work, 7, 1e-9);
    assert_true(isinf(s.env[0].stage[3].work));
    assert_int_equal(s.env[0].use[0].kb, 400 * PW_MIB);
    assert_int_equal(s.env[0].max_kb, 2048 * PW_MIB);
    near(s.env[0].dirty_kbps, 3072, 1e-9);
    assert_true(s.env[1].each_host);
    assert_int_equal(s.env[1].use[1].kb, 200 * PW_MIB);
    assert_int_equal(s.order[0].domain, 1);
    near(s.quote[0].value, -3.5, 1e-9);
    pw_scenario_free(&s);
}

static void what_is_wrong_is_said_with_its_line(void **state)
{
    static const struct {
        const char *text, *says;
        unsigned line;
    } wrong[] = {
        {"", "name NAME", 0},
        {"name a b\n", "end of the line", 1},
        {"name x\nrun 1s\n", "environment NAME", 0},
        {HEAD "domain A hosts 1\n", "no other domain", 5},
        {HEAD "domain C hosts 0\n", "1000 hosts", 5},
        {HEAD "domain C hosts 999\n", "1000 hosts", 5},
        {HEAD "environment E in C guests 1\n", "a domain of a line before", 5},
        {HEAD "environment E in A guests 65\n", "64 guests", 5},
        {HEAD "environment E in A guests 2 size 0\n", "a size such as", 5},
        {HEAD "environment E in A guests 2 size 1/0\n", "a size such as", 5},
        {HEAD "environment E in A guests 2 memory 9XB\n", "memory such as", 5},
        {HEAD "environment E in A guests 2\n", "a size or a stage", 5},
        {HEAD "environment E in A guests 3 on each host\nstage E\n", "no more guests than hosts", 6},
        {HEAD "environment E in A guests 2 size 1\nenvironment E in A guests 2\n", "no other environment", 6},
        {HEAD "stage E\n", "an environment of a line before", 5},
        {HEAD "environment E in A guests 2 size 1 start 9s\nuse E 3MB at 9s\n", "after its start", 6},
        {HEAD "at 5s move A to B\n", "an environment of a line before", 5},
        {HEAD "range 50% 40%\n", "low < high", 5},
        {HEAD "evaluate every 10ms needed 3\n", "every 1s", 5},
        {HEAD "link 0Gb/s\n", "a bandwidth", 5},
        {HEAD "paper x y\n", "a number", 5},
        {HEAD "run 25h\n", "24h", 5},
        {HEAD "walk\n", "name, title", 5},
    };

    (void)state;
    for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++) {
        struct pw_scenario s;
        struct words_error err;

        if (pw_parse(&s, wrong[k].text, strlen(wrong[k].text), &err))
            fail_msg("taken: %s", wrong[k].text);
        if (!strstr(err.text, wrong[k].says) || (wrong[k].line && err.line != wrong[k].line))
            fail_msg("line %u: %s", err.line, err.text);
        pw_scenario_free(&s);
    }
}

static void a_host_is_shared_by_weights_and_nothing_is_wasted(void **state)
{
    struct pw_scenario s;
    struct pw_world *w;

    (void)state;
    parse(&s, "name t\ndomain A hosts 1\nrun 1000s\nenvironment E in A guests 1\nstage E work 30\n"
              "environment F in A guests 1\nstage F work 30\n");
    w = pw_new(&s, true);
    pw_set_weight(w, 0, 512);
    pw_next(w);
    near(w->env[0].rate, 2. / 3, 1e-6);
    near(w->env[1].rate, 1. / 3, 1e-6);
    assert_int_equal(pw_next(w), 45 * VI_SEC); /* E is over: 30 ÷ ⅔ */
    pw_advance(w, 45 * VI_SEC);
    assert_int_equal(w->env[0].state, PW_ENDED);
    pw_next(w);
    near(w->env[1].rate, 1, 1e-6);
    assert_int_equal(pw_next(w), 60 * VI_SEC);
    pw_advance(w, 60 * VI_SEC);
    near(w->guest[1].cpu_s, 30, 1e-3);
    near(w->guest[1].steal_s, 30, 1e-3); /* it wanted a CPU for 45 s and had a third */
    assert_true(pw_over(w));
    pw_free(w);
    pw_scenario_free(&s);
}

static void the_slowest_guest_sets_the_pace(void **state)
{
    struct pw_scenario s;
    struct pw_world *w;

    (void)state;
    /* E on both hosts, F beside it on the first: E gets half of that, so it takes half of the second */
    parse(&s, "name t\ndomain A hosts 2\nrun 1000s\nenvironment E in A guests 2\nstage E\n"
              "environment F in A guests 1\nstage F\nenvironment G in A guests 1\nstage G demand 70%\n");
    w = pw_new(&s, true);
    pw_next(w);
    near(w->env[0].rate, .5, 1e-6);
    near(w->env[1].rate, .5, 1e-6);
    near(w->env[2].rate, .5, 1e-6);
    pw_set_weight(w, 2, 768); /* F has three quarters of its host; what E leaves on the other is G's */
    pw_next(w);
    near(w->env[0].rate, .25, 1e-6);
    near(w->env[1].rate, .75, 1e-6);
    near(w->env[2].rate, .70, 1e-6);
    pw_free(w);
    pw_scenario_free(&s);
}

static void a_move_takes_what_size_and_dirty_rate_make_of_it(void **state)
{
    struct pw_scenario s;
    struct pw_world *w;
    double link = 1e9 / 8 / 1024, first, total;

    (void)state;
    parse(&s, "name t\ndomain A hosts 1\ndomain B hosts 1\nrun 1000s\n"
              "environment E in A guests 1 memory 1GB used 500MB dirty 30MB/s\nstage E\n");
    w = pw_new(&s, true);
    pw_stream(w, 0, 1, 0, 0);
    first = 1048576 / link; /* seconds of the first round; each further one sends what was written in the one before */
    total = first;
    for (double round = first * 30 * 1024 / link, n = 1; n < 5 && round * link > 200; n++, round *= 30 * 1024 / link)
        total += round;
    while (!w->guest[0].stalled)
        pw_advance(w, pw_next(w));
    near((double)w->now / 1e6, total, .01);
    pw_advance(w, pw_next(w));
    assert_true(w->guest[0].streamed);
    near((double)w->now / 1e6 - total, .1, .03); /* the pause: overhead, and very little that was left */
    pw_activate(w, 0);
    assert_int_equal(w->guest[0].host, 1);
    assert_int_equal(w->env[0].moves, 1);
    pw_settle_env(w, 0);
    near(w->env[0].done, total, .01); /* it ran but for the pause */
    pw_stream(w, 0, 0, 20 * VI_SEC, 1);
    pw_advance(w, pw_next(w));
    pw_settle_env(w, 0);
    near(w->env[0].done, total, .01); /* a fixed stall: no progress */
    pw_cancel(w, 0);
    assert_int_equal(w->guest[0].host, 1);
    pw_free(w);
    pw_scenario_free(&s);
}

static double reduction(const struct pw_run *before, const struct pw_run *after, unsigned env)
{
    return 100 * (1 - pw_execution_s(after->w, env) / pw_execution_s(before->w, env));
}

static void reference_of(const char *path, double average, double overall, const double *each)
{
    struct pw_scenario s;
    struct pw_run *before, *after;

    read_file(&s, path);
    before = play(&s, PW_STATIC);
    after = play(&s, PW_REFERENCE);
    near(100 * (1 - pw_average_s(after->w) / pw_average_s(before->w)), average, .06);
    near(100 * (1 - pw_overall_s(after->w) / pw_overall_s(before->w)), overall, .06);
    for (unsigned e = 0; e < s.n_envs; e++)
        near(fabs(reduction(before, after, e)), fabs(each[e]), .06);
    policy_run_free(before);
    policy_run_free(after);
    pw_scenario_free(&s);
}

static void the_reference_comes_to_the_figures_fixed_beforehand(void **state)
{
    (void)state;
    reference_of("tests/sim/experiments/s1.adapt", 37.0, 34.9, (double[]){-.2, 0, 25.1, 60.2, 42.0});
    reference_of("tests/sim/experiments/s2.adapt", 40.4, 44.4, (double[]){-5.8, 45.6, 0, 46.4});
}

static void the_reference_finds_memory(void **state)
{
    struct pw_scenario s;
    struct pw_run *before, *after;

    (void)state;
    read_file(&s, "tests/sim/experiments/s3.adapt");
    before = play(&s, PW_STATIC);
    after = play(&s, PW_REFERENCE);
    assert_int_equal(before->w->env[2].state, PW_DIED);
    assert_int_equal(before->w->env[3].state, PW_WAITS);
    assert_int_equal(after->w->env[2].state, PW_RUNS);
    assert_int_equal(after->w->env[3].created, 720 * VI_SEC);
    assert_int_equal(after->w->env[0].moves, 4);
    assert_int_equal(pw_moves(after->w), 4);
    policy_run_free(before);
    policy_run_free(after);
    pw_scenario_free(&s);
}

/* ---- the peers themselves ---- */

/* Two seeds: within three points of the reference, and in its order. */
static void peers_come_near_the_reference(const char *path)
{
    struct pw_scenario s;
    struct pw_run *before, *reference;
    char should[500], is[500];

    read_file(&s, path);
    before = play(&s, PW_STATIC);
    reference = play(&s, PW_REFERENCE);
    pr_order(reference->w, should, sizeof should);
    for (uint64_t seed = 1; seed <= 2; seed++) {
        struct pw_run *r = policy_run(&s, PW_VIOLIN_20S, seed);

        assert_non_null(r);
        near(100 * pw_average_s(r->w) / pw_average_s(before->w), 100 * pw_average_s(reference->w) / pw_average_s(before->w), 3);
        near(100 * pw_overall_s(r->w) / pw_overall_s(before->w), 100 * pw_overall_s(reference->w) / pw_overall_s(before->w), 3);
        pr_order(r->w, is, sizeof is);
        assert_string_equal(is, should);
        assert_int_equal(pw_moves(r->w), pw_moves(reference->w));
        policy_run_free(r);
    }
    policy_run_free(before);
    policy_run_free(reference);
    pw_scenario_free(&s);
}

static void peers_play_the_first_two_scenarios(void **state)
{
    (void)state;
    peers_come_near_the_reference("tests/sim/experiments/s1.adapt");
    peers_come_near_the_reference("tests/sim/experiments/s2.adapt");
}

static bool all_of_it(const struct pw_world *w, unsigned env, unsigned domain, uint64_t mib)
{
    bool all = true;

    for (unsigned k = 0; k < w->s->env[env].guests; k++) {
        const struct pw_guest *g = &w->guest[w->env[env].first + k];

        all &= g->host != PW_NOWHERE && w->host[g->host].domain == domain && g->kb == mib * PW_MIB;
    }
    return all;
}

/* V1 makes room, V3 grows in time and lives, gives back what it needs no more, V4 finds room. */
static void peers_find_memory(void **state)
{
    struct pw_scenario s;
    uint64_t most = 0;

    (void)state;
    read_file(&s, "tests/sim/experiments/s3.adapt");
    for (unsigned sys = PW_VIOLIN_20S; sys <= PW_VIOLIN; sys++) {
        struct pw_run *r = policy_run(&s, sys, 1);

        assert_non_null(r);
        assert_true(all_of_it(r->w, 0, 1, 256));
        assert_true(all_of_it(r->w, 1, 1, 200));
        assert_true(all_of_it(r->w, 2, 0, 200));
        assert_true(all_of_it(r->w, 3, 0, 256));
        assert_int_equal(r->w->env[2].state, PW_RUNS);
        assert_int_equal(pw_moves(r->w), 4);
        for (unsigned k = 0; k < r->w->n_notes; k++)
            if (r->w->note[k].env == 2 && r->w->note[k].kind == PW_GROWS && r->w->note[k].at < 300 * VI_SEC)
                most = r->w->note[k].kb;
        assert_int_equal(most, 400 * PW_MIB);
        policy_run_free(r);
    }
    pw_scenario_free(&s);
}

static void an_order_is_carried_out(void **state)
{
    struct pw_scenario s;
    struct pw_run *r;

    (void)state;
    read_file(&s, "tests/sim/experiments/overhead-8.adapt");
    r = policy_run(&s, PW_VIOLIN_20S, 1);
    assert_non_null(r);
    near(pw_execution_s(r->w, 0), 145, 3);
    assert_int_equal(pw_moves(r->w), 4);
    policy_run_free(r);
    pw_scenario_free(&s);
}

static void a_seed_makes_the_same_run(void **state)
{
    struct pw_scenario s;
    uint64_t hash[3];

    (void)state;
    read_file(&s, "tests/sim/experiments/s1.adapt");
    for (unsigned k = 0; k < 3; k++) {
        struct pw_run *r = policy_run(&s, PW_VIOLIN, k < 2 ? 7 : 8);

        assert_non_null(r);
        hash[k] = r->hash;
        policy_run_free(r);
    }
    assert_true(hash[0] == hash[1]);
    assert_true(hash[0] != hash[2]);
    pw_scenario_free(&s);
}

static char *written(const struct pr_case *c, int (*fn)(const struct pr_case *cases, unsigned n, FILE *out))
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    assert_int_equal(fn(c, 1, f), 0);
    fclose(f);
    return text;
}

static void reports_are_whole(void **state)
{
    static struct pr_case c;
    char *text;
    json_t *j;

    (void)state;
    read_file(&c.s, "tests/sim/experiments/s1.adapt");
    for (unsigned sys = 0; sys < PW_SYSTEMS; sys++)
        c.run[sys][c.n[sys]++] = play(&c.s, sys);
    text = written(&c, pr_json);
    j = json_loads(text, 0, NULL);
    assert_non_null(j);
    assert_true(json_array_size(json_object_get(j, "rows")) > 30);
    json_decref(j);
    free(text);
    text = written(&c, pr_html);
    assert_non_null(strstr(text, "</html>"));
    assert_null(strstr(text, "http:")); /* nothing from elsewhere */
    assert_null(strstr(text, "src="));
    assert_null(strstr(text, "nan"));
    free(text);
    text = written(&c, pr_text);
    assert_non_null(strstr(text, "average_reduction_pct"));
    assert_non_null(strstr(text, "violin-modelled"));
    free(text);
    for (unsigned sys = 0; sys < PW_SYSTEMS; sys++)
        policy_run_free(c.run[sys][0]);
    pw_scenario_free(&c.s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_word_is_read),
        cmocka_unit_test(what_is_wrong_is_said_with_its_line),
        cmocka_unit_test(a_host_is_shared_by_weights_and_nothing_is_wasted),
        cmocka_unit_test(the_slowest_guest_sets_the_pace),
        cmocka_unit_test(a_move_takes_what_size_and_dirty_rate_make_of_it),
        cmocka_unit_test(the_reference_comes_to_the_figures_fixed_beforehand),
        cmocka_unit_test(the_reference_finds_memory),
        cmocka_unit_test(peers_play_the_first_two_scenarios),
        cmocka_unit_test(peers_find_memory),
        cmocka_unit_test(an_order_is_carried_out),
        cmocka_unit_test(a_seed_makes_the_same_run),
        cmocka_unit_test(reports_are_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
