/* Addresses in frames, and what becomes of the frames in a strict environment. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "overlay/switch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct switch_env_table *t;
    static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1}, ip[IP_BYTES] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1};
    struct forward_rates r = {0};
    struct frame_says says;
    struct forward_decision d;
    if (!t && !(t = calloc(1, sizeof *t)))
        return 0;
    t->used = t->strict = true;
    t->n_peers = 1;
    switch_table_add(t, mac, true, 0);
    switch_table_add_ip(t, ip, mac, true, 0);
    frame_says(&says, data, size);
    if ((says.claim && !says.source) || (says.claim && !frame_resolves(data, size)) || (says.asks && !frame_resolves(data, size)))
        abort();
    d = forward_from_tap(t, &r, VI_SEC, data, size);
    if (d.to != FORWARD_DROP && memcmp(data + 6, mac, 6) != 0)
        abort();
    (void)forward_from_peer(t, &t->peers[0], false, data, size);
    return 0;
}
