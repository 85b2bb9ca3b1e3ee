/* Mesh cores on virtual time over a network with simulated NATs of every kind, one-way blocks and hosts that
 * die. For tests (cmocka asserts). */
#ifndef TESTS_SIM_MESH_WORLD_H
#define TESTS_SIM_MESH_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "overlay/mesh.h"
#include "overlay/mesh_internal.h"

#define WALL     (INT64_C(1700000000) * VI_SEC)
#define NODES    4
#define FLIGHT   4096
#define MAPPINGS 64
#define NAT_LIFE (40 * VI_SEC)

enum nat { NONE, FULL_CONE, RESTRICTED, PORT_RESTRICTED, SYMMETRIC, KINDS };

struct mapping {
    uint16_t port; /* outside */
    struct mesh_addr to; /* whom it was made for, or who was last spoken to */
    vi_time at;
};

struct node {
    struct mesh *m;
    struct mesh_config cfg;
    struct mesh_trust trust;
    struct vi_id id;
    struct mesh_addr addr, outside; /* own; its NAT's */
    enum nat nat;
    struct mapping map[MAPPINGS];
    unsigned nmap;
    uint16_t next_port;
    uint8_t x_pk[32];
    unsigned delivered, ups, downs, datas, requests, answers; /* the last two: of admission */
    uint32_t admission; /* newest request */
    int err;            /* newest answer */
    struct mesh_keys keys;
    uint8_t data[MESH_INNER_MAX];
    size_t data_len;
};

struct packet {
    vi_time at;
    struct mesh_addr from, to; /* as on the public network */
    size_t len;
    uint8_t data[1600];
};

struct mesh_world {
    vi_time now;
    struct vi_rng rng;
    struct node n[NODES];
    struct packet flight[FLIGHT];
    size_t flying;
    unsigned loss;
    vi_time delay; /* besides 5 ms */
    bool blocked[NODES][NODES], dead[NODES];
    uint8_t auth_sk[64];
};
extern struct mesh_world w;

#define R (&w.n[0])
#define A (&w.n[1])
#define B (&w.n[2])
#define S (&w.n[3])

/* Four cores, no sessions, no NATs. */
int mesh_world_up(void **state);
int mesh_world_down(void **state);
/* Time goes on: packets arrive, timers run. */
void run(vi_time span);
int step(struct node *n, const struct mesh_event *ev);
/* Takes n's effects: its datagrams go on their way, the rest is counted. */
void drain(struct node *n);

void connect_to(struct node *a, struct node *b);
int send_to(struct node *a, struct node *b);
struct mesh_path_info path(struct node *a, struct node *b);
bool through(struct node *a, struct node *b, struct node *relay);
bool at(struct node *a, struct node *b, const struct mesh_addr *addr);
/* Both ends talk for so long. */
void talk(struct node *a, struct node *b, vi_time span);
void behind(struct node *n, enum nat kind);
/* A and B behind such NATs, with sessions to R; then they talk to each other. */
void meet_behind(enum nat a, enum nat b);

#endif
