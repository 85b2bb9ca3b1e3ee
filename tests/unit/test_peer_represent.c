/* What a representative does with its gossip cores: ranks, what it says of itself, versions of summaries and views. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <sodium.h>

#include "peer/base/err.h"
#include "peer/represent.h"

static struct gossip *g;
static struct vi_rng rng;
static struct vi_id self, key;
static const vi_time now = VI_HOUR;

static void do_sign(void *arg, const uint8_t *data, size_t len, uint8_t sig[GOSSIP_SIG])
{
    (void)arg, (void)data, (void)len;
    memset(sig, 7, GOSSIP_SIG);
}

static bool do_verify(void *arg, const uint8_t k[GOSSIP_KEY], const uint8_t *data, size_t len, const uint8_t sig[GOSSIP_SIG])
{
    (void)arg, (void)k, (void)data, (void)len, (void)sig;
    return true;
}

static bool admit(void *arg, const struct vi_id *id, const uint8_t k[GOSSIP_KEY], const uint8_t *cert, size_t len)
{
    (void)arg, (void)id, (void)k, (void)cert, (void)len;
    return true;
}

static bool accept_all(void *arg, uint8_t kind, const struct vi_id *k, const struct vi_id *origin, uint64_t version, const uint8_t *bytes, size_t len)
{
    (void)arg, (void)kind, (void)k, (void)origin, (void)version, (void)bytes, (void)len;
    return true;
}

static int set_up(void **state)
{
    struct gossip_config c;
    (void)state;
    vi_rng_seed(&rng, 1);
    gossip_config_domain(&c);
    vi_id_hash(&self, "violin peer", c.key, GOSSIP_KEY, NULL, 0);
    c.id = self;
    c.sign = do_sign;
    c.verify = do_verify;
    c.admit = admit;
    c.accept = accept_all;
    g = gossip_new(&c, &rng, now);
    fed_domain_key(&key, "venus.example.org");
    return g ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    gossip_free(g);
    return 0;
}

/* Whose clock is behind that of who spoke before is heard all the same. */
static void test_versions(void **state)
{
    struct vi_id other = {{9}};
    (void)state;
    assert_int_equal(represent_version(g, &key, 50), 50);
    assert_int_equal(represent_put(g, now, FED_RECORD_SUMMARY, &key, &self, 100, (const uint8_t *)"x", 1, 0), 0);
    assert_int_equal(represent_version(g, &key, 50), 101);
    assert_int_equal(represent_version(g, &key, 100), 101);
    assert_int_equal(represent_version(g, &key, 200), 200);
    assert_int_equal(represent_version(g, &other, 50), 50);
}

static void test_view(void **state)
{
    struct fed_summary s = {.version = 5, .memory_free_mib = 777};
    struct fed_view v;
    uint8_t b[FED_SUMMARY_MAX], pk[32], sk[64];
    int n;
    (void)state;
    represent_view(g, &key, "venus.example.org", 10, 3, &v); /* nothing is known of it but its name */
    assert_string_equal(v.summary.domain, "venus.example.org");
    assert_int_equal(v.summary.memory_free_mib, 0);
    assert_int_equal(v.version, 10);
    assert_int_equal(crypto_sign_keypair(pk, sk), 0);
    strcpy(s.domain, "venus.example.org");
    n = fed_summary_encode(&s, sk, b, sizeof b);
    assert_true(n > 0);
    assert_int_equal(represent_put(g, now, FED_RECORD_SUMMARY, &key, &self, 5, b, (size_t)n, 0), 0);
    represent_view(g, &key, "venus.example.org", 10, 10, &v);
    assert_int_equal(v.summary.memory_free_mib, 777);
    assert_int_equal(v.version, 11);
    assert_false(represent_fresh(now, 0));
    assert_true(represent_fresh(now, now - FED_STALE + 1));
    assert_false(represent_fresh(now, now - FED_STALE));
}

/* Alone in its domain it comes to represent it, says so once, and counts itself. */
static void test_alone(void **state)
{
    struct representative r;
    struct rep_meta own = {.started = 1};
    struct fed_summary s;
    struct vi_id other = {{9}};
    bool tell;
    (void)state;
    rep_init(&r, &self, now);
    assert_false(represent_say(&r, now, g, &own));
    represent_rank(&r, now, g, &self, &own);
    for (vi_time t = now; !r.acting && t < now + VI_MIN; t += VI_SEC)
        (void)rep_tick(&r, t);
    assert_true(r.acting);
    assert_true(represent_say(&r, now, g, &own));
    assert_true(own.acting);
    assert_false(represent_say(&r, now, g, &own));
    assert_int_equal(represent_declared(&r, now, g, &other, &tell), VI_ENOTFOUND);
    assert_false(tell);
    represent_count(g, &s);
    assert_int_equal(s.hosts, 1);
    assert_int_equal(s.suspects, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_versions, set_up, tear_down),
                                       cmocka_unit_test_setup_teardown(test_view, set_up, tear_down),
                                       cmocka_unit_test_setup_teardown(test_alone, set_up, tear_down)};
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
