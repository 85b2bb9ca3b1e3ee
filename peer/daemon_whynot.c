/* "Why not there?": explain GUEST --on HOST. This host says what keeps the guest here; that host is asked with the guest's
 * description, and says every reason of its own: its policy's at once, its hypervisor's (CPU features, images, a MAC or UUID that is
 * taken) when that has been asked, so its answer comes with the question's repetition. */
#include "peer/daemon_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/rpc_write.h"
#include "peer/whynot.h"

#define MAKING_MOST 8               /* answers at a time; more are asked to come again */
#define GOOD_FOR    (5 * VI_SEC)    /* an answer of the hypervisor, for a question that comes again */
#define GIVEN_UP    VI_MIN          /* it said nothing for so long */

/* ---- asked by another member ---- */

struct whynot {
    bool asked, answered;
    struct vi_id from, guest;
    vi_time at;
    char why[WHYNOT_REASON]; /* "": it can be received */
};

struct receiving {
    struct daemon *d;
    struct vi_id from, guest;
    struct hv_description description;
};

static struct whynot *place_for(struct daemon *d, const struct vi_id *from, const struct vi_id *guest)
{
    struct whynot *found = NULL;
    vi_time now = daemon_now();
    if (!d->whynot)
        d->whynot = calloc(MAKING_MOST, sizeof *d->whynot);
    for (unsigned i = 0; d->whynot && i < MAKING_MOST; i++) {
        struct whynot *n = &d->whynot[i];
        if (n->asked && now - n->at > (n->answered ? GOOD_FOR : GIVEN_UP))
            n->asked = false;
        if (n->asked && vi_id_equal(&n->from, from) && vi_id_equal(&n->guest, guest))
            return n;
        if (!n->asked && !found)
            found = n;
    }
    return found;
}

static void on_can_receive(void *arg, int err, const char *detail)
{
    struct receiving *r = arg;
    struct whynot *n = place_for(r->d, &r->from, &r->guest);
    if (n && n->asked) {
        n->answered = true;
        n->at = daemon_now();
        snprintf(n->why, sizeof n->why, "%s", !err ? "" : detail && detail[0] ? detail : vi_strerror(err));
    }
    free(r);
}

/* false: that can't be done now. */
static bool ask_hypervisor(struct daemon *d, struct whynot *n, const struct vi_id *from, const struct hv_description *desc)
{
    struct receiving *r = calloc(1, sizeof *r);
    if (!r)
        return false;
    *r = (struct receiving){.d = d, .from = *from, .guest = desc->uuid, .description = *desc};
    *n = (struct whynot){.asked = true, .from = *from, .guest = desc->uuid, .at = daemon_now()};
    if (!d->hv->ops->can_receive(d->hv, &r->description, on_can_receive, r))
        return true;
    n->asked = false;
    free(r);
    return false;
}

static void add(struct whynot_answer *a, const char *why)
{
    if (a->n < WHYNOT_REASONS)
        snprintf(a->reason[a->n++], WHYNOT_REASON, "%.*s", WHYNOT_REASON - 1, why);
}

static void policy_says(struct daemon *d, const struct vi_id *from, const struct whynot_question *q, struct whynot_answer *a,
                        char beyond[POLICY_REASON])
{
    struct policy_needs needs = {.kb = q->kb, .pct = q->pct};
    char reasons[WHYNOT_REASONS][POLICY_REASON];
    uint64_t kb, leased_kb;
    double pct, leased_pct;
    unsigned arrivals = handover_promised(d->handovers, &kb, &pct), n;
    int len;
    (void)daemon_envmove_leased(d, &leased_kb, &leased_pct);
    kb += leased_kb;
    pct += leased_pct;
    policy_promised_others(d->policy, daemon_now(), from, &kb, &pct);
    n = policy_take_reasons(d->policy, &needs, kb, pct, arrivals, reasons, WHYNOT_REASONS);
    for (unsigned i = 0; i < n; i++)
        add(a, reasons[i]);
    if (n == 0)
        (void)policy_take_beyond(d->policy, &needs, pct, beyond);
    len = policy_summary_encode(policy_own_load(d->policy), a->summary, sizeof a->summary);
    a->summary_len = len > 0 ? (size_t)len : 0;
}

int daemon_whynot_answer(struct daemon *d, const struct vi_id *from, const uint8_t *body, size_t len, uint8_t *out)
{
    struct whynot_question q;
    struct whynot_answer a = {.observes = strcmp(d->cfg.mode, "auto") != 0, .paused = daemon_paused(d)};
    struct hv_description desc;
    struct whynot *n;
    char rule[POLICY_RULE_TEXT], beyond[POLICY_REASON] = "";
    const struct env *e = NULL;
    if (whynot_question_decode(&q, body, len) || hv_description_decode(&desc, q.description, q.len))
        return VI_EPROTO;
    if (desc.n_vifs)
        e = daemon_env_by_id(d, &desc.vifs[0].environment);
    if (!e || !e->open)
        add(&a, "its environment isn't known there");
    if (!d->hv_there || !d->recovered) {
        add(&a, "there is no hypervisor there just now");
        return whynot_answer_encode(&a, out, CALL_BODY_MAX);
    }
    n = place_for(d, from, &desc.uuid);
    if (!n || (!n->asked && !ask_hypervisor(d, n, from, &desc)))
        return VI_EFULL;
    if (!n->answered)
        return CALL_LATER;
    policy_says(d, from, &q, &a, beyond);
    if (e && daemon_rules_against(d, e, &desc.uuid, &d->me.id, rule)) /* it knows its own guests best */
        add(&a, rule);
    if (n->why[0] && e && e->open) /* else that is what it would say */
        add(&a, n->why);
    a.ordered = a.n == 0 && beyond[0];
    if (beyond[0])
        add(&a, beyond);
    return whynot_answer_encode(&a, out, CALL_BODY_MAX);
}

/* ---- asked by people, here ---- */

struct asking {
    struct daemon *d;
    struct rpc_call *call;
    struct vi_id guest, peer;
    struct policy_needs needs;
};

static void write_reasons(struct vi_writer *w, const char *key, char (*list)[POLICY_REASON], unsigned n)
{
    vi_write_str(w, key);
    vi_write_array(w, n);
    for (unsigned i = 0; i < n; i++)
        vi_write_str(w, list[i]);
}

static void answer(struct asking *q, const struct whynot_answer *a, const char *silent)
{
    struct daemon *d = q->d;
    const struct hv_guest *g = daemon_guest_by_id(d, &q->guest);
    char here[WHYNOT_REASONS][POLICY_REASON];
    unsigned n = policy_send_reasons(d->policy, daemon_now(), &q->guest, &q->peer, here, WHYNOT_REASONS), of, rank;
    struct policy_load load;
    double u;
    bool ranked = a && a->n == 0 && !policy_summary_decode(&load, a->summary, a->summary_len);
    struct vi_writer *w = rpc_begin(q->call, 8192);
    if (!w)
        return;
    vi_write_map(w, 6U + (a ? 4U : 0) + (ranked ? 3U : 0) + (silent != NULL));
    put_text(w, "guest", g ? g->name : "?");
    put_text(w, "from", d->me.cert.host);
    put_text(w, "on", daemon_member_name(d, &q->peer));
    put_number(w, "needs_mib", (double)q->needs.kb / 1024);
    put_number(w, "needs_pct", q->needs.pct);
    write_reasons(w, "here", here, n);
    if (silent)
        put_text(w, "silent", silent);
    if (a) {
        vi_write_str(w, "there");
        vi_write_array(w, a->n);
        for (unsigned i = 0; i < a->n; i++)
            vi_write_str(w, a->reason[i]);
        put_bool(w, "ordered", a->ordered || a->n == 0);
        put_bool(w, "observes", a->observes);
        put_bool(w, "paused", a->paused);
    }
    if (ranked) {
        rank = policy_rank(d->policy, daemon_now(), &q->peer, &load, &q->needs, &u, &of);
        put_number(w, "utilisation_there", u);
        put_uint(w, "rank", rank);
        put_uint(w, "of", of);
    }
    rpc_end(q->call);
}

static void on_answered(void *arg, int err, const uint8_t *body, size_t len)
{
    struct asking *q = arg;
    struct whynot_answer a;
    if (!err)
        err = whynot_answer_decode(&a, body, len);
    answer(q, err ? NULL : &a, err ? vi_strerror(err) : NULL);
    free(q);
}

static void on_described(void *arg, int err, const char *detail, const struct hv_description *desc)
{
    struct asking *q = arg;
    struct whynot_question x = {.kb = q->needs.kb, .pct = q->needs.pct};
    uint8_t b[CALL_BODY_MAX];
    const char *why = detail;
    int n = err;
    if (!err)
        n = daemon_offer_describe(q->d, &q->guest, desc, x.description, sizeof x.description, &why);
    if (n == VI_EUNSUPPORTED) { /* one that stays here for good: what keeps it is the answer */
        char silent[300];
        snprintf(silent, sizeof silent, "it can't be asked, for %s", why);
        answer(q, NULL, silent);
        free(q);
        return;
    }
    if (n >= 0) {
        x.len = (size_t)n;
        if (x.kb < desc->target_kb)
            x.kb = desc->target_kb;
        n = whynot_question_encode(&x, b, sizeof b);
        why = "its description is larger than a question can hold";
    }
    if (n >= 0) {
        n = calls_ask(q->d->calls, daemon_now(), &q->peer, CALL_WHYNOT, b, (size_t)n, on_answered, q);
        why = "too many questions are under way; try again in a moment";
    }
    if (n < 0) {
        rpc_error(q->call, n, "%s", why);
        free(q);
    }
}

void daemon_whynot(struct daemon *d, struct rpc_call *call, const struct hv_guest *g, const char *host)
{
    struct asking *q;
    struct vi_id peer;
    if (daemon_member_by_name(d, call, strncmp(host, "host:", 5) ? host : host + 5, &peer))
        return;
    if (vi_id_equal(&peer, &d->me.id)) {
        rpc_error(call, VI_EINVAL, "%s is on %s already", g->name, d->me.cert.host);
        return;
    }
    q = calloc(1, sizeof *q);
    if (q) {
        *q = (struct asking){.d = d, .call = call, .guest = g->uuid, .peer = peer};
        q->needs.kb = g->target_kb > g->current_kb ? g->target_kb : g->current_kb;
        (void)policy_needs(d->policy, &g->uuid, &q->needs);
        if (!d->hv->ops->describe(d->hv, g->domid, &g->uuid, on_described, q))
            return;
        free(q);
    }
    rpc_error(call, VI_EIO, "the hypervisor can't be asked");
}
