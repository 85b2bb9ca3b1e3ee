/* Names as people give them: a guest's, an environment's, a host's; two things may share one. */
#include "peer/daemon_internal.h"

#include <string.h>

#include "peer/base/err.h"

static const struct {
    const char *prefix, *what;
    unsigned means;
} kinds[] = {{"guest:", "a guest", DAEMON_IS_GUEST}, {"env:", "an environment", DAEMON_IS_ENV}, {"host:", "a host", DAEMON_IS_HOST}};

static bool is_host(struct daemon *d, const char *name)
{
    struct gossip_member m;
    struct vi_id wanted;
    bool by_id = vi_id_parse(&wanted, name) == 0;
    size_t pos = 0;
    if (!strcmp(name, d->me.cert.host))
        return true;
    while (gossip_member_next(d->gossip, &pos, &m))
        if (by_id ? vi_id_equal(&m.id, &wanted) : !strcmp(m.name, name))
            return true;
    return false;
}

unsigned daemon_name_means(struct daemon *d, const char *text, const char **name)
{
    const struct hv_guest *g;
    *name = text;
    for (unsigned i = 0; i < 3; i++)
        if (!strncmp(text, kinds[i].prefix, strlen(kinds[i].prefix))) {
            *name = text + strlen(kinds[i].prefix);
            return kinds[i].means;
        }
    g = daemon_guest_find(d, text);
    return (g && daemon_guest_env(d, g) ? DAEMON_IS_GUEST : 0U) | (daemon_env_by_name(d, text) ? DAEMON_IS_ENV : 0U) |
           (is_host(d, text) ? DAEMON_IS_HOST : 0U);
}

void daemon_name_ambiguous(struct rpc_call *call, const char *name, unsigned means)
{
    unsigned first = means & 1 ? 0 : 1, last = means & 4 ? 2 : 1;
    rpc_error(call, VI_EEXIST, "`%s` is %s%s%s and %s: say %s%s%s%s%s or %s%s", name, kinds[first].what,
              means == 7 ? ", " : "", means == 7 ? kinds[1].what : "", kinds[last].what, kinds[first].prefix, name,
              means == 7 ? ", " : "", means == 7 ? kinds[1].prefix : "", means == 7 ? name : "", kinds[last].prefix, name);
}

int daemon_member_by_name(struct daemon *d, struct rpc_call *call, const char *name, struct vi_id *id)
{
    struct gossip_member m;
    size_t pos = 0;
    struct vi_id wanted;
    unsigned found = 0;
    bool by_id = vi_id_parse(&wanted, name) == 0, self = false;
    while (gossip_member_next(d->gossip, &pos, &m))
        if ((by_id ? vi_id_equal(&m.id, &wanted) : !strcmp(m.name, name)) && m.state == GOSSIP_ALIVE) {
            self |= vi_id_equal(&m.id, &d->me.id);
            *id = m.id;
            found++;
        }
    if (!self && (by_id ? vi_id_equal(&wanted, &d->me.id) : !strcmp(name, d->me.cert.host))) {
        *id = d->me.id;
        found++;
    }
    if (found == 1)
        return 0;
    if (call)
        rpc_error(call, found ? VI_EEXIST : VI_ENOTFOUND,
                  found ? "more than one living member is called `%s`; give its whole id (violin members --json)"
                        : "no living member `%s`; `violin members` shows them", name);
    return found ? VI_EEXIST : VI_ENOTFOUND;
}
