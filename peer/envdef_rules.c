/* Pages of an environment's rules: encoding and decoding. See envdef.h.
 *
 * [1, env, page, version, certificate, priority, [[number, kind, host, guests' tags]…]], then the signature. The array
 * is shorter than any definition's, so that neither is taken for the other. */
#include "peer/envdef.h"

#include <string.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"
#include "peer/envdef_internal.h"

#define FIELDS 7

void env_rules_key(struct vi_id *out, const struct vi_id *env, unsigned page)
{
    uint8_t b = (uint8_t)page;
    vi_id_hash(out, "violin rules of an environment", env->b, sizeof env->b, &b, 1);
}

static void write_rule(struct vi_writer *w, const struct policy_rule *r)
{
    bool host = r->kind == POLICY_RULE_PIN || r->kind == POLICY_RULE_NEVER;
    vi_write_array(w, 4);
    vi_write_uint(w, r->number);
    vi_write_uint(w, r->kind);
    vi_write_bin(w, r->host.b, host ? VI_ID_SIZE : 0);
    vi_write_bin(w, r->guest, r->n * sizeof r->guest[0]);
}

int env_rules_encode(const struct env_rules *r, const uint8_t sk[64], uint8_t *out, size_t cap)
{
    struct vi_writer w;
    vi_writer_init(&w, out, cap < ENV_RECORD_MAX ? cap : ENV_RECORD_MAX);
    vi_write_array(&w, FIELDS);
    vi_write_uint(&w, 1);
    vi_write_id(&w, &r->env);
    vi_write_uint(&w, r->page);
    vi_write_uint(&w, r->version);
    vi_write_bin(&w, r->cert, r->cert_len);
    vi_write_uint(&w, r->priority);
    vi_write_array(&w, r->n);
    for (unsigned i = 0; i < r->n; i++)
        write_rule(&w, &r->rule[i]);
    return env_sign_body(&w, sk);
}

/* A rule that says what its kind needs, no more. */
static bool whole(const struct policy_rule *r, size_t host, size_t guests)
{
    bool one = r->kind == POLICY_RULE_PIN || r->kind == POLICY_RULE_NEVER;
    if (r->number == 0 || guests == 0 || guests % POLICY_RULE_TAG || host != (one ? VI_ID_SIZE : 0))
        return false;
    return one ? r->n == 1 : r->n >= 2;
}

static void read_rule(struct vi_reader *r, struct env_rules *out)
{
    struct policy_rule *rule = &out->rule[out->n];
    const uint8_t *host, *guests;
    size_t host_len, guests_len;
    unsigned kind;
    if (vi_read_array(r, 4) != 4)
        r->err = r->err ? r->err : VI_EPROTO;
    memset(rule, 0, sizeof *rule);
    rule->env = out->env;
    rule->number = (unsigned)vi_read_uint(r, ENV_RULES);
    kind = (unsigned)vi_read_uint(r, 255);
    host = vi_read_bin(r, VI_ID_SIZE, &host_len);
    guests = vi_read_bin(r, sizeof rule->guest, &guests_len);
    if (r->err || kind < POLICY_RULE_SPREAD || kind > POLICY_RULE_NEVER)
        return; /* of a later version */
    rule->kind = (enum policy_rule_kind)kind;
    rule->n = (unsigned)(guests_len / POLICY_RULE_TAG);
    if (!whole(rule, host_len, guests_len)) {
        r->err = VI_EPROTO;
        return;
    }
    memcpy(rule->host.b, host, host_len);
    memcpy(rule->guest, guests, guests_len);
    out->n++;
}

int env_rules_decode(struct env_rules *out, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    const uint8_t *cert;
    uint32_t rules;
    size_t n;
    int err;
    memset(out, 0, sizeof *out);
    if (len <= ENV_SIG || len > ENV_RECORD_MAX)
        return VI_EPROTO;
    vi_reader_init(&r, data, len - ENV_SIG);
    if (vi_read_array(&r, FIELDS) != FIELDS)
        return VI_EPROTO;
    if (vi_read_uint(&r, 1) != 1)
        return r.err ? VI_EPROTO : VI_EVERSION;
    vi_read_id(&r, &out->env);
    out->page = (unsigned)vi_read_uint(&r, ENV_PAGES - 1);
    out->version = vi_read_uint(&r, UINT64_MAX);
    cert = vi_read_bin(&r, sizeof out->cert, &n);
    out->priority = (uint32_t)vi_read_uint(&r, ENV_PRIORITY_MAX);
    rules = vi_read_array(&r, ENV_RULES);
    for (uint32_t i = 0; i < rules && !r.err; i++)
        read_rule(&r, out);
    err = vi_read_end(&r);
    if (err)
        return err;
    memcpy(out->cert, cert, n);
    out->cert_len = (unsigned)n;
    return 0;
}
