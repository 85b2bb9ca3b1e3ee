/* Names of guests on other hosts: what travels of a guest is its UUID. Who shows an environment asks its hosts in this domain
 * beforehand (CALL_VIEW); what they told is kept for those who can't wait. Guests in another domain have no names here. */
#include "peer/daemon_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"

const char *daemon_guest_name(const struct daemon *d, const uint8_t tag[POLICY_RULE_TAG])
{
    uint8_t t[POLICY_RULE_TAG];
    for (unsigned i = 0; i < d->n_guests; i++) {
        policy_rule_tag(&d->guests[i].uuid, t);
        if (!memcmp(t, tag, sizeof t))
            return d->guests[i].name;
    }
    for (unsigned i = 0; i < DAEMON_GUEST_NAMES; i++)
        if (d->guest_name[i].name[0] && !memcmp(d->guest_name[i].tag, tag, sizeof t))
            return d->guest_name[i].name;
    return NULL;
}

static void keep(struct daemon *d, const struct hostview_guest *g)
{
    uint8_t tag[POLICY_RULE_TAG];
    unsigned at = d->next_guest_name;
    policy_rule_tag(&g->uuid, tag);
    for (unsigned i = 0; i < DAEMON_GUEST_NAMES; i++)
        if (!memcmp(d->guest_name[i].tag, tag, sizeof tag))
            at = i; /* it may have been renamed */
    memcpy(d->guest_name[at].tag, tag, sizeof tag);
    snprintf(d->guest_name[at].name, sizeof d->guest_name[at].name, "%s", g->name);
    if (at == d->next_guest_name)
        d->next_guest_name = (at + 1) % DAEMON_GUEST_NAMES;
}

/* ---- asked for ---- */

struct asking {
    struct rpc_call *call;
    struct vi_id env;
    daemon_names_then *then;
};

static void go_on(struct daemon *d, const struct asking *a)
{
    const struct env *e = daemon_env_by_id(d, &a->env);
    if (e)
        a->then(d, a->call, e);
    else
        rpc_error(a->call, VI_ENOTFOUND, "the environment was removed meanwhile");
}

static void named(struct daemon_views *v)
{
    const struct asking *a = v->arg;
    for (unsigned i = 0; i < v->n; i++)
        for (unsigned k = 0; v->view[i].known && k < v->view[i].n; k++)
            if (vi_id_equal(&v->view[i].guest[k].env, &a->env))
                keep(v->d, &v->view[i].guest[k]);
    go_on(v->d, a);
}

void daemon_names_ask(struct daemon *d, struct rpc_call *call, const struct env *e, daemon_names_then *then)
{
    struct asking now = {.call = call, .env = e->def.id, .then = then}, *a;
    struct vi_id host[VIEWS_MOST];
    struct gossip_member m;
    unsigned n = 0;
    for (unsigned i = 0; i < e->n_participants && n < VIEWS_MOST; i++)
        if (gossip_member_find(d->gossip, &e->participants[i], &m) && m.state == GOSSIP_ALIVE)
            host[n++] = m.id;
    a = n ? malloc(sizeof *a) : NULL;
    if (a)
        *a = now;
    if (a && !daemon_views_ask_hosts(d, host, n, named, a))
        return;
    free(a); /* others ask just now: what is known has to do */
    go_on(d, &now);
}
