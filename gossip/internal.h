/* Inside of the gossip core: what its files share. */
#ifndef GOSSIP_INTERNAL_H
#define GOSSIP_INTERNAL_H

#include "gossip/codec.h"
#include "gossip/idmap.h"
#include "gossip/suspicion.h"
#include "peer/base/err.h"

#define GSP_SENDS_MAX  4096 /* waiting */
#define GSP_SEEDS_MAX  256
#define GSP_RELAYS_MAX 256
#define GSP_HELPERS    8    /* config.indirect, at most */
#define GSP_TIERS      32   /* transmissions of a rumour, at most */
#define GSP_PULLS      64   /* what was asked for of late */
#define GSP_BUCKETS_N  256
#define GSP_SELF       0    /* index of ourselves in the table */
#define GSP_COUNTER_BITS 20 /* of a summary's version; above them the incarnation */

/* A member's own word with its signature, key and certificate. Never changed once made. */
struct gsp_word {
    struct gsp_word *chain;   /* in the pool */
    struct gossip_pool *pool; /* that shares it; NULL: it is ours alone */
    uint32_t refs;
    struct vi_id hash;        /* of id and incarnation: its part of the digest */
    struct gsp_statement st;
    uint8_t sig[GOSSIP_SIG], key[GOSSIP_KEY];
    uint16_t cert_len;
    uint8_t cert[];
};

/* What only a suspected or dead member needs. */
struct gsp_doubt {
    struct gossip_why why;
    vi_time start, until; /* SUSPECT: runs out */
    vi_time ask;          /* others for its newest word, next */
    vi_time told;         /* when we last told it that it is doubted */
    uint32_t at;          /* in gossip.suspects, or GSP_NONE */
    unsigned n;
    struct vi_id accusers[GSP_ACCUSERS];
};

/* Small: there are as many as members, at every member. */
struct gsp_member {
    struct gsp_word *word; /* NULL: a free place */
    struct gsp_doubt *doubt;
    vi_time heard;
    uint32_t since;  /* in this state, GSP_SINCE units of the clock */
    uint32_t order;  /* place in gossip.order, or GSP_NONE; of a free place the next one */
    uint32_t rumour; /* in gossip.rumour, or GSP_NONE */
    uint16_t part;   /* the id's first two bytes: where lists have it */
    uint8_t state;   /* enum gossip_state */
};
#define GSP_SINCE (100 * VI_MSEC)

/* A member's state that is being told. */
struct gsp_rumour {
    uint32_t member, prev, next; /* in its tier's list */
    uint8_t tier;                /* times it was sent */
};

struct gsp_probe {
    bool on, asked;
    uint32_t seq;
    struct vi_id target;
    vi_time sent, direct_until, again, end; /* again: everybody is asked once more */
    unsigned nhelpers, nacks;
    struct vi_id helpers[GSP_HELPERS];
    bool nacked[GSP_HELPERS];
};

struct gsp_relay {
    bool on, nacked;
    uint32_t seq, from_seq;
    struct vi_id from, target;
    vi_time nack_at, until;
};

struct gsp_seed {
    struct vi_id id;
    struct gossip_addr addr;
};

/* A summary (kind 0, key = origin) or a record. */
struct gsp_entry {
    bool used;
    uint8_t kind;
    struct vi_id key, origin;
    uint8_t tag[1 + GSP_PREFIX]; /* kind and prefix: the map's key */
    uint16_t check;              /* of the bytes: same version, other content */
    uint64_t version;
    vi_time born;
    size_t len;
    uint8_t *bytes;
    uint32_t prev, next; /* newest first */
};

struct gsp_store {
    struct gsp_entry *e;
    uint32_t n, cap, free_head, newest, oldest;
    uint32_t records, summaries, cursor;
    unsigned slices, wanted; /* so many more may go out when asked for, in this interval */
    vi_time lacking;         /* until then it asks for slices */
    struct gsp_idmap map;
    uint32_t counter; /* of our own summaries in this incarnation */
};

struct gossip {
    struct gossip_config cfg;
    struct vi_rng *rng;
    vi_time now;
    struct gossip_counters count;

    struct gsp_member *m;
    uint32_t n, cap, free_head; /* free places are chained by `next` */
    uint32_t members;
    struct gsp_idmap map; /* by GSP_PREFIX bytes of the id */
    uint32_t *order;      /* alive and suspect others, shuffled */
    uint32_t norder, order_cap, next_probe;
    uint32_t *suspects;
    uint32_t nsuspects, suspects_cap;
    uint32_t ndead;

    uint8_t digest[VI_ID_SIZE]; /* of all alive and suspect: XOR of hashes of (id, incarnation) */
    uint32_t bucket[GSP_BUCKETS_N];

    struct gsp_rumour *rumour;
    uint32_t rumour_cap, rumour_free; /* free ones are chained by `next` */
    uint32_t tier_head[GSP_TIERS], tier_tail[GSP_TIERS], rumours;

    struct gsp_probe probe;
    struct gsp_rtts rtts;
    unsigned health;
    unsigned unheard, answered; /* own probes in a row: not even helpers heard; answered */
    vi_time outcome_at;         /* of the latest of them */
    bool aside;  /* our own probes fail: we neither judge nor refute */
    bool owed;   /* … and were accused meanwhile */
    vi_time repeated_at; /* our word to one that was behind it */
    vi_time told_over_at; /* who is gone, to one that didn't know; … */
    unsigned told_over;   /* … so many since */
    vi_time refuted_at; /* a suspicion of ours was last found wrong */
    uint32_t retries;   /* dead ones still to be tried soon */
    uint32_t seq;
    struct vi_id hint; /* probe this one next; zero: none */
    struct gsp_relay *relay;
    unsigned nrelays, relay_cap;

    struct gsp_seed seed[GSP_SEEDS_MAX];
    unsigned nseeds, syncs;
    vi_time join_gap;

    vi_time next_probe_at, next_gossip, next_sync, next_store, next_join;
    vi_time last_rx, hold_until; /* no verdicts before */
    uint64_t reserved;           /* incarnation that was persisted */
    unsigned leaving;            /* rounds of good-byes still to say */
    bool left, gone;

    struct {
        uint8_t prefix[GSP_PREFIX];
        vi_time at;
    } pulled[GSP_PULLS];
    unsigned next_pulled;

    struct gsp_store store;

    struct gossip_effect *fx; /* a ring */
    size_t fx_cap, fx_head, fx_len, fx_sends;
    bool fx_taken; /* the head was handed out */
};

/* effects.c */
int gsp_fx_reserve(struct gossip *g, size_t n); /* n effects other than SEND will fit */
void gsp_fx_push(struct gossip *g, const struct gossip_effect *fx); /* reserved before */
void gsp_fx_free(struct gossip *g);
/* Sends to a peer; addr may be NULL. */
void gsp_send(struct gossip *g, const struct vi_id *to, const struct gossip_addr *addr,
              const struct gsp_out *o);

/* word.c */
/* A new word, or the pool's; NULL: no memory. */
struct gsp_word *gsp_word_new(struct gossip *g, const struct gsp_statement *st, const uint8_t *sig,
                              const uint8_t *key, const uint8_t *cert, size_t cert_len);
void gsp_word_free(struct gsp_word *w); /* NULL does nothing */
/* Is this very word, with key and certificate, in the pool: found authentic by another core? */
bool gsp_word_shared(const struct gossip *g, const struct gsp_read_item *it);
uint32_t gsp_cert_tag(const uint8_t *cert, size_t len);

/* members.c */
void gsp_members_init(struct gossip *g);
void gsp_members_free(struct gossip *g);
uint32_t gsp_find(const struct gossip *g, const struct vi_id *id);
uint32_t gsp_find_prefix(const struct gossip *g, const uint8_t prefix[GSP_PREFIX]);
bool gsp_is_up(const struct gsp_member *m); /* alive or suspect */
static inline const struct vi_id *gsp_id(const struct gsp_member *m)
{
    return &m->word->st.id;
}
/* Takes the word. Index, or GSP_NONE (word freed). state: UP members get into the order. */
uint32_t gsp_member_add(struct gossip *g, struct gsp_word *word, enum gossip_state state);
void gsp_member_remove(struct gossip *g, uint32_t i);
/* Replaces the word; takes it. */
void gsp_member_word(struct gossip *g, uint32_t i, struct gsp_word *word);
/* The only place where a state changes: lists, digest, effect. 0 or VI_ENOMEM (nothing changed). */
int gsp_member_state(struct gossip *g, uint32_t i, enum gossip_state to, enum gossip_change change,
                     const struct gossip_why *why);
int gsp_suspect(struct gossip *g, uint32_t i, const struct vi_id *accusers, unsigned n,
                const struct gossip_why *why);
void gsp_member_effect(struct gossip *g, uint32_t i, enum gossip_state was,
                       enum gossip_change change, const struct gossip_why *why);
/* Up to n different members chosen at random that are alive (suspect only if there is no other). */
unsigned gsp_pick(struct gossip *g, const struct vi_id *not_this, unsigned n, uint32_t *out);

/* rumour.c */
void gsp_rumours_init(struct gossip *g);
void gsp_rumour(struct gossip *g, uint32_t i); /* begin to spread the member's present state */
void gsp_unrumour(struct gossip *g, uint32_t i);
bool gsp_put_about(struct gossip *g, struct gsp_out *o, uint32_t i); /* its state, as an item */
bool gsp_put_full_of(struct gossip *g, struct gsp_out *o, uint32_t i);
void gsp_begin(struct gossip *g, struct gsp_out *o, uint8_t buf[GOSSIP_DATAGRAM_MAX],
               enum gsp_type type);
void gsp_piggyback(struct gossip *g, struct gsp_out *o, uint32_t to); /* GSP_NONE: a stranger */
void gsp_gossip_tick(struct gossip *g);
void gsp_tell(struct gossip *g, uint32_t i); /* a doubted or gone member what is believed of it */
/* A new word of ourselves with a greater incarnation; *least: greater than that, too. */
int gsp_self_word(struct gossip *g, uint64_t least, bool left);

/* receive.c: the items of a datagram */
void gsp_items(struct gossip *g, const struct vi_id *via, struct gsp_cur *c, bool *full_of_via);
void gsp_want(struct gossip *g, const struct vi_id *from, const uint8_t prefix[GSP_PREFIX]);

/* aside.c */
void gsp_outcome(struct gossip *g, bool answered); /* of a probe of our own; no: nor were helpers heard */
bool gsp_aside_holds(const struct gossip *g, const struct gsp_doubt *d);
void gsp_aside_tick(struct gossip *g);             /* nothing else might end it */

/* probe.c */
void gsp_dies(struct gossip *g, uint32_t i); /* a suspect: dead from now on */
void gsp_probe_tick(struct gossip *g);
void gsp_relay_tick(struct gossip *g);
vi_time gsp_probe_deadline(const struct gossip *g);
vi_time gsp_relay_deadline(const struct gossip *g);
vi_time gsp_probe_timeout(const struct gossip *g);
void gsp_on_ping(struct gossip *g, const struct vi_id *from, uint32_t seq);
void gsp_on_ping_req(struct gossip *g, const struct vi_id *from, uint32_t seq,
                     const struct vi_id *target);
void gsp_on_ack(struct gossip *g, const struct vi_id *from, uint32_t seq);
void gsp_on_nack(struct gossip *g, const struct vi_id *from, uint32_t seq);
bool gsp_held(struct gossip *g); /* no verdicts at the moment */
vi_time gsp_ask_gap(const struct gossip *g);
void gsp_doubt_tick(struct gossip *g);
vi_time gsp_doubt_deadline(const struct gossip *g);
void gsp_lagged(struct gossip *g, vi_time lag);
void gsp_health(struct gossip *g, int delta);
void gsp_doubt_until(const struct gossip *g, struct gsp_doubt *d, vi_time until); /* only sooner */
/* why: how the accusation came here; its accuser is this one. */
void gsp_confirm(struct gossip *g, uint32_t i, const struct vi_id *accuser, const struct gossip_why *why);

/* sync.c */
void gsp_sync_tick(struct gossip *g);
void gsp_join_tick(struct gossip *g);
void gsp_retry_lost(struct gossip *g); /* all the dead, soon, one after the other */
int gsp_seed_add(struct gossip *g, const struct vi_id *id, const struct gossip_addr *addr);
void gsp_send_hash(struct gossip *g, uint32_t to);
void gsp_ask_about(struct gossip *g, uint32_t i); /* two others: has it a newer word? */
void gsp_on_join(struct gossip *g, const struct vi_id *from);
void gsp_on_hash(struct gossip *g, uint32_t from, struct gsp_cur *c);
void gsp_on_buckets(struct gossip *g, uint32_t from, struct gsp_cur *c);
void gsp_on_list(struct gossip *g, uint32_t from, struct gsp_cur *c);
void gsp_on_pull(struct gossip *g, const struct vi_id *from, struct gsp_cur *c);

/* store.c */
void gsp_store_init(struct gossip *g);
void gsp_store_free(struct gossip *g);
int gsp_store_put(struct gossip *g, const struct gsp_entry *in, const uint8_t *bytes, bool *changed);
uint32_t gsp_store_find(const struct gossip *g, uint8_t kind, const struct vi_id *key);
void gsp_store_drop_summary(struct gossip *g, const struct vi_id *id);
void gsp_store_drop_origin(struct gossip *g, const struct vi_id *id);
void gsp_store_drop_own(struct gossip *g, const struct vi_id *id); /* what a peer said of itself */
bool gsp_store_over(const struct gossip *g, const struct gsp_entry *e); /* too old to count */
void gsp_store_drop_over(struct gossip *g);
int gsp_store_set_summary(struct gossip *g, const uint8_t *bytes, size_t len);

/* exchange.c */
void gsp_store_tick(struct gossip *g);
void gsp_on_digest(struct gossip *g, uint32_t from, struct gsp_cur *c);
void gsp_on_values(struct gossip *g, uint32_t from, struct gsp_cur *c);
void gsp_on_want(struct gossip *g, uint32_t from, struct gsp_cur *c);

#endif
