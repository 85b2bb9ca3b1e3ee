/* The authority's secret key in a file that may leave the host: encrypted with a passphrase (Argon2id,
 * XSalsa20-Poly1305: libsodium's pwhash and secretbox). Pure but for the randomness of making one. */
#ifndef PEER_BACKUP_H
#define PEER_BACKUP_H

#include "overlay/overlay.h"

#define BACKUP_MAX            512 /* bytes of a file */
#define BACKUP_PASSPHRASE_MIN 8
#define BACKUP_PASSPHRASE_MAX 1024

struct backup {
    char domain[CERT_NAME_MAX + 1];
    uint8_t authority[CERT_KEY]; /* its public key */
    uint64_t ops, memory;        /* of the passphrase's hash; memory in bytes */
    uint8_t salt[16], nonce[24], box[64 + VI_ID_SIZE + 16]; /* key, hash of domain and public key, tag */
};

/* Encrypts the secret key (64 bytes) and encodes. 0, VI_EINVAL (domain, passphrase), VI_ENOMEM. */
int backup_make(const char *domain, const uint8_t secret[64], const char *passphrase, uint8_t *out,
                size_t cap, size_t *len);
/* 0, VI_EPROTO, VI_EVERSION. The hash's cost is bounded: 1 GiB, 16 passes. */
int backup_decode(struct backup *b, const uint8_t *data, size_t len);
/* 0 and the secret key; VI_EAUTH: another passphrase, or the file was altered; VI_ENOMEM. */
int backup_open(const struct backup *b, const char *passphrase, uint8_t secret[64]);

#endif
