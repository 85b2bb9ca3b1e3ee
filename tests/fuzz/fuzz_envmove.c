/* Environment moves' messages, of our domain and of others, and journal records: into a core that represents its
 * domain, leads a move, has a room, a grant and a lease. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "policy/envmove_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool foreign;

static enum envmove_kin kin(void *arg, const struct vi_id *peer, struct vi_id *domain)
{
    (void)arg;
    (void)peer;
    memset(domain, 9, sizeof *domain);
    return foreign ? ENVMOVE_FOREIGN : ENVMOVE_OWN;
}

static bool representative(void *arg, const struct vi_id *domain, struct vi_id *peer)
{
    (void)arg;
    memset(peer, domain ? 7 : 1, sizeof *peer);
    return true;
}

static bool env(void *arg, const struct vi_id *id, struct envmove_env *out)
{
    (void)arg;
    (void)id;
    memset(out, 0, sizeof *out);
    out->allowed = true;
    out->limits = (struct envmove_limits){.guests = 8, .kb = 1 << 24, .pct = 1000};
    return true;
}

static unsigned hosts(void *arg, const struct vi_id *id, const struct vi_id *home, struct vi_id *out, unsigned most)
{
    (void)home;
    (void)arg;
    (void)id;
    memset(&out[0], 1, sizeof out[0]);
    if (most > 1)
        memset(&out[1], 7, sizeof out[1]);
    return 2;
}

static unsigned domains(void *arg, const struct vi_id *id, uint64_t kb, double pct, struct vi_id *out, unsigned most)
{
    (void)arg;
    (void)id;
    (void)kb;
    (void)pct;
    (void)most;
    memset(&out[0], 9, sizeof out[0]);
    return 1;
}

static void look(void *arg, const struct vi_id *id, const struct vi_id *home, struct envmove_seen *out)
{
    (void)arg;
    (void)home;
    memset(out, 0, sizeof *out);
    out->total_kb = 1 << 23;
    out->capacity_pct = 400;
    out->free_kb = 1 << 22;
    out->free_pct = 200;
    out->n = 1;
    memset(&out->guest[0].uuid, 5, VI_ID_SIZE);
    out->guest[0].env = *id;
    out->guest[0].kb = out->guest[0].size_kb = 1 << 20;
    out->guest[0].pct = 50;
    out->guest[0].movable = out->guest[0].running = true;
}

static bool guest(void *arg, const struct vi_id *uuid, bool *busy)
{
    (void)arg;
    *busy = false;
    return uuid->b[0] == 5;
}

static bool arriving(void *arg, const struct vi_id *uuid)
{
    (void)arg;
    return uuid->b[0] == 6;
}

static int can_take(void *arg, uint64_t kb, double pct, uint64_t leased_kb, double leased_pct, char *why, size_t cap)
{
    (void)arg;
    snprintf(why, cap, "no");
    return kb + leased_kb > 1 << 22 || pct + leased_pct > 200 ? -3 : 0;
}

static void drain(struct envmoves *s, vi_time now)
{
    const struct envmove_effect *fx;
    while ((fx = envmoves_effect(s))) {
        struct envmove_event ev = {.kind = ENVMOVE_EV_PERSISTED, .id = fx->id};
        if (fx->kind == ENVMOVE_FX_PERSIST)
            envmoves_step(s, now, &ev);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct envmove_config c;
    struct envmove_event ev = {.kind = ENVMOVE_EV_REPRESENT, .on = true};
    struct envmoves *s;
    struct vi_rng rng;
    vi_time now = VI_SEC;
    vi_rng_seed(&rng, 1);
    envmove_config_init(&c);
    memset(&c.self, 1, sizeof c.self);
    c.hooks = (struct envmove_hooks){.kin = kin, .representative = representative, .env = env, .hosts = hosts,
                                     .domains = domains, .look = look, .guest = guest, .arriving = arriving,
                                     .can_take = can_take};
    s = envmoves_new(&c, &rng, now);
    if (!s)
        return 0;
    envmoves_step(s, now, &ev);
    ev.kind = ENVMOVE_EV_START;
    memset(&ev.id, 3, sizeof ev.id);
    memset(&ev.env, 4, sizeof ev.env);
    memset(&ev.domain, 9, sizeof ev.domain);
    envmoves_step(s, now, &ev);
    while (size > 3) { /* kind, length: two bytes; then a message or a record */
        size_t n = (size_t)(data[1] << 8 | data[2]) % (size - 2);
        foreign = data[0] & 1;
        memset(&ev, 0, sizeof ev);
        ev.kind = data[0] & 2 ? ENVMOVE_EV_RECORD : ENVMOVE_EV_MESSAGE;
        memset(&ev.peer, data[0] & 4 ? 1 : 7, sizeof ev.peer);
        ev.data = data + 3;
        ev.len = n;
        (void)envmove_message_check(ev.data, n);
        (void)envmove_record_check(ev.data, n);
        envmoves_step(s, now, &ev);
        drain(s, now);
        ev.kind = ENVMOVE_EV_TICK;
        now += data[0] & 8 ? VI_SEC : 20 * VI_SEC;
        envmoves_step(s, now, &ev);
        drain(s, now);
        data += 3 + n;
        size -= size < 3 + n ? size : 3 + n;
    }
    envmoves_free(s);
    return 0;
}
