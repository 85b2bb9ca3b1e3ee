/* The table that the data path reads, made of what the switch believes. See switch.h. */
#include <stdlib.h>
#include <string.h>

#include "overlay/switch_internal.h"

unsigned switch_mac_slot(const uint8_t mac[6])
{
    return (unsigned)(vi_bucket(mac, 6) % (SWITCH_MACS * 2));
}

const struct switch_mac *switch_table_find(const struct switch_env_table *t, const uint8_t mac[6])
{
    unsigned at = switch_mac_slot(mac);
    for (unsigned i = 0; i < SWITCH_MACS * 2; i++) {
        const struct switch_mac *m = &t->macs[(at + i) % (SWITCH_MACS * 2)];
        if (!m->used)
            return NULL;
        if (!memcmp(m->mac, mac, 6))
            return m;
    }
    return NULL;
}

void switch_table_add(struct switch_env_table *t, const uint8_t mac[6], bool local, unsigned peer)
{
    unsigned at = switch_mac_slot(mac);
    for (unsigned i = 0; i < SWITCH_MACS * 2; i++) {
        struct switch_mac *m = &t->macs[(at + i) % (SWITCH_MACS * 2)];
        if (m->used && !memcmp(m->mac, mac, 6))
            return;
        if (m->used)
            continue;
        memcpy(m->mac, mac, 6);
        m->used = true;
        m->local = local;
        m->peer = (uint16_t)peer;
        return;
    }
}

void switch_table_free(struct switch_table *t)
{
    if (!t)
        return;
    for (unsigned i = 0; i < SWITCH_ENVS; i++)
        free(t->envs[i]);
    free(t);
}

int switch_other(const struct senv *e, const struct vi_id *peer)
{
    for (unsigned i = 0; i < e->n_others; i++)
        if (vi_id_equal(&e->others[i].peer, peer))
            return (int)i;
    return -1;
}

static unsigned ip_slot(const uint8_t ip[IP_BYTES])
{
    return (unsigned)(vi_bucket(ip, IP_BYTES) % (SWITCH_IPS * 2));
}

const struct switch_ip *switch_table_find_ip(const struct switch_env_table *t, const uint8_t ip[IP_BYTES])
{
    unsigned at = ip_slot(ip);
    for (unsigned i = 0; i < SWITCH_IPS * 2; i++) {
        const struct switch_ip *p = &t->ips[(at + i) % (SWITCH_IPS * 2)];
        if (!p->used)
            return NULL;
        if (!memcmp(p->ip, ip, IP_BYTES))
            return p;
    }
    return NULL;
}

void switch_table_add_ip(struct switch_env_table *t, const uint8_t ip[IP_BYTES], const uint8_t mac[6], bool local, unsigned peer)
{
    unsigned at = ip_slot(ip);
    for (unsigned i = 0; i < SWITCH_IPS * 2; i++) {
        struct switch_ip *p = &t->ips[(at + i) % (SWITCH_IPS * 2)];
        if (p->used && !memcmp(p->ip, ip, IP_BYTES)) {
            p->many |= memcmp(p->mac, mac, 6) != 0;
            return;
        }
        if (p->used)
            continue;
        if (t->n_ips >= SWITCH_IPS)
            return; /* questions for it go to everybody */
        t->n_ips++;
        *p = (struct switch_ip){.used = true, .local = local, .peer = (uint16_t)peer};
        memcpy(p->ip, ip, IP_BYTES);
        memcpy(p->mac, mac, 6);
        return;
    }
}

static void put_one(struct switch_env_table *t, const uint8_t mac[6], bool local, unsigned peer)
{
    if (switch_table_find(t, mac))
        return; /* stated: that holds */
    switch_table_add(t, mac, local, peer);
    for (unsigned at = switch_mac_slot(mac), i = 0; i < SWITCH_MACS * 2; i++) {
        struct switch_mac *m = &t->macs[(at + i) % (SWITCH_MACS * 2)];
        if (m->used && !memcmp(m->mac, mac, 6)) {
            m->learned = true;
            return;
        }
    }
}

static void put_learned(struct switch_env_table *t, const struct senv *e)
{
    for (unsigned i = 0; i < e->n_own; i++)
        put_one(t, e->own[i].mac, true, 0);
    for (unsigned i = 0; i < e->n_learned; i++) {
        int at = switch_other(e, &e->learned[i].peer);
        if (at >= 0)
            put_one(t, e->learned[i].mac, false, (unsigned)at);
    }
}

struct switch_env_table *switch_env_table_make(const struct senv *e)
{
    struct switch_env_table *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->env = e->id;
    t->used = true;
    t->strict = e->strict;
    t->away = e->away && e->n_local == 0; /* whose guest it is was known here first */
    t->serial = e->serial;
    t->bandwidth = e->bandwidth;
    t->n_peers = e->n_others;
    for (unsigned i = 0; i < e->n_others; i++) {
        t->peers[i] = e->others[i].peer;
        t->number[i] = e->others[i].number;
    }
    for (unsigned i = 0; i < e->n_local; i++) {
        const struct local_mac *l = &e->local[i];
        switch_table_add(t, l->mac, true, 0);
        for (unsigned k = 0; k < l->says.n; k++)
            switch_table_add_ip(t, l->says.ip[k], l->mac, true, 0);
    }
    for (unsigned i = 0; i < SWITCH_MACS; i++) {
        const struct stated *s = &e->stated[i];
        int at = s->used && !s->gone ? switch_other(e, &s->peer) : -1;
        if (at < 0 || switch_table_find(t, s->mac))
            continue;
        switch_table_add(t, s->mac, false, (unsigned)at);
        for (unsigned k = 0; k < s->says.n; k++)
            switch_table_add_ip(t, s->says.ip[k], s->mac, false, (unsigned)at);
    }
    put_learned(t, e);
    return t;
}
