#include "overlay/noise.h"

#include <sodium.h>
#include <string.h>

#include "peer/base/err.h"

#define BLOCK     128 /* of BLAKE2b, for HMAC */
#define STEP_DEAD 255

unsigned noise_ciphers(void)
{
    unsigned mask = 1U << NOISE_CHACHAPOLY;

    if (crypto_aead_aes256gcm_is_available())
        mask |= 1U << NOISE_AESGCM;
    return mask;
}

/* §12.3 and §12.4: ChaChaPoly has the counter little-endian, AESGCM big-endian, in the last eight of
 * twelve bytes. */
static void nonce_of(enum noise_cipher c, uint64_t n, uint8_t out[12])
{
    memset(out, 0, 12);
    for (unsigned i = 0; i < 8; i++)
        out[4 + i] = (uint8_t)(n >> (c == NOISE_AESGCM ? 56 - 8 * i : 8 * i));
}

int noise_seal(enum noise_cipher c, const uint8_t key[NOISE_KEY], uint64_t n, const void *ad,
               size_t ad_len, const void *in, size_t len, uint8_t *out)
{
    uint8_t nonce[12];

    nonce_of(c, n, nonce);
    if (c == NOISE_CHACHAPOLY) {
        crypto_aead_chacha20poly1305_ietf_encrypt(out, NULL, in, len, ad, ad_len, NULL, nonce, key);
        return 0;
    }
    if (c == NOISE_AESGCM && crypto_aead_aes256gcm_is_available()) {
        crypto_aead_aes256gcm_encrypt(out, NULL, in, len, ad, ad_len, NULL, nonce, key);
        return 0;
    }
    return VI_EUNSUPPORTED;
}

int noise_open(enum noise_cipher c, const uint8_t key[NOISE_KEY], uint64_t n, const void *ad,
               size_t ad_len, const uint8_t *in, size_t len, uint8_t *out)
{
    uint8_t nonce[12];
    int bad;

    if (len < NOISE_TAG)
        return VI_EAUTH;
    nonce_of(c, n, nonce);
    if (c == NOISE_CHACHAPOLY)
        bad = crypto_aead_chacha20poly1305_ietf_decrypt(out, NULL, NULL, in, len, ad, ad_len, nonce,
                                                        key);
    else if (c == NOISE_AESGCM && crypto_aead_aes256gcm_is_available())
        bad = crypto_aead_aes256gcm_decrypt(out, NULL, NULL, in, len, ad, ad_len, nonce, key);
    else
        return VI_EUNSUPPORTED;
    return bad ? VI_EAUTH : 0;
}

/* RFC 2104 with BLAKE2b-512; its keys here are never longer than a block. */
static void hmac(const uint8_t key[NOISE_HASH], const void *a, size_t alen, const void *b,
                 size_t blen, uint8_t out[NOISE_HASH])
{
    crypto_generichash_state st;
    uint8_t pad[BLOCK], inner[NOISE_HASH];

    memset(pad, 0x36, sizeof pad);
    for (unsigned i = 0; i < NOISE_HASH; i++)
        pad[i] = key[i] ^ 0x36;
    crypto_generichash_init(&st, NULL, 0, NOISE_HASH);
    crypto_generichash_update(&st, pad, sizeof pad);
    if (alen)
        crypto_generichash_update(&st, a, alen);
    if (blen)
        crypto_generichash_update(&st, b, blen);
    crypto_generichash_final(&st, inner, sizeof inner);
    for (unsigned i = 0; i < BLOCK; i++)
        pad[i] ^= 0x36 ^ 0x5c;
    crypto_generichash_init(&st, NULL, 0, NOISE_HASH);
    crypto_generichash_update(&st, pad, sizeof pad);
    crypto_generichash_update(&st, inner, sizeof inner);
    crypto_generichash_final(&st, out, NOISE_HASH);
    sodium_memzero(pad, sizeof pad);
    sodium_memzero(inner, sizeof inner);
    sodium_memzero(&st, sizeof st);
}

void noise_hkdf(const uint8_t ck[NOISE_HASH], const void *ikm, size_t len, int count, uint8_t *out1,
                uint8_t *out2, uint8_t *out3)
{
    uint8_t temp[NOISE_HASH], one[NOISE_HASH], two[NOISE_HASH];
    static const uint8_t n1 = 1, n2 = 2, n3 = 3;

    hmac(ck, ikm, len, NULL, 0, temp);
    hmac(temp, &n1, 1, NULL, 0, one);
    hmac(temp, one, sizeof one, &n2, 1, two);
    if (count == 3 && out3)
        hmac(temp, two, sizeof two, &n3, 1, out3);
    memcpy(out1, one, sizeof one);
    memcpy(out2, two, sizeof two);
    sodium_memzero(temp, sizeof temp);
    sodium_memzero(one, sizeof one);
    sodium_memzero(two, sizeof two);
}

static void mix_hash(struct noise_handshake *hs, const void *data, size_t len)
{
    crypto_generichash_state st;

    crypto_generichash_init(&st, NULL, 0, NOISE_HASH);
    crypto_generichash_update(&st, hs->h, NOISE_HASH);
    if (len)
        crypto_generichash_update(&st, data, len);
    crypto_generichash_final(&st, hs->h, NOISE_HASH);
}

static void mix_key(struct noise_handshake *hs, const uint8_t ikm[NOISE_KEY])
{
    uint8_t k[NOISE_HASH];

    noise_hkdf(hs->ck, ikm, NOISE_KEY, 2, hs->ck, k, NULL);
    memcpy(hs->k, k, NOISE_KEY);
    hs->has_key = true;
    hs->n = 0;
    sodium_memzero(k, sizeof k);
}

static void mix_psk(struct noise_handshake *hs)
{
    uint8_t th[NOISE_HASH], k[NOISE_HASH];

    noise_hkdf(hs->ck, hs->psk, NOISE_KEY, 3, hs->ck, th, k);
    mix_hash(hs, th, sizeof th);
    memcpy(hs->k, k, NOISE_KEY);
    hs->has_key = true;
    hs->n = 0;
    sodium_memzero(th, sizeof th);
    sodium_memzero(k, sizeof k);
}

/* MixKey(DH(secret, public)). A public key of low order gives all zeros: refused. */
static int mix_dh(struct noise_handshake *hs, const uint8_t *secret, const uint8_t *public)
{
    uint8_t shared[NOISE_KEY];

    if (crypto_scalarmult(shared, secret, public))
        return VI_EAUTH;
    mix_key(hs, shared);
    sodium_memzero(shared, sizeof shared);
    return 0;
}

static int encrypt_and_hash(struct noise_handshake *hs, const void *in, size_t len, uint8_t *out)
{
    int err = noise_seal(hs->cipher, hs->k, hs->n++, hs->h, NOISE_HASH, in, len, out);

    if (!err)
        mix_hash(hs, out, len + NOISE_TAG);
    return err;
}

static int decrypt_and_hash(struct noise_handshake *hs, const uint8_t *in, size_t len, uint8_t *out)
{
    uint8_t h[NOISE_HASH];
    int err;

    /* The hash takes the ciphertext, which out may overwrite; so it's mixed first. */
    memcpy(h, hs->h, sizeof h);
    mix_hash(hs, in, len);
    err = noise_open(hs->cipher, hs->k, hs->n++, h, sizeof h, in, len, out);
    return err;
}

int noise_init(struct noise_handshake *hs, const struct noise_setup *su)
{
    char name[64] = "Noise_IK";

    memset(hs, 0, sizeof *hs);
    hs->step = STEP_DEAD;
    if (su->cipher != NOISE_CHACHAPOLY && su->cipher != NOISE_AESGCM)
        return VI_EINVAL;
    if (!(noise_ciphers() & 1U << su->cipher))
        return VI_EUNSUPPORTED;
    if (!su->secret || !su->ephemeral || (su->initiator && !su->remote))
        return VI_EINVAL;
    strcat(name, su->psk2 ? "psk2_25519_" : "_25519_");
    strcat(name, su->cipher == NOISE_AESGCM ? "AESGCM_BLAKE2b" : "ChaChaPoly_BLAKE2b");
    hs->cipher = su->cipher;
    hs->initiator = su->initiator;
    hs->psk2 = su->psk2;
    memcpy(hs->h, name, strlen(name)); /* shorter than the hash: padded with zeros */
    memcpy(hs->ck, hs->h, NOISE_HASH);
    mix_hash(hs, su->prologue, su->prologue_len);
    memcpy(hs->s, su->secret, NOISE_KEY);
    memcpy(hs->e, su->ephemeral, NOISE_KEY);
    if (crypto_scalarmult_base(hs->sp, hs->s) || crypto_scalarmult_base(hs->ep, hs->e))
        return VI_EINVAL;
    if (su->initiator)
        memcpy(hs->rs, su->remote, NOISE_KEY);
    if (su->psk)
        noise_set_psk(hs, su->psk);
    mix_hash(hs, su->initiator ? hs->rs : hs->sp, NOISE_KEY); /* "<- s" before the messages */
    hs->step = 0;
    return 0;
}

void noise_set_psk(struct noise_handshake *hs, const uint8_t psk[NOISE_KEY])
{
    memcpy(hs->psk, psk, NOISE_KEY);
    hs->has_psk = true;
}

/* -> e, es, s, ss */
static int write_first(struct noise_handshake *hs, const void *payload, size_t len, uint8_t *out)
{
    int err;

    memcpy(out, hs->ep, NOISE_KEY);
    mix_hash(hs, hs->ep, NOISE_KEY);
    if (hs->psk2)
        mix_key(hs, hs->ep); /* §9.2: in psk handshakes the ephemeral key also enters the key */
    err = mix_dh(hs, hs->e, hs->rs);
    if (!err)
        err = encrypt_and_hash(hs, hs->sp, NOISE_KEY, out + NOISE_KEY);
    if (!err)
        err = mix_dh(hs, hs->s, hs->rs);
    if (!err)
        err = encrypt_and_hash(hs, payload, len, out + 2 * NOISE_KEY + NOISE_TAG);
    return err;
}

/* <- e, ee, se [, psk] */
static int write_second(struct noise_handshake *hs, const void *payload, size_t len, uint8_t *out)
{
    int err;

    memcpy(out, hs->ep, NOISE_KEY);
    mix_hash(hs, hs->ep, NOISE_KEY);
    if (hs->psk2)
        mix_key(hs, hs->ep);
    err = mix_dh(hs, hs->e, hs->re);
    if (!err)
        err = mix_dh(hs, hs->e, hs->rs);
    if (!err && hs->psk2)
        mix_psk(hs);
    if (!err)
        err = encrypt_and_hash(hs, payload, len, out + NOISE_KEY);
    return err;
}

int noise_write(struct noise_handshake *hs, const void *payload, size_t len, uint8_t *out,
                size_t cap, size_t *out_len)
{
    size_t extra = hs->initiator ? NOISE_IK_1 : NOISE_IK_2;
    int err;

    if (hs->step != (hs->initiator ? 0 : 1) || (!hs->initiator && hs->psk2 && !hs->has_psk))
        return VI_ESTATE;
    if (cap < extra || cap - extra < len)
        return VI_EFULL;
    err = hs->initiator ? write_first(hs, payload, len, out) : write_second(hs, payload, len, out);
    hs->step = err ? STEP_DEAD : (uint8_t)(hs->step + 1);
    *out_len = err ? 0 : len + extra;
    return err;
}

static int read_first(struct noise_handshake *hs, const uint8_t *msg, size_t len, uint8_t *out)
{
    int err;

    memcpy(hs->re, msg, NOISE_KEY);
    mix_hash(hs, hs->re, NOISE_KEY);
    if (hs->psk2)
        mix_key(hs, hs->re);
    err = mix_dh(hs, hs->s, hs->re);
    if (!err)
        err = decrypt_and_hash(hs, msg + NOISE_KEY, NOISE_KEY + NOISE_TAG, hs->rs);
    if (!err)
        err = mix_dh(hs, hs->s, hs->rs);
    if (!err)
        err = decrypt_and_hash(hs, msg + 2 * NOISE_KEY + NOISE_TAG,
                               len - (2 * NOISE_KEY + NOISE_TAG), out);
    return err;
}

static int read_second(struct noise_handshake *hs, const uint8_t *msg, size_t len, uint8_t *out)
{
    int err;

    memcpy(hs->re, msg, NOISE_KEY);
    mix_hash(hs, hs->re, NOISE_KEY);
    if (hs->psk2)
        mix_key(hs, hs->re);
    err = mix_dh(hs, hs->e, hs->re);
    if (!err)
        err = mix_dh(hs, hs->s, hs->re);
    if (!err && hs->psk2)
        mix_psk(hs);
    if (!err)
        err = decrypt_and_hash(hs, msg + NOISE_KEY, len - NOISE_KEY, out);
    return err;
}

int noise_read(struct noise_handshake *hs, const uint8_t *msg, size_t len, uint8_t *out, size_t cap,
               size_t *out_len)
{
    size_t extra = hs->initiator ? NOISE_IK_2 : NOISE_IK_1;
    int err;

    *out_len = 0;
    if (hs->step != (hs->initiator ? 1 : 0) || (hs->initiator && hs->psk2 && !hs->has_psk))
        return VI_ESTATE;
    if (len < extra)
        err = VI_EPROTO;
    else if (cap < len - extra)
        return VI_EFULL;
    else
        err = hs->initiator ? read_second(hs, msg, len, out) : read_first(hs, msg, len, out);
    hs->step = err ? STEP_DEAD : (uint8_t)(hs->step + 1);
    *out_len = err ? 0 : len - extra;
    return err;
}

int noise_split(const struct noise_handshake *hs, uint8_t tx[NOISE_KEY], uint8_t rx[NOISE_KEY])
{
    uint8_t one[NOISE_HASH], two[NOISE_HASH];

    if (hs->step != 2)
        return VI_ESTATE;
    noise_hkdf(hs->ck, NULL, 0, 2, one, two, NULL);
    memcpy(hs->initiator ? tx : rx, one, NOISE_KEY);
    memcpy(hs->initiator ? rx : tx, two, NOISE_KEY);
    sodium_memzero(one, sizeof one);
    sodium_memzero(two, sizeof two);
    return 0;
}

int noise_export(const struct noise_handshake *hs, const char *label, uint8_t out[NOISE_HASH])
{
    uint8_t other[NOISE_HASH];

    if (hs->step != 2)
        return VI_ESTATE;
    noise_hkdf(hs->ck, label, strlen(label), 2, out, other, NULL);
    sodium_memzero(other, sizeof other);
    return 0;
}

void noise_clear(struct noise_handshake *hs)
{
    sodium_memzero(hs, sizeof *hs);
    hs->step = STEP_DEAD;
}
