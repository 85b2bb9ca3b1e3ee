/* A simulated peer's handovers: what the core asks for is done by the model hypervisor. As peer/daemon_handover.c does. */
#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"
#include "tests/sim/violin_internal.h"

#define JOURNAL_MIN (2 * VI_MSEC)
#define JOURNAL_MAX (12 * VI_MSEC)
#define QUICK       (5 * VI_MSEC) /* a question to the hypervisor, a guest that is unpaused */

static bool key_of(void *arg, const struct vi_id *peer, uint8_t pk[32])
{
    struct vn_host *h = arg;
    unsigned n = vn_host_of(h->v, peer);

    if (n != PW_NOWHERE)
        memcpy(pk, h->v->disk[n].pk, 32);
    return n != PW_NOWHERE;
}

bool vn_handover_open(struct vn_host *h)
{
    struct vn_disk *d = &h->v->disk[h->n];
    struct handover_config c = {.self = d->id, .journal = d->journal, .boot = d->boot, .key_of = key_of, .arg = h};
    struct handover_event end = {.kind = HANDOVER_EV_RECORDS_END};

    memcpy(c.sign_key, d->sk, sizeof c.sign_key);
    h->handovers = handovers_new(&c, &d->rng, vn_now(h));
    if (!h->handovers)
        return false;
    (void)handovers_step(h->handovers, vn_now(h), &end);
    return true;
}

int vn_handover_start(struct vn_host *h, const struct vi_id *guest, const struct vi_id *peer)
{
    static struct handover_guest g;
    struct handover_event ev = {.kind = HANDOVER_EV_START, .peer = *peer, .guest = &g, .epoch = 1};
    unsigned k = vn_guest_of(h->v, guest);
    const struct vn_copy *c = vn_copy_of(h, k);
    struct policy_needs needs = {0};

    if (!c || c->incoming)
        return VI_ENOTFOUND;
    needs.kb = h->v->pw->guest[k].kb;
    (void)policy_needs(h->policy, guest, &needs);
    memset(&g, 0, sizeof g);
    g.uuid = *guest;
    g.env = h->v->env_id[h->v->pw->guest[k].env];
    g.domid = c->domid;
    g.kb = needs.kb;
    g.pct = needs.pct;
    vi_rng_id(&h->v->disk[h->n].rng, &ev.id);
    return handovers_step(h->handovers, vn_now(h), &ev);
}

/* ---- may it come? ---- */

static void admitted(struct vn_host *h, const struct vi_id *id)
{
    struct handover_event ev = {.kind = HANDOVER_EV_ADMITTED, .id = *id};
    struct handover_view hv;
    struct policy_needs needs;
    char why[HANDOVER_WHY] = "";
    uint64_t kb;
    double pct;
    unsigned from, n;
    bool leased;

    if (!handover_find(h->handovers, id, &hv))
        return;
    needs = (struct policy_needs){.kb = hv.guest->kb, .pct = hv.guest->pct};
    from = vn_host_of(h->v, &hv.peer);
    n = handover_promised(h->handovers, &kb, &pct);
    policy_promised(h->policy, vn_now(h), &hv.peer, &kb, &pct);
    if (from == PW_NOWHERE || survey_admit(h->moves, vn_now(h), &hv.guest->uuid, &hv.peer,
                                           h->v->pw->host[from].domain != h->domain, &needs, &kb, &pct, &leased))
        ev.err = VI_EREFUSED;
    else if (vn_rules_refuse(h, hv.guest, why))
        ev.err = VI_EREFUSED;
    else if (policy_can_take(h->policy, &needs, kb, pct, leased ? 0 : n, why, sizeof why))
        ev.err = VI_EFULL;
    ev.why = why[0] ? why : NULL;
    (void)handovers_step(h->handovers, vn_now(h), &ev);
}

/* ---- effects ---- */

static void over(struct vn_host *h, const struct handover_effect *fx)
{
    struct policy_event ev = {.kind = POLICY_EV_MOVED, .guest = fx->guest->uuid, .peer = fx->peer, .err = fx->err,
                              .why = fx->why};
    struct envmove_event mv = {.kind = ENVMOVE_EV_MOVED, .guest = fx->guest->uuid, .peer = fx->peer, .err = fx->err,
                               .why = fx->why};

    if (fx->role != HANDOVER_SOURCE) {
        mv.kind = ENVMOVE_EV_CAME;
        if (!fx->err)
            (void)envmoves_step(h->moves, vn_now(h), &mv);
        return;
    }
    h->v->count.failed += fx->err != 0;
    policy_step(h->policy, vn_now(h), &ev);
    (void)envmoves_step(h->moves, vn_now(h), &mv);
}

static void hypervisor(struct vn_host *h, const struct handover_effect *fx)
{
    struct vn_later l = {.kind = VN_HV, .id = fx->id, .op = fx->op, .domid = fx->domid,
                         .guest = vn_guest_of(h->v, &fx->guest->uuid)};

    if (fx->op == HANDOVER_OP_SUSPEND)
        vn_hv_suspend(h, fx);
    else if (fx->op == HANDOVER_OP_RESTORE)
        vn_hv_restore(h, fx);
    else
        vn_after(h, QUICK, &l);
}

static void perform(struct vn_host *h, const struct handover_effect *fx)
{
    struct policy_event came = {.kind = POLICY_EV_ARRIVED, .peer = fx->peer};
    struct vn_later l = {.id = fx->id};

    switch (fx->kind) {
    case HANDOVER_FX_SEND:
        vn_send(h, VIOLIN_HANDOVER, &fx->peer, fx->data, fx->len);
        break;
    case HANDOVER_FX_PERSIST:
        l.kind = VN_PERSISTED;
        vn_after(h, JOURNAL_MIN + (vi_time)vi_rng_below(&h->v->disk[h->n].rng, JOURNAL_MAX - JOURNAL_MIN), &l);
        break;
    case HANDOVER_FX_ADMIT:
        l.kind = VN_ADMIT;
        vn_after(h, QUICK, &l);
        break;
    case HANDOVER_FX_HV:
        hypervisor(h, fx);
        break;
    case HANDOVER_FX_END_STREAM:
        vn_hv_end_stream(h->v, &fx->id);
        break;
    case HANDOVER_FX_ACTIVATE:
        came.guest = fx->guest->uuid;
        came.needs = (struct policy_needs){fx->guest->kb, fx->guest->pct};
        policy_step(h->policy, vn_now(h), &came);
        vn_rules_came(h, fx->guest, &fx->peer);
        break;
    case HANDOVER_FX_OVER:
        over(h, fx);
        break;
    case HANDOVER_FX_PREPARE: case HANDOVER_FX_UNPREPARE: case HANDOVER_FX_GIVEN: case HANDOVER_FX_STATE:
    case HANDOVER_FX_FORGET:
        break; /* switches, owners, people, a journal that nobody reads back */
    }
}

bool vn_handover_pump(struct vn_host *h)
{
    static struct handover_effect copy;
    static struct handover_guest guest;
    const struct handover_effect *fx;
    bool any = false;

    while ((fx = handovers_effect(h->handovers))) {
        copy = *fx;
        if (fx->guest) {
            guest = *fx->guest;
            copy.guest = &guest;
        }
        perform(h, &copy);
        any = true;
    }
    return any;
}

void vn_handover_later(struct vn_host *h, const struct vn_later *l)
{
    struct handover_event ev = {.id = l->id, .err = l->err};

    switch (l->kind) {
    case VN_ADMIT:
        admitted(h, &l->id);
        return;
    case VN_PERSISTED:
        ev.kind = HANDOVER_EV_PERSISTED;
        break;
    case VN_ARRIVING:
        ev.kind = HANDOVER_EV_ARRIVING;
        break;
    case VN_HV:
        ev.kind = HANDOVER_EV_HV;
        vn_hv_done(h, l, &ev);
        break;
    case VN_MOVE_PERSISTED:
        return;
    }
    (void)handovers_step(h->handovers, vn_now(h), &ev);
}
