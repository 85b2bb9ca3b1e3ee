#include <sodium.h>
#include <stdint.h>

#include "overlay/cert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t authority[32] = {1};
    struct cert_delegation d;
    uint8_t out[CERT_MAX];
    struct cert c;
    size_t n;

    if (sodium_init() < 0)
        return 0;
    if (!cert_decode(&c, data, size)) {
        cert_verify(&c, authority, 1);
        if (cert_encode(&c, out, sizeof out, &n) || n > size)
            __builtin_trap(); /* ours is the shortest form */
    }
    if (!cert_delegation_decode(&d, data, size))
        cert_delegation_verify(&d, "lab", authority, 1);
    return 0;
}
