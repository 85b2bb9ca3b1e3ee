/* The peer's side of the agent link: the agent's hypervisor as a struct hypervisor, and the few
 * more things that only root can do.
 *
 * Every function that takes `done` returns 0 and calls it later exactly once, or returns a vi_err
 * and never calls. When the link is lost, everything pending ends with VI_EIO, then on_lost runs
 * once; the peer then exits with a failure (the supervisor starts both again). */
#ifndef PEER_AGENT_CLIENT_H
#define PEER_AGENT_CLIENT_H

#include <uv.h>

#include "xen/disks.h"

struct agent_client;

struct agent_facts {
    bool hypervisor;   /* it is there and answers */
    char kind[16];     /* "libxl", "simulated" */
    char problem[256]; /* one line for people, what is wrong and what to do; "" if nothing is */
    unsigned environments; /* TAPs that the agent holds */
    unsigned streams;      /* suspends and restores under way */
};

typedef void agent_on_lost(void *arg, const char *why);
/* An environment's TAP. */
struct agent_tap {
    int fd;             /* the callee's when err is 0, else -1 */
    bool vnet;          /* superframes were tried on this kernel's TAPs, and come through whole */
    const char *ifname, *bridge; /* bridge: what guests are configured with */
};
/* detail is never NULL; tap is borrowed. */
typedef void agent_env_done(void *arg, int err, const char *detail, const struct agent_tap *tap);
/* fd as above. */
typedef void agent_queue_done(void *arg, int err, const char *detail, const struct vi_id *env, int fd);
typedef void agent_facts_done(void *arg, int err, const struct agent_facts *facts);

/* fd: this process' end of the link (supervisor.h: PEER_CHILD_LINK_FD); taken over in every case.
 * NULL when out of memory or when fd is no socket. */
struct agent_client *agent_client_open(uv_loop_t *loop, int fd, agent_on_lost *on_lost, void *arg);

/* The agent's hypervisor; owned by the client, lives as long. Set on_event and event_arg at once.
 * ops->close on it ends its pending operations (VI_ECANCELED), not the link. HV_EV_LOST comes also
 * when the agent finds no hypervisor at its start; agent_facts then has the reason. */
struct hypervisor *agent_client_hypervisor(struct agent_client *c);

/* The disks of the agent's host; owned by the client, lives as long; ops->close is NULL. While the agent has none every
 * operation ends with VI_EUNSUPPORTED and why. */
struct disks *agent_client_disks(struct agent_client *c);

/* Frees c; what is pending ends with VI_ECANCELED inside this call. Not from inside a `done`; from
 * inside on_lost it is fine. NULL, too. */
void agent_client_close(struct agent_client *c);

/* Makes (or finds) the environment's bridge vi-<first 8 hex digits> and its TAP vt-… and hands the
 * TAP over (IFF_NO_PI, IFF_VNET_HDR with 10 bytes, offloads off, non-blocking); asking again, also from a restarted peer, gives another descriptor of the same TAP.
 * mtu 576…9000; queues 1…8: how many the TAP may have, if it is made now. VI_EEXIST if another environment has these 8 digits. */
int agent_env_open(struct agent_client *c, const struct vi_id *env, unsigned mtu,
                   unsigned queues, agent_env_done *done, void *arg);
/* One more queue of the TAP: it is there as long as its descriptor is. VI_ENOTFOUND if the environment isn't open,
 * VI_EIO if the TAP was made for one queue, or has as many as it may have. */
int agent_env_queue(struct agent_client *c, const struct vi_id *env, agent_queue_done *done, void *arg);
/* Ends the TAP; with remove_bridge also the bridge, unless something is still in it (then done says
 * VI_ESTATE, and only the TAP is gone). */
int agent_env_close(struct agent_client *c, const struct vi_id *env, bool remove_bridge,
                    hv_done *done, void *arg);
/* A host's interface of 1 to 15 letters, digits, '.', '_', '-', '@', for the environment: a packet socket that hears
 * beacons there (attach.h) and can send; into its bridge; out of it. VI_EINVAL, VI_ENOTFOUND, VI_EEXIST (another is
 * attached), VI_ESTATE (it has addresses, or is in another bridge) with a sentence. */
int agent_env_listen(struct agent_client *c, const struct vi_id *env, const char *iface, agent_queue_done *done, void *arg);
int agent_env_attach(struct agent_client *c, const struct vi_id *env, const char *iface, hv_done *done, void *arg);
int agent_env_detach(struct agent_client *c, const struct vi_id *env, const char *iface, hv_done *done, void *arg);
/* The guest with this MAC (unicast) lives on this host now: the bridge forgets that it saw it behind
 * the TAP, so that frames for it reach its vif before it has spoken. On the other hosts the data path
 * writes a frame from mac to its TAP. VI_ENOTFOUND if the environment isn't open. */
int agent_announce(struct agent_client *c, const struct vi_id *env, const uint8_t mac[6],
                   hv_done *done, void *arg);
/* Buffers of 4 MiB for this UDP socket, which stays the caller's, whatever net.core.rmem_max is. VI_EFULL for a 17th. */
int agent_udp_buffers(struct agent_client *c, int fd, hv_done *done, void *arg);
int agent_facts(struct agent_client *c, agent_facts_done *done, void *arg);

#endif
