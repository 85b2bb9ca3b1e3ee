/* Which way to a peer: direct, or through a relay.
 *
 *   probe, answered over the same way        the way is good: it carries both directions
 *   said something, heard nothing for 2 s    probe every 0.5 s
 *   four probes in a row without an answer   the way is lost: the next relay, or from a relay another
 *   relayed                                  direct again after 1, 2, 4 … 60 s, and at once when the
 *                                            peer states another address: the relay tells each end where
 *                                            it sees the other, both send five rounds of probes to all
 *                                            addresses known (a NAT lets in what answers its own), and
 *                                            what comes back is used from then on
 *
 * An answer that comes late, or a probe of the other's with the word that it hears us, shows that the way is
 * there: a busy host is no broken way. A way that works stays in use until another has proven to. A probe belongs to the session, so the
 * punch is authentic; a peer without a session gets one through a relay first. Both ends judge for
 * themselves, but a probe needs both directions, so they come to the same verdict. Classic names of what
 * is passed here: RFC 8445 (ICE), RFC 5128 §3.3 (UDP hole punching). */
#include "overlay/mesh_internal.h"

#include <string.h>

#define ROUNDS      5
#define ROUND_FIRST (100 * VI_MSEC) /* then doubled */
#define RECENT      (10 * VI_SEC)
#define TRUST       (3 * VI_SEC) /* a way that was good so lately isn't given up by hearsay */
#define NAT_LIFE    (150 * VI_SEC)
#define PER_PEER    (300 * VI_MSEC) /* periodic probes: each peer's part of the interval */

void mesh_path_reset(struct mesh_path *path)
{
    memset(path, 0, sizeof *path);
    path->probe_at = path->quiet_at = path->burst_at = path->retry_at = VI_NEVER;
}

bool mesh_behind_nat(const struct mesh *m)
{
    return m->nat_at && m->now - m->nat_at < NAT_LIFE;
}

static bool relayed(const struct mesh_peer *p)
{
    return p->addr.family == MESH_VIA;
}

/* ---- the way in use ------------------------------------------------------------------------------ */

static void bad(struct mesh_peer *p, const struct vi_id *relay, vi_time until)
{
    unsigned at = 0;

    for (unsigned i = 0; i < MESH_BAD; i++) {
        if (vi_id_equal(&p->path.bad[i].id, relay)) {
            at = i;
            break;
        }
        if (p->path.bad[i].until < p->path.bad[at].until)
            at = i;
    }
    p->path.bad[at].id = *relay;
    p->path.bad[at].until = until;
}

static void bad_via(struct mesh_peer *p, const struct mesh_addr *via, vi_time until)
{
    struct vi_id relay;

    memcpy(relay.b, via->ip, sizeof relay.b);
    bad(p, &relay, until);
}

static void set_relayed(struct mesh_path *path, vi_time now)
{
    path->was_relayed = true;
    path->why = MESH_WHY_NO_ANSWER;
    path->retry_gap = VI_SEC;
    path->retry_at = now + path->retry_gap;
    path->burst_began = now;
}

static void set_direct(struct mesh_path *path, const struct mesh_addr *to, vi_time now)
{
    path->direct = *to;
    path->proven_at = now;
    path->was_relayed = path->punched = false;
    path->why = MESH_WHY_NONE;
    path->retry_at = path->burst_at = VI_NEVER;
    path->burst = 0;
}

void mesh_path_set(struct mesh_peer *p, const struct mesh_addr *to, vi_time now)
{
    struct mesh_path *path = &p->path;
    bool was_via = relayed(p), same = mesh_addr_equal(&p->addr, to), punched = path->punched;

    p->addr = *to;
    if (relayed(p))
        p->addr.to = p->id;
    path->heard_here = now;
    path->dropped = path->failing = false;
    if (!relayed(p)) {
        set_direct(path, to, now);
        path->punched = same && punched;
    } else if (!was_via || !p->up) {
        set_relayed(path, now);
    }
    if (same && p->up)
        return;
    if (!p->up || was_via != relayed(p) || relayed(p))
        path->since = now;
    path->rtt = 0;
    path->probes = path->lost_in_row = 0;
    path->lost = 0;
    path->urgent = false;
    for (unsigned i = 0; i < MESH_PROBES; i++)
        path->probe[i].current = false;
    path->probe_at = now + ROUND_FIRST;
}

static void move(struct mesh *m, struct mesh_peer *p, const struct mesh_addr *to, vi_time now)
{
    mesh_path_set(p, to, now);
    if (p->cur)
        mesh_say_keys(m, p, p->cur);
}

void mesh_path_said(struct mesh_peer *p, vi_time now)
{
    if (p->path.quiet_at == VI_NEVER)
        p->path.quiet_at = now + MESH_QUIET;
}

void mesh_path_heard(struct mesh *m, struct mesh_peer *p, const struct mesh_addr *from, bool newest,
                     vi_time now)
{
    struct mesh_path *path = &p->path;

    if (!from->family || (from->family == MESH_VIA && !vi_id_equal(&from->to, &p->id)))
        return;
    if (mesh_direct(from))
        path->heard_direct = now;
    if (mesh_addr_equal(from, &p->addr)) {
        path->heard_here = now;
        path->failing = false;
        return;
    }
    if (!newest || !p->cur)
        return;
    if (mesh_direct(from)) {
        if (relayed(p))
            return; /* it comes here: that it goes there, too, a probe must show */
        m->n.roamed++;
    } else if (relayed(p) ? now - path->heard_here < TRUST &&
                                memcmp(from->ip, p->addr.ip, sizeof from->ip) > 0
                          : now - path->proven_at < TRUST) {
        return;
    }
    move(m, p, from, now); /* to a relay: it has found the direct way wanting */
}

void mesh_path_hint(struct mesh_peer *p, const struct mesh_addr *a, vi_time now)
{
    if (mesh_addr_equal(&p->hint, a))
        return;
    p->hint = *a;
    if (relayed(p) && p->cur) {
        p->path.retry_gap = VI_SEC;
        p->path.retry_at = now;
    }
}

static const struct mesh_addr *best_direct(const struct mesh_peer *p)
{
    if (mesh_direct(&p->addr))
        return &p->addr;
    return p->path.direct.family ? &p->path.direct : &p->hint;
}

/* The relay in use, or one that may be. false: none. */
static bool via_of(const struct mesh *m, const struct mesh_peer *p, vi_time now, struct mesh_addr *to)
{
    const struct mesh_peer *r = mesh_relay_pick(m, p, now);

    if (relayed(p) && p->cur)
        *to = p->addr;
    else if (r)
        mesh_via(to, &r->id, &p->id);
    return r || (relayed(p) && p->cur);
}

/* The first two attempts go directly, unless that has failed lately; then every other one goes through
 * a relay, each time another. */
void mesh_path_for_init(struct mesh *m, struct mesh_peer *p, unsigned n, vi_time now,
                        struct mesh_addr *to)
{
    struct mesh_addr via;

    *to = n % 2 && p->hint.family ? p->hint : *best_direct(p);
    if (n % 2 || (!n && !relayed(p) && !p->path.was_relayed) || !via_of(m, p, now, &via))
        return;
    *to = via;
    if (!p->cur)
        bad_via(p, &via, now + (MESH_RETRY_FIRST << (n < 4 ? n + 1 : 5)));
}

void mesh_path_refused(struct mesh *m, struct mesh_peer *p, const struct vi_id *relay, vi_time now)
{
    bad(p, relay, now + MESH_RELAY_BAD / 3);
    if (p->cur && relayed(p) && !memcmp(p->addr.ip, relay->b, VI_ID_SIZE))
        p->path.dropped = true;
    if (p->half.on && p->half.next > now + ROUND_FIRST)
        p->half.next = now + ROUND_FIRST;
    mesh_touch(m, p);
}

void mesh_path_down(struct mesh *m, struct mesh_peer *p, enum mesh_down why, vi_time now)
{
    struct mesh_path *path = &p->path;

    if (p->up || path->why != MESH_WHY_DOWN)
        path->since = now;
    path->why = MESH_WHY_DOWN;
    path->down = why;
    path->probe_at = path->quiet_at = path->burst_at = path->retry_at = VI_NEVER;
    path->burst = 0;
    path->failing = path->dropped = path->urgent = false;
    memset(path->probe, 0, sizeof path->probe);
    if (relayed(p))
        p->addr = *best_direct(p);
    for (size_t i = 0; p->cur && i < m->npeers; i++) { /* whom it was the relay to */
        struct mesh_peer *q = m->peers[i];

        if (relayed(q) && q->cur && !memcmp(q->addr.ip, p->id.b, VI_ID_SIZE)) {
            q->path.dropped = true;
            mesh_touch(m, q);
        }
    }
}

/* ---- probes -------------------------------------------------------------------------------------- */

static bool hears_directly(const struct mesh_peer *p, vi_time now)
{
    vi_time t = p->path.heard_direct;

    return t && (relayed(p) ? t >= p->path.burst_began - VI_SEC : now - t < RECENT);
}

static void say(struct mesh *m, struct mesh_peer *p, const struct mesh_path_msg *msg,
                const struct mesh_addr *to)
{
    uint8_t out[MESH_PATH_MAX];
    size_t len = mesh_path_write(msg, out);

    mesh_session_seal(m, p->cur, to, out, len);
}

static void conclude(struct mesh_path *path, bool lost)
{
    path->lost = path->lost << 1 | lost;
    path->probes += path->probes < 32;
    path->lost_in_row = lost ? path->lost_in_row + 1 : 0;
    path->urgent = lost;
}

static void works(struct mesh_path *path)
{
    path->lost_in_row = 0;
    path->urgent = path->failing = false;
}

static void probe(struct mesh *m, struct mesh_peer *p, const struct mesh_addr *to, bool current,
                  vi_time now)
{
    struct mesh_probe *s = &p->path.probe[p->path.next_probe++ % MESH_PROBES];
    struct mesh_path_msg msg = {.kind = MESH_PROBE, .flags = hears_directly(p, now) ? MESH_HEARD : 0};

    if (s->nonce && s->current)
        conclude(&p->path, true);
    do
        msg.nonce = vi_rng_u64(m->rng);
    while (!msg.nonce);
    *s = (struct mesh_probe){.nonce = msg.nonce, .at = now, .to = *to, .current = current};
    m->n.probes_sent++;
    say(m, p, &msg, to);
}

static void add_candidate(struct mesh_peer *p, const struct mesh_addr *a)
{
    struct mesh_path *path = &p->path;

    if (!mesh_direct(a) || mesh_addr_equal(a, &p->hint) || mesh_addr_equal(a, &path->direct))
        return;
    for (unsigned i = 0; i < MESH_CANDIDATES; i++)
        if (mesh_addr_equal(a, &path->cand[i]))
            return;
    path->cand[path->next_cand++ % MESH_CANDIDATES] = *a; /* the oldest goes */
}

static void on_probe(struct mesh *m, struct mesh_peer *p, const struct mesh_addr *from,
                     const struct mesh_path_msg *msg, vi_time now)
{
    struct mesh_path_msg ack = {.kind = MESH_ACK, .nonce = msg->nonce, .addr = *from,
                                .flags = hears_directly(p, now) ? MESH_HEARD : 0};
    bool lately = false;

    say(m, p, &ack, from); /* over the way it came */
    if (!relayed(p) && (msg->flags & MESH_HEARD) && mesh_addr_equal(from, &p->addr))
        works(&p->path); /* it comes here, and says that ours come there */
    if (!relayed(p) || !mesh_direct(from))
        return;
    add_candidate(p, from);
    for (unsigned i = 0; i < MESH_PROBES && !lately; i++)
        lately = p->path.probe[i].nonce && mesh_addr_equal(&p->path.probe[i].to, from) &&
                 now - p->path.probe[i].at < ROUND_FIRST / 2;
    if (!lately)
        probe(m, p, from, false, now); /* our NAT is open to it now, and its to us */
}

static void on_ack(struct mesh *m, struct mesh_peer *p, const struct mesh_addr *from,
                   const struct mesh_path_msg *msg, vi_time now)
{
    struct mesh_path *path = &p->path;
    struct mesh_probe *s = NULL;
    struct mesh_addr to;

    for (unsigned i = 0; i < MESH_PROBES && !s; i++)
        if (path->probe[i].nonce == msg->nonce)
            s = &path->probe[i];
    if (!s || mesh_direct(&s->to) != mesh_direct(from))
        return;
    m->n.probes_answered++;
    to = s->to;
    if (s->current) {
        conclude(path, false);
        path->rtt = path->rtt ? (7 * path->rtt + now - s->at) / 8 : now - s->at;
        path->rtt = path->rtt ? path->rtt : 1;
    }
    s->nonce = 0;
    if (mesh_addr_equal(&to, &p->addr))
        works(path); /* late, but there and back */
    if (!mesh_direct(&to))
        return;
    if (m->self.family && mesh_direct(&msg->addr) && !mesh_addr_equal(&m->self, &msg->addr))
        m->nat_at = now;
    path->proven_at = now;
    if (relayed(p)) {
        bool before = mesh_addr_equal(&to, &path->direct);
        bool punched = before ? path->punched : !mesh_addr_equal(&to, &p->hint);

        m->n.paths_direct++;
        move(m, p, &to, now);
        path->punched = punched;
    }
}

/* ---- direct again -------------------------------------------------------------------------------- */

static void meet(struct mesh *m, struct mesh_peer *p)
{
    struct mesh_path_msg msg = {.kind = MESH_MEET, .peer = p->id};
    struct mesh_peer *r;
    struct vi_id relay;

    memcpy(relay.b, p->addr.ip, sizeof relay.b);
    r = mesh_peer_get(m, &relay);
    if (r && r->cur)
        say(m, r, &msg, &r->addr);
}

static void burst_begin(struct mesh_peer *p, vi_time now)
{
    p->path.burst = 1;
    p->path.burst_began = p->path.burst_at = now;
}

static void burst_round(struct mesh *m, struct mesh_peer *p, vi_time now)
{
    struct mesh_path *path = &p->path;

    if (path->burst > ROUNDS) { /* tell it whether it was heard */
        path->burst = 0;
        path->burst_at = VI_NEVER;
        path->probe_at = now;
        return;
    }
    if (path->direct.family)
        probe(m, p, &path->direct, false, now);
    if (mesh_direct(&p->hint) && !mesh_addr_equal(&p->hint, &path->direct))
        probe(m, p, &p->hint, false, now);
    for (unsigned i = 0; i < MESH_CANDIDATES; i++)
        if (path->cand[i].family && !mesh_addr_equal(&path->cand[i], &path->direct))
            probe(m, p, &path->cand[i], false, now);
    path->burst_at = now + (ROUND_FIRST << (path->burst - 1));
    path->burst++;
}

static void retry(struct mesh *m, struct mesh_peer *p, vi_time now)
{
    struct mesh_path *path = &p->path;
    vi_time gap = path->retry_gap;

    path->retry_at = now + gap * 3 / 4 + (vi_time)vi_rng_below(m->rng, (uint32_t)(gap / 2));
    path->retry_gap = 2 * gap < MESH_RETRY_DIRECT ? 2 * gap : MESH_RETRY_DIRECT;
    meet(m, p);
    burst_begin(p, now);
}

/* From the relay in use: where it sees that peer. */
static void on_seen(struct mesh *m, const struct mesh_peer *relay, const struct mesh_path_msg *msg,
                    vi_time now)
{
    struct mesh_peer *p = mesh_peer_get(m, &msg->peer);

    if (!p || !p->cur || !relayed(p) || memcmp(p->addr.ip, relay->id.b, VI_ID_SIZE) != 0)
        return;
    add_candidate(p, &msg->addr);
    if (p->path.burst == 0 && now - p->path.burst_began < VI_SEC)
        return; /* only just */
    if (p->path.burst != 1)
        burst_begin(p, now); /* now it tries, too */
    mesh_touch(m, p);
}

void mesh_path_message(struct mesh *m, struct mesh_peer *p, const struct mesh_addr *from,
                       const uint8_t *data, size_t len, vi_time now)
{
    struct mesh_path_msg msg;
    struct mesh_peer *about;

    if (mesh_path_read(&msg, data, len)) {
        m->n.rx_channel++;
        return;
    }
    switch (msg.kind) {
    case MESH_PROBE:
    case MESH_ACK:
        if (msg.flags & MESH_HEARD)
            p->path.told_direct = now;
        if (!p->cur)
            break;
        if (msg.kind == MESH_PROBE)
            on_probe(m, p, from, &msg, now);
        else
            on_ack(m, p, from, &msg, now);
        break;
    case MESH_MEET:
        mesh_relay_meet(m, p, &msg.peer, now);
        break;
    case MESH_SEEN:
        on_seen(m, p, &msg, now);
        break;
    case MESH_REFUSED:
        about = mesh_peer_get(m, &msg.peer);
        if (about && msg.flags != MESH_TOO_MUCH)
            mesh_path_refused(m, about, &p->id, now);
        break;
    }
}

/* ---- time ---------------------------------------------------------------------------------------- */

/* No answer for too long, or the relay is gone. */
static void lost(struct mesh *m, struct mesh_peer *p, vi_time now)
{
    struct mesh_path *path = &p->path;
    struct mesh_addr to = {0};
    struct mesh_peer *r;

    m->n.paths_lost++;
    if (relayed(p))
        bad_via(p, &p->addr, now + MESH_RELAY_BAD);
    r = mesh_relay_pick(m, p, now);
    if (r)
        mesh_via(&to, &r->id, &p->id);
    else
        to = *best_direct(p);
    path->lost_in_row = 0;
    path->dropped = path->urgent = false;
    if (to.family && !mesh_addr_equal(&to, &p->addr))
        move(m, p, &to, now);
    if (!r) { /* nothing is proven by that */
        path->proven_at = 0;
        path->failing = true;
        path->why = MESH_WHY_NO_ANSWER;
        path->probe_at = now + 5 * VI_SEC;
    }
}

static void periodic(struct mesh *m, struct mesh_peer *p, vi_time now)
{
    struct mesh_path *path = &p->path;
    vi_time every = MESH_PROBE_EVERY;
    bool keep = relayed(p) || path->punched || mesh_behind_nat(m);

    if ((vi_time)m->npeers * PER_PEER > every)
        every = (vi_time)m->npeers * PER_PEER;
    if (keep && every > MESH_PROBE_NAT)
        every = MESH_PROBE_NAT;
    if (path->failing)
        every = 5 * VI_SEC;
    path->probe_at = now + (path->urgent ? MESH_PROBE_SOON : every);
    if (keep || path->urgent || !path->probes || now - p->last_use < VI_MIN)
        probe(m, p, &p->addr, true, now);
}

void mesh_path_tick(struct mesh *m, struct mesh_peer *p, vi_time now)
{
    struct mesh_path *path = &p->path;

    for (unsigned i = 0; i < MESH_PROBES; i++) {
        struct mesh_probe *s = &path->probe[i];

        if (!s->nonce || !s->current || now - s->at < MESH_PROBE_WAIT)
            continue;
        s->current = false; /* an answer that comes later still tells the way */
        conclude(path, true);
        if (path->probe_at > now + MESH_PROBE_SOON && !path->failing)
            path->probe_at = now;
    }
    if (path->dropped || (path->lost_in_row >= MESH_PROBES_LOST && !path->failing))
        lost(m, p, now);
    if (now >= path->quiet_at) {
        path->quiet_at = VI_NEVER;
        if (!path->urgent && !path->failing) {
            path->urgent = true;
            path->probe_at = now;
        }
    }
    if (relayed(p) && now >= path->retry_at)
        retry(m, p, now);
    if (relayed(p) && now >= path->burst_at)
        burst_round(m, p, now);
    if (now >= path->probe_at)
        periodic(m, p, now);
}

vi_time mesh_path_due(const struct mesh_peer *p)
{
    const struct mesh_path *path = &p->path;
    vi_time t = path->probe_at < path->quiet_at ? path->probe_at : path->quiet_at;

    if (path->dropped)
        return 0;
    if (relayed(p) && path->retry_at < t)
        t = path->retry_at;
    if (relayed(p) && path->burst_at < t)
        t = path->burst_at;
    for (unsigned i = 0; i < MESH_PROBES; i++)
        if (path->probe[i].nonce && path->probe[i].current && path->probe[i].at + MESH_PROBE_WAIT < t)
            t = path->probe[i].at + MESH_PROBE_WAIT;
    return t;
}

/* ---- for display --------------------------------------------------------------------------------- */

static enum mesh_path_why why_of(const struct mesh_peer *p)
{
    bool here = hears_directly(p, p->path.burst_began);
    bool there = p->path.told_direct && p->path.told_direct >= p->path.burst_began - VI_SEC;

    if (!relayed(p))
        return p->path.why;
    return here == there ? MESH_WHY_NO_ANSWER : here ? MESH_WHY_NOT_THERE : MESH_WHY_NOT_HERE;
}

bool mesh_path_find(const struct mesh *m, const struct vi_id *id, struct mesh_path_info *out)
{
    const struct mesh_peer *p = mesh_peer_get(m, id);

    memset(out, 0, sizeof *out);
    if (!p)
        return false;
    out->since = p->path.since;
    out->down = p->path.down;
    out->why = p->up ? why_of(p) : p->path.why;
    if (!p->up || p->path.failing)
        return true;
    out->kind = relayed(p) ? MESH_PATH_RELAYED : p->path.punched ? MESH_PATH_PUNCHED : MESH_PATH_DIRECT;
    if (relayed(p)) {
        memcpy(out->relay.b, p->addr.ip, VI_ID_SIZE);
        out->retry = p->path.retry_at;
    } else {
        out->addr = p->addr;
    }
    out->rtt = p->path.rtt;
    out->probes = p->path.probes;
    for (unsigned i = 0; i < p->path.probes; i++)
        out->lost += p->path.lost >> i & 1;
    return true;
}

const char *mesh_path_why_text(enum mesh_path_why why)
{
    static const char *const text[] = {
        [MESH_WHY_NONE] = "",
        [MESH_WHY_NO_ANSWER] = "nothing passes directly, either way",
        [MESH_WHY_NOT_THERE] = "its packets come here directly, ours don't reach it",
        [MESH_WHY_NOT_HERE] = "ours reach it directly, its packets don't come here",
        [MESH_WHY_DOWN] = "no session",
    };

    return (unsigned)why < sizeof text / sizeof text[0] ? text[why] : "unknown";
}
