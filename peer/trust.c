/* Trusted authorities. See trust.h. */
#include "peer/trust.h"

#include <string.h>

#include "peer/base/err.h"

static void set(struct mesh_trust *m, const char *domain, const uint8_t authority[CERT_KEY])
{
    memset(m, 0, sizeof *m);
    memcpy(m->domain, domain, strnlen(domain, CERT_NAME_MAX));
    memcpy(m->authority, authority, CERT_KEY);
}

static bool is(const struct mesh_trust *m, const char *domain, const uint8_t authority[CERT_KEY])
{
    return !strcmp(m->domain, domain) && !memcmp(m->authority, authority, CERT_KEY);
}

static int find(const struct trust *t, const char *domain, const uint8_t authority[CERT_KEY])
{
    for (int i = 0; i < TRUST_MAX; i++)
        if (t->slot[i].domain[0] && is(&t->slot[i], domain, authority))
            return i;
    return -1;
}

void trust_init(struct trust *t, const char *domain, const uint8_t authority[CERT_KEY])
{
    memset(t, 0, sizeof *t);
    memcpy(t->domain, domain, strnlen(domain, CERT_NAME_MAX));
    set(&t->slot[0], domain, authority);
    t->until[0] = VI_NEVER;
}

const uint8_t *trust_newest(const struct trust *t)
{
    return t->slot[0].authority;
}

bool trust_has(const struct trust *t, const char *domain, const uint8_t authority[CERT_KEY])
{
    return find(t, domain, authority) >= 0;
}

int trust_add(struct trust *t, const char *domain, const uint8_t authority[CERT_KEY], vi_time until)
{
    int i = find(t, domain, authority);
    if (!cert_name_ok(domain))
        return VI_EINVAL;
    for (int k = 1; i < 0 && k < TRUST_MAX; k++)
        if (!t->slot[k].domain[0])
            i = k;
    if (i < 0)
        return VI_EFULL;
    set(&t->slot[i], domain, authority);
    t->until[i] = i == 0 ? VI_NEVER : until;
    return 0;
}

int trust_succeed(struct trust *t, const uint8_t authority[CERT_KEY], vi_time until)
{
    struct mesh_trust before = t->slot[0];
    int i = find(t, t->domain, authority), err;
    if (i == 0)
        return 0;
    if (i > 0)
        memset(&t->slot[i], 0, sizeof t->slot[i]);
    set(&t->slot[0], t->domain, authority);
    err = trust_add(t, before.domain, before.authority, until);
    if (err)
        t->slot[0] = before;
    return err;
}

static void remember_former(struct trust *t, const struct mesh_trust *m)
{
    for (unsigned i = 0; i < t->n_former; i++)
        if (is(&t->former[i], m->domain, m->authority))
            return;
    if (t->n_former == TRUST_FORMER)
        memmove(t->former, t->former + 1, sizeof t->former[0] * --t->n_former);
    t->former[t->n_former++] = *m;
}

void trust_former(struct trust *t, const uint8_t authority[CERT_KEY])
{
    struct mesh_trust m;
    set(&m, t->domain, authority);
    remember_former(t, &m);
}

static void drop(struct trust *t, int i)
{
    if (!strcmp(t->slot[i].domain, t->domain))
        remember_former(t, &t->slot[i]);
    memset(&t->slot[i], 0, sizeof t->slot[i]);
}

void trust_drop(struct trust *t, const char *domain, const uint8_t authority[CERT_KEY])
{
    int i = find(t, domain, authority);
    if (i > 0)
        drop(t, i);
}

unsigned trust_expire(struct trust *t, vi_time wall)
{
    unsigned n = 0;
    for (int i = 1; i < TRUST_MAX; i++)
        if (t->slot[i].domain[0] && t->until[i] != VI_NEVER && wall - CERT_SKEW > t->until[i]) {
            drop(t, i);
            n++;
        }
    return n;
}

int trust_check(const struct trust *t, const struct cert *c, vi_time wall)
{
    int err = VI_EAUTH;
    for (int i = 0; i < TRUST_MAX && err == VI_EAUTH; i++)
        if (!strcmp(t->slot[i].domain, c->domain))
            err = cert_verify(c, t->slot[i].authority, wall);
    return err;
}

int trust_check_former(const struct trust *t, const struct cert *c, vi_time wall)
{
    int err = strcmp(c->domain, t->domain) ? VI_EAUTH : trust_check(t, c, wall);
    if (strcmp(c->domain, t->domain))
        return err;
    for (unsigned i = 0; i < t->n_former && err == VI_EAUTH; i++)
        err = cert_verify(c, t->former[i].authority, wall);
    return err;
}

const uint8_t *trust_own_key(const struct trust *t, const struct vi_id *id, bool *trusted)
{
    struct vi_id have;
    for (int i = 0; i < TRUST_MAX; i++) {
        if (strcmp(t->slot[i].domain, t->domain))
            continue;
        cert_authority_id(&have, t->slot[i].authority);
        if (!vi_id_equal(&have, id))
            continue;
        if (trusted)
            *trusted = true;
        return t->slot[i].authority;
    }
    if (trusted)
        *trusted = false;
    for (unsigned i = 0; i < t->n_former; i++) {
        cert_authority_id(&have, t->former[i].authority);
        if (vi_id_equal(&have, id))
            return t->former[i].authority;
    }
    return NULL;
}
