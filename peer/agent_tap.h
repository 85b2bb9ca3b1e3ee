/* Bridges and TAPs of environments, made by the agent in its own network namespace. Needs
 * CAP_NET_ADMIN. What is read from and written to a TAP is the overlay's business. */
#ifndef PEER_AGENT_TAP_H
#define PEER_AGENT_TAP_H

#include "peer/base/id.h"

#define AGENT_IFNAME 16

/* "vi-" and "vt-" with the first 8 hex digits of the environment's id. */
void agent_bridge_name(const struct vi_id *env, char out[AGENT_IFNAME]);
void agent_tap_name(const struct vi_id *env, char out[AGENT_IFNAME]);

/* Makes the bridge (or finds it), sets its MTU, keeps the host's own IPv6 off it, puts it up.
 * 0 or VI_EIO with a sentence in why. */
int agent_bridge_open(const char *bridge, unsigned mtu, char *why, size_t why_size);
/* What keeps the host's own protocols away from a bridge and its ports, but for the chain of agent_guard.h: sysctls and masks. Ports
 * come (guests), and others may have set the sysctls back: udev's rule for new interfaces does, a moment later, where sysctl.d has
 * patterns for them. So again and again. lan: the host's own interface among the ports, which is left as it is; "": none. */
void agent_bridge_keep_host_out(const char *bridge, const char *lan);
/* Makes the TAP and puts it into the bridge, up. The descriptor (IFF_TAP, IFF_NO_PI, IFF_VNET_HDR
 * with a header of 10 bytes, offloads off: its reader turns on what it can) or a vi_err. The TAP is
 * there as long as its descriptor is. queues: it may have more than one (agent_tap_queue). */
int agent_tap_open(const char *tap, const char *bridge, unsigned mtu, bool queues, char *why, size_t why_size);
/* Another descriptor, for another queue of a TAP that was made so. The descriptor or VI_EIO. */
int agent_tap_queue(const char *tap, char *why, size_t why_size);
/* VI_ESTATE if something is still in it; 0 also when it isn't there. */
int agent_bridge_remove(const char *bridge, char *why, size_t why_size);
/* Forgets that the bridge saw mac behind the TAP. 0 also when it hadn't. */
int agent_bridge_forget(const char *tap, const uint8_t mac[6], char *why, size_t why_size);

#endif
