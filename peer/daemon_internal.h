/* What the files of the daemon share. One loop, one thread; the cores are stepped from callbacks,
 * and daemon_pump() (run before each poll) takes their effects and sets the one timer. */
#ifndef PEER_DAEMON_INTERNAL_H
#define PEER_DAEMON_INTERNAL_H

#include <uv.h>

#include "gossip/gossip.h"
#include "overlay/overlay.h"
#include "peer/agent_client.h"
#include "peer/base/store.h"
#include "peer/call.h"
#include "peer/daemon.h"
#include "peer/doubts.h"
#include "peer/drainword.h"
#include "peer/envdef.h"
#include "peer/events.h"
#include "peer/history.h"
#include "peer/hostview.h"
#include "peer/identity.h"
#include "peer/invites.h"
#include "peer/journal.h"
#include "peer/mesh_io.h"
#include "peer/rpc.h"
#include "peer/trust.h"
#include "policy/policy.h"
#include "xen/hypervisor.h"

#define WARNING_TEXT 256

/* Things that are wrong for the moment and that `violin status` shows. */
enum warning {
    WARN_HYPERVISOR,
    WARN_STORE,
    WARN_REFUSED, /* another peer's certificate, or ours at another */
    WARN_REVOKED, /* this host */
    WARN_CERT,    /* ours runs out and isn't renewed */
    WARN_ROLLOVER, /* two successors of one authority */
    WARN_HANDOVER,
    WARN_MAC,
    WARN_GUEST,
    WARN_ASIDE, /* our own probes fail */
    WARN_FEDERATION,
    WARN_ENVMOVE,
    WARN_ENVMAKE, /* a guest that this host keeps isn't started */
    WARN_CONFLICT, /* two hosts state one MAC */
    WARN_ATTACH,
    WARN_DRAIN,
    WARN_PLACEMENT, /* other members have another */
    WARN_IMAGE, /* a host that gives wrong ones */
    WARNINGS
};

#define ENV_PARTICIPANTS 1024 /* hosts that take part in one environment, as far as we send to */

/* An environment as this host knows it. */
struct env {
    bool used, open, opening;
    struct env_definition def;
    vi_time retry_at;
    unsigned local_guests; /* here now */
    unsigned kept;         /* that violin made and this host keeps, running or not */
    unsigned expecting;    /* handovers that bring one */
    bool attached;         /* a LAN is bridged into it here */
    vi_time lingers_until; /* a guest has just gone: what still comes for it is passed on */
    uint32_t priority; /* daemon_rules.c */
    unsigned n_rules;
    struct policy_rule rule[ENV_RULES];
    uint8_t rule_page[ENV_RULES];
    unsigned n_participants;
    struct vi_id participants[ENV_PARTICIPANTS]; /* other hosts */
};

#define DAEMON_GUEST_NAMES 1024
#define OWNED_MAX   1024
#define JOURNALLING 512

struct owned_guest {
    bool used;
    struct vi_id guest, owner;
    uint64_t epoch;
    vi_time at;
};

/* The stream of a handover that goes or comes here. */
struct transit {
    bool used, prepared;
    struct vi_id id, env, peer;
    int fd; /* for restore, until it is handed over */
    struct dial *dial; /* ours, while it is on its way */
    uint64_t bytes;
    uint64_t was_bytes; /* a second ago */
    double limit;       /* KiB/s of its stream, where disks share the bandwidth; 0: not shared yet */
    uint64_t disk_bytes; /* of its disks' streams that have ended */
    vi_time began, stopped_at, pause; /* 0: not known; pause: from the suspended guest to the word that it runs there */
    bool over;                        /* only its stream has to end yet */
    char reason[POLICY_TEXT];         /* why it moves */
};

/* What a handover that is over sent, for who asks afterwards. */
struct moved {
    struct vi_id id;
    uint64_t bytes, disk_bytes;
};

/* Environments sent to other domains because this host is drained: daemon_evacuate.c. */
struct evacuation {
    vi_time stuck_since, at, wait;
    unsigned tries, skipped;
    struct vi_id env;          /* the last one */
    char last[DRAINWORD_WHY];  /* what came of it; "": nothing yet */
};

struct daemon {
    uv_loop_t loop;
    uv_timer_t wake;
    uv_prepare_t prepare;
    uv_signal_t sigterm, sigint;
    bool stopping;
    int exit_status;

    struct config cfg;
    struct identity me;
    struct vi_rng rng;
    vi_time started;
    char address[MESH_ADDR_TEXT + SEED_ADDR_MAX]; /* where others reach us, as far as known */
    struct store *store;
    struct journal *journal;
    struct invites *invites;
    struct events *events;
    struct rpc *rpc;

    struct keys *keys; /* daemon_keys.h */
    struct trust trust; /* authorities: our domain's, and others' */
    struct mesh_config mesh_cfg; /* bulk streams use it too */
    struct mesh_io *mesh;
    struct mesh_addr own_addr, towards; /* ours, as far as known; a seed's: the way that tells it */
    vi_time next_address;
    struct vi_id relays[MESH_RELAYS]; /* preferred */
    unsigned n_relays;
    vi_time next_reach;
    struct udp_sockets udp;
    struct vswitch *vswitch;
    struct datapath *datapath;
    uv_async_t datapath_wake;
    vi_time next_used;
    struct bulk_server *bulk;
    struct policy *policy;
    vi_time drain_until;  /* wall; 0: not draining; see daemon_drain.c */
    vi_time drain_since;  /* wall: the last order */
    bool drain_within;    /* not to other domains */
    struct evacuation evacuate;
    struct history_memory kept;
    vi_time paused_until; /* wall; 0: not paused */
    vi_time next_drain;
    bool drain_told; /* that it is drained */
    bool said_empty; /* daemon_placement.c */
    vi_time placement_again;
    struct {
        struct vi_id guest, from;
        vi_time until;
    } ordered; /* an operator's order to take it in against a rule: the latest */
    struct handovers *handovers;
    bool recovered; /* the journal was read and the handovers resumed */
    struct envmove_daemon *envmove; /* daemon_envmove.h */
    struct envmake_daemon *envmake; /* daemon_envmake.h */
    struct disk_orders *disk_orders; /* daemon_disk_rpc.h */
    struct transit *transits; /* streams and operations of handovers, daemon_handover.c */
    struct moved moved[HANDOVERS_MAX]; /* the oldest one's place is the next one's */
    unsigned next_moved;
    struct vi_id clash; /* a guest whose MAC is another host's, too; zero: none */
    vi_time clash_since;
    uint64_t next_journalling;
    struct {
        uint64_t handle;
        struct vi_id id;
        bool envmove;
    } journalling[JOURNALLING];
    struct owned_guest *owned; /* who owns the guests that ever moved */
    struct calls *calls;
    struct images_daemon *images; /* daemon_image.h */
    struct daemon_disks *disks; /* daemon_disk.h */
    struct whynot *whynot; /* answers being made: daemon_whynot.c */
    struct daemon_views *views[4]; /* questions under way: daemon_view.c */
    struct { uint8_t tag[POLICY_RULE_TAG]; char name[HOSTVIEW_NAME]; } guest_name[DAEMON_GUEST_NAMES]; /* on other hosts, as last told */
    unsigned next_guest_name; /* the oldest gives way */
    struct gossip *gossip;
    struct doubts *doubts; /* who was suspected, by whom, how it ended */
    vi_time next_standing, aside_since;
    struct federation *fed; /* other domains: daemon_federation.h */
    bool said_goodbye;
    vi_time goodbye_until, wake_at;

    struct env envs[ENV_MAX];
    struct lan *lans[ENV_MAX]; /* daemon_attach.c */
    struct env_takes_part published;
    bool published_list;

    struct agent_client *agent;
    struct hypervisor *hv;
    bool hv_there;
    struct hv_host host;
    struct hv_guest guests[HV_GUESTS_MAX];
    unsigned n_guests;
    bool listing, listed; /* listed: since this process began */
    vi_time listed_at; /* when the hypervisor told of its guests last */
    vi_time next_list;

    char warnings[WARNINGS][WARNING_TEXT]; /* "" when all is well */
};

/* daemon.c */
vi_time daemon_now(void);
/* Ends the daemon with this status once the loop is back. */
void daemon_stop(struct daemon *d, int status);
/* Says an event: ring, followers, log. The returned event takes numbers until the loop's next turn;
 * daemon_event_done() sends it to the followers. */
struct event *daemon_event(struct daemon *d, const char *kind, const char *subject, const char *fmt,
                           ...) __attribute__((format(printf, 4, 5)));
void daemon_event_done(struct daemon *d, const struct event *ev);
/* Sets or, with NULL, clears a warning; a new one is an event. */
void daemon_warn(struct daemon *d, enum warning w, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* daemon_mesh.c */
int daemon_mesh_open(struct daemon *d, char *why, size_t cap);
void daemon_mesh_clock(struct daemon *d);
void daemon_mesh_close(struct daemon *d);
void daemon_connect_seeds(struct daemon *d);

/* daemon_reach.c: ways to other peers */
void daemon_reach_seed(struct daemon *d, const struct vi_id *seed); /* preferred as a relay */
void daemon_reach_tick(struct daemon *d, vi_time now);
const char *daemon_reach_way(struct daemon *d, const struct vi_id *peer); /* direct, punched, relayed, none */
bool daemon_reach_may_relay(void *arg, const struct vi_id *from, const struct vi_id *to);
void daemon_do_reachability(void *arg, struct rpc_call *call, struct vi_reader *params);

/* daemon_members.c: who is a member, who doubts whom, and how this host itself stands */
int daemon_members_open(struct daemon *d, char *why, size_t cap);
void daemon_members_changed(struct daemon *d, const struct gossip_effect *fx);
void daemon_members_tick(struct daemon *d, vi_time now);
void daemon_write_members_count(struct daemon *d, struct vi_writer *w); /* status: field `members` */
void daemon_write_standing(struct daemon *d, struct vi_writer *w);      /* status: field `standing` */
void daemon_do_members(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_members_why(void *arg, struct rpc_call *call, struct vi_reader *params);

/* daemon_gossip.c */
int daemon_gossip_open(struct daemon *d, char *why, size_t cap);
void daemon_gossip_pump(struct daemon *d, vi_time now);
void daemon_gossip_message(struct daemon *d, const struct vi_id *from, const uint8_t *data,
                           size_t len);
void daemon_gossip_session(struct daemon *d, const struct vi_id *peer);
void daemon_gossip_unreachable(struct daemon *d, const struct vi_id *peer);
void daemon_gossip_seed(struct daemon *d, const struct vi_id *id, const struct mesh_addr *a);
void daemon_gossip_known_peers(struct daemon *d);
void daemon_gossip_lag(struct daemon *d, vi_time lag);
void daemon_gossip_summary(struct daemon *d, const uint8_t *bytes, size_t len);
int daemon_gossip_record(struct daemon *d, unsigned kind, const struct vi_id *key,
                         const struct vi_id *origin, uint64_t version, const uint8_t *bytes,
                         size_t len);
void daemon_gossip_leave(struct daemon *d);
void daemon_gossip_addr(struct mesh_addr *out, const struct gossip_addr *a);
/* Finds out where others reach us. towards: a seed, or NULL. */
void daemon_find_address(struct daemon *d, const struct mesh_addr *towards);
/* The host's address may change while we run: the same member, elsewhere. */
/* Our own word is new: its address or certificate (GOSSIP_EV_SET_SELF), among members and among representatives. */
void daemon_gossip_self(struct daemon *d, const struct gossip_event *ev);
void daemon_gossip_address(struct daemon *d, vi_time now);
bool daemon_introduce(struct daemon *d, const struct vi_id *peer, const struct gossip_addr *addr);
/* A control message to a member, whose key the mesh is told first if need be. */
int daemon_send(struct daemon *d, const struct vi_id *to, unsigned channel, const void *data,
                size_t len);
/* A member's name, or the beginning of its id. Static storage, until the next call. */
const char *daemon_member_name(struct daemon *d, const struct vi_id *peer);

/* daemon_federation.c, daemon_represent.c: other domains, and who represents ours. */
struct fed_summary;
int daemon_federation_open(struct daemon *d, char *why, size_t cap);
void daemon_federation_load(struct daemon *d);
void daemon_federation_pump(struct daemon *d, vi_time now);
vi_time daemon_federation_deadline(const struct daemon *d);
void daemon_federation_self(struct daemon *d, const struct gossip_event *ev); /* for daemon_gossip_self() */
void daemon_federation_leave(struct daemon *d); /* says good-bye to the other domains' representatives */
void daemon_federation_close(struct daemon *d);
void daemon_federation_record(struct daemon *d, unsigned kind, const struct vi_id *key);
void daemon_federation_member(struct daemon *d); /* a member changed */
bool daemon_federation_refuses(void *arg, const struct vi_id *peer, const struct cert *c);
/* May it say something on that channel, ask that of us? True for members of our own domain. */
bool daemon_federation_admits(struct daemon *d, const struct vi_id *from, unsigned channel);
bool daemon_federation_has_ways(struct daemon *d, const struct vi_id *peer); /* may we relay for it? */
bool daemon_federation_may_ask(struct daemon *d, const struct vi_id *from, unsigned method);
void daemon_federation_message(struct daemon *d, const struct vi_id *from, const uint8_t *data, size_t len);
void daemon_federation_redirected(struct daemon *d, const uint8_t *body, size_t len);
bool daemon_federation_declared(struct daemon *d, const struct vi_id *from);
void daemon_federation_meta(const struct daemon *d, uint8_t out[REP_META]); /* of our own word */
bool daemon_represents(const struct gossip_member *m);
bool daemon_federation_definition(struct daemon *d, const struct env_definition *e, struct cert *c);
bool daemon_federation_key_of(const struct daemon *d, const struct vi_id *peer, uint8_t pk[32]);
bool daemon_federation_introduce(struct daemon *d, const struct vi_id *peer);
const char *daemon_federation_name(const struct daemon *d, const struct vi_id *peer); /* NULL: not one of them */
unsigned daemon_federation_participants(struct daemon *d, const struct env *e, struct vi_id *out, unsigned most);
bool daemon_federation_accepts(struct daemon *d, unsigned kind, const struct vi_id *key, const struct vi_id *origin,
                               uint64_t version, const uint8_t *bytes, size_t len);
void daemon_do_domains(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_federate(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_unfederate(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_federation_card(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_env_allow(void *arg, struct rpc_call *call, struct vi_reader *params);
/* daemon_policy.c: load and capacity of the whole domain, from its members' summaries. */
void daemon_policy_domain_load(struct daemon *d, struct fed_summary *s);
/* daemon_gossip.c */
void daemon_gossip_encode_addr(struct gossip_addr *out, const struct mesh_addr *a);
bool daemon_gossip_definition(struct daemon *d, const struct gossip *g, const struct vi_id *key, const struct vi_id *origin,
                              uint64_t version, const uint8_t *bytes, size_t len);
bool daemon_gossip_rules(struct daemon *d, const struct vi_id *key, const struct vi_id *origin, uint64_t version,
                         const uint8_t *bytes, size_t len);

/* daemon_envs.c */
int daemon_env_allow(struct daemon *d, const char *name, const char *domain, bool allow, char *why, size_t cap);
struct env *daemon_env_by_id(struct daemon *d, const struct vi_id *id);
struct env *daemon_env_by_name(struct daemon *d, const char *name);
struct env *daemon_env_by_bridge(struct daemon *d, const char *bridge);
void daemon_envs_load(struct daemon *d);
void daemon_envs_tick(struct daemon *d, vi_time now);
void daemon_envs_record(struct daemon *d, unsigned kind, const struct vi_id *key);
void daemon_envs_member(struct daemon *d, const struct vi_id *peer, enum gossip_state state);
void daemon_envs_participants(struct daemon *d);
void daemon_envs_publish(struct daemon *d);
int daemon_env_create(struct daemon *d, const char *name, unsigned shares, bool strict, char *why, size_t cap);
int daemon_env_limit(struct daemon *d, const char *name, unsigned bandwidth, char *why, size_t cap);
int daemon_env_remove(struct daemon *d, const char *name, char *why, size_t cap);

/* Signs again, with our certificate as it is now, the definitions that newcomers wouldn't believe: our own
 * under an older authority (all: everybody's), and those of hosts that were revoked. */
void daemon_envs_resign(struct daemon *d, bool all);

/* daemon_rules.c, daemon_rules_rpc.c: where guests may be by their environments' rules; priorities. The changes are of our
 * own domain's environments only: VI_ENOTFOUND, VI_EAUTH, VI_EFULL, with why. */
void daemon_rules_load(struct daemon *d);
void daemon_rules_reload(struct daemon *d, struct env *e);
void daemon_rules_record(struct daemon *d, const struct vi_id *key);
void daemon_rules_forget(struct daemon *d, const struct vi_id *env);
void daemon_rules_resign(struct daemon *d, struct env *e, bool all); /* as daemon_envs_resign() */
int daemon_rules_add(struct daemon *d, const char *name, struct policy_rule *rule, char *why, size_t cap);
int daemon_rules_remove(struct daemon *d, const char *name, unsigned number, char *why, size_t cap);
int daemon_rules_priority(struct daemon *d, const char *name, unsigned priority, char *why, size_t cap);
void daemon_rules_snapshot(struct daemon *d, struct policy_snapshot *s);
/* Does a rule forbid the guest that host? With the rule. */
bool daemon_rules_against(struct daemon *d, const struct env *e, const struct vi_id *guest, const struct vi_id *host,
                          char text[POLICY_RULE_TEXT]);
const struct policy_rules *daemon_rules_all(void *arg); /* of all environments, without places; for envmove_hooks */
bool daemon_rules_broken(struct daemon *d, const struct env *e, const struct policy_rule *rule); /* by a guest here */
const struct policy_rules *daemon_rules_of(void *arg, const struct vi_id *env); /* for the envmake core; NULL: none */
/* Is a guest with this tag anywhere, as far as this host knows? */
bool daemon_rules_placed(struct daemon *d, const struct env *e, const uint8_t tag[POLICY_RULE_TAG]);
bool daemon_rules_pinned(struct daemon *d, const struct env *e, const struct vi_id *guest); /* to this host */
/* May a guest come in here? Not if a rule forbids it and no operator ordered it. */
bool daemon_rules_refuse(struct daemon *d, const struct env *e, const struct vi_id *guest, const struct vi_id *from,
                         char why[POLICY_RULE_TEXT]);
int daemon_rules_ordered(struct daemon *d, const struct vi_id *from, const uint8_t *body, size_t len); /* CALL_TAKE_IN */
/* Tells the destination that an operator orders it, then begins the handover; answers the call. */
int daemon_rules_order(struct daemon *d, const struct vi_id *guest, const struct vi_id *peer, struct rpc_call *call);
int daemon_rules_named(struct daemon *d, const uint8_t *body, size_t len, uint8_t *out); /* CALL_GUEST */
#define DAEMON_RULES_FIELDS 2
void daemon_rules_write(struct daemon *d, struct vi_writer *w, const struct env *e); /* fields priority, rules */
void daemon_talks_snapshot(struct daemon *d, vi_time now, struct policy_snapshot *s); /* daemon_talks.c: who talks with whom */
void daemon_do_env_rule(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_env_rule_remove(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_env_rules(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_env_priority(void *arg, struct rpc_call *call, struct vi_reader *params);
/* daemon_keys.c: who is trusted, revoked, and may do what. The judgements are of our own domain's. */
int daemon_keys_open(struct daemon *d, char *why, size_t cap);
void daemon_keys_load(struct daemon *d); /* what the store has, into the gossip */
void daemon_keys_free(struct daemon *d);
void daemon_keys_pump(struct daemon *d, vi_time now);
bool daemon_keys_accept(struct daemon *d, unsigned kind, const struct vi_id *key,
                        const struct vi_id *origin, uint64_t version, const uint8_t *bytes, size_t len);
void daemon_keys_record(struct daemon *d, unsigned kind, const struct vi_id *key);
void daemon_keys_told(struct daemon *d, const uint8_t *body, size_t len); /* CALL_REVOKED */
bool daemon_keys_blocked(const struct daemon *d, const struct vi_id *peer); /* revoked */
bool daemon_keys_refuses(void *arg, const struct vi_id *peer, const struct cert *c);
bool daemon_keys_vouches(void *arg, const struct vi_id *peer, const struct cert *c, vi_time wall);
bool daemon_keys_admits(const struct daemon *d, const struct cert *c);
bool daemon_keys_refuses_join(void *arg, const uint8_t ed[CERT_KEY], const char *host, char *why, size_t cap);
/* What a member may do in the authority's place, now: a mask of enum cert_cap. */
uint32_t daemon_keys_caps(const struct daemon *d, const struct vi_id *peer);
/* Fields of a member: capabilities, issued_by, cert_until. */
unsigned daemon_keys_member_fields(const struct daemon *d, const struct gossip_member *m);
void daemon_keys_write_member(struct daemon *d, struct vi_writer *w, const struct gossip_member *m);
/* daemon_renew.c: answers CALL_RENEW. */
int daemon_renew_answer(struct daemon *d, const struct vi_id *from, const uint8_t *body, size_t len,
                        uint8_t *out);
/* daemon_keys_rpc.c */
void daemon_do_cert(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_cert_renew(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_revoke(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_revocations(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_delegate(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_rollover(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_retire(void *arg, struct rpc_call *call, struct vi_reader *params);

/* daemon_guests.c */
int daemon_guests_open(struct daemon *d, int link_fd, char *why, size_t cap);
void daemon_guests_tick(struct daemon *d, vi_time now);
vi_time daemon_guests_deadline(const struct daemon *d);
const struct hv_guest *daemon_guest_find(const struct daemon *d, const char *name_or_uuid);
const struct hv_guest *daemon_guest_by_id(const struct daemon *d, const struct vi_id *uuid);
/* The environment a guest belongs to, by the bridge of its first vif; NULL: none. */
struct env *daemon_guest_env(struct daemon *d, const struct hv_guest *g);

/* daemon_switch.c: the environments' Ethernet. */
unsigned daemon_switch_threads(const struct daemon *d);
int daemon_switch_open_sockets(struct daemon *d, char *why, size_t cap);
int daemon_switch_open(struct daemon *d, char *why, size_t cap);
void daemon_switch_close(struct daemon *d);
void daemon_switch_pump(struct daemon *d, vi_time now);
vi_time daemon_switch_deadline(const struct daemon *d);
void daemon_switch_message(struct daemon *d, const struct vi_id *from, const uint8_t *data,
                           size_t len);
void daemon_switch_keys(struct daemon *d, const struct mesh_keys *keys);
void daemon_switch_relayed(struct daemon *d, const uint8_t *data, size_t len); /* came through a relay */
/* The environment's TAP is there: fd is taken over. vnet: it may be used with superframes. */
void daemon_switch_env_open(struct daemon *d, struct env *e, int tap_fd, bool vnet);
void daemon_switch_env_changed(struct daemon *d, const struct env *e); /* its definition */
void daemon_switch_env_close(struct daemon *d, struct env *e);
void daemon_switch_participants(struct daemon *d, struct env *e);
void daemon_switch_member(struct daemon *d, const struct vi_id *peer, enum gossip_state state);
/* d->guests is new. */
void daemon_switch_guests(struct daemon *d);
/* One guest's MACs are ours to state, or not any more. */
void daemon_switch_guest(struct daemon *d, const struct hv_guest *g, bool present);
bool daemon_key_of(void *arg, const struct vi_id *peer, uint8_t pk[32]);
/* A guest was given away: this host passes on what still comes for it, and takes part a little longer. */
void daemon_switch_given(struct daemon *d, const struct vi_id *env);
/* Whether this host takes part in environments may have changed. */
void daemon_switch_away(struct daemon *d);
bool daemon_env_here(const struct env *e); /* does it? */

/* daemon_switch_show.c: mtu, limits, macs, conflicts, counters, traffic of env.show */
#define DAEMON_SWITCH_FIELDS 6
void daemon_switch_write_env(struct daemon *d, struct vi_writer *w, const struct env *e);
void daemon_switch_write_counters(struct daemon *d, struct vi_writer *w); /* of the whole host: field `counters` */

/* daemon_attach.c: LANs of this host in environments' bridges */
void daemon_attach_env_open(struct daemon *d, const struct env *e);
void daemon_attach_env_close(struct daemon *d, const struct env *e); /* it was removed */
void daemon_attach_pump(struct daemon *d, vi_time now);
vi_time daemon_attach_deadline(const struct daemon *d);
void daemon_attach_close(struct daemon *d);
void daemon_do_env_attach(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_env_detach(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_attach_write_env(struct daemon *d, struct vi_writer *w, const struct env *e); /* field `attached` */

/* daemon_datapath.c: datapath, paths of env.show: two fields */
void daemon_datapath_write_env(struct daemon *d, struct vi_writer *w, const struct env *e);

/* daemon_drain.c: the operator's orders about the whole host. */
void daemon_drain_open(struct daemon *d); /* once the policy is there */
void daemon_drain_tick(struct daemon *d, vi_time now);
bool daemon_drained(struct daemon *d); /* and all of its guests are known to have gone */
bool daemon_paused(const struct daemon *d);
unsigned daemon_drain_fields(const struct daemon *d); /* of daemon_drain_write(), in status */
void daemon_drain_write(struct daemon *d, struct vi_writer *w);
/* Placement (daemon_placement.c): after an evaluation with these summaries; shown in the status. */
bool daemon_packs(const struct daemon *d);
void daemon_placement_evaluated(struct daemon *d, vi_time now);
unsigned daemon_placement_fields(const struct daemon *d);
void daemon_placement_write(const struct daemon *d, struct vi_writer *w);
int daemon_drain_asked(struct daemon *d, const struct vi_id *from, const uint8_t *body, size_t len, uint8_t *out); /* CALL_DRAIN */
void daemon_do_drain(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_drain_show(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_undrain(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_pause(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_resume(void *arg, struct rpc_call *call, struct vi_reader *params);

/* daemon_evacuate.c: to other domains, when this one has no room */
void daemon_evacuate_anew(struct daemon *d);
void daemon_evacuate_tick(struct daemon *d, vi_time now); /* while it is drained, once a second */
/* Of a guest that no host of the domain takes: what is done about it. false: nothing can be said. */
bool daemon_evacuate_word(struct daemon *d, const struct hv_guest *g, char *out, size_t cap);

/* daemon_policy.c */
int daemon_policy_open(struct daemon *d, char *why, size_t cap);
void daemon_policy_close(struct daemon *d);
void daemon_policy_pump(struct daemon *d, vi_time now);
vi_time daemon_policy_deadline(const struct daemon *d);
void daemon_policy_mode(struct daemon *d); /* cfg.mode changed */
int daemon_policy_probed(struct daemon *d, const struct vi_id *from, const uint8_t *body, size_t len,
                         uint8_t *out);
void daemon_policy_load(struct daemon *d, struct vi_writer *w); /* status: field `load` */
unsigned daemon_policy_summary_fields(struct daemon *d, const struct vi_id *peer);
void daemon_policy_write_summary(struct daemon *d, struct vi_writer *w, const struct vi_id *peer);
void daemon_policy_write_guest(struct daemon *d, struct vi_writer *w, const struct hv_guest *g);
void daemon_policy_moved(struct daemon *d, const struct vi_id *guest, const struct vi_id *peer, int err,
                         const char *why, bool told); /* told: people hear of it otherwise */
void daemon_policy_arrived(struct daemon *d, const struct handover_guest *g, const struct vi_id *from);
int daemon_policy_moves(struct daemon *d, const uint8_t *body, size_t len, uint8_t *out); /* CALL_MOVES */
void daemon_do_migrate(void *arg, struct rpc_call *call, struct vi_reader *params);

/* daemon_history.c */
/* An event that is kept in the store, too: instead of daemon_event_done(). */
void daemon_history(struct daemon *d, const struct event *ev);
void daemon_history_latest(struct daemon *d, struct vi_writer *w); /* an array of the newest few, oldest first */
void daemon_do_history(void *arg, struct rpc_call *call, struct vi_reader *params);

/* daemon_name.c: names as people give them, of guests, environments and hosts */
#define DAEMON_NAME 160
enum { DAEMON_IS_GUEST = 1, DAEMON_IS_ENV = 2, DAEMON_IS_HOST = 4 };
/* What a name means here: a mask of the above, 0: nothing. "guest:x", "env:x" and "host:x" mean that one, whether there is
 * such a one or not; *name is x, in text. */
unsigned daemon_name_means(struct daemon *d, const char *text, const char **name);
/* Answers that it means several things, and how to say which. */
void daemon_name_ambiguous(struct rpc_call *call, const char *name, unsigned means);
/* A living member by name or whole id, this host too: 0, VI_ENOTFOUND or VI_EEXIST (two have that name); the call is answered
 * then, if there is one. */
int daemon_member_by_name(struct daemon *d, struct rpc_call *call, const char *name, struct vi_id *id);

/* daemon_guestname.c: names of guests, by tag (policy/rules.h); NULL: not known here. Borrowed until the next turn. */
const char *daemon_guest_name(const struct daemon *d, const uint8_t tag[POLICY_RULE_TAG]);
/* Asks the environment's hosts in this domain for the names of its guests, then goes on with the call: perhaps at once, with those that
 * are known. An environment that is gone by then: the call is answered with that. */
typedef void daemon_names_then(struct daemon *d, struct rpc_call *call, const struct env *e);
void daemon_names_ask(struct daemon *d, struct rpc_call *call, const struct env *e, daemon_names_then *then);

/* daemon_view.c: hosts in detail, this one's and those of the domain's members */
#define VIEWS_MOST 64 /* hosts of one question; more aren't asked */

struct daemon_view {
    struct vi_id id;
    char name[CERT_NAME_MAX + 1];
    bool asked, known; /* known: it told everything */
    struct hostview host;
    unsigned n;    /* guests got */
    struct hostview_guest *guest; /* [HOSTVIEW_GUESTS] */
};
struct daemon_views {
    struct daemon *d;
    unsigned n, left;
    unsigned unasked; /* members beyond VIEWS_MOST */
    struct daemon_view view[VIEWS_MOST];
    void (*done)(struct daemon_views *v);
    void *arg;
};
int daemon_view_answer(struct daemon *d, const uint8_t *body, size_t len, uint8_t *out); /* CALL_VIEW */
void daemon_view_own(struct daemon *d, struct hostview *h, struct hostview_guest guests[HOSTVIEW_GUESTS]);
/* Is the question about this member? It is asked first when there are more than can be asked. */
typedef bool daemon_views_wanted(void *arg, struct daemon *d, const struct vi_id *id, const char *name);
/* Asks this host and the living members of the domain (wanted NULL: those with the most room first; or one host alone), and then calls
 * done, never from inside; what it is handed is freed when it returns, and so is arg, which is of malloc(). An error, VI_ENOMEM, VI_EFULL
 * (too many such questions at once): arg is still the caller's. */
int daemon_views_ask(struct daemon *d, daemon_views_wanted *wanted, void (*done)(struct daemon_views *v), void *arg);
int daemon_views_ask_hosts(struct daemon *d, const struct vi_id *hosts, unsigned n, void (*done)(struct daemon_views *v), void *arg); /* these alone */
int daemon_views_ask_one(struct daemon *d, const struct vi_id *host, void (*done)(struct daemon_views *v), void *arg);
void daemon_views_tick(struct daemon *d);
void daemon_views_close(struct daemon *d);

/* daemon_plan.c */
void daemon_do_plan(void *arg, struct rpc_call *call, struct vi_reader *params);

/* daemon_todo.c: what the policy would do, as commands */
#define DAEMON_COMMAND 200
/* The command that does it, for a decision that was only said; "": none. Returns out. */
const char *daemon_decision_command(struct daemon *d, const struct policy_decision *dec, char *out, size_t cap);
unsigned daemon_todo_count(struct daemon *d); /* status: field `suggestions` */
void daemon_do_todo(void *arg, struct rpc_call *call, struct vi_reader *params);

/* daemon_whynot.c: explain GUEST --on HOST */
int daemon_whynot_answer(struct daemon *d, const struct vi_id *from, const uint8_t *body, size_t len, uint8_t *out); /* CALL_WHYNOT */
void daemon_whynot(struct daemon *d, struct rpc_call *call, const struct hv_guest *g, const char *host);

/* daemon_explain_more.c: of a host, an environment; where a guest is that isn't here. */
void daemon_explain_host(struct daemon *d, struct rpc_call *call, const char *name);
void daemon_explain_env(struct daemon *d, struct rpc_call *call, const struct env *e);
void daemon_explain_elsewhere(struct daemon *d, struct rpc_call *call, const char *guest);
bool daemon_env_has(const struct env *e, const struct vi_id *host); /* does that other host take part in it? */
/* NULL, or why that domain would not have so much of an environment, as far as is known here. */
const char *daemon_env_refused(struct daemon *d, const struct env *e, const char *domain, uint64_t kb, double pct, char *out, size_t cap);

/* daemon_explain.c */
void daemon_do_explain(void *arg, struct rpc_call *call, struct vi_reader *params);

/* daemon_handover.c */
/* Begins to move a guest. call, if not NULL, is answered with the handover's id, or with why not; it is
 * then the handover's. reason: for the history. An error here: nothing was begun, and call is still the caller's. */
int daemon_handover_start(struct daemon *d, const struct vi_id *guest, const struct vi_id *peer, const char *reason,
                          struct rpc_call *call, char *why, size_t cap);
/* Why the handover was begun, for the history. */
void daemon_handover_reason(struct daemon *d, const struct vi_id *id, const char *reason);
/* A guest's description as it is offered to others: its length, or a vi_err with a sentence in why (static). */
int daemon_offer_describe(struct daemon *d, const struct vi_id *guest, const struct hv_description *desc, uint8_t *out, size_t cap,
                          const char **why);
/* Ends the streams with that peer, in both directions. */
void daemon_handover_drop_peer(struct daemon *d, const struct vi_id *peer);
/* Does it wait for that peer, or that peer for it, to bring a move to its end that neither can take back alone? */
bool daemon_handover_owes(const struct daemon *d, const struct vi_id *peer);
void daemon_handover_free(struct daemon *d); /* after the loop's last turn */
/* What runs here for a handover; NULL: nothing. Borrowed until the loop's next turn. */
struct transit *daemon_transit(const struct daemon *d, const struct vi_id *id);

/* A named fault point, in builds with them. */
void daemon_fault(void *arg, const char *name);
/* A record into the journal; daemon_journal_done() tells whose it was. 0, or it is not written. */
int daemon_journal(struct daemon *d, const struct vi_id *id, bool envmove, const uint8_t *data, size_t len);

/* daemon_envmove.c: whole environments to other domains */
int daemon_envmove_open(struct daemon *d, char *why, size_t cap);
void daemon_envmove_free(struct daemon *d);
void daemon_envmove_boot(struct daemon *d); /* the boot is known; before records */
bool daemon_envmove_record(struct daemon *d, const struct vi_id *id, const uint8_t *record, size_t len); /* ours? */
void daemon_envmove_persisted(struct daemon *d, const struct vi_id *id, int err, const char *why);
void daemon_envmove_pump(struct daemon *d, vi_time now);
vi_time daemon_envmove_deadline(const struct daemon *d);
void daemon_envmove_message(struct daemon *d, const struct vi_id *from, const uint8_t *data, size_t len);
void daemon_envmove_moved(struct daemon *d, const struct vi_id *guest, const struct vi_id *peer, int err, const char *why);
void daemon_envmove_came(struct daemon *d, const struct vi_id *guest); /* by a handover, which is over */
void daemon_envmove_evaluated(struct daemon *d); /* the policy has: is something short here that no host helps? */
unsigned daemon_envmove_leased(const struct daemon *d, uint64_t *kb, double *pct);
/* What leases keep, for the policy's snapshot. */
void daemon_envmove_snapshot(struct daemon *d, uint64_t *reserved_kb, double *reserved_pct);
bool daemon_envmove_holds(const struct daemon *d, const struct vi_id *guest); /* its environment is moving */
/* May a guest come from there? Adds what leases keep, takes its own off its needs. VI_EREFUSED: another domain's,
 * without a lease. */
int daemon_envmove_admit(struct daemon *d, const struct vi_id *guest, const struct vi_id *from,
                         struct policy_needs *needs, uint64_t *kb, double *pct, bool *leased);
bool daemon_pinned(const struct daemon *d, const char *name); /* by the configuration */
/* daemon_envmove_rpc.c */
int daemon_envmove_asked(struct daemon *d, const struct vi_id *from, const uint8_t *body, size_t len, uint8_t *out);
void daemon_envmove_counts(struct daemon *d, struct vi_writer *w); /* status: field `env_moves` */
/* Has who represents this domain begin a move; done, if not NULL, hears whether that was begun. */
void daemon_envmove_order(struct daemon *d, const struct vi_id *env, const char *domain,
                          void (*done)(struct daemon *d, const struct vi_id *env, int err));
#define DAEMON_ENVMOVE_EXPLAIN 4 /* fields: allowed, hosts, decisions, moves */
void daemon_envmove_explain(struct daemon *d, struct vi_writer *w, const struct env *e);
void daemon_do_env_move(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_env_moves(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_env_move_show(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_env_move_cancel(void *arg, struct rpc_call *call, struct vi_reader *params);

/* daemon_envmake.c: environments made from images, and the guests that this host keeps */
int daemon_envmake_open(struct daemon *d, char *why, size_t cap);
void daemon_envmake_free(struct daemon *d);
void daemon_envmake_load(struct daemon *d); /* the boot is known, handovers are resumed */
void daemon_envmake_pump(struct daemon *d, vi_time now);
vi_time daemon_envmake_deadline(const struct daemon *d);
/* Answers CALL_ENVMAKE. */
int daemon_envmake_asked(struct daemon *d, const struct vi_id *from, const uint8_t *body, size_t len, uint8_t *out);
/* The hypervisor's list is asked for; it has come. */
void daemon_envmake_listing(struct daemon *d);
void daemon_envmake_listed(struct daemon *d);
/* Room that is promised to guests that are about to be made, or started. */
void daemon_envmake_promised(const struct daemon *d, uint64_t *kb, double *pct);
/* A guest came by a handover or came back, or was given away. */
void daemon_envmake_arrived(struct daemon *d, const struct handover_guest *g);
void daemon_envmake_given(struct daemon *d, const struct vi_id *guest);
/* What a guest that is kept here is made from, into the description for its next host. */
void daemon_envmake_describe(const struct daemon *d, const struct vi_id *guest, struct hv_description *out);
/* daemon_envmake_rpc.c */
void daemon_envmake_write_env(struct daemon *d, struct vi_writer *w, const struct env *e); /* field `kept` of env.show */
/* Begins to remove an environment that has guests, as far as violin made them; the call is answered. */
void daemon_envmake_remove(struct daemon *d, struct rpc_call *call, const char *name, bool force);
void daemon_do_env_make(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_env_start(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_env_stop(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_env_shrink(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_env_jobs(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_env_job(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_env_look(void *arg, struct rpc_call *call, struct vi_reader *params);

/* daemon_owner.c */
struct owned_guest *daemon_owner_find(const struct daemon *d, const struct vi_id *guest);
void daemon_owner_set(struct daemon *d, const struct vi_id *guest, const struct vi_id *owner, uint64_t epoch);
void daemon_owner_load(struct daemon *d);
/* The guest's epoch, 1 for one that never moved; is it this host's? */
uint64_t daemon_epoch_of(const struct daemon *d, const struct vi_id *guest);
bool daemon_owns(const struct daemon *d, const struct vi_id *guest);
int daemon_handover_open(struct daemon *d, char *why, size_t cap);
void daemon_handover_close(struct daemon *d);
void daemon_handover_pump(struct daemon *d, vi_time now);
vi_time daemon_handover_deadline(const struct daemon *d);
void daemon_handover_message(struct daemon *d, const struct vi_id *from, const uint8_t *data,
                             size_t len);
void daemon_handover_event(struct daemon *d, const struct hv_event *ev);
void daemon_handover_guests(struct daemon *d);     /* d->guests is new */
void daemon_handover_hypervisor(struct daemon *d); /* d->host is known for the first time */
void daemon_journal_done(void *arg, uint64_t handle, int err, const char *text);
/* Bytes of a handover's stream that went over the network so far; 0 where there is none yet. */
uint64_t daemon_handover_bytes(const struct daemon *d, const struct vi_id *id);
void daemon_handover_counts(struct daemon *d, struct vi_writer *w); /* status: field `handovers` */
void daemon_do_handover_list(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_handover_show(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_handover_resolve(void *arg, struct rpc_call *call, struct vi_reader *params);

/* daemon_rpc.c */
extern const struct rpc_entry daemon_methods[];

#endif
