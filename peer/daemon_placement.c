/* The daemon and the domain's placement, balance or pack: is it the same on all members, and may this host be switched off? */
#include "peer/daemon_internal.h"

#include <string.h>

#include "peer/rpc_write.h"

#define LOOK_EVERY (30 * VI_SEC) /* at what the others say */

bool daemon_packs(const struct daemon *d)
{
    return !strcmp(d->cfg.placement, "pack");
}

/* Nothing runs here, not even what isn't violin's, and nobody has room kept here. A host that is emptied for an operator says
 * that itself. */
static bool empty(const struct daemon *d)
{
    const struct policy_load *l = policy_own_load(d->policy);
    uint64_t kb;
    double pct;
    return daemon_packs(d) && !d->drain_until && l->total_kb && !d->n_guests && !l->arrivals && !daemon_envmove_leased(d, &kb, &pct);
}

static void look_at_others(struct daemon *d, vi_time now)
{
    struct gossip_summary s;
    struct policy_load l;
    size_t pos = 0;
    unsigned others = 0;
    while (gossip_summary_next(d->gossip, now, &pos, &s))
        others += !vi_id_equal(&s.id, &d->me.id) && !policy_summary_decode(&l, s.bytes, s.len) && l.packs != daemon_packs(d);
    if (others)
        daemon_warn(d, WARN_PLACEMENT, "placement is %s here, and not on %u other member(s) of the domain: set it alike on all",
                    d->cfg.placement, others);
    else
        daemon_warn(d, WARN_PLACEMENT, NULL);
}

void daemon_placement_evaluated(struct daemon *d, vi_time now)
{
    bool is_empty = empty(d);
    if (now >= d->placement_again) {
        d->placement_again = now + LOOK_EVERY;
        look_at_others(d, now);
    }
    if (is_empty && !d->said_empty)
        daemon_event_done(d, daemon_event(d, "mode", d->me.cert.host, "this host is empty: it can be switched off"));
    d->said_empty = is_empty;
}

unsigned daemon_placement_fields(const struct daemon *d)
{
    return 1U + empty(d);
}

void daemon_placement_write(const struct daemon *d, struct vi_writer *w)
{
    put_text(w, "placement", d->cfg.placement);
    if (empty(d))
        put_text(w, "empty", "can be switched off");
}
