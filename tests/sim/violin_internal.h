/* What the files of the simulated peers share. See violin.h. */
#ifndef TESTS_SIM_VIOLIN_INTERNAL_H
#define TESTS_SIM_VIOLIN_INTERNAL_H

#include "gossip/gossip.h"
#include "gossip/idmap.h"
#include "gossip/representative.h"
#include "peer/call.h"
#include "peer/federation.h"
#include "tests/sim/violin.h"

#define VIOLIN_OVERHEAD (28 + 32) /* of a datagram: UDP, IPv4, the mesh's header and tag */

enum vn_copy_state { VN_RUNS, VN_PAUSED, VN_SUSPENDED };

struct vn_copy { /* a guest, as a host's hypervisor has it */
    unsigned guest;
    enum vn_copy_state is;
    bool incoming;
    uint32_t domid;
};

struct vn_view { /* another domain, as this host knows it */
    uint64_t version, summary_version, free_kb;
    double capacity_pct, demand_pct;
    struct vi_id rep;
    vi_time heard; /* 0: never */
};

/* Keys, ids, and what a host keeps on its disk. */
struct vn_disk {
    struct vi_id id, boot, journal;
    uint8_t pk[32], sk[64];
    uint64_t incarnation, fed_incarnation;
    struct vi_rng rng;
};

struct vn_host {
    struct violin *v;
    unsigned n, domain;
    struct gossip *gossip, *fed; /* fed: the representatives'; NULL: it doesn't represent */
    struct representative rep;
    struct rep_meta meta;
    bool ranks_stale, represents;
    vi_time publish_at, view_at;
    struct vn_view *view; /* of every domain */
    uint64_t published;   /* hash of the environments that it said it takes part in */
    struct policy *policy;
    struct envmoves *moves;
    struct handovers *handovers;
    struct calls *calls;
    uint64_t leased_kb;   /* at the latest evaluation */
    unsigned n_copies, copies_cap;
    struct vn_copy *copy;
    uint32_t next_domid;
    struct vn_probing { /* questions of the policy under way */
        bool used;
        struct vn_host *h;
        struct vi_id peer, guest;
    } probing[CALLS_MAX];
};

/* One handover's stream. */
struct vn_stream {
    struct vi_id id;
    unsigned from, to, guest;
    bool broken, flows, restoring; /* flows: its end wasn't told yet */
    uint32_t reserved;             /* at its destination: whose memory is taken until it is there */
    struct vn_stream *next;
};

/* Something a host did that takes a while. */
enum vn_later_kind { VN_PERSISTED, VN_MOVE_PERSISTED, VN_ADMIT, VN_ARRIVING, VN_HV };
struct vn_later {
    enum vn_later_kind kind;
    unsigned host, guest;
    struct vi_id id;
    enum handover_op op;
    uint32_t domid;
    int err;
    uint32_t next_free;
};

struct violin {
    struct violin_config cfg;
    struct world *w;
    struct pw_world *pw;
    vi_time begin; /* of the run, in the world's time */
    bool begun, no_memory;
    struct vn_disk *disk;
    struct gossip_pool *pool;
    struct gsp_idmap by_id;
    struct vi_id *domain_id, *env_id;
    struct policy_rule rule[PW_RULES];
    uint32_t *epoch; /* of each guest: how often it moved */
    struct vn_stream *streams;
    struct vn_later *later;
    uint32_t n_later, later_cap, later_free;
    unsigned notes_taken, next_order;
    vi_time order_again;
    struct violin_count count;
    struct vn_times {
        uint32_t *ns;
        size_t n, cap;
    } took[2]; /* evaluations: all; those that looked at other hosts */
    bool looked;
};

/* ---- violin.c: hosts, network, time ---- */

struct vn_host *vn_host(struct violin *v, unsigned n); /* NULL: down */
unsigned vn_host_of(const struct violin *v, const struct vi_id *id); /* PW's number, or PW_NOWHERE */
unsigned vn_domain_of(const struct violin *v, const struct vi_id *id); /* by its key; PW_NOWHERE */
unsigned vn_env_of(const struct violin *v, const struct vi_id *id);
unsigned vn_env_of_tag(const struct violin *v, const uint8_t tag[ENV_TAG_SIZE]);
void vn_guest_id(unsigned guest, struct vi_id *id);
unsigned vn_guest_of(const struct violin *v, const struct vi_id *id);
vi_time vn_now(const struct vn_host *h);
void vn_send(struct vn_host *h, enum violin_channel c, const struct vi_id *to, const uint8_t *data, size_t len);
/* Everything the cores asked for is carried out. */
void vn_pump(struct vn_host *h);
/* kind, id and the like of *l happen at the host in a while. */
void vn_after(struct vn_host *h, vi_time delay, const struct vn_later *l);
/* The hypervisor's world goes on to now. */
void vn_catch_up(struct violin *v);

/* ---- violin_gossip.c ---- */

bool vn_gossip_open(struct vn_host *h);
void vn_gossip_close(struct vn_host *h);
void vn_gossip_datagram(struct vn_host *h, enum violin_channel c, unsigned from, const uint8_t *data, size_t len);
void vn_gossip_tick(struct vn_host *h);
void vn_gossip_pump(struct vn_host *h);
vi_time vn_gossip_deadline(const struct vn_host *h);
void vn_gossip_summary(struct vn_host *h, const uint8_t *data, size_t len);
void vn_gossip_takes_part(struct vn_host *h); /* its environments may have changed */
void vn_declared(struct vn_host *h, const struct vi_id *from);
void vn_redirected(struct vn_host *h, const uint8_t *data, size_t len);
bool vn_alive(const struct vn_host *h, const struct vi_id *id);

/* ---- violin_policy.c ---- */

bool vn_policy_open(struct vn_host *h);
void vn_policy_tick(struct vn_host *h);
bool vn_policy_pump(struct vn_host *h); /* did it do anything? */
int vn_policy_probed(struct vn_host *h, const struct vi_id *from, const uint8_t *body, size_t len, uint8_t *out);
void vn_policy_domain_load(struct vn_host *h, struct fed_summary *out);

/* ---- violin_moves.c ---- */

bool vn_moves_open(struct vn_host *h);
void vn_moves_tick(struct vn_host *h);
bool vn_moves_pump(struct vn_host *h);
void vn_moves_evaluated(struct vn_host *h);
int vn_moves_order(struct vn_host *h, unsigned env, unsigned domain);
/* For people, if asked for: violin.c. */
void violin_said(const struct vn_host *h, const struct envmove_effect *fx);

/* ---- violin_rules.c ---- */

bool vn_rules_open(struct violin *v);
void vn_rules_snapshot(struct vn_host *h, struct policy_snapshot *s);
void vn_rules_talks(struct vn_host *h, struct policy_snapshot *s);
const struct policy_rules *vn_rules_all(void *arg);
bool vn_rules_refuse(struct vn_host *h, const struct handover_guest *g, char why[POLICY_RULE_TEXT]);
void vn_rules_came(struct vn_host *h, const struct handover_guest *g, const struct vi_id *from);
int vn_rules_moves(struct vn_host *h, const struct vi_id *from, const uint8_t *body, size_t len, uint8_t *out);

/* ---- violin_handover.c ---- */

bool vn_handover_open(struct vn_host *h);
bool vn_handover_pump(struct vn_host *h);
int vn_handover_start(struct vn_host *h, const struct vi_id *guest, const struct vi_id *peer);
void vn_handover_later(struct vn_host *h, const struct vn_later *l);

/* ---- violin_hv.c: the model hypervisor ---- */

struct vn_copy *vn_copy_of(const struct vn_host *h, unsigned guest);
void vn_hv_created(struct violin *v, unsigned env);
void vn_hv_ended(struct violin *v, unsigned env);
void vn_hv_suspend(struct vn_host *h, const struct handover_effect *fx);
void vn_hv_restore(struct vn_host *h, const struct handover_effect *fx);
void vn_hv_end_stream(struct violin *v, const struct vi_id *id);
void vn_hv_streams(struct violin *v); /* those that are through are told of */
/* An operation ends: it happens now. Fills ev in. */
void vn_hv_done(struct vn_host *h, const struct vn_later *l, struct handover_event *ev);
void vn_hv_free(struct violin *v);

#endif
