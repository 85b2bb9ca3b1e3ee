/* What happens to guests, by us or behind our back: one scan compares the domains that are there
 * with those of the scan before. Xenstore's @introduceDomain and @releaseDomain (which also tells
 * shutdowns) start it at once, a timer finds the rest: pauses, renames. Nothing is remembered from
 * single notifications, so none can be missed or counted twice. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/log.h"
#include "xen/libxl_internal.h"

static void tell(struct lx *lx, enum hv_event_kind kind, const struct lx_dom *dom)
{
    struct hv_event ev = {.kind = kind};

    if (dom) {
        ev.domid = dom->domid;
        ev.uuid = dom->uuid;
        ev.reason = dom->reason;
    }
    if (lx->base.on_event && !lx->closing)
        lx->base.on_event(lx->base.event_arg, &ev);
}

static void note_change(struct lx *lx, struct lx_dom *dom, struct lx_dom *now, bool quiet)
{
    bool state = dom->state != now->state || dom->reason != now->reason;
    if (!now->name[0]) /* gone from xenstore while it is being destroyed */
        memcpy(now->name, dom->name, sizeof now->name);
    bool other = dom->mark != now->mark || strcmp(dom->name, now->name) != 0;

    dom->seen = true;
    if (!state && !other)
        return;
    if (strcmp(dom->name, now->name) != 0)
        dom->st.read_at = 0;
    if (state)
        dom->acted = false;
    dom->state = now->state;
    dom->reason = now->reason;
    dom->mark = now->mark;
    memcpy(dom->name, now->name, sizeof dom->name);
    if (!quiet)
        tell(lx, state && now->state == HV_SHUTDOWN ? HV_EV_SHUTDOWN : HV_EV_CHANGED, dom);
}

static void note(struct lx *lx, const libxl_dominfo *info, bool quiet)
{
    struct lx_dom now = {.domid = info->domid}, *dom = lx_find(lx, info->domid);

    memcpy(now.uuid.b, libxl_uuid_bytearray_const(&info->uuid), VI_ID_SIZE);
    lx_name(lx, info->domid, now.name, sizeof now.name);
    lx_state(info, &now.state, &now.reason);
    now.mark = lx_mark_get(lx, info->domid, now.name);
    now.seen = true;
    if (dom && vi_id_equal(&dom->uuid, &now.uuid)) {
        note_change(lx, dom, &now, quiet);
        return;
    }
    if (dom) { /* its id was used again between two scans */
        struct lx_dom gone = *dom;
        *dom = now;
        tell(lx, HV_EV_GONE, &gone);
    } else if (lx->n_doms < LX_DOMS_MAX) {
        dom = &lx->doms[lx->n_doms++];
        *dom = now;
    } else {
        return; /* further domains than the table holds are not looked after */
    }
    if (!quiet)
        tell(lx, HV_EV_APPEARED, dom);
}

static void drop_gone(struct lx *lx)
{
    for (unsigned i = 0; i < lx->n_doms;) {
        if (lx->doms[i].seen) {
            i++;
            continue;
        }
        struct lx_dom gone = lx->doms[i];
        lx->doms[i] = lx->doms[--lx->n_doms];
        tell(lx, HV_EV_GONE, &gone);
    }
}

static void act_where_due(struct lx *lx)
{
    for (unsigned i = 0; i < lx->n_doms; i++) {
        struct lx_dom *dom = &lx->doms[i];
        if (dom->state == HV_SHUTDOWN && dom->mark == LX_MARK_OWNED && !dom->acted &&
            !lx_busy(lx, dom->domid, NULL)) {
            dom->acted = true;
            lx_act(lx, dom);
        }
    }
}

void lx_scan(struct lx *lx, bool quiet)
{
    int n = 0;
    libxl_dominfo *info;

    if (lx->closing)
        return;
    info = libxl_list_domain(lx->ctx, &n);
    if (!info) {
        if (!lx->lost)
            tell(lx, HV_EV_LOST, NULL);
        lx->lost = true;
        return;
    }
    if (lx->lost)
        tell(lx, HV_EV_BACK, NULL);
    lx->lost = false;
    for (unsigned i = 0; i < lx->n_doms; i++)
        lx->doms[i].seen = false;
    for (int i = 0; i < n; i++)
        if (info[i].domid != 0 && !info[i].dying)
            note(lx, &info[i], quiet);
    libxl_dominfo_list_free(info, n);
    drop_gone(lx);
    act_where_due(lx);
}

static void on_scan_timer(uv_timer_t *t)
{
    lx_scan(t->data, false);
}

static void on_watch(uv_poll_t *p, int status, int events)
{
    struct lx *lx = p->data;
    bool any = false;
    char **v;
    (void)events;

    if (status < 0) {
        uv_poll_stop(p); /* the timer goes on */
        return;
    }
    while ((v = xs_check_watch(lx->xs))) {
        any = true;
        free(v);
    }
    if (any)
        lx_scan(lx, false);
}

int lx_events_open(struct lx *lx)
{
    if (!xs_watch(lx->xs, "@introduceDomain", "in") || !xs_watch(lx->xs, "@releaseDomain", "out"))
        return VI_EIO;
    if (uv_poll_init(lx->loop, &lx->xs_poll, xs_fileno(lx->xs)))
        return VI_EIO;
    lx->xs_poll.data = lx;
    lx->handles++;
    uv_timer_init(lx->loop, &lx->scan_timer);
    lx->scan_timer.data = lx;
    lx->handles++;
    if (uv_poll_start(&lx->xs_poll, UV_READABLE, on_watch) ||
        uv_timer_start(&lx->scan_timer, on_scan_timer, LX_SCAN_MS, LX_SCAN_MS))
        return VI_EIO;
    return 0;
}
