#include "overlay/token.h"

#include <sodium.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"

#define BODY_MAX     736 /* msgpack bytes and checksum; (TOKEN_TEXT - prefix) * 3 / 4 is more */
#define CHECKSUM     6   /* against typing errors, not against people */
#define KEYS_TEXT    86  /* base64url of 64 bytes */
#define VARIANT      sodium_base64_VARIANT_URLSAFE_NO_PADDING

static const char LABEL_JOIN[] = "violin join";

/* "host:port", "1.2.3.4:port", "[v6]:port": only looked at so far that it's harmless to show. */
static bool addr_ok(const char *s)
{
    size_t n = strnlen(s, SEED_ADDR_MAX + 1);

    return n >= 3 && n <= SEED_ADDR_MAX && strchr(s, ':') &&
           strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._:[]%") == n;
}

static void checksum(const uint8_t *data, size_t len, uint8_t out[CHECKSUM])
{
    struct vi_id h;

    vi_id_hash(&h, "violin token", data, len, NULL, 0);
    memcpy(out, h.b, CHECKSUM);
}

int token_encode(const struct token *t, char out[TOKEN_TEXT])
{
    uint8_t body[BODY_MAX];
    struct vi_writer w;
    int err = VI_EINVAL;

    if (!cert_name_ok(t->domain) || t->seeds < 1 || t->seeds > TOKEN_SEEDS || t->expires < 0)
        return VI_EINVAL;
    vi_writer_init(&w, body, sizeof body - CHECKSUM);
    vi_write_array(&w, 6);
    vi_write_id(&w, &t->id);
    vi_write_str(&w, t->domain);
    vi_write_bin(&w, t->authority, CERT_KEY);
    vi_write_bin(&w, t->secret, TOKEN_SECRET);
    vi_write_int(&w, t->expires);
    vi_write_array(&w, 3 * t->seeds);
    for (unsigned i = 0; i < t->seeds; i++) {
        if (!addr_ok(t->seed[i].addr))
            goto out;
        vi_write_bin(&w, t->seed[i].ed, CERT_KEY);
        vi_write_bin(&w, t->seed[i].x, CERT_KEY);
        vi_write_str(&w, t->seed[i].addr);
    }
    if (w.err)
        goto out;
    checksum(body, w.len, body + w.len);
    memcpy(out, TOKEN_PREFIX, sizeof TOKEN_PREFIX - 1);
    sodium_bin2base64(out + sizeof TOKEN_PREFIX - 1, TOKEN_TEXT - (sizeof TOKEN_PREFIX - 1), body,
                      w.len + CHECKSUM, VARIANT);
    err = 0;
out:
    sodium_memzero(body, sizeof body);
    return err;
}

static int read_token(struct token *t, const uint8_t *data, size_t len)
{
    struct vi_reader r;

    vi_reader_init(&r, data, len);
    if (vi_read_array(&r, 6) != 6)
        return VI_EPROTO;
    vi_read_id(&r, &t->id);
    vi_read_cstr(&r, t->domain, sizeof t->domain);
    vi_read_bytes(&r, t->authority, CERT_KEY);
    vi_read_bytes(&r, t->secret, TOKEN_SECRET);
    t->expires = vi_read_int(&r, 0, INT64_MAX);
    t->seeds = vi_read_array(&r, 3 * TOKEN_SEEDS);
    if (r.err || t->seeds % 3 || !t->seeds)
        return VI_EPROTO;
    t->seeds /= 3;
    for (unsigned i = 0; i < t->seeds; i++) {
        vi_read_bytes(&r, t->seed[i].ed, CERT_KEY);
        vi_read_bytes(&r, t->seed[i].x, CERT_KEY);
        vi_read_cstr(&r, t->seed[i].addr, sizeof t->seed[i].addr);
        if (r.err || !addr_ok(t->seed[i].addr))
            return VI_EPROTO;
    }
    return vi_read_end(&r) || !cert_name_ok(t->domain) ? VI_EPROTO : 0;
}

int token_decode(struct token *t, const char *text, const char **why)
{
    uint8_t body[BODY_MAX], sum[CHECKSUM];
    const char *no = "this is no invitation (one begins with " TOKEN_PREFIX ")";
    size_t begin, len, n;
    int err = VI_EPROTO;

    memset(t, 0, sizeof *t);
    begin = strspn(text, " \t\r\n");
    text += begin;
    len = strnlen(text, TOKEN_TEXT + 1);
    while (len && strchr(" \t\r\n", text[len - 1]))
        len--;
    if (len >= 7 && !memcmp(text, "violin", 6) &&
        (len < sizeof TOKEN_PREFIX || memcmp(text, TOKEN_PREFIX, sizeof TOKEN_PREFIX - 1)) &&
        text[6] >= '2' && text[6] <= '9') {
        no = "this invitation was made by a later violin";
        err = VI_EVERSION;
        goto out;
    }
    if (len < sizeof TOKEN_PREFIX || memcmp(text, TOKEN_PREFIX, sizeof TOKEN_PREFIX - 1))
        goto out;
    no = "the invitation is incomplete or mistyped; copy the whole line again";
    if (len >= TOKEN_TEXT ||
        sodium_base642bin(body, sizeof body, text + sizeof TOKEN_PREFIX - 1,
                          len - (sizeof TOKEN_PREFIX - 1), NULL, &n, NULL, VARIANT) ||
        n <= CHECKSUM)
        goto out;
    checksum(body, n - CHECKSUM, sum);
    if (memcmp(sum, body + n - CHECKSUM, CHECKSUM))
        goto out;
    no = "the invitation is damaged";
    err = read_token(t, body, n - CHECKSUM);
out:
    sodium_memzero(body, sizeof body);
    if (err)
        memset(t, 0, sizeof *t);
    if (why)
        *why = err ? no : "";
    return err;
}

int seed_format(const struct seed *s, char out[SEED_TEXT])
{
    uint8_t keys[2 * CERT_KEY];

    if (!addr_ok(s->addr))
        return VI_EINVAL;
    memcpy(keys, s->ed, CERT_KEY);
    memcpy(keys + CERT_KEY, s->x, CERT_KEY);
    sodium_bin2base64(out, KEYS_TEXT + 1, keys, sizeof keys, VARIANT);
    out[KEYS_TEXT] = '@';
    strcpy(out + KEYS_TEXT + 1, s->addr);
    return 0;
}

int seed_parse(struct seed *s, const char *text)
{
    uint8_t keys[2 * CERT_KEY];
    size_t n = strnlen(text, SEED_TEXT);

    memset(s, 0, sizeof *s);
    if (n >= SEED_TEXT || n <= KEYS_TEXT || text[KEYS_TEXT] != '@' || !addr_ok(text + KEYS_TEXT + 1))
        return VI_EPROTO;
    if (sodium_base642bin(keys, sizeof keys, text, KEYS_TEXT, NULL, &n, NULL, VARIANT) ||
        n != sizeof keys)
        return VI_EPROTO;
    memcpy(s->ed, keys, CERT_KEY);
    memcpy(s->x, keys + CERT_KEY, CERT_KEY);
    strcpy(s->addr, text + KEYS_TEXT + 1);
    return 0;
}

static void write_request(struct vi_writer *w, const struct join_request *r)
{
    vi_write_array(w, 6);
    vi_write_str(w, LABEL_JOIN);
    vi_write_uint(w, 1);
    vi_write_id(w, &r->token);
    vi_write_bin(w, r->ed, CERT_KEY);
    vi_write_bin(w, r->x, CERT_KEY);
    vi_write_str(w, r->host);
}

int join_request_encode(const struct join_request *r, const uint8_t secret[64], uint8_t *out,
                        size_t cap, size_t *len)
{
    struct vi_writer w;

    if (!cert_name_ok(r->host))
        return VI_EINVAL;
    vi_writer_init(&w, out, cap);
    write_request(&w, r);
    if (w.err || cap - w.len < CERT_SIG)
        return VI_EFULL;
    if (crypto_sign_detached(out + w.len, NULL, out, w.len, secret))
        return VI_EINVAL;
    *len = w.len + CERT_SIG;
    return 0;
}

int join_request_decode(struct join_request *q, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    char label[sizeof LABEL_JOIN];

    memset(q, 0, sizeof *q);
    if (len <= CERT_SIG || len > JOIN_MAX)
        return VI_EPROTO;
    vi_reader_init(&r, data, len - CERT_SIG);
    if (vi_read_array(&r, 6) != 6)
        return VI_EPROTO;
    vi_read_cstr(&r, label, sizeof label);
    if (vi_read_uint(&r, UINT32_MAX) != 1)
        return VI_EPROTO;
    vi_read_id(&r, &q->token);
    vi_read_bytes(&r, q->ed, CERT_KEY);
    vi_read_bytes(&r, q->x, CERT_KEY);
    vi_read_cstr(&r, q->host, sizeof q->host);
    if (vi_read_end(&r) || strcmp(label, LABEL_JOIN) || !cert_name_ok(q->host))
        return VI_EPROTO;
    if (crypto_sign_verify_detached(data + len - CERT_SIG, data, len - CERT_SIG, q->ed))
        return VI_EAUTH;
    return 0;
}

int join_answer_encode(const struct join_answer *a, uint8_t *out, size_t cap, size_t *len)
{
    uint8_t c[CERT_MAX];
    size_t n = 0;
    struct vi_writer w;

    if (!a->err && cert_encode(&a->cert, c, sizeof c, &n))
        return VI_EINVAL;
    vi_writer_init(&w, out, cap);
    vi_write_array(&w, 3);
    vi_write_int(&w, a->err);
    vi_write_strn(&w, a->why, strnlen(a->why, sizeof a->why - 1));
    vi_write_bin(&w, c, n);
    *len = w.len;
    return w.err;
}

int join_answer_decode(struct join_answer *a, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    const uint8_t *c;
    size_t n = 0;

    memset(a, 0, sizeof *a);
    if (len > JOIN_MAX)
        return VI_EPROTO;
    vi_reader_init(&r, data, len);
    if (vi_read_array(&r, 3) != 3)
        return VI_EPROTO;
    a->err = (int)vi_read_int(&r, -1000, 0);
    vi_read_cstr(&r, a->why, sizeof a->why);
    c = vi_read_bin(&r, CERT_MAX, &n);
    if (vi_read_end(&r))
        return VI_EPROTO;
    return a->err ? 0 : cert_decode(&a->cert, c, n);
}
