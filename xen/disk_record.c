/* A disk's record as text: one key and value a line, all of them, in this order. See disk_store.h. Pure. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"
#include "xen/disk_store.h"

#define HEAD "violin disk 1"

static const char *const kinds[] = {"true", "arriving", "old"};

bool disk_name_ok(const char *name)
{
    size_t n = strlen(name);
    if (n == 0 || n >= DISK_NAME - 16)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = name[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!plain && (i == 0 || !strchr("_.-", c)))
            return false;
    }
    return true;
}

void disk_device_name(const char *name, char out[DISK_NAME])
{
    snprintf(out, DISK_NAME, "violin-%.*s", DISK_NAME - 8, name);
}

static bool path_ok(const char *path)
{
    if (path[0] && path[0] != '/')
        return false;
    for (const char *p = path; *p; p++)
        if (*p <= ' ' || *p > '~')
            return false;
    return !strstr(path, "..");
}

static bool sensible(const struct disk_record *r)
{
    return disk_name_ok(r->name) && !vi_id_is_zero(&r->id) && (unsigned)r->kind <= DISK_OLD && r->sectors > 0 &&
           r->sectors <= DISK_SECTORS_MAX && r->generation > 0 && path_ok(r->below) &&
           (r->kind == DISK_TRUE || !vi_id_is_zero(&r->by));
}

int disk_record_encode(const struct disk_record *r, char *out, size_t cap)
{
    char id[VI_ID_TEXT], by[VI_ID_TEXT];
    int n;
    if (!sensible(r))
        return VI_EINVAL;
    n = snprintf(out, cap, HEAD "\nid %s\nname %s\nkind %s\nsectors %" PRIu64 "\ngeneration %" PRIu64 "\nby %s\nbelow %s\n",
                 vi_id_format(&r->id, id), r->name, kinds[r->kind], r->sectors, r->generation, vi_id_format(&r->by, by),
                 r->below);
    return n < 0 || (size_t)n >= cap ? VI_EFULL : n;
}

/* The value of the next line, which must have this key; NULL if it hasn't. */
static char *value(char **text, const char *key)
{
    char *line = strsep(text, "\n");
    size_t n = strlen(key);
    return line && *text && strncmp(line, key, n) == 0 && line[n] == ' ' ? line + n + 1 : NULL;
}

static bool number(const char *text, uint64_t *out)
{
    int used = 0;
    return text && text[0] >= '0' && text[0] <= '9' && strlen(text) < 19 && sscanf(text, "%" SCNu64 "%n", out, &used) == 1 &&
           text[used] == '\0';
}

static bool word(const char *text, char *out, size_t cap)
{
    return text && (size_t)snprintf(out, cap, "%s", text) < cap;
}

static bool kind(const char *text, enum disk_kind *out)
{
    for (unsigned i = 0; text && i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(text, kinds[i]) == 0) {
            *out = (enum disk_kind)i;
            return true;
        }
    return false;
}

static bool id_of(const char *text, struct vi_id *out)
{
    return text && strlen(text) == VI_ID_TEXT - 1 && vi_id_parse(out, text) == 0;
}

int disk_record_decode(struct disk_record *r, const char *text, size_t len)
{
    char copy[DISK_RECORD_MAX], *at = copy, *head;
    memset(r, 0, sizeof *r);
    if (len >= sizeof copy || memchr(text, 0, len))
        return VI_EPROTO;
    memcpy(copy, text, len);
    copy[len] = '\0';
    head = strsep(&at, "\n");
    if (strcmp(head, HEAD) != 0 || !at)
        return VI_EPROTO;
    if (!id_of(value(&at, "id"), &r->id) || !word(value(&at, "name"), r->name, sizeof r->name) ||
        !kind(value(&at, "kind"), &r->kind) || !number(value(&at, "sectors"), &r->sectors) ||
        !number(value(&at, "generation"), &r->generation) || !id_of(value(&at, "by"), &r->by) ||
        !word(value(&at, "below"), r->below, sizeof r->below) || at[0] != '\0' || !sensible(r)) {
        memset(r, 0, sizeof *r);
        return VI_EPROTO;
    }
    return 0;
}
