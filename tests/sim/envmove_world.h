/* Environment moves on virtual time: domains of hosts, each with the envmove core and the handover core, a model
 * hypervisor and a journal that outlive both, its own clock (0.9 to 1.1 as fast as time), a network that delays and
 * loses, representatives that are replaced some seconds after they died, or without. What must never be is looked for
 * after every step: ew.bad says what was found first. */
#ifndef TESTS_SIM_ENVMOVE_WORLD_H
#define TESTS_SIM_ENVMOVE_WORLD_H

#include "policy/envmove_internal.h"
#include "policy/handover.h"

#define EW_DOMAINS 4
#define EW_HOSTS   24
#define EW_GUESTS  40
#define EW_ENVS    8
#define EW_RECORDS 256
#define EW_MOVES   64

enum ew_copy { EW_ABSENT, EW_RUNS, EW_PAUSED, EW_SUSPENDED };

struct ew_guest { /* wherever it is */
    struct vi_id uuid;
    unsigned env;
    uint64_t kb;
    double pct;
    bool pinned;
    bool may_be_gone; /* a host died with what may have been its only copy */
};

struct ew_env {
    struct vi_id id;
    unsigned home;
    bool allowed[EW_DOMAINS];
};

struct ew_record {
    struct vi_id key, boot;
    bool gone, of_handover;
    size_t len;
    uint8_t data[HANDOVER_RECORD_MAX];
};

struct ew_host {
    struct vi_id id, boot, journal;
    unsigned domain, generation;
    uint8_t pk[32], sk[64];
    struct envmoves *moves; /* NULL: its peer is dead */
    struct handovers *handovers;
    double rate;
    vi_time offset, back_at, disk_fails_until, down_until; /* down: the host is being booted */
    uint64_t capacity_kb;
    double capacity_pct;
    struct {
        enum ew_copy is;
        bool incoming, saving;
        uint32_t domid;
    } copy[EW_GUESTS];
    uint32_t next_domid;
    unsigned n_records;
    struct ew_record record[EW_RECORDS];
    bool represents;
};

struct ew_move { /* one that went: a host has GO on its disk */
    struct vi_id id;
    unsigned host;
    uint8_t boot; /* of that host */
};

enum ew_fault { EW_NONE, EW_CRASH, EW_REBOOT, EW_CRASH_OTHER_REP, EW_CUT, EW_CUT_LONG, EW_DISK, EW_SECOND_REP, EW_FAULTS };
extern const char *const ew_fault_names[EW_FAULTS];

struct ew {
    vi_time now;
    uint64_t seq, seed;
    struct vi_rng rng;
    unsigned n_domains, n_hosts, n_guests, n_envs;
    struct ew_host host[EW_HOSTS];
    struct ew_guest guest[EW_GUESTS];
    struct ew_env env[EW_ENVS];
    unsigned limits[EW_DOMAINS]; /* guests that a domain takes in of each other one */
    unsigned rep[EW_DOMAINS];
    vi_time rep_changes[EW_DOMAINS];
    vi_time cut_until[EW_DOMAINS]; /* from all others */
    unsigned loss; /* percent */
    vi_time delay;
    bool trace;
    bool at_go; /* only points where GO is said or written count */
    bool tight; /* small guests have to make room */
    bool roomy; /* there is room for everything: a move that nothing disturbs succeeds */
    unsigned point, n_faults, at[3];
    enum ew_fault what[3], due;
    int due_host;
    unsigned n_moves;
    struct ew_move move[EW_MOVES];
    unsigned sent, gos, shifts, moved, splits, refused, taken_over; /* what happened at all */
    char bad[200];
};
extern struct ew *ew;

void ew_begin(uint64_t seed);
void ew_end(void);
vi_time ew_local(const struct ew_host *h);
void ew_turn(vi_time until);
/* An operator at the representative of the environment's guests; 0 or an error. */
int ew_order(unsigned env, unsigned domain);
/* Undecided handovers are decided, by where the guest runs. Returns how many there were. */
unsigned ew_operator_decides(void);
unsigned ew_running(unsigned guest, int *where);
unsigned ew_host_of(const struct vi_id *id);
unsigned ew_guest_of(const struct vi_id *uuid);
void ew_bad(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
