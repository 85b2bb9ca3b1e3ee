/* The daemon and its members: what changes is an event and kept with accuser, reason and path
 * (`violin members --why`); how this host itself stands is said, too. */
#include "peer/daemon_internal.h"

#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/log.h"
#include "peer/member_filter.h"
#include "peer/rpc_write.h"

#define DOUBTED_MOST   256
#define STANDING_EVERY (500 * VI_MSEC)

int daemon_members_open(struct daemon *d, char *why, size_t cap)
{
    d->doubts = doubts_new(DOUBTED_MOST);
    if (d->doubts)
        return 0;
    snprintf(why, cap, "out of memory");
    return VI_ENOMEM;
}

const char *daemon_member_name(struct daemon *d, const struct vi_id *peer)
{
    static char name[2 * CERT_NAME_MAX + 2];
    const struct doubted *gone;
    const char *foreign;
    struct gossip_member m;
    if (gossip_member_find(d->gossip, peer, &m) && m.name[0])
        snprintf(name, sizeof name, "%s", m.name);
    else if (d->doubts && (gone = doubts_find(d->doubts, peer)) && gone->name[0])
        snprintf(name, sizeof name, "%s", gone->name);
    else if (d->fed && (foreign = daemon_federation_name(d, peer)))
        snprintf(name, sizeof name, "%s", foreign);
    else {
        vi_id_format(peer, name);
        name[MEMBER_ID_DIGITS] = 0;
    }
    return name;
}

/* ---- changes ---- */

static const char *name_or_null(struct daemon *d, const struct vi_id *peer)
{
    return vi_id_is_zero(peer) ? NULL : daemon_member_name(d, peer);
}

/* Through whom it came, when that isn't whom it is about, or who says so. */
static const char *via_or_null(struct daemon *d, const struct vi_id *via, const struct vi_id *whose)
{
    return vi_id_equal(via, whose) ? NULL : name_or_null(d, via);
}

static void confirmers_word(struct daemon *d, struct event *ev, const struct doubt *b)
{
    char text[EVENT_WORDS] = "";
    size_t at = 0;
    for (unsigned i = 0; i < b->n_confirmers && at < sizeof text; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%s", i ? " " : "",
                               daemon_member_name(d, &b->confirmers[i]));
    if (text[0])
        event_word(ev, "confirmed_by", text);
}

/* Accuser, reason and path of a change that is an event. b may be NULL: its history couldn't be kept. */
static void explain_event(struct daemon *d, struct event *ev, const struct gossip_effect *fx, const struct doubt *b,
                          vi_time now)
{
    bool accused = fx->change == GOSSIP_SUSPECTED || fx->change == GOSSIP_DOWN;
    if (fx->why.reason != GOSSIP_WHY_NONE)
        event_word(ev, "reason", gossip_reason_text(fx->why.reason));
    if (accused) {
        event_word(ev, "accuser", name_or_null(d, &fx->why.accuser));
        event_word(ev, "via", via_or_null(d, &fx->why.via, &fx->why.accuser));
    } else
        event_word(ev, "via", via_or_null(d, &fx->why.via, &fx->id));
    if (fx->change == GOSSIP_SUSPECTED && fx->why.reason == GOSSIP_WHY_PROBE) {
        event_number(ev, "asked", fx->why.asked);
        event_number(ev, "nacks", fx->why.nacks);
    }
    if (!b || fx->change == GOSSIP_SUSPECTED)
        return;
    if (fx->change == GOSSIP_REFUTED)
        event_word(ev, "accuser", name_or_null(d, &b->why.accuser));
    if (b->why.reason != GOSSIP_WHY_SELF) {
        confirmers_word(d, ev, b);
        event_number(ev, "suspected_s", (double)((b->died && fx->change != GOSSIP_DOWN ? b->died : now) - b->began) / 1e6);
    }
    if (fx->change == GOSSIP_UP && (b->died || b->left))
        event_number(ev, "away_s", (double)(now - (b->died ? b->died : b->left)) / 1e6);
}

static const char *change_sentence(const struct gossip_effect *fx)
{
    switch (fx->change) {
    case GOSSIP_UP: return fx->was ? "is back" : "is a member";
    case GOSSIP_SUSPECTED: return "is suspected to be dead";
    case GOSSIP_REFUTED: return "lives after all";
    case GOSSIP_DOWN: return "is dead";
    case GOSSIP_GOODBYE: return "has left";
    default: return NULL;
    }
}

void daemon_members_changed(struct daemon *d, const struct gossip_effect *fx)
{
    char name[2 * CERT_NAME_MAX + 2], id[VI_ID_TEXT];
    const char *says = change_sentence(fx);
    struct gossip_gauges g;
    const struct doubt *b;
    struct event *ev;
    vi_time now = daemon_now();
    snprintf(name, sizeof name, "%s", daemon_member_name(d, &fx->id));
    gossip_gauges(d->gossip, &g);
    b = doubts_note(d->doubts, fx, name, now, vi_clock_wall(), g.health);
    vi_log(VI_LOG_DEBUG, "gossip", "%s: %s", vi_id_format(&fx->id, id), gossip_change_text(fx->change));
    if (!says)
        return;
    ev = daemon_event(d, "member", name, "%s %s", name, says);
    explain_event(d, ev, fx, b, now);
    daemon_event_done(d, ev);
}

/* ---- this host itself ---- */

void daemon_members_tick(struct daemon *d, vi_time now)
{
    struct gossip_gauges g;
    if (now < d->next_standing)
        return;
    d->next_standing = now + STANDING_EVERY;
    gossip_gauges(d->gossip, &g);
    if (!g.aside)
        d->aside_since = 0;
    else if (!d->aside_since)
        d->aside_since = now;
    daemon_warn(d, WARN_ASIDE, g.aside ? "this host's own probes fail: it judges nobody and may be removed by others until "
                                         "they are answered" : NULL);
}

void daemon_write_standing(struct daemon *d, struct vi_writer *w)
{
    const struct gossip_counters *n = gossip_counters(d->gossip);
    struct gossip_gauges g;
    gossip_gauges(d->gossip, &g);
    vi_write_str(w, "standing");
    vi_write_map(w, 8U + (g.aside && d->aside_since));
    put_uint(w, "local_health", g.health);
    put_bool(w, "guarded", g.guarded);
    put_bool(w, "aside", g.aside);
    if (g.aside && d->aside_since)
        put_number(w, "aside_s", (double)(daemon_now() - d->aside_since) / 1e6);
    put_uint(w, "incarnation", g.incarnation);
    put_number(w, "probe_timeout_ms", (double)g.probe_timeout / 1e3);
    put_uint(w, "probes", n->probes);
    put_uint(w, "probes_failed", n->probes_failed);
    put_uint(w, "accused", n->self_accused);
}

/* ---- which members were asked for ---- */

static bool read_filter(struct rpc_call *call, const struct vi_reader *params, struct member_filter *f)
{
    if (!member_filter_read(params, f))
        return true;
    rpc_error(call, VI_EINVAL, "`state` is alive, suspect, dead or left; `names` a list of at most %d names or ids",
              MEMBER_FILTER_NAMES);
    return false;
}

static bool all_found(struct rpc_call *call, const struct member_filter *f)
{
    const char *missed = member_filter_missed(f);
    if (missed)
        rpc_error(call, VI_ENOTFOUND, "no member is or was called `%s`; violin members shows them", missed);
    return !missed;
}

/* ---- members ---- */

void daemon_write_members_count(struct daemon *d, struct vi_writer *w)
{
    struct gossip_member m;
    unsigned alive = 0, suspect = 0, dead = 0;
    size_t pos = 0;
    while (gossip_member_next(d->gossip, &pos, &m)) {
        alive += m.state == GOSSIP_ALIVE;
        suspect += m.state == GOSSIP_SUSPECT;
        dead += m.state == GOSSIP_DEAD;
    }
    vi_write_str(w, "members");
    vi_write_map(w, 3);
    put_uint(w, "alive", alive);
    put_uint(w, "suspect", suspect);
    put_uint(w, "dead", dead);
}

static void write_member(struct daemon *d, struct vi_writer *w, const struct gossip_member *m)
{
    struct mesh_addr a;
    char text[MESH_ADDR_TEXT], id[VI_ID_TEXT];
    bool why = m->why.reason != GOSSIP_WHY_NONE, accused = why && !vi_id_is_zero(&m->why.accuser);
    unsigned summary = daemon_policy_summary_fields(d, &m->id), keys = daemon_keys_member_fields(d, m);
    daemon_gossip_addr(&a, &m->addr);
    vi_write_map(w, 5U + daemon_represents(m) + (a.family != 0) + why + accused + summary + keys);
    put_text(w, "id", vi_id_format(&m->id, id));
    put_text(w, "name", m->name);
    put_text(w, "state", gossip_state_text(m->state));
    put_uint(w, "incarnation", m->incarnation);
    put_bool(w, "self", m->self);
    if (daemon_represents(m))
        put_bool(w, "represents", true);
    if (a.family)
        put_text(w, "address", mesh_addr_format(&a, text));
    if (why)
        put_text(w, "reason", gossip_reason_text(m->why.reason));
    if (accused)
        put_text(w, "accuser", daemon_member_name(d, &m->why.accuser));
    if (keys)
        daemon_keys_write_member(d, w, m);
    if (summary)
        daemon_policy_write_summary(d, w, &m->id);
}

static bool is_wanted(struct member_filter *f, const struct gossip_member *m)
{
    return member_filter_names(f, &m->id, m->name) && (!f->state || m->state == f->state);
}

void daemon_do_members(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    struct vi_writer *w;
    struct gossip_member m;
    struct member_filter f;
    uint32_t n = 0;
    size_t pos = 0;
    if (!read_filter(call, params, &f))
        return;
    while (gossip_member_next(d->gossip, &pos, &m))
        n += is_wanted(&f, &m);
    if (!all_found(call, &f) || !(w = rpc_begin(call, RPC_RESULT_MAX)))
        return;
    vi_write_array(w, n);
    pos = 0;
    while (gossip_member_next(d->gossip, &pos, &m))
        if (is_wanted(&f, &m))
            write_member(d, w, &m);
    rpc_end(call);
}

/* ---- who said so ---- */

static const char *end_text(enum doubt_end e)
{
    static const char *const text[] = {"lasts", "refuted", "back", "forgotten"};
    return text[e];
}

/* How the accusation came: we found it out, the accuser told us, or another one did. */
static const char *path_text(const struct doubt *b)
{
    if (b->why.reason == GOSSIP_WHY_PROBE)
        return "own probe";
    return vi_id_is_zero(&b->why.via) ? NULL : vi_id_equal(&b->why.via, &b->why.accuser) ? "direct" : "relayed";
}

static void put_after(struct vi_writer *w, const char *key, vi_time from, vi_time to)
{
    if (to)
        put_number(w, key, (double)(to - from) / 1e6);
}

static void put_maybe(struct vi_writer *w, const char *key, const char *text)
{
    if (text)
        put_text(w, key, text);
}

static void write_doubt(struct daemon *d, struct vi_writer *w, const struct vi_id *whom, const struct doubt *b)
{
    bool probe = b->why.reason == GOSSIP_WHY_PROBE, doubted = b->why.reason != GOSSIP_WHY_SELF;
    bool accused = !vi_id_is_zero(&b->why.accuser), over = b->end != DOUBT_LASTS;
    const struct vi_id *who = doubted ? &b->why.accuser : whom;
    bool via = !vi_id_is_zero(&b->why.via) && !vi_id_equal(&b->why.via, who);
    bool end_via = over && !vi_id_is_zero(&b->end_via) && !vi_id_equal(&b->end_via, whom);
    const char *path = doubted ? path_text(b) : NULL;
    vi_write_map(w, 3U + accused + (path != NULL) + via + 3U * probe + doubted + (b->died != 0) + (b->left != 0) +
                        2U * over + end_via);
    put_number(w, "at", (double)b->wall / 1e6);
    put_text(w, "reason", gossip_reason_text(b->why.reason));
    put_bool(w, "lasts", !over);
    if (accused)
        put_text(w, "accuser", daemon_member_name(d, &b->why.accuser));
    put_maybe(w, "path", path);
    if (via)
        put_text(w, "via", daemon_member_name(d, &b->why.via));
    if (probe) { /* others' probes: only they know */
        put_uint(w, "asked", b->why.asked);
        put_uint(w, "nacks", b->why.nacks);
        put_uint(w, "local_health", b->health);
    }
    if (doubted) {
        vi_write_str(w, "confirmed_by");
        vi_write_array(w, b->n_confirmers);
        for (unsigned i = 0; i < b->n_confirmers; i++)
            vi_write_str(w, daemon_member_name(d, &b->confirmers[i]));
    }
    put_after(w, "dead_after_s", b->began, b->died);
    put_after(w, "left_after_s", b->began, b->left);
    if (over) {
        put_text(w, "end", end_text(b->end));
        put_after(w, "ended_after_s", b->began, b->ended);
    }
    if (end_via)
        put_text(w, "end_via", daemon_member_name(d, &b->end_via));
}

/* m NULL: no longer a member; h NULL: never doubted here. */
static void write_doubted(struct daemon *d, struct vi_writer *w, const struct gossip_member *m, const struct doubted *h)
{
    const struct vi_id *whom = m ? &m->id : &h->id;
    char id[VI_ID_TEXT];
    unsigned n = h ? h->n : 0;
    vi_write_map(w, 4U + 2U * (m != NULL) + (h != NULL));
    put_text(w, "id", vi_id_format(whom, id));
    put_text(w, "name", daemon_member_name(d, whom));
    put_text(w, "state", m ? gossip_state_text(m->state) : "forgotten");
    if (m) {
        put_bool(w, "self", m->self);
        put_number(w, "since_s", (double)(daemon_now() - m->since) / 1e6);
    }
    if (h)
        put_uint(w, "doubted", h->total);
    vi_write_str(w, "doubts");
    vi_write_array(w, n);
    for (unsigned i = 0; i < n; i++)
        write_doubt(d, w, whom, doubted_at(h, i));
}

/* Those that were asked for; without names those with a history, or not alive. w NULL: only counts. */
static uint32_t walk(struct daemon *d, struct member_filter *f, struct vi_writer *w)
{
    const struct doubted *h;
    struct gossip_member m;
    size_t pos = 0;
    uint32_t n = 0;
    while (gossip_member_next(d->gossip, &pos, &m)) {
        h = doubts_find(d->doubts, &m.id);
        if (!is_wanted(f, &m) || (!f->n && !h && m.state == GOSSIP_ALIVE))
            continue;
        n++;
        if (w)
            write_doubted(d, w, &m, h);
    }
    for (pos = 0; (h = doubts_next(d->doubts, &pos));) {
        if (f->state || gossip_member_find(d->gossip, &h->id, &m) || !member_filter_names(f, &h->id, h->name))
            continue;
        n++;
        if (w)
            write_doubted(d, w, NULL, h);
    }
    return n;
}

void daemon_do_members_why(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    struct vi_writer *w;
    struct member_filter f;
    uint32_t n;
    if (!read_filter(call, params, &f))
        return;
    n = walk(d, &f, NULL);
    if (!all_found(call, &f) || !(w = rpc_begin(call, RPC_RESULT_MAX)))
        return;
    vi_write_map(w, 2);
    vi_write_str(w, "members");
    vi_write_array(w, n);
    (void)walk(d, &f, w);
    daemon_write_standing(d, w);
    rpc_end(call);
}
