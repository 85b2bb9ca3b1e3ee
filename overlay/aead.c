/* See aead.h. */
#define OPENSSL_SUPPRESS_DEPRECATED /* EVP_CIPHER_meth_dup(): see aead_init() */
#include "overlay/aead.h"

#include <openssl/evp.h>
#include <string.h>

#include "peer/base/err.h"

/* libcrypto 3 goes through its providers, which look up every parameter of every packet by its name: of the 415 ns that
 * 1440 bytes take, 65. It doesn't for a cipher whose table of functions is the program's own, as a copy is. */
int aead_init(struct aead_key *k, enum noise_cipher c, const uint8_t key[NOISE_KEY], bool seal)
{
    const EVP_CIPHER *e = c == NOISE_AESGCM ? EVP_aes_256_gcm() : EVP_chacha20_poly1305();
    k->ctx = NULL;
    k->copy = NULL;
    k->cipher = c;
    if (!(noise_ciphers() & 1U << c))
        return VI_EUNSUPPORTED;
#if OPENSSL_VERSION_MAJOR < 4
    k->copy = EVP_CIPHER_meth_dup(e);
#endif
    k->ctx = EVP_CIPHER_CTX_new();
    if (k->ctx && EVP_CipherInit_ex(k->ctx, k->copy ? k->copy : e, NULL, key, NULL, seal) == 1)
        return 0;
    aead_clear(k);
    return VI_ENOMEM;
}

void aead_clear(struct aead_key *k)
{
    EVP_CIPHER_CTX_free(k->ctx); /* clears what it holds */
    k->ctx = NULL;
#if OPENSSL_VERSION_MAJOR < 4
    EVP_CIPHER_meth_free(k->copy);
    k->copy = NULL;
#endif
}

/* Noise §12.3, §12.4: ChaChaPoly's counter is little-endian, AESGCM's big-endian, behind four zeros. */
static void nonce_of(enum noise_cipher c, uint64_t n, uint8_t out[12])
{
    memset(out, 0, 4);
    for (unsigned i = 0; i < 8; i++)
        out[4 + i] = (uint8_t)(n >> (c == NOISE_AESGCM ? 56 - 8 * i : 8 * i));
}

int aead_seal(const struct aead_key *k, uint64_t n, const void *ad, size_t ad_len, uint8_t *data, size_t len)
{
    uint8_t nonce[12];
    int out;
    nonce_of(k->cipher, n, nonce);
    if (EVP_EncryptInit_ex(k->ctx, NULL, NULL, NULL, nonce) != 1 ||
        EVP_EncryptUpdate(k->ctx, NULL, &out, ad, (int)ad_len) != 1 ||
        EVP_EncryptUpdate(k->ctx, data, &out, data, (int)len) != 1 ||
        EVP_EncryptFinal_ex(k->ctx, data + len, &out) != 1 ||
        EVP_CIPHER_CTX_ctrl(k->ctx, EVP_CTRL_AEAD_GET_TAG, NOISE_TAG, data + len) != 1)
        return VI_EIO;
    return 0;
}

int aead_open(const struct aead_key *k, uint64_t n, const void *ad, size_t ad_len, uint8_t *data, size_t len)
{
    uint8_t nonce[12];
    int out;
    if (len < NOISE_TAG)
        return VI_EAUTH;
    len -= NOISE_TAG;
    nonce_of(k->cipher, n, nonce);
    if (EVP_DecryptInit_ex(k->ctx, NULL, NULL, NULL, nonce) != 1 ||
        EVP_CIPHER_CTX_ctrl(k->ctx, EVP_CTRL_AEAD_SET_TAG, NOISE_TAG, data + len) != 1 ||
        EVP_DecryptUpdate(k->ctx, NULL, &out, ad, (int)ad_len) != 1 ||
        EVP_DecryptUpdate(k->ctx, data, &out, data, (int)len) != 1 ||
        EVP_DecryptFinal_ex(k->ctx, data + len, &out) != 1)
        return VI_EAUTH;
    return 0;
}
