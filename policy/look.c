/* The other hosts are looked at when one of them is wanted, not at every evaluation: nothing is short nearly always. And a
 * choice of three out of some that were drawn at random is as good as one out of all (Mitzenmacher, The power of two choices in
 * randomized load balancing, 2001), at a cost that doesn't grow with the domain. */
#include "policy/internal.h"

void policy_look(struct policy *p, vi_time now, unsigned most)
{
    if (p->looked >= most)
        return;
    p->n_peers = p->cfg.peers ? p->cfg.peers(p->cfg.peers_arg, now, p->peers, most) : 0;
    p->looked = most;
}

const struct policy_peer *policy_look_at(struct policy *p, vi_time now, const struct vi_id *host)
{
    for (unsigned i = 0; i < p->n_peers; i++)
        if (vi_id_equal(&p->peers[i].id, host))
            return &p->peers[i];
    if (!p->cfg.peer || p->n_peers == POLICY_PEERS || vi_id_equal(host, &p->self) ||
        !p->cfg.peer(p->cfg.peers_arg, now, host, &p->peers[p->n_peers]))
        return NULL;
    return &p->peers[p->n_peers++];
}
