/* A file that says what an environment shall be. See envfile.h. */
#include "peer/envfile.h"

#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"

enum kind { TEXT, WHOLE, MEMORY, YESNO, HEAD, DISK, ACTION };

static const struct key {
    const char *name;
    enum kind kind;
    size_t at;
    uint64_t least, most;
} keys[] = {
#define AT(f) offsetof(struct envfile, f)
    {"name", TEXT, AT(name), 0, 0},
    {"guests", WHOLE, AT(guests), 0, 64},
    {"head", HEAD, 0, 0, 0},
    {"kernel", TEXT, AT(kernel), 0, 0},
    {"ramdisk", TEXT, AT(ramdisk), 0, 0},
    {"image", DISK, ENVFILE_IMAGE, 0, 0},
    {"copy", DISK, ENVFILE_COPY, 0, 0},
    {"disk", DISK, ENVFILE_EMPTY, 0, 0},
    {"memory", MEMORY, AT(memory), 16, 1048576},
    {"max-memory", MEMORY, AT(max_memory), 16, 1048576},
    {"vcpus", WHOLE, AT(vcpus), 1, 128},
    {"weight", WHOLE, AT(weight), 1, 65535},
    {"command-line", TEXT, AT(cmdline), 0, 0},
    {"network", TEXT, AT(network), 0, 0},
    {"on-poweroff", ACTION, AT(on_poweroff), 0, 0},
    {"on-reboot", ACTION, AT(on_reboot), 0, 0},
    {"on-crash", ACTION, AT(on_crash), 0, 0},
    {"shares", WHOLE, AT(shares), 1, 10000},
    {"priority", WHOLE, AT(priority), 0, 100},
    {"strict", YESNO, AT(strict), 0, 0},
    {"spread", YESNO, AT(spread), 0, 0},
};
#define KEYS (sizeof keys / sizeof *keys)

void envfile_defaults(struct envfile *f)
{
    memset(f, 0, sizeof *f);
    f->memory = 256;
    f->vcpus = 1;
    f->weight = 256;
    f->shares = 100;
    f->priority = ENVFILE_UNSAID;
}

static int whole(const char *s, const struct key *k, uint64_t *out)
{
    uint64_t n = 0;
    if (!*s || strlen(s) > 9)
        return VI_EINVAL;
    for (; *s; s++) {
        if (*s < '0' || *s > '9')
            return VI_EINVAL;
        n = n * 10 + (uint64_t)(*s - '0');
    }
    if (n < k->least || n > k->most)
        return VI_EINVAL;
    *out = n;
    return 0;
}

/* MiB, as they are or with a unit. */
static int memory(const char *s, const struct key *k, uint64_t *out)
{
    uint64_t mib;
    if (!envfile_size(s, &mib))
        return whole(s, k, out);
    if (mib < k->least || mib > k->most)
        return VI_EINVAL;
    *out = mib;
    return 0;
}

static int yesno(const char *s, bool *out)
{
    if (strcmp(s, "yes") != 0 && strcmp(s, "no") != 0)
        return VI_EINVAL;
    *out = s[0] == 'y';
    return 0;
}

bool envfile_size(const char *text, uint64_t *mib)
{
    static const struct {
        char unit;
        uint64_t mib;
    } units[] = {{'M', 1}, {'G', 1024}, {'T', 1024 * 1024}};
    uint64_t n = 0;
    size_t i = 0;
    while (text[i] >= '0' && text[i] <= '9' && i < 8)
        n = n * 10 + (uint64_t)(text[i++] - '0');
    if (i == 0 || !text[i] || text[i + 1])
        return false;
    for (unsigned u = 0; u < sizeof units / sizeof *units; u++)
        if (text[i] == units[u].unit || text[i] == units[u].unit + ('a' - 'A')) {
            *mib = n * units[u].mib;
            return *mib > 0 && *mib <= ENVFILE_MIB_MAX;
        }
    return false;
}

/* Names of images have no comma and no equals sign: the order to the peer has them between. */
static bool image_ok(const char *name)
{
    return name[0] && !strpbrk(name, ",=");
}

bool envfile_copy(struct envfile_disk *d, const char *text)
{
    const char *colon = strrchr(text, ':');
    size_t n = colon ? (size_t)(colon - text) : strlen(text);
    memset(d, 0, sizeof *d);
    d->kind = ENVFILE_COPY;
    if (n >= sizeof d->image || (colon && !envfile_size(colon + 1, &d->mib)))
        return false;
    memcpy(d->image, text, n);
    return image_ok(d->image);
}

static int set_disk(struct envfile *f, enum envfile_kind kind, const char *value, char *why, size_t cap)
{
    struct envfile_disk d = {.kind = kind};
    if (f->n_disks == ENVFILE_DISKS) {
        snprintf(why, cap, "image, copy, disk: at most %d of a guest", ENVFILE_DISKS);
        return VI_EINVAL;
    }
    if (kind == ENVFILE_COPY ? envfile_copy(&d, value) : kind == ENVFILE_EMPTY ? envfile_size(value, &d.mib) : image_ok(value)) {
        if (kind == ENVFILE_IMAGE)
            snprintf(d.image, sizeof d.image, "%s", value);
        f->disk[f->n_disks++] = d;
        return 0;
    }
    if (kind == ENVFILE_IMAGE)
        snprintf(why, cap, "image: a name without a comma, or a hash");
    else if (kind == ENVFILE_COPY)
        snprintf(why, cap, "copy: an image, or an image and a size, like root.img:4G; not `%.40s`", value);
    else
        snprintf(why, cap, "disk: a size like 512M or 10G, at most 2T; not `%.40s`", value);
    return VI_EINVAL;
}

static int set_head(struct envfile *f, const char *value)
{
    f->head = strcmp(value, "no") != 0;
    f->head_host[0] = '\0';
    if (f->head && strcmp(value, "yes") != 0)
        snprintf(f->head_host, sizeof f->head_host, "%s", value);
    return value[0] ? 0 : VI_EINVAL;
}

int envfile_set(struct envfile *f, const char *key, const char *value, char *why, size_t cap)
{
    const struct key *k = keys;
    char *at;
    while (k < keys + KEYS && strcmp(k->name, key) != 0)
        k++;
    if (k == keys + KEYS) {
        snprintf(why, cap, "`%.40s` is no key of an environment's file", key);
        return VI_ENOTFOUND;
    }
    if (strlen(value) >= ENVFILE_TEXT) {
        snprintf(why, cap, "%s: at most %d characters", key, ENVFILE_TEXT - 1);
        return VI_EINVAL;
    }
    at = k->kind == DISK ? NULL : (char *)f + k->at; /* of a disk `at` is its kind */
    switch (k->kind) {
    case TEXT:
        snprintf(at, ENVFILE_TEXT, "%s", value);
        return 0;
    case WHOLE:
        snprintf(why, cap, "%s: a number from %llu to %llu, not `%.40s`", key, (unsigned long long)k->least,
                 (unsigned long long)k->most, value);
        return whole(value, k, (uint64_t *)(void *)at);
    case MEMORY:
        snprintf(why, cap, "%s: MiB from %llu to %llu, or like 512M or 2G, not `%.40s`", key, (unsigned long long)k->least,
                 (unsigned long long)k->most, value);
        return memory(value, k, (uint64_t *)(void *)at);
    case YESNO:
        snprintf(why, cap, "%s: yes or no, not `%.40s`", key, value);
        return yesno(value, (bool *)at);
    case HEAD:
        snprintf(why, cap, "head: yes, no, or a host's name");
        return set_head(f, value);
    case DISK:
        return set_disk(f, (enum envfile_kind)k->at, value, why, cap);
    case ACTION:
        snprintf(why, cap, "%s: destroy, restart or preserve, not `%.40s`", key, value);
        if (strcmp(value, "destroy") != 0 && strcmp(value, "restart") != 0 && strcmp(value, "preserve") != 0)
            return VI_EINVAL;
        snprintf(at, ENVFILE_TEXT, "%s", value);
        return 0;
    }
    return VI_EINVAL;
}

int envfile_check(const struct envfile *f, char *why, size_t cap)
{
    const char *bad = NULL;
    if (!f->name[0])
        bad = "name is missing";
    else if (!f->kernel[0])
        bad = "kernel is missing: an image's name, a file's in image-dirs, or its hash";
    else if (f->guests == 0 && !f->head)
        bad = "guests is missing, or 0 without a head";
    else if (f->max_memory && f->max_memory < f->memory)
        bad = "max-memory is less than memory";
    else if (f->spread && f->guests > ENVFILE_SPREAD)
        bad = "spread is for 16 guests at most";
    if (!bad)
        return 0;
    snprintf(why, cap, "%s", bad);
    return VI_EINVAL;
}

/* ---- reading ---- */

struct line {
    const char *at, *end;
};

static void blanks(struct line *l)
{
    while (l->at < l->end && (*l->at == ' ' || *l->at == '\t' || *l->at == '\r'))
        l->at++;
}

static bool ends(struct line *l)
{
    blanks(l);
    return l->at == l->end || *l->at == '#';
}

static bool one(struct line *l, char c)
{
    blanks(l);
    if (l->at == l->end || *l->at != c)
        return false;
    l->at++;
    return true;
}

/* A word, or what is between two quotes. */
static bool value(struct line *l, char out[ENVFILE_TEXT])
{
    const char *from;
    size_t n;
    bool quoted = one(l, '"');
    from = l->at;
    while (l->at < l->end && (quoted ? *l->at != '"' : !strchr(" \t\r#,{}=\"", *l->at)))
        l->at++;
    n = (size_t)(l->at - from);
    if ((quoted && !one(l, '"')) || (!quoted && n == 0) || n >= ENVFILE_TEXT)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)from[i] < 0x20 || from[i] == 0x7f)
            return false;
    memcpy(out, from, n);
    out[n] = '\0';
    return true;
}

static int read_line(struct envfile *f, struct line l, char *why, size_t cap)
{
    char key[ENVFILE_TEXT], text[ENVFILE_TEXT];
    int err = 0;
    if (ends(&l))
        return 0;
    snprintf(why, cap, "should be like key = value, key = \"a value\" or key = {\"one\", \"two\"}");
    if (!value(&l, key) || !one(&l, '='))
        return VI_EINVAL;
    if (!one(&l, '{')) {
        if (!value(&l, text) || !ends(&l))
            return VI_EINVAL;
        return envfile_set(f, key, text, why, cap);
    }
    while (!err && !one(&l, '}')) {
        if (!value(&l, text))
            return VI_EINVAL;
        err = strcmp(key, "image") && strcmp(key, "copy") && strcmp(key, "disk") ? VI_EINVAL : envfile_set(f, key, text, why, cap);
        if (!err && !one(&l, ',')) {
            if (!one(&l, '}'))
                return VI_EINVAL;
            break;
        }
    }
    return err ? err : ends(&l) ? 0 : VI_EINVAL;
}

int envfile_parse(struct envfile *f, const char *text, size_t len, const char *name, char *why, size_t cap)
{
    char what[ENVFILE_TEXT + 100] = "";
    unsigned line = 0;
    envfile_defaults(f);
    if (len > ENVFILE_MAX) {
        snprintf(why, cap, "%s: longer than %d bytes", name, ENVFILE_MAX);
        return VI_EINVAL;
    }
    while (len > 0) {
        const char *nl = memchr(text, '\n', len);
        size_t n = nl ? (size_t)(nl - text) : len;
        line++;
        if (read_line(f, (struct line){text, text + n}, what, sizeof what)) {
            snprintf(why, cap, "%s:%u: %s", name, line, what);
            return VI_EINVAL;
        }
        n += nl != NULL;
        text += n;
        len -= n;
    }
    if (envfile_check(f, what, sizeof what)) {
        snprintf(why, cap, "%s: %s", name, what);
        return VI_EINVAL;
    }
    return 0;
}
