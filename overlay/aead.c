/* See aead.h. */
#include "overlay/aead.h"

#include <string.h>

#include "peer/base/err.h"

int aead_init(struct aead_key *k, enum noise_cipher c, const uint8_t key[NOISE_KEY])
{
    if (!(noise_ciphers() & 1U << c))
        return VI_EUNSUPPORTED;
    k->cipher = c;
    memcpy(k->key, key, NOISE_KEY);
    if (c == NOISE_AESGCM)
        crypto_aead_aes256gcm_beforenm(&k->aes, key);
    return 0;
}

void aead_clear(struct aead_key *k)
{
    sodium_memzero(k, sizeof *k);
}

/* Noise §12.3, §12.4: ChaChaPoly's counter is little-endian, AESGCM's big-endian, behind four zeros. */
static void nonce_of(enum noise_cipher c, uint64_t n, uint8_t out[12])
{
    memset(out, 0, 4);
    for (unsigned i = 0; i < 8; i++)
        out[4 + i] = (uint8_t)(n >> (c == NOISE_AESGCM ? 56 - 8 * i : 8 * i));
}

void aead_seal(const struct aead_key *k, uint64_t n, const void *ad, size_t ad_len, uint8_t *data, size_t len)
{
    uint8_t nonce[12];
    nonce_of(k->cipher, n, nonce);
    if (k->cipher == NOISE_AESGCM)
        crypto_aead_aes256gcm_encrypt_afternm(data, NULL, data, len, ad, ad_len, NULL, nonce, &k->aes);
    else
        crypto_aead_chacha20poly1305_ietf_encrypt(data, NULL, data, len, ad, ad_len, NULL, nonce, k->key);
}

int aead_open(const struct aead_key *k, uint64_t n, const void *ad, size_t ad_len, uint8_t *data, size_t len)
{
    uint8_t nonce[12];
    int bad;
    if (len < NOISE_TAG)
        return VI_EAUTH;
    nonce_of(k->cipher, n, nonce);
    if (k->cipher == NOISE_AESGCM)
        bad = crypto_aead_aes256gcm_decrypt_afternm(data, NULL, NULL, data, len, ad, ad_len, nonce, &k->aes);
    else
        bad = crypto_aead_chacha20poly1305_ietf_decrypt(data, NULL, NULL, data, len, ad, ad_len, nonce, k->key);
    return bad ? VI_EAUTH : 0;
}
