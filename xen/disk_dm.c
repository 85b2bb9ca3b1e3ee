/* The device mapper, by its ioctls: no program has to be there, and nothing waits for udev. See disk.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "peer/base/err.h"
#include "peer/base/log.h"
#include "xen/disk_internal.h"

#define MAPPER     "/dev/mapper/"
#define CONTROL    MAPPER "control"
#define LOOP_TRIES 16
#define CLOSE_TRIES 10
#define CLOSE_PAUSE_MS 50

struct request {
    struct dm_ioctl head;
    char data[1024]; /* a target and its parameters, or what the kernel says of them */
};

static int control(unsigned long command, struct request *r, char *why, size_t cap)
{
    int fd = open(CONTROL, O_RDWR | O_CLOEXEC), err = 0;
    if (fd < 0) {
        snprintf(why, cap, "%s: %s; load the module dm-mod", CONTROL, strerror(errno));
        return VI_EUNSUPPORTED;
    }
    if (ioctl(fd, command, r)) {
        err = errno == ENXIO ? VI_ENOTFOUND : errno == EBUSY ? VI_ESTATE : VI_EIO;
        snprintf(why, cap, "device mapper, %s: %s", r->head.name, strerror(errno));
    }
    close(fd);
    return err;
}

static bool begin(struct request *r, const char *name)
{
    memset(r, 0, sizeof *r);
    r->head.version[0] = DM_VERSION_MAJOR;
    r->head.data_size = sizeof *r;
    r->head.data_start = sizeof r->head;
    if (!name[0] || strlen(name) >= DISK_NAME || strchr(name, '/'))
        return false;
    strcpy(r->head.name, name);
    return true;
}

static int plain(unsigned long command, const char *name, uint32_t flags, char *why, size_t cap)
{
    struct request r;
    if (!begin(&r, name))
        return VI_EINVAL;
    r.head.flags = flags;
    return control(command, &r, why, cap);
}

int dm_suspend(const char *name, bool flush, char *why, size_t cap)
{
    return plain(DM_DEV_SUSPEND, name, DM_SUSPEND_FLAG | DM_SKIP_LOCKFS_FLAG | (flush ? 0U : DM_NOFLUSH_FLAG), why, cap);
}

int dm_resume(const char *name, char *why, size_t cap)
{
    return plain(DM_DEV_SUSPEND, name, 0, why, cap);
}

int dm_table(const char *name, const char *target, uint64_t sectors, const char *params, bool flush, char *why, size_t cap)
{
    struct request r;
    struct dm_target_spec spec = {.length = sectors};
    int err;
    if (!begin(&r, name) || sizeof spec + strlen(params) + 1 > sizeof r.data || strlen(target) >= sizeof spec.target_type)
        return VI_EINVAL;
    strcpy(spec.target_type, target);
    memcpy(r.data, &spec, sizeof spec);
    strcpy(r.data + sizeof spec, params);
    r.head.target_count = 1;
    err = control(DM_TABLE_LOAD, &r, why, cap);
    if (err)
        return err;
    err = dm_suspend(name, flush, why, cap);
    return err ? err : dm_resume(name, why, cap);
}

int dm_status(const char *name, bool table, char *out, size_t size, char *why, size_t cap)
{
    struct request r;
    int err;
    if (!begin(&r, name))
        return VI_EINVAL;
    r.head.flags = table ? DM_STATUS_TABLE_FLAG : 0;
    err = control(DM_TABLE_STATUS, &r, why, cap);
    if (err)
        return err;
    r.data[sizeof r.data - 1] = '\0';
    if (r.head.target_count != 1 || r.head.flags & DM_BUFFER_FULL_FLAG) {
        snprintf(why, cap, "%s has not one target", name);
        return VI_EPROTO;
    }
    snprintf(out, size, "%s", r.data + sizeof(struct dm_target_spec));
    return 0;
}

int dm_number(const char *path, dev_t *number, char *why, size_t cap)
{
    struct stat st;
    if (stat(path, &st) || !S_ISBLK(st.st_mode)) {
        snprintf(why, cap, "%s is no block device", path);
        return VI_ENOTFOUND;
    }
    *number = st.st_rdev;
    return 0;
}

/* ---- disk.h */

int disk_linear(const char *name, const char *below, uint64_t sectors, bool now, char *why, size_t cap)
{
    char params[64];
    dev_t n;
    int err = dm_number(below, &n, why, cap);
    if (err)
        return err;
    snprintf(params, sizeof params, "%u:%u 0", major(n), minor(n));
    return dm_table(name, "linear", sectors, params, !now, why, cap);
}

/* The name that stays the same over reboots: udev makes it, too, where there is one, but later. */
static void link_to(unsigned number, char path[DISK_PATH])
{
    char to[32], there[32], new[DISK_PATH + 8];
    ssize_t n = readlink(path, there, sizeof there - 1);
    snprintf(to, sizeof to, "../dm-%u", number);
    if (n > 0 && (size_t)n == strlen(to) && strncmp(there, to, (size_t)n) == 0)
        return;
    snprintf(new, sizeof new, "%s.new", path);
    unlink(new);
    if (symlink(to, new) || rename(new, path)) {
        unlink(new);
        snprintf(path, DISK_PATH, "/dev/dm-%u", number);
    }
}

static int where(const char *name, char path[DISK_PATH], bool *live, char *why, size_t cap)
{
    struct request r;
    int err;
    if (!begin(&r, name))
        return VI_EINVAL;
    err = control(DM_DEV_STATUS, &r, why, cap);
    *live = (r.head.flags & DM_ACTIVE_PRESENT_FLAG) != 0;
    snprintf(path, DISK_PATH, MAPPER "%s", name);
    if (!err)
        link_to(minor(r.head.dev), path);
    return err;
}

int disk_users(const char *name, unsigned *n, char *why, size_t cap)
{
    struct request r;
    int err;
    if (!begin(&r, name))
        return VI_EINVAL;
    err = control(DM_DEV_STATUS, &r, why, cap);
    *n = err || r.head.open_count < 0 ? 0 : (unsigned)r.head.open_count;
    return err;
}

int disk_settle(const char *name, uint64_t sectors, char *why, size_t cap)
{
    char below[DISK_PATH];
    struct request r;
    int err;
    if (!begin(&r, name))
        return VI_EINVAL;
    err = control(DM_TABLE_STATUS, &r, why, cap);
    if (err || strncmp(((struct dm_target_spec *)(void *)r.data)->target_type, "mirror", 6) != 0)
        return err;
    err = disk_below(name, below, why, cap);
    return err ? err : disk_linear(name, below, sectors, true, why, cap);
}

int disk_open(const char *name, const char *below, uint64_t sectors, char path[DISK_PATH], char *why, size_t cap)
{
    uint64_t there;
    bool live = false;
    int err = disk_sectors(below, &there);
    if (err || there < sectors || sectors == 0 || sectors > DISK_SECTORS_MAX) {
        snprintf(why, cap, err ? "%s can't be read" : "%s is too small, or the size out of range", below);
        return err ? err : VI_EINVAL;
    }
    err = where(name, path, &live, why, cap);
    if (err == VI_ENOTFOUND)
        err = plain(DM_DEV_CREATE, name, 0, why, cap);
    if (!err && !live) {
        err = disk_linear(name, below, sectors, false, why, cap);
        if (err) {
            char ignored[128];
            (void)disk_close(name, ignored, sizeof ignored);
        }
    }
    return err ? err : where(name, path, &live, why, cap);
}

/* "7:0 0", or of a mirror "core 1 1024 2 7:0 0 43:0 0 …": the first number with a colon in it. */
int disk_below(const char *name, char path[DISK_PATH], char *why, size_t cap)
{
    char text[256], link[64], to[DISK_PATH];
    char *rest = text, *word;
    unsigned major_is, minor_is;
    ssize_t n;
    int err = dm_status(name, true, text, sizeof text, why, cap);
    if (err)
        return err;
    while ((word = strsep(&rest, " ")) && !strchr(word, ':'))
        ;
    if (!word || sscanf(word, "%u:%u", &major_is, &minor_is) != 2)
        return VI_EPROTO;
    snprintf(link, sizeof link, "/sys/dev/block/%u:%u", major_is, minor_is);
    n = readlink(link, to, sizeof to - 1);
    if (n <= 0)
        return VI_EIO;
    to[n] = '\0';
    word = strrchr(to, '/');
    return word && (size_t)snprintf(path, DISK_PATH, "/dev%s", word) < DISK_PATH ? 0 : VI_EPROTO;
}

bool disk_lies_on(const char *device, const char *path)
{
    struct stat dev, it;
    struct loop_info64 loop;
    int fd;
    bool does;
    if (stat(path, &it) || stat(device, &dev) || !S_ISBLK(dev.st_mode))
        return false;
    if (S_ISBLK(it.st_mode))
        return it.st_rdev == dev.st_rdev;
    fd = open(device, O_RDONLY | O_CLOEXEC);
    does = fd >= 0 && !ioctl(fd, LOOP_GET_STATUS64, &loop) && loop.lo_inode == it.st_ino && loop.lo_device == it.st_dev;
    if (fd >= 0)
        close(fd);
    return does;
}

int disk_close(const char *name, char *why, size_t cap)
{
    const struct timespec pause = {.tv_nsec = CLOSE_PAUSE_MS * 1000000L};
    char path[DISK_PATH];
    int err = plain(DM_DEV_REMOVE, name, 0, why, cap);
    for (int i = 0; err == VI_ESTATE && i < CLOSE_TRIES; i++) { /* udev looks into a device that somebody has just closed */
        nanosleep(&pause, NULL);
        err = plain(DM_DEV_REMOVE, name, 0, why, cap);
    }
    snprintf(path, sizeof path, MAPPER "%s", name);
    if (!err)
        unlink(path);
    return err;
}

int disk_sectors(const char *path, uint64_t *sectors)
{
    struct stat st;
    uint64_t bytes = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC), err = 0;
    if (fd < 0)
        return VI_ENOTFOUND;
    if (fstat(fd, &st))
        err = VI_EIO;
    else if (S_ISREG(st.st_mode))
        bytes = (uint64_t)st.st_size;
    else if (!S_ISBLK(st.st_mode) || ioctl(fd, BLKGETSIZE64, &bytes))
        err = VI_EINVAL;
    close(fd);
    *sectors = bytes / 512;
    return err;
}

/* held: the device goes by itself when *held is closed and nobody else has it; NULL: it stays. */
static int loop_on(int control_fd, int file, char path[DISK_PATH], int *held)
{
    struct loop_config c = {.fd = (uint32_t)file, .info.lo_flags = held ? LO_FLAGS_AUTOCLEAR : 0};
    int number = ioctl(control_fd, LOOP_CTL_GET_FREE), loop, err;
    if (number < 0)
        return VI_EIO;
    snprintf(path, DISK_PATH, "/dev/loop%d", number);
    loop = open(path, O_RDWR | O_CLOEXEC);
    if (loop < 0)
        return VI_EIO;
    err = ioctl(loop, LOOP_CONFIGURE, &c) ? (errno == EBUSY ? VI_EAGAIN : VI_EIO) : 0;
    if (held && !err)
        *held = loop;
    else
        close(loop);
    return err;
}

static int loop_open(const char *file, char path[DISK_PATH], int *held, char *why, size_t cap)
{
    int control_fd = open("/dev/loop-control", O_RDWR | O_CLOEXEC), fd = open(file, O_RDWR | O_CLOEXEC), err = VI_EAGAIN;
    if (control_fd < 0 || fd < 0) {
        snprintf(why, cap, "%s: %s", control_fd < 0 ? "/dev/loop-control" : file, strerror(errno));
        err = control_fd < 0 ? VI_EUNSUPPORTED : VI_ENOTFOUND;
    }
    for (int i = 0; err == VI_EAGAIN && i < LOOP_TRIES; i++) /* somebody else took the one that was free */
        err = loop_on(control_fd, fd, path, held);
    if (err == VI_EIO || err == VI_EAGAIN)
        snprintf(why, cap, "%s: no loop device for it: %s", file, strerror(errno));
    if (control_fd >= 0)
        close(control_fd);
    if (fd >= 0)
        close(fd);
    return err;
}

static void limit_path(const char *loop, const char *name, char out[128])
{
    snprintf(out, 128, "/sys/block/%.32s/queue/%s", loop + strlen("/dev/"), name);
}

/* What a guest discards would be cut out of the file: its room, which was taken when the disk was made, could be gone when the
 * guest writes there again. The number's next file may be another's, who gets them back: `most` is what the device can. */
static int set_discards(const char *loop, const char *most)
{
    char path[128];
    FILE *f;
    int err;
    limit_path(loop, "discard_max_bytes", path);
    f = fopen(path, "we");
    err = f && fputs(most, f) >= 0 ? 0 : VI_EIO;
    if (f && fclose(f))
        err = VI_EIO;
    return err;
}

static void give_discards_back(const char *loop)
{
    char path[128], most[24];
    FILE *f;
    limit_path(loop, "discard_max_hw_bytes", path);
    f = fopen(path, "re");
    if (f && fgets(most, sizeof most, f))
        (void)set_discards(loop, most);
    if (f)
        fclose(f);
}

int disk_loop_open(const char *file, char path[DISK_PATH], char *why, size_t cap)
{
    int err = loop_open(file, path, NULL, why, cap);
    if (!err && set_discards(path, "0"))
        vi_log(VI_LOG_WARN, "disk", "%s on %s: what its guest discards can't be held back", path, file);
    return err;
}

int loop_temporary(const char *file, char path[DISK_PATH], int *held, char *why, size_t cap)
{
    return loop_open(file, path, held, why, cap);
}

int disk_loop_close(const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC), err;
    if (fd < 0)
        return VI_ENOTFOUND;
    give_discards_back(path);
    err = ioctl(fd, LOOP_CLR_FD, 0) ? VI_EIO : 0;
    close(fd);
    return err;
}
