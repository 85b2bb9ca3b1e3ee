/* What the switch knows, for display and for its owner. See switch.h. */
#include <string.h>

#include "overlay/switch_internal.h"

bool switch_elsewhere(const struct vswitch *s, const struct vi_id *env, const uint8_t mac[6], struct vi_id *peer)
{
    const struct senv *e = switch_env(s, env);
    if (!e || switch_is_local(e, mac))
        return false;
    for (unsigned i = 0; i < SWITCH_MACS; i++)
        if (e->stated[i].used && !e->stated[i].gone && !memcmp(e->stated[i].mac, mac, 6)) {
            *peer = e->stated[i].peer;
            return true;
        }
    return false;
}

bool switch_has(const struct vswitch *s, const struct vi_id *env)
{
    return switch_env(s, env) != NULL;
}

bool switch_place_next(const struct vswitch *s, const struct vi_id *env, unsigned *pos,
                       struct switch_place *out)
{
    const struct senv *e = switch_env(s, env);
    if (!e)
        return false;
    for (; *pos < e->n_local + SWITCH_MACS + e->n_own + e->n_learned; (*pos)++) {
        memset(out, 0, sizeof *out);
        if (*pos >= e->n_local + SWITCH_MACS) {
            unsigned at = *pos - e->n_local - SWITCH_MACS;
            const struct learned *l = at < e->n_own ? &e->own[at] : &e->learned[at - e->n_own];
            memcpy(out->mac, l->mac, 6);
            out->peer = at < e->n_own ? s->cfg.self : l->peer;
            out->learned = true;
        } else if (*pos < e->n_local) {
            const struct local_mac *l = &e->local[*pos];
            memcpy(out->mac, l->mac, 6);
            out->guest = l->guest;
            out->peer = s->cfg.self;
            out->epoch = l->epoch;
            out->pinned = l->pinned;
            out->n_ips = l->says.n;
            memcpy(out->ips, l->says.ip, sizeof out->ips);
        } else {
            const struct stated *m = &e->stated[*pos - e->n_local];
            if (!m->used || m->gone)
                continue;
            memcpy(out->mac, m->mac, 6);
            out->guest = m->guest;
            out->peer = m->peer;
            out->epoch = m->epoch;
            out->pinned = m->pinned;
            out->n_ips = m->says.n;
            memcpy(out->ips, m->says.ip, sizeof out->ips);
        }
        (*pos)++;
        return true;
    }
    return false;
}
