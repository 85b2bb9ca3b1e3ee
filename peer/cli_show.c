/* Tables, lists, JSON. See cli_show.h. */
#include "peer/cli_show.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define COLUMNS_MAX 16
#define CELL        160
#define WORD_LEAST  8   /* … but not to less */

static const msgpack_object *get_n(const msgpack_object *map, const char *key, size_t n)
{
    if (!map || map->type != MSGPACK_OBJECT_MAP)
        return NULL;
    for (uint32_t i = 0; i < map->via.map.size; i++) {
        const msgpack_object_kv *kv = &map->via.map.ptr[i];
        if (kv->key.type == MSGPACK_OBJECT_STR && kv->key.via.str.size == n &&
            !memcmp(kv->key.via.str.ptr, key, n))
            return &kv->val;
    }
    return NULL;
}

const msgpack_object *cli_get(const msgpack_object *map, const char *key)
{
    const char *dot;
    while ((dot = strchr(key, '.'))) {
        map = get_n(map, key, (size_t)(dot - key));
        key = dot + 1;
    }
    return get_n(map, key, strlen(key));
}

bool cli_get_text(const msgpack_object *map, const char *key, char *out, size_t cap)
{
    const msgpack_object *v = cli_get(map, key);
    cli_format_value(v, CLI_TEXT, out, cap);
    return v != NULL;
}

static bool as_number(const msgpack_object *v, double *out)
{
    if (!v)
        return false;
    switch (v->type) {
    case MSGPACK_OBJECT_POSITIVE_INTEGER: *out = (double)v->via.u64; return true;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER: *out = (double)v->via.i64; return true;
    case MSGPACK_OBJECT_FLOAT32: case MSGPACK_OBJECT_FLOAT64: *out = v->via.f64; return true;
    case MSGPACK_OBJECT_BOOLEAN: *out = v->via.boolean ? 1 : 0; return true;
    default: return false;
    }
}

double cli_get_number(const msgpack_object *map, const char *key, double otherwise)
{
    double d;
    return as_number(cli_get(map, key), &d) ? d : otherwise;
}

static void format_duration(double s, char *out, size_t cap)
{
    if (s < 100)
        snprintf(out, cap, "%.0f s", s);
    else if (s < 6000)
        snprintf(out, cap, "%.0f min", s / 60);
    else if (s < 48 * 3600)
        snprintf(out, cap, "%.1f h", s / 3600);
    else
        snprintf(out, cap, "%.1f d", s / 86400);
}

static void format_bytes(double b, char *out, size_t cap)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    unsigned u = 0;
    while (b >= 10000 && u < 4) {
        b /= 1024;
        u++;
    }
    snprintf(out, cap, "%.0f %s", b, units[u]);
}

/* Of another day than today: with its date. */
static void format_time(double d, char *out, size_t cap)
{
    time_t t = d > -1e11 && d < 1e11 ? (time_t)d : 0, now = time(NULL);
    struct tm tm, today;
    if (t == 0 || !localtime_r(&t, &tm) || !localtime_r(&now, &today)) {
        snprintf(out, cap, "-");
        return;
    }
    bool same = tm.tm_yday == today.tm_yday && tm.tm_year == today.tm_year;
    if (!strftime(out, cap, same ? "%H:%M:%S" : "%Y-%m-%d %H:%M:%S", &tm))
        snprintf(out, cap, "-");
}

/* Bytes of the UTF-8 character at s (RFC 3629), 0 if there is none. */
static size_t utf8(const char *s, size_t n)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *u = (const unsigned char *)s;
    size_t len = u[0] < 0x80 ? 1 : u[0] >> 5 == 6 ? 2 : u[0] >> 4 == 14 ? 3 : u[0] >> 3 == 30 ? 4 : 0;
    uint32_t c = u[0] & (0xffU >> (len + 1));
    if (len < 2)
        return len;
    if (len > n)
        return 0;
    for (size_t i = 1; i < len; i++) {
        if ((u[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (u[i] & 0x3f);
    }
    return c < least[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : len;
}

/* Names come from other hosts: nothing that a terminal would obey gets through, whole characters only. */
static void clean_text(const char *s, size_t n, char *out, size_t cap)
{
    size_t at = 0;
    while (n > 0) {
        size_t len = utf8(s, n), take = len ? len : 1;
        bool control = len == 0 || (unsigned char)*s < 32 || *s == 127 ||
                       (len == 2 && *s == '\xc2' && (unsigned char)s[1] < 0xa0);
        if (at + (control ? 1 : take) >= cap)
            break;
        if (control) {
            out[at++] = '?';
        } else {
            memcpy(out + at, s, take);
            at += take;
        }
        s += take;
        n -= take;
    }
    out[at] = 0;
}

static void format_text(const msgpack_object *v, char *out, size_t cap)
{
    switch (v->type) {
    case MSGPACK_OBJECT_STR: clean_text(v->via.str.ptr, v->via.str.size, out, cap); break;
    case MSGPACK_OBJECT_BOOLEAN: snprintf(out, cap, "%s", v->via.boolean ? "yes" : "no"); break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER: snprintf(out, cap, "%" PRIu64, v->via.u64); break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER: snprintf(out, cap, "%" PRId64, v->via.i64); break;
    case MSGPACK_OBJECT_FLOAT32: case MSGPACK_OBJECT_FLOAT64: snprintf(out, cap, "%.6g", v->via.f64); break;
    case MSGPACK_OBJECT_ARRAY: {
        size_t at = 0;
        snprintf(out, cap, "%s", v->via.array.size ? "" : "-");
        for (uint32_t i = 0; i < v->via.array.size && at + 4 < cap; i++) {
            char one[CELL];
            format_text(&v->via.array.ptr[i], one, sizeof one);
            at += (size_t)snprintf(out + at, cap - at, "%s%s", i ? ", " : "", one);
        }
        break;
    }
    default: snprintf(out, cap, "-");
    }
}

char *cli_format_value(const msgpack_object *v, enum cli_format f, char *out, size_t cap)
{
    double d;
    if (!v || v->type == MSGPACK_OBJECT_NIL) {
        snprintf(out, cap, "-");
        return out;
    }
    if (f == CLI_TEXT || f == CLI_SHORT_ID || !as_number(v, &d)) {
        format_text(v, out, cap);
        if (f == CLI_SHORT_ID && cap > 8)
            out[8] = 0;
        return out;
    }
    switch (f) {
    case CLI_MIB: snprintf(out, cap, "%.0f MiB", d); break;
    case CLI_PERCENT: snprintf(out, cap, "%.0f %%", d); break;
    case CLI_RATIO: snprintf(out, cap, "%.0f %%", d * 100); break;
    case CLI_SECONDS: format_duration(d, out, cap); break;
    case CLI_BYTES: format_bytes(d, out, cap); break;
    case CLI_YESNO: snprintf(out, cap, "%s", d != 0 ? "yes" : "no"); break;
    case CLI_TIME: format_time(d, out, cap); break;
    default: snprintf(out, cap, "%.0f", d);
    }
    return out;
}

int cli_width(const char *s)
{
    int n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

void cli_cut(char *s, int width)
{
    int n = 0;
    while (*s && n < width) /* to the first byte of the character that is replaced */
        if (((unsigned char)*s++ & 0xc0) != 0x80 && ++n == width)
            strcpy(s - 1, "…");
}

static void print_cell(char *s, int width, bool right, bool last)
{
    int pad = width - cli_width(s);
    if (pad < 0) {
        cli_cut(s, width);
        pad = 0;
    }
    if (right)
        printf("%*s%s%s", pad, "", s, last ? "\n" : "  ");
    else if (last)
        printf("%s\n", s);
    else
        printf("%s%*s  ", s, pad, "");
}

/* An empty word would look like a column that is missing. */
static char *cell_of(const msgpack_object *row, const struct cli_field *f, char *out, size_t cap)
{
    if (!*cli_format_value(cli_get(row, f->key), f->format, out, cap))
        snprintf(out, cap, "-");
    return out;
}

static bool is_words(const struct cli_field *f)
{
    return f->format == CLI_TEXT;
}

static int line_of(const int *width, unsigned n)
{
    int sum = 0;
    for (unsigned c = 0; c < n; c++)
        sum += width[c] ? width[c] + 2 : 0;
    return sum - 2;
}

/* What a line hasn't room for: columns in which nothing is said go first, then the widest words get shorter. */
static void fit(const msgpack_object *rows, const struct cli_field *fields, int *width, unsigned n)
{
    char cell[CELL];
    for (unsigned c = n; c-- > 0 && line_of(width, n) > CLI_LINE;) {
        bool said = false;
        for (uint32_t i = 0; i < rows->via.array.size; i++)
            said |= strcmp(cell_of(&rows->via.array.ptr[i], &fields[c], cell, sizeof cell), "-") != 0;
        width[c] = said ? width[c] : 0;
    }
    while (line_of(width, n) > CLI_LINE) {
        unsigned widest = n;
        for (unsigned c = 0; c < n; c++)
            if (is_words(&fields[c]) && width[c] > WORD_LEAST && width[c] > cli_width(fields[c].heading) &&
                (widest == n || width[c] > width[widest]))
                widest = c;
        if (widest == n)
            return; /* numbers aren't cut */
        width[widest]--;
    }
}

static void print_row(const msgpack_object *row, const struct cli_field *fields, const int *width, unsigned n)
{
    unsigned last = n;
    char cell[CELL];
    while (last > 0 && !width[last - 1])
        last--;
    for (unsigned c = 0; c < last; c++) {
        bool left = is_words(&fields[c]) || fields[c].format == CLI_SHORT_ID;
        if (!width[c])
            continue;
        if (row)
            cell_of(row, &fields[c], cell, sizeof cell);
        else
            snprintf(cell, sizeof cell, "%s", fields[c].heading);
        print_cell(cell, width[c], !left, c == last - 1);
    }
}

void cli_table(const msgpack_object *rows, const struct cli_field *fields, const char *none)
{
    int width[COLUMNS_MAX] = {0};
    unsigned n = 0;
    char cell[CELL];
    if (rows->type != MSGPACK_OBJECT_ARRAY || rows->via.array.size == 0) {
        printf("%s\n", none);
        return;
    }
    while (fields[n].key && n < COLUMNS_MAX) {
        width[n] = cli_width(fields[n].heading);
        for (uint32_t i = 0; i < rows->via.array.size; i++) {
            int w = cli_width(cell_of(&rows->via.array.ptr[i], &fields[n], cell, sizeof cell));
            if (w > width[n])
                width[n] = w;
        }
        n++;
    }
    fit(rows, fields, width, n);
    print_row(NULL, fields, width, n);
    for (uint32_t i = 0; i < rows->via.array.size; i++)
        print_row(&rows->via.array.ptr[i], fields, width, n);
}

void cli_list(const msgpack_object *map, const struct cli_field *fields)
{
    char cell[1024];
    int width = 0;
    for (const struct cli_field *f = fields; f->key; f++)
        if (cli_get(map, f->key) && cli_width(f->heading) > width)
            width = cli_width(f->heading);
    for (const struct cli_field *f = fields; f->key; f++) {
        const msgpack_object *v = cli_get(map, f->key);
        if (v)
            printf("%s:%*s %s\n", f->heading, width - cli_width(f->heading), "",
                   cli_format_value(v, f->format, cell, sizeof cell));
    }
}

static void json_string(const char *s, size_t n)
{
    putchar('"');
    while (n > 0) {
        unsigned char c = (unsigned char)*s;
        size_t len = utf8(s, n);
        if (len == 0)
            fputs("\\ufffd", stdout); /* JSON is UTF-8; this byte isn't */
        else if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c < 32 || c == 127)
            printf("\\u%04x", c);
        else
            fwrite(s, 1, len, stdout);
        s += len ? len : 1;
        n -= len ? len : 1;
    }
    putchar('"');
}

static void json_value(const msgpack_object *v)
{
    switch (v->type) {
    case MSGPACK_OBJECT_BOOLEAN: fputs(v->via.boolean ? "true" : "false", stdout); break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER: printf("%" PRIu64, v->via.u64); break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER: printf("%" PRId64, v->via.i64); break;
    case MSGPACK_OBJECT_FLOAT32: case MSGPACK_OBJECT_FLOAT64:
        if (isfinite(v->via.f64))
            printf("%.15g", v->via.f64);
        else
            fputs("null", stdout);
        break;
    case MSGPACK_OBJECT_STR: json_string(v->via.str.ptr, v->via.str.size); break;
    case MSGPACK_OBJECT_BIN:
        putchar('"');
        for (uint32_t i = 0; i < v->via.bin.size; i++)
            printf("%02x", (unsigned char)v->via.bin.ptr[i]);
        putchar('"');
        break;
    case MSGPACK_OBJECT_ARRAY:
        putchar('[');
        for (uint32_t i = 0; i < v->via.array.size; i++) {
            if (i)
                putchar(',');
            json_value(&v->via.array.ptr[i]);
        }
        putchar(']');
        break;
    case MSGPACK_OBJECT_MAP:
        putchar('{');
        for (uint32_t i = 0; i < v->via.map.size; i++) {
            const msgpack_object_kv *kv = &v->via.map.ptr[i];
            if (i)
                putchar(',');
            if (kv->key.type == MSGPACK_OBJECT_STR)
                json_string(kv->key.via.str.ptr, kv->key.via.str.size);
            else
                fputs("\"?\"", stdout);
            putchar(':');
            json_value(&kv->val);
        }
        putchar('}');
        break;
    default: fputs("null", stdout);
    }
}

void cli_json(const msgpack_object *v, bool newline)
{
    json_value(v);
    if (newline)
        putchar('\n');
    fflush(stdout);
}
