/* The envmake core in a world of its own (envmake_world.h). A fault at every named point and at every message, of every
 * kind; at any time no guest is anywhere twice, and in the end an environment is there whole or not at all. */
#include "tests/unit/envmake_world.h"

static void test_whole_life(void **state)
{
    unsigned here[HOSTS] = {0};
    (void)state;
    world_new();
    begin(GUESTS, true);
    assert_true(run_until_over(120 * VI_SEC));
    assert_int_equal(w.over_err, 0);
    assert_int_equal(domains(true), GUESTS + 1);
    for (unsigned a = 0; a < HOSTS; a++)
        for (unsigned i = 0; i < 64; i++)
            here[a] += w.host[a].domain[i].used;
    for (unsigned a = 0; a < HOSTS; a++)
        assert_in_range(here[a], 1, 2); /* the least utilised each time */
    order(ENVMAKE_REMOVE, false);
    assert_int_equal(w.over_err, VI_ESTATE); /* they run */
    assert_non_null(strstr(w.over_text, "web-1"));
    assert_non_null(strstr(w.over_text, "--force, or violin env stop first"));
    assert_int_equal(domains(true), GUESTS + 1);
    order(ENVMAKE_STOP, false);
    assert_int_equal(w.over_err, 0);
    assert_int_equal(domains(false), 0);
    assert_int_equal(records(ENVMAKE_RECORD_GUEST), GUESTS + 1);
    order(ENVMAKE_START, false);
    assert_int_equal(w.over_err, 0);
    assert_int_equal(domains(true), GUESTS + 1);
    w.host[2].ignores_shutdown = true;
    order(ENVMAKE_STOP, false);
    assert_int_equal(w.over_err, VI_ETIMEDOUT);
    order(ENVMAKE_STOP, true);
    assert_int_equal(w.over_err, 0);
    assert_int_equal(domains(false), 0);
    order(ENVMAKE_START, false);
    order(ENVMAKE_REMOVE, true);
    assert_int_equal(w.over_err, 0);
    assert_int_equal(domains(false), 0);
    run_for(2 * VI_SEC);
    assert_int_equal(records(ENVMAKE_RECORD_GUEST) + records(ENVMAKE_RECORD_JOB), 0);
    nothing_promised();
    world_free();
}

static void test_hosts_without_the_image(void **state)
{
    (void)state;
    world_new();
    w.host[0].no_image = w.host[2].no_image = true;
    begin(GUESTS, false);
    assert_true(run_until_over(120 * VI_SEC));
    assert_int_equal(w.over_err, 0);
    for (unsigned i = 0; i < 64; i++)
        assert_false(w.host[0].domain[i].used || w.host[2].domain[i].used);
    order(ENVMAKE_REMOVE, true);
    w.host[1].images_at = w.now + 400 * VI_SEC; /* longer than a lease holds, and than placing may take otherwise */
    begin(GUESTS, false);
    assert_true(run_until_over(600 * VI_SEC));
    assert_int_equal(w.over_err, 0);
    assert_int_equal(domains(true), GUESTS);
    order(ENVMAKE_REMOVE, true);
    for (unsigned a = 0; a < HOSTS; a++)
        w.host[a].no_image = true;
    begin(GUESTS, false);
    assert_true(run_until_over(120 * VI_SEC));
    assert_int_equal(w.over_err, VI_EREFUSED);
    assert_non_null(strstr(w.over_text, "as the test says"));
    assert_int_equal(domains(false), 0);
    run_for(70 * VI_SEC);
    nothing_promised();
    world_free();
}

/* A reboot starts what this host kept running, and only that. */
static void test_boot(void **state)
{
    (void)state;
    world_new();
    begin(8, false);
    assert_true(run_until_over(120 * VI_SEC));
    w.fault = F_REBOOT;
    strike(&w.host[3]);
    turn();
    assert_int_equal(domains(false), 6);
    run_for(30 * VI_SEC);
    assert_int_equal(domains(true), 8);
    order(ENVMAKE_STOP, false);
    strike(&w.host[3]);
    run_for(30 * VI_SEC);
    assert_int_equal(domains(false), 0);
    /* One that ended by itself isn't started by a peer's restart, only by a reboot. */
    order(ENVMAKE_START, false);
    memset(w.host[3].domain, 0, sizeof w.host[3].domain);
    w.fault = F_KILL;
    strike(&w.host[3]);
    run_for(30 * VI_SEC);
    assert_int_equal(domains(true), 6);
    w.fault = F_REBOOT;
    strike(&w.host[3]);
    run_for(30 * VI_SEC);
    assert_int_equal(domains(true), 8);
    world_free();
}

static struct vi_id a_guest_of(const struct host *h, struct hv_description *made)
{
    struct envmake_guest_view v;
    unsigned pos = 0;
    assert_true(envmake_guest_next(h->core, &pos, &v));
    assert_true(envmake_kept(h->core, &v.uuid, made));
    return v.uuid;
}

static const char *why_of(const struct host *h, const struct vi_id *guest)
{
    static struct envmake_guest_view v;
    for (unsigned pos = 0; envmake_guest_next(h->core, &pos, &v);)
        if (vi_id_equal(&v.uuid, guest))
            return v.why;
    return NULL;
}

static void handed_over(struct host *a, struct host *b, const struct hv_description *made)
{
    struct envmake_disks own = {.sectors = {0}};
    struct vi_id id;
    domain_of(a, &made->uuid)->used = false;
    b->domain[40] = (struct domain){true, true, made->uuid, 77};
    if (w.spec == &with_disks) {
        envmake_disk_id(&made->uuid, 1, &id);
        disk_of(a, &id)->old = true;
        b->disk[40] = (struct own_disk){true, false, id};
        own.sectors[1] = with_disks.sectors[1];
    }
    envmake_given(a->core, &made->uuid);
    envmake_arrived(b->core, w.now, &w.env, made, &own);
}

/* What keeps a guest follows its handover; one that is undecided, or was given away, isn't started by a reboot. */
static void test_moved(void **state)
{
    static const struct envmake_disks no_disks;
    struct hv_description made;
    struct host *a = &w.host[1], *b = &w.host[2];
    struct vi_id guest;
    (void)state;
    world_new();
    begin(4, false);
    assert_true(run_until_over(120 * VI_SEC));
    guest = a_guest_of(a, &made);
    w.fault = F_REBOOT;
    a->moving = guest;
    strike(a);
    run_for(60 * VI_SEC);
    assert_null(domain_of(a, &guest));
    assert_non_null(strstr(why_of(a, &guest), "isn't decided"));
    memset(&a->moving, 0, sizeof a->moving); /* decided: it stays here */
    run_for(30 * VI_SEC);
    assert_non_null(domain_of(a, &guest));
    assert_string_equal(why_of(a, &guest), "");
    handed_over(a, b, &made);
    strike(a);
    strike(b);
    run_for(60 * VI_SEC);
    assert_null(domain_of(a, &guest));
    assert_null(why_of(a, &guest));
    assert_non_null(domain_of(b, &guest));
    order(ENVMAKE_STOP, false);
    assert_int_equal(w.over_err, 0);
    assert_int_equal(domains(false), 0);
    order(ENVMAKE_START, false);
    assert_int_equal(domains(true), 4);
    b->not_ours = guest; /* it was given away, and the record was not forgotten when it should have been */
    strike(b);
    run_for(60 * VI_SEC);
    assert_null(domain_of(b, &guest));
    assert_null(why_of(b, &guest));
    a = &w.host[3]; /* away when the environment is removed: what it kept isn't started any more */
    guest = a_guest_of(a, &made);
    strike(a);
    w.env_known = false;
    run_for(60 * VI_SEC);
    assert_null(domain_of(a, &guest));
    assert_null(why_of(a, &guest));
    made.kept = false; /* one that nobody keeps isn't */
    envmake_arrived(a->core, w.now, &w.env, &made, &no_disks);
    assert_null(why_of(a, &guest));
    world_free();
}

/* Its host gives a guest away before the job has heard that it runs: it isn't made there once more. */
static void test_moved_before_the_job_knows(void **state)
{
    struct hv_description made;
    (void)state;
    world_new();
    begin(4, false);
    while (domains(true) == 0)
        turn(); /* committed, and the first are started */
    w.fault = F_KILL;
    strike(&w.host[0]);
    w.host[0].back = w.now + 60 * VI_SEC;
    run_for(30 * VI_SEC);
    assert_int_equal(w.over, 0);
    w.host[1].not_ours = a_guest_of(&w.host[1], &made);
    handed_over(&w.host[1], &w.host[2], &made);
    assert_true(run_until_over(120 * VI_SEC)); /* never_twice() looks on */
    assert_int_equal(w.over_err, 0);
    assert_int_equal(domains(true), 4);
    world_free();
}

/* A guest that moves on before its host is told is neither stopped nor removed: that isn't taken for done. */
static void test_moved_before_it_is_told(void **state)
{
    struct hv_description made;
    (void)state;
    world_new();
    begin(4, false);
    assert_true(run_until_over(120 * VI_SEC));
    w.host[2].moving = a_guest_of(&w.host[2], &made);
    order_begins(ENVMAKE_STOP, false);
    run_for(2 * VI_SEC);
    w.host[2].not_ours = w.host[2].moving;
    handed_over(&w.host[2], &w.host[3], &made);
    assert_true(run_until_over(300 * VI_SEC));
    assert_int_equal(w.over_err, VI_EAGAIN);
    order(ENVMAKE_REMOVE, true);
    assert_int_equal(w.over_err, 0);
    assert_int_equal(domains(false), 0);
    world_free();
}

/* Writable disks are made with their guests, go with them, and are never made anew under a guest that is kept. */
static void test_disks(void **state)
{
    struct envmake_job_view v;
    struct vi_id job = an_id(1000);
    bool copying = false;
    (void)state;
    world_new();
    w.spec = &with_disks;
    begin(GUESTS, true);
    while (w.over == 0) {
        turn();
        assert_true(envmake_job(w.host[0].core, &job, &v));
        for (unsigned i = 0; i < v.n; i++)
            copying |= !strcmp(v.item[i].state, "copying disks") && !strcmp(v.item[i].why, "41 %");
    }
    assert_int_equal(w.over_err, 0);
    assert_true(copying);
    assert_int_equal(disks(false), GUESTS + 1);
    w.fault = F_REBOOT;
    strike(&w.host[3]);
    run_for(30 * VI_SEC);
    assert_int_equal(domains(true), GUESTS + 1);
    order(ENVMAKE_STOP, false);
    assert_int_equal(disks(false), GUESTS + 1);
    for (unsigned i = 0; i < 64; i++) /* lost, by somebody's hand */
        w.host[3].disk[i].used = false;
    order(ENVMAKE_START, false);
    assert_int_equal(w.over_err, VI_ETIMEDOUT);
    assert_true(domains(true) < GUESTS + 1 && domains(true) == disks(false));
    order(ENVMAKE_REMOVE, true);
    assert_int_equal(w.over_err, 0);
    assert_int_equal(disks(false) + domains(false) + records(ENVMAKE_RECORD_GUEST), 0);
    nothing_promised();
    world_free();
}

/* Hosts without room for the disks are passed over; where none has it, nothing is left. */
static void test_room_for_disks(void **state)
{
    (void)state;
    world_new();
    w.spec = &with_disks;
    w.host[1].room = 0;
    begin(GUESTS, false);
    assert_true(run_until_over(120 * VI_SEC));
    assert_int_equal(w.over_err, VI_EREFUSED); /* making a disk fails: then all of it does */
    assert_non_null(strstr(w.over_text, "as the test says"));
    run_for(10 * VI_SEC);
    assert_int_equal(disks(false) + domains(false) + records(ENVMAKE_RECORD_GUEST), 0);
    nothing_promised();
    world_free();
}

/* Nobody has so much: how much is wanted, and how much there is. */
static void test_no_memory(void **state)
{
    static const struct envmake_spec large = {.vcpus = 1, .kb = 4096 * 1024, .max_kb = 4096 * 1024, .weight = 256, .kernel = {1}};
    (void)state;
    world_new();
    w.spec = &large;
    begin(1, false);
    assert_true(run_until_over(120 * VI_SEC));
    assert_int_equal(w.over_err, VI_EREFUSED);
    assert_non_null(strstr(w.over_text, "it needs 4096 MiB, the most that one has left is 1024 MiB"));
    nothing_promised();
    world_free();
}

/* Those promised count once: of two that are checked together, for one. */
static void test_promised_disks(void **state)
{
    struct vi_id job = an_id(1000), other = an_id(500);
    struct hv_description d;
    uint64_t sum = 0;
    (void)state;
    world_new();
    w.spec = &with_disks;
    begin(8, false);
    for (unsigned i = 0; i < 4; i++)
        turn();
    for (unsigned n = 1; n <= 8; n++) {
        assert_int_equal(envmake_describe(&with_disks, &job, &w.env, "web", n, &d), 0);
        for (unsigned h = 0; h < HOSTS; h++)
            if (envmake_disks_promised(w.host[h].core, &d.uuid) < envmake_disks_promised(w.host[h].core, &other))
                sum += with_disks.sectors[1];
    }
    assert_int_equal(sum, 8 * with_disks.sectors[1]);
    assert_true(run_until_over(120 * VI_SEC));
    for (unsigned h = 0; h < HOSTS; h++)
        assert_int_equal(envmake_disks_promised(w.host[h].core, &other), 0);
    world_free();
}

/* Its old copies are told of where it was; what an operator attaches and takes away is remembered, and not removed. */
static void test_disks_move_and_change(void **state)
{
    struct hv_description made, now;
    struct host *a = &w.host[1], *b = &w.host[2];
    struct vi_id guest, own, data = an_id(700);
    uint64_t print;
    (void)state;
    world_new();
    w.spec = &with_disks;
    begin(4, false);
    assert_true(run_until_over(120 * VI_SEC));
    guest = a_guest_of(a, &made);
    assert_int_equal(made.n_disks, 2);
    assert_int_equal(envmake_attached(a->core, &guest, &data, "xvdd"), 0);
    assert_int_equal(envmake_attached(a->core, &guest, &data, "xvdd"), 0);
    assert_true(envmake_kept(a->core, &guest, &now) && now.n_disks == 3 && vi_id_equal(&now.disks[2].id, &data));
    print = envmake_print(&made, &(struct envmake_disks){.sectors = {0, 2048}});
    assert_true(envmake_print(&now, &(struct envmake_disks){.sectors = {0, 2048}}) == print);
    assert_true(envmake_print(&now, &(struct envmake_disks){.sectors = {0, 4096}}) != print);
    assert_int_equal(envmake_detached(a->core, &guest, &data), 0);
    assert_true(envmake_kept(a->core, &guest, &now) && now.n_disks == 2);
    assert_int_equal(envmake_attached(a->core, &data, &data, "xvdd"), VI_ENOTFOUND);
    handed_over(a, b, &made);
    a->not_ours = guest;
    run_for(10 * VI_SEC);
    assert_int_equal(a->left, 1);
    assert_int_equal(disks(true), 1);
    w.fault = F_REBOOT;
    strike(b);
    run_for(30 * VI_SEC);
    assert_int_equal(domains(true), 4);
    envmake_disk_id(&guest, 1, &own);
    assert_int_equal(envmake_detached(b->core, &guest, &own), 0);
    order(ENVMAKE_REMOVE, true);
    assert_int_equal(w.over_err, 0);
    assert_int_equal(disks(false), 1); /* the operator's now */
    assert_int_equal(disks(true), 1);
    world_free();
}

/* How many points, or messages, there are when nothing happens. */
static unsigned count(bool message)
{
    unsigned n;
    world_new();
    w.spec = &with_disks;
    w.at_message = message;
    begin(GUESTS, true);
    assert_true(run_until_over(120 * VI_SEC));
    n = message ? w.messages : w.points;
    world_free();
    return n;
}

static void one_fault(bool message, unsigned at, enum fault kind, int victim)
{
    unsigned all = 0;
    world_new();
    w.spec = at & 1 || !message ? &with_disks : &spec;
    w.at_message = message;
    w.target = at;
    w.fault = kind;
    w.victim = victim;
    begin(GUESTS, true);
    run_for(900 * VI_SEC);
    all = domains(true);
    if ((all != 0 && all != GUESTS + 1) || domains(false) != all || records(ENVMAKE_RECORD_JOB) ||
        records(ENVMAKE_RECORD_GUEST) != all || (w.spec == &with_disks && disks(false) != all))
        fail_msg("%s at %s %u (host %d): %u run, %u there, %u disks, %u guests and %u jobs written: %s", fault_names[kind],
                 message ? "message" : "point", at, victim, all, domains(false), disks(false), records(ENVMAKE_RECORD_GUEST),
                 records(ENVMAKE_RECORD_JOB), w.over_text);
    nothing_promised();
    world_free();
}

static void every_fault(bool message)
{
    unsigned n = count(message);
    assert_true(n > 10);
    for (unsigned at = 1; at <= n; at++)
        for (int kind = F_KILL; kind < F_KINDS; kind++)
            for (int victim = -1; victim < 2; victim++)
                one_fault(message, at, (enum fault)kind, victim);
    print_message("%u runs\n", n * (F_KINDS - 1) * 3);
}

static void test_a_fault_at_every_point(void **state)
{
    every_fault(*state != NULL);
}

static void test_a_fault_at_every_message(void **state)
{
    every_fault(*state == NULL);
}

/* While it is made, a REMOVE takes it back; nobody's guest stays. */
static void test_removed_while_made(void **state)
{
    (void)state;
    for (unsigned steps = 1; steps < 120; steps += 3) {
        struct vi_id job = an_id(3000);
        char why[ENVMAKE_WHY] = "";
        world_new();
        w.spec = &with_disks;
        begin(GUESTS, true);
        for (unsigned i = 0; i < steps; i++)
            turn();
        assert_int_equal(envmake_order(w.host[0].core, w.now, &job, &w.env, "web", ENVMAKE_REMOVE, true, 0, NULL, why,
                                       sizeof why), 0);
        run_for(20 * VI_SEC);
        assert_int_equal(envmake_order(w.host[0].core, w.now, &job, &w.env, "web", ENVMAKE_REMOVE, true, 0, NULL, why,
                                       sizeof why), 0);
        run_for(300 * VI_SEC);
        assert_int_equal(domains(false) + disks(false), 0);
        assert_int_equal(records(ENVMAKE_RECORD_GUEST) + records(ENVMAKE_RECORD_JOB), 0);
        nothing_promised();
        world_free();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_life),
        cmocka_unit_test(test_hosts_without_the_image),
        cmocka_unit_test(test_boot),
        cmocka_unit_test(test_moved),
        cmocka_unit_test(test_moved_before_the_job_knows),
        cmocka_unit_test(test_moved_before_it_is_told),
        cmocka_unit_test(test_disks),
        cmocka_unit_test(test_room_for_disks),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_promised_disks),
        cmocka_unit_test(test_disks_move_and_change),
        cmocka_unit_test(test_removed_while_made),
        cmocka_unit_test(test_a_fault_at_every_point),
        cmocka_unit_test(test_a_fault_at_every_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
