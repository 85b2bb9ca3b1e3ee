/* `violin authority export FILE` and `import FILE`: the authority's secret key leaves its host, encrypted
 * with a passphrase, and comes back: to this host, to another member, or, when the whole domain is lost,
 * to a host that it makes the first member again. Run by root; the peer may run, and sees what changed. */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "peer/backup.h"
#include "peer/base/err.h"
#include "peer/identity.h"
#include "peer/setup_internal.h"

struct authority_args {
    const char *verb, *file, *passphrase_file, *host;
};

static const struct argp_option options[] = {
    {"passphrase-file", 'p', "FILE", 0, "the passphrase is the file's first line (default: standard input's)", 0},
    {"host", 'n', "NAME", 0, "import, on a host in no domain: what it is called (default: its host name)", 0},
    {0},
};

static error_t option(int key, char *arg, struct argp_state *state)
{
    struct authority_args *a = state->input;
    switch (key) {
    case 'p':
        a->passphrase_file = arg;
        return 0;
    case 'n':
        a->host = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (!a->verb)
            a->verb = arg;
        else if (!a->file)
            a->file = arg;
        else
            argp_error(state, "`%s` is one argument too many", arg);
        return 0;
    case ARGP_KEY_END:
        if (!a->file)
            argp_error(state, "which FILE?");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    options, option, "export FILE\nimport FILE",
    "Writes the authority's secret key to FILE, encrypted with a passphrase; or restores it from there, also on "
    "another host of the domain. On a host that is in no domain, import makes it a member of the key's domain.",
    NULL, NULL, NULL};

/* ---- the passphrase ---- */

/* One line, without the terminal's echo. */
static int read_line(FILE *in, char *out, size_t cap)
{
    struct termios was, quiet;
    bool tty = tcgetattr(fileno(in), &was) == 0;
    size_t n;
    bool got;
    if (tty) {
        quiet = was;
        quiet.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(fileno(in), TCSAFLUSH, &quiet);
    }
    got = fgets(out, (int)cap, in) != NULL;
    if (tty) {
        tcsetattr(fileno(in), TCSAFLUSH, &was);
        fprintf(stderr, "\n");
    }
    if (!got)
        return VI_EIO;
    n = strcspn(out, "\n");
    if (!out[n] && !feof(in))
        return VI_EFULL;
    out[n] = 0;
    return 0;
}

static int passphrase(const struct authority_args *a, bool twice, char *out, size_t cap)
{
    char again[BACKUP_PASSPHRASE_MAX + 2];
    FILE *in = a->passphrase_file ? fopen(a->passphrase_file, "r") : stdin;
    bool tty = !a->passphrase_file && isatty(0);
    int err;
    if (!in) {
        fprintf(stderr, "violin: %s: %s\n", a->passphrase_file, strerror(errno));
        return VI_EIO;
    }
    if (tty)
        fprintf(stderr, "Passphrase: ");
    err = read_line(in, out, cap);
    if (!err && tty && twice) {
        fprintf(stderr, "Once more: ");
        err = read_line(in, again, sizeof again);
        if (!err && strcmp(out, again)) {
            fprintf(stderr, "violin: these are different\n");
            err = VI_EINVAL;
        }
        sodium_memzero(again, sizeof again);
    } else if (err) {
        fprintf(stderr, "violin: no passphrase (one line on standard input, or --passphrase-file)\n");
    }
    if (in != stdin)
        fclose(in);
    if (!err && strlen(out) < BACKUP_PASSPHRASE_MIN) {
        fprintf(stderr, "violin: the passphrase has at least %d characters\n", BACKUP_PASSPHRASE_MIN);
        err = VI_EINVAL;
    }
    return err;
}

/* ---- export ---- */

static int write_new(const char *path, const uint8_t *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && write(fd, data, len) == (ssize_t)len && fsync(fd) == 0;
    if (!ok)
        fprintf(stderr, "violin: %s: %s\n", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    if (!ok && fd >= 0)
        unlink(path);
    return ok ? 0 : 1;
}

static int do_export(const struct setup *s, const struct authority_args *a)
{
    char why[600] = "", phrase[BACKUP_PASSPHRASE_MAX + 2];
    uint8_t secret[64], out[BACKUP_MAX];
    struct identity me;
    size_t len;
    int err = identity_load(&me, s->state_dir, why, sizeof why);
    if (err)
        return setup_fail(why);
    err = identity_read_file(s->state_dir, "authority", secret, 64, &len);
    if (err || len != 64) {
        snprintf(why, sizeof why, "%s/authority: %s", s->state_dir,
                 err == VI_ENOTFOUND ? "the authority's secret key isn't on this host" : "can't be read");
        return setup_fail(why);
    }
    if (passphrase(a, true, phrase, sizeof phrase))
        return 1;
    err = backup_make(me.cert.domain, secret, phrase, out, sizeof out, &len);
    sodium_memzero(secret, sizeof secret);
    sodium_memzero(phrase, sizeof phrase);
    if (err)
        return setup_fail(vi_strerror(err));
    if (write_new(a->file, out, len))
        return 1;
    printf("The authority of %s is in %s, encrypted. To keep it off line, remove %s/authority; what this and other "
           "hosts may do in its place goes on.\n", me.cert.domain, a->file, s->state_dir);
    return 0;
}

/* ---- import ---- */

static int read_backup(const char *path, struct backup *b)
{
    uint8_t data[BACKUP_MAX + 1];
    FILE *f = fopen(path, "r");
    size_t len;
    int err;
    if (!f) {
        fprintf(stderr, "violin: %s: %s\n", path, strerror(errno));
        return 1;
    }
    len = fread(data, 1, sizeof data, f);
    fclose(f);
    err = backup_decode(b, data, len);
    if (err)
        fprintf(stderr, "violin: %s: %s\n", path, err == VI_EVERSION ? "of a later version of violin"
                                                                     : "no backup of an authority, or damaged");
    return err ? 1 : 0;
}

/* This host's domain must be the key's; 0 and *member, or 1 with a message. */
static int fits(const struct setup *s, const struct backup *b, bool *member, struct identity *me)
{
    char why[600] = "";
    *member = identity_exists(s->state_dir);
    if (!*member)
        return 0;
    if (identity_load(me, s->state_dir, why, sizeof why))
        return setup_fail(why);
    if (strcmp(me->cert.domain, b->domain)) {
        snprintf(why, sizeof why, "that is the authority of domain %s; this host is in %s", b->domain, me->cert.domain);
        return setup_fail(why);
    }
    if (memcmp(me->authority, b->authority, CERT_KEY)) {
        snprintf(why, sizeof why, "that is an authority of %s, but not the one of this host's certificate: an older "
                 "one (there was a rollover), or a newer (then wait until this host has gone over: violin cert)", b->domain);
        return setup_fail(why);
    }
    return 0;
}

static int do_import(const struct setup *s, const struct authority_args *a)
{
    char why[600] = "", phrase[BACKUP_PASSPHRASE_MAX + 2];
    struct identity me = {0};
    uint8_t secret[64];
    struct backup b;
    bool member;
    int err;
    if (read_backup(a->file, &b) || fits(s, &b, &member, &me))
        return 1;
    if (passphrase(a, false, phrase, sizeof phrase))
        return 1;
    err = backup_open(&b, phrase, secret);
    sodium_memzero(phrase, sizeof phrase);
    if (err)
        return setup_fail(err == VI_EAUTH ? "another passphrase, or the file was altered" : "not enough memory");
    if (member)
        err = identity_write_file(s->state_dir, "authority", secret, 64, why, sizeof why);
    else
        err = setup_found(s, b.domain, a->host, secret, why, sizeof why);
    sodium_memzero(secret, sizeof secret);
    if (err)
        return setup_fail(why);
    printf("The authority of %s is restored to %s/authority.\n", b.domain, s->state_dir);
    if (!member)
        printf("This host is its first member again. Next: start the peer (systemctl start violin, or violin peer).\n");
    return 0;
}

int setup_authority(const struct setup *s, int argc, char **argv)
{
    struct authority_args a = {0};
    if (argp_parse(&argp, argc, argv, 0, NULL, &a))
        return 2;
    return !strcmp(a.verb, "export") ? do_export(s, &a) : do_import(s, &a);
}
