/* What the threads see of guests: their addresses, for the switch; and how much each sends to whom. */
#include <stdlib.h>
#include <string.h>

#include "overlay/datapath_internal.h"

#define AGAIN (60 * VI_SEC) /* the same address is told again only after this */

static bool told(struct worker *w, const struct datapath_claim *c)
{
    struct seen_claim *s;
    uint8_t key[6 + IP_BYTES];
    memcpy(key, c->mac, 6);
    memcpy(key + 6, c->ip, IP_BYTES);
    s = &w->claims[vi_bucket(key, sizeof key) % SEEN_CLAIMS];
    if (s->at && w->now - s->at < AGAIN && !memcmp(&s->claim, c, sizeof *c))
        return true;
    s->claim = *c;
    s->at = w->now;
    return false;
}

static void leave(struct worker *w, const struct datapath_claim *c)
{
    struct datapath *d = w->d;
    bool kept = false;
    pthread_mutex_lock(&d->mail);
    if (d->n_claims < DATAPATH_CLAIMS) {
        d->claims[d->n_claims++] = *c;
        kept = true;
    }
    pthread_mutex_unlock(&d->mail);
    if (kept)
        d->cfg.wake(d->cfg.arg);
}

void seen_claim(struct worker *w, const struct vi_id *env, const uint8_t *frame, size_t len)
{
    struct datapath_claim c;
    struct frame_says says;
    if (!frame_resolves(frame, len))
        return;
    frame_says(&says, frame, len);
    if (!says.claim)
        return;
    memset(&c, 0, sizeof c);
    c.env = *env;
    memcpy(c.mac, frame + 6, 6);
    memcpy(c.ip, says.ip, IP_BYTES);
    if (!told(w, &c))
        leave(w, &c);
}

/* Anybody can make up MACs: only so many a second are told. */
void seen_stranger(struct worker *w, const struct vi_id *env, const uint8_t *frame)
{
    struct datapath_claim c;
    if (w->d->cfg.no_learn || (frame[6] & 1))
        return;
    memset(&c, 0, sizeof c);
    c.env = *env;
    memcpy(c.mac, frame + 6, 6);
    if (w->learn.at + VI_SEC <= w->now)
        w->learn = (struct forward_rate){.tokens = DATAPATH_LEARN_PER_S, .at = w->now};
    if (w->learn.tokens < 1 || told(w, &c))
        return;
    w->learn.tokens -= 1;
    leave(w, &c);
}

void datapath_collect_claims(struct datapath *d, void (*each)(void *arg, const struct datapath_claim *c), void *arg)
{
    struct datapath_claim list[DATAPATH_CLAIMS];
    unsigned n;
    pthread_mutex_lock(&d->mail);
    n = d->n_claims;
    memcpy(list, d->claims, n * sizeof list[0]);
    d->n_claims = 0;
    pthread_mutex_unlock(&d->mail);
    for (unsigned i = 0; i < n; i++)
        each(arg, &list[i]);
}

/* Frames to many count as to ff:…, those with a MAC that nobody states as from or to 0:…, so that nobody can fill the
 * table with MACs that don't exist. */
void seen_traffic(struct worker *w, const struct vi_id *env, const struct forward_decision *f, const uint8_t *frame,
                  uint64_t frames, size_t len)
{
    static const uint8_t nobody[6], everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    const uint8_t *to = frame[0] & 1 ? everybody : f->dst_known ? frame : nobody;
    matrix_count(&w->matrix, env, f->src_known ? frame + 6 : nobody, to, frames, len);
}

unsigned datapath_traffic(struct datapath *d, const struct vi_id *env, struct matrix_row *rows, unsigned cap)
{
    unsigned n = 0;
    for (unsigned i = 0; i < d->threads; i++)
        matrix_add(&d->worker[i]->matrix, env, rows, cap, &n);
    return n;
}

/* ---- counters of an environment ---- */

struct env_counters *seen_counters(struct worker *w, const struct switch_env_table *t)
{
    struct env_counters *c = &w->env[t->slot];
    if (atomic_load_explicit(&c->serial, memory_order_relaxed) == t->serial)
        return c;
#define X(name) atomic_store_explicit(&c->name, 0, memory_order_relaxed);
    DATAPATH_ENV_COUNTERS(X)
#undef X
    for (unsigned i = 0; i < FORWARD_REASONS; i++)
        atomic_store_explicit(&c->dropped[i], 0, memory_order_relaxed);
    atomic_store_explicit(&c->serial, t->serial, memory_order_release);
    return c;
}

void seen_drop(struct worker *w, const struct switch_env_table *t, enum forward_why why)
{
    count(&w->n.dropped[why], 1);
    count(&seen_counters(w, t)->dropped[why], 1);
}

static void add(struct datapath_env_counters *out, struct env_counters *c, uint64_t serial)
{
    if (atomic_load_explicit(&c->serial, memory_order_acquire) != serial)
        return; /* it has carried nothing of this environment yet */
#define X(name) out->name += atomic_load_explicit(&c->name, memory_order_relaxed);
    DATAPATH_ENV_COUNTERS(X)
#undef X
    for (unsigned i = 0; i < FORWARD_REASONS; i++)
        out->dropped[i] += atomic_load_explicit(&c->dropped[i], memory_order_relaxed);
}

bool datapath_env_counters(struct datapath *d, const struct vi_id *env, struct datapath_env_counters *out)
{
    const struct switch_table *table;
    bool found = false;
    memset(out, 0, sizeof *out);
    pthread_mutex_lock(&d->owner);
    table = atomic_load(&d->table);
    for (unsigned i = 0; table && i < SWITCH_ENVS && !found; i++) {
        const struct switch_env_table *t = table->envs[i];
        if (!t || !vi_id_equal(&t->env, env))
            continue;
        found = true;
        for (unsigned k = 0; k < d->threads; k++)
            add(out, &d->worker[k]->env[t->slot], t->serial);
    }
    pthread_mutex_unlock(&d->owner);
    return found;
}
