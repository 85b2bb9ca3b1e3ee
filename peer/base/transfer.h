/* The signed transfer of a guest: the host that gives a guest up says to whom, once, with its key.
 *
 * The handover makes it (with GO), the switches believe it: a stated MAC changes hosts only with it. */
#ifndef PEER_BASE_TRANSFER_H
#define PEER_BASE_TRANSFER_H

#include "peer/base/id.h"

#define TRANSFER_MACS 8
#define TRANSFER_MAX  300 /* bytes, encoded and signed */

struct transfer {
    struct vi_id handover, guest, env;
    struct vi_id from, to; /* peers */
    uint64_t epoch;        /* of the guest at its new host */
    unsigned n_macs;
    uint8_t macs[TRANSFER_MACS][6];
};

/* Encodes and signs with from's Ed25519 secret key (64 bytes). The length, or a vi_err. */
int transfer_sign(const struct transfer *t, const uint8_t sk[64], uint8_t *out, size_t cap);
/* Decodes without judging. 0, VI_EPROTO, VI_EVERSION. */
int transfer_decode(struct transfer *t, const uint8_t *data, size_t len);
/* Is it signed by pk? 0 or VI_EAUTH. */
int transfer_verify(const uint8_t *data, size_t len, const uint8_t pk[32]);

#endif
