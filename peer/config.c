/* The configuration's table, and what is done with it. See config.h. */
#include "peer/config.h"

#include <confuse.h>
#include <errno.h>
#include <stdint.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/err.h"

enum kind { TEXT, WORD, WHOLE, REAL, LIST };

struct key {
    const char *name;
    enum kind kind;
    size_t at;       /* in struct config */
    size_t count_at; /* LIST: of the number of entries */
    const char *text;     /* default of TEXT, WORD */
    double number;        /* default of WHOLE, REAL */
    double least, most;
    const char *words; /* WORD: allowed, separated by '|' */
    const char *unit, *what;
};

#define AT(f)                offsetof(struct config, f)
#define K_TEXT(n, f, d, w)   {n, TEXT, AT(f), 0, d, 0, 0, 0, NULL, NULL, w}
#define K_WORD(n, f, d, a, w) {n, WORD, AT(f), 0, d, 0, 0, 0, a, NULL, w}
#define K_WHOLE(n, f, d, lo, hi, u, w) {n, WHOLE, AT(f), 0, NULL, d, lo, hi, NULL, u, w}
#define K_REAL(n, f, d, lo, hi, u, w) {n, REAL, AT(f), 0, NULL, d, lo, hi, NULL, u, w}
#define K_LIST(n, f, c, w)   {n, LIST, AT(f), AT(c), NULL, 0, 0, 0, NULL, NULL, w}

static const struct key keys[] = {
    K_TEXT("state-dir", state_dir, "/var/lib/violin", "the peer's keys and its database"),
    K_TEXT("agent-dir", agent_dir, "/var/lib/violin-agent", "the agent's own state, root's: not the peer's"),
    K_TEXT("run-dir", run_dir, "/run/violin", "locks and sockets"),
    K_TEXT("socket", socket, "/run/violin/violin.sock", "the control socket"),
    K_TEXT("user", user, "violin", "the user that faces the network"),
    K_TEXT("group", group, "violin", "its group, whose members may read through the control socket"),
    K_TEXT("listen", listen, "0.0.0.0", "address to listen at, UDP and TCP; \"::\" for IPv6 and IPv4"),
    K_WHOLE("port", port, 7411, 1, 65535, NULL, "port, UDP and TCP"),
    K_TEXT("advertise", advertise, "", "address:port at which others reach this host; empty: found out"),
    K_LIST("seeds", seeds, n_seeds, "members to begin with: \"key@host:port\""),
    K_WHOLE("overlay-mtu", overlay_mtu, 1500, 576, 9000, "bytes", "of the environments' Ethernet"),
    K_WHOLE("overlay-threads", overlay_threads, 0, 0, 8, NULL, "that carry frames; 0: a quarter of the processors, at least one"),
    K_WORD("overlay-gso", overlay_gso, "auto", "auto|off", "many datagrams in one system call (UDP_SEGMENT, UDP_GRO) where it works"),
    K_WORD("overlay-vnet-hdr", overlay_vnet_hdr, "auto", "auto|off", "superframes and unfinished checksums to and from the TAPs where that works"),
    K_WORD("overlay-cipher", overlay_cipher, "auto", "auto|chacha", "AES-GCM where both hosts have its instructions, or always ChaCha20-Poly1305"),
    K_WHOLE("overlay-rekey", overlay_rekey, 120, 1, 120, "s", "after which a session in use gets new keys"),
    K_WHOLE("overlay-path-mtu", overlay_path_mtu, 0, 0, 9251, "bytes", "of an IP packet between hosts, at most; 0: found out for each path"),
    K_WHOLE("overlay-broadcast-rate", overlay_broadcast_rate, 2000, 1, 1000000, "frames/s",
            "to everybody, of an environment's guests here; twice as many at once, as with the next two"),
    K_WHOLE("overlay-guest-rate", overlay_guest_rate, 500, 1, 1000000, "frames/s", "the same, of one guest"),
    K_WHOLE("overlay-unknown-rate", overlay_unknown_rate, 200, 1, 1000000, "frames/s",
            "to MACs that no host states or has heard, of an environment"),
    K_WHOLE("overlay-bandwidth", overlay_bandwidth, 0, 0, 100000, "MiB/s",
            "that an environment's guests here may send to other hosts; 0: no limit"),
    K_WORD("overlay-learn", overlay_learn, "on", "on|off",
           "tell other hosts the MACs that are heard but no guest has: an attached LAN's, of bridges in guests"),
    K_WHOLE("relay-bandwidth", relay_bandwidth, 12, 0, 2000, "MiB/s",
            "passed on between each two others that can't reach each other directly; 0: nothing"),
    K_WHOLE("migration-bandwidth", migration_bandwidth, 0, 0, 100000, "MiB/s",
            "at most, for each guest that moves; 0: no limit"),
    K_WORD("hypervisor", hypervisor, "libxl", "libxl|simulated", "what runs the guests"),
    K_TEXT("simulated-dir", simulated_dir, "/var/lib/violin-simulated", "state of the simulated hypervisor"),
    K_TEXT("simulated-limbo", simulated_limbo, "", "network namespace for the links of suspended simulated guests"),
    K_LIST("image-dirs", image_dirs, n_image_dirs, "folders with kernels, ramdisks and read-only disk images; others get what the user can read"),
    K_TEXT("image-cache", image_cache, "", "the folder of images that were added or fetched; empty: image-cache in state-dir"),
    K_WHOLE("image-cache-size", image_cache_size, 20480, 0, 16777216, "MiB", "that it may take: what was fetched and is longest unused makes room; 0: nothing is fetched"),
    K_WHOLE("image-bandwidth", image_bandwidth, 0, 0, 100000, "MiB/s", "at which images are given to others, all together; 0: no limit"),
    K_TEXT("outside-bridge", outside_bridge, "", "a bridge of this host for the second network card of heads; empty: no head is made here"),
    K_TEXT("disk-folder", disk_folder, "", "the folder of disks that move with their guests, root's alone; empty: disks in agent-dir, or in simulated-dir"),
    K_LIST("disk-adopt", disk_adopt, n_disk_adopt, "folders, of root alone, below which devices and raw files may be adopted as such disks"),
    K_WORD("start-guests", start_guests, "yes", "yes|no",
           "after a reboot start the guests that violin made and that this host owns"),
    K_WORD("mode", mode, "observe", "observe|auto", "only say what would be done, or do it"),
    K_WORD("placement", placement, "balance", "balance|pack",
           "guests where they are served best, or on few hosts, so that the others can be switched off; alike in the domain"),
    K_WHOLE("memory-reserve", memory_reserve, 128, 0, 1048576, "MiB", "never given to guests"),
    K_WHOLE("dom0-cpu", dom0_cpu, 25, 0, 3200, "percent of one CPU", "kept for dom0"),
    K_WHOLE("evaluation-period", evaluation_period, 5, 1, 3600, "s", "between two evaluations"),
    K_WHOLE("evaluations-needed", evaluations_needed, 3, 1, 20, NULL, "out-of-range evaluations before anything is done"),
    K_WHOLE("evaluations-of", evaluations_of, 5, 1, 20, NULL, "the latest ones that count"),
    K_REAL("range-low", range_low, 0.40, 0.05, 0.90, NULL, "used ÷ allocated below this is too little"),
    K_REAL("range-high", range_high, 0.75, 0.10, 0.99, NULL, "above this is too much"),
    K_WHOLE("memory-floor", memory_floor, 64, 16, 1048576, "MiB", "no guest is shrunk below this"),
    K_WHOLE("shrink-window", shrink_window, 600, 10, 86400, "s", "a guest is shrunk to the peak of this time"),
    K_WHOLE("settle-time", settle_time, 60, 0, 86400, "s", "a guest that was started isn't moved for this long"),
    K_WHOLE("cooldown", cooldown, 300, 0, 86400, "s", "after a move the guest stays at least this long"),
    K_WHOLE("no-return", no_return, 1800, 0, 604800, "s", "and doesn't go back where it was for this long"),
    K_WHOLE("moves-per-hour", moves_per_hour, 12, 0, 64, NULL, "of the guests of one environment, at most"),
    K_WHOLE("arrivals-max", arrivals_max, 2, 1, 64, NULL, "guests that may be arriving at a time"),
    K_WHOLE("env-cooldown", env_cooldown, 600, 0, 86400, "s", "an environment that moved to another domain stays there this long"),
    K_WHOLE("env-moves-at-once", env_moves_at_once, 4, 1, 64, NULL, "guests of an environment that are on their way to another domain at a time"),
    K_LIST("pinned", pinned, n_pinned, "names of guests that stay on this host when their environment moves"),
    K_WHOLE("payoff-horizon", payoff_horizon, 600, 10, 86400, "s", "a move must pay for itself within this time"),
    K_WHOLE("forecast-after", forecast_after, 600, 1, 86400, "s", "a host's load is watched this long before anything is expected of it"),
    K_WHOLE("report-stale", report_stale, 20, 5, 3600, "s", "a guest's report older than this doesn't count"),
    K_WHOLE("cert-lifetime", cert_lifetime, 31536000, 60, 315360000, "s",
            "of the certificates that this host gives; each is renewed when two thirds of it are over"),
    K_WHOLE("probe-interval", probe_interval, 1000, 100, 60000, "ms", "between two probes of other members"),
    K_WHOLE("peer-nice", peer_nice, -5, -20, 0, NULL, "priority of the peer's process: less is sooner, for frames and gossip on a busy host"),
    K_WORD("log-level", log_level, "info", "error|warn|info|debug", "what goes to the log"),
    K_WHOLE("events-kept", events_kept, 1000, 10, 100000, NULL, "for `violin events`"),
};
#define KEYS (sizeof keys / sizeof *keys)

static char *text_of(const struct config *c, const struct key *k)
{
    return (char *)(uintptr_t)c + k->at;
}

static void set_number(struct config *c, const struct key *k, double v)
{
    char *p = (char *)c + k->at;
    if (k->kind == REAL)
        memcpy(p, &v, sizeof v);
    else {
        long n = (long)v;
        memcpy(p, &n, sizeof n);
    }
}

static double get_number(const struct config *c, const struct key *k)
{
    const char *p = (const char *)c + k->at;
    double v;
    long n;
    if (k->kind == REAL) {
        memcpy(&v, p, sizeof v);
        return v;
    }
    memcpy(&n, p, sizeof n);
    return (double)n;
}

void config_defaults(struct config *c)
{
    memset(c, 0, sizeof *c);
    for (unsigned i = 0; i < KEYS; i++) {
        const struct key *k = &keys[i];
        if (k->kind == TEXT || k->kind == WORD)
            snprintf(text_of(c, k), CONFIG_TEXT, "%s", k->text);
        else if (k->kind != LIST)
            set_number(c, k, k->number);
    }
}

int config_image_cache(struct config *c)
{
    if (c->image_cache[0])
        return 0;
    return snprintf(c->image_cache, sizeof c->image_cache, "%.*s/image-cache", CONFIG_TEXT - 16, c->state_dir) >= CONFIG_TEXT - 4
               ? VI_EINVAL : 0;
}

/* ---- reading ---- */

/* confuse reports through a callback without an argument. */
static _Thread_local char *say_to;
static _Thread_local size_t say_cap;

static void say(cfg_t *cfg, const char *fmt, va_list ap)
{
    char text[400];
    if (!say_to || say_to[0])
        return; /* the first complaint is the one that helps */
    vsnprintf(text, sizeof text, fmt, ap);
    snprintf(say_to, say_cap, "%s:%d: %s", cfg && cfg->filename ? cfg->filename : "configuration",
             cfg ? cfg->line : 0, text);
}

static unsigned distance(const char *a, const char *b)
{
    unsigned row[CONFIG_TEXT], n = (unsigned)strlen(b);
    for (unsigned j = 0; j <= n; j++)
        row[j] = j;
    for (unsigned i = 1; a[i - 1]; i++) {
        unsigned before = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= n; j++) {
            unsigned keep = row[j], best = before + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
            before = keep;
        }
    }
    return row[n];
}

static const struct key *find_key(const char *name)
{
    for (unsigned i = 0; i < KEYS; i++)
        if (!strcmp(name, keys[i].name))
            return &keys[i];
    return NULL;
}

static const struct key *nearest_key(const char *name)
{
    const struct key *best = NULL;
    unsigned n = (unsigned)strlen(name), least = n < 6 ? n / 2 + 1 : 4; /* more than half of it wrong is no slip */
    for (unsigned i = 0; i < KEYS; i++) {
        unsigned d = distance(name, keys[i].name);
        if (d < least) {
            least = d;
            best = &keys[i];
        }
    }
    return best;
}

static void range_of(const struct key *k, char *out, size_t cap)
{
    if (k->kind == WORD)
        snprintf(out, cap, "one of %s", k->words);
    else if (k->kind == WHOLE || k->kind == REAL)
        snprintf(out, cap, "%.10g to %.10g%s%s", k->least, k->most, k->unit ? " " : "", k->unit ? k->unit : "");
    else
        snprintf(out, cap, "%sat most %d printable characters without \" \\ and ${",
                 k->kind == LIST ? "32 entries; each " : "", CONFIG_TEXT - 1);
}

/* confuse's own complaints name the option in quotes: to an unknown one the nearest is added, to a
 * known one what is allowed. */
static void add_advice(char *why, size_t cap)
{
    const char *from = strstr(why, "option '");
    const struct key *k;
    char name[CONFIG_TEXT], range[300];
    size_t n;
    if (!from)
        return;
    from += strlen("option '");
    n = strcspn(from, "'");
    if (n >= sizeof name)
        return;
    memcpy(name, from, n);
    name[n] = 0;
    n = strlen(why);
    if ((k = find_key(name))) {
        range_of(k, range, sizeof range);
        snprintf(why + n, cap - n, " (%s)", range);
    } else if ((k = nearest_key(name)))
        snprintf(why + n, cap - n, " (did you mean `%s`?)", k->name);
}

static bool one_of(const char *words, const char *text)
{
    size_t n = strlen(text);
    for (const char *p = words; p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL)
        if (strcspn(p, "|") == n && !strncmp(p, text, n))
            return n > 0;
    return false;
}

/* What config_print can write so that it parses again: confuse expands ${…} between double quotes. */
static bool printable(const char *s)
{
    size_t n = 0;
    for (; *s; s++, n++)
        if ((unsigned char)*s < 32 || *s == 127 || *s == '"' || *s == '\\' || (*s == '$' && s[1] == '{'))
            return false;
    return n < CONFIG_TEXT;
}

/* confuse calls it after each value, when it still knows the line. */
static int check_value(cfg_t *cfg, cfg_opt_t *opt)
{
    const struct key *k = find_key(cfg_opt_name(opt));
    unsigned n = cfg_opt_size(opt);
    char got[64] = "", range[300];
    bool good;
    double v;
    if (!k || n == 0)
        return 0;
    if (k->kind == WHOLE || k->kind == REAL) {
        v = k->kind == REAL ? cfg_opt_getnfloat(opt, n - 1) : (double)cfg_opt_getnint(opt, n - 1);
        snprintf(got, sizeof got, "%.10g", v);
        good = v >= k->least && v <= k->most;
    } else {
        const char *s = cfg_opt_getnstr(opt, n - 1);
        snprintf(got, sizeof got, "`%.60s`", s ? s : "");
        good = s && printable(s) && (k->kind != WORD || one_of(k->words, s)) &&
               (k->kind != LIST || (s[0] && n <= CONFIG_LIST));
    }
    if (good)
        return 0;
    range_of(k, range, sizeof range);
    cfg_error(cfg, "%s: %s is not allowed; %s", k->name, got, range);
    return -1;
}

/* From values that check_value() has seen. */
static void take_key(struct config *c, cfg_t *cfg, const struct key *k)
{
    unsigned n;
    switch (k->kind) {
    case TEXT: case WORD:
        snprintf(text_of(c, k), CONFIG_TEXT, "%s", cfg_getstr(cfg, k->name));
        break;
    case LIST:
        n = cfg_size(cfg, k->name);
        for (unsigned i = 0; i < n; i++)
            snprintf(text_of(c, k) + (size_t)i * CONFIG_TEXT, CONFIG_TEXT, "%s", cfg_getnstr(cfg, k->name, i));
        memcpy((char *)c + k->count_at, &n, sizeof n);
        break;
    case REAL:
        set_number(c, k, cfg_getfloat(cfg, k->name));
        break;
    case WHOLE:
        set_number(c, k, (double)cfg_getint(cfg, k->name));
        break;
    }
}

static bool begins_comment(const char *p, const char *start, const char *end)
{
    if (*p == '#')
        return true;
    return *p == '/' && end - p > 1 && (p[1] == '/' || p[1] == '*') &&
           (p == start || strchr(" \t\r\n={}(),+", p[-1]));
}

/* Behind the comment that begins at p; NULL if it never ends. */
static char *comment_end(char *p, char *end)
{
    if (*p == '/' && p[1] == '*') {
        p = memmem(p + 2, (size_t)(end - p - 2), "*/", 2);
        return p ? p + 2 : NULL;
    }
    p = memchr(p, '\n', (size_t)(end - p));
    return p ? p : end;
}

/* Comments become spaces, in place: libconfuse 3.3 counts their lines more than once, and an error's
 * line is to be the one that an editor shows. Returns the line of a comment without an end, which
 * confuse would take for the end of the file; else 0. */
static unsigned blank_comments(char *text, size_t len)
{
    char *end = text + len, quote = 0;
    unsigned line = 1;
    for (char *p = text; p < end; p++) {
        line += *p == '\n';
        if (quote) {
            if (*p == '\\' && p + 1 < end)
                p++;
            else if (*p == quote)
                quote = 0;
        } else if (*p == '"' || *p == '\'') {
            quote = *p;
        } else if (begins_comment(p, text, end)) {
            char *behind = comment_end(p, end);
            if (!behind)
                return line;
            for (; p < behind; p++) {
                line += *p == '\n';
                if (*p != '\n')
                    *p = ' ';
            }
            p--;
        }
    }
    return 0;
}

static void make_options(cfg_opt_t *opts)
{
    for (unsigned i = 0; i < KEYS; i++) {
        const struct key *k = &keys[i];
        cfg_opt_t text = CFG_STR(k->name, k->text, CFGF_NONE);
        cfg_opt_t whole = CFG_INT(k->name, (long)k->number, CFGF_NONE);
        cfg_opt_t real = CFG_FLOAT(k->name, k->number, CFGF_NONE);
        cfg_opt_t list = CFG_STR_LIST(k->name, "{}", CFGF_NONE);
        text.validcb = whole.validcb = real.validcb = list.validcb = check_value;
        opts[i] = k->kind == WHOLE ? whole : k->kind == REAL ? real : k->kind == LIST ? list : text;
    }
    cfg_opt_t end = CFG_END();
    opts[KEYS] = end;
}

static int take_all(struct config *c, cfg_t *cfg, const char *name, char *why, size_t cap)
{
    for (unsigned i = 0; i < KEYS; i++)
        take_key(c, cfg, &keys[i]);
    if (c->evaluations_needed > c->evaluations_of) {
        snprintf(why, cap, "%s: evaluations-needed: more than evaluations-of", name);
        return VI_EINVAL;
    }
    if (c->overlay_path_mtu && c->overlay_path_mtu < 576) {
        snprintf(why, cap, "%s: overlay-path-mtu: 0, or at least 576, which every host takes", name);
        return VI_EINVAL;
    }
    if (c->range_low >= c->range_high) {
        snprintf(why, cap, "%s: range-low: must be less than range-high", name);
        return VI_EINVAL;
    }
    return 0;
}

/* text is changed. */
static int parse_text(struct config *c, char *text, size_t len, const char *name, char *why, size_t cap)
{
    cfg_opt_t opts[KEYS + 1];
    cfg_t *cfg;
    FILE *f;
    unsigned line = blank_comments(text, len);
    int err;
    if (line) {
        snprintf(why, cap, "%s:%u: a comment without an end", name, line);
        return VI_EINVAL;
    }
    make_options(opts);
    cfg = cfg_init(opts, CFGF_NONE);
    if (!cfg)
        return VI_ENOMEM;
    cfg_set_error_function(cfg, say);
    f = fmemopen(text, len, "r");
    if (!f) {
        cfg_free(cfg);
        return VI_ENOMEM;
    }
    say_to = why;
    say_cap = cap;
    cfg->filename = strdup(name);
    err = cfg_parse_fp(cfg, f) == CFG_SUCCESS ? 0 : VI_EINVAL;
    say_to = NULL;
    fclose(f);
    if (err && !why[0])
        snprintf(why, cap, "%s: can't be parsed", name);
    if (err)
        add_advice(why, cap);
    else
        err = take_all(c, cfg, name, why, cap);
    cfg_free(cfg);
    return err;
}

int config_parse(struct config *c, const char *text, size_t len, const char *name, char *why,
                 size_t cap)
{
    char *copy;
    int err;
    config_defaults(c);
    if (cap)
        why[0] = 0;
    if (len > CONFIG_FILE_MAX || memchr(text, 0, len)) {
        snprintf(why, cap, "%s: not a configuration (larger than 1 MiB, or binary)", name);
        return VI_EINVAL;
    }
    if (len == 0)
        return 0;
    copy = malloc(len);
    if (!copy) {
        snprintf(why, cap, "out of memory");
        return VI_ENOMEM;
    }
    memcpy(copy, text, len);
    err = parse_text(c, copy, len, name, why, cap);
    if (err == VI_ENOMEM)
        snprintf(why, cap, "out of memory");
    free(copy);
    if (err)
        config_defaults(c);
    return err;
}

int config_load(struct config *c, const char *path, char *why, size_t cap)
{
    char *text;
    size_t len;
    FILE *f = fopen(path, "r");
    int err;
    config_defaults(c);
    if (!f) {
        if (errno == ENOENT && !strcmp(path, CONFIG_FILE))
            return 0;
        snprintf(why, cap, "%s: %s", path, strerror(errno));
        return VI_EIO;
    }
    text = malloc(CONFIG_FILE_MAX + 1);
    if (!text) {
        fclose(f);
        snprintf(why, cap, "out of memory");
        return VI_ENOMEM;
    }
    len = fread(text, 1, CONFIG_FILE_MAX + 1, f);
    if (ferror(f)) {
        snprintf(why, cap, "%s: %s", path, strerror(errno));
        err = VI_EIO;
    } else
        err = config_parse(c, text, len, path, why, cap);
    fclose(f);
    free(text);
    return err;
}

/* ---- printing ---- */

static void print_range(const struct key *k, FILE *out)
{
    if (k->kind == WORD) {
        fprintf(out, " (");
        for (const char *p = k->words; *p; p++)
            if (*p == '|')
                fprintf(out, " or ");
            else
                fputc(*p, out);
        fprintf(out, ")");
    } else if (k->kind == WHOLE || k->kind == REAL)
        fprintf(out, " (%s%s%.10g to %.10g)", k->unit ? k->unit : "", k->unit ? ", " : "", k->least, k->most);
}

void config_print(const struct config *c, FILE *out)
{
    for (unsigned i = 0; i < KEYS; i++) {
        const struct key *k = &keys[i];
        unsigned n;
        fprintf(out, "# %s", k->what);
        print_range(k, out);
        fprintf(out, "\n%s = ", k->name);
        switch (k->kind) {
        case TEXT: case WORD: fprintf(out, "\"%s\"", text_of(c, k)); break;
        case WHOLE: fprintf(out, "%.0f", get_number(c, k)); break;
        case REAL: fprintf(out, "%.3f", get_number(c, k)); break;
        case LIST:
            memcpy(&n, (const char *)c + k->count_at, sizeof n);
            fprintf(out, "{");
            for (unsigned e = 0; e < n; e++)
                fprintf(out, "%s\"%s\"", e ? ", " : "", text_of(c, k) + (size_t)e * CONFIG_TEXT);
            fprintf(out, "}");
            break;
        }
        fprintf(out, "\n\n");
    }
}
