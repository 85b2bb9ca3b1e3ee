/* Hosts in detail: what this one tells of itself, and what the members of the domain tell when they are asked for a plan or an
 * explanation. A host is asked page after page, several hosts at a time; one that is silent is left out, and that is said. */
#include "peer/daemon_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"

#define AT_ONCE 16 /* hosts asked at a time: other questions need places, too */

/* ---- this host ---- */

static void own_guest(struct daemon *d, struct hostview_guest *out, const struct hv_guest *g, const struct env *e)
{
    struct policy_needs needs = {.kb = g->target_kb > g->current_kb ? g->target_kb : g->current_kb};
    struct policy_view v;
    memset(out, 0, sizeof *out);
    out->uuid = g->uuid;
    out->env = e->def.id;
    snprintf(out->name, sizeof out->name, "%s", g->name);
    out->size_kb = needs.kb;
    (void)policy_needs(d->policy, &g->uuid, &needs);
    out->kb = needs.kb > out->size_kb ? needs.kb : out->size_kb;
    out->max_kb = g->max_kb;
    out->pct = needs.pct;
    out->running = g->state == HV_RUNNING && !g->incoming;
    out->moving = handover_has_guest(d->handovers, &g->uuid) || daemon_envmove_holds(d, &g->uuid);
    out->movable = g->movable && !daemon_pinned(d, g->name);
    if (!out->movable)
        snprintf(out->why_not, sizeof out->why_not, "%s", !g->movable ? g->why_not : "pinned by its host's configuration");
    if (policy_view(d->policy, daemon_now(), &g->uuid, &v)) {
        out->short_of_memory = v.short_of_memory;
        out->short_of_cpu = v.short_of_cpu;
    }
}

void daemon_view_own(struct daemon *d, struct hostview *h, struct hostview_guest guests[HOSTVIEW_GUESTS])
{
    const struct policy_load *l = policy_own_load(d->policy);
    uint64_t promised_kb, leased_kb;
    double promised_pct, leased_pct;
    memset(h, 0, sizeof *h);
    h->arrivals = handover_promised(d->handovers, &promised_kb, &promised_pct);
    (void)daemon_envmove_leased(d, &leased_kb, &leased_pct);
    h->observes = strcmp(d->cfg.mode, "auto") != 0;
    h->paused = daemon_paused(d);
    h->no_outside = !d->cfg.outside_bridge[0];
    h->draining = d->drain_until != 0;
    h->drained = daemon_drained(d);
    h->capacity_pct = l->capacity_pct;
    h->demand_pct = l->demand_pct + promised_pct + leased_pct;
    h->total_kb = l->total_kb;
    h->free_kb = l->free_kb;
    h->arrivals_most = (unsigned)d->cfg.arrivals_max;
    h->range_low = d->cfg.range_low;
    h->range_high = d->cfg.range_high;
    for (unsigned i = 0; i < d->n_guests && h->guests < HOSTVIEW_GUESTS; i++) {
        const struct env *e = daemon_guest_env(d, &d->guests[i]);
        if (e && !d->guests[i].incoming && d->guests[i].state != HV_SHUTDOWN)
            own_guest(d, &guests[h->guests++], &d->guests[i], e);
    }
}

int daemon_view_answer(struct daemon *d, const uint8_t *body, size_t len, uint8_t *out)
{
    static struct hostview_guest guests[HOSTVIEW_GUESTS];
    struct hostview h;
    unsigned first;
    if (hostview_question_decode(&first, body, len))
        return VI_EPROTO;
    if (!d->hv_there || !d->recovered)
        return VI_EAGAIN; /* it knows nothing yet */
    daemon_view_own(d, &h, guests);
    return hostview_encode(&h, guests, first, out, CALL_BODY_MAX);
}

/* ---- the others ---- */

static void free_views(struct daemon_views *v)
{
    for (unsigned i = 0; i < v->n; i++)
        free(v->view[i].guest);
    free(v->arg);
    free(v);
}

struct asking {
    struct daemon_views *v;
    unsigned at;
};

static void next(struct daemon_views *v);
static bool ask(struct daemon_views *v, unsigned at, unsigned first);

static void on_page(void *arg, int err, const uint8_t *body, size_t len)
{
    struct asking *a = arg;
    struct daemon_views *v = a->v;
    struct daemon_view *x = &v->view[a->at];
    struct hostview_guest page[HOSTVIEW_PAGE];
    struct hostview h;
    unsigned first, n, at = a->at;
    free(a);
    if (!err)
        err = hostview_decode(&h, &first, &n, page, body, len);
    if (!err && (first != x->n || (n == 0 && h.guests > first)))
        err = VI_EPROTO;
    if (!err) {
        x->host = h;
        memcpy(&x->guest[first], page, n * sizeof page[0]);
        x->n = first + n;
        x->known = x->n >= h.guests;
        if (!x->known && ask(v, at, x->n))
            return;
    }
    v->left--;
    next(v);
}

static bool ask(struct daemon_views *v, unsigned at, unsigned first)
{
    struct asking *a = malloc(sizeof *a);
    uint8_t b[16];
    int n = hostview_question_encode(first, b, sizeof b);
    if (!a || n < 0) {
        free(a);
        return false;
    }
    *a = (struct asking){.v = v, .at = at};
    if (!calls_ask(v->d->calls, daemon_now(), &v->view[at].id, CALL_VIEW, b, (size_t)n, on_page, a))
        return true;
    free(a);
    return false;
}

/* The next host that wasn't asked, in the place of one that has answered. */
static void next(struct daemon_views *v)
{
    for (unsigned i = 0; i < v->n; i++) {
        if (v->view[i].asked)
            continue;
        v->view[i].asked = true;
        v->view[i].guest = calloc(HOSTVIEW_GUESTS, sizeof *v->view[i].guest);
        if (v->view[i].guest && ask(v, i, 0))
            return;
        v->left--;
    }
}

/* ---- whom to ask: whom the question is about, then those with the most room ---- */

struct candidate {
    struct vi_id id;
    char name[CERT_NAME_MAX + 1];
    bool wanted;
    uint64_t room;
};

static int by_need(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->wanted != y->wanted)
        return x->wanted ? -1 : 1;
    return x->room < y->room ? 1 : x->room > y->room ? -1 : vi_id_compare(&x->id, &y->id);
}

static void add(struct daemon_views *v, const struct vi_id *id, const char *name)
{
    struct daemon_view *x;
    if (v->n == VIEWS_MOST) {
        v->unasked++;
        return;
    }
    x = &v->view[v->n++];
    x->id = *id;
    snprintf(x->name, sizeof x->name, "%s", name);
}

static int by_id(const void *a, const void *b)
{
    return vi_id_compare(&((const struct candidate *)a)->id, &((const struct candidate *)b)->id);
}

static void best_first(struct daemon *d, struct candidate *all, unsigned n)
{
    struct gossip_summary s;
    struct policy_load l;
    size_t pos = 0;
    qsort(all, n, sizeof *all, by_id);
    while (gossip_summary_next(d->gossip, daemon_now(), &pos, &s)) {
        struct candidate key = {.id = s.id}, *c = bsearch(&key, all, n, sizeof *all, by_id);
        if (c && !policy_summary_decode(&l, s.bytes, s.len))
            c->room = l.free_kb;
    }
    qsort(all, n, sizeof *all, by_need);
}

static void members(struct daemon *d, struct daemon_views *v, daemon_views_wanted *wanted)
{
    static struct candidate all[POLICY_PEERS];
    struct gossip_member m;
    unsigned n = 0;
    size_t pos = 0;
    add(v, &d->me.id, d->me.cert.host);
    while (n < POLICY_PEERS && gossip_member_next(d->gossip, &pos, &m)) {
        if (m.state != GOSSIP_ALIVE || vi_id_equal(&m.id, &d->me.id))
            continue;
        all[n].id = m.id;
        snprintf(all[n].name, sizeof all[n].name, "%s", m.name);
        all[n].room = 0;
        all[n++].wanted = wanted && wanted(v->arg, d, &m.id, m.name);
    }
    if (n >= VIEWS_MOST) /* else all are asked, and the order is that of the members */
        best_first(d, all, n);
    for (unsigned i = 0; i < n; i++)
        add(v, &all[i].id, all[i].name);
}

static int ask_them(struct daemon *d, const struct vi_id *only, unsigned n_only, daemon_views_wanted *wanted, void (*done)(struct daemon_views *v), void *arg)
{
    struct daemon_views **place = NULL, *v;
    for (unsigned i = 0; i < sizeof d->views / sizeof *d->views && !place; i++)
        if (!d->views[i])
            place = &d->views[i];
    if (!place)
        return VI_EFULL;
    v = calloc(1, sizeof *v);
    if (!v)
        return VI_ENOMEM;
    v->d = d;
    v->done = done;
    v->arg = arg;
    for (unsigned i = 0; i < n_only; i++)
        add(v, &only[i], daemon_member_name(d, &only[i]));
    if (!only)
        members(d, v, wanted);
    v->left = v->n;
    if (v->n && vi_id_equal(&v->view[0].id, &d->me.id)) {
        struct daemon_view *own = &v->view[0];
        own->asked = true;
        own->guest = calloc(HOSTVIEW_GUESTS, sizeof *own->guest);
        own->known = own->guest && d->hv_there && d->recovered;
        if (own->known) {
            daemon_view_own(d, &own->host, own->guest);
            own->n = own->host.guests;
        }
        v->left--;
    }
    for (unsigned i = 0; i < AT_ONCE; i++)
        next(v);
    *place = v;
    return 0;
}

int daemon_views_ask(struct daemon *d, daemon_views_wanted *wanted, void (*done)(struct daemon_views *v), void *arg)
{
    return ask_them(d, NULL, 0, wanted, done, arg);
}

int daemon_views_ask_hosts(struct daemon *d, const struct vi_id *hosts, unsigned n, void (*done)(struct daemon_views *v), void *arg)
{
    return ask_them(d, hosts, n, NULL, done, arg);
}

int daemon_views_ask_one(struct daemon *d, const struct vi_id *host, void (*done)(struct daemon_views *v), void *arg)
{
    return ask_them(d, host, 1, NULL, done, arg);
}

/* Those that have all their answers are done with here, on the loop's next turn: never from inside a call. */
void daemon_views_tick(struct daemon *d)
{
    for (unsigned i = 0; i < sizeof d->views / sizeof *d->views; i++) {
        struct daemon_views *v = d->views[i];
        if (!v || v->left)
            continue;
        d->views[i] = NULL;
        v->done(v);
        free_views(v);
    }
}

/* After calls_free(): nobody answers any more. */
void daemon_views_close(struct daemon *d)
{
    for (unsigned i = 0; i < sizeof d->views / sizeof *d->views; i++)
        if (d->views[i]) {
            free_views(d->views[i]);
            d->views[i] = NULL;
        }
}
