/* `violin init` and what it shares with `violin join`: see setup.h. */
#include "peer/setup.h"

#include <argp.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer/base/err.h"
#include "peer/identity.h"
#include "peer/setup_internal.h"

#define AUTHORITY_YEARS 10
#define YEAR            (365 * 24 * VI_HOUR)

int setup_fail(const char *text)
{
    fprintf(stderr, "violin: %s\n", text);
    return 1;
}

/* The state folder: made if need be, closed to others, the peer's user's. */
int setup_folder(const struct setup *s, char *why, size_t cap)
{
    struct passwd *pw = getpwnam(s->user);
    struct group *gr = getgrnam(s->group);
    char part[512];
    struct stat st;
    if (geteuid() == 0 && !pw) {
        snprintf(why, cap, "there is no user `%s`: create it (useradd --system %s) or set `user`",
                 s->user, s->user);
        return VI_ENOTFOUND;
    }
    if ((size_t)snprintf(part, sizeof part, "%s", s->state_dir) >= sizeof part) {
        snprintf(why, cap, "state-dir is too long");
        return VI_EINVAL;
    }
    for (char *p = part + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = 0;
        (void)mkdir(part, 0755);
        *p = '/';
    }
    if (mkdir(s->state_dir, 0700) < 0 && errno != EEXIST)
        goto failed;
    if (stat(s->state_dir, &st) < 0)
        goto failed;
    if (!S_ISDIR(st.st_mode)) { /* not ours to give away */
        errno = ENOTDIR;
        goto failed;
    }
    if (geteuid() == 0 && chown(s->state_dir, pw->pw_uid, gr ? gr->gr_gid : pw->pw_gid) < 0)
        goto failed;
    if (access(s->state_dir, W_OK | X_OK) < 0)
        goto failed;
    return 0;
failed:
    snprintf(why, cap, "state folder %s: %s; %sset `state-dir`", s->state_dir, strerror(errno),
             geteuid() ? "run as root or " : "");
    return VI_EIO;
}

/* The name this host goes by: given, or the system's up to the first dot. */
int setup_host_name(char out[CERT_NAME_MAX + 1], const char *given, char *why, size_t cap)
{
    char name[256] = "";
    if (given)
        snprintf(name, sizeof name, "%s", given);
    else {
        gethostname(name, sizeof name - 1);
        name[strcspn(name, ".")] = 0;
    }
    if (!cert_name_ok(name)) {
        snprintf(why, cap,
                 "host name `%s`: 1 to %d letters, digits, '-', '.' or '_'; give one with --host",
                 name, CERT_NAME_MAX);
        return VI_EINVAL;
    }
    memcpy(out, name, strlen(name) + 1);
    return 0;
}

bool setup_is_member(const char *state_dir)
{
    return identity_exists(state_dir);
}

int setup_not_member(const struct setup *s)
{
    if (!identity_exists(s->state_dir))
        return 0;
    fprintf(stderr,
            "violin: %s: this host is in a domain already; to leave it for good, stop the peer and "
            "move that folder away\n",
            s->state_dir);
    return 1;
}

struct init_args {
    const char *domain, *host;
};

static const struct argp_option init_options[] = {
    {"domain", 'd', "NAME", 0, "the domain's name, for example lab.example.org (required)", 0},
    {"host", 'n', "NAME", 0, "what this host is called (default: its host name)", 0},
    {0},
};

static error_t init_option(int key, char *arg, struct argp_state *state)
{
    struct init_args *a = state->input;
    switch (key) {
    case 'd':
        a->domain = arg;
        return 0;
    case 'n':
        a->host = arg;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "init takes no argument `%s`", arg);
        return EINVAL;
    case ARGP_KEY_END:
        if (!a->domain)
            argp_error(state, "which domain? --domain NAME");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp init_argp = {
    init_options, init_option, "",
    "Makes a new domain with this host as its first member.\v"
    "The domain's secret key is written to the state folder as `authority`. It is needed only to "
    "appoint further hosts that may admit others, and for a new authority: keep a copy off line (violin authority export).",
    NULL, NULL, NULL};

static int certify(const struct setup *s, struct identity *me, const char *domain,
                   const uint8_t authority_sk[64])
{
    vi_time now = vi_clock_wall();
    int err;
    crypto_sign_ed25519_sk_to_pk(me->authority, authority_sk);
    memcpy(me->cert.domain, domain, strlen(domain) + 1);
    memcpy(me->cert.ed, me->ed_pk, 32);
    memcpy(me->cert.x, me->x_pk, 32);
    me->cert.not_before = now;
    me->cert.not_after = now + (vi_time)s->cert_lifetime * VI_SEC;
    me->cert.caps = CERT_CAPS_ALL;
    err = cert_issue(&me->cert, authority_sk);
    if (err)
        return err;
    me->has_delegation = true;
    return cert_delegate(&me->delegation, domain, me->ed_pk, now, now + AUTHORITY_YEARS * YEAR,
                         CERT_CAPS_ALL, authority_sk);
}

int setup_found(const struct setup *s, const char *domain, const char *host,
                const uint8_t authority_sk[64], char *why, size_t cap)
{
    struct identity me = {0};
    int err;
    if (identity_load_key(&me, s->state_dir))
        identity_generate(&me);
    err = setup_host_name(me.cert.host, host, why, cap);
    if (!err)
        err = setup_folder(s, why, cap);
    if (err)
        return err;
    err = certify(s, &me, domain, authority_sk);
    if (err)
        snprintf(why, cap, "the certificate can't be made: %s", vi_strerror(err));
    else
        err = identity_write_file(s->state_dir, "authority", authority_sk, 64, why, cap);
    if (!err)
        err = identity_save(&me, s->state_dir, why, cap);
    sodium_memzero(&me, sizeof me);
    return err;
}

int setup_init(const struct setup *s, int argc, char **argv)
{
    struct init_args a = {0};
    struct identity me;
    uint8_t authority_sk[64], pk[CERT_KEY];
    char why[600] = "", id[VI_ID_TEXT];
    int err;
    if (argp_parse(&init_argp, argc, argv, 0, NULL, &a))
        return 2;
    if (!cert_name_ok(a.domain)) {
        fprintf(stderr, "violin: domain `%s`: 1 to %d letters, digits, '-', '.' or '_'\n", a.domain,
                CERT_NAME_MAX);
        return 2;
    }
    if (setup_not_member(s))
        return 1;
    crypto_sign_keypair(pk, authority_sk);
    err = setup_found(s, a.domain, a.host, authority_sk, why, sizeof why);
    sodium_memzero(authority_sk, sizeof authority_sk);
    if (!err)
        err = identity_load(&me, s->state_dir, why, sizeof why);
    if (err)
        return setup_fail(why);
    printf("Domain %s is made; this host is %s (%s).\n", me.cert.domain, me.cert.host,
           vi_id_format(&me.id, id));
    printf("The domain's secret key: %s/authority. Keep a copy off line (violin authority export FILE).\n", s->state_dir);
    printf("Next: start the peer (systemctl start violin, or violin peer), then `violin invite`.\n");
    sodium_memzero(&me, sizeof me);
    return 0;
}
