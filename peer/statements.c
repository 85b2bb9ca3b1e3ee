/* Encoding, signing and checking of what is said about keys. See statements.h. */
#include "peer/statements.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"

#define VERSION 1

/* No signature can stand for another kind of statement. */
static const char label_revocation[] = "violin revocation";
static const char label_rollover[] = "violin authority rollover";
static const char label_retired[] = "violin authority retired";

void statement_key(struct vi_id *out, unsigned kind, const uint8_t ed[CERT_KEY])
{
    uint8_t k = (uint8_t)kind;
    vi_id_hash(out, "violin key statement", &k, 1, ed, CERT_KEY);
}

static int sign(uint8_t sig[CERT_SIG], const char *label, const uint8_t *body, size_t len,
                const uint8_t secret[64])
{
    crypto_sign_state st;
    crypto_sign_init(&st);
    crypto_sign_update(&st, (const uint8_t *)label, strlen(label) + 1);
    crypto_sign_update(&st, body, len);
    return crypto_sign_final_create(&st, sig, NULL, secret) ? VI_EINVAL : 0;
}

static bool signed_by(const uint8_t sig[CERT_SIG], const char *label, const uint8_t *body, size_t len,
                      const uint8_t key[CERT_KEY])
{
    crypto_sign_state st;
    crypto_sign_init(&st);
    crypto_sign_update(&st, (const uint8_t *)label, strlen(label) + 1);
    crypto_sign_update(&st, body, len);
    return crypto_sign_final_verify(&st, sig, key) == 0;
}

/* Text for people: no control characters, whoever wrote it. */
static bool text_ok(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < 32 || *s == 127)
            return false;
    return true;
}

static int begin(struct vi_reader *r, const uint8_t *data, size_t len, size_t sigs, uint32_t fields)
{
    if (len <= sigs || len > STATEMENT_MAX)
        return VI_EPROTO;
    vi_reader_init(r, data, len - sigs);
    if (vi_read_array(r, fields) != fields)
        return VI_EPROTO;
    if (vi_read_uint(r, UINT32_MAX) != VERSION)
        return r->err ? VI_EPROTO : VI_EVERSION;
    return 0;
}

static int end(const struct vi_writer *w, uint8_t *out, size_t cap, const uint8_t *const *sigs,
               unsigned n, size_t *len)
{
    if (w->err || cap - w->len < n * CERT_SIG)
        return VI_EFULL;
    for (unsigned i = 0; i < n; i++)
        memcpy(out + w->len + i * CERT_SIG, sigs[i], CERT_SIG);
    *len = w->len + n * CERT_SIG;
    return 0;
}

/* ---- revocation ---- */

static void write_revocation(struct vi_writer *w, const struct revocation *r)
{
    uint8_t b[CERT_DELEG_MAX];
    size_t n = 0;
    if (r->delegated && cert_delegation_encode(&r->by, b, sizeof b, &n))
        w->err = VI_EFULL;
    vi_write_array(w, 9);
    vi_write_uint(w, VERSION);
    vi_write_str(w, r->domain);
    vi_write_bin(w, r->key, CERT_KEY);
    vi_write_str(w, r->host);
    vi_write_str(w, r->why);
    vi_write_int(w, r->at);
    vi_write_uint(w, r->issue);
    vi_write_id(w, &r->authority);
    vi_write_bin(w, b, n);
}

static bool revocation_ok(const struct revocation *r)
{
    return cert_name_ok(r->domain) && (!r->host[0] || cert_name_ok(r->host)) && text_ok(r->why) &&
           r->at >= 0 && r->issue > 0;
}

int revocation_sign(struct revocation *r, const struct vi_id *authority,
                    const struct cert_delegation *by, const uint8_t secret[64])
{
    uint8_t b[STATEMENT_MAX];
    struct vi_writer w;
    if (!revocation_ok(r) || (by && !(by->caps & CERT_REVOKE)))
        return VI_EINVAL;
    r->authority = *authority;
    r->delegated = by != NULL;
    memset(&r->by, 0, sizeof r->by);
    if (by)
        r->by = *by;
    vi_writer_init(&w, b, sizeof b);
    write_revocation(&w, r);
    return w.err ? VI_EINVAL : sign(r->sig, label_revocation, b, w.len, secret);
}

int revocation_encode(const struct revocation *r, uint8_t *out, size_t cap, size_t *len)
{
    const uint8_t *sigs[] = {r->sig};
    struct vi_writer w;
    vi_writer_init(&w, out, cap);
    write_revocation(&w, r);
    return end(&w, out, cap, sigs, 1, len);
}

int revocation_decode(struct revocation *r, const uint8_t *data, size_t len)
{
    struct vi_reader in;
    const uint8_t *by;
    size_t n = 0;
    int err;
    memset(r, 0, sizeof *r);
    err = begin(&in, data, len, CERT_SIG, 9);
    if (err)
        return err;
    vi_read_cstr(&in, r->domain, sizeof r->domain);
    vi_read_bytes(&in, r->key, CERT_KEY);
    vi_read_cstr(&in, r->host, sizeof r->host);
    vi_read_cstr(&in, r->why, sizeof r->why);
    r->at = vi_read_int(&in, 0, INT64_MAX);
    r->issue = vi_read_uint(&in, UINT32_MAX);
    vi_read_id(&in, &r->authority);
    by = vi_read_bin(&in, CERT_DELEG_MAX, &n);
    if (vi_read_end(&in) || !revocation_ok(r))
        return VI_EPROTO;
    r->delegated = n > 0;
    if (n && cert_delegation_decode(&r->by, by, n))
        return VI_EPROTO;
    memcpy(r->sig, data + len - CERT_SIG, CERT_SIG);
    return 0;
}

int revocation_verify(const struct revocation *r, const uint8_t authority[CERT_KEY])
{
    uint8_t b[STATEMENT_MAX];
    struct vi_writer w;
    struct vi_id id;
    cert_authority_id(&id, authority);
    if (!vi_id_equal(&id, &r->authority))
        return VI_EAUTH;
    vi_writer_init(&w, b, sizeof b);
    write_revocation(&w, r); /* again from the fields: only the canonical encoding verifies */
    if (w.err || !signed_by(r->sig, label_revocation, b, w.len, r->delegated ? r->by.issuer : authority))
        return VI_EAUTH;
    if (r->delegated && (!(r->by.caps & CERT_REVOKE) ||
                         cert_delegation_verify(&r->by, r->domain, authority, r->at)))
        return VI_EAUTH;
    return 0;
}

/* ---- delegation ---- */

int delegation_encode(const struct delegation *d, uint8_t *out, size_t cap, size_t *len)
{
    uint8_t b[CERT_DELEG_MAX];
    struct vi_writer w;
    size_t n;
    int err = cert_delegation_encode(&d->d, b, sizeof b, &n);
    if (err)
        return err;
    vi_writer_init(&w, out, cap);
    vi_write_array(&w, 4);
    vi_write_uint(&w, VERSION);
    vi_write_str(&w, d->domain);
    vi_write_id(&w, &d->authority);
    vi_write_bin(&w, b, n);
    *len = w.len;
    return w.err;
}

int delegation_decode(struct delegation *d, const uint8_t *data, size_t len)
{
    struct vi_reader in;
    const uint8_t *b;
    size_t n = 0;
    int err;
    memset(d, 0, sizeof *d);
    err = begin(&in, data, len, 0, 4);
    if (err)
        return err;
    vi_read_cstr(&in, d->domain, sizeof d->domain);
    vi_read_id(&in, &d->authority);
    b = vi_read_bin(&in, CERT_DELEG_MAX, &n);
    if (vi_read_end(&in) || !cert_name_ok(d->domain) || cert_delegation_decode(&d->d, b, n))
        return VI_EPROTO;
    return 0;
}

int delegation_verify(const struct delegation *d, const uint8_t authority[CERT_KEY], vi_time wall)
{
    struct vi_id id;
    cert_authority_id(&id, authority);
    if (!vi_id_equal(&id, &d->authority))
        return VI_EAUTH;
    return cert_delegation_verify(&d->d, d->domain, authority, wall);
}

const char *const caps_names[5] = {"admit", "renew", "revoke", "env", "federate"};

int caps_parse(uint32_t *caps, const char *text)
{
    *caps = 0;
    if (!strcmp(text, "none"))
        return 0;
    while (*text) {
        size_t n = strcspn(text, ",");
        unsigned i;
        for (i = 0; i < 5; i++)
            if (strlen(caps_names[i]) == n && !memcmp(text, caps_names[i], n))
                break;
        if (i == 5)
            return VI_EINVAL;
        *caps |= 1U << i;
        text += n;
        if (*text == ',' && !*++text)
            return VI_EINVAL;
    }
    return *caps ? 0 : VI_EINVAL;
}

char *caps_format(uint32_t caps, char out[CAPS_TEXT])
{
    size_t n = 0;
    snprintf(out, CAPS_TEXT, "none");
    for (unsigned i = 0; i < 5; i++)
        if (caps & 1U << i)
            n += (size_t)snprintf(out + n, CAPS_TEXT - n, "%s%s", n ? "," : "", caps_names[i]);
    return out;
}

/* ---- rollover ---- */

static void write_rollover(struct vi_writer *w, const struct rollover *r, vi_time retired)
{
    vi_write_array(w, 7);
    vi_write_uint(w, VERSION);
    vi_write_str(w, r->domain);
    vi_write_bin(w, r->before, CERT_KEY);
    vi_write_bin(w, r->after, CERT_KEY);
    vi_write_int(w, r->at);
    vi_write_int(w, r->until);
    vi_write_int(w, retired);
}

static bool rollover_ok(const struct rollover *r)
{
    return cert_name_ok(r->domain) && r->at >= 0 && r->until > r->at && r->retired >= 0 &&
           memcmp(r->before, r->after, CERT_KEY) != 0;
}

int rollover_sign(struct rollover *r, const uint8_t before_secret[64], const uint8_t after_secret[64])
{
    uint8_t b[STATEMENT_MAX];
    struct vi_writer w;
    crypto_sign_ed25519_sk_to_pk(r->before, before_secret);
    crypto_sign_ed25519_sk_to_pk(r->after, after_secret);
    r->retired = 0;
    memset(r->sig_retired, 0, sizeof r->sig_retired);
    vi_writer_init(&w, b, sizeof b);
    write_rollover(&w, r, 0);
    if (w.err || !rollover_ok(r) || sign(r->sig_before, label_rollover, b, w.len, before_secret))
        return VI_EINVAL;
    return sign(r->sig_after, label_rollover, b, w.len, after_secret);
}

int rollover_retire(struct rollover *r, vi_time at, const uint8_t after_secret[64])
{
    uint8_t b[STATEMENT_MAX], pk[CERT_KEY];
    struct vi_writer w;
    crypto_sign_ed25519_sk_to_pk(pk, after_secret);
    if (at <= 0 || memcmp(pk, r->after, CERT_KEY))
        return VI_EINVAL;
    r->retired = at;
    vi_writer_init(&w, b, sizeof b);
    write_rollover(&w, r, at);
    return w.err ? VI_EINVAL : sign(r->sig_retired, label_retired, b, w.len, after_secret);
}

int rollover_encode(const struct rollover *r, uint8_t *out, size_t cap, size_t *len)
{
    const uint8_t *sigs[] = {r->sig_before, r->sig_after, r->sig_retired};
    struct vi_writer w;
    vi_writer_init(&w, out, cap);
    write_rollover(&w, r, r->retired);
    return end(&w, out, cap, sigs, 3, len);
}

int rollover_decode(struct rollover *r, const uint8_t *data, size_t len)
{
    struct vi_reader in;
    int err;
    memset(r, 0, sizeof *r);
    err = begin(&in, data, len, 3 * CERT_SIG, 7);
    if (err)
        return err;
    vi_read_cstr(&in, r->domain, sizeof r->domain);
    vi_read_bytes(&in, r->before, CERT_KEY);
    vi_read_bytes(&in, r->after, CERT_KEY);
    r->at = vi_read_int(&in, 0, INT64_MAX);
    r->until = vi_read_int(&in, 0, INT64_MAX);
    r->retired = vi_read_int(&in, 0, INT64_MAX);
    if (vi_read_end(&in) || !rollover_ok(r))
        return VI_EPROTO;
    memcpy(r->sig_before, data + len - 3 * CERT_SIG, CERT_SIG);
    memcpy(r->sig_after, data + len - 2 * CERT_SIG, CERT_SIG);
    memcpy(r->sig_retired, data + len - CERT_SIG, CERT_SIG);
    return 0;
}

int rollover_verify(const struct rollover *r)
{
    static const uint8_t none[CERT_SIG];
    uint8_t b[STATEMENT_MAX];
    struct vi_writer w;
    vi_writer_init(&w, b, sizeof b);
    write_rollover(&w, r, 0);
    if (w.err || !signed_by(r->sig_before, label_rollover, b, w.len, r->before) ||
        !signed_by(r->sig_after, label_rollover, b, w.len, r->after))
        return VI_EAUTH;
    if (!r->retired)
        return memcmp(r->sig_retired, none, CERT_SIG) ? VI_EAUTH : 0;
    vi_writer_init(&w, b, sizeof b);
    write_rollover(&w, r, r->retired);
    return !w.err && signed_by(r->sig_retired, label_retired, b, w.len, r->after) ? 0 : VI_EAUTH;
}

uint64_t rollover_version(const struct rollover *r)
{
    return r->retired ? 2 : 1;
}
