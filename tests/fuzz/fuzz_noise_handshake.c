/* Handshake messages from strangers, for both sides, and what a good one may carry. */
#include <sodium.h>
#include <stdint.h>
#include <string.h>

#include "overlay/mesh_internal.h"
#include "overlay/noise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t key[32] = {1}, eph[32] = {2}, pub[32], out[2048], msg[2048];
    struct noise_setup su = {.cipher = NOISE_CHACHAPOLY, .secret = key, .ephemeral = eph,
                             .remote = pub, .prologue = "x", .prologue_len = 1, .psk = key};
    struct noise_handshake hs;
    struct mesh_hello hello;
    size_t n;

    if (sodium_init() < 0 || !size || size > 1500)
        return 0;
    crypto_scalarmult_base(pub, key);
    su.psk2 = data[0] & 1;
    su.initiator = data[0] & 2;
    if (noise_init(&hs, &su))
        __builtin_trap();
    if (su.initiator && noise_write(&hs, "p", 1, msg, sizeof msg, &n))
        __builtin_trap();
    if (!noise_read(&hs, data + 1, size - 1, out, sizeof out, &n))
        mesh_hello_read(&hello, out, n);
    noise_clear(&hs);
    mesh_hello_read(&hello, data + 1, size - 1);
    return 0;
}
