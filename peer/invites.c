/* Invitations and admission. See invites.h. */
#include "peer/invites.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"

#define CERT_LIFE (365 * 24 * VI_HOUR)

struct invite {
    bool open;
    struct vi_id id;
    uint8_t secret[32];
    unsigned uses;
    vi_time expires; /* wall */
};

struct admitted {
    struct vi_id token;
    struct cert cert;
};

struct invites {
    struct store *store;
    const struct identity *me;
    struct invite invite[INVITES_MAX];
    struct admitted admitted[ADMITTED_KEPT];
    unsigned next_admitted;
    vi_time life;
    bool (*refused)(void *arg, const uint8_t ed[CERT_KEY], const char *host, char *why, size_t cap);
    void *refused_arg;
};

static int save(struct invites *v, const struct invite *i)
{
    uint8_t b[80];
    struct vi_writer w;
    vi_writer_init(&w, b, sizeof b);
    vi_write_array(&w, 3);
    vi_write_bin(&w, i->secret, sizeof i->secret);
    vi_write_uint(&w, i->uses);
    vi_write_int(&w, i->expires);
    return store_put(v->store, STORE_INVITE, &i->id, b, w.len);
}

static bool load_one(void *arg, const struct vi_id *key, const void *value, size_t len)
{
    struct invites *v = arg;
    struct vi_reader r;
    for (unsigned n = 0; n < INVITES_MAX; n++) {
        struct invite *i = &v->invite[n];
        if (i->open)
            continue;
        vi_reader_init(&r, value, len);
        vi_read_array(&r, 3);
        vi_read_bytes(&r, i->secret, sizeof i->secret);
        i->uses = (unsigned)vi_read_uint(&r, INVITE_USES_MAX);
        i->expires = vi_read_int(&r, 0, INT64_MAX);
        i->id = *key;
        i->open = vi_read_end(&r) == 0;
        return true;
    }
    return false;
}

struct invites *invites_new(struct store *store, const struct identity *me)
{
    struct invites *v = calloc(1, sizeof *v);
    if (!v)
        return NULL;
    v->store = store;
    v->me = me;
    v->life = CERT_LIFE;
    (void)store_each(store, STORE_INVITE, load_one, v);
    return v;
}

void invites_rules(struct invites *v, vi_time life,
                   bool (*refused)(void *arg, const uint8_t ed[CERT_KEY], const char *host, char *why, size_t cap),
                   void *arg)
{
    v->life = life;
    v->refused = refused;
    v->refused_arg = arg;
}

void invites_free(struct invites *v)
{
    if (!v)
        return;
    sodium_memzero(v, sizeof *v);
    free(v);
}

static bool holds(const struct invite *i, vi_time wall)
{
    return i->open && i->uses > 0 && wall <= i->expires;
}

/* A free place: one never used, or one that holds no more (its row goes, too). */
static struct invite *place(struct invites *v, vi_time wall)
{
    for (unsigned n = 0; n < INVITES_MAX; n++) {
        struct invite *i = &v->invite[n];
        if (i->open && !holds(i, wall)) {
            (void)store_delete(v->store, STORE_INVITE, &i->id);
            i->open = false;
        }
        if (!i->open)
            return i;
    }
    return NULL;
}

int invites_make(struct invites *v, struct vi_rng *rng, vi_time wall, unsigned uses, vi_time ttl,
                 const char *address, char token[TOKEN_TEXT], vi_time *expires, char *why,
                 size_t cap)
{
    struct token t = {.seeds = 1};
    struct invite *i;
    if (!v->me->has_delegation || !(v->me->delegation.caps & CERT_ADMIT)) {
        snprintf(why, cap, "this host may not admit others; run `violin invite` on one that may "
                           "(`violin members` shows who has the capability `admit`)");
        return VI_EAUTH;
    }
    if (cert_delegation_verify(&v->me->delegation, v->me->cert.domain, v->me->authority, wall)) {
        snprintf(why, cap, "this host's right to admit has ended, or waits for this host to go over to the new "
                           "authority; `violin cert` says more");
        return VI_EAUTH;
    }
    if (uses == 0 || uses > INVITE_USES_MAX || strlen(address) > SEED_ADDR_MAX)
        return VI_EINVAL;
    i = place(v, wall);
    if (!i) {
        snprintf(why, cap, "%d invitations are open; wait until one is used or expires", INVITES_MAX);
        return VI_EFULL;
    }
    memset(i, 0, sizeof *i);
    vi_rng_id(rng, &i->id);
    vi_rng_bytes(rng, i->secret, sizeof i->secret);
    i->uses = uses;
    i->expires = wall + ttl;
    if (save(v, i)) {
        snprintf(why, cap, "%s", store_error(v->store));
        return VI_EIO;
    }
    i->open = true;
    t.id = i->id;
    memcpy(t.domain, v->me->cert.domain, sizeof t.domain);
    memcpy(t.authority, v->me->authority, 32);
    memcpy(t.secret, i->secret, sizeof t.secret);
    t.expires = i->expires;
    memcpy(t.seed[0].ed, v->me->ed_pk, 32);
    memcpy(t.seed[0].x, v->me->x_pk, 32);
    snprintf(t.seed[0].addr, sizeof t.seed[0].addr, "%s", address);
    *expires = i->expires;
    return token_encode(&t, token);
}

static struct invite *find(struct invites *v, const struct vi_id *token)
{
    for (unsigned n = 0; n < INVITES_MAX; n++)
        if (v->invite[n].open && vi_id_equal(&v->invite[n].id, token))
            return &v->invite[n];
    return NULL;
}

/* A token that was used up or has expired still lets its holder ask, so that it is told why. */
bool invites_secret(void *arg, const struct vi_id *token, uint8_t psk[32])
{
    struct invites *v = arg;
    struct invite *i = find(v, token);
    if (!i)
        return false;
    memcpy(psk, i->secret, 32);
    return true;
}

static struct admitted *already(struct invites *v, const struct join_request *r)
{
    for (unsigned n = 0; n < ADMITTED_KEPT; n++) {
        struct admitted *a = &v->admitted[n];
        if (vi_id_equal(&a->token, &r->token) && !memcmp(a->cert.ed, r->ed, 32) &&
            !memcmp(a->cert.x, r->x, 32))
            return a;
    }
    return NULL;
}

static void refuse(struct join_answer *a, int err, const char *why)
{
    a->err = err;
    snprintf(a->why, sizeof a->why, "%s", why);
}

static int issue(struct invites *v, vi_time wall, const struct join_request *r, struct cert *c)
{
    memset(c, 0, sizeof *c);
    memcpy(c->domain, v->me->cert.domain, sizeof c->domain);
    memcpy(c->host, r->host, sizeof c->host);
    memcpy(c->ed, r->ed, 32);
    memcpy(c->x, r->x, 32);
    cert_authority_id(&c->authority, v->me->authority);
    c->not_before = wall;
    c->not_after = wall + v->life;
    c->caps = CERT_ENV;
    return cert_issue_as_delegate(c, &v->me->delegation, v->me->ed_sk);
}

static void admit(struct invites *v, vi_time wall, struct invite *i, const struct join_request *r,
                  struct join_answer *a, char admitted[CERT_NAME_MAX + 1])
{
    struct admitted *kept = already(v, r);
    if (v->refused && v->refused(v->refused_arg, r->ed, r->host, a->why, sizeof a->why)) {
        a->err = VI_EREFUSED;
        return;
    }
    if (kept) {
        a->cert = kept->cert;
        return;
    }
    if (wall > i->expires) {
        refuse(a, VI_EEXPIRED, "the token has expired; ask for a new one");
        return;
    }
    if (i->uses == 0) {
        refuse(a, VI_EREFUSED, "the token is used up; ask for a new one");
        return;
    }
    i->uses--;
    if (save(v, i)) {
        i->uses++;
        refuse(a, VI_EIO, "the inviter can't write to its disk");
        return;
    }
    if (issue(v, wall, r, &a->cert)) {
        refuse(a, VI_EREFUSED, "the inviter's right to admit does not hold");
        return;
    }
    kept = &v->admitted[v->next_admitted++ % ADMITTED_KEPT];
    kept->token = r->token;
    kept->cert = a->cert;
    snprintf(admitted, CERT_NAME_MAX + 1, "%s", r->host);
}

size_t invites_admit(struct invites *v, vi_time wall, const struct vi_id *token, const uint8_t x[32],
                     const uint8_t *request, size_t len, uint8_t out[JOIN_MAX],
                     char admitted[CERT_NAME_MAX + 1])
{
    struct join_request r;
    struct join_answer a = {0};
    struct invite *i = find(v, token);
    size_t used;
    admitted[0] = 0;
    if (!i)
        return 0;
    if (join_request_decode(&r, request, len) || !vi_id_equal(&r.token, token) ||
        memcmp(r.x, x, 32) || !cert_name_ok(r.host))
        refuse(&a, VI_EPROTO, "the request is malformed");
    else
        admit(v, wall, i, &r, &a, admitted);
    return join_answer_encode(&a, out, JOIN_MAX, &used) ? 0 : used;
}
