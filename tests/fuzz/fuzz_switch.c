/* Switch statements from a peer that takes part, signed transfers, and frames. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "overlay/switch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool key_of(void *arg, const struct vi_id *peer, uint8_t pk[32])
{
    (void)arg;
    (void)peer;
    memset(pk, 3, 32);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct switch_env_table table;
    struct switch_config c = {.key_of = key_of};
    struct switch_event ev = {.kind = SWITCH_EV_ENV, .on = true};
    struct forward_rates rate = {0};
    struct vi_id peer = {{7}};
    const struct switch_effect *fx;
    struct transfer t;
    struct vswitch *s = switch_new(&c, 0);
    if (!s)
        return 0;
    switch_step(s, 0, &ev); /* the environment of all zeros */
    ev.kind = SWITCH_EV_PARTICIPANTS;
    ev.peers = &peer;
    ev.n = 1;
    switch_step(s, 0, &ev);
    ev.kind = SWITCH_EV_MESSAGE;
    ev.peer = peer;
    ev.data = data;
    ev.len = size;
    switch_step(s, VI_SEC, &ev);
    while ((fx = switch_effect(s)))
        if (fx->kind == SWITCH_FX_TABLE)
            switch_table_free(fx->table);
    switch_free(s);
    transfer_decode(&t, data, size);
    forward_from_tap(&table, &rate, VI_SEC, data, size);
    forward_from_peer(&table, &peer, false, data, size);
    return 0;
}
