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

void seen_claim(struct worker *w, const struct vi_id *env, const uint8_t *frame, size_t len)
{
    struct datapath *d = w->d;
    struct datapath_claim c;
    struct frame_says says;
    bool kept = false;
    if (!frame_resolves(frame, len))
        return;
    frame_says(&says, frame, len);
    if (!says.claim)
        return;
    memset(&c, 0, sizeof c);
    c.env = *env;
    memcpy(c.mac, frame + 6, 6);
    memcpy(c.ip, says.ip, IP_BYTES);
    if (told(w, &c))
        return;
    pthread_mutex_lock(&d->mail);
    if (d->n_claims < DATAPATH_CLAIMS) {
        d->claims[d->n_claims++] = c;
        kept = true;
    }
    pthread_mutex_unlock(&d->mail);
    if (kept)
        d->cfg.wake(d->cfg.arg);
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
