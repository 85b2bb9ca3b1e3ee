/* Statements about keys, the authority's backup, and a keyring that takes whatever it accepts. The first byte
 * says which. What a decoder takes is encoded again to the same bytes; what the keyring accepts is signed by
 * the one authority that there is, of which the input can only know what the seeds show. */
#include <sodium.h>
#include <stdint.h>
#include <string.h>

#include "peer/backup.h"
#include "peer/keyring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct identity me;
static struct trust trust;
static uint8_t authority_sk[64];

static void set_up(void)
{
    static const uint8_t seed[32] = {9}, own[32] = {1};
    uint8_t pk[32];
    crypto_sign_seed_keypair(pk, authority_sk, seed);
    crypto_sign_seed_keypair(me.ed_pk, me.ed_sk, own);
    cert_peer_id(&me.id, me.ed_pk);
    trust_init(&trust, "lab", pk);
}

static void same(const uint8_t *out, size_t n, const uint8_t *data, size_t size)
{
    /* integers and lengths may be written longer than we do; then it can't have a good signature */
    if (n > size)
        __builtin_trap();
    if (n == size && memcmp(out, data, n) && memcmp(out + n - CERT_SIG, data + size - CERT_SIG, CERT_SIG))
        __builtin_trap();
}

static void decoders(unsigned kind, const uint8_t *data, size_t size)
{
    uint8_t out[STATEMENT_MAX];
    struct revocation r;
    struct delegation d;
    struct rollover o;
    struct backup b;
    size_t n = 0;
    if (kind == 0 && !revocation_decode(&r, data, size)) {
        if (revocation_encode(&r, out, sizeof out, &n))
            __builtin_trap();
        same(out, n, data, size);
        revocation_verify(&r, trust_newest(&trust));
    } else if (kind == 1 && !delegation_decode(&d, data, size)) {
        if (delegation_encode(&d, out, sizeof out, &n))
            __builtin_trap();
        delegation_verify(&d, trust_newest(&trust), 1);
    } else if (kind == 2 && !rollover_decode(&o, data, size)) {
        if (rollover_encode(&o, out, sizeof out, &n))
            __builtin_trap();
        same(out, n, data, size);
        rollover_verify(&o);
    } else if (kind == 3) {
        backup_decode(&b, data, size);
    }
}

/* Statements one after another: kind, length in two bytes, bytes. */
static void ring(const uint8_t *data, size_t size)
{
    static struct keyring k;
    struct trust t = trust;
    keyring_init(&k, &me, &t);
    while (size > 3) {
        unsigned kind = KEY_RECORD_REVOCATION + data[0] % 3;
        size_t len = (size_t)(data[1] | data[2] << 8);
        struct revocation r;
        struct delegation d;
        struct rollover o;
        struct vi_id key;
        uint64_t version = 1;
        if (len > size - 3)
            len = size - 3;
        data += 3;
        size -= 3;
        memset(&key, 0, sizeof key);
        if (kind == KEY_RECORD_REVOCATION && !revocation_decode(&r, data, len)) {
            statement_key(&key, kind, r.key);
            version = r.issue;
        } else if (kind == KEY_RECORD_DELEGATION && !delegation_decode(&d, data, len)) {
            statement_key(&key, kind, d.d.issuer);
            version = (uint64_t)d.d.not_before;
        } else if (kind == KEY_RECORD_ROLLOVER && !rollover_decode(&o, data, len)) {
            statement_key(&key, kind, o.before);
            version = rollover_version(&o);
        }
        if (keyring_accept(&k, kind, &key, &key, version, data, len))
            keyring_take(&k, kind, data, len);
        data += len;
        size -= len;
    }
    keyring_tick(&k, INT64_MAX / 2);
    keyring_caps(&k, me.ed_pk, 1);
    keyring_free(&k);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    if (!ready && sodium_init() < 0)
        return 0;
    if (!ready)
        set_up();
    ready = true;
    if (size < 1)
        return 0;
    if (data[0] % 5 == 4)
        ring(data + 1, size - 1);
    else
        decoders(data[0] % 5, data + 1, size - 1);
    return 0;
}
