/* What the owner is to carry out: a ring that grows for state, and drops datagrams at its bound. */
#include "gossip/internal.h"

#include <stdlib.h>
#include <string.h>

#define KEEP 64 /* effects */

int gsp_fx_reserve(struct gossip *g, size_t n)
{
    size_t want = g->fx_cap ? g->fx_cap : 16;
    struct gossip_effect *fx;

    while (want < g->fx_len + n)
        want *= 2;
    if (want == g->fx_cap)
        return 0;
    fx = malloc(want * sizeof *fx);
    if (!fx) {
        g->count.no_memory++;
        return VI_ENOMEM;
    }
    for (size_t i = 0; i < g->fx_len; i++)
        fx[i] = g->fx[(g->fx_head + i) % g->fx_cap];
    free(g->fx);
    g->fx = fx;
    g->fx_cap = want;
    g->fx_head = 0;
    return 0;
}

void gsp_fx_push(struct gossip *g, const struct gossip_effect *fx)
{
    g->fx[(g->fx_head + g->fx_len++) % g->fx_cap] = *fx;
}

static void drop_taken(struct gossip *g)
{
    struct gossip_effect *fx = &g->fx[g->fx_head];

    if (fx->kind == GOSSIP_FX_SEND) {
        free((void *)(uintptr_t)fx->data);
        g->fx_sends--;
    }
    g->fx_head = (g->fx_head + 1) % g->fx_cap;
    g->fx_len--;
    g->fx_taken = false;
}

const struct gossip_effect *gossip_effect(struct gossip *g)
{
    if (g->fx_taken)
        drop_taken(g);
    if (!g->fx_len) {
        if (g->fx_cap > KEEP) /* what a storm needed isn't kept */
            gsp_fx_free(g);
        return NULL;
    }
    g->fx_taken = true;
    return &g->fx[g->fx_head];
}

void gsp_fx_free(struct gossip *g)
{
    while (g->fx_len)
        drop_taken(g);
    free(g->fx);
    g->fx = NULL;
    g->fx_cap = 0;
}

void gsp_send(struct gossip *g, const struct vi_id *to, const struct gossip_addr *addr,
              const struct gsp_out *o)
{
    struct gossip_effect fx = {.kind = GOSSIP_FX_SEND, .id = *to, .len = o->len};
    uint8_t *copy;

    if (g->fx_sends >= GSP_SENDS_MAX) {
        g->count.sends_dropped++;
        return;
    }
    copy = malloc(o->len);
    if (!copy || gsp_fx_reserve(g, 1)) {
        free(copy);
        g->count.sends_dropped++;
        return;
    }
    memcpy(copy, o->p, o->len);
    fx.data = copy;
    if (addr)
        fx.addr = *addr;
    gsp_fx_push(g, &fx);
    g->fx_sends++;
    g->count.tx++;
    g->count.tx_bytes += o->len;
    if (o->p[1] >= GSP_DIGEST)
        g->count.tx_store_bytes += o->len;
}
