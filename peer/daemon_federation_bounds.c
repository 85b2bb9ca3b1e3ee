/* The daemon and other domains: what one of them may have of the places that are for all. Whoever has a domain's
 * authority can make hosts, representatives and environments without end. See daemon_federation.h. */
#include "peer/daemon_federation.h"

#include <stdlib.h>
#include <string.h>

/* Versions are clocks: one far ahead would be the last that is ever taken. */
bool fed_version_sane(uint64_t version)
{
    return version <= (uint64_t)(vi_clock_wall() + FED_AHEAD);
}

static bool is_new(const struct gossip *g, unsigned kind, const struct vi_id *key)
{
    struct gossip_record r;
    return !gossip_record_get(g, (uint8_t)kind, key, &r);
}

bool fed_room_presence(struct daemon *d, const struct gossip *g, const struct vi_id *key, const char *domain)
{
    struct gossip_record r;
    struct fed_presence p;
    struct cert c;
    unsigned all = 0, its = 0;
    size_t pos = 0;
    if (!strcmp(domain, d->me.cert.domain) || !is_new(g, FED_RECORD_PRESENCE, key))
        return true;
    while (gossip_record_next(g, &pos, &r)) {
        if (r.kind != FED_RECORD_PRESENCE || fed_presence_decode(&p, r.bytes, r.len) || cert_decode(&c, p.cert, p.cert_len))
            continue;
        all += strcmp(c.domain, d->me.cert.domain) != 0;
        its += !strcmp(c.domain, domain);
    }
    if (its < FED_HOSTS_EACH && all < FED_HOSTS)
        return true;
    daemon_warn(d, WARN_FEDERATION, "domain %s: too many of its hosts take part in environments; the others are left out here",
                domain);
    return false;
}

bool fed_room_definition(struct daemon *d, const struct gossip *g, const struct env_definition *e)
{
    static struct env_definition other;
    struct gossip_record r;
    unsigned all = 0, its = 0, ever = 0;
    size_t pos = 0;
    if (!strcmp(e->home, d->me.cert.domain) || !is_new(g, ENV_RECORD_DEFINITION, &e->id))
        return true;
    while (gossip_record_next(g, &pos, &r)) {
        if (r.kind != ENV_RECORD_DEFINITION || env_definition_decode(&other, r.bytes, r.len) ||
            !strcmp(other.home, d->me.cert.domain))
            continue;
        all += !other.removed;
        its += !other.removed && !strcmp(other.home, e->home);
        ever += !strcmp(other.home, e->home);
    }
    if (ever < FED_ENVS_EVER && (e->removed || (its < FED_ENVS_EACH && all < FED_ENVS)))
        return true;
    daemon_warn(d, WARN_FEDERATION, "domain %s: too many of its environments may be here; %s is left out", e->home, e->name);
    return false;
}

bool fed_room_representative(struct daemon *d, const struct vi_id *id, const char *domain)
{
    struct gossip_member m;
    struct cert c;
    unsigned n = 0;
    size_t pos = 0;
    while (d->fed->gossip && gossip_member_next(d->fed->gossip, &pos, &m))
        n += (m.state == GOSSIP_ALIVE || m.state == GOSSIP_SUSPECT) && !vi_id_equal(&m.id, id) &&
             !cert_decode(&c, m.cert, m.cert_len) && !strcmp(c.domain, domain);
    return n < FED_REPRESENT_EACH;
}

unsigned fed_sessions(struct daemon *d, const struct vi_id *but, const char *domain)
{
    struct mesh_peer_info p;
    unsigned n = 0;
    size_t pos = 0;
    while (d->mesh && mesh_peer_next(mesh_io_core(d->mesh), &pos, &p))
        n += p.up && p.cert && !vi_id_equal(&p.id, but) &&
             (domain ? !strcmp(p.cert->domain, domain) : strcmp(p.cert->domain, d->me.cert.domain) != 0) &&
             !fed_takes_part(d, &p.id);
    return n;
}
