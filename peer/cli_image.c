/* `violin image`. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer/cli.h"
#include "peer/cli_internal.h"

#define COPY_BYTES (1U << 20)

const struct argp_option cli_image_options[] = {
    JSON_OPTION,
    {"name", OPT_NAME, "NAME", 0, "add: what to call it (default: the file's name)", 0},
    {0}};

static const struct cli_field list_fields[] = {
    {"name", "NAME", CLI_TEXT}, {"hash", "HASH", CLI_SHORT_ID}, {"size", "SIZE", CLI_BYTES}, {"state", "STATE", CLI_TEXT},
    {"here_pct", "HERE", CLI_PERCENT}, {"used_by", "USED BY", CLI_TEXT}, {"used_at", "LAST USED", CLI_TIME}, {NULL, NULL, CLI_TEXT}};
static const struct cli_field show_fields[] = {
    {"name", "name", CLI_TEXT}, {"hash", "hash", CLI_TEXT}, {"size", "size", CLI_BYTES}, {"state", "state", CLI_TEXT},
    {"path", "path", CLI_TEXT}, {"used_by", "used by", CLI_TEXT}, {"used_at", "last used", CLI_TIME},
    {"here_pct", "here", CLI_PERCENT}, {"bytes_fetched", "fetched", CLI_BYTES}, {"for_s", "in", CLI_SECONDS},
    {"why", "why", CLI_TEXT}, {NULL, NULL, CLI_TEXT}};
static const struct cli_field source_fields[] = {
    {"host", "FROM", CLI_TEXT}, {"bytes", "BYTES", CLI_BYTES}, {"bytes_per_s", "A SECOND", CLI_BYTES},
    {"wrong_chunks", "WRONG CHUNKS", CLI_COUNT}, {"state", "STATE", CLI_TEXT}, {NULL, NULL, CLI_TEXT}};

/* ---- add ---- */

/* The folder is the peer's user's: what is written there is written as that user, never as root. */
static int become_peer(const struct cli_client *c)
{
    struct ucred peer;
    socklen_t len = sizeof peer;
    if (geteuid() != 0)
        return 0;
    if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) || setgroups(0, NULL) || setegid(peer.gid) || seteuid(peer.uid)) {
        fprintf(stderr, "violin: can't become the peer's user: %s\n", strerror(errno));
        return CLI_FAILED;
    }
    return 0;
}

static bool write_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t w = write(fd, p, n);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0)
            return false;
        p += w;
        n -= (size_t)w;
    }
    return true;
}

static int copy(int from, int to, uint64_t size, struct cli_bar *b)
{
    char *buf = malloc(COPY_BYTES);
    uint64_t done = 0;
    ssize_t n = 1;
    if (!buf)
        return CLI_FAILED;
    while (n > 0) {
        n = read(from, buf, COPY_BYTES);
        if (n > 0 && !write_all(to, buf, (size_t)n))
            n = -1;
        done += n > 0 ? (uint64_t)n : 0;
        cli_bar_show(b, (double)done, (double)size);
    }
    free(buf);
    cli_bar_end(b);
    if (n == 0)
        return 0;
    fprintf(stderr, "violin: copying: %s\n", strerror(errno));
    return CLI_FAILED;
}

static int copy_to(struct cli_client *c, const struct args *a, int from, uint64_t size, const char *path)
{
    struct cli_bar b = cli_bar_new(a, "copying");
    int err = become_peer(c), to;
    if (err)
        return err;
    to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (to < 0) {
        fprintf(stderr, "violin: %s: %s\n", path, strerror(errno));
        return CLI_FAILED;
    }
    err = copy(from, to, size, &b);
    close(to);
    if (err)
        unlink(path);
    return err;
}

static bool is_over(const msgpack_object *r)
{
    const msgpack_object *v = cli_get(r, "over");
    return v && v->type == MSGPACK_OBJECT_BOOLEAN && v->via.boolean;
}

static int wait_added(struct cli_client *c, const struct args *a)
{
    struct cli_bar b = cli_bar_new(a, "hashing");
    msgpack_object r;
    char hash[80], why[200];
    for (;;) {
        int err = cli_call(c, "image.adding", NULL, &r);
        if (err)
            return err;
        cli_bar_show(&b, cli_get_number(&r, "done_bytes", 0), cli_get_number(&r, "of_bytes", 0));
        if (is_over(&r))
            break;
        cli_wait_a_little();
    }
    cli_bar_end(&b);
    if (!cli_get_text(&r, "hash", hash, sizeof hash)) {
        cli_get_text(&r, "why", why, sizeof why);
        fprintf(stderr, "violin: %s\n", why);
        return CLI_FAILED;
    }
    if (a->json)
        cli_json(&r, true);
    else
        printf("%s\n", hash);
    return 0;
}

static int take_in(struct cli_client *c, const struct args *a, const char *name, int from, uint64_t size)
{
    struct cli_params p;
    msgpack_object r;
    char folder[512], file[64], path[600];
    int err;
    cli_params_init(&p);
    vi_write_map(&p.w, 1);
    vi_write_str(&p.w, "size");
    vi_write_uint(&p.w, size);
    err = cli_call(c, "image.begin", &p, &r);
    if (err)
        return err;
    cli_get_text(&r, "folder", folder, sizeof folder);
    cli_get_text(&r, "file", file, sizeof file);
    snprintf(path, sizeof path, "%s/%s", folder, file);
    err = copy_to(c, a, from, size, path);
    if (err)
        return err;
    cli_params_init(&p);
    vi_write_map(&p.w, 2);
    vi_write_str(&p.w, "file");
    vi_write_str(&p.w, file);
    vi_write_str(&p.w, "name");
    vi_write_str(&p.w, name);
    err = cli_call(c, "image.add", &p, &r);
    if (err)
        unlink(path);
    return err ? err : wait_added(c, a);
}

static int do_add(struct cli_client *c, const struct args *a)
{
    const char *file = a->arg[1], *base = strrchr(file, '/');
    struct stat st;
    int fd = open(file, O_RDONLY | O_CLOEXEC), err;
    if (fd < 0 || fstat(fd, &st)) {
        fprintf(stderr, "violin: %s: %s\n", file, strerror(errno));
        return CLI_FAILED;
    }
    if (!S_ISREG(st.st_mode) || st.st_size == 0) {
        fprintf(stderr, "violin: %s: an image is a file with something in it\n", file);
        close(fd);
        return CLI_FAILED;
    }
    err = take_in(c, a, a->name ? a->name : base ? base + 1 : file, fd, (uint64_t)st.st_size);
    close(fd);
    return err;
}

/* ---- fetch ---- */

static int fetched(const struct args *a, const msgpack_object *r, const char *state)
{
    char why[200] = "";
    if (a->json)
        cli_json(r, true);
    if (!strcmp(state, "failed")) {
        cli_get_text(r, "why", why, sizeof why);
        fprintf(stderr, "violin: it can't be fetched: %s\n", why);
        return CLI_FAILED;
    }
    if (!a->json && cli_get(r, "sources"))
        cli_table(cli_get(r, "sources"), source_fields, "");
    return 0;
}

static int do_fetch(struct cli_client *c, const struct args *a)
{
    struct cli_bar b = cli_bar_new(a, "fetching");
    struct cli_params p;
    msgpack_object r;
    char hash[80], state[32];
    int err;
    cli_one_param(&p, "image", a->arg[1]);
    err = cli_call(c, "image.fetch", &p, &r);
    if (err)
        return err;
    cli_get_text(&r, "hash", hash, sizeof hash);
    for (;;) {
        double size;
        cli_one_param(&p, "image", hash);
        err = cli_call(c, "image.show", &p, &r);
        if (err)
            return err;
        cli_get_text(&r, "state", state, sizeof state);
        size = cli_get_number(&r, "size", 0);
        cli_bar_show(&b, size * cli_get_number(&r, "here_pct", 100) / 100, size);
        if (cli_get(&r, "path") || !strcmp(state, "failed"))
            break;
        cli_wait_a_little();
    }
    cli_bar_end(&b);
    return fetched(a, &r, state);
}

/* ---- the rest ---- */

static int do_show(struct cli_client *c, const struct args *a)
{
    struct cli_params p;
    msgpack_object r;
    int err;
    cli_one_param(&p, "image", a->arg[1]);
    err = cli_call(c, "image.show", &p, &r);
    if (err)
        return err;
    if (a->json) {
        cli_json(&r, true);
        return 0;
    }
    cli_list(&r, show_fields);
    if (cli_get(&r, "sources"))
        cli_table(cli_get(&r, "sources"), source_fields, "");
    return 0;
}

static int do_plain(struct cli_client *c, const struct args *a, const char *method)
{
    struct cli_params p;
    msgpack_object r;
    int err;
    cli_one_param(&p, "image", a->arg[1]);
    err = cli_call(c, method, &p, &r);
    if (!err && a->json)
        cli_json(&r, true);
    return err;
}

int cli_do_image(struct cli_client *c, struct args *a)
{
    const char *what = a->arg[0];
    if (!strcmp(what, "list") && a->n == 1)
        return cli_ask(c, a, "image.list", NULL, list_fields, "no images; `violin image add FILE` adds one");
    if (!strcmp(what, "add") && a->n == 2)
        return do_add(c, a);
    if (!strcmp(what, "show") && a->n == 2)
        return do_show(c, a);
    if (!strcmp(what, "fetch") && a->n == 2)
        return do_fetch(c, a);
    if (!strcmp(what, "cancel") && a->n == 2)
        return do_plain(c, a, "image.cancel");
    if (!strcmp(what, "remove") && a->n == 2)
        return do_plain(c, a, "image.remove");
    if (!strcmp(what, "list"))
        return cli_usage("image list wants nothing more", NULL);
    if (!strcmp(what, "add"))
        return cli_usage("image add wants one FILE", NULL);
    if (!strcmp(what, "show") || !strcmp(what, "fetch") || !strcmp(what, "cancel") || !strcmp(what, "remove")) {
        fprintf(stderr, "violin: image %s wants one IMAGE; `violin image list` shows them\n", what);
        return CLI_USAGE;
    }
    return cli_usage("image wants: list, add FILE, show IMAGE, fetch IMAGE, cancel IMAGE or remove IMAGE", what);
}
