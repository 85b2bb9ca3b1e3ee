/* What the libxl backend can say: about the host, about its guests, about one of them now. */
#include <cpuid.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/log.h"
#include "xen/libxl_internal.h"

struct lx_dom *lx_find(struct lx *lx, uint32_t domid)
{
    for (unsigned i = 0; i < lx->n_doms; i++)
        if (lx->doms[i].domid == domid)
            return &lx->doms[i];
    return NULL;
}

int lx_lookup(struct lx *lx, uint32_t domid, const struct vi_id *uuid, libxl_dominfo *info)
{
    libxl_dominfo local;
    int rc, err = VI_ENOTFOUND;

    if (domid == 0 || !libxl_domid_valid_guest(domid))
        return VI_ENOTFOUND;
    libxl_dominfo_init(&local);
    rc = libxl_domain_info(lx->ctx, &local, domid);
    if (rc)
        return rc == ERROR_DOMAIN_NOTFOUND ? VI_ENOTFOUND : VI_EIO;
    if (!local.dying && memcmp(libxl_uuid_bytearray(&local.uuid), uuid->b, VI_ID_SIZE) == 0)
        err = 0;
    if (err == 0 && info)
        *info = local;
    else
        libxl_dominfo_dispose(&local);
    return err;
}

void lx_state(const libxl_dominfo *info, enum hv_guest_state *state, enum hv_reason *reason)
{
    *reason = HV_REASON_NONE;
    if (!info->shutdown) {
        *state = info->paused ? HV_PAUSED : HV_RUNNING;
        return;
    }
    *state = HV_SHUTDOWN;
    switch (info->shutdown_reason) {
    case LIBXL_SHUTDOWN_REASON_POWEROFF: *reason = HV_POWEROFF; break;
    case LIBXL_SHUTDOWN_REASON_REBOOT:
    case LIBXL_SHUTDOWN_REASON_SOFT_RESET: *reason = HV_REBOOT; break;
    case LIBXL_SHUTDOWN_REASON_SUSPEND:
        *state = HV_SUSPENDED;
        *reason = HV_SUSPEND;
        break;
    case LIBXL_SHUTDOWN_REASON_WATCHDOG: *reason = HV_WATCHDOG; break;
    case LIBXL_SHUTDOWN_REASON_CRASH:
    case LIBXL_SHUTDOWN_REASON_UNKNOWN: *reason = HV_CRASH; break;
    }
}

/* ---- the mark: /libxl/N/violin, which dom0 alone can write and which goes with the domain */

enum lx_mark lx_mark_get(struct lx *lx, uint32_t domid, const char *name)
{
    char path[64];
    unsigned len = 0;
    enum lx_mark mark = LX_UNMARKED;
    size_t n = strlen(name), suffix = strlen(LX_INCOMING);

    snprintf(path, sizeof path, "/libxl/%u/violin", domid);
    char *v = xs_read(lx->xs, XBT_NULL, path, &len);
    if (v && strcmp(v, "owned") == 0)
        mark = LX_MARK_OWNED;
    else if (v && strcmp(v, "incoming") == 0)
        mark = LX_MARK_INCOMING;
    else if (n > suffix && strcmp(name + n - suffix, LX_INCOMING) == 0)
        mark = LX_MARK_INCOMING; /* being received, or left by an agent that died meanwhile */
    free(v);
    return mark;
}

int lx_mark_set(struct lx *lx, uint32_t domid, enum lx_mark mark)
{
    char path[64];
    const char *v = mark == LX_MARK_OWNED ? "owned" : "incoming";
    struct lx_dom *dom = lx_find(lx, domid);

    snprintf(path, sizeof path, "/libxl/%u/violin", domid);
    if (!xs_write(lx->xs, XBT_NULL, path, v, (unsigned)strlen(v)))
        return VI_EIO;
    if (dom)
        dom->mark = mark;
    return 0;
}

bool lx_name(struct lx *lx, uint32_t domid, char *out, size_t cap)
{
    char *name = libxl_domid_to_name(lx->ctx, domid);

    snprintf(out, cap, "%s", name ? name : "");
    free(name);
    return out[0] != '\0';
}

void lx_own_name(const char *name, char *out, size_t cap)
{
    size_t n, suffix = strlen(LX_INCOMING);

    snprintf(out, cap, "%s", name);
    n = strlen(out);
    if (n > suffix && strcmp(out + n - suffix, LX_INCOMING) == 0)
        out[n - suffix] = '\0';
}

/* A domain that is still being built, by `xl create` or by us, has no configuration yet; asking libxl for
 * it then would log an error a second. */
static bool has_configuration(struct lx *lx, uint32_t domid)
{
    uint8_t *data = NULL;
    int len = 0;
    bool has = libxl_userdata_retrieve(lx->ctx, domid, "libxl-json", &data, &len) == 0 && data && len > 0;

    free(data);
    return has;
}

/* The target as libxl keeps it in xenstore, by xl's clients too; 0 while the domain is being built. */
static uint64_t memory_target(struct lx *lx, uint32_t domid)
{
    char path[64], *text, *end;
    unsigned len = 0;
    unsigned long long kb = 0;

    snprintf(path, sizeof path, "/local/domain/%u/memory/target", domid);
    text = xs_read(lx->xs, XBT_NULL, path, &len);
    if (text) {
        kb = strtoull(text, &end, 10);
        if (*end)
            kb = 0;
    }
    free(text);
    return kb;
}

struct lx_static *lx_static_of(struct lx *lx, struct lx_dom *dom)
{
    vi_time now = vi_clock_boottime();
    libxl_domain_config c;

    if (dom->st.read_at && now - dom->st.read_at < LX_STATIC_AGE)
        return &dom->st;
    libxl_domain_config_init(&c);
    if (has_configuration(lx, dom->domid) &&
        libxl_retrieve_domain_configuration(lx->ctx, dom->domid, &c, NULL) == 0) {
        lx_static_read(lx, dom, &c, &dom->st);
        dom->st.read_at = now;
    } else if (!dom->st.read_at) {
        snprintf(dom->st.why_not, sizeof dom->st.why_not,
                 "its configuration is not known to libxl (yet)");
    }
    libxl_domain_config_dispose(&c);
    return &dom->st;
}

/* ---- host */

/* What a guest can see of the CPU: the vendor and the hypervisor's view of the feature words. */
static void cpu_features(struct lx *lx, const libxl_physinfo *p)
{
    uint32_t words[12] = {0};
#if defined(__x86_64__) || defined(__i386__)
    unsigned max = 0;
    __get_cpuid(0, &max, &words[0], &words[1], &words[2]);
#endif
    memcpy(words + 4, p->hw_cap, sizeof p->hw_cap);
    crypto_generichash(lx->cpu_features, sizeof lx->cpu_features, (const uint8_t *)words,
                       sizeof words, NULL, 0);
}

int lx_host_facts(struct lx *lx)
{
    libxl_physinfo p;

    libxl_physinfo_init(&p);
    if (libxl_get_physinfo(lx->ctx, &p))
        return VI_EIO;
    lx->shadow = p.cap_shadow;
    cpu_features(lx, &p);
    libxl_physinfo_dispose(&p);
    return 0;
}

static void read_boot_id(struct vi_id *id)
{
    char text[64] = "";
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

    if (f && fgets(text, sizeof text, f))
        text[strcspn(text, "\n")] = '\0';
    if (f)
        fclose(f);
    if (vi_id_parse(id, text))
        memset(id, 0, sizeof *id);
}

void lx_step_host(struct lx_op *op)
{
    struct lx *lx = op->lx;
    struct hv_host host = {.kind = "libxl"};
    const libxl_version_info *v = libxl_get_version_info(lx->ctx);
    libxl_dominfo dom0;
    libxl_physinfo p;

    libxl_physinfo_init(&p);
    libxl_dominfo_init(&dom0);
    if (!v || libxl_get_physinfo(lx->ctx, &p) || libxl_domain_info(lx->ctx, &dom0, 0)) {
        libxl_physinfo_dispose(&p);
        libxl_dominfo_dispose(&dom0);
        lx_finish(op, VI_EIO, "the hypervisor does not answer");
        return;
    }
    const uint64_t kb_per_page = (uint64_t)v->pagesize / 1024;
    read_boot_id(&host.boot_id);
    snprintf(host.version, sizeof host.version, "%d.%d%s", v->xen_version_major,
             v->xen_version_minor, v->xen_version_extra ? v->xen_version_extra : "");
    host.cpus = p.nr_cpus;
    host.total_kb = p.total_pages * kb_per_page;
    host.free_kb = (p.free_pages + p.scrub_pages) * kb_per_page;
    uint64_t promised = p.outstanding_pages * kb_per_page;
    host.free_kb = host.free_kb > promised ? host.free_kb - promised : 0;
    host.dom0_kb = dom0.current_memkb;
    memcpy(host.cpu_features, lx->cpu_features, sizeof host.cpu_features);
    libxl_physinfo_dispose(&p);
    libxl_dominfo_dispose(&dom0);
    op->callback = false;
    op->cb.host(op->arg, 0, &host);
    lx_finish(op, 0, "%s", "");
}

/* ---- list */

static void read_report(struct lx *lx, uint32_t domid, struct hv_report *report)
{
    char path[64];
    unsigned len = 0;

    memset(report, 0, sizeof *report);
    snprintf(path, sizeof path, "/local/domain/%u/data/violin", domid);
    char *text = xs_read(lx->xs, XBT_NULL, path, &len);
    if (text)
        hv_report_parse(report, text, len);
    free(text);
}

static void read_sched(struct lx *lx, uint32_t domid, struct hv_guest *g)
{
    libxl_domain_sched_params s;

    libxl_domain_sched_params_init(&s);
    g->weight = 256;
    if (libxl_domain_sched_params_get(lx->ctx, domid, &s) == 0) {
        g->weight = s.weight > 0 ? (uint32_t)s.weight : 256;
        g->cap = s.cap > 0 ? (uint32_t)s.cap : 0;
    }
    libxl_domain_sched_params_dispose(&s);
}

static bool list_one(struct lx *lx, const libxl_dominfo *info, struct hv_guest *g)
{
    struct lx_dom *dom = lx_find(lx, info->domid);

    if (!dom || memcmp(dom->uuid.b, libxl_uuid_bytearray_const(&info->uuid), VI_ID_SIZE) != 0)
        return false; /* came since the scan: the next list has it */
    const struct lx_static *st = lx_static_of(lx, dom);
    memset(g, 0, sizeof *g);
    g->domid = info->domid;
    g->uuid = dom->uuid;
    lx_own_name(dom->name, g->name, sizeof g->name);
    lx_state(info, &g->state, &g->reason);
    g->incoming = dom->mark == LX_MARK_INCOMING;
    g->type = st->type;
    g->vcpus = st->vcpus ? st->vcpus : info->vcpu_max_id + 1;
    g->cpu_time_ns = info->cpu_time;
    g->current_kb = info->current_memkb;
    g->max_kb = st->max_kb ? st->max_kb : info->max_memkb;
    g->target_kb = memory_target(lx, info->domid);
    if (!g->target_kb)
        g->target_kb = g->current_kb;
    read_sched(lx, info->domid, g);
    g->n_vifs = st->n_vifs;
    g->n_disks = st->n_disks;
    g->n_boot = st->n_boot;
    memcpy(g->boot, st->boot, sizeof g->boot);
    memcpy(g->vifs, st->vifs, sizeof g->vifs);
    memcpy(g->disks, st->disks, sizeof g->disks);
    read_report(lx, info->domid, &g->report);
    g->movable = st->why_not[0] == '\0';
    memcpy(g->why_not, st->why_not, sizeof g->why_not);
    return true;
}

void lx_step_list(struct lx_op *op)
{
    struct lx *lx = op->lx;
    struct hv_guest *guests = calloc(HV_GUESTS_MAX, sizeof *guests);
    unsigned n = 0, more = 0;
    int n_info = 0;

    if (!guests) {
        lx_finish(op, VI_ENOMEM, "out of memory");
        return;
    }
    lx_scan(lx, false);
    libxl_dominfo *info = libxl_list_domain(lx->ctx, &n_info);
    for (int i = 0; info && i < n_info; i++) {
        if (info[i].domid == 0 || info[i].dying)
            continue;
        if (n >= HV_GUESTS_MAX)
            more++;
        else if (list_one(lx, &info[i], &guests[n]))
            n++;
    }
    if (more)
        vi_log(VI_LOG_WARN, "xen", "%u guests beyond the first %d are not looked at", more,
               HV_GUESTS_MAX);
    if (lx->unread && vi_clock_boottime() - lx->looked_at >= LX_LOOK_AGAIN)
        lx_look_through(lx);
    op->callback = false;
    op->cb.list(op->arg, info ? 0 : VI_EIO, guests, n);
    if (info)
        libxl_dominfo_list_free(info, n_info);
    free(guests);
    lx_finish(op, 0, "%s", "");
}
