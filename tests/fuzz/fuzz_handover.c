/* Handover messages from a peer, and journal records: into a core that has one handover of each role. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "policy/handover.h"

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
    struct handover_config c = {.key_of = key_of};
    struct handover_event ev = {.kind = HANDOVER_EV_START};
    static struct handover_guest guest;
    struct handovers *h;
    struct vi_rng rng;
    vi_rng_seed(&rng, 1);
    h = handovers_new(&c, &rng, 0);
    if (!h || size < 2)
        goto out;
    ev.guest = &guest;
    memset(&guest, 0, sizeof guest);
    if (data[0] & 2) { /* one whose disk moves with it */
        guest.n_disks = 1;
        guest.disks[0] = (struct handover_disk){.sectors = 8, .generation = 1};
        memset(guest.disks[0].id.b, 0xd1, sizeof guest.disks[0].id.b);
    }
    memset(ev.peer.b, 7, sizeof ev.peer.b);
    memset(ev.id.b, 5, sizeof ev.id.b);
    handovers_step(h, 0, &ev);
    ev.kind = data[0] & 1 ? HANDOVER_EV_MESSAGE : HANDOVER_EV_RECORD;
    ev.data = data + 1;
    ev.len = size - 1;
    handovers_step(h, VI_SEC, &ev);
    ev.kind = data[0] & 1 ? HANDOVER_EV_TICK : HANDOVER_EV_RECORDS_END;
    handovers_step(h, 2 * VI_SEC, &ev);
    while (handovers_effect(h))
        ;
out:
    handovers_free(h);
    return 0;
}
