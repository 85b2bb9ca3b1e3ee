/* Which guests talk with which: the data path counts bytes of pairs of MACs, the policy wants bytes a second of pairs of
 * guests. A pair's rate is a mean that follows within about a minute. While both guests are here their frames pass by the
 * bridge and are not counted: the rate stands as it was last seen, else who was brought together would soon be parted. */
#include "peer/daemon_internal.h"

#include <stdlib.h>
#include <string.h>

#define ROWS  2048
#define FOLLOWS (60.0) /* seconds */
#define FORGOTTEN (30 * VI_MIN)

struct talk {
    struct vi_id a, b; /* a < b; zero: free */
    uint64_t bytes, seen; /* in all when last looked at; in this look */
    double rate;
    vi_time at;
};

struct talks {
    vi_time looked;
    struct talk pair[POLICY_TALKS];
};

static bool guest_of(struct daemon *d, const struct env *e, const uint8_t mac[6], struct vi_id *out, bool *is_here)
{
    struct switch_place p;
    unsigned pos = 0;
    for (unsigned i = 0; i < d->n_guests; i++)
        for (unsigned k = 0; k < d->guests[i].n_vifs; k++)
            if (!memcmp(d->guests[i].vifs[k].mac, mac, 6)) {
                *out = d->guests[i].uuid;
                *is_here = true;
                return true;
            }
    while (switch_place_next(d->vswitch, &e->def.id, &pos, &p))
        if (!p.learned && !memcmp(p.mac, mac, 6)) {
            *out = p.guest;
            *is_here = false;
            return true;
        }
    return false;
}

/* The pair's place; a free one, or that of a pair that hasn't been heard of for long. */
static struct talk *talk_of(struct talks *t, const struct vi_id *x, const struct vi_id *y, vi_time now)
{
    const struct vi_id *a = vi_id_compare(x, y) < 0 ? x : y, *b = a == x ? y : x;
    struct talk *free_one = NULL;
    for (unsigned i = 0; i < POLICY_TALKS; i++) {
        struct talk *k = &t->pair[i];
        if (vi_id_equal(&k->a, a) && vi_id_equal(&k->b, b))
            return k;
        if (!free_one && (vi_id_is_zero(&k->a) || now - k->at > FORGOTTEN))
            free_one = k;
    }
    if (free_one)
        *free_one = (struct talk){.a = *a, .b = *b, .at = now};
    return free_one;
}

static void count(struct daemon *d, struct talks *t, const struct env *e, const struct matrix_row *r, vi_time now)
{
    struct vi_id from, to;
    bool from_here, to_here;
    struct talk *k;
    if (!guest_of(d, e, r->from, &from, &from_here) || !guest_of(d, e, r->to, &to, &to_here) || vi_id_equal(&from, &to) ||
        !(from_here || to_here))
        return;
    k = talk_of(t, &from, &to, now);
    if (!k)
        return;
    k->seen += r->bytes;
    if (from_here && to_here)
        k->at = now; /* together: it stands */
}

static int stronger(const void *a, const void *b)
{
    const struct policy_talk *x = a, *y = b;
    return x->bytes_s > y->bytes_s ? -1 : x->bytes_s < y->bytes_s;
}

static void follow(struct talk *k, double seconds, vi_time now)
{
    double w = seconds < FOLLOWS ? seconds / FOLLOWS : 1;
    if (k->seen > k->bytes) {
        k->rate += w * ((double)(k->seen - k->bytes) / seconds - k->rate);
        k->at = now;
    } else if (k->at != now)
        k->rate -= w * k->rate;
    k->bytes = k->seen > k->bytes ? k->seen : k->bytes;
}

void daemon_talks_snapshot(struct daemon *d, vi_time now, struct policy_snapshot *s)
{
    static struct talks t;
    static struct matrix_row rows[ROWS];
    static struct policy_talk out[POLICY_TALKS];
    double seconds = (double)(now - t.looked) / 1e6;
    if (seconds < 0.5)
        return;
    for (unsigned i = 0; i < POLICY_TALKS; i++)
        t.pair[i].seen = 0;
    for (unsigned i = 0; i < ENV_MAX; i++) {
        const struct env *e = &d->envs[i];
        unsigned n = e->used && e->local_guests && d->datapath ? datapath_traffic(d->datapath, &e->def.id, rows, ROWS) : 0;
        for (unsigned k = 0; k < n; k++)
            count(d, &t, e, &rows[k], now);
    }
    for (unsigned i = 0; i < POLICY_TALKS; i++) {
        struct talk *k = &t.pair[i];
        if (vi_id_is_zero(&k->a))
            continue;
        if (t.looked)
            follow(k, seconds, now);
        else
            k->bytes = k->seen;
        if (k->rate >= 1000)
            out[s->n_talks++] = (struct policy_talk){.a = k->a, .b = k->b, .bytes_s = k->rate};
    }
    t.looked = now;
    if (s->n_talks)
        qsort(out, s->n_talks, sizeof out[0], stronger);
    s->talks = out;
}
