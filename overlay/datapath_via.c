/* Peers that are reached through a relay: the mesh has the session with the relay, so packets are left with
 * the owner, sealed, and those that came that way are given to the thread that has their window. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "overlay/datapath_internal.h"

/* ---- out ---- */

static bool keep(struct datapath *d, uint32_t local, const uint8_t *p, size_t len)
{
    struct via_packet *v;
    bool first = false, kept = false;
    pthread_mutex_lock(&d->mail);
    if (!d->relayed)
        d->relayed = calloc(DATAPATH_RELAYED, sizeof *d->relayed);
    if (d->relayed && d->n_relayed < DATAPATH_RELAYED) {
        first = d->n_relayed == 0;
        v = &d->relayed[d->n_relayed++];
        v->local = local;
        v->len = len;
        memcpy(v->bytes, p, len);
        kept = true;
    }
    pthread_mutex_unlock(&d->mail);
    if (first)
        d->cfg.wake(d->cfg.arg);
    return kept;
}

int via_send(struct worker *w, const struct route *r, const uint8_t *datagram, size_t len)
{
    if (len > VIA_MOST)
        return EMSGSIZE;
    if (!keep(w->d, r->s->keys.local, datagram, len)) {
        count(&w->n.tx_relay_full, 1);
        return ENOBUFS;
    }
    count(&w->n.tx_relayed, 1);
    return 0;
}

void datapath_collect_relayed(struct datapath *d,
                              void (*each)(void *arg, uint32_t local, const uint8_t *data, size_t len), void *arg)
{
    struct via_packet *list = NULL;
    unsigned n;
    pthread_mutex_lock(&d->mail);
    n = d->n_relayed;
    if (n) { /* the threads go on with a new one */
        list = d->relayed;
        d->relayed = NULL;
        d->n_relayed = 0;
    }
    pthread_mutex_unlock(&d->mail);
    for (unsigned i = 0; i < n; i++)
        each(arg, list[i].local, list[i].bytes, list[i].len);
    free(list);
}

/* ---- in ---- */

void datapath_inject(struct datapath *d, const uint8_t *data, size_t len)
{
    struct mesh_header h;
    struct worker *w;
    bool first = false, kept = false;
    if (mesh_header_read(&h, data, len) || h.type != MESH_DATA || h.queue == 0 || len > MESH_INNER_MAX)
        return;
    w = d->worker[(h.queue - 1u) % (d->threads * d->lanes) / d->lanes];
    pthread_mutex_lock(&d->mail);
    if (!w->injected)
        w->injected = calloc(DATAPATH_RELAYED, sizeof *w->injected);
    if (w->injected && w->n_injected < DATAPATH_RELAYED) {
        struct via_packet *v = &w->injected[w->n_injected];
        first = w->n_injected++ == 0;
        v->len = len;
        memcpy(v->bytes, data, len);
        kept = true;
    }
    pthread_mutex_unlock(&d->mail);
    pthread_mutex_lock(&d->owner);
    count(kept ? &d->n.rx_relayed : &d->n.rx_relay_full, 1);
    pthread_mutex_unlock(&d->owner);
    if (first)
        datapath_poke(w);
}

void via_receive(struct worker *w)
{
    struct via_packet *list;
    unsigned n;
    pthread_mutex_lock(&w->d->mail);
    list = w->injected;
    n = w->n_injected;
    if (n)
        w->injected = NULL;
    w->n_injected = 0;
    pthread_mutex_unlock(&w->d->mail);
    if (!n)
        return;
    for (unsigned i = 0; i < n; i++)
        rx_packet(w, list[i].bytes, list[i].len);
    tap_flush(w); /* frames lie in the list */
    tx_flush(w);
    free(list);
}

void via_free(struct datapath *d)
{
    free(d->relayed);
    d->relayed = NULL;
}
