/* This host's disks as people see them: which they are, how they stand, who has them. peer/rpc.md has the methods. */
#include "peer/daemon_disk_rpc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "peer/base/err.h"
#include "peer/daemon_envmake.h"
#include "peer/rpc_write.h"

#define NOT_YET "this host's disks aren't known yet; try again in a moment (violin status says what is wrong)"

int daemon_disk_rpc_open(struct daemon *d, char *why, size_t cap)
{
    d->disk_orders = calloc(1, sizeof *d->disk_orders);
    if (d->disk_orders)
        return 0;
    snprintf(why, cap, "out of memory");
    return VI_ENOMEM;
}

void daemon_disk_rpc_free(struct daemon *d)
{
    for (unsigned i = 0; d->disk_orders && i < DISK_QUESTIONS; i++)
        free(d->disk_orders->asking[i]); /* its questions were forgotten */
    free(d->disk_orders);
    d->disk_orders = NULL;
}

const struct disk_info *daemon_disk_named(struct daemon *d, struct rpc_call *call, const char *text)
{
    const struct daemon_disks *all = daemon_disks(d);
    const struct disk_info *k = all->known ? daemon_disk_by_name(d, text) : NULL;
    if (!all->ops)
        rpc_error(call, VI_EUNSUPPORTED, "this host has no disks of its own: its agent doesn't know of any");
    else if (!all->known)
        rpc_error(call, VI_EAGAIN, "%s", NOT_YET);
    else if (!k)
        rpc_error(call, VI_ENOTFOUND, "there is no disk `%.64s` on this host; `violin disk list` shows those that are", text);
    return k;
}

/* ---- who has it ---- */

static const char *kept_user(struct daemon *d, const struct vi_id *disk, char *out, size_t cap)
{
    static struct envmake_guest_view v;
    for (unsigned pos = 0; envmake_guest_next(d->envmake->core, &pos, &v);)
        for (unsigned i = 0; i < v.description.n_disks; i++)
            if (v.description.disks[i].kind == HV_DISK_MOVABLE && vi_id_equal(&v.description.disks[i].id, disk)) {
                snprintf(out, cap, "%s (%s)", v.description.name, v.state);
                return out;
            }
    return out;
}

const char *daemon_disk_user(struct daemon *d, const struct vi_id *disk, char *out, size_t cap)
{
    const struct hv_guest *g = daemon_disk_guest(d, disk);
    out[0] = '\0';
    if (!g)
        return kept_user(d, disk, out, cap);
    snprintf(out, cap, "%s", g->name);
    return out;
}

/* ---- how it stands ---- */

static bool move_of(struct daemon *d, const struct vi_id *disk, struct handover_view *v)
{
    for (unsigned pos = 0; handover_next(d->handovers, &pos, v);)
        for (unsigned i = 0; !v->over && i < v->guest->n_disks; i++)
            if (vi_id_equal(&v->guest->disks[i].id, disk))
                return true;
    return false;
}

/* How far the disks of that guest are, all together: ", 41 %". What is built on an old copy, only its source knows. */
static const char *how_far(struct daemon *d, const struct handover_view *v, char out[32])
{
    bool source = v->role == HANDOVER_SOURCE, base = false;
    struct disk_figures f;
    uint64_t all = 0, done;
    for (unsigned i = 0; i < v->guest->n_disks; i++) {
        all += v->guest->disks[i].sectors;
        base |= v->guest->disks[i].base;
    }
    daemon_disk_figures(d, &v->id, &f);
    done = source ? f.in_sync : f.bytes / 512;
    out[0] = '\0';
    if (!f.copying || !all)
        return out;
    if (!source && done >= all)
        done = all - 1; /* it has heads and answers in it, and blocks that were written twice */
    if (source || !base)
        snprintf(out, 32, ", %llu %%", (unsigned long long)(100 * (done < all ? done : all) / all));
    else
        snprintf(out, 32, ", %llu MiB so far", (unsigned long long)(f.bytes >> 20));
    return out;
}

/* The time of day, or the day if that isn't today. */
static const char *when(int64_t since, char out[24])
{
    time_t t = (time_t)since, now = time(NULL);
    struct tm then, today;
    out[0] = '\0';
    if (since <= 0 || !localtime_r(&t, &then) || !localtime_r(&now, &today))
        return out;
    strftime(out, 24, then.tm_year == today.tm_year && then.tm_yday == today.tm_yday ? "%H:%M" : "%Y-%m-%d %H:%M", &then);
    return out;
}

const char *daemon_disk_kind_text(enum disk_kind kind, int64_t since, bool adopted, char *out, size_t cap)
{
    char at[24];
    when(since, at);
    switch (kind) {
    case DISK_TRUE:
        snprintf(out, cap, "true copy");
        break;
    case DISK_ARRIVING:
        snprintf(out, cap, "arriving");
        break;
    case DISK_OLD:
        snprintf(out, cap, "old copy%s%s, kept as a base%s", at[0] ? ", of " : "", at,
                 adopted ? "" : " until its room is needed");
        break;
    }
    return out;
}

/* Where the handover that left it here has taken the disk; also to another domain, whose hosts nobody here can ask. */
static bool went(struct daemon *d, const struct disk_info *k, char *out, size_t cap)
{
    struct handover_view v;
    char at[24];
    if (k->record.kind != DISK_OLD || !handover_find(d->handovers, &k->record.by, &v) || v.role != HANDOVER_SOURCE)
        return false;
    when(k->since, at);
    snprintf(out, cap, "old copy%s%s; it went to %s", at[0] ? ", of " : "", at, daemon_member_name(d, &v.peer));
    return true;
}

const char *daemon_disk_state(struct daemon *d, const struct disk_info *k, char *out, size_t cap)
{
    struct handover_view v;
    bool moves = k->record.kind != DISK_OLD && move_of(d, &k->record.id, &v);
    char far[32] = "";
    size_t at;
    if (went(d, k, out, cap))
        return out;
    daemon_disk_kind_text(k->record.kind, k->since, k->record.below[0] != '\0', out, cap);
    at = strlen(out);
    if (moves)
        how_far(d, &v, far);
    if (moves && v.role == HANDOVER_SOURCE)
        snprintf(out + at, cap - at, ", being moved to %s%s", daemon_member_name(d, &v.peer), far);
    else if (moves)
        snprintf(out + at, cap - at, "%s from %s%s", k->record.kind == DISK_ARRIVING ? "" : ", come",
                 daemon_member_name(d, &v.peer), far);
    else if (k->record.kind == DISK_ARRIVING)
        snprintf(out + at, cap - at, ", and no move of it is known any more");
    return out;
}

/* ---- shown ---- */

static const char *kind_word(enum disk_kind k)
{
    return k == DISK_TRUE ? "true" : k == DISK_ARRIVING ? "arriving" : "old";
}

unsigned daemon_disk_fields(struct daemon *d, const struct disk_info *k)
{
    char user[HV_NAME_MAX + 32];
    return 7U + (k->device[0] != 0) + (k->record.below[0] != 0) + (k->since > 0) +
           (daemon_disk_user(d, &k->record.id, user, sizeof user)[0] != 0);
}

void daemon_disk_write(struct daemon *d, struct vi_writer *w, const struct disk_info *k)
{
    char id[VI_ID_TEXT], state[200], user[HV_NAME_MAX + 32];
    put_text(w, "name", k->record.name);
    put_text(w, "id", vi_id_format(&k->record.id, id));
    put_uint(w, "size", k->record.sectors * 512);
    put_text(w, "kind", kind_word(k->record.kind));
    put_text(w, "state", daemon_disk_state(d, k, state, sizeof state));
    put_uint(w, "generation", k->record.generation);
    put_bool(w, "busy", k->busy);
    if (k->device[0])
        put_text(w, "device", k->device);
    if (k->record.below[0])
        put_text(w, "adopted", k->record.below);
    if (k->since > 0)
        put_number(w, "since", (double)k->since);
    if (daemon_disk_user(d, &k->record.id, user, sizeof user)[0])
        put_text(w, "guest", user);
}

void daemon_do_disk_list(void *arg, struct rpc_call *call, struct vi_reader *params)
{
    struct daemon *d = arg;
    const struct daemon_disks *all = daemon_disks(d);
    uint64_t promised = daemon_disks_promised(d) + envmake_disks_promised(d->envmake->core, NULL);
    struct vi_writer *w;
    (void)params;
    if (all->ops && !all->known) {
        rpc_error(call, VI_EAGAIN, "%s", NOT_YET);
        return;
    }
    w = rpc_begin(call, RPC_RESULT_MAX);
    if (!w)
        return;
    vi_write_map(w, 2);
    put_uint(w, "room", all->known && all->room > promised ? (all->room - promised) * 512 : 0);
    vi_write_str(w, "disks");
    vi_write_array(w, all->n);
    for (unsigned i = 0; i < all->n; i++) {
        vi_write_map(w, daemon_disk_fields(d, &all->disk[i]));
        daemon_disk_write(d, w, &all->disk[i]);
    }
    rpc_end(call);
}
