/* `violin disk`. */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "peer/cli.h"
#include "peer/cli_internal.h"
#include "peer/envfile.h"

const struct argp_option cli_disk_options[] = {
    JSON_OPTION,
    {"copy", OPT_COPY, "IMAGE[:SIZE]", 0, "create: a copy of an image, with zeros after it up to SIZE", 0},
    {"force", OPT_FORCE, NULL, 0, "remove: although it is the true copy, and what is on it is lost", 0},
    {0}};

static const struct cli_field list_fields[] = {
    {"name", "NAME", CLI_TEXT}, {"size", "SIZE", CLI_BYTES}, {"guest", "GUEST", CLI_TEXT}, {"state", "STATE", CLI_TEXT},
    {NULL, NULL, CLI_TEXT}};
static const struct cli_field show_fields[] = {
    {"name", "name", CLI_TEXT}, {"id", "id", CLI_TEXT}, {"size", "size", CLI_BYTES}, {"state", "state", CLI_TEXT},
    {"guest", "guest", CLI_TEXT}, {"device", "device", CLI_TEXT}, {"adopted", "adopted", CLI_TEXT},
    {"generation", "generation", CLI_COUNT}, {"since", "since", CLI_TIME}, {NULL, NULL, CLI_TEXT}};
static const struct cli_field copy_fields[] = {
    {"host", "COPY ON", CLI_TEXT}, {"state", "STATE", CLI_TEXT}, {"generation", "GENERATION", CLI_COUNT}, {NULL, NULL, CLI_TEXT}};

static void put(struct cli_params *p, const char *key, const char *text)
{
    vi_write_str(&p->w, key);
    vi_write_str(&p->w, text);
}

/* "": it isn't there, or nothing. */
static const char *text_of(const msgpack_object *r, const char *key, char *out, size_t cap)
{
    if (!cli_get_text(r, key, out, cap) || !strcmp(out, "-"))
        out[0] = '\0';
    return out;
}

/* What a guest's configuration names, and what takes it there while it runs. */
static void say_how(const char *name, const char *device)
{
    printf("for a guest that runs:  violin disk attach %s GUEST\n", name);
    if (device[0])
        printf("for its configuration:  disk = [ 'phy:%s,xvda,w' ]\n", device);
}

/* ---- create ---- */

static int made(const struct args *a, const msgpack_object *r, const char *name)
{
    char why[300] = "", device[300] = "";
    (void)text_of(r, "why", why, sizeof why);
    (void)text_of(r, "device", device, sizeof device);
    if (a->json)
        cli_json(r, true);
    if (why[0]) {
        size_t len = strlen(name);
        bool named = !strncmp(why, "disk ", 5) && !strncmp(why + 5, name, len) && !strncmp(why + 5 + len, ": ", 2);
        fprintf(stderr, "violin: disk %s isn't made: %s\n", name, named ? why + 5 + len + 2 : why);
        return CLI_FAILED;
    }
    if (!a->json) {
        char size[32];
        printf("disk %s of %s is made\n", name, cli_format_value(cli_get(r, "size"), CLI_BYTES, size, sizeof size));
        say_how(name, device);
    }
    return CLI_OK;
}

static int follow(struct cli_client *c, const struct args *a, const char *id, const char *name)
{
    struct cli_bar b = cli_bar_new(a, "copying");
    struct cli_params p;
    msgpack_object r;
    for (;;) {
        const msgpack_object *over;
        int err;
        cli_one_param(&p, "id", id);
        err = cli_call(c, "disk.making", &p, &r);
        if (err)
            return err;
        if (cli_get_number(&r, "of_bytes", 0) > 0)
            cli_bar_show(&b, cli_get_number(&r, "done_bytes", 0), cli_get_number(&r, "of_bytes", 0));
        over = cli_get(&r, "over");
        if (over && over->type == MSGPACK_OBJECT_BOOLEAN && over->via.boolean)
            break;
        cli_wait_a_little();
    }
    cli_bar_end(&b);
    return made(a, &r, name);
}

static int create(struct cli_client *c, const struct args *a)
{
    const char *name = a->arg[1], *size = a->n == 3 ? a->arg[2] : NULL;
    struct envfile_disk d = {.kind = ENVFILE_EMPTY};
    struct cli_params p;
    msgpack_object r;
    char id[64] = "";
    int err;
    if (a->n_disks > 1 || (a->n_disks == 1) == (size != NULL))
        return cli_usage("disk create wants a NAME and a SIZE, or a NAME and --copy IMAGE[:SIZE]", NULL);
    if (size && !envfile_size(size, &d.mib))
        return cli_usage("a size is like 512M or 10G, at most 2T", size);
    if (!size && !envfile_copy(&d, a->disk[0].text))
        return cli_usage("--copy is an image, or an image and a size, like root.img:4G", a->disk[0].text);
    cli_params_init(&p);
    vi_write_map(&p.w, 1U + (d.mib > 0) + (size == NULL));
    put(&p, "name", name);
    if (d.mib) {
        vi_write_str(&p.w, "size");
        vi_write_uint(&p.w, d.mib << 20);
    }
    if (!size)
        put(&p, "image", d.image);
    err = cli_call(c, "disk.create", &p, &r);
    if (err)
        return err;
    (void)text_of(&r, "id", id, sizeof id);
    return follow(c, a, id, name);
}

/* ---- adopt ---- */

/* Links are left as they are: what a link names may be another device after a boot. */
static bool whole_path(const char *path, char out[PATH_MAX])
{
    size_t n = 0;
    if (path[0] != '/') {
        if (!getcwd(out, PATH_MAX))
            return false;
        n = strlen(out);
        if (n + 1 < PATH_MAX)
            out[n++] = '/';
    }
    return snprintf(out + n, PATH_MAX - n, "%s", path) < (int)(PATH_MAX - n);
}

static int adopt(struct cli_client *c, const struct args *a)
{
    char path[PATH_MAX], device[300] = "", name[80] = "";
    struct cli_params p;
    msgpack_object r;
    int err;
    if (a->n != 3)
        return cli_usage("disk adopt wants a NAME and the PATH of a block device or file", NULL);
    if (!whole_path(a->arg[2], path) || strlen(path) > 1000)
        return cli_usage("that path is too long", a->arg[2]);
    cli_params_init(&p);
    vi_write_map(&p.w, 2);
    put(&p, "name", a->arg[1]);
    put(&p, "path", path);
    err = cli_call(c, "disk.adopt", &p, &r);
    if (err)
        return err;
    if (a->json) {
        cli_json(&r, true);
        return CLI_OK;
    }
    (void)text_of(&r, "device", device, sizeof device);
    (void)text_of(&r, "name", name, sizeof name);
    if (device[0])
        printf("disk = [ 'phy:%s,xvda,w' ]\n", device);
    fprintf(stderr, "%s is a disk that moves with its guest: put that line into the guest's configuration, in place of\n"
            "the one with %s (xvda as it is there), and start the guest from it.\n", name, path);
    return CLI_OK;
}

/* ---- the rest ---- */

static int list(struct cli_client *c, const struct args *a)
{
    msgpack_object r;
    const msgpack_object *disks;
    char room[32];
    int err = cli_call(c, "disk.list", NULL, &r);
    if (err)
        return err;
    if (a->json) {
        cli_json(&r, true);
        return CLI_OK;
    }
    disks = cli_get(&r, "disks");
    if (disks)
        cli_table(disks, list_fields, "no disks on this host; `violin disk create NAME SIZE` makes one");
    printf("room for more: %s\n", cli_format_value(cli_get(&r, "room"), CLI_BYTES, room, sizeof room));
    return CLI_OK;
}

/* Hosts of other domains aren't asked, and the last of the disk may be there. */
static const char *no_copies(const msgpack_object *r)
{
    char kind[16] = "";
    (void)text_of(r, "kind", kind, sizeof kind);
    return strcmp(kind, "old") ? "no other host of this domain has a copy of it"
                               : "no other host of this domain has a copy of it; where its guest went the true one is (violin history)";
}

static int show(struct cli_client *c, const struct args *a)
{
    const msgpack_object *silent;
    struct cli_params p;
    msgpack_object r;
    int err;
    cli_one_param(&p, "disk", a->arg[1]);
    err = cli_call(c, "disk.show", &p, &r);
    if (err)
        return err;
    if (a->json) {
        cli_json(&r, true);
        return CLI_OK;
    }
    cli_list(&r, show_fields);
    if (cli_get(&r, "copies"))
        cli_table(cli_get(&r, "copies"), copy_fields, no_copies(&r));
    silent = cli_get(&r, "silent");
    for (uint32_t i = 0; silent && silent->type == MSGPACK_OBJECT_ARRAY && i < silent->via.array.size; i++) {
        char name[200];
        printf("%s doesn't say whether it has one\n", cli_format_value(&silent->via.array.ptr[i], CLI_TEXT, name, sizeof name));
    }
    if (cli_get_number(&r, "unasked", 0) > 0)
        printf("%.0f further hosts weren't asked\n", cli_get_number(&r, "unasked", 0));
    return CLI_OK;
}

/* Of an attachment, as the daemon answers. why: what isn't as it should be; "" if nothing. */
struct attachment {
    char disk[80], guest[80], vdev[32], why[200];
};

/* Asks, and reads the answer; *shown: it was printed as JSON, or there is none. */
static int ask_attachment(struct cli_client *c, const char *method, struct cli_params *p, bool json, struct attachment *t, bool *shown)
{
    msgpack_object r;
    int err = cli_call(c, method, p, &r);
    memset(t, 0, sizeof *t);
    *shown = err || json;
    if (!err && json)
        cli_json(&r, true);
    if (*shown)
        return err ? err : CLI_OK;
    (void)text_of(&r, "disk", t->disk, sizeof t->disk);
    (void)text_of(&r, "guest", t->guest, sizeof t->guest);
    (void)text_of(&r, "vdev", t->vdev, sizeof t->vdev);
    (void)text_of(&r, "why", t->why, sizeof t->why);
    return CLI_OK;
}

static int attach(struct cli_client *c, const struct args *a)
{
    struct attachment t;
    struct cli_params p;
    bool shown;
    int err;
    if (a->n < 3)
        return cli_usage("disk attach wants a DISK and a GUEST, and may have what the guest sees it as, like xvdb", NULL);
    cli_params_init(&p);
    vi_write_map(&p.w, a->n == 4 ? 3 : 2);
    put(&p, "disk", a->arg[1]);
    put(&p, "guest", a->arg[2]);
    if (a->n == 4)
        put(&p, "vdev", a->arg[3]);
    err = ask_attachment(c, "disk.attach", &p, a->json, &t, &shown);
    if (shown)
        return err;
    printf("%s has %s as %s\n", t.guest, t.disk, t.vdev);
    if (t.why[0])
        printf("but %s\n", t.why);
    return CLI_OK;
}

static int by_name(struct cli_client *c, const struct args *a, const char *method)
{
    struct cli_params p;
    msgpack_object r;
    int err;
    cli_params_init(&p);
    vi_write_map(&p.w, a->force ? 2 : 1);
    put(&p, "disk", a->arg[1]);
    if (a->force) {
        vi_write_str(&p.w, "force");
        vi_write_uint(&p.w, 1);
    }
    err = cli_call(c, method, &p, &r);
    if (!err && a->json)
        cli_json(&r, true);
    return err;
}

/* What is said when a command has too few arguments, or too many. False: there is no such command. */
static bool wants(const char *what, const char **text)
{
    static const struct {
        const char *command, *text;
    } all[] = {{"list", "disk list wants nothing more"},
               {"create", "disk create wants a NAME and a SIZE, or a NAME and --copy IMAGE[:SIZE]"},
               {"show", "disk show wants a DISK; `violin disk list` shows them"},
               {"detach", "disk detach wants a DISK; `violin disk list` shows them"},
               {"remove", "disk remove wants a DISK; `violin disk list` shows them"}};
    for (unsigned i = 0; i < sizeof all / sizeof *all; i++)
        if (!strcmp(what, all[i].command)) {
            *text = all[i].text;
            return true;
        }
    return false;
}

/* What was detached is the operator's from then on: no command on the guest or its environment removes it. */
static int detach(struct cli_client *c, const struct args *a)
{
    struct attachment t;
    struct cli_params p;
    bool shown;
    int err;
    cli_one_param(&p, "disk", a->arg[1]);
    err = ask_attachment(c, "disk.detach", &p, a->json, &t, &shown);
    if (shown)
        return err;
    printf("%s is taken from %s; it stays here, also when that is removed (violin disk remove %s)\n", t.disk, t.guest, t.disk);
    if (t.why[0])
        printf("but %s\n", t.why);
    return CLI_OK;
}

/* "host1, host2", as many as there is place for: who has a copy of it. */
static void copy_hosts(const msgpack_object *r, char *out, size_t cap)
{
    const msgpack_object *copies = cli_get(r, "copies");
    size_t at = 0;
    out[0] = '\0';
    for (uint32_t i = 0; copies && copies->type == MSGPACK_OBJECT_ARRAY && i < copies->via.array.size; i++) {
        char host[80] = "";
        (void)text_of(&copies->via.array.ptr[i], "host", host, sizeof host);
        if (at + strlen(host) + 8 < cap)
            at += (size_t)snprintf(out + at, cap - at, "%s%s", at ? ", " : "", host);
        else if (strcmp(out + at - 3, "..."))
            at += (size_t)snprintf(out + at, cap - at, ", ...");
    }
}

/* With --force the true copy goes. Old ones on other hosts stay until their room is needed: who has them is asked before,
 * for afterwards nobody knows of the disk here. */
static int remove_disk(struct cli_client *c, const struct args *a)
{
    char hosts[400] = "", id[64] = "";
    int err;
    if (a->force && !a->json) {
        struct cli_params p;
        msgpack_object r;
        cli_one_param(&p, "disk", a->arg[1]);
        err = cli_call(c, "disk.show", &p, &r);
        if (err)
            return err;
        (void)text_of(&r, "id", id, sizeof id);
        copy_hosts(&r, hosts, sizeof hosts);
    }
    err = by_name(c, a, "disk.remove");
    if (!err && hosts[0])
        printf("copies of it stay on %s: there, violin disk remove %s\n", hosts, id);
    return err;
}

int cli_do_disk(struct cli_client *c, struct args *a)
{
    const char *what = a->arg[0], *text;
    if (!strcmp(what, "list") && a->n == 1)
        return list(c, a);
    if (!strcmp(what, "create") && a->n >= 2 && a->n <= 3)
        return create(c, a);
    if (!strcmp(what, "show") && a->n == 2)
        return show(c, a);
    if (!strcmp(what, "attach") && a->n <= 4)
        return attach(c, a);
    if (!strcmp(what, "adopt"))
        return adopt(c, a);
    if (!strcmp(what, "detach") && a->n == 2)
        return detach(c, a);
    if (!strcmp(what, "remove") && a->n == 2)
        return remove_disk(c, a);
    if (wants(what, &text))
        return cli_usage(text, NULL);
    return cli_usage("disk wants: list, create NAME SIZE, create NAME --copy IMAGE, show DISK, attach DISK GUEST, detach DISK, "
                     "adopt NAME PATH or remove DISK", what);
}
