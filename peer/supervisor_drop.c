/* Folders for the peer child, and its way out of root. See supervisor.h. */
#include "peer/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer/base/err.h"

#define CAPS_MAX 63

static int find_user(const char *user, const char *group, uid_t *uid, gid_t *gid, char *why,
                     size_t why_size)
{
    const struct passwd *p = getpwnam(user);
    if (!p) {
        snprintf(why, why_size,
                 "there is no user %s; make it (adduser --system --group %s) or set user and group in "
                 "the configuration", user, user);
        return VI_ENOTFOUND;
    }
    *uid = p->pw_uid;
    *gid = p->pw_gid;
    if (group && group[0]) {
        const struct group *g = getgrnam(group);
        if (!g) {
            snprintf(why, why_size, "there is no group %s; make it (addgroup --system %s) or set group "
                                    "in the configuration", group, group);
            return VI_ENOTFOUND;
        }
        *gid = g->gr_gid;
    }
    if (*uid == 0) {
        snprintf(why, why_size, "user must not be root: what faces the network runs without it");
        return VI_EINVAL;
    }
    return 0;
}

static int make_with_parent(const char *path)
{
    char parent[512];
    if (!mkdir(path, 0700) || errno == EEXIST)
        return 0;
    if (errno != ENOENT || strlen(path) >= sizeof parent)
        return -1;
    snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    if (!slash || slash == parent)
        return -1;
    *slash = '\0';
    return mkdir(parent, 0755) || mkdir(path, 0700) ? -1 : 0;
}

int make_owned_folder(const char *path, unsigned mode, const char *user, const char *group,
                      char *why, size_t why_size)
{
    uid_t uid = geteuid();
    gid_t gid = getegid();
    struct stat st, root;
    int err = uid ? 0 : find_user(user, group, &uid, &gid, why, why_size);
    if (err)
        return err;
    int fd = make_with_parent(path) ? -1 : open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) || stat("/", &root)) {
        snprintf(why, why_size, "can't make the folder %s: %s; make it, or set another in the "
                                "configuration", path, strerror(errno));
        err = VI_EIO;
    } else if (st.st_mode & S_ISVTX || (st.st_ino == root.st_ino && st.st_dev == root.st_dev)) {
        snprintf(why, why_size, "%s is everybody's; set a folder of violin's own", path);
        err = VI_EINVAL;
    } else if ((geteuid() == 0 && fchown(fd, uid, gid)) || fchmod(fd, mode)) {
        snprintf(why, why_size, "can't set the owner of %s: %s", path, strerror(errno));
        err = VI_EIO;
    }
    if (fd >= 0)
        close(fd);
    return err;
}

int peer_child_prepare(const char *user, const char *group, char *why, size_t why_size)
{
    uid_t uid;
    gid_t gid;
    if (geteuid() == 0) {
        int err = find_user(user, group, &uid, &gid, why, why_size);
        if (err)
            return err;
        for (unsigned long cap = 0; cap <= CAPS_MAX; cap++)
            prctl(PR_CAPBSET_DROP, cap, 0, 0, 0); /* fails for numbers that the kernel hasn't */
        if (initgroups(user, gid) || setresgid(gid, gid, gid) || setresuid(uid, uid, uid)) {
            snprintf(why, why_size, "can't become %s: %s", user, strerror(errno));
            return VI_EIO;
        }
        if (setuid(0) == 0 || geteuid() != uid) {
            snprintf(why, why_size, "root came back after becoming %s", user);
            return VI_EIO;
        }
    }
    /* After the change of user, which would take the signal back. */
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) ||
        prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0)) {
        snprintf(why, why_size, "prctl: %s", strerror(errno));
        return VI_EIO;
    }
    return 0;
}
