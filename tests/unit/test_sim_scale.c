/* Many simulated peers, in a small: hot hosts are relieved in time, hundreds at once make no herd, noise moves nobody, what
 * a peer sends doesn't grow. All on virtual time. `violin-sim scale` and `make bench-scale` have the large ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "tests/sim/scale.h"

static struct scale_result run(const struct scale_config *c)
{
    struct scale_result r;

    assert_true(scale_run(c, &r));
    return r;
}

static void small(struct scale_config *c, uint64_t seed)
{
    scale_config_init(c, seed);
    c->before = 65 * VI_SEC;
    c->after = 25 * VI_SEC;
}

static void relieved(const struct scale_result *r, unsigned hot)
{
    if (r->resolved_s < 0 || r->resolved_s >= 20)
        fail_msg("relieved after %.1f s", r->resolved_s);
    assert_true(r->unserved_pct > 219 * hot);
    assert_int_equal(r->moves_before, 0);
    assert_int_equal(r->moves, 3 * hot); /* 620 % are wanted of 400: three of 90 go */
    assert_int_equal(r->most_moves, 3);
    assert_int_equal(r->returns, 0);
    assert_int_equal(r->over_range, 0);
}

static void a_domain_relieves_its_hot_hosts(void **state)
{
    struct scale_config c;
    struct scale_result r;

    (void)state;
    small(&c, 1);
    c.hosts = 100;
    r = run(&c);
    relieved(&r, 5);
}

static void so_does_every_domain_of_a_federation(void **state)
{
    struct scale_config c;
    struct scale_result r;

    (void)state;
    small(&c, 1);
    c.domains = 10;
    c.hosts = 20;
    c.hot = 2;
    c.hot_domains = 3;
    r = run(&c);
    relieved(&r, 6);
}

/* Two hosts of five want more than they have, all at once: everyone of them finds a place, and no place is overrun. */
static void no_herd(void **state)
{
    struct scale_config c;
    struct scale_result r;

    (void)state;
    small(&c, 2);
    c.hosts = 100;
    c.hot = 40;
    c.hot_guests = 4;
    r = run(&c);
    assert_in_range(r.moves, 38, 45); /* each has one to move; who finds no room at once tries again */
    assert_int_equal(r.over_range, 0);
    assert_int_equal(r.over, 0);
    assert_true(r.fullest_pct < 80);
    assert_in_range(r.most_arrivals, 1, 2);
}

static void noise_moves_nobody(void **state)
{
    struct scale_config c;
    struct scale_result r;

    (void)state;
    small(&c, 3);
    c.hosts = 40;
    c.hot = 0;
    c.noise = .2;
    c.before = 120 * VI_SEC;
    c.after = VI_SEC;
    r = run(&c);
    assert_int_equal(r.moves_before + r.moves, 0);
}

static void what_a_peer_sends_stays(void **state)
{
    struct scale_config c;
    struct scale_result few, many;

    (void)state;
    small(&c, 4);
    c.hot = 0;
    c.after = VI_SEC;
    c.hosts = 25;
    few = run(&c);
    c.hosts = 100;
    many = run(&c);
    assert_true(few.bytes[VIOLIN_GOSSIP] > 50);
    assert_true(many.bytes[VIOLIN_GOSSIP] < 1.2 * few.bytes[VIOLIN_GOSSIP]);
    assert_true(many.bytes[VIOLIN_STORE] < 12000); /* bounded: so many datagrams an exchange, one exchange a second */
}

static void a_seed_makes_the_same_run(void **state)
{
    struct scale_config c;
    uint64_t first;

    (void)state;
    small(&c, 5);
    c.domains = 2;
    c.hosts = 10;
    c.hot = 1;
    first = run(&c).hash;
    assert_true(run(&c).hash == first);
    c.seed = 6;
    assert_true(run(&c).hash != first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_domain_relieves_its_hot_hosts), cmocka_unit_test(so_does_every_domain_of_a_federation),
        cmocka_unit_test(no_herd),                         cmocka_unit_test(noise_moves_nobody),
        cmocka_unit_test(what_a_peer_sends_stays),         cmocka_unit_test(a_seed_makes_the_same_run)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
