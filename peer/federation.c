/* Encoding, signing and checking of what domains say. See federation.h. */
#include "peer/federation.h"

#include <ctype.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"

#define SIG     64
#define VERSION 1

/* ---- signatures ---- */

static void signature_input(crypto_sign_state *st, unsigned kind, const uint8_t *body, size_t len)
{
    static const char label[] = "violin federation record";
    uint8_t k = (uint8_t)kind;
    crypto_sign_init(st);
    crypto_sign_update(st, (const uint8_t *)label, sizeof label);
    crypto_sign_update(st, &k, 1);
    crypto_sign_update(st, body, len);
}

static int sign_body(struct vi_writer *w, unsigned kind, const uint8_t sk[64])
{
    crypto_sign_state st;
    if (w->err || w->cap - w->len < SIG)
        return VI_EFULL;
    signature_input(&st, kind, w->data, w->len);
    crypto_sign_final_create(&st, w->data + w->len, NULL, sk);
    return (int)(w->len + SIG);
}

int fed_verify(unsigned kind, const uint8_t *data, size_t len, const uint8_t pk[32])
{
    crypto_sign_state st;
    if (len <= SIG)
        return VI_EAUTH;
    signature_input(&st, kind, data, len - SIG);
    return crypto_sign_final_verify(&st, data + len - SIG, pk) == 0 ? 0 : VI_EAUTH;
}

void fed_domain_key(struct vi_id *key, const char *domain)
{
    vi_id_hash(key, "violin federated domain", domain, strlen(domain), NULL, 0);
}

static int begin(struct vi_reader *r, const uint8_t *data, size_t len, uint32_t fields)
{
    if (len <= SIG || len > FED_RECORD_MAX)
        return VI_EPROTO;
    vi_reader_init(r, data, len - SIG);
    if (vi_read_array(r, 32) < fields)
        return VI_EPROTO;
    if (vi_read_uint(r, 255) != VERSION)
        return r->err ? VI_EPROTO : VI_EVERSION;
    return 0;
}

/* ---- parts ---- */

static void write_seed(struct vi_writer *w, const struct seed *s)
{
    vi_write_bin(w, s->ed, CERT_KEY);
    vi_write_bin(w, s->x, CERT_KEY);
    vi_write_str(w, s->addr);
}

static void read_seed(struct vi_reader *r, struct seed *s)
{
    vi_read_bytes(r, s->ed, CERT_KEY);
    vi_read_bytes(r, s->x, CERT_KEY);
    vi_read_cstr(r, s->addr, sizeof s->addr);
    for (const char *p = s->addr; *p; p++)
        if (!isgraph((unsigned char)*p))
            r->err = VI_EPROTO;
}

static void write_card(struct vi_writer *w, const struct fed_card *c)
{
    vi_write_str(w, c->domain);
    vi_write_bin(w, c->authority, CERT_KEY);
    vi_write_array(w, 3 * c->seeds);
    for (unsigned i = 0; i < c->seeds; i++)
        write_seed(w, &c->seed[i]);
}

static void read_card(struct vi_reader *r, struct fed_card *c)
{
    uint32_t n;
    vi_read_cstr(r, c->domain, sizeof c->domain);
    vi_read_bytes(r, c->authority, CERT_KEY);
    n = vi_read_array(r, 3 * FED_SEEDS);
    if (n % 3 || (!r->err && !cert_name_ok(c->domain)))
        r->err = VI_EPROTO;
    c->seeds = r->err ? 0 : n / 3;
    for (unsigned i = 0; i < c->seeds; i++)
        read_seed(r, &c->seed[i]);
}

static void write_limits(struct vi_writer *w, const struct fed_limits *l)
{
    vi_write_uint(w, l->guests);
    vi_write_uint(w, l->memory_mib);
    vi_write_uint(w, l->cpu_pct);
}

static void read_limits(struct vi_reader *r, struct fed_limits *l)
{
    l->guests = (uint32_t)vi_read_uint(r, UINT32_MAX);
    l->memory_mib = (uint32_t)vi_read_uint(r, UINT32_MAX);
    l->cpu_pct = (uint32_t)vi_read_uint(r, UINT32_MAX);
}

static void read_cert(struct vi_reader *r, uint8_t cert[CERT_MAX], unsigned *len)
{
    size_t n = 0;
    const uint8_t *p = vi_read_bin(r, CERT_MAX, &n);
    if (r->err)
        return;
    memcpy(cert, p, n);
    *len = (unsigned)n;
}

/* ---- card ---- */

/* Four bytes of a hash: a slip of the mouse is told from a wrong domain. */
static void checksum(uint8_t out[4], const uint8_t *p, size_t len)
{
    struct vi_id h;
    vi_id_hash(&h, "violin domain card", p, len, NULL, 0);
    memcpy(out, h.b, 4);
}

#define CARD_BYTES 640

int fed_card_encode(const struct fed_card *c, char out[FED_CARD_TEXT])
{
    uint8_t b[CARD_BYTES];
    struct vi_writer w;
    size_t n = strlen(FED_CARD_PREFIX);
    if (!cert_name_ok(c->domain) || c->seeds < 1 || c->seeds > FED_SEEDS)
        return VI_EINVAL;
    vi_writer_init(&w, b, sizeof b - 4);
    vi_write_array(&w, 3);
    write_card(&w, c);
    if (w.err || n + sodium_base64_ENCODED_LEN(w.len + 4, sodium_base64_VARIANT_URLSAFE_NO_PADDING) > FED_CARD_TEXT)
        return VI_EINVAL;
    checksum(b + w.len, b, w.len);
    memcpy(out, FED_CARD_PREFIX, n);
    sodium_bin2base64(out + n, FED_CARD_TEXT - n, b, w.len + 4, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    return 0;
}

int fed_card_decode(struct fed_card *c, const char *text, const char **why)
{
    uint8_t b[CARD_BYTES], sum[4];
    struct vi_reader r;
    const char *end, *nowhere = NULL, **say = why ? why : &nowhere;
    size_t len = 0, n = strlen(FED_CARD_PREFIX);
    memset(c, 0, sizeof *c);
    while (isspace((unsigned char)*text))
        text++;
    *say = "that is no domain's card; `violin federate --card` prints one";
    if (strncmp(text, "violin-domain", 13) != 0)
        return VI_EPROTO;
    *say = "that card is of a later version of violin";
    if (strncmp(text, FED_CARD_PREFIX, n) != 0)
        return VI_EVERSION;
    *say = "that card is not whole, or was mistyped";
    if (sodium_base642bin(b, sizeof b, text + n, strlen(text + n), " \t\r\n", &len, &end,
                          sodium_base64_VARIANT_URLSAFE_NO_PADDING) || *end || len <= 4)
        return VI_EPROTO;
    checksum(sum, b, len - 4);
    if (memcmp(sum, b + len - 4, 4))
        return VI_EPROTO;
    vi_reader_init(&r, b, len - 4);
    if (vi_read_array(&r, 3) != 3)
        return VI_EPROTO;
    read_card(&r, c);
    if (vi_read_end(&r) || c->seeds < 1)
        return VI_EPROTO;
    return 0;
}

/* ---- trust ---- */

int fed_trust_encode(const struct fed_trust *t, const uint8_t sk[64], uint8_t *out, size_t cap)
{
    struct vi_writer w;
    vi_writer_init(&w, out, cap < FED_RECORD_MAX ? cap : FED_RECORD_MAX);
    vi_write_array(&w, 10);
    vi_write_uint(&w, VERSION);
    write_card(&w, &t->with);
    write_limits(&w, &t->limits);
    vi_write_bool(&w, t->withdrawn);
    vi_write_uint(&w, t->version);
    vi_write_bin(&w, t->cert, t->cert_len);
    return sign_body(&w, FED_RECORD_TRUST, sk);
}

int fed_trust_decode(struct fed_trust *t, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    int err;
    memset(t, 0, sizeof *t);
    err = begin(&r, data, len, 10);
    if (err)
        return err;
    read_card(&r, &t->with);
    read_limits(&r, &t->limits);
    t->withdrawn = vi_read_bool(&r);
    t->version = vi_read_uint(&r, UINT64_MAX);
    read_cert(&r, t->cert, &t->cert_len);
    return vi_read_end(&r);
}

/* ---- summary, view ---- */

static void write_summary(struct vi_writer *w, const struct fed_summary *s)
{
    vi_write_str(w, s->domain);
    vi_write_uint(w, s->version);
    vi_write_uint(w, s->hosts);
    vi_write_uint(w, s->suspects);
    vi_write_uint(w, s->environments);
    vi_write_uint(w, s->cpu_pct);
    vi_write_uint(w, s->cpu_used_pct);
    vi_write_uint(w, s->memory_mib);
    vi_write_uint(w, s->memory_free_mib);
    write_limits(w, &s->limits);
}

static void read_summary(struct vi_reader *r, struct fed_summary *s)
{
    vi_read_cstr(r, s->domain, sizeof s->domain);
    s->version = vi_read_uint(r, UINT64_MAX);
    s->hosts = (uint32_t)vi_read_uint(r, UINT32_MAX);
    s->suspects = (uint32_t)vi_read_uint(r, UINT32_MAX);
    s->environments = (uint32_t)vi_read_uint(r, UINT32_MAX);
    s->cpu_pct = (uint32_t)vi_read_uint(r, UINT32_MAX);
    s->cpu_used_pct = (uint32_t)vi_read_uint(r, UINT32_MAX);
    s->memory_mib = vi_read_uint(r, UINT64_MAX);
    s->memory_free_mib = vi_read_uint(r, UINT64_MAX);
    read_limits(r, &s->limits);
    if (!r->err && !cert_name_ok(s->domain))
        r->err = VI_EPROTO;
}

int fed_summary_encode(const struct fed_summary *s, const uint8_t sk[64], uint8_t *out, size_t cap)
{
    struct vi_writer w;
    vi_writer_init(&w, out, cap < FED_SUMMARY_MAX ? cap : FED_SUMMARY_MAX);
    vi_write_array(&w, 13);
    vi_write_uint(&w, VERSION);
    write_summary(&w, s);
    return sign_body(&w, FED_RECORD_SUMMARY, sk);
}

int fed_summary_decode(struct fed_summary *s, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    int err;
    memset(s, 0, sizeof *s);
    if (len > FED_SUMMARY_MAX)
        return VI_EPROTO;
    err = begin(&r, data, len, 13);
    if (err)
        return err;
    read_summary(&r, s);
    return vi_read_end(&r);
}

int fed_view_encode(const struct fed_view *v, const uint8_t sk[64], uint8_t *out, size_t cap)
{
    struct vi_writer w;
    vi_writer_init(&w, out, cap < FED_RECORD_MAX ? cap : FED_RECORD_MAX);
    vi_write_array(&w, 18);
    vi_write_uint(&w, VERSION);
    write_summary(&w, &v->summary);
    vi_write_uint(&w, v->version);
    write_seed(&w, &v->rep);
    vi_write_str(&w, v->rep_host);
    return sign_body(&w, FED_RECORD_VIEW, sk);
}

int fed_view_decode(struct fed_view *v, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    int err;
    memset(v, 0, sizeof *v);
    err = begin(&r, data, len, 18);
    if (err)
        return err;
    read_summary(&r, &v->summary);
    v->version = vi_read_uint(&r, UINT64_MAX);
    read_seed(&r, &v->rep);
    vi_read_cstr(&r, v->rep_host, sizeof v->rep_host);
    if (!r.err && !cert_name_ok(v->rep_host))
        return VI_EPROTO;
    return vi_read_end(&r);
}

/* ---- presence ---- */

int fed_presence_encode(const struct fed_presence *p, const uint8_t sk[64], uint8_t *out, size_t cap)
{
    struct vi_writer w;
    size_t ip = p->addr.family == 6 ? 16 : p->addr.family == 4 ? 4 : 0;
    if (p->n > FED_TAGS)
        return VI_EINVAL;
    vi_writer_init(&w, out, cap < FED_RECORD_MAX ? cap : FED_RECORD_MAX);
    vi_write_array(&w, 6);
    vi_write_uint(&w, VERSION);
    vi_write_uint(&w, p->version);
    vi_write_uint(&w, p->addr.port);
    vi_write_bin(&w, p->addr.ip, ip);
    vi_write_bin(&w, p->envs, p->n * sizeof p->envs[0]);
    vi_write_bin(&w, p->cert, p->cert_len);
    return sign_body(&w, FED_RECORD_PRESENCE, sk);
}

int fed_presence_decode(struct fed_presence *p, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    const uint8_t *ip, *tags;
    size_t n_ip = 0, n = 0;
    int err;
    memset(p, 0, sizeof *p);
    err = begin(&r, data, len, 6);
    if (err)
        return err;
    p->version = vi_read_uint(&r, UINT64_MAX);
    p->addr.port = (uint16_t)vi_read_uint(&r, UINT16_MAX);
    ip = vi_read_bin(&r, 16, &n_ip);
    tags = vi_read_bin(&r, sizeof p->envs, &n);
    read_cert(&r, p->cert, &p->cert_len);
    err = vi_read_end(&r);
    if (err)
        return err;
    if ((n_ip != 0 && n_ip != 4 && n_ip != 16) || n % ENV_TAG_SIZE)
        return VI_EPROTO;
    p->addr.family = n_ip == 4 ? 4 : n_ip == 16 ? 6 : 0;
    if (n_ip)
        memcpy(p->addr.ip, ip, n_ip);
    p->n = (unsigned)(n / ENV_TAG_SIZE);
    if (n)
        memcpy(p->envs, tags, n);
    return 0;
}
