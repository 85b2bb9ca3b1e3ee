/* What the files of the environment moves' core share. */
#ifndef POLICY_ENVMOVE_INTERNAL_H
#define POLICY_ENVMOVE_INTERNAL_H

#include "policy/envmove.h"

#define EM_EFFECTS   1024
#define EM_OWN       128
#define EM_RELEASED  16 /* the oldest gives way */
#define EM_CAME      64 /* guests that came by a lease of late: the oldest gives way */
#define EM_LOOKS     4  /* at a time; who finds none free tries again */
#define EM_SHIFTING  8  /* of our guests, for rooms, at a time */
#define EM_CHOICES   8
#define EM_RECENT    64 /* environments that moved of late: the oldest gives way */
#define EM_BUDGETS   32 /* foreign domains whose shifts are counted: the oldest gives way */
#define EM_ROUNDS    4  /* rooms asked for guests that got stuck */
#define EM_TRIES     3

#define EM_AGAIN     (1 * VI_SEC)   /* a message is said again */
#define EM_LOOK_FOR  (4 * VI_SEC)
#define EM_LOOK_EVERY (10 * VI_SEC) /* an overloaded domain looks who could leave, while no other is known to have room */
#define EM_GRANT_FOR (30 * VI_SEC)  /* grants are waited for */
#define EM_ANSWER    (12 * VI_SEC)  /* a room that says nothing */
#define EM_ASK_FOR   (10 * VI_MIN)  /* a room that says wait; one that is kept without a GO */
#define EM_TAKE_FOR  (15 * VI_SEC)
#define EM_BACK_FOR  (20 * VI_SEC)
#define EM_RENEW     (10 * VI_SEC)
#define EM_MARGIN    (6 * VI_SEC)   /* of what is trusted, for the way of a GO */
#define EM_SILENT    (12 * VI_SEC)  /* a lead that says nothing */
#define EM_ALONE     (30 * VI_SEC)  /* … then its hosts go on without being given their turns */
#define EM_LEASE_FOR (20 * VI_SEC)
#define EM_CAME_FOR  (5 * VI_SEC)   /* a guest that came is in the list of guests by then, or has gone on */
#define EM_SHIFT_FOR (3 * VI_MIN)
#define EM_HEARD     (30 * VI_SEC)  /* a room whose lead says nothing is forgotten */
#define EM_HOST_LOST (5 * VI_MIN)   /* a host with GO that says nothing: its guests are left */
#define EM_LEAVE     (10 * VI_MIN)  /* a guest that is stuck and of which no lead says anything */
#define EM_SHOWN_FOR (10 * VI_MIN)
#define EM_SPLIT_SHOWN (24 * VI_HOUR) /* unless its place is needed */

enum em_kind {
    EM_LOOK = 1, EM_SEEN, EM_SHORT,
    EM_GRANT, EM_GRANTED, EM_BUSY, EM_YIELD, EM_TAKE, EM_HELD, EM_NONE, EM_RELEASE, EM_GO,
    EM_ASK, EM_WAIT, EM_ROOM, EM_REFUSE, EM_BACK,
    EM_LEASE, EM_LEASED, EM_NOLEASE, EM_RENEW_LEASE, EM_DROP,
    EM_SHIFT, EM_SHIFTED
};

/* Questions that were asked, so that an answer is counted from its own question. */
struct em_asked {
    uint64_t seq;
    vi_time at[4];
};
uint64_t em_asking(struct em_asked *a, vi_time now);
bool em_answered(const struct em_asked *a, uint64_t seq, vi_time *asked); /* false: too old, or never asked */

struct em_part { /* one guest of a move */
    struct vi_id uuid, from, to;
    uint64_t kb;
    double pct;
    enum envmove_guest_state state;
};

struct em_plan {
    struct vi_id env, domain, lead;
    unsigned version; /* counts the places that were given */
    unsigned n;
    struct em_part g[ENVMOVE_GUESTS];
};

struct em_msg {
    enum em_kind kind;
    struct vi_id move;
    uint64_t n;     /* ballot, or the number of a question */
    unsigned round; /* ASK and its answers; GO: slots; GRANT, GRANTED: the question's number */
    bool flag;      /* HELD: it has GO; NONE: its guests are gone */
    struct vi_id env, home, guest, peer;
    uint64_t kb;
    double pct;
    vi_time left;
    int err;
    char why[ENVMOVE_WHY];
    bool more;      /* SEEN: its asker understands ages, and who stays */
    struct em_plan plan;
    struct envmove_seen seen;
};

struct em_look {
    bool used, done;
    uint64_t n;
    struct vi_id env, home;
    vi_time next, until;
    unsigned n_hosts;
    struct vi_id host[ENVMOVE_HOSTS];
    bool answered[ENVMOVE_HOSTS];
    struct envmove_seen seen[ENVMOVE_HOSTS];
};

struct em_lead_host {
    struct vi_id id;
    bool granted, went, answered, over;
    struct em_asked asked;
    vi_time granted_at; /* when the GRANT that was answered was asked for */
    vi_time heard;
    unsigned slots;
};

struct em_lead {
    bool used, over, by_operator, moved_any;
    bool more;       /* it has more guests than one move takes along: another one follows */
    bool incomplete; /* a host didn't say which guests it has */
    unsigned looks;
    enum envmove_phase phase, then; /* then: after GIVING_BACK */
    struct vi_id id;
    uint64_t ballot;
    struct em_plan plan;
    unsigned n_domains, domain;
    struct vi_id domains[ENVMOVE_DOMAINS];
    vi_time since, entered, next, until, renewed;
    int look; /* -1: none */
    unsigned attempts, n_hosts;
    struct em_lead_host host[ENVMOVE_GUESTS];
    /* asking */
    bool again;      /* for guests that are stuck, while the others go */
    unsigned round;
    struct em_asked asked;
    vi_time heard, ask_until, ask_next;
    char why[ENVMOVE_WHY];
};

struct em_place {
    struct vi_id host;
    bool leased;
    struct em_asked asked;
    vi_time leased_at; /* when the lease that was given was asked for */
};

struct em_room {
    bool used;
    enum envmove_phase phase;
    struct vi_id move, lead, domain, home;
    bool at_home;
    struct envmove_limits limits;
    struct em_plan plan;
    unsigned round;
    vi_time since, entered, next, heard, room_at;
    int look;
    unsigned tries, looks;
    bool shift_failed; /* planned anew as soon as those under way have ended: both their places are taken till then */
    struct envmove_plan shifts;
    struct vi_id bins[ENVMOVE_HOSTS];
    enum { EM_TO_DO, EM_DOING, EM_DONE } shifted[ENVMOVE_SHIFTS];
    vi_time shift_at[ENVMOVE_SHIFTS];
    struct em_place place[ENVMOVE_GUESTS];
    char why[ENVMOVE_WHY];
};

struct em_granted_guest {
    unsigned tries;
    vi_time next;        /* not tried again before */
    struct em_asked asked;
    bool leased;
    vi_time leased_at;   /* when the renewal that was answered was asked for */
    vi_time ask_next, silent_since; /* when its renewal is asked for; since when that isn't answered */
};

struct em_grant {
    bool used, over;
    bool writing, rewrite; /* the record is being written; has to be, again */
    enum envmove_phase phase;
    struct vi_id move;
    uint64_t ballot;
    struct em_plan plan;
    vi_time since, until, heard, next, tell_next;
    unsigned slots;
    struct vi_id answer_to;
    unsigned answer_round;
    struct em_granted_guest g[ENVMOVE_GUESTS];
    char why[ENVMOVE_WHY];
};

struct em_lease {
    bool used;
    enum envmove_phase phase;
    struct vi_id move, env, home, guest, from, asker;
    uint64_t kb;
    double pct;
    uint64_t asked; /* the question's number */
    bool came;      /* its guest: only until that is seen */
    vi_time since, until;
};

struct em_shifting {
    bool used, over;
    struct vi_id move, guest, to, asker;
    int err;
    vi_time at;
    char why[ENVMOVE_WHY];
};

struct em_short {
    bool used;
    struct vi_id host;
    unsigned n;
    vi_time at;
};

struct envmoves {
    struct envmove_config cfg;
    struct vi_rng *rng;
    bool represents;
    struct em_lead lead[ENVMOVE_LEADS];
    struct em_room room[ENVMOVE_ROOMS];
    struct { struct vi_id move; uint64_t ballot; } released[EM_RELEASED]; /* by which ballot: an older lead is deposed */
    unsigned next_released;
    struct { struct vi_id move, guest; } came[EM_CAME]; /* they need no lease of that move any more */
    unsigned next_came;
    struct em_grant grant, last; /* last: one that is over, for who asks again */
    struct em_lease lease[ENVMOVE_LEASES];
    struct em_shifting shifting[EM_SHIFTING];
    struct em_look *looks;
    struct em_short shorts[ENVMOVE_SHORTS];
    vi_time said_short, ticked;
    struct { struct vi_id env; vi_time until; } recent[EM_RECENT];
    unsigned next_recent;
    struct { struct vi_id domain; unsigned n; vi_time since; } budget[EM_BUDGETS];
    /* an automatic decision */
    int deciding; /* a look; -1: none */
    struct envmove_choice choice[EM_CHOICES];
    unsigned n_choices, next_choice;
    bool choice_asked; /* for one of them another domain was asked */
    bool look_early;   /* before decide_at, if a domain is heard of that might have room for one of them */
    vi_time decide_at, decide_wait;
    unsigned first, count;
    struct envmove_effect effects[EM_EFFECTS];
    unsigned own_first, own_count; /* messages of this host to itself, taken at the end of the step */
    struct { size_t len; uint8_t data[ENVMOVE_MESSAGE_MAX]; } own[EM_OWN];
};

/* envmove.c */
struct envmove_effect *em_push(struct envmoves *s, enum envmove_effect_kind kind);
void em_fault(struct envmoves *s, const char *name);
void em_note(struct envmoves *s, const struct vi_id *move, const struct vi_id *env, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
void em_would(struct envmoves *s, const struct vi_id *domain); /* of the note just made: it would go there */
bool em_own(const struct envmoves *s, const struct vi_id *peer);
/* Sends; what is for this host itself is taken at the end of the step. */
void em_send(struct envmoves *s, vi_time now, const struct vi_id *to, const struct em_msg *m);

/* envmove_look.c */
int em_look_begin(struct envmoves *s, vi_time now, const struct vi_id *env, const struct vi_id *home);
void em_look_end(struct envmoves *s, int *look);
/* Did all answer? */
bool em_look_whole(const struct em_look *k);
void em_look_tick(struct envmoves *s, vi_time now);
void em_look_message(struct envmoves *s, vi_time now, const struct vi_id *from, const struct em_msg *m);
void em_decide_tick(struct envmoves *s, vi_time now);
void em_decide_short(struct envmoves *s, vi_time now, const struct vi_id *host);
void em_decide_ended(struct envmoves *s, vi_time now, const struct em_lead *l);
void em_remember(struct envmoves *s, vi_time now, const struct vi_id *env);
bool em_recent(const struct envmoves *s, vi_time now, const struct vi_id *env);

/* envmove_lead.c */
int em_lead_start(struct envmoves *s, vi_time now, const struct vi_id *id, const struct vi_id *env,
                  const struct vi_id *domains, unsigned n, bool by_operator);
int em_lead_cancel(struct envmoves *s, vi_time now, const struct vi_id *id);
void em_lead_message(struct envmoves *s, vi_time now, const struct vi_id *from, const struct em_msg *m);
void em_lead_tick(struct envmoves *s, vi_time now);
struct em_lead *em_lead_find(struct envmoves *s, const struct vi_id *id);
bool em_lead_busy(const struct envmoves *s, const struct vi_id *env); /* env NULL: any */
void em_lead_phase(struct envmoves *s, vi_time now, struct em_lead *l, enum envmove_phase p, const char *why);
void em_lead_over(struct envmoves *s, vi_time now, struct em_lead *l, enum envmove_phase p);

/* envmove_going.c: a lead from its GO on, and one that takes over */
void em_going_begin(struct envmoves *s, vi_time now, struct em_lead *l);
void em_going_tick(struct envmoves *s, vi_time now, struct em_lead *l);
void em_going_held(struct envmoves *s, vi_time now, struct em_lead *l, const struct vi_id *from, const struct em_msg *m);
void em_going_none(struct envmoves *s, vi_time now, struct em_lead *l, const struct vi_id *from, const struct em_msg *m);
void em_going_room(struct envmoves *s, vi_time now, struct em_lead *l, const struct em_msg *m);
void em_going_refused(struct envmoves *s, vi_time now, struct em_lead *l, const struct em_msg *m);
void em_taking_over(struct envmoves *s, vi_time now, const struct vi_id *from, const struct em_msg *m);
void em_taking_over_tick(struct envmoves *s, vi_time now, struct em_lead *l);
void em_lead_give_back(struct envmoves *s, vi_time now, struct em_lead *l, const char *why);
void em_lead_ask(struct envmoves *s, vi_time now, struct em_lead *l);
struct em_lead_host *em_lead_host(struct em_lead *l, const struct vi_id *id);
void em_lead_hosts(struct em_lead *l);

/* envmove_room.c */
void em_room_message(struct envmoves *s, vi_time now, const struct vi_id *from, const struct em_msg *m);
void em_room_tick(struct envmoves *s, vi_time now);

/* envmove_grant.c */
void em_grant_message(struct envmoves *s, vi_time now, const struct vi_id *from, const struct em_msg *m);
void em_grant_tick(struct envmoves *s, vi_time now);
void em_grant_moved(struct envmoves *s, vi_time now, const struct envmove_event *ev);
bool em_grant_persisted(struct envmoves *s, vi_time now, const struct vi_id *key, int err);
void em_grant_recover(struct envmoves *s, vi_time now, const struct em_grant *g);

/* envmove_lease.c */
void em_lease_message(struct envmoves *s, vi_time now, const struct vi_id *from, const struct em_msg *m);
void em_lease_tick(struct envmoves *s, vi_time now);
void em_lease_came(struct envmoves *s, vi_time now, const struct vi_id *guest);
bool em_lease_persisted(struct envmoves *s, vi_time now, const struct vi_id *key, int err);
int em_lease_recover(struct envmoves *s, vi_time now, const struct em_lease *e);
void em_lease_of_home(const struct envmoves *s, const struct vi_id *home, struct envmove_limits *add);

/* envmove_wire.c */
/* What a SEEN may tell of a guest, beside what the first version told; LOOK says so, in its move. */
#define EM_SEEN_MORE 1
void em_grant_key(struct vi_id *key, const struct vi_id *move);
void em_lease_key(struct vi_id *key, const struct vi_id *move, const struct vi_id *guest);
int em_encode(const struct em_msg *m, uint8_t *out, size_t cap);
int em_decode(struct em_msg *m, const uint8_t *data, size_t len);
int em_grant_encode(const struct em_grant *g, const struct vi_id *boot, uint8_t *out, size_t cap);
int em_lease_encode(const struct em_lease *e, const struct vi_id *boot, uint8_t *out, size_t cap);
/* Either kind: *is_lease says which. boot: of the host when it was written. */
int em_record_decode(bool *is_lease, struct em_grant *g, struct em_lease *e, struct vi_id *boot, const uint8_t *data,
                     size_t len);

#endif
