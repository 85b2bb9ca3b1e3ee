/* Several hosts that ask one inviter to be admitted, when it has a place for one at a time. One by one:
 * test_overlay_mesh. */
#include <string.h>

#include "tests/sim/mesh_world.h"

static const uint8_t psk[32] = {7};

static bool lookup(void *arg, const struct vi_id *token, uint8_t secret[32])
{
    (void)arg;
    memcpy(secret, psk, sizeof psk);
    return token->b[0] == 9;
}

/* R is the inviter; the others ask it. */
static void all_ask(uint32_t places)
{
    struct mesh_event ev = {.kind = MESH_EV_JOIN};
    mesh_free(R->m);
    R->cfg.lookup_psk = lookup;
    R->cfg.max_admissions = places;
    R->m = mesh_new(&R->cfg, &w.rng, w.now);
    assert_non_null(R->m);
    ev.join.x = R->x_pk;
    ev.join.addr = R->addr;
    ev.join.peer = R->id;
    ev.join.token.b[0] = 9;
    ev.join.psk = psk;
    ev.join.trust = &R->trust;
    ev.join.request = (const uint8_t *)"please";
    ev.join.len = 6;
    for (struct node *n = A; n <= S; n++)
        assert_int_equal(step(n, &ev), 0);
}

static void reply(void)
{
    struct mesh_event ev = {.kind = MESH_EV_ADMISSION_REPLY};
    ev.admission_reply.admission = R->admission;
    ev.admission_reply.data = (const uint8_t *)"welcome";
    ev.admission_reply.len = 7;
    assert_int_equal(step(R, &ev), 0);
}

static unsigned answered(void)
{
    return A->answers + B->answers + S->answers;
}

/* The next one gets the place soon after the one before has its answer, not when that one's life is over. */
static void test_one_place(void **state)
{
    (void)state;
    all_ask(1);
    for (unsigned k = 1; k <= 3; k++) {
        run(5 * VI_SEC);
        assert_int_equal(R->requests, k);
        reply();
        run(VI_SEC);
        assert_int_equal(answered(), k);
    }
    assert_true(A->err == 0 && B->err == 0 && S->err == 0);
    assert_true(mesh_counters(R->m)->admissions_full > 0);
}

/* Who has proved to hold the secret and waits for its answer keeps its place. */
static void test_waiting_is_kept(void **state)
{
    (void)state;
    all_ask(1);
    run(20 * VI_SEC);
    assert_int_equal(R->requests, 1);
    reply();
    run(VI_SEC);
    assert_int_equal(answered(), 1);
}

/* An answer that is lost is asked for again, and comes, while others wait for the place. */
static void test_lost_answers(void **state)
{
    (void)state;
    all_ask(1);
    for (unsigned k = 1; k <= 2; k++) {
        run(6 * VI_SEC);
        assert_int_equal(R->requests, k);
        w.loss = 100;
        reply();
        run(VI_SEC);
        assert_int_equal(answered(), k - 1);
        w.loss = 0;
        run(3 * VI_SEC / 2);
        assert_int_equal(answered(), k);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one_place, mesh_world_up, mesh_world_down),
        cmocka_unit_test_setup_teardown(test_waiting_is_kept, mesh_world_up, mesh_world_down),
        cmocka_unit_test_setup_teardown(test_lost_answers, mesh_world_up, mesh_world_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
