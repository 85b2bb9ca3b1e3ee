/* The control socket's methods about other domains; peer/rpc.md has the fields. */
#include "peer/daemon_federation.h"

#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/rpc_write.h"

static void answer_nothing(struct rpc_call *call)
{
    struct vi_writer *w = rpc_begin(call, 16);
    if (w) {
        vi_write_map(w, 0);
        rpc_end(call);
    }
}

static void answer_error(struct rpc_call *call, int err, const char *why)
{
    rpc_error(call, err, "%s", why[0] ? why : vi_strerror(err));
}

/* Contact, none for long, none ever: the other side may not have said that it trusts us. */
static const char *state_of(const struct fed_domain *f, vi_time now)
{
    if (f->heard && now - f->heard < FED_STALE)
        return "federated";
    return f->heard ? "not heard of lately" : "waiting for the other side";
}

/* A representative that hasn't heard of its hosts' loads yet says none. */
static bool has_load(const struct fed_summary *s)
{
    return s->cpu_pct || s->memory_mib;
}

static void write_summary(struct vi_writer *w, const struct fed_summary *s)
{
    put_uint(w, "hosts", s->hosts);
    put_uint(w, "suspects", s->suspects);
    put_uint(w, "environments", s->environments);
    if (!has_load(s))
        return;
    put_uint(w, "cpu_pct", s->cpu_pct);
    put_uint(w, "cpu_used_pct", s->cpu_used_pct);
    put_uint(w, "memory_mib", s->memory_mib);
    put_uint(w, "memory_free_mib", s->memory_free_mib);
}

static void write_domain(struct daemon *d, struct vi_writer *w, const struct fed_domain *f, vi_time now)
{
    const struct fed_limits *l = &f->trust.limits;
    bool rep = f->view.version != 0, fresh = f->heard && now - f->heard < FED_STALE;
    char id[VI_ID_TEXT];
    struct vi_id a;
    unsigned here = 0;
    for (unsigned i = 0; i < d->fed->n_hosts; i++)
        here += !strcmp(d->fed->hosts[i].cert.domain, f->trust.with.domain);
    cert_authority_id(&a, f->trust.with.authority);
    vi_write_map(w, 5U + (f->heard != 0) + (rep ? 2U : 0) + (fresh ? has_load(&f->view.summary) ? 7U : 3U : 0) + (l->guests ? 3U : 0));
    put_text(w, "domain", f->trust.with.domain);
    put_text(w, "state", state_of(f, now));
    put_text(w, "authority", vi_id_format(&a, id));
    put_bool(w, "takes_guests", l->guests > 0);
    put_uint(w, "hosts_with_us", here);
    if (f->heard)
        put_number(w, "heard_s", (double)(now - f->heard) / 1e6);
    if (rep) {
        put_text(w, "representative", f->view.rep_host);
        put_text(w, "address", f->view.rep.addr);
    }
    if (fresh)
        write_summary(w, &f->view.summary);
    if (l->guests) {
        put_uint(w, "limit_guests", l->guests);
        put_uint(w, "limit_memory_mib", l->memory_mib);
        put_uint(w, "limit_cpu_pct", l->cpu_pct);
    }
}

void daemon_do_domains(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    const struct vi_id *rep = rep_current(&d->fed->rep, daemon_now());
    struct vi_writer *w = rpc_begin(call, 4096 + FED_DOMAINS * 1024);
    vi_time now = daemon_now();
    struct gossip_member m;
    struct vi_id said;
    uint32_t n = 0;
    size_t pos = 0;
    (void)params;
    if (!w)
        return;
    while (!d->fed->rep.acting && gossip_member_next(d->gossip, &pos, &m))
        if (m.state == GOSSIP_ALIVE && daemon_represents(&m)) {
            said = m.id; /* it says so itself */
            rep = &said;
        }
    for (unsigned i = 0; i < FED_DOMAINS; i++)
        n += d->fed->domain[i].used && !d->fed->domain[i].trust.withdrawn;
    vi_write_map(w, 3U + (rep != NULL));
    put_text(w, "domain", d->me.cert.domain);
    put_bool(w, "represents", d->fed->rep.acting);
    if (rep)
        put_text(w, "representative", vi_id_equal(rep, &d->me.id) ? d->me.cert.host : daemon_member_name(d, rep));
    vi_write_str(w, "domains");
    vi_write_array(w, n);
    for (unsigned i = 0; i < FED_DOMAINS; i++)
        if (d->fed->domain[i].used && !d->fed->domain[i].trust.withdrawn)
            write_domain(d, w, &d->fed->domain[i], now);
    rpc_end(call);
}

void daemon_do_federation_card(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    struct fed_card card;
    char text[FED_CARD_TEXT], id[VI_ID_TEXT];
    struct vi_id a;
    struct vi_writer *w;
    (void)params;
    if (fed_own_card(d, &card) || fed_card_encode(&card, text)) {
        rpc_error(call, VI_ESTATE, "this host doesn't know where others reach it; set `advertise` in the configuration");
        return;
    }
    w = rpc_begin(call, 2048);
    if (!w)
        return;
    cert_authority_id(&a, card.authority);
    vi_write_map(w, 3);
    put_text(w, "card", text);
    put_text(w, "domain", card.domain);
    put_text(w, "authority", vi_id_format(&a, id));
    rpc_end(call);
}

void daemon_do_federate(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    char text[FED_CARD_TEXT], why[400] = "", id[VI_ID_TEXT];
    uint64_t guests = 0, memory = 0, cpu = 0;
    struct fed_limits limits;
    struct fed_card card;
    const char *say;
    struct vi_writer *w;
    struct vi_id a;
    int err;
    if (!rpc_param_text(call, *params, "card", true, text, sizeof text) ||
        !rpc_param_uint(call, *params, "guests", 10000, &guests) ||
        !rpc_param_uint(call, *params, "memory_mib", UINT32_MAX, &memory) ||
        !rpc_param_uint(call, *params, "cpu_pct", UINT32_MAX, &cpu))
        return;
    err = fed_card_decode(&card, text, &say);
    if (err) {
        rpc_error(call, err, "%s", say);
        return;
    }
    limits = (struct fed_limits){(uint32_t)guests, (uint32_t)memory, (uint32_t)cpu};
    err = fed_federate(d, &card, &limits, why, sizeof why);
    if (err) {
        answer_error(call, err, why);
        return;
    }
    w = rpc_begin(call, 512);
    if (!w)
        return;
    cert_authority_id(&a, card.authority);
    vi_write_map(w, 2);
    put_text(w, "domain", card.domain);
    put_text(w, "authority", vi_id_format(&a, id));
    rpc_end(call);
}

void daemon_do_unfederate(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    char domain[CERT_NAME_MAX + 1], why[400] = "";
    int err;
    if (!rpc_param_text(call, *params, "domain", true, domain, sizeof domain))
        return;
    err = fed_unfederate(arg, domain, why, sizeof why);
    if (err)
        answer_error(call, err, why);
    else
        answer_nothing(call);
}

void daemon_do_env_allow(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    char name[128], domain[CERT_NAME_MAX + 1], why[400] = "";
    uint64_t allow = 1;
    int err;
    if (!rpc_param_text(call, *params, "name", true, name, sizeof name) ||
        !rpc_param_text(call, *params, "domain", true, domain, sizeof domain) ||
        !rpc_param_uint(call, *params, "allow", 1, &allow))
        return;
    err = daemon_env_allow(arg, name, domain, allow, why, sizeof why);
    if (err)
        answer_error(call, err, why);
    else
        answer_nothing(call);
}
