/* Standing aside: a member whose own probes fail in a row, while not even its helpers are heard to say
 * no, is itself what is wrong, be it its link, its host or its load. It would accuse everybody and be
 * accused by everybody, and come and go for as long as that lasts (the cases of Suresh et al., "Stable
 * and Consistent Membership at Scale with Rapid", USENIX ATC 2018, §7). So it lets itself be removed,
 * once, by not refuting, and comes back by itself when its probes have been answered for a while.
 * Lifeguard's local health only makes it slower. Nobody can push a healthy member into this: only its
 * own probes count; and many others that fail at once don't, for helpers that live say so. */
#include "gossip/internal.h"

#define RECENT (60 * VI_SEC)

static void leave(struct gossip *g)
{
    bool owed = g->owed;

    g->aside = g->owed = false;
    g->unheard = g->answered = 0;
    gsp_retry_lost(g); /* whom we lost meanwhile, we may have lost by our own fault */
    if (owed)
        gsp_self_word(g, 0, g->left);
}

void gsp_outcome(struct gossip *g, bool answered)
{
    g->outcome_at = g->now;
    g->answered = answered ? g->answered + 1 : 0;
    g->unheard = answered ? 0 : g->unheard + 1;
    if (!g->cfg.aside_failures)
        return;
    if (!g->aside && g->unheard >= g->cfg.aside_failures) {
        g->aside = true;
        g->count.aside++;
    } else if (g->aside && g->answered >= g->cfg.aside_answers) {
        leave(g);
    }
}

/* Who stands aside judges nobody by itself; with as many accusers as can count it only follows the others,
 * or the smaller part of a parted domain would go on to probe the lost ones and never be well again. And
 * if for a minute nobody that it suspected turned out to live, it is what is left of a domain. */
bool gsp_aside_holds(const struct gossip *g, const struct gsp_doubt *d)
{
    return g->aside && d->n <= g->cfg.confirmations &&
           (g->now - d->start < RECENT || g->now - g->refuted_at < RECENT);
}

/* Alone, or silent for long: what failed then says nothing of now. */
void gsp_aside_tick(struct gossip *g)
{
    if (g->aside && (!g->norder || g->now - g->outcome_at > RECENT))
        leave(g);
}
