/* The handover's messages and journal records. Messages: [kind, version, id, …]; records: everything
 * that a restart needs. Both hostile: bounded before they are believed. */
#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"
#include "policy/handover_internal.h"

/* A guest without disks is spoken of in version 1, so that it moves to and from hosts that know no other. */
#define VERSION       1
#define VERSION_DISKS 2
#define MOST_GENERATION ((uint64_t)1 << 48)

static uint64_t version_of(const struct handover_guest *g)
{
    return g->n_disks ? VERSION_DISKS : VERSION;
}

bool ho_disks_ok(const struct handover_guest *g)
{
    if (g->n_disks > HANDOVER_DISKS)
        return false;
    for (unsigned i = 0; i < g->n_disks; i++) {
        const struct handover_disk *k = &g->disks[i];
        if (vi_id_is_zero(&k->id) || !k->sectors || k->sectors > HANDOVER_SECTORS_MAX || !k->generation ||
            k->generation > MOST_GENERATION || (k->base && vi_id_is_zero(&k->since)))
            return false;
        for (unsigned j = 0; j < i; j++)
            if (vi_id_equal(&k->id, &g->disks[j].id))
                return false;
    }
    return true;
}

static void write_disks(struct vi_writer *w, const struct handover_guest *g)
{
    vi_write_array(w, g->n_disks);
    for (unsigned i = 0; i < g->n_disks; i++) {
        const struct handover_disk *k = &g->disks[i];
        vi_write_array(w, 6);
        vi_write_id(w, &k->id);
        vi_write_str(w, k->name);
        vi_write_uint(w, k->sectors);
        vi_write_uint(w, k->generation);
        vi_write_id(w, &k->since);
        vi_write_bool(w, k->base);
    }
}

static void read_disks(struct vi_reader *r, struct handover_guest *g)
{
    g->n_disks = vi_read_array(r, HANDOVER_DISKS);
    for (unsigned i = 0; i < g->n_disks && !r->err; i++) {
        struct handover_disk *k = &g->disks[i];
        if (vi_read_array(r, 6) != 6)
            r->err = r->err ? r->err : VI_EPROTO;
        vi_read_id(r, &k->id);
        vi_read_cstr(r, k->name, sizeof k->name);
        k->sectors = vi_read_uint(r, HANDOVER_SECTORS_MAX);
        k->generation = vi_read_uint(r, MOST_GENERATION);
        vi_read_id(r, &k->since);
        k->base = vi_read_bool(r);
    }
    if (!r->err && (g->n_disks == 0 || !ho_disks_ok(g)))
        r->err = VI_EPROTO;
    if (r->err)
        g->n_disks = 0;
}

static void write_bases(struct vi_writer *w, const struct handover_guest *g)
{
    vi_write_array(w, g->n_disks);
    for (unsigned i = 0; i < g->n_disks; i++)
        vi_write_bool(w, g->disks[i].base);
}

static void read_bases(struct vi_reader *r, struct message *m)
{
    m->n_bases = vi_read_array(r, HANDOVER_DISKS);
    for (unsigned i = 0; i < m->n_bases && !r->err; i++)
        m->bases[i] = vi_read_bool(r);
    if (!r->err && m->n_bases == 0)
        r->err = VI_EPROTO;
}

static void write_guest(struct vi_writer *w, const struct handover_guest *g)
{
    vi_write_array(w, 7);
    vi_write_id(w, &g->uuid);
    vi_write_id(w, &g->env);
    vi_write_str(w, g->name);
    vi_write_uint(w, g->kb);
    vi_write_uint(w, (uint64_t)(g->pct * 100));
    vi_write_bin(w, g->macs, g->n_macs * 6U);
    vi_write_bin(w, g->description, g->description_len);
}

static void read_guest(struct vi_reader *r, struct handover_guest *g)
{
    const uint8_t *p;
    size_t n;
    if (vi_read_array(r, 7) != 7)
        r->err = r->err ? r->err : VI_EPROTO;
    vi_read_id(r, &g->uuid);
    vi_read_id(r, &g->env);
    vi_read_cstr(r, g->name, sizeof g->name);
    g->kb = vi_read_uint(r, (uint64_t)1 << 40);
    g->pct = (double)vi_read_uint(r, 1000000000) / 100;
    p = vi_read_bin(r, sizeof g->macs, &n);
    if (n % 6)
        r->err = VI_EPROTO;
    if (r->err)
        return;
    memcpy(g->macs, p, n);
    g->n_macs = (unsigned)(n / 6);
    p = vi_read_bin(r, sizeof g->description, &n);
    if (r->err)
        return;
    memcpy(g->description, p, n);
    g->description_len = n;
}

static const char *fault_name(enum msg m)
{
    static const char *const names[] = {
        [M_OFFER] = "handover.offer.sent",     [M_REFUSE] = "handover.refuse.sent",
        [M_RESERVE] = "handover.reserve.sent", [M_ACCEPT] = "handover.accept.sent",
        [M_READY] = "handover.ready.sent",     [M_RENEW] = "handover.renew.sent",
        [M_RESTORED] = "handover.restored.sent", [M_GO] = "handover.go.sent",
        [M_RUNNING] = "handover.running.sent", [M_DONE] = "handover.done.sent",
        [M_ABORT] = "handover.abort.sent",     [M_ABORTED] = "handover.aborted.sent",
        [M_ASK] = "handover.ask.sent",         [M_UNKNOWN] = "handover.unknown.sent",
        [M_LOST] = "handover.lost.sent",       [M_SYNCED] = "handover.synced.sent",
        [M_COMPLETE] = "handover.complete.sent"};
    return names[m];
}

static void write_head(struct vi_writer *w, uint32_t n, enum msg m, const struct vi_id *id)
{
    vi_write_array(w, n);
    vi_write_uint(w, m);
    vi_write_uint(w, VERSION);
    vi_write_id(w, id);
}

static void write_head_disks(struct vi_writer *w, uint32_t n, enum msg m, const struct vi_id *id)
{
    vi_write_array(w, n);
    vi_write_uint(w, m);
    vi_write_uint(w, VERSION_DISKS);
    vi_write_id(w, id);
}

static void write_offer(struct vi_writer *w, const struct handover *h)
{
    if (h->guest.n_disks)
        write_head_disks(w, 6, M_OFFER, &h->id);
    else
        write_head(w, 5, M_OFFER, &h->id);
    vi_write_uint(w, h->epoch);
    write_guest(w, &h->guest);
    if (h->guest.n_disks)
        write_disks(w, &h->guest);
}

bool ho_fits(const struct handover *h)
{
    uint8_t b[HANDOVER_MESSAGE_MAX];
    struct vi_writer w;
    vi_writer_init(&w, b, sizeof b);
    write_offer(&w, h);
    return !w.err;
}

void ho_send(struct handovers *s, struct handover *h, enum msg m)
{
    struct handover_effect *fx = ho_push(s, h, HANDOVER_FX_SEND);
    struct vi_writer w;
    if (!fx)
        return;
    vi_writer_init(&w, fx->data, HANDOVER_MESSAGE_MAX);
    switch (m) {
    case M_OFFER:
        write_offer(&w, h);
        break;
    case M_RESERVE:
        if (h->guest.n_disks) {
            write_head_disks(&w, 4, m, &h->id);
            write_bases(&w, &h->guest);
        } else
            write_head(&w, 3, m, &h->id);
        break;
    case M_SYNCED: case M_COMPLETE:
        write_head_disks(&w, 3, m, &h->id);
        break;
    case M_GO:
        write_head(&w, 4, m, &h->id);
        vi_write_bin(&w, h->transfer, h->transfer_len);
        break;
    case M_REFUSE: case M_ABORT: case M_ABORTED:
        write_head(&w, 4, m, &h->id);
        vi_write_str(&w, h->why);
        break;
    default:
        write_head(&w, 3, m, &h->id);
        break;
    }
    fx->len = w.err ? 0 : w.len;
    ho_fault(s, fault_name(m));
}

void ho_reply(struct handovers *s, const struct vi_id *to, const struct vi_id *id, enum msg m)
{
    struct handover_effect *fx = ho_push(s, NULL, HANDOVER_FX_SEND);
    struct vi_writer w;
    if (!fx)
        return;
    fx->peer = *to;
    fx->id = *id;
    vi_writer_init(&w, fx->data, HANDOVER_MESSAGE_MAX);
    write_head(&w, m == M_REFUSE ? 4 : 3, m, id);
    if (m == M_REFUSE)
        vi_write_str(&w, "the guest, or all room for handovers, is in another one");
    fx->len = w.len;
    ho_fault(s, fault_name(m));
}

/* Messages of a guest with disks: those of version 2. */
static int decode_disks(struct message *m, struct vi_reader *r, uint32_t n)
{
    switch (m->kind) {
    case M_OFFER:
        if (n != 6)
            return VI_EPROTO;
        m->epoch = vi_read_uint(r, (uint64_t)1 << 48);
        read_guest(r, &m->guest);
        read_disks(r, &m->guest);
        break;
    case M_RESERVE:
        if (n != 4)
            return VI_EPROTO;
        read_bases(r, m);
        break;
    case M_SYNCED: case M_COMPLETE:
        if (n != 3)
            return VI_EPROTO;
        break;
    default:
        return VI_EPROTO;
    }
    return vi_read_end(r);
}

int ho_message_decode(struct message *m, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    uint64_t version;
    uint32_t n;
    memset(m, 0, sizeof *m);
    if (len > HANDOVER_MESSAGE_MAX)
        return VI_EPROTO;
    vi_reader_init(&r, data, len);
    n = vi_read_array(&r, 6);
    m->kind = (enum msg)vi_read_uint(&r, M_COMPLETE);
    version = vi_read_uint(&r, 255);
    if (version != VERSION && version != VERSION_DISKS)
        return r.err ? VI_EPROTO : VI_EVERSION;
    vi_read_id(&r, &m->id);
    if (version == VERSION_DISKS)
        return decode_disks(m, &r, n);
    switch (m->kind) {
    case M_OFFER:
        if (n != 5)
            return VI_EPROTO;
        m->epoch = vi_read_uint(&r, (uint64_t)1 << 48);
        read_guest(&r, &m->guest);
        break;
    case M_GO:
        if (n != 4)
            return VI_EPROTO;
        m->transfer = vi_read_bin(&r, TRANSFER_MAX, &m->transfer_len);
        break;
    case M_REFUSE: case M_ABORT: case M_ABORTED:
        if (n != 4)
            return VI_EPROTO;
        vi_read_cstr(&r, m->why, sizeof m->why);
        break;
    default:
        if (n != 3 || m->kind == 0 || m->kind > M_LOST)
            return VI_EPROTO;
        break;
    }
    return vi_read_end(&r);
}

int ho_record_encode(const struct handover *h, enum handover_state st, uint8_t *out, size_t cap)
{
    struct vi_writer w;
    vi_writer_init(&w, out, cap);
    vi_write_array(&w, h->guest.n_disks ? 11 : 10);
    vi_write_uint(&w, version_of(&h->guest));
    vi_write_uint(&w, h->role);
    vi_write_uint(&w, st);
    vi_write_id(&w, &h->peer);
    vi_write_id(&w, &h->boot);
    vi_write_uint(&w, h->domid);
    vi_write_uint(&w, h->epoch);
    vi_write_str(&w, h->why);
    write_guest(&w, &h->guest);
    vi_write_bin(&w, h->transfer, h->transfer_len);
    if (h->guest.n_disks)
        write_disks(&w, &h->guest);
    return w.err ? w.err : (int)w.len;
}

int ho_record_decode(struct handover *h, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    const uint8_t *p;
    size_t n;
    uint64_t role, version;
    uint32_t fields;
    vi_reader_init(&r, data, len);
    fields = vi_read_array(&r, 11);
    version = vi_read_uint(&r, 255);
    if (version != VERSION && version != VERSION_DISKS)
        return r.err ? VI_EPROTO : VI_EVERSION;
    if (fields != (version == VERSION ? 10 : 11))
        return VI_EPROTO;
    role = vi_read_uint(&r, 2);
    h->role = role == 1 ? HANDOVER_SOURCE : HANDOVER_DESTINATION;
    h->recorded = (enum handover_state)vi_read_uint(&r, HD_COMPLETE);
    vi_read_id(&r, &h->peer);
    vi_read_id(&r, &h->boot);
    h->domid = (uint32_t)vi_read_uint(&r, UINT32_MAX);
    h->epoch = vi_read_uint(&r, UINT64_MAX);
    vi_read_cstr(&r, h->why, sizeof h->why);
    read_guest(&r, &h->guest);
    p = vi_read_bin(&r, sizeof h->transfer, &n);
    if (version == VERSION_DISKS)
        read_disks(&r, &h->guest);
    if (vi_read_end(&r) || role == 0)
        return VI_EPROTO;
    memcpy(h->transfer, p, n);
    h->transfer_len = n;
    h->state = h->recorded;
    return 0;
}
