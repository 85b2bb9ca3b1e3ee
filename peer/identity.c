/* The state folder's key, certificate and domain. See identity.h. */
#include "peer/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer/base/err.h"

static const char key_magic[8] = "violin1";

struct key_file {
    char magic[8];
    uint8_t ed_sk[64], x_sk[32];
};

static int complain(char *why, size_t cap, const char *dir, const char *name, const char *what)
{
    snprintf(why, cap, "%s/%s: %s", dir, name, what);
    return VI_EIO;
}

static int write_all(int fd, const uint8_t *p, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return -1;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int identity_write_file(const char *dir, const char *name, const void *data, size_t len, char *why,
                        size_t cap)
{
    char tmp[80];
    struct stat st;
    int dfd, fd = -1, err = VI_EIO;
    snprintf(tmp, sizeof tmp, "%s.new", name);
    dfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dfd < 0)
        return complain(why, cap, dir, name, strerror(errno));
    if (fstat(dfd, &st) < 0)
        goto out;
    fd = openat(dfd, tmp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || write_all(fd, data, len) < 0 || fsync(fd) < 0)
        goto out;
    if (geteuid() == 0 && fchown(fd, st.st_uid, st.st_gid) < 0)
        goto out;
    if (renameat(dfd, tmp, dfd, name) < 0 || fsync(dfd) < 0)
        goto out;
    err = 0;
out:
    if (err)
        complain(why, cap, dir, name, strerror(errno));
    if (err && fd >= 0)
        unlinkat(dfd, tmp, 0);
    if (fd >= 0)
        close(fd);
    close(dfd);
    return err;
}

int identity_read_file(const char *dir, const char *name, void *data, size_t cap, size_t *len)
{
    char path[512];
    ssize_t n;
    size_t have = 0;
    int fd;
    uint8_t extra;
    if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, name) >= sizeof path)
        return VI_EINVAL;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? VI_ENOTFOUND : VI_EIO;
    while ((n = read(fd, (uint8_t *)data + have, cap - have)) > 0)
        have += (size_t)n;
    if (n == 0 && have == cap && read(fd, &extra, 1) == 1) {
        close(fd);
        return VI_EFULL;
    }
    close(fd);
    *len = have;
    return n < 0 ? VI_EIO : 0;
}

bool identity_exists(const char *dir)
{
    char path[512];
    if ((size_t)snprintf(path, sizeof path, "%s/cert", dir) >= sizeof path)
        return false;
    return access(path, F_OK) == 0;
}

static void derive(struct identity *me)
{
    crypto_sign_ed25519_sk_to_pk(me->ed_pk, me->ed_sk);
    crypto_scalarmult_base(me->x_pk, me->x_sk);
    cert_peer_id(&me->id, me->ed_pk);
}

void identity_generate(struct identity *me)
{
    memset(me, 0, sizeof *me);
    crypto_sign_keypair(me->ed_pk, me->ed_sk);
    randombytes_buf(me->x_sk, sizeof me->x_sk);
    derive(me);
}

int identity_save(const struct identity *me, const char *dir, char *why, size_t cap)
{
    struct key_file k;
    uint8_t buf[CERT_MAX];
    size_t len;
    int err;
    memcpy(k.magic, key_magic, sizeof k.magic);
    memcpy(k.ed_sk, me->ed_sk, sizeof k.ed_sk);
    memcpy(k.x_sk, me->x_sk, sizeof k.x_sk);
    err = identity_write_file(dir, "key", &k, sizeof k, why, cap);
    sodium_memzero(&k, sizeof k);
    if (!err)
        err = identity_write_file(dir, "authority.pub", me->authority, 32, why, cap);
    if (!err && me->has_delegation) {
        err = cert_delegation_encode(&me->delegation, buf, sizeof buf, &len);
        if (!err)
            err = identity_write_file(dir, "delegation", buf, len, why, cap);
    }
    if (!err)
        err = cert_encode(&me->cert, buf, sizeof buf, &len);
    /* the certificate last: with it the identity exists */
    if (!err)
        err = identity_write_file(dir, "cert", buf, len, why, cap);
    return err;
}

static int load_cert(struct identity *me, const char *dir, char *why, size_t cap)
{
    uint8_t buf[CERT_MAX];
    size_t len;
    int err = identity_read_file(dir, "authority.pub", me->authority, 32, &len);
    if (err || len != 32)
        return complain(why, cap, dir, "authority.pub", "can't be read; restore it or join again");
    err = identity_read_file(dir, "cert", buf, sizeof buf, &len);
    if (!err)
        err = cert_decode(&me->cert, buf, len);
    if (err || memcmp(me->cert.ed, me->ed_pk, 32) || memcmp(me->cert.x, me->x_pk, 32))
        return complain(why, cap, dir, "cert",
                        "is damaged or belongs to another key; restore it or join again");
    err = identity_read_file(dir, "delegation", buf, sizeof buf, &len);
    if (!err && cert_delegation_decode(&me->delegation, buf, len))
        return complain(why, cap, dir, "delegation", "is damaged; restore or remove it");
    me->has_delegation = !err;
    return 0;
}

int identity_load_key(struct identity *me, const char *dir)
{
    struct key_file k;
    size_t len;
    int err = identity_read_file(dir, "key", &k, sizeof k, &len);
    memset(me, 0, sizeof *me);
    if (err == VI_ENOTFOUND)
        return err;
    if (err || len != sizeof k || memcmp(k.magic, key_magic, sizeof k.magic))
        return VI_EIO;
    memcpy(me->ed_sk, k.ed_sk, sizeof k.ed_sk);
    memcpy(me->x_sk, k.x_sk, sizeof k.x_sk);
    sodium_memzero(&k, sizeof k);
    derive(me);
    return 0;
}

int identity_load(struct identity *me, const char *dir, char *why, size_t cap)
{
    int err;
    memset(me, 0, sizeof *me);
    if (access(dir, F_OK) == 0 && access(dir, R_OK | X_OK) < 0)
        return complain(why, cap, dir, "", strerror(errno));
    if (!identity_exists(dir)) {
        snprintf(why, cap,
                 "%s: this host is in no domain yet; run `violin init --domain NAME` on the first "
                 "host, `violin join TOKEN` on every other",
                 dir);
        return VI_ENOTFOUND;
    }
    err = identity_load_key(me, dir);
    if (err)
        return complain(why, cap, dir, "key", "can't be read or is damaged; restore it or join again");
    return load_cert(me, dir, why, cap);
}

int identity_seed(const struct identity *me, const char *address, char out[SEED_TEXT])
{
    struct seed s = {0};
    if (strlen(address) > SEED_ADDR_MAX)
        return VI_EINVAL;
    memcpy(s.ed, me->ed_pk, 32);
    memcpy(s.x, me->x_pk, 32);
    memcpy(s.addr, address, strlen(address) + 1);
    return seed_format(&s, out);
}

unsigned identity_seeds(const char *dir, struct seed *seeds, unsigned max)
{
    char text[IDENTITY_SEEDS * SEED_TEXT + 1], *line, *save = NULL;
    size_t len;
    unsigned n = 0;
    if (identity_read_file(dir, "seeds", text, sizeof text - 1, &len))
        return 0;
    text[len] = 0;
    for (line = strtok_r(text, "\n", &save); line && n < max; line = strtok_r(NULL, "\n", &save))
        if (seed_parse(&seeds[n], line) == 0)
            n++;
    return n;
}
