/* The AEADs of the data path, with the key schedule made once: the same bytes as noise.h's, from libcrypto, whose
 * code for today's processors is about twice as fast as libsodium's on datagrams (overlay/README.md has figures).
 * Everything but frames stays with libsodium. */
#ifndef OVERLAY_AEAD_H
#define OVERLAY_AEAD_H

#include "overlay/noise.h"

struct evp_cipher_ctx_st;
struct evp_cipher_st;

/* One key in one direction, for one thread at a time. Zero it to begin with. */
struct aead_key {
    struct evp_cipher_ctx_st *ctx;
    struct evp_cipher_st *copy; /* the cipher's table; may be NULL */
    enum noise_cipher cipher;
};

/* seal: for aead_seal(), else for aead_open(). 0, VI_EUNSUPPORTED or VI_ENOMEM. */
int aead_init(struct aead_key *k, enum noise_cipher c, const uint8_t key[NOISE_KEY], bool seal);
/* Wipes it. Twice is fine. */
void aead_clear(struct aead_key *k);
/* In place: len bytes become len + NOISE_TAG. n never twice with one key. 0, or VI_EIO: nothing to send then. */
int aead_seal(const struct aead_key *k, uint64_t n, const void *ad, size_t ad_len, uint8_t *data, size_t len);
/* In place: len bytes, tag included, become len - NOISE_TAG. 0 or VI_EAUTH (then data is spoilt). */
int aead_open(const struct aead_key *k, uint64_t n, const void *ad, size_t ad_len, uint8_t *data, size_t len);

#endif
