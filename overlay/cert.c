#include "overlay/cert.h"

#include <sodium.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"

/* What is signed begins with a label, so that no signature can stand for another kind. */
static const char LABEL_CERT[] = "violin certificate";
static const char LABEL_DELEG[] = "violin delegation";
#define SIGNED_MAX 704

bool cert_name_ok(const char *name)
{
    size_t n = strnlen(name, CERT_NAME_MAX + 1);

    return n >= 1 && n <= CERT_NAME_MAX &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") == n;
}

void cert_authority_id(struct vi_id *id, const uint8_t authority[CERT_KEY])
{
    vi_id_hash(id, "violin authority", authority, CERT_KEY, NULL, 0);
}

void cert_peer_id(struct vi_id *id, const uint8_t ed[CERT_KEY])
{
    vi_id_hash(id, "violin peer", ed, CERT_KEY, NULL, 0);
}

static bool span_ok(vi_time from, vi_time to)
{
    return from >= 0 && to > from;
}

static void write_delegation(struct vi_writer *w, const struct cert_delegation *d)
{
    vi_write_array(w, 5);
    vi_write_bin(w, d->issuer, CERT_KEY);
    vi_write_int(w, d->not_before);
    vi_write_int(w, d->not_after);
    vi_write_uint(w, d->caps);
    vi_write_bin(w, d->sig, CERT_SIG);
}

static void read_delegation(struct vi_reader *r, struct cert_delegation *d)
{
    if (vi_read_array(r, 5) != 5)
        r->err = VI_EPROTO;
    vi_read_bytes(r, d->issuer, CERT_KEY);
    d->not_before = vi_read_int(r, 0, INT64_MAX);
    d->not_after = vi_read_int(r, 0, INT64_MAX);
    d->caps = (uint32_t)vi_read_uint(r, UINT32_MAX);
    vi_read_bytes(r, d->sig, CERT_SIG);
}

static void write_root(struct vi_writer *w, const struct cert_root *o)
{
    vi_write_array(w, 5);
    vi_write_int(w, o->not_before);
    vi_write_int(w, o->not_after);
    vi_write_uint(w, o->caps);
    if (o->delegated)
        write_delegation(w, &o->by);
    else
        vi_write_nil(w);
    vi_write_bin(w, o->sig, CERT_SIG);
}

static void read_root(struct vi_reader *r, struct cert_root *o)
{
    if (vi_read_array(r, 5) != 5)
        r->err = VI_EPROTO;
    o->not_before = vi_read_int(r, 0, INT64_MAX);
    o->not_after = vi_read_int(r, 0, INT64_MAX);
    o->caps = (uint32_t)vi_read_uint(r, UINT32_MAX);
    o->delegated = vi_read_peek(r) != VI_WIRE_NIL;
    if (o->delegated)
        read_delegation(r, &o->by);
    else
        vi_read_nil(r);
    vi_read_bytes(r, o->sig, CERT_SIG);
}

static void write_body(struct vi_writer *w, const struct cert *c)
{
    vi_write_array(w, c->renewed ? 11 : 10);
    vi_write_uint(w, CERT_VERSION);
    vi_write_str(w, c->domain);
    vi_write_str(w, c->host);
    vi_write_id(w, &c->authority);
    vi_write_bin(w, c->ed, CERT_KEY);
    vi_write_bin(w, c->x, CERT_KEY);
    vi_write_int(w, c->not_before);
    vi_write_int(w, c->not_after);
    vi_write_uint(w, c->caps);
    if (c->delegated)
        write_delegation(w, &c->by);
    else
        vi_write_nil(w);
    if (c->renewed)
        write_root(w, &c->root);
}

/* The bytes under a certificate's signature; 0 when they don't fit, which can't be for good names. */
static size_t signed_cert(const struct cert *c, uint8_t out[SIGNED_MAX])
{
    struct vi_writer w;

    vi_writer_init(&w, out, SIGNED_MAX);
    vi_write_str(&w, LABEL_CERT);
    write_body(&w, c);
    return w.err ? 0 : w.len;
}

static size_t signed_delegation(const struct cert_delegation *d, const char *domain,
                                uint8_t out[SIGNED_MAX])
{
    struct vi_writer w;

    vi_writer_init(&w, out, SIGNED_MAX);
    vi_write_str(&w, LABEL_DELEG);
    vi_write_str(&w, domain);
    vi_write_bin(&w, d->issuer, CERT_KEY);
    vi_write_int(&w, d->not_before);
    vi_write_int(&w, d->not_after);
    vi_write_uint(&w, d->caps);
    return w.err ? 0 : w.len;
}

static int sign(struct cert *c, const uint8_t secret[64])
{
    uint8_t text[SIGNED_MAX];
    size_t len;

    if (!cert_name_ok(c->domain) || !cert_name_ok(c->host) || !span_ok(c->not_before, c->not_after))
        return VI_EINVAL;
    len = signed_cert(c, text);
    if (!len || crypto_sign_detached(c->sig, NULL, text, len, secret))
        return VI_EINVAL;
    return 0;
}

int cert_issue(struct cert *c, const uint8_t authority_secret[64])
{
    uint8_t pk[CERT_KEY];

    crypto_sign_ed25519_sk_to_pk(pk, authority_secret);
    cert_authority_id(&c->authority, pk);
    c->delegated = c->renewed = false;
    memset(&c->by, 0, sizeof c->by);
    memset(&c->root, 0, sizeof c->root);
    return sign(c, authority_secret);
}

int cert_delegate(struct cert_delegation *d, const char *domain, const uint8_t issuer[CERT_KEY],
                  vi_time not_before, vi_time not_after, uint32_t caps,
                  const uint8_t authority_secret[64])
{
    uint8_t text[SIGNED_MAX];
    size_t len;

    if (!cert_name_ok(domain) || !span_ok(not_before, not_after))
        return VI_EINVAL;
    memcpy(d->issuer, issuer, CERT_KEY);
    d->not_before = not_before;
    d->not_after = not_after;
    d->caps = caps;
    len = signed_delegation(d, domain, text);
    if (!len || crypto_sign_detached(d->sig, NULL, text, len, authority_secret))
        return VI_EINVAL;
    return 0;
}

/* The rights that a delegate may give. */
static uint32_t givable(const struct cert_delegation *d)
{
    return d->caps & CERT_ENV;
}

int cert_issue_as_delegate(struct cert *c, const struct cert_delegation *d,
                           const uint8_t issuer_secret[64])
{
    uint8_t pk[CERT_KEY];

    crypto_sign_ed25519_sk_to_pk(pk, issuer_secret);
    if (memcmp(pk, d->issuer, CERT_KEY) || !(d->caps & CERT_ADMIT))
        return VI_EINVAL;
    c->delegated = true;
    c->by = *d;
    c->renewed = false;
    memset(&c->root, 0, sizeof c->root);
    c->caps &= givable(d);
    if (c->not_after > d->not_after)
        c->not_after = d->not_after;
    return sign(c, issuer_secret);
}

static struct cert_root root_of(const struct cert *old)
{
    struct cert_root o = {.not_before = old->not_before, .not_after = old->not_after,
                          .caps = old->caps, .delegated = old->delegated, .by = old->by};

    if (old->renewed)
        return old->root;
    memcpy(o.sig, old->sig, CERT_SIG);
    return o;
}

int cert_renew_as_delegate(struct cert *c, const struct cert *old, const struct vi_id *authority,
                           const struct cert_delegation *d, const uint8_t issuer_secret[64])
{
    vi_time from = c->not_before, to = c->not_after;
    uint8_t pk[CERT_KEY], bytes[CERT_MAX];
    bool same = vi_id_equal(&old->authority, authority);
    size_t len;
    int err;

    crypto_sign_ed25519_sk_to_pk(pk, issuer_secret);
    if (memcmp(pk, d->issuer, CERT_KEY) || !(d->caps & CERT_RENEW))
        return VI_EINVAL;
    *c = *old;
    c->authority = *authority;
    c->not_before = from;
    c->not_after = to;
    if ((d->caps & CERT_ADMIT) && (!same || !(old->caps & ~givable(d))))
        return cert_issue_as_delegate(c, d, issuer_secret);
    if (!same)
        return VI_EINVAL;
    c->delegated = c->renewed = true;
    c->by = *d;
    c->root = root_of(old);
    if (c->not_after > d->not_after)
        c->not_after = d->not_after;
    if (c->root.delegated && c->not_after > c->root.by.not_after)
        c->not_after = c->root.by.not_after;
    err = sign(c, issuer_secret);
    return err ? err : cert_encode(c, bytes, sizeof bytes, &len);
}

int cert_encode(const struct cert *c, uint8_t *out, size_t cap, size_t *len)
{
    struct vi_writer w;

    if (!cert_name_ok(c->domain) || !cert_name_ok(c->host))
        return VI_EINVAL;
    vi_writer_init(&w, out, cap);
    write_body(&w, c);
    if (w.err || cap - w.len < CERT_SIG)
        return VI_EFULL;
    memcpy(out + w.len, c->sig, CERT_SIG);
    *len = w.len + CERT_SIG;
    return 0;
}

int cert_decode(struct cert *c, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    uint32_t fields;

    memset(c, 0, sizeof *c);
    if (len <= CERT_SIG || len > CERT_MAX)
        return VI_EPROTO;
    vi_reader_init(&r, data, len - CERT_SIG);
    fields = vi_read_array(&r, 11);
    if (fields != 10 && fields != 11)
        return VI_EPROTO;
    if (vi_read_uint(&r, UINT32_MAX) != CERT_VERSION)
        return r.err ? VI_EPROTO : VI_EVERSION;
    vi_read_cstr(&r, c->domain, sizeof c->domain);
    vi_read_cstr(&r, c->host, sizeof c->host);
    vi_read_id(&r, &c->authority);
    vi_read_bytes(&r, c->ed, CERT_KEY);
    vi_read_bytes(&r, c->x, CERT_KEY);
    c->not_before = vi_read_int(&r, 0, INT64_MAX);
    c->not_after = vi_read_int(&r, 0, INT64_MAX);
    c->caps = (uint32_t)vi_read_uint(&r, UINT32_MAX);
    if (vi_read_peek(&r) == VI_WIRE_NIL) {
        vi_read_nil(&r);
    } else {
        c->delegated = true;
        read_delegation(&r, &c->by);
    }
    c->renewed = fields == 11;
    if (c->renewed)
        read_root(&r, &c->root);
    memcpy(c->sig, data + len - CERT_SIG, CERT_SIG);
    if (vi_read_end(&r) || !cert_name_ok(c->domain) || !cert_name_ok(c->host))
        return VI_EPROTO;
    return 0;
}

int cert_delegation_encode(const struct cert_delegation *d, uint8_t *out, size_t cap, size_t *len)
{
    struct vi_writer w;

    vi_writer_init(&w, out, cap);
    write_delegation(&w, d);
    *len = w.len;
    return w.err;
}

int cert_delegation_decode(struct cert_delegation *d, const uint8_t *data, size_t len)
{
    struct vi_reader r;

    memset(d, 0, sizeof *d);
    vi_reader_init(&r, data, len);
    read_delegation(&r, d);
    return vi_read_end(&r) ? VI_EPROTO : 0;
}

/* Subtractions of an allowance from times that a stranger chose: no overflow for times >= 0. */
static int in_time(vi_time from, vi_time to, vi_time wall)
{
    if (!span_ok(from, to))
        return VI_EAUTH;
    if (wall < from - CERT_SKEW || wall - CERT_SKEW > to)
        return VI_EEXPIRED;
    return 0;
}

int cert_delegation_verify(const struct cert_delegation *d, const char *domain,
                           const uint8_t authority[CERT_KEY], vi_time wall)
{
    uint8_t text[SIGNED_MAX];
    size_t len = cert_name_ok(domain) ? signed_delegation(d, domain, text) : 0;

    if (!len || crypto_sign_verify_detached(d->sig, text, len, authority))
        return VI_EAUTH;
    return in_time(d->not_before, d->not_after, wall);
}

/* The signature, and the delegation under it; the certificate's own dates are the caller's. */
static int verify_issue(const struct cert *c, const uint8_t authority[CERT_KEY], uint32_t must,
                        uint32_t may, vi_time wall)
{
    uint8_t text[SIGNED_MAX];
    size_t len;
    int err = 0;

    /* Signed again from the fields: an encoding that isn't the canonical one can't verify. */
    len = signed_cert(c, text);
    if (!len || crypto_sign_verify_detached(c->sig, text, len,
                                            c->delegated ? c->by.issuer : authority))
        return VI_EAUTH;
    if (c->delegated) {
        err = cert_delegation_verify(&c->by, c->domain, authority, wall);
        if (!err && (!(c->by.caps & must) || c->caps & ~may || c->not_after > c->by.not_after))
            err = VI_EAUTH;
    }
    return err;
}

/* The certificate that a renewed one goes back to, with the fields that both share. */
static int verify_root(const struct cert *c, const uint8_t authority[CERT_KEY], vi_time wall)
{
    const struct cert_root *o = &c->root;
    struct cert was = *c;

    was.not_before = o->not_before;
    was.not_after = o->not_after;
    was.caps = o->caps;
    was.delegated = o->delegated;
    was.by = o->by;
    memcpy(was.sig, o->sig, CERT_SIG);
    was.renewed = false;
    if (!span_ok(was.not_before, was.not_after) || (was.delegated && c->not_after > was.by.not_after))
        return VI_EAUTH;
    return verify_issue(&was, authority, CERT_ADMIT, givable(&was.by), wall);
}

int cert_verify(const struct cert *c, const uint8_t authority[CERT_KEY], vi_time wall)
{
    struct vi_id id;
    int err;

    cert_authority_id(&id, authority);
    if (!vi_id_equal(&id, &c->authority) || !cert_name_ok(c->domain) || !cert_name_ok(c->host) ||
        (c->renewed && !c->delegated))
        return VI_EAUTH;
    if (c->renewed) {
        err = verify_issue(c, authority, CERT_RENEW, c->root.caps, wall);
        if (!err)
            err = verify_root(c, authority, wall);
    } else {
        err = verify_issue(c, authority, CERT_ADMIT, givable(&c->by), wall);
    }
    return err ? err : in_time(c->not_before, c->not_after, wall);
}
