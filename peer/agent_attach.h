/* A host's interface in an environment's bridge, for the agent. Needs CAP_NET_ADMIN and CAP_NET_RAW. */
#ifndef PEER_AGENT_ATTACH_H
#define PEER_AGENT_ATTACH_H

#include "peer/agent_tap.h"

/* 1 to 15 letters, digits, '.', '_', '-', '@', beginning with a letter or digit? */
bool agent_iface_name_ok(const char *name);
/* May it be attached? It is an Ethernet, none of ours or of a guest, and has no address of the host's. 0, or VI_EINVAL,
 * VI_ENOTFOUND, VI_ESTATE with a sentence in why. */
int agent_iface_check(const char *iface, char *why, size_t why_size);
/* A packet socket at the interface, put up, that hears beacons (peer/attach.h) and nothing else, whoever reads from it;
 * also while the interface is in a bridge. Non-blocking. The descriptor or a vi_err. */
int agent_iface_listen(const char *iface, char *why, size_t why_size);
/* Into the bridge, and up; 0 also when it is there; VI_ESTATE: it is in another. Out of it; 0 also when it isn't. Or
 * VI_EIO. */
int agent_iface_join(const char *iface, const char *bridge, char *why, size_t why_size);
int agent_iface_part(const char *iface, const char *bridge, char *why, size_t why_size);

/* Is it a port of the environment's bridge? Needs no right. */
bool agent_iface_in(const char *iface, const struct vi_id *env);

#endif
