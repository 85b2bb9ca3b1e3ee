/* `violin config check`: do the settings fit this host? See config.h. */
#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>

#include "overlay/overlay.h"
#include "peer/base/err.h"
#include "peer/config.h"
#include "peer/identity.h"
#include "peer/netaddr.h"

static bool is_address(const char *text)
{
    unsigned char a[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, text, a) == 1 || inet_pton(AF_INET6, text, a) == 1;
}

static unsigned addresses(const struct config *c, FILE *out)
{
    char why[300] = "";
    struct mesh_addr a;
    unsigned wrong = 0;
    if (!is_address(c->listen)) {
        fprintf(out, "listen: `%s` is no IPv4 or IPv6 address\n", c->listen);
        wrong++;
    }
    if (c->advertise[0] && netaddr_resolve(&a, c->advertise, why, sizeof why)) {
        fprintf(out, "advertise: %s\n", why);
        wrong++;
    }
    for (unsigned i = 0; i < c->n_seeds; i++) {
        struct seed s;
        if (!seed_parse(&s, c->seeds[i]))
            continue;
        fprintf(out, "seeds: `%.60s` is no key@host:port\n", c->seeds[i]);
        wrong++;
    }
    return wrong;
}

static unsigned folder(const char *key, const char *path, bool made, FILE *out)
{
    struct stat st;
    if (path[0] != '/') {
        fprintf(out, "%s: `%s` isn't a whole path (it begins with /)\n", key, path);
        return 1;
    }
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return 0;
    if (stat(path, &st) < 0 && made && errno == ENOENT)
        return 0; /* made at the start */
    fprintf(out, "%s: %s: %s\n", key, path, stat(path, &st) == 0 ? "is no folder" : strerror(errno));
    return 1;
}

static unsigned folders(const struct config *c, FILE *out)
{
    unsigned wrong = folder("state-dir", c->state_dir, true, out) + folder("agent-dir", c->agent_dir, true, out) +
                     folder("run-dir", c->run_dir, true, out);
    if (c->image_cache[0])
        wrong += folder("image-cache", c->image_cache, true, out);
    if (c->disk_folder[0])
        wrong += folder("disk-folder", c->disk_folder, true, out);
    for (unsigned i = 0; i < c->n_disk_adopt; i++)
        wrong += folder("disk-adopt", c->disk_adopt[i], false, out);
    for (unsigned i = 0; i < c->n_image_dirs; i++)
        wrong += folder("image-dirs", c->image_dirs[i], false, out);
    return wrong;
}

/* Guests' legs outside go there: not into an environment's bridge, nor into what isn't one. */
static unsigned outside(const struct config *c, FILE *out)
{
    char path[CONFIG_TEXT + 32];
    struct stat st;
    if (!c->outside_bridge[0])
        return 0;
    snprintf(path, sizeof path, "/sys/class/net/%s/bridge", c->outside_bridge);
    if (!strchr(c->outside_bridge, '/') && strncmp(c->outside_bridge, "vi-", 3) != 0 && stat(path, &st) == 0)
        return 0;
    fprintf(out, "outside-bridge: there is no bridge `%s`: create it, or leave the key out\n", c->outside_bridge);
    return 1;
}

static unsigned people(const struct config *c, FILE *out)
{
    unsigned wrong = 0;
    if (!getpwnam(c->user)) {
        fprintf(out, "user: there is no user `%s`: create it (useradd --system %s) or set `user`\n", c->user, c->user);
        wrong++;
    }
    if (c->group[0] && !getgrnam(c->group)) {
        fprintf(out, "group: there is no group `%s`: create it (groupadd --system %s) or set `group`\n", c->group,
                c->group);
        wrong++;
    }
    return wrong;
}

unsigned config_surroundings(const struct config *c, FILE *out)
{
    return addresses(c, out) + folders(c, out) + outside(c, out) + people(c, out);
}
