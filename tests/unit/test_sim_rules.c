/* Whole peers in the simulator and the rules of environments: what the scenario says holds at every moment, whichever host is
 * short, under loss and delay; without the rules it would not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "tests/sim/violin.h"

#define HOSTS 4

static struct pw_scenario s;
static struct pw_world *w;
static struct violin *v;
static unsigned w_wants = 90; /* percent of a CPU, each of W's guests */

/* W has a small guest on each of four hosts that is cheap to move; of 20 others, five on a host, those of the first one come to want more
 * than it has. */
static void begin(const char *rules, uint64_t seed)
{
    static char text[8192];
    struct violin_config c;
    struct words_error err;
    size_t n;

    n = (size_t)snprintf(text, sizeof text, "name rules\ndomain A hosts %u cpus 4 memory 16GB\nrun 1000s\n"
                         "environment W in A guests 4 memory 128MB used 60MB priority 20 on each host\nstage W demand %u%%\n", HOSTS, w_wants);
    for (unsigned i = 0; i < 20; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "environment H%u in A guests 1 memory 512MB used 300MB start 1s\n"
                              "stage H%u demand 10%% for 120s\nstage H%u demand %u%%\n", i, i, i, i % HOSTS ? 10 : 90);
    n += (size_t)snprintf(text + n, sizeof text - n, "%s", rules);
    if (!pw_parse(&s, text, n, &err))
        fail_msg("line %u: %s", err.line, err.text);
    w = pw_new(&s, false);
    assert_non_null(w);
    violin_config_init(&c, seed);
    v = violin_new(&c, w);
    assert_non_null(v);
}

static void end(void)
{
    violin_free(v);
    pw_free(w);
    pw_scenario_free(&s);
}

static bool together(void)
{
    unsigned at[HOSTS] = {0};

    for (unsigned k = 0; k < 4; k++)
        if (++at[w->guest[w->env[0].first + k].host] > 1)
            return true;
    return false;
}

/* To the end: how often in the looks of each second two of W's guests are on one host. */
static unsigned play(bool (*bad)(void))
{
    unsigned n = 0;

    for (vi_time t = 2 * VI_SEC; t < 600 * VI_SEC; t += VI_SEC) {
        assert_true(violin_run(v, t));
        if (t == 100 * VI_SEC)
            for (unsigned i = 0; i < 20; i++)
                assert_int_equal(w->guest[w->env[1 + i].first].host, i % HOSTS);
        n += bad();
    }
    return n;
}

static void spread_is_kept(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        begin("rule W spread 1 2 3 4\n", seed);
        assert_int_equal(play(together), 0);
        assert_true(violin_count(v)->moves > 0); /* somebody else leaves */
        end();
        begin("", seed);
        assert_true(play(together) > 0); /* the cheapest one goes where there is room */
        end();
    }
}

static bool not_at_home(void)
{
    return w->guest[w->env[0].first].host != 0;
}

static void pinned_stays(void **state)
{
    (void)state;
    begin("rule W pin 1 on A 1\n", 1);
    assert_int_equal(play(not_at_home), 0);
    assert_true(violin_count(v)->moves > 0);
    end();
    begin("", 1);
    assert_true(play(not_at_home) > 0);
    end();
}

static bool on_the_last(void)
{
    bool any = false;

    for (unsigned i = 0; i < 20; i += HOSTS)
        any |= w->guest[w->env[1 + i].first].host == 3;
    return any || w->guest[w->env[0].first].host == 3;
}

/* All that are on the first host may never be on the last one. */
static void never_there(void **state)
{
    char rules[600] = "rule W never 1 on A 4\n";
    unsigned there = 0;

    (void)state;
    for (unsigned i = 0; i < 20; i += HOSTS)
        snprintf(rules + strlen(rules), sizeof rules - strlen(rules), "rule H%u never 1 on A 4\n", i);
    for (uint64_t seed = 1; seed <= 3; seed++) {
        begin(rules, seed);
        assert_int_equal(play(on_the_last), 0);
        assert_true(violin_count(v)->moves > 0);
        end();
        begin("", seed);
        there += play(on_the_last);
        end();
    }
    assert_true(there > 0);
}

/* Two that should be together and aren't are brought together, for nothing is short. */
static void brought_together(void **state)
{
    (void)state;
    begin("rule W together 2 3\n", 1);
    (void)play(together);
    assert_int_equal(w->guest[w->env[0].first + 1].host, w->guest[w->env[0].first + 2].host);
    end();
}

/* Two that send each other much come to be on one host; with a rule that keeps them apart they don't. */
static void talkers_meet(void **state)
{
    (void)state;
    w_wants = 20; /* so that a host is about as utilised with one of them more */
    begin("talk W 2 3 4MB/s\n", 1);
    (void)play(together);
    assert_int_equal(w->guest[w->env[0].first + 1].host, w->guest[w->env[0].first + 2].host);
    end();
    begin("rule W spread 1 2 3 4\ntalk W 2 3 4MB/s\n", 1);
    assert_int_equal(play(together), 0);
    end();
    w_wants = 90;
}

static void what_is_no_rule_is_said(void **state)
{
    static const struct { const char *text, *says; } wrong[] = {
        {"rule X spread 1 2\n", "an environment of a line before"}, {"rule W keep 1 2\n", "spread, together, pin or never"},
        {"rule W spread 1\n", "2 to 16"}, {"rule W spread 1 5\n", "by its number"}, {"rule W pin 1 on A 9\n", "a host of the domain"},
        {"rule W pin 1 2 on A 1\n", "on"},
        {"talk W 1 9 3MB/s\n", "by its number"}, {"talk W 1 2 3\n", "a rate such as"}};

    (void)state;
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char text[200];
        struct words_error err;

        snprintf(text, sizeof text, "name t\ndomain A hosts 2\nrun 9s\nenvironment W in A guests 4\nstage W\n%s", wrong[i].text);
        assert_false(pw_parse(&s, text, strlen(text), &err));
        if (!strstr(err.text, wrong[i].says))
            fail_msg("`%s` says: %s", wrong[i].text, err.text);
        pw_scenario_free(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(spread_is_kept), cmocka_unit_test(pinned_stays), cmocka_unit_test(never_there),
                                       cmocka_unit_test(brought_together), cmocka_unit_test(talkers_meet), cmocka_unit_test(what_is_no_rule_is_said)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
