/* The authority's backup. See backup.h. Msgpack array: label, version, domain, public key, ops, memory,
 * salt, nonce, box. The public key shows whose it is without the passphrase; opening checks it. */
#include "peer/backup.h"

#include <sodium.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"

#define LABEL   "violin authority backup"
#define VERSION 1
/* 64 MiB, three passes: about 0.2 s; dom0 may be small. */
#define OPS        3
#define MEMORY     (UINT64_C(64) << 20)
#define MEMORY_MAX (UINT64_C(1) << 30)
#define OPS_MAX    16

static int key_of(const struct backup *b, const char *passphrase, uint8_t key[32])
{
    if (crypto_pwhash(key, 32, passphrase, strlen(passphrase), b->salt, b->ops, (size_t)b->memory,
                      crypto_pwhash_ALG_ARGON2ID13))
        return VI_ENOMEM;
    return 0;
}

/* What of the clear text the passphrase vouches for. */
static void tie(struct vi_id *id, const char *domain, const uint8_t authority[CERT_KEY])
{
    vi_id_hash(id, LABEL, domain, strlen(domain), authority, CERT_KEY);
}

int backup_make(const char *domain, const uint8_t secret[64], const char *passphrase, uint8_t *out,
                size_t cap, size_t *len)
{
    struct backup b = {.ops = OPS, .memory = MEMORY};
    size_t n = strlen(passphrase);
    struct vi_writer w;
    uint8_t key[32], plain[64 + VI_ID_SIZE];
    struct vi_id id;
    int err;
    if (!cert_name_ok(domain) || n < BACKUP_PASSPHRASE_MIN || n > BACKUP_PASSPHRASE_MAX)
        return VI_EINVAL;
    crypto_sign_ed25519_sk_to_pk(b.authority, secret);
    randombytes_buf(b.salt, sizeof b.salt);
    randombytes_buf(b.nonce, sizeof b.nonce);
    err = key_of(&b, passphrase, key);
    if (err)
        return err;
    tie(&id, domain, b.authority);
    memcpy(plain, secret, 64);
    memcpy(plain + 64, id.b, VI_ID_SIZE);
    crypto_secretbox_easy(b.box, plain, sizeof plain, b.nonce, key);
    sodium_memzero(key, sizeof key);
    sodium_memzero(plain, sizeof plain);
    vi_writer_init(&w, out, cap);
    vi_write_array(&w, 9);
    vi_write_str(&w, LABEL);
    vi_write_uint(&w, VERSION);
    vi_write_str(&w, domain);
    vi_write_bin(&w, b.authority, sizeof b.authority);
    vi_write_uint(&w, b.ops);
    vi_write_uint(&w, b.memory);
    vi_write_bin(&w, b.salt, sizeof b.salt);
    vi_write_bin(&w, b.nonce, sizeof b.nonce);
    vi_write_bin(&w, b.box, sizeof b.box);
    *len = w.len;
    return w.err;
}

int backup_decode(struct backup *b, const uint8_t *data, size_t len)
{
    char label[sizeof LABEL];
    struct vi_reader r;
    memset(b, 0, sizeof *b);
    if (len > BACKUP_MAX)
        return VI_EPROTO;
    vi_reader_init(&r, data, len);
    if (vi_read_array(&r, 9) != 9)
        return VI_EPROTO;
    vi_read_cstr(&r, label, sizeof label);
    if (r.err || strcmp(label, LABEL))
        return VI_EPROTO;
    if (vi_read_uint(&r, UINT32_MAX) != VERSION)
        return r.err ? VI_EPROTO : VI_EVERSION;
    vi_read_cstr(&r, b->domain, sizeof b->domain);
    vi_read_bytes(&r, b->authority, sizeof b->authority);
    b->ops = vi_read_uint(&r, OPS_MAX);
    b->memory = vi_read_uint(&r, MEMORY_MAX);
    vi_read_bytes(&r, b->salt, sizeof b->salt);
    vi_read_bytes(&r, b->nonce, sizeof b->nonce);
    vi_read_bytes(&r, b->box, sizeof b->box);
    if (vi_read_end(&r) || !cert_name_ok(b->domain) || b->ops < 1 || b->memory < 8192)
        return VI_EPROTO;
    return 0;
}

int backup_open(const struct backup *b, const char *passphrase, uint8_t secret[64])
{
    uint8_t key[32], pk[CERT_KEY], plain[64 + VI_ID_SIZE];
    struct vi_id id;
    int err = key_of(b, passphrase, key);
    if (err)
        return err;
    err = crypto_secretbox_open_easy(plain, b->box, sizeof b->box, b->nonce, key) ? VI_EAUTH : 0;
    sodium_memzero(key, sizeof key);
    if (!err) {
        crypto_sign_ed25519_sk_to_pk(pk, plain);
        tie(&id, b->domain, b->authority);
        if (memcmp(pk, b->authority, CERT_KEY) || memcmp(id.b, plain + 64, VI_ID_SIZE))
            err = VI_EAUTH;
    }
    if (!err)
        memcpy(secret, plain, 64);
    sodium_memzero(plain, sizeof plain);
    return err;
}
