/* The environments whose bridge and TAP the agent holds. See agent_internal.h. */
#include "peer/agent_internal.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

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
        close(e->tap_fd);
        e->used = false;
    }
    agent_bridge_name(id, bridge);
    return remove_bridge ? agent_bridge_remove(bridge, why, why_size) : 0;
}

void agent_env_end_all(struct agent *a)
{
    for (unsigned i = 0; i < AGENT_ENVS_MAX; i++)
        if (a->envs[i].used) {
            close(a->envs[i].tap_fd);
            a->envs[i].used = false;
        }
}
