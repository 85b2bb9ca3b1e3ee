/* The simulated hypervisor's folder. See simulated.h for what is in it. */
#include "xen/simulated_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "peer/base/log.h"
#include "peer/base/rng.h"

#define PATH_SIZE 320

static int write_file(const char *path, const char *text)
{
    char tmp[PATH_SIZE + 8];
    snprintf(tmp, sizeof tmp, "%s.new", path);
    FILE *f = fopen(tmp, "we");
    if (!f)
        return VI_EIO;
    bool bad = fputs(text, f) < 0;
    bad |= fclose(f) != 0;
    if (bad || rename(tmp, path)) {
        unlink(tmp);
        return VI_EIO;
    }
    return 0;
}

/* The first line; VI_ENOTFOUND if there is no file. */
static int read_line(const char *path, char *line, size_t cap)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return errno == ENOENT ? VI_ENOTFOUND : VI_EIO;
    char *got = fgets(line, (int)cap, f);
    fclose(f);
    if (!got)
        return VI_EPROTO;
    line[strcspn(line, "\r\n")] = '\0';
    return 0;
}

int sim_store_new_boot_id(const char *dir, struct vi_id *id)
{
    char path[PATH_SIZE], text[VI_ID_TEXT + 1];
    struct vi_rng rng;
    vi_rng_seed_from_kernel(&rng);
    vi_rng_id(&rng, id);
    snprintf(path, sizeof path, "%s/boot_id", dir);
    vi_id_format(id, text);
    strcat(text, "\n");
    return write_file(path, text);
}

/* host.conf: words `key=number` over any number of lines, # to the end of a line is a comment. */
static int read_host(const char *path, struct sim_store_host *out, char *why, size_t why_size)
{
    char line[256];
    FILE *f = fopen(path, "re");
    if (!f)
        return 0; /* the defaults */
    int err = 0;
    while (!err && fgets(line, sizeof line, f)) {
        char *save = NULL;
        line[strcspn(line, "#\r\n")] = '\0';
        for (char *w = strtok_r(line, " \t", &save); w && !err; w = strtok_r(NULL, " \t", &save)) {
            unsigned n;
            if (sscanf(w, "cpus=%u", &n) == 1 && n >= 1 && n <= 1024)
                out->host.cpus = n;
            else if (sscanf(w, "memory=%u", &n) == 1 && n >= 64)
                out->host.total_kb = (uint64_t)n * 1024;
            else if (sscanf(w, "dom0=%u", &n) == 1)
                out->host.dom0_kb = (uint64_t)n * 1024;
            else if (sscanf(w, "stream=%u", &n) == 1 && n <= 65536)
                out->stream_max_kb = (uint64_t)n * 1024;
            else if (!strncmp(w, "netns=", 6) && sim_name_ok(w + 6) && strlen(w + 6) < sizeof out->netns_prefix)
                snprintf(out->netns_prefix, sizeof out->netns_prefix, "%s", w + 6);
            else
                err = VI_EINVAL;
            if (err)
                snprintf(why, why_size, "%s: %.32s: should be like cpus=2 memory=2048 dom0=256", path, w);
        }
    }
    fclose(f);
    if (!err && out->host.dom0_kb >= out->host.total_kb) {
        snprintf(why, why_size, "%s: dom0 must be less than memory", path);
        err = VI_EINVAL;
    }
    return err;
}

int sim_store_open(const char *dir, struct sim_store_host *out, char *why, size_t why_size)
{
    char path[PATH_SIZE], line[64];
    memset(out, 0, sizeof *out);
    out->host.cpus = 2;
    out->host.total_kb = 2048 * 1024;
    out->host.dom0_kb = 256 * 1024;
    out->stream_max_kb = 8 * 1024;
    snprintf(path, sizeof path, "%s/guests", dir);
    if ((mkdir(dir, 0700) && errno != EEXIST) || (mkdir(path, 0700) && errno != EEXIST)) {
        snprintf(why, why_size, "can't make %s: %s", path, strerror(errno));
        return VI_EIO;
    }
    snprintf(path, sizeof path, "%s/host.conf", dir);
    int err = read_host(path, out, why, why_size);
    if (err)
        return err;
    snprintf(path, sizeof path, "%s/boot_id", dir);
    if (read_line(path, line, sizeof line) == 0 && vi_id_parse(&out->host.boot_id, line) == 0)
        return 0;
    err = sim_store_new_boot_id(dir, &out->host.boot_id);
    if (err)
        snprintf(why, why_size, "can't write %s: %s", path, strerror(errno));
    return err;
}

void sim_store_load(const char *dir, struct sim_model *m)
{
    char path[PATH_SIZE * 2], line[SIM_TEXT_MAX], why[SIM_DETAIL];
    snprintf(path, sizeof path, "%s/guests", dir);
    DIR *d = opendir(path);
    if (!d)
        return;
    for (struct dirent *e; (e = readdir(d));) {
        struct sim_guest g;
        if (e->d_name[0] == '.' || strchr(e->d_name, '.'))
            continue;
        snprintf(path, sizeof path, "%s/guests/%s", dir, e->d_name);
        sim_text_defaults(&g);
        int err = read_line(path, line, sizeof line);
        if (!err)
            err = sim_text_read(&g, line, why, sizeof why);
        g.report.present = false;
        if (!err)
            err = sim_model_put(m, &g);
        if (err)
            vi_log(VI_LOG_WARN, "simulated", "%s: not a guest (%s); left alone", path, vi_strerror(err));
    }
    closedir(d);
}

static void guest_path(const char *dir, const struct vi_id *uuid, char out[PATH_SIZE])
{
    char text[VI_UUID_TEXT];
    snprintf(out, PATH_SIZE, "%s/guests/%s", dir, vi_uuid_format(uuid, text));
}

int sim_store_save(const char *dir, const struct sim_guest *g)
{
    char path[PATH_SIZE], line[SIM_TEXT_MAX];
    int n = sim_text_write(g, line, sizeof line - 1);
    if (n < 0)
        return n;
    line[n] = '\n';
    line[n + 1] = '\0';
    guest_path(dir, &g->cfg.uuid, path);
    return write_file(path, line);
}

void sim_store_remove(const char *dir, const struct vi_id *uuid)
{
    char path[PATH_SIZE];
    guest_path(dir, uuid, path);
    unlink(path);
}
