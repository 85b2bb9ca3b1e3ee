/* What an environment's guests are made from, and what that makes of each of them. Pure. See envmake.h. */
#include "peer/envmake.h"

#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"

#define MEMORY_MIN (16 * 1024) /* KiB */
#define MEMORY_MAX ((uint64_t)1 << 32)
#define VCPUS_MAX  128
#define HEAD_HOST  1  /* in the guests' network */
#define FIRST_HOST 10 /* … and of the others: this + number */

/* Nothing that a shell, libxl or a kernel takes for something else. */
static bool cmdline_ok(const char *s)
{
    if (!memchr(s, 0, ENVMAKE_CMDLINE))
        return false;
    for (; *s; s++) {
        bool alnum = (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || (*s >= '0' && *s <= '9');
        if (*s == '%' && !strchr("nNap%", s[1]))
            return false;
        if (*s == '%' && s[1])
            s++;
        else if (*s == '%' || (!alnum && !strchr(" =,.:/_+@-[]", *s)))
            return false;
    }
    return true;
}

static bool sizes_ok(const struct envmake_spec *s)
{
    for (unsigned i = 0; i < s->n_disks; i++)
        if (s->sectors[i] > DISK_SECTORS_MAX)
            return false;
    return true;
}

int envmake_spec_check(const struct envmake_spec *s, char *why, size_t cap)
{
    const char *bad = NULL;
    if (s->vcpus < 1 || s->vcpus > VCPUS_MAX)
        bad = "vcpus: 1 to 128";
    else if (s->kb < MEMORY_MIN || s->kb > s->max_kb || s->max_kb > MEMORY_MAX)
        bad = "memory: 16 MiB to max-memory, which is at most 4 TiB";
    else if (s->weight < 1 || s->weight > 65535)
        bad = "weight: 1 to 65535";
    else if (s->n_disks > ENVMAKE_DISKS)
        bad = "at most 4 images and disks";
    else if (!sizes_ok(s))
        bad = "a disk: at most 2 TiB";
    else if (!cmdline_ok(s->cmdline))
        bad = "command line: at most 191 letters, digits, blanks and =,.:/_+@-[], and %n %N %a %p %%";
    else if (s->net && (s->prefix < 8 || s->prefix > 25 || s->net4[0] == 0 || s->net4[0] >= 224))
        bad = "network: an IPv4 network with a prefix from 8 to 25";
    if (!bad)
        return 0;
    snprintf(why, cap, "%s", bad);
    return VI_EINVAL;
}

void envmake_mac(const struct vi_id *env, unsigned number, uint8_t mac[6])
{
    struct vi_id h;
    vi_id_hash(&h, "violin guest's MAC", env->b, VI_ID_SIZE, NULL, 0);
    mac[0] = 0x06; /* locally administered (IEEE 802-2014, 8.4), unicast; Xen's own 00:16:3e stays free for people */
    memcpy(mac + 1, h.b, 4);
    mac[5] = (uint8_t)number;
}

void envmake_guest_name(const char *env_name, unsigned number, char out[HV_NAME_MAX])
{
    if (number == 0)
        snprintf(out, HV_NAME_MAX, "%.*s-head", HV_NAME_MAX - 8, env_name);
    else
        snprintf(out, HV_NAME_MAX, "%.*s-%u", HV_NAME_MAX - 8, env_name, number & 255);
}

struct text {
    char *out;
    size_t at, cap;
};

static void add(struct text *t, const char *s)
{
    size_t n = strlen(s);
    if (t->at + n >= t->cap) {
        t->at = t->cap; /* too long: seen at the end */
        return;
    }
    memcpy(t->out + t->at, s, n + 1);
    t->at += n;
}

static void address(const struct envmake_spec *s, unsigned number, char out[16])
{
    uint32_t host = number ? FIRST_HOST + number : HEAD_HOST;
    uint32_t net = (uint32_t)s->net4[0] << 24 | (uint32_t)s->net4[1] << 16 | (uint32_t)s->net4[2] << 8 | s->net4[3];
    uint32_t a = (net & (UINT32_MAX << (32 - s->prefix))) + host;
    snprintf(out, 16, "%u.%u.%u.%u", a >> 24 & 255, a >> 16 & 255, a >> 8 & 255, a & 255);
}

/* The command line with its % replaced, then what violin says to every guest that it makes. */
static int cmdline(const struct envmake_spec *s, const char *name, unsigned number, char *out, size_t cap)
{
    struct text t = {.out = out, .cap = cap};
    char n[16], p[16], a[16] = "", one[2] = "";
    out[0] = '\0';
    snprintf(n, sizeof n, "%u", number);
    snprintf(p, sizeof p, "%u", s->prefix);
    if (s->net)
        address(s, number, a);
    for (const char *c = s->cmdline; *c; c++) {
        one[0] = *c;
        if (*c != '%') {
            add(&t, one);
            continue;
        }
        c++;
        add(&t, *c == 'n' ? n : *c == 'N' ? name : *c == 'a' ? a : *c == 'p' ? p : "%");
    }
    if (s->cmdline[0])
        add(&t, " ");
    add(&t, "violin.name=");
    add(&t, name);
    if (s->n_disks && s->sectors[0] == 0)
        add(&t, " violin.root=tmpfs"); /* it is read-only: what is written stays in memory */
    if (s->net) {
        add(&t, " violin.address=");
        add(&t, a);
        add(&t, "/");
        add(&t, p);
    }
    return t.at < t.cap ? 0 : VI_EFULL;
}

int envmake_describe(const struct envmake_spec *s, const struct vi_id *job, const struct vi_id *env, const char *env_name,
                     unsigned number, struct hv_description *d)
{
    uint8_t n8 = (uint8_t)number, encoded[HV_DESCRIPTION_MAX];
    int n, most = ENVMAKE_DESCRIPTION;
    memset(d, 0, sizeof *d);
    if (number > ENVMAKE_GUESTS)
        return VI_EINVAL;
    vi_id_hash(&d->uuid, "violin guest", job->b, VI_ID_SIZE, &n8, 1);
    envmake_guest_name(env_name, number, d->name);
    d->type = HV_PVH;
    d->vcpus = s->vcpus;
    d->target_kb = s->kb;
    d->max_kb = s->max_kb;
    d->weight = s->weight;
    d->has_kernel = true;
    memcpy(d->kernel, s->kernel, HV_HASH_SIZE);
    d->has_ramdisk = s->has_ramdisk;
    if (s->has_ramdisk)
        memcpy(d->ramdisk, s->ramdisk, HV_HASH_SIZE);
    if (cmdline(s, d->name, number, d->cmdline, sizeof d->cmdline))
        return VI_EFULL;
    envmake_mac(env, number, d->vifs[0].mac);
    d->vifs[0].environment = *env;
    d->n_vifs = 1;
    if (number == 0) { /* its leg outside: no environment, its host's bridge for that */
        envmake_mac(env, 255, d->vifs[1].mac);
        d->n_vifs = 2;
    }
    for (unsigned i = 0; i < s->n_disks; i++) {
        struct hv_disk *k = &d->disks[d->n_disks++];
        snprintf(k->vdev, sizeof k->vdev, "xvd%c", (char)('a' + i));
        if (s->sectors[i]) {
            k->kind = HV_DISK_MOVABLE;
            envmake_disk_id(&d->uuid, i, &k->id);
            most -= 4; /* a question that names four of them is as long as one may be */
            continue;
        }
        k->kind = HV_DISK_IMAGE;
        k->readonly = true;
        memcpy(k->hash, s->disk[i], HV_HASH_SIZE);
    }
    d->on_poweroff = s->on_poweroff;
    d->on_reboot = s->on_reboot;
    d->on_crash = s->on_crash;
    d->kept = true;
    n = hv_description_encode(d, encoded, sizeof encoded);
    return n < 0 ? VI_EINVAL : n > most ? VI_EFULL : 0;
}
