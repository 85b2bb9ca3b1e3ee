/* `violin join TOKEN`: this host's keys, and the inviter's word for them.
 *
 * Happy path: token → keys → one admission handshake by UDP with the inviter, or with the next seed
 * → certificate → state folder. Keys that the folder has, from a membership whose `cert` was removed, are
 * used again: the host stays the same peer. Failures: a token mistyped, expired or used up; nobody answers; an
 * answer that isn't the domain's. Nothing is written before the certificate is in hand. */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "peer/base/err.h"
#include "peer/identity.h"
#include "peer/netaddr.h"
#include "peer/setup_internal.h"

#define TRY_FOR (20 * VI_SEC) /* each seed */

struct join_args {
    const char *token, *host;
};

static const struct argp_option join_options[] = {
    {"host", 'n', "NAME", 0, "what this host is called (default: its host name)", 0},
    {0},
};

static error_t join_option(int key, char *arg, struct argp_state *state)
{
    struct join_args *a = state->input;
    switch (key) {
    case 'n':
        a->host = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (a->token)
            argp_error(state, "one token only");
        a->token = arg;
        return 0;
    case ARGP_KEY_END:
        if (!a->token)
            argp_error(state, "which token? `violin invite` on a member prints one");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp join_argp = {
    join_options, join_option, "TOKEN",
    "Makes this host a member of the domain that the token, printed by `violin invite`, invites to.",
    NULL, NULL, NULL};

struct joining {
    struct mesh *mesh;
    int fd;
    bool answered;
    int err;
    struct join_answer answer;
};

/* Sends what the core wants sent; keeps its answer. */
static void perform(struct joining *j)
{
    const struct mesh_effect *fx;
    while ((fx = mesh_effect(j->mesh))) {
        struct sockaddr_storage to;
        socklen_t len;
        if (fx->kind == MESH_FX_DATAGRAM) {
            len = netaddr_to_sockaddr(&fx->addr, &to);
            (void)sendto(j->fd, fx->data, fx->len, 0, (struct sockaddr *)&to, len);
        } else if (fx->kind == MESH_FX_ADMISSION_ANSWER) {
            j->answered = true;
            j->err = fx->err;
            if (!j->err)
                j->err = join_answer_decode(&j->answer, fx->data, fx->len);
        }
    }
}

static void receive(struct joining *j)
{
    uint8_t buf[2048];
    struct sockaddr_storage from;
    socklen_t len = sizeof from;
    ssize_t n;
    while ((n = recvfrom(j->fd, buf, sizeof buf, MSG_DONTWAIT, (struct sockaddr *)&from, &len)) > 0) {
        struct mesh_event ev = {.kind = MESH_EV_DATAGRAM};
        netaddr_from_sockaddr(&ev.datagram.from, &from);
        ev.datagram.data = buf;
        ev.datagram.len = (size_t)n;
        mesh_step(j->mesh, vi_clock_boottime(), &ev);
        perform(j);
        len = sizeof from;
    }
}

/* Runs the core until it has an answer or the time is over. */
static void run(struct joining *j, vi_time until)
{
    struct mesh_event tick = {.kind = MESH_EV_TICK};
    while (!j->answered && vi_clock_boottime() < until) {
        vi_time now = vi_clock_boottime(), next = mesh_deadline(j->mesh);
        struct pollfd p = {.fd = j->fd, .events = POLLIN};
        if (next > until)
            next = until;
        if (next > now)
            (void)poll(&p, 1, (int)((next - now) / VI_MSEC + 1));
        receive(j);
        if (mesh_deadline(j->mesh) <= vi_clock_boottime()) {
            mesh_step(j->mesh, vi_clock_boottime(), &tick);
            perform(j);
        }
    }
    if (!j->answered)
        j->err = VI_ETIMEDOUT;
}

static int ask_seed(struct identity *me, const struct token *t, const struct seed *seed,
                    struct join_answer *answer, char *why, size_t cap)
{
    struct mesh_trust trust = {0};
    struct mesh_config cfg = {.trust = &trust, .trusts = 1};
    struct mesh_event ev = {.kind = MESH_EV_JOIN};
    struct join_request req = {.token = t->id};
    struct joining j = {.fd = -1};
    struct vi_rng rng;
    uint8_t bytes[JOIN_MAX];
    size_t len;
    int err = netaddr_resolve(&ev.join.addr, seed->addr, why, cap);
    if (err)
        return err;
    j.fd = socket(ev.join.addr.family == 6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (j.fd < 0) {
        snprintf(why, cap, "%s: %s", seed->addr, strerror(errno));
        return VI_EIO;
    }
    memcpy(trust.domain, t->domain, sizeof trust.domain);
    memcpy(trust.authority, t->authority, sizeof trust.authority);
    memcpy(cfg.secret, me->x_sk, sizeof cfg.secret);
    cfg.wall_minus_now = vi_clock_wall() - vi_clock_boottime();
    vi_rng_seed_from_kernel(&rng);
    memcpy(req.ed, me->ed_pk, 32);
    memcpy(req.x, me->x_pk, 32);
    memcpy(req.host, me->cert.host, sizeof req.host);
    err = join_request_encode(&req, me->ed_sk, bytes, sizeof bytes, &len);
    j.mesh = err ? NULL : mesh_new(&cfg, &rng, vi_clock_boottime());
    if (!j.mesh) {
        snprintf(why, cap, "out of memory");
        err = VI_ENOMEM;
        goto out;
    }
    cert_peer_id(&ev.join.peer, seed->ed);
    ev.join.x = seed->x;
    ev.join.token = t->id;
    ev.join.psk = t->secret;
    ev.join.trust = &trust;
    ev.join.request = bytes;
    ev.join.len = len;
    err = mesh_step(j.mesh, vi_clock_boottime(), &ev);
    perform(&j);
    if (!err)
        run(&j, vi_clock_boottime() + TRY_FOR);
    err = err ? err : j.err;
    if (err == VI_ETIMEDOUT)
        snprintf(why, cap,
                 "%s does not answer: is its peer running, the address right, UDP let through, and "
                 "the token neither expired nor used up?",
                 seed->addr);
    else if (err)
        snprintf(why, cap, "%s: %s", seed->addr, vi_strerror(err));
    *answer = j.answer;
out:
    mesh_free(j.mesh);
    close(j.fd);
    return err;
}

/* The certificate must be of the token's domain, for our keys. */
static int accept_answer(struct identity *me, const struct token *t, const struct join_answer *a,
                         char *why, size_t cap)
{
    if (a->err) {
        snprintf(why, cap, "the inviter refuses: %s", a->why[0] ? a->why : vi_strerror(a->err));
        return a->err;
    }
    if (cert_verify(&a->cert, t->authority, vi_clock_wall()) || strcmp(a->cert.domain, t->domain) ||
        memcmp(a->cert.ed, me->ed_pk, 32) || memcmp(a->cert.x, me->x_pk, 32)) {
        snprintf(why, cap, "the answer's certificate isn't good for this domain and host; is this "
                           "host's clock right?");
        return VI_EAUTH;
    }
    me->cert = a->cert;
    memcpy(me->authority, t->authority, 32);
    return 0;
}

static int save(const struct setup *s, const struct identity *me, const struct token *t, char *why,
                size_t cap)
{
    char text[TOKEN_SEEDS * SEED_TEXT] = "", line[SEED_TEXT];
    size_t len = 0;
    for (unsigned i = 0; i < t->seeds; i++)
        if (!seed_format(&t->seed[i], line))
            len += (size_t)snprintf(text + len, sizeof text - len, "%s\n", line);
    if (identity_write_file(s->state_dir, "seeds", text, len, why, cap))
        return VI_EIO;
    return identity_save(me, s->state_dir, why, cap);
}

static int read_token(struct token *t, const char *text)
{
    const char *phrase = "";
    int err = token_decode(t, text, &phrase);
    if (err) {
        fprintf(stderr, "violin: the token can't be read: %s\n", phrase);
        return 2;
    }
    if (vi_clock_wall() > t->expires + CERT_SKEW) {
        fprintf(stderr, "violin: the token has expired; ask for a new one (`violin invite`)\n");
        return 1;
    }
    return 0;
}

int setup_join(const struct setup *s, int argc, char **argv)
{
    struct join_args a = {0};
    struct identity me;
    struct token t;
    struct join_answer answer = {0};
    char why[600] = "";
    int err = VI_ENOTFOUND;
    if (argp_parse(&join_argp, argc, argv, 0, NULL, &a))
        return 2;
    if (setup_not_member(s))
        return 1;
    err = read_token(&t, a.token);
    if (err)
        return err;
    err = identity_load_key(&me, s->state_dir);
    if (err == VI_EIO)
        return setup_fail("`key` in the state folder is damaged: remove it to join with new keys");
    if (err)
        identity_generate(&me);
    else
        fprintf(stderr, "with the keys that are in %s\n", s->state_dir);
    if (setup_host_name(me.cert.host, a.host, why, sizeof why) || setup_folder(s, why, sizeof why))
        return setup_fail(why);
    for (unsigned i = 0; i < t.seeds; i++) {
        fprintf(stderr, "asking %s to admit %s to domain %s …\n", t.seed[i].addr, me.cert.host, t.domain);
        err = ask_seed(&me, &t, &t.seed[i], &answer, why, sizeof why);
        if (!err)
            break;
        if (i + 1 < t.seeds)
            fprintf(stderr, "violin: %s\n", why);
    }
    if (!err)
        err = accept_answer(&me, &t, &answer, why, sizeof why);
    if (!err)
        err = save(s, &me, &t, why, sizeof why);
    if (err)
        return setup_fail(why);
    printf("%s is a member of domain %s.\n", me.cert.host, me.cert.domain);
    printf("Next: start the peer (systemctl start violin, or violin peer).\n");
    return 0;
}
