/* How many moves an environment has left in this hour, over all hosts that it is on: a hostile guest that is starved, or says
 * so, wherever it comes, must not find a new budget at each host.
 *
 * A host counts what it did itself (POLICY_EV_MOVED), who came, and what it sees of others: a guest's epoch grows with every
 * move, and its hosts state it. Who gets an environment's first guest asks the host that it came from what that has seen.
 *
 * What hosts begin at the same time nobody has seen yet. Each has one move under way at most, so a host goes on freely while
 * more are left than the environment has hosts. Then they take turns: after TURN without a move (what was begun before is
 * over, and seen, by then) as many hosts as moves are left may begin one in the first half of a turn, the next ones in the
 * next turn. All hosts begin to count at the same event, the last move, so no clocks need agree. A move that takes longer than
 * half a turn, or hosts that have seen no move at all as yet, may make it more by as many. */
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"
#include "policy/internal.h"

#define TURN (4 * VI_MIN)
#define SAME (30 * VI_SEC) /* what two hosts saw within this may be one move */

static vi_time last_of(const struct env_moves *m)
{
    return m->at[(m->next + HOUR_SLOTS - 1) % HOUR_SLOTS];
}

/* A question about an environment that isn't known here makes no place for it: others ask them. */
static const struct env_moves *known_moves(const struct policy *p, const struct vi_id *env)
{
    for (unsigned i = 0; i < POLICY_ENVS; i++)
        if (vi_id_equal(&p->moves[i].env, env))
            return &p->moves[i];
    return NULL;
}

static struct env_moves *moves_of(struct policy *p, vi_time now, const struct vi_id *env)
{
    struct env_moves *old = &p->moves[0];
    for (unsigned i = 0; i < POLICY_ENVS; i++) {
        if (vi_id_equal(&p->moves[i].env, env))
            return &p->moves[i];
        if (vi_id_is_zero(&p->moves[i].env)) {
            old = &p->moves[i];
            break;
        }
        if (last_of(&p->moves[i]) < last_of(old))
            old = &p->moves[i];
    }
    memset(old, 0, sizeof *old); /* the one whose last move is longest ago */
    old->env = *env;
    old->since = now;
    return old;
}

static bool in_hour(vi_time now, vi_time at)
{
    return at && now - at < VI_HOUR;
}

void policy_budget_spent(struct policy *p, vi_time now, const struct vi_id *env, vi_time at)
{
    struct env_moves *m = moves_of(p, now, env);
    unsigned k = m->next % HOUR_SLOTS;
    m->next++;
    /* kept in order: what another host saw earlier may be heard of later */
    for (; m->at[(k + HOUR_SLOTS - 1) % HOUR_SLOTS] > at && (k + HOUR_SLOTS - 1) % HOUR_SLOTS != m->next % HOUR_SLOTS;
         k = (k + HOUR_SLOTS - 1) % HOUR_SLOTS)
        m->at[k] = m->at[(k + HOUR_SLOTS - 1) % HOUR_SLOTS];
    m->at[k] = at;
}

static unsigned spent(const struct env_moves *m, vi_time now)
{
    unsigned n = 0;
    for (unsigned i = 0; m && i < HOUR_SLOTS; i++)
        n += in_hour(now, m->at[i]);
    return n;
}

unsigned policy_moves_left(const struct policy *p, vi_time now, const struct vi_id *env)
{
    unsigned used = spent(known_moves(p, env), now);
    return used < p->cfg.moves_per_hour ? p->cfg.moves_per_hour - used : 0;
}

void policy_budget_watch(struct policy *p, vi_time now, const struct policy_rules *seen)
{
    for (unsigned i = 0; i < seen->n_places && i < POLICY_PLACES; i++) {
        const struct policy_place *q = &seen->place[i], *o = policy_place_of(p, &q->guest); /* in the snapshot before */
        uint64_t moves = o && o->epoch && q->epoch > o->epoch ? q->epoch - o->epoch : 0;
        for (; moves > 0 && moves < HOUR_SLOTS; moves--) /* more at once is no count of moves */
            policy_budget_spent(p, now, &q->env, now);
    }
    for (unsigned i = 0; i < p->top; i++) {
        struct guest_state *g = &p->guests[i];
        if (!g->used || g->awaited || !g->came_at || g->came_counted == g->came_at)
            continue;
        policy_budget_spent(p, now, &g->in.env, g->came_at);
        g->came_counted = g->came_at;
    }
}

/* This host's place among the environment's hosts, in the order of their ids; *hosts: how many there are. */
static unsigned rank_of(const struct policy *p, const struct vi_id *env, unsigned *hosts)
{
    static struct vi_id seen[POLICY_BUDGET_HOSTS];
    unsigned n = 0, rank = 0;
    for (unsigned i = 0; i < p->n_places; i++) {
        const struct policy_place *q = &p->places[i];
        unsigned k = 0;
        if (!vi_id_equal(&q->env, env) || vi_id_equal(&q->host, &p->self))
            continue;
        while (k < n && !vi_id_equal(&seen[k], &q->host))
            k++;
        if (k < n || n == POLICY_BUDGET_HOSTS)
            continue;
        seen[n++] = q->host;
        rank += vi_id_compare(&q->host, &p->self) < 0;
    }
    *hosts = n + 1;
    return rank;
}

const char *policy_budget_refuses(struct policy *p, vi_time now, const struct vi_id *env)
{
    const struct env_moves *m = moves_of(p, now, env);
    unsigned used = spent(m, now), left, hosts, rank, turn;
    vi_time quiet = now - (last_of(m) ? last_of(m) : m->since);
    if (used >= p->cfg.moves_per_hour)
        return "its environment has used up its moves of this hour";
    left = p->cfg.moves_per_hour - used;
    rank = rank_of(p, env, &hosts);
    if (left >= hosts)
        return NULL;
    turn = (unsigned)(quiet / TURN);
    if (turn > 0 && quiet % TURN < TURN / 2 && (rank + hosts - (turn - 1) * left % hosts) % hosts < left)
        return NULL;
    return "its environment's last moves of this hour go round its hosts, and it is another's turn";
}

/* ---- told to who gets a guest ---- */

int policy_moves_tell(const struct policy *p, vi_time now, const uint8_t *question, size_t len, uint8_t out[POLICY_MOVES])
{
    const struct env_moves *m;
    struct vi_reader r;
    struct vi_writer w;
    struct vi_id env;
    vi_reader_init(&r, question, len);
    if (vi_read_array(&r, 2) != 2 || vi_read_uint(&r, 255) != 1)
        return VI_EPROTO;
    vi_read_id(&r, &env);
    if (vi_read_end(&r))
        return VI_EPROTO;
    m = known_moves(p, &env);
    vi_writer_init(&w, out, POLICY_MOVES);
    vi_write_array(&w, spent(m, now));
    for (unsigned i = 0; m && i < HOUR_SLOTS; i++)
        if (in_hour(now, m->at[i]))
            vi_write_uint(&w, (uint64_t)((now - m->at[i]) / VI_SEC));
    return w.err ? w.err : (int)w.len;
}

int policy_moves_ask(const struct vi_id *env, uint8_t out[POLICY_MOVES])
{
    struct vi_writer w;
    vi_writer_init(&w, out, POLICY_MOVES);
    vi_write_array(&w, 2);
    vi_write_uint(&w, 1);
    vi_write_id(&w, env);
    return w.err ? w.err : (int)w.len;
}

/* Which of ours, not taken yet, is this one? HOUR_SLOTS: none. */
static unsigned same_as(const struct env_moves *m, const bool *taken, vi_time at)
{
    for (unsigned i = 0; i < HOUR_SLOTS; i++) {
        vi_time apart = m->at[i] > at ? m->at[i] - at : at - m->at[i];
        if (m->at[i] && !taken[i] && apart < SAME)
            return i;
    }
    return HOUR_SLOTS;
}

int policy_moves_heard(struct policy *p, vi_time now, const struct vi_id *env, const uint8_t *data, size_t len)
{
    const struct env_moves *m = moves_of(p, now, env);
    bool taken[HOUR_SLOTS] = {false};
    vi_time news[HOUR_SLOTS];
    struct vi_reader r;
    uint32_t n;
    unsigned k = 0;
    vi_reader_init(&r, data, len);
    n = vi_read_array(&r, HOUR_SLOTS);
    for (uint32_t i = 0; i < n && !r.err; i++) {
        vi_time at = now - (vi_time)vi_read_uint(&r, 3600) * VI_SEC;
        unsigned same = same_as(m, taken, at);
        if (same < HOUR_SLOTS)
            taken[same] = true;
        else
            news[k++] = at;
    }
    if (vi_read_end(&r))
        return VI_EPROTO;
    while (k > 0)
        policy_budget_spent(p, now, env, news[--k]);
    return 0;
}
