/* Keeps the host's own protocols away from an environment's bridge: frames between its ports pass, what the bridge would hand
 * to the host itself is dropped (what a port would, agent_bridge_keep_host_out() stops). A chain of nf_tables at the bridge's ingress, with the policy "drop" and no rules, in a table
 * of the bridge's name (nft(8), family netdev; only what is for the host comes there: ports' frames are taken by the bridge
 * before). Needs CAP_NET_ADMIN and the kernel's nf_tables. */
#ifndef PEER_AGENT_GUARD_H
#define PEER_AGENT_GUARD_H

#include <stdbool.h>
#include <stddef.h>

/* Makes it, in place of one that is there, at once for the kernel: at no time is there none. The bridge is there already.
 * 0, or VI_EIO with a sentence in why. */
int agent_guard_set(const char *bridge, char *why, size_t why_size);
/* Is it there, and does it drop? Others' `nft flush ruleset` takes it away. Also true where the kernel can't be asked. */
bool agent_guard_stands(const char *bridge);
/* Once the bridge is gone, or before. Nothing if there is none. */
void agent_guard_remove(const char *bridge);

#endif
