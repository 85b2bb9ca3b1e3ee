/* The blocklist. See revoke.h. */
#include "peer/revoke.h"

#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"

/* Where the id is, or belongs. */
static unsigned place(const struct blocklist *b, const struct vi_id *peer)
{
    unsigned lo = 0, hi = b->n;
    while (lo < hi) {
        unsigned mid = (lo + hi) / 2;
        if (vi_id_compare(&b->e[mid].peer, peer) < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct revoked *blocklist_find(const struct blocklist *b, const struct vi_id *peer)
{
    unsigned i = place(b, peer);
    return i < b->n && vi_id_equal(&b->e[i].peer, peer) ? &b->e[i] : NULL;
}

bool blocklist_has_key(const struct blocklist *b, const uint8_t ed[CERT_KEY])
{
    struct vi_id id;
    cert_peer_id(&id, ed);
    return blocklist_find(b, &id) != NULL;
}

static int grow(struct blocklist *b)
{
    unsigned cap = b->cap ? 2 * b->cap : 16;
    struct revoked *e;
    if (b->n < b->cap)
        return 0;
    if (b->n >= REVOKED_MAX)
        return VI_EFULL;
    e = realloc(b->e, cap * sizeof *e);
    if (!e)
        return VI_ENOMEM;
    b->e = e;
    b->cap = cap;
    return 0;
}

int blocklist_add(struct blocklist *b, const struct revocation *r, bool *changed)
{
    struct vi_id peer;
    struct revoked *have;
    unsigned i;
    int err;
    cert_peer_id(&peer, r->key);
    have = blocklist_find(b, &peer);
    if (changed)
        *changed = false;
    if (have && r->issue <= have->r.issue)
        return 0;
    if (changed)
        *changed = true;
    if (have) {
        have->r = *r;
        return 0;
    }
    err = b->n >= REVOKED_MAX ? VI_EFULL : grow(b);
    if (err) {
        if (changed)
            *changed = false;
        return err;
    }
    i = place(b, &peer);
    memmove(b->e + i + 1, b->e + i, (b->n - i) * sizeof *b->e);
    b->n++;
    b->e[i] = (struct revoked){.peer = peer, .r = *r};
    return 0;
}

void blocklist_free(struct blocklist *b)
{
    free(b->e);
    memset(b, 0, sizeof *b);
}
