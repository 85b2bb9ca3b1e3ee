/* The daemon and other domains: what daemon_federation.c (hosts of other domains, who may have a
 * session and for what), daemon_represent.c (representing the own domain, the representatives' gossip) and
 * daemon_federation_rpc.c (the control socket) share; daemon_federation_trust.c has trust itself and statements about keys,
 * daemon_federation_bounds.c what one domain may have of what is for all. */
#ifndef PEER_DAEMON_FEDERATION_H
#define PEER_DAEMON_FEDERATION_H

#include "gossip/gossip.h"
#include "peer/daemon_internal.h"
#include "peer/federation.h"

#define MESH_CHANNEL_FEDERATION 7 /* between representatives: their gossip */

#define FED_HOSTS       1024            /* of other domains, that take part in our environments */
#define FED_GONE        1024            /* revoked hosts of other domains; further revocations aren't taken … */
#define FED_GONE_EACH   256             /* … nor more of one domain: it can't use up what others need */
#define FED_STATEMENTS  2048            /* of other domains about their keys that are kept */
#define FED_AUTHORITIES 3               /* of another domain at a time: one, its successor, and one more in haste */
#define FED_HOSTS_EACH  512             /* hosts of one domain */
#define FED_ENVS        32              /* environments of other domains; as many again stay for our own … */
#define FED_ENVS_EACH   16              /* … and of one domain; */
#define FED_ENVS_EVER   256             /* with those that it removed */
#define FED_REPRESENT_EACH 8            /* members of one domain that live in the representatives' gossip */
#define FED_ASKERS      8               /* sessions with hosts of other domains that only look for our representative */
#define FED_SESSIONS_EACH 32            /* of a representative with hosts of one domain that take part in nothing */
#define FED_AHEAD       (3650 * 24 * VI_HOUR) /* a version is a clock, which isn't that wrong */
#define FED_REDIRECTS   32
#define FED_TIDY        (15 * VI_SEC)   /* who is forgotten, what is to be said anew */
#define FED_PRESENCE    (10 * VI_MIN)   /* said again so often … */
#define FED_FORGET      (35 * VI_MIN)   /* … and forgotten when not said for so long */

/* A domain that we are federated with, as far as it lies with us. */
struct fed_domain {
    bool used;
    struct fed_trust trust;
    struct fed_view view; /* version 0: nothing is known */
    vi_time heard;        /* a newer summary; 0: never */
    bool viewed;          /* a view came since this host started */
};

/* A host of another domain that takes part in environments that we know. */
struct fed_host {
    struct vi_id id;
    struct fed_presence said;
    struct cert cert;
    vi_time at;
};

/* A revoked host of another domain. */
struct fed_gone {
    struct vi_id id, domain; /* fed_domain_key() */
};

struct federation {
    struct fed_domain domain[FED_DOMAINS];
    struct fed_host *hosts;
    unsigned n_hosts, hosts_cap;
    struct fed_gone gone[FED_GONE];
    unsigned n_gone;
    unsigned statements; /* kept in the store, of other domains, about their keys */

    struct representative rep;
    struct rep_meta meta;
    bool ranks_stale;
    struct gossip *gossip; /* the representatives'; NULL: we don't represent */
    struct vi_rng rng;
    vi_time publish_at, view_at;
    struct vi_id redirect[FED_REDIRECTS]; /* seeds that others named: the oldest gives way */
    unsigned next_redirect;
    vi_time redirected_at; /* we told somebody who represents */

    vi_time presence_at;
    struct fed_presence presence; /* what we said last; version 0: nothing */
    vi_time tidy_at;
};

/* daemon_federation.c */
struct fed_host *fed_host_of(const struct daemon *d, const struct vi_id *peer); /* NULL: not known */
void fed_drop_host(struct daemon *d, struct fed_host *h);
bool fed_judge_trust(struct daemon *d, const struct vi_id *key, const struct vi_id *origin, uint64_t version,
                     const uint8_t *bytes, size_t len);
struct fed_domain *fed_find(struct daemon *d, const char *domain); /* not withdrawn; NULL: none */
bool fed_any(const struct daemon *d);
/* Judges and takes a record that came by either store. */
bool fed_accept(struct daemon *d, const struct gossip *g, unsigned kind, const struct vi_id *key,
                const struct vi_id *origin, uint64_t version, const uint8_t *bytes, size_t len);
void fed_take(struct daemon *d, unsigned kind, const uint8_t *bytes, size_t len, vi_time age);
bool fed_gone(const struct daemon *d, const struct vi_id *peer);
/* Is it of our domain, by its session's certificate? */
bool fed_foreign(struct daemon *d, const struct vi_id *peer, struct cert *c);
/* Does it take part in an environment that we know and that may be here? */
bool fed_takes_part(struct daemon *d, const struct vi_id *peer);

/* daemon_federation_bounds.c: is there room for one more of that domain? What is there already has it. g: the store
 * that it is for. */
bool fed_version_sane(uint64_t version);
bool fed_room_presence(struct daemon *d, const struct gossip *g, const struct vi_id *key, const char *domain);
bool fed_room_definition(struct daemon *d, const struct gossip *g, const struct env_definition *e);
bool fed_room_representative(struct daemon *d, const struct vi_id *id, const char *domain);
/* Sessions with other domains' hosts (domain NULL), or that one's, that take part in nothing here; without one peer. */
unsigned fed_sessions(struct daemon *d, const struct vi_id *but, const char *domain);

/* daemon_federation_trust.c */
bool fed_statement_good(struct daemon *d, const uint8_t *bytes, size_t len);
void fed_take_statement(struct daemon *d, const uint8_t *bytes, size_t len, bool keep);
void fed_take_trust(struct daemon *d, const uint8_t *bytes, size_t len);
void fed_load_trust(struct daemon *d);
void fed_publish_trust(struct daemon *d);
/* Says again, with newer keys, what a revoked host signed, or one under an authority that is retired, or what names an
 * authority of the other domain that is retired: who comes new would believe none of it. Only who may federate does. */
void fed_restate(struct daemon *d);
/* Both sign, keep and publish. 0, or an error with why. */
int fed_federate(struct daemon *d, const struct fed_card *card, const struct fed_limits *limits, char *why,
                 size_t cap);
int fed_unfederate(struct daemon *d, const char *domain, char *why, size_t cap);
int fed_own_card(struct daemon *d, struct fed_card *card);

/* daemon_represent.c */
void represent_open(struct daemon *d);
void represent_close(struct daemon *d);
void represent_tick(struct daemon *d, vi_time now);
void represent_seeds(struct daemon *d); /* a domain is new, or its contacts are */
void represent_forget(struct daemon *d, const char *domain);

#endif
