/* The AEAD of one sending queue with its key schedule made once (noise.h makes it for each message). */
#ifndef OVERLAY_AEAD_H
#define OVERLAY_AEAD_H

#include <sodium.h>

#include "overlay/noise.h"

/* The AES state wants an alignment of 16: put it where the compiler or aligned_alloc() puts it. */
struct aead_key {
    crypto_aead_aes256gcm_state aes;
    uint8_t key[NOISE_KEY]; /* ChaCha20-Poly1305 */
    enum noise_cipher cipher;
};

/* 0, or VI_EUNSUPPORTED. */
int aead_init(struct aead_key *k, enum noise_cipher c, const uint8_t key[NOISE_KEY]);
void aead_clear(struct aead_key *k);
/* In place: len bytes become len + NOISE_TAG. n never twice with one key. The same bytes as noise_seal(). */
void aead_seal(const struct aead_key *k, uint64_t n, const void *ad, size_t ad_len, uint8_t *data, size_t len);
/* In place: len bytes, tag included, become len - NOISE_TAG. 0 or VI_EAUTH (then data is spoilt). */
int aead_open(const struct aead_key *k, uint64_t n, const void *ad, size_t ad_len, uint8_t *data, size_t len);

#endif
