/* The Noise handshakes IK and IKpsk2 with 25519, ChaChaPoly or AESGCM, and BLAKE2b.
 *
 * The Noise Protocol Framework, revision 34 (https://noiseprotocol.org/noise.html): §5 for the
 * state objects, §7.5 for IK, §9 for the psk modifier, §12 for the functions. Only libsodium's
 * primitives. Pure: the ephemeral key is handed in. */
#ifndef OVERLAY_NOISE_H
#define OVERLAY_NOISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NOISE_KEY  32 /* X25519 keys, cipher keys, pre-shared keys */
#define NOISE_HASH 64 /* BLAKE2b */
#define NOISE_TAG  16

/* Bytes that a handshake message adds to its payload. */
#define NOISE_IK_1 (NOISE_KEY + NOISE_KEY + NOISE_TAG + NOISE_TAG) /* e, es, s, ss */
#define NOISE_IK_2 (NOISE_KEY + NOISE_TAG)                         /* e, ee, se [, psk] */

enum noise_cipher { NOISE_CHACHAPOLY = 1, NOISE_AESGCM = 2 };

/* Ciphers of this machine as a mask of (1 << cipher). sodium_init() must have been called. */
unsigned noise_ciphers(void);

/* Seals len bytes into out (len + NOISE_TAG). The nonce is the counter n in the cipher's own Noise
 * form. Never the same n twice with one key. 0, or VI_EUNSUPPORTED. in and out may be the same. */
int noise_seal(enum noise_cipher c, const uint8_t key[NOISE_KEY], uint64_t n, const void *ad,
               size_t ad_len, const void *in, size_t len, uint8_t *out);
/* Opens len bytes (tag included) into out (len - NOISE_TAG). 0, VI_EAUTH or VI_EUNSUPPORTED. */
int noise_open(enum noise_cipher c, const uint8_t key[NOISE_KEY], uint64_t n, const void *ad,
               size_t ad_len, const uint8_t *in, size_t len, uint8_t *out);

/* HKDF of §4.3: count (2 or 3) outputs of NOISE_HASH bytes; the third may be NULL if count is 2. */
void noise_hkdf(const uint8_t ck[NOISE_HASH], const void *ikm, size_t len, int count,
                uint8_t *out1, uint8_t *out2, uint8_t *out3);

struct noise_setup {
    enum noise_cipher cipher;
    bool initiator;
    bool psk2;                  /* IKpsk2 instead of IK */
    const uint8_t *psk;         /* NOISE_KEY bytes; the responder may set it later */
    const void *prologue;
    size_t prologue_len;
    const uint8_t *secret;      /* own static X25519 secret key */
    const uint8_t *remote;      /* the responder's static public key; the initiator only */
    const uint8_t *ephemeral;   /* own ephemeral secret key, fresh random bytes */
};

struct noise_handshake {
    enum noise_cipher cipher;
    bool initiator, psk2, has_psk, has_key;
    uint8_t step; /* messages done: 0, 1, 2; 255 once anything failed */
    uint64_t n;
    uint8_t ck[NOISE_HASH], h[NOISE_HASH], k[NOISE_KEY];
    uint8_t s[NOISE_KEY], sp[NOISE_KEY], e[NOISE_KEY], ep[NOISE_KEY];
    uint8_t rs[NOISE_KEY], re[NOISE_KEY], psk[NOISE_KEY];
};

/* 0, VI_EINVAL or VI_EUNSUPPORTED. The keys are copied. */
int noise_init(struct noise_handshake *hs, const struct noise_setup *setup);
/* The responder's pre-shared key, before it writes. */
void noise_set_psk(struct noise_handshake *hs, const uint8_t psk[NOISE_KEY]);
/* The next message, which must be ours to write: *out_len = len + NOISE_IK_1 or NOISE_IK_2.
 * 0, VI_EFULL, VI_ESTATE, or VI_EAUTH for a remote key of low order. */
int noise_write(struct noise_handshake *hs, const void *payload, size_t len, uint8_t *out,
                size_t cap, size_t *out_len);
/* Reads the other's message; out has room for len bytes. After an error the state is dead.
 * After the first message the responder finds the initiator's key in hs->rs. */
int noise_read(struct noise_handshake *hs, const uint8_t *msg, size_t len, uint8_t *out, size_t cap,
               size_t *out_len);
/* After both messages: the transport keys for own and the other's messages. VI_ESTATE before. */
int noise_split(const struct noise_handshake *hs, uint8_t tx[NOISE_KEY], uint8_t rx[NOISE_KEY]);
/* After both messages: a secret of NOISE_HASH bytes that both ends share and that no transport key
 * reveals: HKDF of the final chaining key with the label. For further keys. VI_ESTATE before. */
int noise_export(const struct noise_handshake *hs, const char *label, uint8_t out[NOISE_HASH]);
/* Wipes all keys. Twice is fine. */
void noise_clear(struct noise_handshake *hs);

#endif
