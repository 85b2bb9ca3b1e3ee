/* 128-bit identifiers. See id.h. */
#include "peer/base/id.h"

#include <pthread.h>
#include <sodium.h>
#include <string.h>

#include "peer/base/err.h"

bool vi_id_equal(const struct vi_id *a, const struct vi_id *b)
{
    return memcmp(a->b, b->b, VI_ID_SIZE) == 0;
}

int vi_id_compare(const struct vi_id *a, const struct vi_id *b)
{
    return memcmp(a->b, b->b, VI_ID_SIZE);
}

bool vi_id_is_zero(const struct vi_id *a)
{
    return sodium_is_zero(a->b, VI_ID_SIZE);
}

static const char digits[] = "0123456789abcdef";

char *vi_id_format(const struct vi_id *id, char out[VI_ID_TEXT])
{
    for (int i = 0; i < VI_ID_SIZE; i++) {
        out[2 * i] = digits[id->b[i] >> 4];
        out[2 * i + 1] = digits[id->b[i] & 15];
    }
    out[2 * VI_ID_SIZE] = 0;
    return out;
}

char *vi_uuid_format(const struct vi_id *id, char out[VI_UUID_TEXT])
{
    char *p = out;
    for (int i = 0; i < VI_ID_SIZE; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *p++ = '-';
        *p++ = digits[id->b[i] >> 4];
        *p++ = digits[id->b[i] & 15];
    }
    *p = 0;
    return out;
}

static int nibble(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

int vi_id_parse(struct vi_id *id, const char *text)
{
    struct vi_id v;
    for (int i = 0; i < VI_ID_SIZE; i++) {
        int hi, lo;
        if (*text == '-' && i > 0)
            text++;
        hi = nibble(text[0]);
        lo = hi < 0 ? -1 : nibble(text[1]);
        if (lo < 0)
            return VI_EINVAL;
        v.b[i] = (uint8_t)(hi << 4 | lo);
        text += 2;
    }
    if (*text)
        return VI_EINVAL;
    *id = v;
    return VI_OK;
}

static void hash_part(crypto_generichash_state *st, const void *p, size_t len)
{
    uint8_t n[8];
    for (int i = 0; i < 8; i++)
        n[i] = (uint8_t)((uint64_t)len >> (8 * i));
    crypto_generichash_update(st, n, sizeof n);
    if (len)
        crypto_generichash_update(st, p, len);
}

void vi_id_hash(struct vi_id *id, const char *label, const void *a, size_t alen, const void *b,
                size_t blen)
{
    crypto_generichash_state st;
    crypto_generichash_init(&st, NULL, 0, VI_ID_SIZE);
    hash_part(&st, label, strlen(label));
    hash_part(&st, a, alen);
    hash_part(&st, b, blen);
    crypto_generichash_final(&st, id->b, VI_ID_SIZE);
}

static uint8_t hash_key[crypto_shorthash_KEYBYTES];

static void make_hash_key(void)
{
    crypto_shorthash_keygen(hash_key);
}

uint64_t vi_bucket(const void *key, size_t len)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT; /* the data path's thread asks too */
    uint8_t out[crypto_shorthash_BYTES];
    uint64_t v;
    pthread_once(&once, make_hash_key);
    crypto_shorthash(out, key, len, hash_key);
    memcpy(&v, out, sizeof v);
    return v;
}

uint64_t vi_id_bucket(const struct vi_id *id)
{
    return vi_bucket(id->b, VI_ID_SIZE);
}
