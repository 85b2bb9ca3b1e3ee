/* What a host does for its domain's representation with its gossip cores, whoever owns them: the daemon (daemon_represent.c)
 * and the simulator (tests/sim/violin_gossip.c). Pure: cores, records and `now` in, events to those cores out. Who represents
 * is gossip/representative.h's, what is said federation.h's. */
#ifndef PEER_REPRESENT_H
#define PEER_REPRESENT_H

#include "gossip/gossip.h"
#include "peer/federation.h"

/* Ranks all living members of the domain by what their words say, this host (id) by own. */
void represent_rank(struct representative *r, vi_time now, const struct gossip *domain, const struct vi_id *id, const struct rep_meta *own);
/* Says of this host whether it acts and whether it stands aside, when that has changed: true, and ranks have to be looked at again. */
bool represent_say(const struct representative *r, vi_time now, struct gossip *domain, struct rep_meta *own);
/* A member declares that it represents; 0, or VI_ENOTFOUND: it is none. *tell: it has to be told that this host does. */
int represent_declared(struct representative *r, vi_time now, const struct gossip *domain, const struct vi_id *from, bool *tell);

/* A record into a core's store; as gossip_step(). */
int represent_put(struct gossip *g, vi_time now, unsigned kind, const struct vi_id *key, const struct vi_id *origin, uint64_t version,
                  const uint8_t *bytes, size_t len, vi_time age);
/* The domain's hosts and suspects. */
void represent_count(const struct gossip *domain, struct fed_summary *s);
/* Of a new summary of the domain with that key: wall, or one more than what is there, for the clock of who spoke before may be ahead. */
uint64_t represent_version(const struct gossip *fed, const struct vi_id *key, uint64_t wall);
/* A view of another domain from its latest summary, newer than the view `before`; its representative is for the caller to fill in. */
void represent_view(const struct gossip *fed, const struct vi_id *key, const char *domain, uint64_t wall, uint64_t before, struct fed_view *out);
/* Was a newer summary of it heard of lately (heard 0: never)? If not, the next one is passed on at once. */
bool represent_fresh(vi_time now, vi_time heard);

#endif
