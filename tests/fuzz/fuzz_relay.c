/* Three mesh cores, two of which can only talk through the third; the input says what the network does, and
 * what authenticated but hostile members put into relay packets, path messages and hellos of streams. */
#include <sodium.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "overlay/bulk.h"
#include "overlay/mesh.h"
#include "overlay/mesh_internal.h"
#include "tests/fuzz/two_peers.h"

#define KEPT  32
#define CORES 3

struct world {
    struct mesh *m[CORES];
    vi_time now;
    struct {
        unsigned from, to;
        size_t len;
        uint8_t data[1600];
    } kept[KEPT];
    unsigned nkept;
};

static struct mesh_config cfg[CORES];
static struct mesh_trust trust;
static uint8_t x[CORES][32];
static struct vi_id id[CORES];
static struct mesh_addr addr[CORES];

static void set_up(void)
{
    two_peers(&trust, cfg, x, CORES);
    for (unsigned i = 0; i < CORES; i++) {
        cert_peer_id(&id[i], cfg[i].cert.ed);
        addr[i] = (struct mesh_addr){.family = 4, .port = 1, .ip = {10, 0, 0, (uint8_t)i}};
    }
}

static void drain(struct world *w, unsigned from)
{
    const struct mesh_effect *fx;

    while ((fx = mesh_effect(w->m[from]))) {
        if (fx->kind != MESH_FX_DATAGRAM || w->nkept == KEPT)
            continue;
        if (!mesh_direct(&fx->addr) || fx->len > sizeof w->kept[0].data)
            abort(); /* what is relayed leaves inside a datagram */
        w->kept[w->nkept].from = from;
        w->kept[w->nkept].to = fx->addr.ip[3] % CORES;
        w->kept[w->nkept].len = fx->len;
        memcpy(w->kept[w->nkept++].data, fx->data, fx->len);
    }
}

static void step(struct world *w, unsigned i, const struct mesh_event *ev)
{
    mesh_step(w->m[i], w->now, ev);
    drain(w, i);
}

static void pass(struct world *w, unsigned k, bool blocked)
{
    uint8_t data[1600];
    unsigned to = w->kept[k].to, from = w->kept[k].from;
    struct mesh_event ev = {.kind = MESH_EV_DATAGRAM,
                            .datagram = {.from = addr[from], .data = data, .len = w->kept[k].len}};

    memcpy(data, w->kept[k].data, w->kept[k].len);
    w->kept[k] = w->kept[--w->nkept];
    if (!blocked || !from || !to)
        step(w, to, &ev);
}

/* All that waits is delivered, for so many rounds. */
static void settle(struct world *w, unsigned rounds, bool blocked)
{
    struct mesh_event tick = {.kind = MESH_EV_TICK};

    for (unsigned n = 0; n < rounds; n++) {
        for (unsigned k = 0; w->nkept && k < 200; k++)
            pass(w, 0, blocked);
        w->now += VI_SEC / 2;
        for (unsigned i = 0; i < CORES; i++)
            step(w, i, &tick);
    }
}

static void connect_to(struct world *w, unsigned a, unsigned b)
{
    step(w, a, &(struct mesh_event){.kind = MESH_EV_CONNECT,
                                    .connect = {.peer = id[b], .x = x[b], .addr = addr[b]}});
}

/* As if a member had sealed it. */
static void hostile(struct world *w, unsigned at, unsigned from, bool relay, const uint8_t *d, size_t n)
{
    struct mesh_peer *p = mesh_peer_get(w->m[at], &id[from]);
    uint8_t buf[256];

    if (!p || !p->cur || !mesh_reserve(w->m[at], 16))
        return;
    memset(buf, 0, sizeof buf);
    n = n < sizeof buf ? n : sizeof buf;
    memcpy(buf, d, n);
    if (n > MESH_RELAY_HEAD && d[1] < 8) /* one of us, or nobody */
        memcpy(buf + 1, id[d[1] % CORES].b, VI_ID_SIZE);
    w->m[at]->now = w->now;
    if (relay)
        mesh_relay_packet(w->m[at], p, buf, n, w->now);
    else
        mesh_path_message(w->m[at], p, &addr[from], buf, n, w->now);
    drain(w, at);
}

static size_t command(struct world *w, const uint8_t *d, size_t n)
{
    unsigned i = (d[0] >> 4) % CORES, other = (i + 1 + (d[0] >> 7)) % CORES;
    size_t len = n > 1 ? d[1] % 64 : 0;
    struct mesh_event ev = {.kind = MESH_EV_SEND};

    len = len < n - (n > 1 ? 2 : 1) ? len : n - (n > 1 ? 2 : 1);
    switch (d[0] & 7) {
    case 0:
        settle(w, 1 + (n > 1 ? d[1] % 16 : 0), true);
        return 2;
    case 1:
        settle(w, 1 + (n > 1 ? d[1] % 16 : 0), false);
        return 2;
    case 2:
        connect_to(w, i, other);
        return 1;
    case 3:
        ev.send.peer = id[other];
        ev.send.channel = 1;
        ev.send.data = d;
        ev.send.len = n < 40 ? n : 40;
        step(w, i, &ev);
        return 1;
    case 4:
    case 5:
        hostile(w, i, other, (d[0] & 7) == 4, d + (n > 1 ? 2 : 1), len);
        return 2 + len;
    case 6:
        if (w->nkept && n > 2)
            w->kept[d[1] % w->nkept].data[d[2] % 40] ^= (uint8_t)(d[2] | 1);
        return 3;
    default:
        ev.kind = MESH_EV_CLOSE;
        ev.close.peer = id[other];
        step(w, i, &ev);
        return 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world w;
    struct mesh_path_msg msg;
    enum bulk_hello kind;
    uint8_t out[MESH_PATH_MAX], token[BULK_TOKEN];
    struct vi_rng rng;

    if (sodium_init() < 0 || size > 2048)
        return 0;
    if (!cfg[0].has_cert)
        set_up();
    (void)bulk_hello_read(data, size, &kind, token);
    if (!mesh_path_read(&msg, data, size) &&
        (mesh_path_write(&msg, out) > size + 1 || mesh_path_read(&msg, out + 1, mesh_path_write(&msg, out) - 1)))
        abort();
    memset(&w, 0, sizeof w);
    w.now = VI_SEC;
    vi_rng_seed(&rng, 1);
    for (unsigned i = 0; i < CORES; i++)
        if (!(w.m[i] = mesh_new(&cfg[i], &rng, w.now)))
            abort();
    connect_to(&w, 1, 0);
    connect_to(&w, 2, 0);
    settle(&w, 2, true);
    connect_to(&w, 1, 2);
    settle(&w, 8, true);
    for (size_t steps = 0; size && steps < 64; steps++) {
        size_t n = command(&w, data, size);

        n = n < size ? n : size;
        data += n;
        size -= n;
    }
    for (unsigned i = 0; i < CORES; i++)
        mesh_free(w.m[i]);
    return 0;
}
