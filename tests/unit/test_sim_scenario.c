#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <glob.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/sim/command.h"
#include "tests/sim/scenario_run.h"

static struct scenario *parse(const char *text)
{
    struct scenario *s = malloc(sizeof *s);
    struct words_error err;

    assert_non_null(s);
    if (!scenario_parse(s, text, strlen(text), &err))
        fail_msg("line %u: %s", err.line, err.text);
    return s;
}

static struct scenario_run *play(const struct scenario *s, uint64_t seed)
{
    struct scenario_run *r = scenario_run(s, seed, NULL);

    assert_non_null(r);
    return r;
}

static void every_word_is_read(void **state)
{
    struct scenario *s = parse("peers 64 # as many as there are\n\nseed 7\r\n"
                               "net delay 1..20ms loss 2% duplicate 1.5% reorder 2% 50ms\nsystem swim\ncrypto real\n"
                               "clock 4,6-7 1.1\nstart 0-9 within 10s\nat 20s crash 5\n"
                               "at 25s every 10s until 45s pause 3 for 1.5s\nat 40s cut 3 > 5,7 for 20s\n"
                               "at 1m loss 7 in 80% out 70% for 60s\nat 90s restart 5 without disk\nat 95s net loss 9%\n"
                               "expect dead 5 within 15s of crash\nexpect alive 3 within 500ms after pause\n"
                               "expect agreed at 100s\nexpect traffic below 900\nrun 3m");

    (void)state;
    assert_int_equal(s->peers, 64);
    assert_int_equal(s->seed, 7);
    assert_true(s->swim && s->crypto);
    assert_int_equal(s->net.delay_min, VI_MSEC);
    assert_int_equal(s->net.delay_max, 20 * VI_MSEC);
    assert_true(s->net.loss > .0199 && s->net.loss < .0201 && s->net.duplicate > .0149 && s->net.duplicate < .0151);
    assert_int_equal(s->net.reorder_delay, 50 * VI_MSEC);
    assert_true(sc_has(&s->clock[0].set, 7) && !sc_has(&s->clock[0].set, 5));
    assert_int_equal(s->nevents, 8);
    assert_int_equal(s->event[0].verb, SC_START);
    assert_int_equal(s->event[0].within, 10 * VI_SEC);
    assert_int_equal(s->event[1].verb, SC_CRASH);
    assert_string_equal(s->event[1].text, "crash 5");
    assert_int_equal(s->event[3].verb, SC_PAUSE);
    assert_int_equal(s->event[3].at, 35 * VI_SEC);
    assert_int_equal(s->event[3].lasts, 1500 * VI_MSEC);
    assert_true(s->event[4].verb == SC_CUT && sc_has(&s->event[4].to, 7) && !sc_has(&s->event[4].to, 6));
    assert_true(s->event[5].in > .79 && s->event[5].out < .71);
    assert_true(s->event[6].without_disk);
    assert_true(s->event[7].lasts == VI_NEVER && s->event[7].net.delay_max == 20 * VI_MSEC);
    assert_int_equal(s->nexpects, 4);
    assert_true(s->expect[1].after && s->expect[1].of == SC_PAUSE);
    assert_int_equal(s->length, 3 * VI_MIN);
    free(s);
}

static void errors_say_where_and_what(void **state)
{
    static const struct {
        const char *text;
        unsigned line;
        const char *says;
    } wrong[] = {
        {"peers 4\nrun 10s\nfrobnicate 3\n", 3, "\"frobnicate\": expected peers, seed"},
        {"peers 4\nrun ten\n", 2, "\"ten\": expected a time"},
        {"peers 4\nrun 25h\n", 2, "24h at most"},
        {"peers 1\nrun 1s\n", 1, "2 to 2000 peers"},
        {"peers 2.5\nrun 1s\n", 1, "2 to 2000 peers"},
        {"peers 2001\nrun 1s\n", 1, "2 to 2000 peers"},
        {"peers 4 5\n", 1, "\"5\": expected the end of the line"},
        {"run 10s\n", 1, "peers N"},
        {"peers 4\n", 1, "run TIME"},
        {"peers 4\nat 2s crash 4\nrun 9s\n", 2, "peers that there are"},
        {"peers 4\nat 2s crash 3-1\nrun 9s\n", 2, "\"3-1\": expected peers such as"},
        {"peers 4\nat 9s crash 1\nrun 9s\n", 2, "before the end of the run"},
        {"peers 4\nat 2s explode 1\nrun 9s\n", 2, "\"explode\": expected start, restart, crash"},
        {"peers 4\nat 2s cut 1 2\nrun 9s\n", 2, "\"2\": expected \">\""},
        {"peers 4\nat 2s loss 1 for 3s\nrun 9s\n", 2, "\"in\" or \"out\""},
        {"peers 4\nnet loss 120%\nrun 9s\n", 2, "\"120%\": expected a share"},
        {"peers 4\nnet delay 20..1ms\nrun 9s\n", 2, "\"20..1ms\": expected a delay"},
        {"peers 4\nexpect dead 1 within 3s\nrun 9s\n", 2, "the line ends: expected \"of\" or \"after\""},
        {"peers 4\nexpect miracles\nrun 9s\n", 2, "\"miracles\": expected no healthy removed"},
        {"peers 4\nclock 1 3\nrun 9s\n", 2, "between 0.5 and 2"},
        {"peers 4\nat 1s every 1ms until 8s crash 1\nrun 9s\n", 2, "1024 events"},
        {"peers 4\nsystem raft\nrun 9s\n", 2, "violin or swim"},
    };
    struct scenario *s = malloc(sizeof *s);

    (void)state;
    assert_non_null(s);
    for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++) {
        struct words_error err;

        if (scenario_parse(s, wrong[k].text, strlen(wrong[k].text), &err))
            fail_msg("this was taken: %s", wrong[k].text);
        if (!strstr(err.text, wrong[k].says))
            fail_msg("%s -> %s", wrong[k].text, err.text);
        if (wrong[k].line != err.line && !strstr(wrong[k].says, "N") && !strstr(wrong[k].says, "TIME"))
            fail_msg("%s -> line %u", wrong[k].text, err.line);
    }
    free(s);
}

static const char small[] = "peers 12\nnet delay 1..20ms loss 2%\nclock 3 1.1\nat 20s crash 5\nat 40s restart 5\nrun 60s\n"
                            "expect dead 5 within 15s of crash\nexpect alive 5 within 15s of restart\n"
                            "expect no healthy removed\nexpect agreed at 39s\nexpect agreed at end\n"
                            "expect never dead 0-4,6-11\nexpect traffic below 5000\n";

static void the_same_seed_makes_the_same_run(void **state)
{
    struct scenario *s = parse(small);
    struct scenario_run *a = play(s, 5), *b = play(s, 5), *c = play(s, 6);

    (void)state;
    assert_true(a->hash == b->hash && a->events == b->events && a->tx_mean == b->tx_mean);
    assert_true(a->outcome[1].all == b->outcome[1].all);
    assert_true(a->hash != c->hash);
    scenario_run_free(a);
    scenario_run_free(b);
    scenario_run_free(c);
    free(s);
}

static void what_happened_is_told(void **state)
{
    struct scenario *s = parse(small);
    struct scenario_run *r = play(s, 1);
    const struct sr_outcome *crash = &r->outcome[1], *restart = &r->outcome[2];

    (void)state;
    assert_true(r->ok);
    assert_int_equal(crash->at, 20 * VI_SEC);
    assert_true(crash->first > crash->at && crash->first <= crash->last && crash->last <= crash->all);
    assert_true(crash->all < 35 * VI_SEC);
    assert_true(crash->over && crash->end == 40 * VI_SEC && crash->back >= crash->end && crash->back < 60 * VI_SEC);
    assert_true(restart->first >= 40 * VI_SEC && restart->all < 55 * VI_SEC);
    assert_int_equal(r->ndown, 1);
    assert_true(r->down[0].who == 5 && r->down[0].from == 20 * VI_SEC && r->down[0].to == 40 * VI_SEC);
    assert_true(r->row[5].doubted);
    assert_int_equal(r->removed[5], 11);
    for (unsigned k = 1; k < r->row[5].n; k++)
        assert_true(r->row[5].v[k - 1].at < r->row[5].v[k].at);
    scenario_run_free(r);
    free(s);
}

static void what_is_not_as_expected_fails(void **state)
{
    static const char *const wrong[] = {
        "expect dead 5 within 1s of crash", "expect dead 6 within 15s of crash", "expect alive 5 within 9s of restart",
        "expect alive 5 within 15s after pause", "expect never dead 5", "expect agreed at 21s", "expect traffic below 1",
        "expect dead 5 within 15s of restart",
    };

    (void)state;
    for (size_t k = 0; k < sizeof wrong / sizeof wrong[0]; k++) {
        char text[200];
        struct scenario *s;
        struct scenario_run *r;

        snprintf(text, sizeof text, "peers 8\nat 20s crash 5\nat 39s start 5 within 100ms\nrun 60s\n%s\n", wrong[k]);
        s = parse(text);
        r = play(s, 1);
        if (r->ok || r->check[0].ok || !r->check[0].said[0])
            fail_msg("%s: %s", wrong[k], r->check[0].said);
        scenario_run_free(r);
        free(s);
    }
}

/* SWIM believes one who can't hear: it removes healthy ones, and is said to. */
static void wrong_verdicts_are_found(void **state)
{
    struct scenario *s = parse("peers 16\nsystem swim\nat 20s loss 3 in 100% for 40s\nrun 90s\nexpect no healthy removed\n");
    struct scenario_run *r = play(s, 1);

    (void)state;
    assert_false(r->ok);
    assert_true(r->wrong > 0 && r->nshown > 0 && r->shown[0].who != 3);
    scenario_run_free(r);
    free(s);
}

static char *written(const struct scenario_run *r, int (*fn)(const struct scenario_run *r, const char *name, FILE *out))
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    assert_non_null(f);
    assert_int_equal(fn(r, "a<b&c.sim", f), 0);
    fclose(f);
    return text;
}

static unsigned times(const char *text, const char *what)
{
    unsigned n = 0;

    for (; (text = strstr(text, what)); text += strlen(what))
        n++;
    return n;
}

static void the_picture_is_whole(void **state)
{
    struct scenario *s = parse("peers 12\nat 20s crash 5\nat 20s cut 3 > 4 for 5s\nat 25s pause 2 for 20s\nrun 60s\n");
    struct scenario_run *r = play(s, 9);
    char *svg = written(r, scenario_svg), hash[20];

    (void)state;
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)r->hash);
    assert_non_null(strstr(svg, hash));
    assert_non_null(strstr(svg, "seed 9"));
    assert_non_null(strstr(svg, "a&#60;b&#38;c.sim"));
    assert_non_null(strstr(svg, "cut 3 &#62; 4"));
    assert_int_equal(times(svg, "<g>"), 12);
    assert_int_equal(times(svg, "</g>"), 12);
    assert_int_equal(times(svg, "<text"), times(svg, "</text>"));
    assert_int_equal(times(svg, "<svg"), 1);
    assert_int_equal(times(svg, "</svg>"), 1);
    assert_null(strstr(svg, "<script"));
    assert_null(strstr(svg, "nan"));
    assert_true(times(svg, "#c0152f") > 1); /* somebody was dead, beside the legend */
    assert_int_equal(times(svg, "#1f6fd6"), 2); /* one was paused */
    free(svg);
    scenario_run_free(r);
    free(s);
}

static void json_has_what_the_text_has(void **state)
{
    struct scenario *s = parse(small);
    struct scenario_run *r = play(s, 2);
    char *text = written(r, scenario_json);
    json_t *j = json_loads(text, 0, NULL), *e;

    (void)state;
    assert_non_null(j);
    assert_int_equal(json_integer_value(json_object_get(j, "peers")), 12);
    assert_int_equal(json_integer_value(json_object_get(j, "healthy_removed")), 0);
    assert_true(json_is_true(json_object_get(j, "ok")));
    assert_int_equal(json_array_size(json_object_get(j, "expectations")), 7);
    e = json_array_get(json_object_get(j, "events"), 1);
    assert_string_equal(json_string_value(json_object_get(e, "event")), "crash 5");
    assert_true(json_real_value(json_object_get(e, "all_s")) > 0);
    e = json_array_get(json_object_get(j, "events"), 2);
    assert_null(json_object_get(e, "back_s")); /* what there isn't has no field */
    json_decref(j);
    free(text);
    scenario_run_free(r);
    free(s);
}

static int command(const char *text, const char *more)
{
    char path[] = "/tmp/violin-scenario-XXXXXX";
    char *argv[] = {path, (char *)(uintptr_t)more};
    int fd = mkstemp(path), status;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    status = command_run(more ? 2 : 1, argv);
    unlink(path);
    return status;
}

static void the_exit_status_tells(void **state)
{
    (void)state;
    assert_int_equal(command("peers 4\nrun 20s\nexpect agreed at end\n", NULL), 0);
    assert_int_equal(command("peers 4\nrun 20s\nexpect agreed at 1ms\nexpect traffic below 0\n", NULL), 1);
    assert_int_equal(command("peers 4\nrun\n", NULL), 2);
    assert_int_equal(command("peers 4\nrun 20s\n", "--frob"), 2);
    assert_int_equal(command_run(0, NULL), 2);
}

static void soak_takes_its_options(void **state)
{
    char *good[] = {"--seeds", "3", "--seed", "3", "--jobs", "2"}, *none[] = {"--seconds", "0"};
    char *bad[] = {"--jobs", "0"}, *odd[] = {"--seeds", "many"}, *open[] = {"--seed"};

    (void)state;
    assert_int_equal(command_soak(6, good), 0);
    assert_int_equal(command_soak(2, none), 0);
    assert_int_equal(command_soak(2, bad), 2);
    assert_int_equal(command_soak(2, odd), 2);
    assert_int_equal(command_soak(1, open), 2);
}

static void the_examples_are_as_they_say(void **state)
{
    glob_t g;

    (void)state;
    assert_int_equal(glob("tests/sim/scenarios/*.sim", 0, NULL, &g), 0);
    assert_true(g.gl_pathc >= 6);
    for (size_t k = 0; k < g.gl_pathc; k++) {
        char *argv[] = {g.gl_pathv[k]};

        if (command_run(1, argv))
            fail_msg("%s", g.gl_pathv[k]);
    }
    globfree(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_word_is_read),
        cmocka_unit_test(errors_say_where_and_what),
        cmocka_unit_test(the_same_seed_makes_the_same_run),
        cmocka_unit_test(what_happened_is_told),
        cmocka_unit_test(what_is_not_as_expected_fails),
        cmocka_unit_test(wrong_verdicts_are_found),
        cmocka_unit_test(the_picture_is_whole),
        cmocka_unit_test(json_has_what_the_text_has),
        cmocka_unit_test(the_exit_status_tells),
        cmocka_unit_test(soak_takes_its_options),
        cmocka_unit_test(the_examples_are_as_they_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
