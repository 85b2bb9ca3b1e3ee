/* Guests are placed as their environment's rules allow: the job's own core, its hosts only asked. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

#include "peer/base/err.h"
#include "peer/envmake.h"

#define HOSTS 3

static struct {
    struct envmake *core;
    vi_time now;
    struct vi_id host[HOSTS], env, job, there;
    struct policy_rule rule;
    struct policy_place place;
    struct policy_rules rules;
} t;

static const struct envmake_spec spec = {.vcpus = 1, .kb = 64 * 1024, .max_kb = 128 * 1024, .weight = 256, .kernel = {1}};

static struct vi_id an_id(unsigned n)
{
    struct vi_id id = {{(uint8_t)n, 7}};
    return id;
}

static int save(void *arg, enum envmake_record kind, const struct vi_id *key, const uint8_t *data, size_t len)
{
    (void)arg, (void)kind, (void)key, (void)data, (void)len;
    return 0;
}

static int forget(void *arg, enum envmake_record kind, const struct vi_id *key)
{
    (void)arg, (void)kind, (void)key;
    return 0;
}

static unsigned candidates(void *arg, struct envmake_host *out, unsigned most)
{
    (void)arg;
    for (unsigned i = 0; i < HOSTS && i < most; i++) /* the first has by far the most room */
        out[i] = (struct envmake_host){t.host[i], i ? 256 * 1024 : 8 * 1024 * 1024, i ? 256 * 1024 : 8 * 1024 * 1024, i ? 400 : 4000, i ? 400 : 4000};
    return HOSTS;
}

static const struct policy_rules *rules(void *arg, const struct vi_id *env)
{
    (void)arg;
    return vi_id_equal(env, &t.env) && t.rules.n ? &t.rules : NULL;
}

static int set_up(void **state)
{
    struct envmake_config c = {.hooks = {.save = save, .forget = forget, .candidates = candidates, .rules = rules}};
    (void)state;
    memset(&t, 0, sizeof t);
    t.now = VI_HOUR;
    for (unsigned i = 0; i < HOSTS; i++)
        t.host[i] = an_id(i + 1);
    t.env = an_id(50);
    t.job = an_id(60);
    t.there = an_id(70);
    c.self = an_id(9); /* it has no room itself */
    t.rule = (struct policy_rule){.env = t.env, .number = 1, .kind = POLICY_RULE_SPREAD};
    t.place = (struct policy_place){.env = t.env, .guest = t.there, .host = t.host[0]};
    policy_rule_tag(&t.there, t.place.tag);
    t.rules = (struct policy_rules){.rule = &t.rule, .place = &t.place};
    t.core = envmake_new(&c);
    if (t.core)
        envmake_loaded(t.core, t.now, &t.job);
    return t.core ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    envmake_free(t.core);
    return 0;
}

/* The rule is about the first `ruled` of them. */
static void place_some(unsigned guests, unsigned ruled, struct envmake_job_view *v)
{
    struct hv_description d;
    char why[ENVMAKE_WHY];
    for (unsigned i = 1; i <= ruled; i++) {
        assert_int_equal(envmake_describe(&spec, &t.job, &t.env, "web", i, &d), 0);
        policy_rule_tag(&d.uuid, t.rule.guest[t.rule.n++]);
    }
    assert_int_equal(envmake_begin(t.core, t.now, &t.job, &t.env, "web", &spec, 1, guests, false, NULL, true, why, sizeof why), 0);
    t.now += VI_SEC;
    envmake_tick(t.core, t.now);
    assert_true(envmake_job(t.core, &t.job, v));
}

static void test_room_alone(void **state)
{
    static struct envmake_job_view v;
    (void)state;
    place_some(3, 0, &v);
    for (unsigned i = 0; i < 3; i++)
        assert_true(v.item[i].placed && vi_id_equal(&v.item[i].host, &t.host[0]));
}

/* No two of them on one host, nor with one that is there already. */
static void test_apart(void **state)
{
    static struct envmake_job_view v;
    (void)state;
    t.rules.n = 1;
    t.rules.n_places = 1;
    memcpy(t.rule.guest[t.rule.n++], t.place.tag, POLICY_RULE_TAG);
    place_some(2, 2, &v);
    for (unsigned i = 0; i < 2; i++)
        assert_true(v.item[i].placed && !vi_id_equal(&v.item[i].host, &t.host[0]));
    assert_false(vi_id_equal(&v.item[0].host, &v.item[1].host));
}

/* Four apart on three hosts: none is made, and it is said to be the rule's doing. */
static void test_no_place(void **state)
{
    static struct envmake_job_view v;
    (void)state;
    t.rules.n = 1;
    place_some(4, 4, &v);
    assert_string_equal(v.phase, "dropping");
    assert_non_null(strstr(v.why, "web-4: rule 1 (spread"));
    assert_non_null(strstr(v.why, "where there is room"));
}

/* One that the rules keep from a host, among others that may be there. */
static void test_never(void **state)
{
    static struct envmake_job_view v;
    (void)state;
    t.rules.n = 1;
    t.rule.kind = POLICY_RULE_NEVER;
    t.rule.host = t.host[0];
    place_some(2, 1, &v);
    assert_false(vi_id_equal(&v.item[0].host, &t.host[0]));
    assert_true(vi_id_equal(&v.item[1].host, &t.host[0]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_room_alone, set_up, tear_down), cmocka_unit_test_setup_teardown(test_apart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_no_place, set_up, tear_down), cmocka_unit_test_setup_teardown(test_never, set_up, tear_down)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
