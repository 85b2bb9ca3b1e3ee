/* The handover's messages and journal records. Messages: [kind, version, id, …]; records: everything
 * that a restart needs. Both hostile: bounded before they are believed. */
#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"
#include "policy/handover_internal.h"

#define VERSION 1

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
        [M_LOST] = "handover.lost.sent"};
    return names[m];
}

static void write_head(struct vi_writer *w, uint32_t n, enum msg m, const struct vi_id *id)
{
    vi_write_array(w, n);
    vi_write_uint(w, m);
    vi_write_uint(w, VERSION);
    vi_write_id(w, id);
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
        write_head(&w, 5, m, &h->id);
        vi_write_uint(&w, h->epoch);
        write_guest(&w, &h->guest);
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

int ho_message_decode(struct message *m, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    uint32_t n;
    memset(m, 0, sizeof *m);
    if (len > HANDOVER_MESSAGE_MAX)
        return VI_EPROTO;
    vi_reader_init(&r, data, len);
    n = vi_read_array(&r, 5);
    m->kind = (enum msg)vi_read_uint(&r, M_LOST);
    if (vi_read_uint(&r, 255) != VERSION)
        return r.err ? VI_EPROTO : VI_EVERSION;
    vi_read_id(&r, &m->id);
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
        if (n != 3 || m->kind == 0)
            return VI_EPROTO;
        break;
    }
    return vi_read_end(&r);
}

int ho_record_encode(const struct handover *h, enum handover_state st, uint8_t *out, size_t cap)
{
    struct vi_writer w;
    vi_writer_init(&w, out, cap);
    vi_write_array(&w, 10);
    vi_write_uint(&w, VERSION);
    vi_write_uint(&w, h->role);
    vi_write_uint(&w, st);
    vi_write_id(&w, &h->peer);
    vi_write_id(&w, &h->boot);
    vi_write_uint(&w, h->domid);
    vi_write_uint(&w, h->epoch);
    vi_write_str(&w, h->why);
    write_guest(&w, &h->guest);
    vi_write_bin(&w, h->transfer, h->transfer_len);
    return w.err ? w.err : (int)w.len;
}

int ho_record_decode(struct handover *h, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    const uint8_t *p;
    size_t n;
    uint64_t role;
    vi_reader_init(&r, data, len);
    if (vi_read_array(&r, 10) != 10)
        return VI_EPROTO;
    if (vi_read_uint(&r, 255) != VERSION)
        return r.err ? VI_EPROTO : VI_EVERSION;
    role = vi_read_uint(&r, 2);
    h->role = role == 1 ? HANDOVER_SOURCE : HANDOVER_DESTINATION;
    h->recorded = (enum handover_state)vi_read_uint(&r, HD_DONE);
    vi_read_id(&r, &h->peer);
    vi_read_id(&r, &h->boot);
    h->domid = (uint32_t)vi_read_uint(&r, UINT32_MAX);
    h->epoch = vi_read_uint(&r, UINT64_MAX);
    vi_read_cstr(&r, h->why, sizeof h->why);
    read_guest(&r, &h->guest);
    p = vi_read_bin(&r, sizeof h->transfer, &n);
    if (vi_read_end(&r) || role == 0)
        return VI_EPROTO;
    memcpy(h->transfer, p, n);
    h->transfer_len = n;
    h->state = h->recorded;
    return 0;
}
