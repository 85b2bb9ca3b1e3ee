/* Peers of one domain with known keys, for targets that need a handshake before there is something to bend. */
#ifndef TESTS_FUZZ_TWO_PEERS_H
#define TESTS_FUZZ_TWO_PEERS_H

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "overlay/overlay.h"

/* The domain "lab", and n configurations of hosts with its certificates; x: their public keys. */
static inline void two_peers(struct mesh_trust *trust, struct mesh_config *cfg, uint8_t (*x)[32], unsigned n)
{
    uint8_t apk[32], ask[64], sk[64], seed[32] = {1};

    crypto_sign_seed_keypair(apk, ask, seed);
    strcpy(trust->domain, "lab");
    memcpy(trust->authority, apk, 32);
    for (unsigned i = 0; i < n; i++) {
        struct cert *c = &cfg[i].cert;

        memset(cfg[i].secret, (int)i + 1, 32);
        crypto_scalarmult_base(x[i], cfg[i].secret);
        memcpy(c->x, x[i], 32);
        seed[1] = (uint8_t)(i + 1);
        crypto_sign_seed_keypair(c->ed, sk, seed);
        strcpy(c->domain, "lab");
        strcpy(c->host, "h");
        c->not_after = VI_HOUR;
        if (cert_issue(c, ask))
            abort();
        cfg[i].has_cert = true;
        cfg[i].trust = trust;
        cfg[i].trusts = 1;
    }
}

#endif
