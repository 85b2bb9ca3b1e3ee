/* The daemon and its hypervisor: what guests there are, kept up to date by polling (events only make
 * the next look come sooner), and which environments therefore have guests here. */
#include "peer/daemon_internal.h"

#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/log.h"
#include "peer/supervisor.h"

#define LIST_EVERY (1 * VI_SEC)

struct env *daemon_guest_env(struct daemon *d, const struct hv_guest *g)
{
    return g->n_vifs ? daemon_env_by_bridge(d, g->vifs[0].bridge) : NULL;
}

const struct hv_guest *daemon_guest_find(const struct daemon *d, const char *name_or_uuid)
{
    struct vi_id id;
    bool is_id = vi_id_parse(&id, name_or_uuid) == 0;
    for (unsigned i = 0; i < d->n_guests; i++)
        if (is_id ? vi_id_equal(&d->guests[i].uuid, &id) : !strcmp(d->guests[i].name, name_or_uuid))
            return &d->guests[i];
    return NULL;
}

const struct hv_guest *daemon_guest_by_id(const struct daemon *d, const struct vi_id *uuid)
{
    for (unsigned i = 0; i < d->n_guests; i++)
        if (vi_id_equal(&d->guests[i].uuid, uuid))
            return &d->guests[i];
    return NULL;
}

static void count_guests(struct daemon *d)
{
    for (unsigned i = 0; i < ENV_MAX; i++)
        d->envs[i].local_guests = 0;
    for (unsigned i = 0; i < d->n_guests; i++) {
        struct env *e = daemon_guest_env(d, &d->guests[i]);
        if (e && !d->guests[i].incoming)
            e->local_guests++;
    }
    daemon_envs_publish(d);
}

static bool was_there(const struct hv_guest *list, unsigned n, const struct hv_guest *g)
{
    for (unsigned i = 0; i < n; i++)
        if (vi_id_equal(&list[i].uuid, &g->uuid) && list[i].incoming == g->incoming)
            return true;
    return false;
}

/* A guest that went away, by whose hand ever, has its MACs no longer here: others must not wait for us
 * to say so. One that went by a handover took them along already. */
static void withdraw_gone(struct daemon *d, const struct hv_guest *guests, unsigned n)
{
    for (unsigned i = 0; i < d->n_guests; i++) {
        bool there = false;
        for (unsigned k = 0; k < n && !there; k++)
            there = vi_id_equal(&guests[k].uuid, &d->guests[i].uuid);
        if (!there)
            daemon_switch_guest(d, &d->guests[i], false);
    }
}

static void say_changes(struct daemon *d, const struct hv_guest *guests, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct env *e = daemon_guest_env(d, &guests[i]);
        if (e && !guests[i].incoming && !was_there(d->guests, d->n_guests, &guests[i]))
            daemon_event_done(d, daemon_event(d, "guest", guests[i].name, "%s of %s is here, %s",
                                              guests[i].name, e->def.name,
                                              hv_state_name(guests[i].state)));
    }
    for (unsigned i = 0; i < d->n_guests; i++) {
        struct env *e = daemon_guest_env(d, &d->guests[i]);
        if (e && !d->guests[i].incoming && !was_there(guests, n, &d->guests[i]))
            daemon_event_done(d, daemon_event(d, "guest", d->guests[i].name, "%s of %s is not here any more",
                                              d->guests[i].name, e->def.name));
    }
}

/* A guest with a card in another bridge than its environment's has a leg outside: it stays where that is. */
static void pin_heads(struct daemon *d)
{
    for (unsigned i = 0; i < d->n_guests; i++) {
        struct hv_guest *g = &d->guests[i];
        const struct env *e = daemon_guest_env(d, g);
        for (unsigned k = 1; e && g->movable && k < g->n_vifs; k++)
            if (daemon_env_by_bridge(d, g->vifs[k].bridge) != e) {
                g->movable = false;
                snprintf(g->why_not, sizeof g->why_not, "it has a leg outside its environment: it stays on this host");
            }
    }
}

/* A handover has so many disks. */
static void pin_those_with_many_disks(struct daemon *d)
{
    for (unsigned i = 0; i < d->n_guests; i++) {
        struct hv_guest *g = &d->guests[i];
        unsigned n = 0;
        for (unsigned k = 0; k < g->n_disks; k++)
            n += g->disks[k].kind == HV_DISK_MOVABLE;
        if (g->movable && n > HANDOVER_DISKS) {
            g->movable = false;
            snprintf(g->why_not, sizeof g->why_not, "%u disks would have to move with it: %d can", n, HANDOVER_DISKS);
        }
    }
}

static void on_list(void *arg, int err, const struct hv_guest *guests, unsigned n)
{
    struct daemon *d = arg;
    d->listing = false;
    if (err)
        return;
    if (n > HV_GUESTS_MAX)
        n = HV_GUESTS_MAX;
    say_changes(d, guests, n);
    withdraw_gone(d, guests, n);
    memcpy(d->guests, guests, n * sizeof *guests);
    d->n_guests = n;
    pin_heads(d);
    pin_those_with_many_disks(d);
    d->listed = true;
    daemon_envmake_listed(d);
    d->listed_at = daemon_now();
    count_guests(d);
    daemon_switch_guests(d);
    daemon_handover_guests(d);
}

static void on_host(void *arg, int err, const struct hv_host *host)
{
    struct daemon *d = arg;
    if (err)
        return;
    d->host = *host;
    if (!d->hv_there) {
        d->hv_there = true;
        daemon_warn(d, WARN_HYPERVISOR, NULL);
        daemon_handover_hypervisor(d);
    }
}

static void on_facts(void *arg, int err, const struct agent_facts *f)
{
    struct daemon *d = arg;
    if (!err && !f->hypervisor)
        daemon_warn(d, WARN_HYPERVISOR, "no hypervisor: %s", f->problem);
}

static void on_hv_event(void *arg, const struct hv_event *ev)
{
    struct daemon *d = arg;
    switch (ev->kind) {
    case HV_EV_LOST:
        d->hv_there = false;
        (void)agent_facts(d->agent, on_facts, d);
        break;
    case HV_EV_BACK:
        (void)d->hv->ops->host(d->hv, on_host, d);
        break;
    default:
        daemon_handover_event(d, ev);
        break;
    }
    d->next_list = 0; /* look at once */
}

static void on_lost(void *arg, const char *why)
{
    struct daemon *d = arg;
    vi_log(VI_LOG_ERROR, "agent", "the agent is gone (%s); starting again", why);
    daemon_stop(d, 1);
}

int daemon_guests_open(struct daemon *d, int link_fd, char *why, size_t cap)
{
    d->agent = agent_client_open(&d->loop, link_fd, on_lost, d);
    if (!d->agent) {
        snprintf(why, cap, "no link to the agent; `violin peer` starts this process, not you");
        return VI_EINVAL;
    }
    d->hv = agent_client_hypervisor(d->agent);
    d->hv->on_event = on_hv_event;
    d->hv->event_arg = d;
    (void)agent_facts(d->agent, on_facts, d);
    (void)d->hv->ops->host(d->hv, on_host, d);
    return 0;
}

void daemon_guests_tick(struct daemon *d, vi_time now)
{
    if (d->next_list > now || d->listing)
        return;
    d->next_list = now + LIST_EVERY;
    if (d->hv->ops->list(d->hv, on_list, d) == 0)
        d->listing = true;
    if (d->listing)
        daemon_envmake_listing(d);
    (void)d->hv->ops->host(d->hv, on_host, d);
}

vi_time daemon_guests_deadline(const struct daemon *d)
{
    return d->listing ? VI_NEVER : d->next_list;
}
