/* Operations on a guest that is here: memory, scheduler, pause, unpause, resume, destroy. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/log.h"
#include "xen/libxl_internal.h"

#define KB_LEAST 8192 /* no guest lives with less */

bool lx_guest_state(struct lx_op *op, enum hv_guest_state *state, libxl_dominfo *out)
{
    libxl_dominfo info;
    enum hv_reason reason;
    int err = lx_lookup(op->lx, op->domid, &op->uuid, &info);

    if (err) {
        lx_finish(op, err, err == VI_EIO ? "the hypervisor does not answer" : "no such guest");
        return false;
    }
    lx_state(&info, state, &reason);
    if (out)
        *out = info;
    else
        libxl_dominfo_dispose(&info);
    return true;
}

bool lx_alone(struct lx_op *op)
{
    if (lx_busy(op->lx, op->domid, op)) {
        lx_finish(op, VI_EAGAIN, "something else is being done with this guest");
        return false;
    }
    op->exclusive = true;
    return true;
}

/* The last step of most: libxl's result becomes ours. */
static void ended(struct lx_op *op)
{
    struct lx *lx = op->lx;
    int rc = op->rc;

    lx_scan(lx, false);
    if (rc)
        lx_finish(op, VI_EIO, "libxl error %d", rc);
    else
        lx_finish(op, 0, "%s", "");
}

void lx_step_set_memory(struct lx_op *op)
{
    struct lx *lx = op->lx;
    enum hv_guest_state state;
    libxl_dominfo info;
    libxl_physinfo p;

    if (!lx_guest_state(op, &state, &info))
        return;
    uint64_t now_kb = info.current_memkb, free_kb = 0;
    libxl_dominfo_dispose(&info);
    if (op->kb < KB_LEAST) {
        lx_finish(op, VI_EINVAL, "less than %d KiB", KB_LEAST);
        return;
    }
    if (state == HV_SHUTDOWN || state == HV_SUSPENDED) {
        lx_finish(op, VI_ESTATE, "the guest is %s", hv_state_name(state));
        return;
    }
    libxl_physinfo_init(&p);
    if (libxl_get_physinfo(lx->ctx, &p) == 0)
        free_kb = (p.free_pages + p.scrub_pages - p.outstanding_pages) * 4;
    libxl_physinfo_dispose(&p);
    if (op->kb > now_kb && op->kb - now_kb > free_kb) {
        lx_finish(op, VI_EFULL, "the host has only %llu KiB free", (unsigned long long)free_kb);
        return;
    }
    int rc = libxl_set_memory_target(lx->ctx, op->domid, (int64_t)op->kb, 0, 1);
    if (rc)
        lx_finish(op, VI_EINVAL, "libxl did not set it (error %d): is it above maxmem?", rc);
    else
        lx_finish(op, 0, "%s", "");
}

void lx_step_set_sched(struct lx_op *op)
{
    struct lx *lx = op->lx;
    enum hv_guest_state state;
    libxl_domain_sched_params s;

    if (!lx_guest_state(op, &state, NULL))
        return;
    libxl_domain_sched_params_init(&s);
    s.sched = libxl_get_scheduler(lx->ctx);
    s.weight = (int)op->weight;
    s.cap = (int)op->cap;
    int rc = libxl_domain_sched_params_set(lx->ctx, op->domid, &s);
    libxl_domain_sched_params_dispose(&s);
    if (rc)
        lx_finish(op, VI_EINVAL, "weight %u, cap %u were not accepted (libxl error %d)", op->weight,
                  op->cap, rc);
    else
        lx_finish(op, 0, "%s", "");
}

/* An incoming copy takes its own name, or one with part of its UUID if that is taken meanwhile. */
static int activate_name(struct lx_op *op)
{
    char now[LX_NAME_MAX], own[LX_NAME_MAX], other[LX_NAME_MAX + 16];
    uint32_t holder;

    if (!lx_name(op->lx, op->domid, now, sizeof now))
        return VI_EIO;
    lx_own_name(now, own, sizeof own);
    if (strcmp(now, own) == 0)
        return 0;
    snprintf(other, sizeof other, "%s", own);
    if (libxl_name_to_domid(op->lx->ctx, own, &holder) == 0)
        snprintf(other, sizeof other, "%s-%02x%02x%02x%02x", own, op->uuid.b[0], op->uuid.b[1],
                 op->uuid.b[2], op->uuid.b[3]);
    return libxl_domain_rename(op->lx->ctx, op->domid, now, other) ? VI_EIO : 0;
}

void lx_step_unpause(struct lx_op *op)
{
    struct lx *lx = op->lx;
    enum hv_guest_state state;
    char name[LX_NAME_MAX];

    if (!lx_guest_state(op, &state, NULL) || !lx_alone(op))
        return;
    if (state != HV_PAUSED && state != HV_RUNNING) {
        lx_finish(op, VI_ESTATE, "the guest is %s", hv_state_name(state));
        return;
    }
    lx_name(lx, op->domid, name, sizeof name);
    if (lx_mark_get(lx, op->domid, name) == LX_MARK_INCOMING) {
        /* The mark first: from here on a restarted agent carries out its reboots. */
        if (lx_mark_set(lx, op->domid, LX_MARK_OWNED) || activate_name(op)) {
            lx_finish(op, VI_EIO, "it could not be given its name");
            return;
        }
    }
    if (state == HV_RUNNING) {
        lx_scan(lx, false);
        lx_finish(op, 0, "%s", "");
        return;
    }
    lx_started(op, libxl_domain_unpause(lx->ctx, op->domid, lx_how(op, ended)), "unpausing");
}

void lx_step_pause(struct lx_op *op)
{
    enum hv_guest_state state;

    if (!lx_guest_state(op, &state, NULL) || !lx_alone(op))
        return;
    if (state == HV_PAUSED) /* pauses are counted by the hypervisor: never twice */
        lx_finish(op, 0, "%s", "");
    else if (state != HV_RUNNING)
        lx_finish(op, VI_ESTATE, "the guest is %s", hv_state_name(state));
    else
        lx_started(op, libxl_domain_pause(op->lx->ctx, op->domid, lx_how(op, ended)), "pausing");
}

void lx_step_resume(struct lx_op *op)
{
    struct lx *lx = op->lx;
    enum hv_guest_state state;

    if (!lx_guest_state(op, &state, NULL) || !lx_alone(op))
        return;
    if (state != HV_SUSPENDED) {
        lx_finish(op, VI_ESTATE, "the guest is %s, not suspended", hv_state_name(state));
        return;
    }
    /* The monitor that `xl create` left behind ended when the guest suspended. */
    if (lx_mark_set(lx, op->domid, LX_MARK_OWNED)) {
        lx_finish(op, VI_EIO, "xenstore does not take the mark");
        return;
    }
    lx_started(op, libxl_domain_resume(lx->ctx, op->domid, 1, lx_how(op, ended)), "resuming");
}

/* By the guest's own way to power off: that it was asked is all that is known then. */
void lx_step_shutdown(struct lx_op *op)
{
    enum hv_guest_state state;

    if (!lx_guest_state(op, &state, NULL) || !lx_alone(op))
        return;
    if (state != HV_RUNNING)
        lx_finish(op, VI_ESTATE, "the guest is %s", hv_state_name(state));
    else
        lx_started(op, libxl_domain_shutdown(op->lx->ctx, op->domid, lx_how(op, ended)), "asking it to power off");
}

void lx_step_destroy(struct lx_op *op)
{
    enum hv_guest_state state;

    if (!lx_guest_state(op, &state, NULL) || !lx_alone(op))
        return;
    lx_started(op, libxl_domain_destroy(op->lx->ctx, op->domid, lx_how(op, ended)), "destroying");
}
