/* Encoding, signing and checking of environment records. See envdef.h.
 * A record is the msgpack body followed by a 64-byte Ed25519 signature over a label and the body. */
#include "peer/envdef.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "overlay/overlay.h"
#include "peer/base/err.h"
#include "peer/base/wire.h"
#include "peer/envdef_internal.h"

static const char label[] = "violin environment record";

bool env_name_valid(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n >= ENV_NAME_MAX)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = name[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alnum && (i == 0 || !strchr("._-", c)))
            return false;
    }
    return true;
}

void env_definition_identify(struct env_definition *d)
{
    uint8_t b[ENV_NAME_MAX + VI_ID_SIZE];
    size_t n = strlen(d->name);
    memcpy(b, d->name, n);
    memcpy(b + n, d->nonce.b, VI_ID_SIZE);
    vi_id_hash(&d->id, "violin environment", d->home, strlen(d->home), b, n + VI_ID_SIZE);
}

char *env_bridge_name(const struct vi_id *env, char out[ENV_BRIDGE_MAX])
{
    snprintf(out, ENV_BRIDGE_MAX, "vi-%02x%02x%02x%02x", env->b[0], env->b[1], env->b[2],
             env->b[3]);
    return out;
}

static void signature_input(crypto_sign_state *st, const uint8_t *body, size_t len)
{
    crypto_sign_init(st);
    crypto_sign_update(st, (const uint8_t *)label, sizeof label);
    crypto_sign_update(st, body, len);
}

int env_sign_body(struct vi_writer *w, const uint8_t sk[64])
{
    crypto_sign_state st;
    if (w->err || w->cap - w->len < ENV_SIG)
        return VI_EFULL;
    signature_input(&st, w->data, w->len);
    crypto_sign_final_create(&st, w->data + w->len, NULL, sk);
    return (int)(w->len + ENV_SIG);
}

int env_record_verify(const uint8_t *data, size_t len, const uint8_t pk[32])
{
    crypto_sign_state st;
    if (len <= ENV_SIG)
        return VI_EAUTH;
    signature_input(&st, data, len - ENV_SIG);
    return crypto_sign_final_verify(&st, data + len - ENV_SIG, pk) == 0 ? 0 : VI_EAUTH;
}

int env_definition_encode(const struct env_definition *d, const uint8_t sk[64], uint8_t *out,
                          size_t cap)
{
    struct vi_writer w;
    vi_writer_init(&w, out, cap);
    vi_write_array(&w, d->bandwidth ? 11 : d->strict ? 10 : 9); /* who doesn't know the tenth must not open a strict one */
    vi_write_uint(&w, 1);
    vi_write_str(&w, d->name);
    vi_write_str(&w, d->home);
    vi_write_id(&w, &d->nonce);
    vi_write_uint(&w, d->shares);
    vi_write_bool(&w, d->removed);
    vi_write_uint(&w, d->version);
    vi_write_bin(&w, d->cert, d->cert_len);
    vi_write_array(&w, d->n_allowed);
    for (unsigned i = 0; i < d->n_allowed; i++)
        vi_write_str(&w, d->allowed[i]);
    if (d->strict || d->bandwidth)
        vi_write_bool(&w, d->strict);
    if (d->bandwidth)
        vi_write_uint(&w, d->bandwidth);
    return env_sign_body(&w, sk);
}

bool env_allows(const struct env_definition *d, const char *domain)
{
    bool yes = !strcmp(d->home, domain);
    for (unsigned i = 0; i < d->n_allowed; i++)
        yes |= !strcmp(d->allowed[i], domain);
    return yes;
}

static void read_allowed(struct vi_reader *r, struct env_definition *d)
{
    uint32_t n = vi_read_array(r, ENV_ALLOWED);
    for (uint32_t i = 0; i < n && !r->err; i++) {
        vi_read_cstr(r, d->allowed[i], sizeof d->allowed[i]);
        if (!r->err && !cert_name_ok(d->allowed[i]))
            r->err = VI_EPROTO;
    }
    d->n_allowed = r->err ? 0 : n;
}

int env_definition_decode(struct env_definition *d, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    const uint8_t *cert;
    size_t n;
    uint32_t fields;
    int err;
    memset(d, 0, sizeof *d);
    if (len <= ENV_SIG || len > ENV_RECORD_MAX)
        return VI_EPROTO;
    vi_reader_init(&r, data, len - ENV_SIG);
    fields = vi_read_array(&r, 11); /* 8: before there were other domains; 10: strict; 11: bandwidth */
    if (fields < 8)
        return VI_EPROTO;
    if (vi_read_uint(&r, 1) != 1)
        return r.err ? VI_EPROTO : VI_EVERSION;
    vi_read_cstr(&r, d->name, sizeof d->name);
    vi_read_cstr(&r, d->home, sizeof d->home);
    vi_read_id(&r, &d->nonce);
    d->shares = (uint32_t)vi_read_uint(&r, ENV_SHARES_MAX);
    d->removed = vi_read_bool(&r);
    d->version = vi_read_uint(&r, UINT64_MAX);
    cert = vi_read_bin(&r, sizeof d->cert, &n);
    if (fields >= 9)
        read_allowed(&r, d);
    d->strict = fields >= 10 && vi_read_bool(&r);
    d->bandwidth = fields == 11 ? (uint32_t)vi_read_uint(&r, ENV_BANDWIDTH_MAX) : 0;
    err = vi_read_end(&r);
    if (err)
        return err;
    memcpy(d->cert, cert, n);
    d->cert_len = (unsigned)n;
    if (!env_name_valid(d->name) || d->shares == 0)
        return VI_EINVAL;
    env_definition_identify(d);
    return 0;
}

int env_takes_part_encode(const struct env_takes_part *t, const uint8_t sk[64], uint8_t *out,
                          size_t cap)
{
    struct vi_writer w;
    vi_writer_init(&w, out, cap);
    vi_write_array(&w, 4);
    vi_write_uint(&w, 1);
    vi_write_bin(&w, t->key, sizeof t->key);
    vi_write_uint(&w, t->version);
    vi_write_bin(&w, t->envs, t->n * sizeof t->envs[0]);
    return env_sign_body(&w, sk);
}

int env_takes_part_decode(struct env_takes_part *t, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    const uint8_t *ids;
    size_t n = 0;
    int err;
    memset(t, 0, sizeof *t);
    if (len <= ENV_SIG || len > ENV_RECORD_MAX)
        return VI_EPROTO;
    vi_reader_init(&r, data, len - ENV_SIG);
    if (vi_read_array(&r, 4) != 4)
        return VI_EPROTO;
    if (vi_read_uint(&r, 1) != 1)
        return r.err ? VI_EPROTO : VI_EVERSION;
    vi_read_bytes(&r, t->key, sizeof t->key);
    t->version = vi_read_uint(&r, UINT64_MAX);
    ids = vi_read_bin(&r, sizeof t->envs, &n);
    err = vi_read_end(&r);
    if (err)
        return err;
    if (n % ENV_TAG_SIZE)
        return VI_EPROTO;
    t->n = (unsigned)(n / ENV_TAG_SIZE);
    if (n)
        memcpy(t->envs, ids, n);
    return 0;
}
