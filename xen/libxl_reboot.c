/* What `xl create`'s monitor process does for a guest, done for the guests that have none: those
 * that were received here, or resumed after a suspend (their monitor ended at that).
 *
 * restart: configuration kept (memory and, if there is a state folder, a file) → destroy → create
 *          with the same configuration and UUID → mark `owned` → unpause → file removed.
 * If create fails it is tried again, later and later: memory of the old domain may still be being
 * scrubbed. If the agent dies in between, the next one finds the file and goes on from there; a
 * file of another boot of this host is removed, since the guest ended with that boot. A disk that moves with the guest is
 * known by its id meanwhile, in the lines of kept_disks.h: what is at its path may be another one by then. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "peer/base/log.h"
#include "xen/libxl_internal.h"

#define ATTEMPTS    8
#define CONFIG_MAX  (1 << 20)
#define FILE_PREFIX "reboot-"

static void create(struct lx_op *op);

static bool boot_text(char out[40])
{
    FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
    bool ok = f && fgets(out, 37, f);
    if (f)
        fclose(f);
    return ok;
}

static bool kept_path(const struct lx *lx, const struct vi_id *uuid, char *out, size_t cap)
{
    char boot[40], text[VI_UUID_TEXT];
    if (!lx->state_folder || !boot_text(boot))
        return false;
    return snprintf(out, cap, "%s/" FILE_PREFIX "%s.%s", lx->state_folder,
                    vi_uuid_format(uuid, text), boot) < (int)cap;
}

/* Written whole and synced before the guest is destroyed; a failure only costs the safety net. */
static void keep(struct lx_op *op)
{
    char path[512], tmp[520];
    char *json = libxl_domain_config_to_json(op->lx->ctx, &op->config);
    size_t len = json ? strlen(json) : 0;
    char disks[KEPT_DISKS_MAX];
    int n = kept_disks_encode(op->moving, op->n_moving, disks), fd = -1;

    if (!json || n < 0 || !kept_path(op->lx, &op->uuid, path, sizeof path))
        goto out;
    snprintf(tmp, sizeof tmp, "%s.new", path);
    fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || write(fd, disks, (size_t)n) != n || write(fd, json, len) != (ssize_t)len || fsync(fd) < 0 || rename(tmp, path) < 0)
        vi_log(VI_LOG_WARN, "xen", "%s: %s; a crash during this reboot would lose the guest", path,
               strerror(errno));
out:
    if (fd >= 0)
        close(fd);
    free(json);
}

static void forget(struct lx_op *op)
{
    char path[512];
    if (kept_path(op->lx, &op->uuid, path, sizeof path))
        unlink(path);
}

static void created(struct lx_op *op);

static void running_again(struct lx_op *op)
{
    if (op->rc)
        vi_log(VI_LOG_ERROR, "xen", "%s was created but not unpaused (libxl error %d)",
               op->config.c_info.name, op->rc);
    else
        vi_log(VI_LOG_INFO, "xen", "%s has rebooted as domain %u", op->config.c_info.name,
               op->domid);
    forget(op);
    lx_scan(op->lx, false);
    lx_finish(op, 0, "%s", "");
}

static void on_retry(uv_timer_t *t)
{
    struct lx_op *op = t->data;
    lx_queue(op, create);
}

static void created(struct lx_op *op)
{
    struct lx *lx = op->lx;

    if (op->rc == 0) {
        if (lx_mark_set(lx, op->domid, LX_MARK_OWNED))
            vi_log(VI_LOG_WARN, "xen", "domain %u: xenstore does not take the mark", op->domid);
        lx_started(op, libxl_domain_unpause(lx->ctx, op->domid, lx_how(op, running_again)),
                   "unpausing");
        return;
    }
    if (++op->attempts >= ATTEMPTS) {
        vi_log(VI_LOG_ERROR, "xen", "%s could not be started again (libxl error %d); given up",
               op->config.c_info.name, op->rc);
        lx_finish(op, VI_EIO, "given up");
        return;
    }
    if (!op->timer_open) {
        uv_timer_init(lx->loop, &op->timer);
        op->timer.data = op;
        op->timer_open = true;
    }
    uv_timer_start(&op->timer, on_retry, (uint64_t)1000 << op->attempts, 0);
}

static void create(struct lx_op *op)
{
    char why[160];
    int err = lx_disk_find_again(op, why, sizeof why);

    if (err) {
        vi_log(VI_LOG_ERROR, "xen", "%s isn't started again: %s", op->config.c_info.name, why);
        if (err == VI_ESTATE || err == VI_ENOTFOUND)
            forget(op);
        lx_finish(op, err, "%s", why);
        return;
    }
    op->domid = INVALID_DOMID_VALUE;
    op->config.c_info.domid = INVALID_DOMID_VALUE;
    op->rc = libxl_domain_create_new(op->lx->ctx, &op->config, &op->domid, lx_how(op, created),
                                     NULL);
    if (op->rc) {
        op->ao = false;
        created(op);
    }
}

static void destroyed(struct lx_op *op)
{
    if (op->rc) {
        vi_log(VI_LOG_ERROR, "xen", "domain %u could not be destroyed (libxl error %d)", op->domid,
               op->rc);
        lx_finish(op, VI_EIO, "not destroyed");
        return;
    }
    lx_scan(op->lx, false);
    if (!op->restart)
        lx_finish(op, 0, "%s", "");
    else
        create(op);
}

static bool astray(const char *path)
{
    return path && images_led_astray(path);
}

/* Its images were tested when it was made; the peer, which writes its own, may have put links in their place. */
static bool images_astray(const libxl_domain_config *c)
{
    bool bad = astray(c->b_info.kernel) || astray(c->b_info.ramdisk);
    for (int i = 0; i < c->num_disks; i++)
        bad = bad || (!c->disks[i].readwrite && astray(c->disks[i].pdev_path));
    return bad;
}

static void begin(struct lx_op *op)
{
    /* Between the event and now the guest may have been taken care of by somebody. */
    if (lx_lookup(op->lx, op->domid, &op->uuid, NULL) || lx_busy(op->lx, op->domid, op)) {
        struct lx_dom *dom = lx_find(op->lx, op->domid);
        if (dom)
            dom->acted = false; /* the next scan looks again */
        lx_finish(op, 0, "%s", "");
        return;
    }
    if (op->restart && images_astray(&op->config)) {
        vi_log(VI_LOG_ERROR, "xen", "%s isn't started again: links of another user are where its images were",
               op->config.c_info.name);
        lx_finish(op, VI_EAUTH, "its images are links");
        return;
    }
    op->exclusive = true;
    if (op->restart)
        keep(op);
    lx_started(op, libxl_domain_destroy(op->lx->ctx, op->domid, lx_how(op, destroyed)),
               "destroying");
}

static libxl_action_on_shutdown wanted(const libxl_domain_config *c, enum hv_reason reason)
{
    switch (reason) {
    case HV_REBOOT:   return c->on_reboot;
    case HV_CRASH:    return c->on_crash;
    case HV_WATCHDOG: return c->on_watchdog;
    default:          return c->on_poweroff;
    }
}

void lx_act(struct lx *lx, struct lx_dom *dom)
{
    struct lx_op *op = lx_op_new(lx, begin, LX_DONE, NULL);

    if (!op) {
        dom->acted = false; /* the next scan tries again */
        return;
    }
    op->domid = dom->domid;
    op->uuid = dom->uuid;
    libxl_domain_config_init(&op->config);
    op->config_set = true;
    if (libxl_retrieve_domain_configuration(lx->ctx, dom->domid, &op->config, NULL)) {
        vi_log(VI_LOG_ERROR, "xen", "%s: %s, but libxl does not know its configuration", dom->name,
               hv_reason_name(dom->reason));
        lx_finish(op, VI_EIO, "no configuration");
        return;
    }
    lx_disk_remember(op);
    enum hv_action action = lx_action(wanted(&op->config, dom->reason));
    vi_log(VI_LOG_INFO, "xen", "%s: %s, so it is %s", dom->name, hv_reason_name(dom->reason),
           action == HV_ACT_RESTART   ? "started again"
           : action == HV_ACT_DESTROY ? "destroyed"
                                      : "kept as it is");
    op->restart = action == HV_ACT_RESTART;
    if (action == HV_ACT_PRESERVE)
        lx_finish(op, 0, "%s", "");
}

/* ---- after a restart of the agent */

static char *read_whole(const char *path)
{
    char *text = malloc(CONFIG_MAX);
    FILE *f = fopen(path, "re");
    size_t n = text && f ? fread(text, 1, CONFIG_MAX - 1, f) : 0;

    if (f)
        fclose(f);
    if (!n) {
        free(text);
        return NULL;
    }
    text[n] = '\0';
    return text;
}

static void go_on(struct lx *lx, const char *path, const struct vi_id *uuid)
{
    char *text = read_whole(path);
    const char *json;
    struct lx_op *op = text ? lx_op_new(lx, create, LX_DONE, NULL) : NULL;
    struct lx_dom *half = NULL;

    for (unsigned i = 0; i < lx->n_doms; i++)
        if (vi_id_equal(&lx->doms[i].uuid, uuid))
            half = &lx->doms[i];
    if (!op)
        goto out;
    op->uuid = *uuid;
    op->restart = true;
    libxl_domain_config_init(&op->config);
    op->config_set = true;
    json = kept_disks_decode(op->moving, &op->n_moving, text);
    if (!json || libxl_domain_config_from_json(lx->ctx, &op->config, json)) {
        vi_log(VI_LOG_ERROR, "xen", "%s can't be read as a configuration", path);
        lx_finish(op, VI_EIO, "unreadable");
    } else if (half && (half->mark == LX_MARK_OWNED || half->state != HV_PAUSED)) {
        forget(op); /* not destroyed yet, or up again already: the scan looks after it */
        lx_finish(op, 0, "%s", "");
    } else if (half) {
        op->domid = half->domid; /* created in half */
        lx_queue(op, begin);
    } else {
        vi_log(VI_LOG_INFO, "xen", "%s: its reboot was interrupted; going on",
               op->config.c_info.name);
    }
out:
    free(text);
}

void lx_reboot_leftovers(struct lx *lx)
{
    char boot[40], path[512];
    struct dirent *e;
    DIR *dir = lx->state_folder ? opendir(lx->state_folder) : NULL;
    size_t prefix = strlen(FILE_PREFIX), uuid_len = VI_UUID_TEXT - 1;

    if (!dir || !boot_text(boot))
        goto out;
    while ((e = readdir(dir))) {
        struct vi_id uuid;
        char text[VI_UUID_TEXT];
        if (strncmp(e->d_name, FILE_PREFIX, prefix) != 0 ||
            strlen(e->d_name) < prefix + uuid_len + 1 ||
            snprintf(path, sizeof path, "%s/%s", lx->state_folder, e->d_name) >= (int)sizeof path)
            continue;
        memcpy(text, e->d_name + prefix, uuid_len);
        text[uuid_len] = '\0';
        if (strcmp(e->d_name + prefix + uuid_len + 1, boot) != 0 || vi_id_parse(&uuid, text))
            unlink(path);
        else
            go_on(lx, path, &uuid);
    }
out:
    if (dir)
        closedir(dir);
}
