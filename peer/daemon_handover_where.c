/* Guests that are where they shouldn't be: a second copy of one, or one with the MAC of another, is paused and said. */
#include "peer/daemon_internal.h"

#include <string.h>

#include "peer/base/log.h"

#define CLASH_MOST (15 * VI_SEC)

static void on_paused(void *arg, int err, const char *detail)
{
    (void)arg;
    if (err)
        vi_log(VI_LOG_WARN, "handover", "pausing a second copy: %s", detail);
}

/* A received copy that runs though nobody gave it: somebody unpaused it by hand. NULL: none such. */
static const struct vi_id *not_given(struct daemon *d, const struct hv_guest *g)
{
    static struct handover_view v;
    unsigned pos = 0;
    while (handover_next(d->handovers, &pos, &v))
        if (v.role == HANDOVER_DESTINATION && !v.over &&
            (v.state == HD_RESTORED || v.state == HD_COMPLETING || v.state == HD_COMPLETE) &&
            vi_id_equal(&v.guest->uuid, &g->uuid))
            return &v.peer;
    return NULL;
}

/* Does a guest here have a MAC that another host states, and we therefore don't? */
static bool mac_is_elsewhere(struct daemon *d, const struct hv_guest *g, const uint8_t **mac, struct vi_id *peer)
{
    for (unsigned v = 0; v < g->n_vifs; v++) {
        const struct env *e = daemon_env_by_bridge(d, g->vifs[v].bridge);
        *mac = g->vifs[v].mac;
        if (e && switch_elsewhere(d->vswitch, &e->def.id, *mac, peer))
            return true;
    }
    return false;
}

/* A second guest with the same MAC, or a second copy that `xl` made, is paused, after a while: the two
 * hosts' statements cross when `xl migrate` moves one. One at a time is watched; a paused one is passed by
 * only to look for one that runs. */
static void look_for_mac_clash(struct daemon *d)
{
    const struct hv_guest *found = NULL;
    const uint8_t *mac = NULL;
    struct vi_id peer;
    for (unsigned i = 0; i < d->n_guests && (!found || found->state != HV_RUNNING); i++) {
        const struct hv_guest *g = &d->guests[i];
        const uint8_t *its;
        struct vi_id whose;
        if ((g->state == HV_RUNNING || g->state == HV_PAUSED) && !g->incoming &&
            !handover_has_guest(d->handovers, &g->uuid) && mac_is_elsewhere(d, g, &its, &whose)) {
            found = g;
            mac = its;
            peer = whose;
        }
    }
    if (!found)
        daemon_warn(d, WARN_MAC, NULL);
    if (!found || !vi_id_equal(&found->uuid, &d->clash)) {
        memset(&d->clash, 0, sizeof d->clash);
        if (found)
            d->clash = found->uuid;
        d->clash_since = daemon_now();
    } else if (daemon_now() - d->clash_since > CLASH_MOST && found->state == HV_RUNNING) {
        daemon_warn(d, WARN_MAC, "%s has the MAC %02x:%02x:%02x:%02x:%02x:%02x of a guest on %s and is paused: give it another",
                    found->name, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], daemon_member_name(d, &peer));
        (void)d->hv->ops->pause(d->hv, found->domid, &found->uuid, on_paused, d);
    }
}

void daemon_handover_guests(struct daemon *d)
{
    look_for_mac_clash(d);
    for (unsigned i = 0; i < d->n_guests; i++) {
        const struct hv_guest *g = &d->guests[i];
        const struct owned_guest *o = daemon_owner_find(d, &g->uuid);
        const struct vi_id *giver;
        if (g->state != HV_RUNNING)
            continue;
        giver = not_given(d, g);
        if (giver)
            daemon_warn(d, WARN_GUEST, "%s was run here before %s gave it: this copy is paused", g->name,
                        daemon_member_name(d, giver));
        else if (o && !vi_id_equal(&o->owner, &d->me.id) && !handover_has_guest(d->handovers, &g->uuid))
            daemon_warn(d, WARN_GUEST, "%s runs here, but it was given to %s: this copy is paused", g->name,
                        daemon_member_name(d, &o->owner));
        else
            continue;
        (void)d->hv->ops->pause(d->hv, g->domid, &g->uuid, on_paused, d);
    }
}

void daemon_handover_event(struct daemon *d, const struct hv_event *ev)
{
    (void)d;
    (void)ev; /* the list, looked at at once, tells; the core asks the hypervisor before it acts */
}
