/* See represent.h. */
#include "peer/represent.h"

#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"

/* ---- who ---- */

static struct rep_rank rank_of(const struct gossip_member *m)
{
    struct rep_rank r = {.id = m->id};
    struct rep_meta meta;
    rep_meta_decode(&meta, m->meta, m->meta_len);
    r.degraded = meta.degraded;
    r.started = meta.started;
    return r;
}

void represent_rank(struct representative *r, vi_time now, const struct gossip *domain, const struct vi_id *id, const struct rep_meta *own)
{
    struct rep_rank self = {.id = *id, .degraded = own->degraded, .started = own->started};
    struct rep_first first = {0};
    struct gossip_member m;
    size_t pos = 0;
    while (gossip_member_next(domain, &pos, &m)) {
        struct rep_rank x = m.self ? self : rank_of(&m);
        if (m.state == GOSSIP_ALIVE)
            rep_offer(&first, &x);
    }
    rep_set(r, now, &first, &self);
}

bool represent_say(const struct representative *r, vi_time now, struct gossip *domain, struct rep_meta *own)
{
    struct gossip_event ev = {.kind = GOSSIP_EV_SET_SELF};
    struct gossip_gauges g;
    uint8_t b[REP_META];
    gossip_gauges(domain, &g);
    if (own->acting == r->acting && own->degraded == g.aside)
        return false;
    own->acting = r->acting;
    own->degraded = g.aside;
    rep_meta_encode(own, b);
    ev.self.meta = b;
    ev.self.meta_len = sizeof b;
    (void)gossip_step(domain, now, &ev);
    return true;
}

int represent_declared(struct representative *r, vi_time now, const struct gossip *domain, const struct vi_id *from, bool *tell)
{
    struct gossip_member m;
    struct rep_rank x;
    *tell = false;
    if (!gossip_member_find(domain, from, &m))
        return VI_ENOTFOUND;
    x = rank_of(&m);
    *tell = rep_declaration(r, now, &x);
    return 0;
}

/* ---- what is said ---- */

int represent_put(struct gossip *g, vi_time now, unsigned kind, const struct vi_id *key, const struct vi_id *origin, uint64_t version,
                  const uint8_t *bytes, size_t len, vi_time age)
{
    struct gossip_event ev = {.kind = GOSSIP_EV_SET_RECORD};
    ev.record.kind = (uint8_t)kind;
    ev.record.key = *key;
    ev.record.origin = *origin;
    ev.record.version = version;
    ev.record.bytes = bytes;
    ev.record.len = len;
    ev.record.age = age;
    return gossip_step(g, now, &ev);
}

void represent_count(const struct gossip *domain, struct fed_summary *s)
{
    struct gossip_member m;
    size_t pos = 0;
    s->hosts = s->suspects = 0;
    while (gossip_member_next(domain, &pos, &m)) {
        s->hosts += m.state == GOSSIP_ALIVE;
        s->suspects += m.state == GOSSIP_SUSPECT;
    }
}

uint64_t represent_version(const struct gossip *fed, const struct vi_id *key, uint64_t wall)
{
    struct gossip_record before;
    if (gossip_record_get(fed, FED_RECORD_SUMMARY, key, &before) && before.version >= wall)
        return before.version + 1;
    return wall;
}

void represent_view(const struct gossip *fed, const struct vi_id *key, const char *domain, uint64_t wall, uint64_t before, struct fed_view *out)
{
    struct gossip_record r;
    memset(out, 0, sizeof *out);
    snprintf(out->summary.domain, sizeof out->summary.domain, "%s", domain);
    if (gossip_record_get(fed, FED_RECORD_SUMMARY, key, &r))
        (void)fed_summary_decode(&out->summary, r.bytes, r.len);
    out->version = wall > before ? wall : before + 1;
}

bool represent_fresh(vi_time now, vi_time heard)
{
    return heard && now - heard < FED_STALE;
}
