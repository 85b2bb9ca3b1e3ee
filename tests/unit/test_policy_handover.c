/* The handover core step by step, its messages and records. Every fault at every point is for
 * tests/sim/handover_main.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "policy/handover_internal.h"

static struct handovers *core[2];
static struct vi_id id[3];
static uint8_t pk[2][32], sk[2][64];
static struct vi_rng rng;
static vi_time now;
static struct handover_effect last[HANDOVER_FX_FORGET + 1]; /* of each kind, the latest taken */
static unsigned taken[HANDOVER_FX_FORGET + 1];
static struct handover_guest guest;

static bool key_of(void *arg, const struct vi_id *peer, uint8_t out[32])
{
    (void)arg;
    for (unsigned i = 0; i < 2; i++)
        if (vi_id_equal(peer, &id[i])) {
            memcpy(out, pk[i], 32);
            return true;
        }
    return false;
}

static int set_up(void **state)
{
    (void)state;
    vi_rng_seed(&rng, 4);
    now = VI_SEC;
    for (unsigned i = 0; i < 3; i++)
        memset(id[i].b, (int)i + 1, VI_ID_SIZE);
    for (unsigned i = 0; i < 2; i++) {
        struct handover_config c = {.self = id[i], .key_of = key_of};
        crypto_sign_keypair(pk[i], sk[i]);
        memcpy(c.sign_key, sk[i], 64);
        memset(c.boot.b, 0x40 + (int)i, VI_ID_SIZE);
        core[i] = handovers_new(&c, &rng, now);
        assert_non_null(core[i]);
    }
    memset(&guest, 0, sizeof guest);
    memset(guest.uuid.b, 9, VI_ID_SIZE);
    memset(guest.env.b, 8, VI_ID_SIZE);
    strcpy(guest.name, "web-1");
    guest.domid = 7;
    guest.kb = 262144;
    guest.pct = 12.5;
    guest.n_macs = 1;
    memset(guest.macs[0], 2, 6);
    guest.description_len = 5;
    memcpy(guest.description, "words", 5);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    handovers_free(core[0]);
    handovers_free(core[1]);
    return 0;
}

static struct vi_id handover_id(uint8_t n)
{
    struct vi_id h;
    memset(h.b, 0x70 + n, VI_ID_SIZE);
    return h;
}

static void drain(unsigned n)
{
    const struct handover_effect *fx;
    memset(taken, 0, sizeof taken);
    while ((fx = handovers_effect(core[n]))) {
        last[fx->kind] = *fx;
        taken[fx->kind]++;
    }
}

static int begin(uint8_t n)
{
    struct handover_event ev = {.kind = HANDOVER_EV_START, .id = handover_id(n), .peer = id[1], .guest = &guest, .epoch = 3};
    int err = handovers_step(core[0], now, &ev);
    drain(0);
    return err;
}

static void message(unsigned to, const struct vi_id *from, const struct handover_effect *fx)
{
    struct handover_event ev = {.kind = HANDOVER_EV_MESSAGE, .peer = *from, .data = fx->data, .len = fx->len};
    handovers_step(core[to], now, &ev);
    drain(to);
}

/* What the last SEND was passes over. */
static void pass(unsigned from, unsigned to)
{
    struct handover_effect fx = last[HANDOVER_FX_SEND];
    assert_true(taken[HANDOVER_FX_SEND] > 0);
    assert_true(vi_id_equal(&fx.peer, &id[to]));
    message(to, &id[from], &fx);
}

static void tell(unsigned n, enum handover_event_kind kind, int err)
{
    struct handover_event ev = {.kind = kind, .id = handover_id(1), .err = err, .why = err ? "no" : NULL};
    handovers_step(core[n], now, &ev);
    drain(n);
}

static void domain(unsigned n, uint32_t domid, bool running, bool paused, bool suspended)
{
    struct handover_event ev = {.kind = HANDOVER_EV_HV, .id = handover_id(1), .domid = domid,
                                .domain = {.known = true, .there = true, .domid = domid, .running = running,
                                           .paused = paused, .suspended = suspended}};
    handovers_step(core[n], now, &ev);
    drain(n);
}

static enum handover_state state_of(unsigned n, uint8_t h)
{
    struct vi_id i = handover_id(h);
    struct handover_view v;
    assert_true(handover_find(core[n], &i, &v));
    return v.state;
}

static void wait_for(unsigned n, vi_time t)
{
    struct handover_event tick = {.kind = HANDOVER_EV_TICK};
    now += t;
    handovers_step(core[n], now, &tick);
    drain(n);
}

/* ---- */

static void all_goes_well(void **state)
{
    uint64_t kb;
    double pct;
    struct vi_id h = handover_id(1);
    (void)state;
    assert_int_equal(begin(1), 0);
    assert_true(handover_has_guest(core[0], &guest.uuid));
    pass(0, 1); /* OFFER */
    assert_int_equal(taken[HANDOVER_FX_ADMIT], 1);
    tell(1, HANDOVER_EV_ADMITTED, 0);
    assert_int_equal(handover_promised(core[1], &kb, &pct), 1);
    assert_int_equal(kb, 262144);
    assert_true(pct > 12 && pct < 13);
    pass(1, 0); /* RESERVE */
    pass(0, 1); /* ACCEPT */
    assert_int_equal(taken[HANDOVER_FX_PERSIST], 1);
    assert_int_equal(taken[HANDOVER_FX_PREPARE], 1);
    assert_false(handover_expects_stream(core[1], &h, &id[0])); /* not before it is on the disk */
    tell(1, HANDOVER_EV_PERSISTED, 0);
    assert_true(handover_expects_stream(core[1], &h, &id[0]));
    assert_false(handover_expects_stream(core[1], &h, &id[2]));
    pass(1, 0); /* READY */
    assert_int_equal(taken[HANDOVER_FX_HV], 0); /* the guest is not touched before that is on the disk */
    tell(0, HANDOVER_EV_PERSISTED, 0);
    assert_int_equal(last[HANDOVER_FX_HV].op, HANDOVER_OP_SUSPEND);
    tell(1, HANDOVER_EV_ARRIVING, 0);
    assert_int_equal(last[HANDOVER_FX_HV].op, HANDOVER_OP_RESTORE);
    tell(0, HANDOVER_EV_HV, 0);
    tell(0, HANDOVER_EV_PERSISTED, 0);
    assert_int_equal(state_of(0, 1), HS_SUSPENDED);
    domain(1, 21, false, true, false);
    tell(1, HANDOVER_EV_PERSISTED, 0);
    pass(1, 0); /* RESTORED */
    assert_int_equal(last[HANDOVER_FX_HV].op, HANDOVER_OP_QUERY);
    domain(0, 7, false, false, true);
    assert_int_equal(taken[HANDOVER_FX_SEND], 0); /* GO is not said before it is on the disk */
    tell(0, HANDOVER_EV_PERSISTED, 0);
    assert_int_equal(taken[HANDOVER_FX_GIVEN], 1);
    pass(0, 1); /* GO */
    assert_int_equal(last[HANDOVER_FX_HV].op, HANDOVER_OP_QUERY);
    domain(1, 21, false, true, false);
    assert_int_equal(taken[HANDOVER_FX_ACTIVATE], 0);
    tell(1, HANDOVER_EV_PERSISTED, 0);
    assert_int_equal(taken[HANDOVER_FX_ACTIVATE], 1);
    assert_int_equal(last[HANDOVER_FX_HV].op, HANDOVER_OP_UNPAUSE);
    tell(1, HANDOVER_EV_HV, 0);
    domain(1, 21, true, false, false);
    assert_int_equal(taken[HANDOVER_FX_SEND], 0); /* RUNNING neither */
    tell(1, HANDOVER_EV_PERSISTED, 0);
    pass(1, 0); /* RUNNING */
    assert_int_equal(last[HANDOVER_FX_HV].op, HANDOVER_OP_DESTROY);
    assert_int_equal(last[HANDOVER_FX_HV].domid, 7);
    tell(0, HANDOVER_EV_HV, 0);
    tell(0, HANDOVER_EV_PERSISTED, 0);
    assert_int_equal(taken[HANDOVER_FX_OVER], 1);
    assert_int_equal(last[HANDOVER_FX_OVER].err, 0);
    pass(0, 1); /* DONE */
    assert_int_equal(state_of(1, 1), HD_DONE);
    assert_false(handover_has_guest(core[0], &guest.uuid));
    assert_int_equal(handover_promised(core[1], &kb, &pct), 0);
}

/* The same with a disk: mirrored before the guest is touched; GO only when the destination has said on its disk that all
 * of it is there; the old copy retired at the end. */
static void a_disk_goes_with_it(void **state)
{
    struct handover_event ev = {.kind = HANDOVER_EV_ADMITTED, .id = handover_id(1)};
    struct vi_id h = handover_id(1), disk;
    struct handover_view v;
    (void)state;
    memset(disk.b, 0xd1, sizeof disk.b);
    guest.n_disks = 1;
    guest.disks[0] = (struct handover_disk){.id = disk, .sectors = 409600, .generation = 3};
    memset(guest.disks[0].since.b, 0x55, VI_ID_SIZE);
    assert_int_equal(begin(1), 0);
    assert_true(handover_has_disk(core[0], &disk));
    pass(0, 1); /* OFFER */
    ev.bases[0] = guest.disks[0].since;
    handovers_step(core[1], now, &ev);
    drain(1);
    assert_int_equal(handover_promised_sectors(core[1]), 409600); /* the old copy that is there must not make room for another */
    pass(1, 0); /* RESERVE */
    pass(0, 1); /* ACCEPT */
    tell(1, HANDOVER_EV_PERSISTED, 0);
    assert_int_equal(last[HANDOVER_FX_HV].op, HANDOVER_OP_MAKE);
    assert_true(last[HANDOVER_FX_HV].guest->disks[0].base);
    assert_int_equal(taken[HANDOVER_FX_SEND], 0);
    tell(1, HANDOVER_EV_HV, 0);
    assert_true(handover_expects_disk(core[1], &h, &id[0], 0));
    assert_false(handover_expects_disk(core[1], &h, &id[0], 1));
    assert_false(handover_expects_disk(core[1], &h, &id[2], 0));
    pass(1, 0); /* READY */
    assert_int_equal(state_of(0, 1), HS_MIRRORING);
    assert_int_equal(taken[HANDOVER_FX_HV], 0);
    tell(0, HANDOVER_EV_PERSISTED, 0);
    assert_int_equal(last[HANDOVER_FX_HV].op, HANDOVER_OP_MIRROR);
    ev = (struct handover_event){.kind = HANDOVER_EV_PROGRESS, .id = h, .done = 1024};
    handovers_step(core[0], now, &ev);
    assert_true(handover_find(core[0], &h, &v) && v.done == 1024);
    tell(0, HANDOVER_EV_HV, 0);
    tell(0, HANDOVER_EV_PERSISTED, 0);
    assert_int_equal(last[HANDOVER_FX_HV].op, HANDOVER_OP_SUSPEND);
    tell(1, HANDOVER_EV_ARRIVING, 0);
    tell(0, HANDOVER_EV_HV, 0);
    tell(0, HANDOVER_EV_PERSISTED, 0);
    assert_int_equal(last[HANDOVER_FX_HV].op, HANDOVER_OP_FINISH);
    domain(1, 21, false, true, false);
    tell(1, HANDOVER_EV_PERSISTED, 0);
    pass(1, 0); /* RESTORED: not enough */
    assert_int_equal(taken[HANDOVER_FX_HV], 0);
    tell(0, HANDOVER_EV_STREAM, VI_EIO); /* the memory's: the other has it all the same */
    assert_int_equal(state_of(0, 1), HS_SYNCING);
    tell(0, HANDOVER_EV_HV, 0);
    pass(0, 1); /* SYNCED */
    assert_int_equal(last[HANDOVER_FX_HV].op, HANDOVER_OP_COMPLETE);
    tell(1, HANDOVER_EV_HV, 0);
    assert_int_equal(taken[HANDOVER_FX_SEND], 0); /* COMPLETE is not said before it is on the disk */
    tell(1, HANDOVER_EV_PERSISTED, 0);
    pass(1, 0); /* COMPLETE */
    assert_int_equal(last[HANDOVER_FX_HV].op, HANDOVER_OP_QUERY);
    domain(0, 7, false, false, true);
    tell(0, HANDOVER_EV_PERSISTED, 0);
    pass(0, 1); /* GO */
    domain(1, 21, false, true, false);
    tell(1, HANDOVER_EV_PERSISTED, 0);
    assert_int_equal(last[HANDOVER_FX_HV].op, HANDOVER_OP_OWN); /* before it runs on it */
    tell(1, HANDOVER_EV_HV, 0);
    assert_int_equal(last[HANDOVER_FX_HV].op, HANDOVER_OP_UNPAUSE);
    tell(1, HANDOVER_EV_HV, 0);
    domain(1, 21, true, false, false);
    tell(1, HANDOVER_EV_PERSISTED, 0);
    pass(1, 0); /* RUNNING */
    tell(0, HANDOVER_EV_HV, 0);
    assert_int_equal(last[HANDOVER_FX_HV].op, HANDOVER_OP_RETIRE);
    assert_true(handover_has_disk(core[0], &disk)); /* nobody else may start from it */
    tell(0, HANDOVER_EV_HV, 0);
    tell(0, HANDOVER_EV_PERSISTED, 0);
    assert_int_equal(state_of(0, 1), HS_DONE);
    assert_false(handover_has_disk(core[0], &disk));
}

/* Until its disks are in sync: the lease is renewed, and it is given up when nothing comes through any more. */
static void a_mirror_without_progress(void **state)
{
    struct handover_event ev = {.kind = HANDOVER_EV_PROGRESS, .id = handover_id(1)};
    (void)state;
    guest.n_disks = 1;
    guest.disks[0] = (struct handover_disk){.id = id[2], .sectors = 409600, .generation = 1};
    begin(1);
    pass(0, 1);
    tell(1, HANDOVER_EV_ADMITTED, 0);
    assert_int_equal(handover_promised_sectors(core[1]), 409600);
    pass(1, 0);
    pass(0, 1);
    tell(1, HANDOVER_EV_PERSISTED, 0);
    tell(1, HANDOVER_EV_HV, 0);
    pass(1, 0);
    tell(0, HANDOVER_EV_PERSISTED, 0);
    for (unsigned i = 0; i < 60; i++) {
        ev.compared = i < 30 ? i + 1 : ev.compared; /* first with what is there, then it is copied */
        ev.done = i < 30 ? 5 : i;
        handovers_step(core[0], now, &ev);
        wait_for(0, 10 * VI_SEC);
        assert_int_equal(taken[HANDOVER_FX_SEND], 1); /* RENEW */
        assert_int_equal(state_of(0, 1), HS_MIRRORING);
    }
    for (unsigned i = 0; i < 6; i++) {
        ev.done = i % 2 ? 59 : 40; /* written to as fast as it is copied */
        handovers_step(core[0], now, &ev);
        wait_for(0, 10 * VI_SEC);
    }
    assert_int_equal(state_of(0, 1), HS_ABORTING);
    tell(0, HANDOVER_EV_HV, VI_EIO);
    tell(0, HANDOVER_EV_PERSISTED, 0);
    assert_int_equal(last[HANDOVER_FX_HV].op, HANDOVER_OP_UNMIRROR);
    tell(0, HANDOVER_EV_HV, 0);
    domain(0, 7, true, false, false);
    assert_int_equal(state_of(0, 1), HS_ABORTED);
}

static void disks_are_bounded(void **state)
{
    struct handover_effect offer;
    struct message m;
    struct handover h = {.role = HANDOVER_SOURCE}, r;
    uint8_t b[HANDOVER_RECORD_MAX];
    int n;
    (void)state;
    guest.n_disks = HANDOVER_DISKS;
    for (unsigned i = 0; i < HANDOVER_DISKS; i++) {
        guest.disks[i] = (struct handover_disk){.sectors = HANDOVER_SECTORS_MAX, .generation = 1 + i};
        memset(guest.disks[i].id.b, 0xd0 + (int)i, VI_ID_SIZE);
    }
    guest.disks[1].since = id[2];
    strcpy(guest.disks[2].name, "db-root");
    guest.n_macs = TRANSFER_MACS;
    guest.description_len = HANDOVER_DESCRIPTION;
    assert_int_equal(begin(1), VI_EINVAL); /* both don't fit into one message */
    guest.description_len = 600;
    guest.disks[1].sectors++;
    assert_int_equal(begin(1), VI_EINVAL);
    guest.disks[1].sectors = 0;
    assert_int_equal(begin(1), VI_EINVAL);
    guest.disks[1].sectors = 8;
    guest.disks[1].id = guest.disks[0].id;
    assert_int_equal(begin(1), VI_EINVAL);
    guest.disks[1].id.b[0]++;
    assert_int_equal(begin(1), 0);
    offer = last[HANDOVER_FX_SEND];
    assert_int_equal(ho_message_decode(&m, offer.data, offer.len), 0);
    assert_int_equal(m.guest.n_disks, HANDOVER_DISKS);
    assert_true(vi_id_equal(&m.guest.disks[1].since, &id[2]));
    assert_int_equal(m.guest.disks[3].sectors, HANDOVER_SECTORS_MAX);
    assert_string_equal(m.guest.disks[2].name, "db-root");
    assert_string_equal(m.guest.disks[0].name, "");
    for (size_t i = 0; i < offer.len; i++)
        assert_int_not_equal(ho_message_decode(&m, offer.data, i), 0);
    h.guest = guest;
    n = ho_record_encode(&h, HS_MIRRORING, b, sizeof b);
    assert_true(n > 0);
    memset(&r, 0, sizeof r);
    assert_int_equal(ho_record_decode(&r, b, (size_t)n), 0);
    assert_int_equal(r.recorded, HS_MIRRORING);
    assert_int_equal(r.guest.n_disks, HANDOVER_DISKS);
    assert_true(vi_id_equal(&r.guest.disks[1].id, &guest.disks[1].id));
    assert_string_equal(r.guest.disks[2].name, "db-root");
    for (int i = 0; i < n; i++)
        assert_int_not_equal(ho_record_decode(&r, b, (size_t)i), 0);
}

/* What is said of a guest without disks is byte by byte what the version before said. */
static void without_disks_as_before(void **state)
{
    struct handover_effect fx;
    (void)state;
    begin(1);
    fx = last[HANDOVER_FX_SEND];
    assert_int_equal(fx.data[0], 0x95); /* five fields: OFFER, version 1 */
    assert_int_equal(fx.data[1], 1);
    assert_int_equal(fx.data[2], 1);
    pass(0, 1);
    tell(1, HANDOVER_EV_ADMITTED, 0);
    fx = last[HANDOVER_FX_SEND];
    assert_int_equal(fx.data[0], 0x93); /* RESERVE */
    assert_int_equal(fx.data[1], 3);
    assert_int_equal(fx.data[2], 1);
    pass(1, 0);
    pass(0, 1);
    assert_int_equal(last[HANDOVER_FX_PERSIST].data[0], 0x9a); /* ten fields of a record */
    assert_int_equal(last[HANDOVER_FX_PERSIST].data[1], 1);
}

static void refused(void **state)
{
    (void)state;
    begin(1);
    pass(0, 1);
    tell(1, HANDOVER_EV_ADMITTED, VI_EFULL);
    pass(1, 0);
    assert_int_equal(state_of(0, 1), HS_REFUSED);
    assert_int_equal(taken[HANDOVER_FX_OVER], 1);
    assert_int_not_equal(last[HANDOVER_FX_OVER].err, 0);
}

static void nobody_answers(void **state)
{
    (void)state;
    begin(1);
    for (unsigned i = 0; i < 12; i++)
        wait_for(0, VI_SEC);
    assert_int_equal(state_of(0, 1), HS_ABORTED);
    assert_false(handover_has_guest(core[0], &guest.uuid));
}

static void lease_runs_out(void **state)
{
    uint64_t kb;
    double pct;
    (void)state;
    begin(1);
    pass(0, 1);
    tell(1, HANDOVER_EV_ADMITTED, 0);
    wait_for(1, 14 * VI_SEC);
    assert_int_equal(handover_promised(core[1], &kb, &pct), 1);
    wait_for(1, 2 * VI_SEC);
    assert_int_equal(handover_promised(core[1], &kb, &pct), 0);
}

static void one_guest_moves_once_at_a_time(void **state)
{
    (void)state;
    assert_int_equal(begin(1), 0);
    assert_int_equal(begin(2), VI_EEXIST);
}

static void others_have_no_word_in_it(void **state)
{
    struct handover_effect reserve;
    (void)state;
    begin(1);
    pass(0, 1);
    tell(1, HANDOVER_EV_ADMITTED, 0);
    reserve = last[HANDOVER_FX_SEND];
    message(0, &id[2], &reserve); /* a good message, from another member */
    assert_int_equal(state_of(0, 1), HS_OFFERED);
    message(0, &id[1], &reserve);
    assert_int_equal(state_of(0, 1), HS_ACCEPTED);
}

/* 64 at a time; the next is refused on both sides, and nothing that runs is thrown out for it. */
static void table_is_bounded(void **state)
{
    (void)state;
    for (unsigned i = 0; i < HANDOVERS_MAX + 1; i++) {
        struct handover_event ev = {.kind = HANDOVER_EV_START, .peer = id[1], .guest = &guest, .epoch = 1};
        struct handover_effect offer;
        int err;
        memset(ev.id.b, 0x11, VI_ID_SIZE);
        ev.id.b[0] = (uint8_t)i;
        guest.uuid.b[0] = (uint8_t)i;
        err = handovers_step(core[0], now, &ev);
        assert_int_equal(err, i < HANDOVERS_MAX ? 0 : VI_EFULL);
        drain(0);
        if (err)
            continue;
        offer = last[HANDOVER_FX_SEND];
        message(1, &id[0], &offer);
        assert_int_equal(taken[HANDOVER_FX_ADMIT], 1);
    }
    {
        struct handover_effect refuse, offer;
        struct handover_event ev = {.kind = HANDOVER_EV_START, .peer = id[1], .guest = &guest, .epoch = 1};
        struct handover_config c = {.self = id[0], .key_of = key_of};
        struct message m;
        handovers_free(core[0]);
        core[0] = handovers_new(&c, &rng, now);
        memset(ev.id.b, 0x22, VI_ID_SIZE);
        guest.uuid.b[0] = 200;
        assert_int_equal(handovers_step(core[0], now, &ev), 0);
        drain(0);
        offer = last[HANDOVER_FX_SEND];
        message(1, &id[0], &offer);
        assert_int_equal(taken[HANDOVER_FX_ADMIT], 0);
        refuse = last[HANDOVER_FX_SEND];
        assert_int_equal(ho_message_decode(&m, refuse.data, refuse.len), 0);
        assert_int_equal(m.kind, M_REFUSE);
    }
}

/* The other side never comes back: an operator ends it. */
static void an_aborted_one_can_be_ended(void **state)
{
    struct handover_event resolve = {.kind = HANDOVER_EV_RESOLVE, .id = handover_id(1)};
    struct handover_view v;
    (void)state;
    begin(1);
    pass(0, 1);
    tell(1, HANDOVER_EV_ADMITTED, 0);
    pass(1, 0);
    pass(0, 1);
    tell(1, HANDOVER_EV_PERSISTED, 0);
    pass(1, 0);
    assert_int_equal(handovers_step(core[0], now, &resolve), VI_ESTATE); /* it goes on by itself */
    tell(0, HANDOVER_EV_PERSISTED, 0);
    tell(0, HANDOVER_EV_HV, VI_EIO); /* the suspend failed */
    tell(0, HANDOVER_EV_PERSISTED, 0);
    domain(0, 7, true, false, false);
    assert_int_equal(state_of(0, 1), HS_ABORTED);
    for (unsigned i = 0; i < 100; i++)
        wait_for(0, 15 * VI_SEC);
    resolve.id = handover_id(1);
    assert_true(handover_find(core[0], &resolve.id, &v) && !v.over);
    assert_int_equal(handovers_step(core[0], now, &resolve), 0);
    assert_true(handover_find(core[0], &resolve.id, &v) && v.over);
    drain(0);
    assert_int_equal(taken[HANDOVER_FX_FORGET], 1);
}

/* Its peer restarted a second time while the suspend that the first one asked for was still under way: what the
 * record ABORTED left isn't over before the hypervisor says that the guest can't be suspended any more. */
static void a_suspend_outlives_two_restarts(void **state)
{
    static struct handover h;
    struct handover_event ev = {.kind = HANDOVER_EV_RECORD, .id = handover_id(1)},
                          end = {.kind = HANDOVER_EV_RECORDS_END};
    uint8_t b[HANDOVER_RECORD_MAX];
    int n;
    (void)state;
    memset(&h, 0, sizeof h);
    h.role = HANDOVER_SOURCE;
    h.peer = id[1];
    memset(h.boot.b, 0x40, VI_ID_SIZE);
    h.domid = guest.domid;
    h.guest = guest;
    n = ho_record_encode(&h, HS_ABORTED, b, sizeof b);
    assert_true(n > 0);
    ev.data = b;
    ev.len = (size_t)n;
    assert_int_equal(handovers_step(core[0], now, &ev), 0);
    handovers_step(core[0], now, &end);
    drain(0);
    assert_int_equal(last[HANDOVER_FX_HV].op, HANDOVER_OP_QUERY);
    domain(0, guest.domid, true, false, false); /* it runs; the suspend hasn't stopped it yet */
    assert_int_equal(last[HANDOVER_FX_HV].op, HANDOVER_OP_RESUME);
    tell(0, HANDOVER_EV_HV, VI_EAGAIN);
    assert_int_equal(state_of(0, 1), HS_RESUMING);
    wait_for(0, 2 * VI_SEC);
    assert_int_equal(last[HANDOVER_FX_HV].op, HANDOVER_OP_QUERY);
    domain(0, guest.domid, true, false, false);
    assert_int_equal(last[HANDOVER_FX_HV].op, HANDOVER_OP_RESUME);
    tell(0, HANDOVER_EV_HV, VI_ESTATE); /* it has ended: looked at once more, then it is over */
    assert_int_equal(taken[HANDOVER_FX_HV], 1);
    assert_int_equal(last[HANDOVER_FX_HV].op, HANDOVER_OP_QUERY);
    domain(0, guest.domid, true, false, false);
    assert_int_equal(state_of(0, 1), HS_ABORTED);
}

static void messages_are_bounded(void **state)
{
    struct handover_effect offer;
    struct message m;
    (void)state;
    guest.description_len = HANDOVER_DESCRIPTION;
    memset(guest.description, 'd', HANDOVER_DESCRIPTION);
    guest.n_macs = TRANSFER_MACS;
    begin(1);
    offer = last[HANDOVER_FX_SEND];
    assert_in_range(offer.len, HANDOVER_DESCRIPTION, HANDOVER_MESSAGE_MAX);
    assert_int_equal(ho_message_decode(&m, offer.data, offer.len), 0);
    assert_string_equal(m.guest.name, "web-1");
    assert_int_equal(m.guest.n_macs, TRANSFER_MACS);
    assert_int_equal(m.guest.description_len, HANDOVER_DESCRIPTION);
    assert_int_equal(m.epoch, 4); /* what it will have there */
    for (size_t n = 0; n < offer.len; n++)
        assert_int_not_equal(ho_message_decode(&m, offer.data, n), 0);
    offer.data[offer.len] = 0;
    assert_int_not_equal(ho_message_decode(&m, offer.data, offer.len + 1), 0);
}

static void records_there_and_back(void **state)
{
    struct handover h = {.role = HANDOVER_DESTINATION, .domid = 33, .epoch = 4, .transfer_len = 100}, r;
    uint8_t b[HANDOVER_RECORD_MAX + 1];
    int n;
    (void)state;
    h.peer = id[0];
    h.guest = guest;
    strcpy(h.why, "because");
    n = ho_record_encode(&h, HD_OWNED, b, HANDOVER_RECORD_MAX);
    assert_true(n > 0);
    memset(&r, 0, sizeof r);
    assert_int_equal(ho_record_decode(&r, b, (size_t)n), 0);
    assert_int_equal(r.recorded, HD_OWNED);
    assert_int_equal(r.role, HANDOVER_DESTINATION);
    assert_int_equal(r.domid, 33);
    assert_int_equal(r.epoch, 4);
    assert_int_equal(r.transfer_len, 100);
    assert_string_equal(r.why, "because");
    assert_string_equal(r.guest.name, "web-1");
    for (int i = 0; i < n; i++) {
        memset(&r, 0, sizeof r);
        assert_int_not_equal(ho_record_decode(&r, b, (size_t)i), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_goes_well, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_disk_goes_with_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_mirror_without_progress, set_up, tear_down),
        cmocka_unit_test_setup_teardown(disks_are_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_disks_as_before, set_up, tear_down),
        cmocka_unit_test_setup_teardown(refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nobody_answers, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lease_runs_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_guest_moves_once_at_a_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(others_have_no_word_in_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(table_is_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_aborted_one_can_be_ended, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_suspend_outlives_two_restarts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(messages_are_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(records_there_and_back, set_up, tear_down),
    };
    if (sodium_init() < 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
