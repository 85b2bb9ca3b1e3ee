/* Two mesh cores; the input says, command by command, what the network does to their datagrams:
 * pass, drop, double, alter, keep for later, let time go by, and what strangers send. */
#include <sodium.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "overlay/mesh.h"
#include "tests/fuzz/two_peers.h"

#define KEPT 16

struct world {
    struct mesh *m[2];
    vi_time now;
    struct {
        unsigned to;
        size_t len;
        uint8_t data[1500];
    } kept[KEPT];
    unsigned nkept;
};

static struct mesh_config cfg[2];
static struct mesh_trust trust;
static uint8_t x[2][32];
static struct vi_id id[2];
static struct mesh_addr addr[2];

static bool lookup(void *arg, const struct vi_id *token, uint8_t psk[32])
{
    (void)arg;
    memset(psk, 1, 32);
    return token->b[0] != 0;
}

static void set_up(void)
{
    two_peers(&trust, cfg, x, 2);
    for (unsigned i = 0; i < 2; i++) {
        cert_peer_id(&id[i], cfg[i].cert.ed);
        addr[i] = (struct mesh_addr){.family = 4, .port = 1, .ip = {10, 0, 0, (uint8_t)i}};
        cfg[i].lookup_psk = lookup;
        cfg[i].rekey_messages = 50;
    }
}

static void drain(struct world *w)
{
    const struct mesh_effect *fx;

    for (unsigned i = 0; i < 2; i++)
        while ((fx = mesh_effect(w->m[i])))
            if (fx->kind == MESH_FX_DATAGRAM && w->nkept < KEPT) {
                w->kept[w->nkept].to = 1 - i;
                w->kept[w->nkept].len = fx->len;
                memcpy(w->kept[w->nkept++].data, fx->data, fx->len);
            }
}

static void step(struct world *w, unsigned i, const struct mesh_event *ev)
{
    mesh_step(w->m[i], w->now, ev);
    drain(w);
}

static void pass(struct world *w, unsigned k, bool forget)
{
    uint8_t data[1500];
    unsigned to = w->kept[k].to;
    struct mesh_event ev = {.kind = MESH_EV_DATAGRAM,
                            .datagram = {.from = addr[1 - to], .data = data, .len = w->kept[k].len}};

    memcpy(data, w->kept[k].data, w->kept[k].len);
    if (forget)
        w->kept[k] = w->kept[--w->nkept];
    step(w, to, &ev);
}

/* One command of up to four bytes; returns how many were used. */
static size_t command(struct world *w, const uint8_t *d, size_t n)
{
    unsigned i = d[0] >> 7, k = n > 1 && w->nkept ? d[1] % w->nkept : 0;
    struct mesh_event ev = {.kind = MESH_EV_TICK};

    switch (d[0] & 15) {
    case 0:
        ev.kind = MESH_EV_CONNECT;
        ev.connect.peer = id[1 - i];
        ev.connect.x = x[1 - i];
        ev.connect.addr = addr[1 - i];
        step(w, i, &ev);
        return 1;
    case 1:
    case 2:
        ev.kind = MESH_EV_SEND;
        ev.send.peer = id[1 - i];
        ev.send.channel = 1;
        ev.send.data = d;
        ev.send.len = n < 40 ? n : 40;
        step(w, i, &ev);
        return 1;
    case 3:
    case 4:
    case 5:
    case 6:
        if (w->nkept)
            pass(w, k, (d[0] & 15) != 6);
        return 2;
    case 7:
        if (w->nkept && n > 3)
            w->kept[k].data[(size_t)(d[2] * 4 + d[3]) % w->kept[k].len] ^= (uint8_t)(d[3] | 1);
        return 4;
    case 8:
        if (w->nkept)
            w->nkept--;
        return 1;
    case 9:
        w->now += (n > 1 ? d[1] : 1) * (vi_time)(VI_SEC / 4);
        step(w, 0, &ev);
        step(w, 1, &ev);
        return 2;
    case 10: /* a stranger's datagram, of all that is left or some of it */
        ev.kind = MESH_EV_DATAGRAM;
        ev.datagram.from = addr[1 - i];
        ev.datagram.len = n > 2 ? (size_t)d[1] * 6 % (n - 1) : 0;
        ev.datagram.data = d + 1;
        step(w, i, &ev);
        return 1 + ev.datagram.len;
    case 11:
        mesh_free(w->m[i]);
        w->m[i] = NULL;
        return 1;
    case 12:
        ev.kind = MESH_EV_CLOSE;
        ev.close.peer = id[1 - i];
        step(w, i, &ev);
        return 1;
    default:
        ev.kind = MESH_EV_USED;
        ev.used.local = n > 3 ? (uint32_t)d[1] : 0;
        ev.used.sent = d[0];
        step(w, i, &ev);
        return 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world w;
    struct vi_rng rng;
    size_t n;

    if (sodium_init() < 0 || size > 4096)
        return 0;
    if (!cfg[0].has_cert)
        set_up();
    memset(&w, 0, sizeof w);
    w.now = VI_SEC;
    vi_rng_seed(&rng, 1);
    while (size) {
        for (unsigned i = 0; i < 2; i++) {
            if (!w.m[i])
                w.m[i] = mesh_new(&cfg[i], &rng, w.now);
            if (!w.m[i])
                abort();
        }
        n = command(&w, data, size);
        n = n < size ? n : size;
        data += n;
        size -= n;
    }
    mesh_free(w.m[0]);
    mesh_free(w.m[1]);
    return 0;
}
