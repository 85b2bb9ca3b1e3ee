/* Questions, answers and records of the core that makes environments' guests: what another host says, and what a disk has. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "peer/envmake.h"

static int save(void *arg, enum envmake_record kind, const struct vi_id *key, const uint8_t *data, size_t len)
{
    (void)arg;
    (void)kind;
    (void)key;
    (void)data;
    return len > ENVMAKE_RECORD_MAX ? abort(), -1 : 0;
}

static int forget(void *arg, enum envmake_record kind, const struct vi_id *key)
{
    (void)arg;
    (void)kind;
    (void)key;
    return 0;
}

static void view(void *arg, const struct vi_id *guest, struct envmake_view *out)
{
    (void)arg;
    out->known = true;
    out->here = guest->b[0] & 1;
    out->running = guest->b[0] & 2;
    out->domid = 1;
}

static bool yes(void *arg, const struct vi_id *id)
{
    (void)arg;
    (void)id;
    return true;
}

static bool no(void *arg, const struct vi_id *id)
{
    (void)arg;
    (void)id;
    return false;
}

static int can_take(void *arg, uint64_t kb, double pct, uint64_t promised_kb, double promised_pct, char *why, size_t cap)
{
    (void)arg;
    (void)kb;
    (void)pct;
    (void)promised_kb;
    (void)promised_pct;
    (void)why;
    (void)cap;
    return 0;
}

static unsigned candidates(void *arg, struct envmake_host *out, unsigned most)
{
    (void)arg;
    (void)out;
    (void)most;
    return 0;
}

static unsigned hosts(void *arg, const struct vi_id *env, struct vi_id *out, unsigned most)
{
    (void)arg;
    (void)env;
    (void)most;
    out[0] = (struct vi_id){.b = {2}};
    return 1;
}

/* Pieces with their length before them, each to what its first byte says. */
static void feed(struct envmake *m, const uint8_t *data, size_t size)
{
    static const struct vi_id from = {.b = {2}}, boot = {.b = {9}}, env = {.b = {5}}, job = {.b = {6}};
    uint8_t out[ENVMAKE_ANSWER_MAX];
    char why[ENVMAKE_WHY];
    vi_time now = VI_SEC;
    struct vi_id key;
    (void)envmake_wire_check(data, size);
    memset(&key, 0, sizeof key);
    if (size > 22)
        memcpy(key.b, data + 6, 16); /* where a guest's record has its own */
    (void)envmake_load(m, now, ENVMAKE_RECORD_GUEST, &key, data, size);
    (void)envmake_load(m, now, ENVMAKE_RECORD_JOB, &key, data, size);
    envmake_loaded(m, now, &boot);
    (void)envmake_order(m, now, &job, &env, "e", ENVMAKE_LOOK, false, 0, NULL, why, sizeof why);
    for (unsigned turn = 0; turn < 8; turn++) {
        const struct envmake_effect *fx;
        (void)envmake_asked(m, now, &from, data, size, out);
        envmake_tick(m, now);
        while ((fx = envmake_effect(m))) {
            uint64_t token = fx->token;
            struct vi_id guest = fx->guest;
            enum envmake_op op = fx->op;
            if (fx->kind == ENVMAKE_FX_ASK)
                envmake_answered(m, now, token, 0, data, size);
            else if (fx->kind == ENVMAKE_FX_HV)
                envmake_done(m, now, &guest, op, turn & 1 ? -1 : 0, "");
        }
        now += 20 * VI_SEC;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct envmake_config c = {.self = {.b = {1}}, .start = true,
                               .hooks = {NULL, save, forget, view, yes, no, yes, no, can_take, candidates, hosts, NULL}};
    struct envmake *m = envmake_new(&c);
    uint8_t *exact = malloc(size ? size : 1);
    if (m && exact) {
        memcpy(exact, data, size);
        feed(m, exact, size);
    }
    free(exact);
    envmake_free(m);
    return 0;
}
