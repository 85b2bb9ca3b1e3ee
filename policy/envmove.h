/* Moving a whole environment to another domain, as a pure core: one on every host, which plays up to four parts.
 *
 *   lead    a representative that moves an environment of which its domain has guests: looks who has them, gets a
 *           grant from each of their hosts, asks another domain for room, then says GO
 *   room    the representative that is asked: plans on its domain's aggregate, repacks small guests of its own
 *           domain, takes a lease at every destination host, only then says that there is room
 *   grant   a host with guests of the environment: one move at a time; from GO on it moves its guests by itself
 *   lease   a destination host: keeps capacity for one guest of a move
 *
 * All leases and all grants are there before the first GO, or all are given back; after it only forward. What
 * must outlive a crash is with the hosts (grants, leases): each is journalled before it is said. A lead or a room
 * keeps nothing, so any other representative can go on: hosts whose lead is silent tell the present one, which takes
 * the move over with a higher ballot (Lamport, "The Part-Time Parliament", 1998, §2.2), and goes forward if any of
 * its hosts has GO, else gives back. Terms are trusted at 0.8 by who holds them (Gray and Cheriton, "Leases", 1989,
 * §2, with the clocks' drift taken as a rate of at most 10 %): 0.8 ÷ 0.9 < 1 ÷ 1.1.
 *
 * policy/README.md has messages, states and bounds as tables. Guests move by the handover, one by one. */
#ifndef POLICY_ENVMOVE_H
#define POLICY_ENVMOVE_H

#include "peer/base/clock.h"
#include "peer/base/id.h"
#include "peer/base/rng.h"
#include "policy/rules.h"

#define ENVMOVE_GUESTS      16 /* that one move takes along; more of an environment follow in the next one */
#define ENVMOVE_LEADS       8  /* moves led here, with those just over; then none is begun */
#define ENVMOVE_ROOMS       8  /* asked of us at a time, … */
#define ENVMOVE_ROOMS_EACH  2  /* … and by one domain; more are refused for now */
#define ENVMOVE_LEASES      64 /* given by a host; more are refused */
#define ENVMOVE_HOSTS       64 /* of a domain that are looked at in one turn */
#define ENVMOVE_SEEN        20 /* guests that a host tells of, the smallest first */
#define ENVMOVE_DOMAINS     8  /* tried in one move */
#define ENVMOVE_SHIFTS      16 /* guests of its own that a domain moves to make room, at most */
#define ENVMOVE_SHORTS      64 /* hosts that say they are short; more aren't heard */
#define ENVMOVE_MESSAGE_MAX 1200
#define ENVMOVE_RECORD_MAX  1400
#define ENVMOVE_WHY         160

#define ENVMOVE_TERM        (60 * VI_SEC) /* of a lease or a grant, by the clock of who gives it */
#define ENVMOVE_TRUSTED     (48 * VI_SEC) /* by the clock of who holds it, from when it was asked for */

/* ---- what the core asks of its owner: questions without side effects --------------------------- */

enum envmove_kin { ENVMOVE_STRANGER, ENVMOVE_OWN, ENVMOVE_FOREIGN };

struct envmove_limits {
    uint32_t guests;
    uint64_t kb;
    double pct;
};

/* An environment, as our domain may treat it. */
struct envmove_env {
    struct vi_id home;  /* its home domain's id */
    bool at_home;       /* that is ours */
    bool allowed;       /* it may be here */
    struct envmove_limits limits; /* of its home domain's guests here, all together; at home: not looked at */
};

struct envmove_guest {
    struct vi_id uuid, env;
    uint64_t kb;      /* what it should have */
    uint64_t size_kb; /* what it has, and a move would carry */
    double pct;
    vi_time age;  /* it has been on that host for; told in steps of 10 s, to who understands it */
    bool stays;   /* its environment changed domains a short while ago, or has no move of this hour left: not by itself */
    bool movable; /* not pinned, and nothing hinders it */
    bool running;
};

/* A host as it says it is. */
struct envmove_seen {
    uint64_t total_kb; /* for guests */
    double capacity_pct;
    int64_t free_kb;   /* beside what its guests should have and all that is promised, leases too; < 0: it is short */
    double free_pct;
    struct envmove_limits of_home; /* what guests and leases of the asked home domain take here */
    unsigned more;                 /* guests beside those told of */
    unsigned n;
    struct envmove_guest guest[ENVMOVE_SEEN];
};

struct envmove_hooks {
    void *arg;
    /* What another peer is to us; domain: the id of its domain, for FOREIGN. FOREIGN only if federated. */
    enum envmove_kin (*kin)(void *arg, const struct vi_id *peer, struct vi_id *domain);
    /* Who represents that domain (NULL: ours) now; false: nobody known. */
    bool (*representative)(void *arg, const struct vi_id *domain, struct vi_id *peer);
    bool (*env)(void *arg, const struct vi_id *env, struct envmove_env *out);
    /* Hosts of our domain that are alive, this one too: with guests of env; env NULL: those that may have guests of that home domain
     * (NULL: none asked about) before all others, then those with the most room first. */
    unsigned (*hosts)(void *arg, const struct vi_id *env, const struct vi_id *home, struct vi_id *out, unsigned most);
    /* Domains where the environment might find this much room, the best first. */
    unsigned (*domains)(void *arg, const struct vi_id *env, uint64_t kb, double pct, struct vi_id *out, unsigned most);
    /* This host; guests of env only, if that isn't zero. of_home and what is free: without leases, which the core adds. */
    void (*look)(void *arg, const struct vi_id *env, const struct vi_id *home, struct envmove_seen *out);
    /* A guest that is here and isn't arriving. busy: a handover has it. */
    bool (*guest)(void *arg, const struct vi_id *uuid, bool *busy);
    /* A handover brings it here, and is counted for what it needs. */
    bool (*arriving)(void *arg, const struct vi_id *uuid);
    /* Is there room for this, beside everything that is promised and besides what leases keep (kb, pct)? */
    int (*can_take)(void *arg, uint64_t kb, double pct, uint64_t leased_kb, double leased_pct, char *why, size_t cap);
    /* The rules of all environments that are known, borrowed until the next call; their places aren't looked at. NULL: none. */
    const struct policy_rules *(*rules)(void *arg);
};

struct envmove_config {
    struct vi_id self, boot;
    bool automatic;         /* a representative acts on shortages; else it only says what it would do. true */
    unsigned per_host;      /* guests of a move that leave one host at once: 2 */
    unsigned links;         /* … and the domain: 4 */
    unsigned arrivals;      /* planned for one host in one move: ENVMOVE_GUESTS */
    unsigned shifts_most;   /* made to make room for one environment: 8; 0: none */
    unsigned shifts_hour;   /* made in an hour for one foreign domain: 16 */
    vi_time cooldown;       /* an environment that moved stays this long, unless an operator moves it: 10 min; every
                             * host that had a guest of the move remembers it, so whoever represents the domain hears of it */
    vi_time horizon;        /* a shortage is expected to last this long: 10 min */
    double range_high;      /* of what a guest is allocated, at most so much is to be used: 0.75 */
    double bandwidth_kbps;  /* KiB/s between domains: 100 000 */
    double pause_s;         /* expected for each guest: 0.3 */
    unsigned needed;        /* reports of shortage of one host, not older than short_stale, before we act: 3 */
    vi_time short_stale;    /* 30 s */
    struct envmove_hooks hooks;
    /* A named fault point was reached; may end the process. NULL outside builds with fault points. */
    void (*fault)(void *arg, const char *name);
};
/* The defaults above; self, boot and hooks are the caller's. */
void envmove_config_init(struct envmove_config *c);

/* ---- events ------------------------------------------------------------------------------------- */

enum envmove_event_kind {
    ENVMOVE_EV_TICK,
    ENVMOVE_EV_REPRESENT, /* on: this host represents its domain from now on; off: not any more */
    ENVMOVE_EV_START,     /* an operator: env to domain, under an id chosen by the caller; representatives only */
    ENVMOVE_EV_CANCEL,    /* an operator: the move id, as long as no GO was said */
    ENVMOVE_EV_SHORT,     /* this host is short (guest of env; kb, pct missing) and no host of the domain helps */
    ENVMOVE_EV_MESSAGE,   /* peer, data */
    ENVMOVE_EV_PERSISTED, /* id: the record's key; err */
    ENVMOVE_EV_MOVED,     /* a MOVE that was asked for ended: guest, peer; err, why */
    ENVMOVE_EV_CAME,      /* a handover brought guest here, and is over */
    ENVMOVE_EV_RECORD,    /* at start: id, data */
    ENVMOVE_EV_RECORDS_END
};

struct envmove_event {
    enum envmove_event_kind kind;
    struct vi_id id, env, domain, guest, peer;
    const uint8_t *data;
    size_t len;
    int err;
    const char *why;
    bool on;
    uint64_t kb;
    double pct;
};

/* ---- effects ------------------------------------------------------------------------------------ */

enum envmove_effect_kind {
    ENVMOVE_FX_SEND,    /* data to peer */
    ENVMOVE_FX_PERSIST, /* the record of key id; answer with PERSISTED */
    ENVMOVE_FX_FORGET,  /* the record of key id may go */
    ENVMOVE_FX_MOVE,    /* hand guest over to peer; answer with MOVED. shift: to make room within the domain */
    ENVMOVE_FX_EXPECT,  /* on: a guest of env will come here, be ready to take part in it; off: not any more */
    ENVMOVE_FX_NOTE     /* for people: env, id, why; peer: the domain that it would move to, if that is only said; else zero */
};

struct envmove_effect {
    enum envmove_effect_kind kind;
    struct vi_id id, env, guest, peer;
    bool shift, on;
    char why[ENVMOVE_WHY];
    size_t len;
    uint8_t data[ENVMOVE_RECORD_MAX];
};

struct envmoves;
/* rng is borrowed. NULL without memory, or with a figure out of range. */
struct envmoves *envmoves_new(const struct envmove_config *cfg, struct vi_rng *rng, vi_time now);
void envmoves_free(struct envmoves *s);
/* This host's boot id, once known; before any record is handed in. */
void envmoves_set_boot(struct envmoves *s, const struct vi_id *boot);
void envmoves_set_automatic(struct envmoves *s, bool automatic);
/* 0; START: VI_ESTATE (we don't represent), VI_EEXIST (it is moving), VI_EFULL, VI_ENOTFOUND (no such environment
 * or domain); CANCEL: VI_ENOTFOUND, VI_ESTATE (GO was said); RECORD: VI_EPROTO, VI_EVERSION, VI_EFULL. */
int envmoves_step(struct envmoves *s, vi_time now, const struct envmove_event *ev);
/* The oldest effect not taken, or NULL; borrowed until the next call. At most 1024 wait; a message beyond that is
 * lost, as on the network, and a record's write counts as failed. */
const struct envmove_effect *envmoves_effect(struct envmoves *s);
vi_time envmoves_deadline(const struct envmoves *s);

/* ---- queries ------------------------------------------------------------------------------------ */

/* What leases keep here beside guests that are arriving; counted against everything else. */
unsigned envmove_leased(const struct envmoves *s, uint64_t *kb, double *pct);
/* The lease of a guest that comes from that host. Foreign guests without one aren't let in. */
bool envmove_lease_of(const struct envmoves *s, vi_time now, const struct vi_id *guest, const struct vi_id *from,
                      uint64_t *kb, double *pct);
/* Is the guest part of a move that its host has granted? Then nobody else moves it. */
bool envmove_holds(const struct envmoves *s, const struct vi_id *guest);

enum envmove_part { ENVMOVE_LEAD = 1, ENVMOVE_ROOM, ENVMOVE_GRANT, ENVMOVE_LEASE };
enum envmove_phase {
    /* lead */
    EL_LOOKING = 1, EL_GRANTING, EL_ASKING, EL_GOING, EL_BACKING_OFF, EL_TAKING_OVER, EL_GIVING_BACK, EL_MOVED,
    EL_SPLIT, EL_REFUSED,
    /* room */
    ER_LOOKING = 32, ER_SHIFTING, ER_LEASING, ER_CHECKING, ER_ROOM, ER_REFUSED,
    /* grant */
    EG_WRITING = 64, EG_GRANTED, EG_GO,
    /* lease */
    EE_WRITING = 96, EE_LEASED
};
const char *envmove_phase_text(enum envmove_phase p);

enum envmove_guest_state { ENVMOVE_WAITS, ENVMOVE_MOVES, ENVMOVE_MOVED, ENVMOVE_STUCK, ENVMOVE_LEFT };
const char *envmove_guest_text(enum envmove_guest_state g);

struct envmove_view {
    enum envmove_part part;
    enum envmove_phase phase;
    struct vi_id id, env, domain, lead; /* domain: where to (lead, grant), from whom (room) */
    vi_time since;                      /* the move began, as far as this host knows */
    vi_time until;                      /* of a lease, and of a grant before GO: the end of its term */
    bool over;
    char why[ENVMOVE_WHY];
    unsigned n;
    struct {
        struct vi_id uuid, from, to; /* to zero: no place yet */
        uint64_t kb;
        enum envmove_guest_state state;
    } guest[ENVMOVE_GUESTS];
};
bool envmove_next(const struct envmoves *s, unsigned *pos, struct envmove_view *out);

/* ---- the plan (envmove_plan.c): pure arithmetic, for whoever wants it ----------------------------- */

struct envmove_bin {
    struct vi_id id;
    uint64_t free_kb;
    double free_pct;
    unsigned arrivals; /* that it may still take */
    unsigned n;        /* guests that may be moved within the domain */
    struct envmove_guest guest[ENVMOVE_SEEN];
};
struct envmove_item {
    struct vi_id guest, env; /* for rules */
    uint64_t kb;
    double pct;
};
struct envmove_shift {
    struct vi_id guest;
    unsigned from, to; /* bins */
    uint64_t kb;
    double pct;
};
struct envmove_plan {
    unsigned n_shifts;
    struct envmove_shift shift[ENVMOVE_SHIFTS]; /* to be done in this order */
    unsigned place[ENVMOVE_GUESTS];             /* bin of each item */
};
/* Finds a bin for each item (n ≤ ENVMOVE_GUESTS), moving at most shifts_most of the bins' own guests; no bin's free
 * room goes below 0 at any step. No item is placed, and no guest moved, where a rule forbids it (pin, never; spread: among
 * the items, and the guests that are told of). bins are used up. 0, or VI_EFULL with why. */
int envmove_plan(struct envmove_plan *out, struct envmove_bin *bins, unsigned n_bins, const struct envmove_item *items,
                 unsigned n, unsigned shifts_most, const struct policy_rules *rules, char *why, size_t cap);

/* ---- the choice (envmove_choose.c) ------------------------------------------------------------------ */

struct envmove_choice {
    struct vi_id env;
    unsigned guests;
    uint64_t kb, size_kb;      /* needed there; carried */
    double pct;
    double gain_s, cost_s;     /* CPU seconds */
    vi_time age;               /* of its oldest guest */
    bool solves;               /* nothing is short any more */
};
/* The environments whose leaving helps a domain (its hosts as seen), the best first; only those that pay. Returns how
 * many; seen hosts' guests of one environment count together. fits(arg, env): may it go anywhere at all? */
unsigned envmove_choose(const struct envmove_config *cfg, const struct envmove_seen *hosts, unsigned n_hosts,
                        bool (*fits)(void *arg, const struct vi_id *env), void *arg, struct envmove_choice *out,
                        unsigned most);

/* ---- wire, for the fuzzer: walks a message or a record; 0, VI_EPROTO, VI_EVERSION ------------------------ */
int envmove_message_check(const uint8_t *data, size_t len);
int envmove_record_check(const uint8_t *data, size_t len);

#endif
