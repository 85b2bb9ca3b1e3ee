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
    static const uint8_t macs[1][6] = {{0, 0x16, 0x3e, 0, 0, 1}};
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
    ev.kind = SWITCH_EV_LOCAL; /* a guest of ours, whose MAC others may state */
    ev.guest = (struct vi_id){{5}};
    ev.epoch = 2;
    ev.macs = macs;
    ev.pinned = true;
    switch_step(s, 0, &ev);
    ev.kind = SWITCH_EV_MESSAGE;
    ev.peer = peer;
    for (size_t at = 0; at < size;) { /* several messages, each with its length before it */
        size_t len = data[at] < size - at - 1 ? data[at] : size - at - 1;
        ev.data = data + at + 1;
        ev.len = len;
        switch_step(s, VI_SEC, &ev);
        at += 1 + len;
    }
    ev.kind = SWITCH_EV_KEPT;
    ev.data = data;
    ev.len = size;
    switch_step(s, VI_SEC, &ev);
    ev.kind = SWITCH_EV_PEER_GONE;
    switch_step(s, VI_SEC, &ev);
    ev.kind = SWITCH_EV_TICK;
    switch_step(s, 2 * VI_SEC, &ev);
    while ((fx = switch_effect(s)))
        if (fx->kind == SWITCH_FX_TABLE)
            switch_table_free(fx->table);
    switch_free(s);
    transfer_decode(&t, data, size);
    forward_from_tap(&table, &rate, VI_SEC, data, size);
    forward_from_peer(&table, &peer, false, data, size);
    return 0;
}
