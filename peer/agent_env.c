/* The environments whose bridge and TAP the agent holds. See agent_internal.h. */
#include "peer/agent_internal.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "peer/agent_attach.h"
#include "peer/agent_guard.h"
#include "peer/agent_taptest.h"
#include "peer/base/log.h"

struct agent_env *agent_env_find(struct agent *a, const struct vi_id *id)
{
    for (unsigned i = 0; i < AGENT_ENVS_MAX; i++)
        if (a->envs[i].used && vi_id_equal(&a->envs[i].id, id))
            return &a->envs[i];
    return NULL;
}

static struct agent_env *slot_for(struct agent *a, const struct vi_id *id, int *err)
{
    struct agent_env *slot = NULL;
    *err = VI_EFULL;
    for (unsigned i = 0; i < AGENT_ENVS_MAX; i++) {
        struct agent_env *e = &a->envs[i];
        if (e->used && !memcmp(e->id.b, id->b, 4)) {
            *err = VI_EEXIST;
            return NULL;
        }
        if (!e->used && !slot)
            slot = e;
    }
    return slot;
}

static void try_taps(struct agent *a)
{
    char why[AGENT_WHY] = "";
    if (a->taps != AGENT_TAPS_UNTRIED)
        return;
    a->taps = agent_tap_superframes(why, sizeof why) ? AGENT_TAPS_GOOD : AGENT_TAPS_BAD;
    if (why[0])
        vi_log(VI_LOG_WARN, "agent", "%s", why);
}

/* Without, sysctls and masks are all that there is: said once. */
static void guard(struct agent_env *e)
{
    char why[AGENT_WHY] = "";
    bool was = e->unguarded;
    e->unguarded = agent_guard_set(e->bridge, why, sizeof why) != 0;
    if (e->unguarded && !was)
        vi_log(VI_LOG_WARN, "agent", "%s", why);
}

void agent_env_guard_all(struct agent *a)
{
    for (unsigned i = 0; i < AGENT_ENVS_MAX; i++) {
        struct agent_env *e = &a->envs[i];
        bool was = e->unguarded;
        if (!e->used)
            continue;
        agent_bridge_keep_host_out(e->bridge, e->lan);
        if (agent_guard_stands(e->bridge))
            continue;
        guard(e);
        if (!e->unguarded)
            vi_log(VI_LOG_WARN, "agent", "%s: the nf_tables chain that keeps guests from this host's addresses was %s", e->bridge,
                   was ? "missing; it is there now" : "taken away; it is there again");
    }
}

int agent_env_make(struct agent *a, const struct agent_request *q, struct agent_env **env, char *why,
                   size_t why_size)
{
    const struct vi_id *id = &q->uuid;
    int err = 0;
    struct agent_env *e = agent_env_find(a, id);
    *env = e;
    try_taps(a);
    if (e)
        return 0;
    e = slot_for(a, id, &err);
    if (!e) {
        snprintf(why, why_size, err == VI_EEXIST
                                    ? "another environment here has the same first 8 digits"
                                    : "this host takes part in as many environments as it can");
        return err;
    }
    memset(e, 0, sizeof *e);
    agent_bridge_name(id, e->bridge);
    agent_tap_name(id, e->tap);
    err = agent_bridge_open(e->bridge, q->mtu, why, why_size);
    if (err)
        return err;
    guard(e);
    e->tap_fd = agent_tap_open(e->tap, e->bridge, q->mtu, q->queues > 1, why, why_size);
    if (e->tap_fd < 0)
        return e->tap_fd;
    e->used = true;
    e->id = *id;
    e->mtu = q->mtu;
    *env = e;
    return 0;
}

/* Also for one whose TAP ended with an agent before us: its bridge may be there still. */
int agent_env_end(struct agent *a, const struct vi_id *id, bool remove_bridge, char *why,
                  size_t why_size)
{
    char bridge[AGENT_IFNAME];
    int err = 0;
    struct agent_env *e = agent_env_find(a, id);
    if (!e && !slot_for(a, id, &err) && err == VI_EEXIST)
        return 0; /* the bridge of that name is another's */
    if (e) {
        if (remove_bridge && e->lan[0])
            (void)agent_iface_part(e->lan, e->bridge, why, why_size); /* removing says what is still there */
        close(e->tap_fd);
        e->used = false;
    }
    agent_bridge_name(id, bridge);
    return remove_bridge ? agent_bridge_remove(bridge, why, why_size) : 0;
}

/* One interface an environment, which nobody else has. */
static int may_attach(struct agent *a, const struct agent_request *q, struct agent_env **env, char *why, size_t why_size)
{
    struct agent_env *e = *env = agent_env_find(a, &q->uuid);
    if (!e) {
        snprintf(why, why_size, "the environment isn't open here");
        return VI_ENOTFOUND;
    }
    if (e->lan[0] && strcmp(e->lan, q->iface) != 0) {
        snprintf(why, why_size, "%s is attached already", e->lan);
        return VI_EEXIST;
    }
    return agent_iface_check(q->iface, why, why_size);
}

int agent_lan_listen(struct agent *a, const struct agent_request *q, char *why, size_t why_size)
{
    struct agent_env *e;
    int err = may_attach(a, q, &e, why, why_size);
    return err ? err : agent_iface_listen(q->iface, why, why_size);
}

int agent_lan_attach(struct agent *a, const struct agent_request *q, char *why, size_t why_size)
{
    struct agent_env *e;
    int err = may_attach(a, q, &e, why, why_size);
    if (!err)
        err = agent_iface_join(q->iface, e->bridge, why, why_size);
    if (!err)
        snprintf(e->lan, sizeof e->lan, "%s", q->iface);
    return err;
}

/* Also one that an agent before us put there: the bridge is an environment's own. Never a guest's vif. */
int agent_lan_detach(struct agent *a, const struct agent_request *q, char *why, size_t why_size)
{
    struct agent_env *e = agent_env_find(a, &q->uuid);
    int err;
    if (!e)
        return VI_ENOTFOUND;
    err = strcmp(e->lan, q->iface) ? agent_iface_check(q->iface, why, why_size) : 0;
    if (err == VI_ENOTFOUND) /* the interface is gone, and with it all of this */
        err = 0;
    else if (!err)
        err = agent_iface_part(q->iface, e->bridge, why, why_size);
    if (!err)
        e->lan[0] = '\0';
    return err;
}

void agent_env_end_all(struct agent *a)
{
    for (unsigned i = 0; i < AGENT_ENVS_MAX; i++)
        if (a->envs[i].used) {
            close(a->envs[i].tap_fd);
            a->envs[i].used = false;
        }
}
