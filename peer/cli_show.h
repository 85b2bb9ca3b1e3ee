/* Results for people (tables, lists) and for programs (JSON). */
#ifndef PEER_CLI_SHOW_H
#define PEER_CLI_SHOW_H

#include <msgpack.h>
#include <stdbool.h>

enum cli_format {
    CLI_TEXT,   /* as it is */
    CLI_COUNT,  /* an integer */
    CLI_MIB,    /* mebibytes */
    CLI_PERCENT, /* of one CPU, or of a whole */
    CLI_RATIO,  /* 0…1, shown as percent */
    CLI_SECONDS, /* a duration */
    CLI_TIME,   /* seconds since 1970, shown as local time of day */
    CLI_YESNO,
    CLI_SHORT_ID, /* the first eight digits */
    CLI_BYTES
};

struct cli_field {
    const char *key, *heading;
    enum cli_format format;
};

/* A value in a map, or NULL. A dotted key goes into inner maps. */
const msgpack_object *cli_get(const msgpack_object *map, const char *key);
bool cli_get_text(const msgpack_object *map, const char *key, char *out, size_t cap);
double cli_get_number(const msgpack_object *map, const char *key, double otherwise);

/* One value; nothing known is "-". Returns out. Control characters become '?'. */
char *cli_format_value(const msgpack_object *v, enum cli_format f, char *out, size_t cap);

#define CLI_LINE 120 /* characters of a line of a table or a history, at most; numbers apart */
/* Characters as people count them: UTF-8 continuation bytes take no room. */
int cli_width(const char *s);
/* In place: one that is longer is cut to width - 1 characters and an ellipsis. */
void cli_cut(char *s, int width);
/* An array of maps as a table; `none` is said when it is empty. fields ends with a NULL key. A line that would be too long loses columns
 * that say nothing, then its longest words are cut: JSON has them whole. */
void cli_table(const msgpack_object *rows, const struct cli_field *fields, const char *none);
/* A map as lines "heading: value"; fields that aren't there are left out. */
void cli_list(const msgpack_object *map, const struct cli_field *fields);
void cli_json(const msgpack_object *v, bool newline);

#endif
