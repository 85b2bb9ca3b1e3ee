/* Beacons of attached LANs: anybody on a LAN can send them. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "peer/attach.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct vi_id self = {.b = {1}};
    static const uint8_t pk[32];
    struct attach_beacon b;
    struct attach a;
    uint8_t *exact = malloc(size ? size : 1);
    if (!exact)
        return 0;
    memcpy(exact, data, size);
    if (attach_beacon_decode(&b, exact, size)) {
        (void)attach_beacon_verify(exact, pk);
        attach_begin(&a, &self, 1, true, 0);
        attach_heard(&a, 1, &b);
        (void)attach_tick(&a, 2);
    }
    free(exact);
    return 0;
}
