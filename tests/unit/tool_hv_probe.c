/* hv_probe: the libxl backend from a command line, for the lab on real Xen (tests/xen/).
 *
 *   hv_probe [-i IMAGES]… COMMAND
 *   host | list | watch SECONDS | report NAME
 *   mem NAME KIB | sched NAME WEIGHT CAP | pause|unpause|resume|destroy NAME
 *   send NAME HOST PORT       describe and send live, wait for the other side, destroy
 *   recv PORT [die|SECONDS]   receive one guest; then stay to look after it
 *   stream-check              the child that recv starts */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "xen/images.h"
#include "xen/libxl_backend.h"
#include "xen/stream_check.h"

static uv_loop_t loop;
static struct hypervisor *hv;
static bool finished;
static int result;
static uint32_t new_domid;
static struct hv_guest guests[HV_GUESTS_MAX];
static unsigned n_guests;
static struct hv_description description;
static vi_time started;

static double elapsed(void)
{
    return (double)(vi_clock_boottime() - started) / 1e6;
}

static int wait_for(int err)
{
    if (err)
        return err;
    finished = false;
    while (!finished)
        uv_run(&loop, UV_RUN_ONCE);
    return result;
}

static void on_done(void *arg, int err, const char *detail)
{
    (void)arg;
    if (err)
        fprintf(stderr, "%s: %s\n", vi_strerror(err), detail);
    result = err;
    finished = true;
}

static void on_list(void *arg, int err, const struct hv_guest *g, unsigned n)
{
    (void)arg;
    result = err;
    finished = true;
    n_guests = n;
    if (n)
        memcpy(guests, g, n * sizeof *g);
}

static void on_host(void *arg, int err, const struct hv_host *h)
{
    (void)arg;
    result = err;
    finished = true;
    if (err)
        return;
    char boot[VI_ID_TEXT];
    printf("%s %s, %u cpus, %llu KiB, %llu free, dom0 %llu, boot %s, cpu %02x%02x\n", h->kind,
           h->version, h->cpus, (unsigned long long)h->total_kb, (unsigned long long)h->free_kb,
           (unsigned long long)h->dom0_kb, vi_id_format(&h->boot_id, boot), h->cpu_features[0],
           h->cpu_features[1]);
}

static void on_describe(void *arg, int err, const char *detail, const struct hv_description *d)
{
    on_done(arg, err, detail);
    if (!err)
        description = *d;
}

static void on_restore(void *arg, int err, const char *detail, uint32_t domid)
{
    on_done(arg, err, detail);
    new_domid = domid;
}

static void on_event(void *arg, const struct hv_event *ev)
{
    static const char *const kinds[] = {"appeared", "gone", "shutdown", "changed", "lost", "back"};
    (void)arg;
    printf("%7.2f event %s domain %u %s\n", elapsed(), kinds[ev->kind], ev->domid,
           hv_reason_name(ev->reason));
    fflush(stdout);
}

static const struct hv_guest *find(const char *name)
{
    if (wait_for(hv->ops->list(hv, on_list, NULL)) == 0)
        for (unsigned i = 0; i < n_guests; i++)
            if (strcmp(guests[i].name, name) == 0)
                return &guests[i];
    fprintf(stderr, "no guest %s\n", name);
    exit(1);
}

static void print_guest(const struct hv_guest *g)
{
    char uuid[VI_UUID_TEXT];
    printf("%u %s %s %s %s%s%s cpu %.3f s, %llu/%llu/%llu KiB, vcpus %u, weight %u, cap %u", g->domid,
           g->name, vi_uuid_format(&g->uuid, uuid), hv_type_name(g->type), hv_state_name(g->state),
           g->reason ? " " : "", hv_reason_name(g->reason), (double)g->cpu_time_ns / 1e9,
           (unsigned long long)g->current_kb, (unsigned long long)g->target_kb,
           (unsigned long long)g->max_kb, g->vcpus, g->weight, g->cap);
    for (unsigned i = 0; i < g->n_vifs; i++)
        printf(", %02x:%02x:%02x@%s", g->vifs[i].mac[3], g->vifs[i].mac[4], g->vifs[i].mac[5],
               g->vifs[i].bridge);
    for (unsigned i = 0; i < g->n_disks; i++)
        printf(", %s kind %d", g->disks[i].vdev, (int)g->disks[i].kind);
    if (g->report.present)
        printf(", report %llu: %llu of %llu KiB, swap %llu, steal %llu ms",
               (unsigned long long)g->report.sequence, (unsigned long long)g->report.available_kb,
               (unsigned long long)g->report.total_kb, (unsigned long long)g->report.swap_used_kb,
               (unsigned long long)g->report.steal_ms);
    printf("%s%s%s\n", g->incoming ? ", incoming" : "", g->movable ? ", movable" : ", stays: ",
           g->why_not);
}

static void on_time(uv_timer_t *t)
{
    (void)t;
    finished = true;
}

static void stay(unsigned seconds)
{
    uv_timer_t t;
    uv_timer_init(&loop, &t);
    uv_timer_start(&t, on_time, (uint64_t)seconds * 1000, 0);
    wait_for(0);
    uv_close((uv_handle_t *)&t, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
}

static int send_guest(const char *name, const char *host, int port)
{
    const struct hv_guest *g = find(name);
    struct hv_guest was = *g;
    uint8_t text[HV_DESCRIPTION_MAX];
    char c = 0;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), err;

    if (wait_for(hv->ops->describe(hv, was.domid, &was.uuid, on_describe, NULL)))
        return 1;
    for (unsigned i = 0; i < description.n_vifs; i++)
        if (strncmp(was.vifs[i].bridge, "vi-", 3) == 0)
            for (int b = 0; b < 4; b++)
                sscanf(was.vifs[i].bridge + 3 + 2 * b, "%2hhx",
                       &description.vifs[i].environment.b[b]);
    int n = hv_description_encode(&description, text, sizeof text);
    uint16_t len = htons((uint16_t)n);
    inet_pton(AF_INET, host, &a.sin_addr);
    if (n < 0 || connect(s, (struct sockaddr *)&a, sizeof a) < 0 || write(s, &len, 2) != 2 ||
        write(s, text, (size_t)n) != n) {
        perror("connect");
        return 1;
    }
    printf("%7.2f described in %d bytes\n", elapsed(), n);
    err = wait_for(hv->ops->suspend(hv, was.domid, &was.uuid, dup(s), on_done, NULL));
    printf("%7.2f suspend: %s\n", elapsed(), vi_strerror(err));
    if (err || read(s, &c, 1) != 1 || c != 'R' || write(s, "G", 1) != 1 || read(s, &c, 1) != 1 ||
        c != 'U') {
        err = wait_for(hv->ops->resume(hv, was.domid, &was.uuid, on_done, NULL));
        printf("%7.2f it did not work; resume: %s\n", elapsed(), vi_strerror(err));
        return 1;
    }
    err = wait_for(hv->ops->destroy(hv, was.domid, &was.uuid, on_done, NULL));
    printf("%7.2f runs there; destroyed here: %s\n", elapsed(), vi_strerror(err));
    return err != 0;
}

static int receive_guest(int port, const char *then)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int l = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, err;
    uint8_t text[HV_DESCRIPTION_MAX];
    uint16_t len = 0;
    char c;

    setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(l, (struct sockaddr *)&a, sizeof a) < 0 || listen(l, 1) < 0)
        return perror("listen"), 1;
    int s = accept4(l, NULL, NULL, SOCK_CLOEXEC);
    started = vi_clock_boottime();
    if (recv(s, &len, 2, MSG_WAITALL) != 2 || ntohs(len) > sizeof text ||
        recv(s, text, ntohs(len), MSG_WAITALL) != ntohs(len) ||
        hv_description_decode(&description, text, ntohs(len)))
        return fprintf(stderr, "bad description\n"), 1;
    if (wait_for(hv->ops->can_receive(hv, &description, on_done, NULL)))
        return 1;
    printf("%7.2f can receive\n", elapsed());
    err = wait_for(hv->ops->restore(hv, &description, dup(s), on_restore, NULL));
    printf("%7.2f restore: %s, domain %u\n", elapsed(), vi_strerror(err), new_domid);
    if (err || write(s, "R", 1) != 1 || read(s, &c, 1) != 1 || c != 'G')
        return 1;
    err = wait_for(hv->ops->unpause(hv, new_domid, &description.uuid, on_done, NULL));
    printf("%7.2f unpause: %s\n", elapsed(), vi_strerror(err));
    if (err || write(s, "U", 1) != 1)
        return 1;
    fflush(stdout);
    if (then)
        stay((unsigned)atoi(then));
    return 0;
}

static int simple(const char *what, const char *name)
{
    const struct hv_guest *g = find(name);
    const struct hypervisor_ops *o = hv->ops;
    struct hv_guest was = *g;
    int (*f)(struct hypervisor *, uint32_t, const struct vi_id *, hv_done *, void *) =
        !strcmp(what, "pause")     ? o->pause
        : !strcmp(what, "unpause") ? o->unpause
        : !strcmp(what, "resume")  ? o->resume
                                   : o->destroy;
    return wait_for(f(hv, was.domid, &was.uuid, on_done, NULL)) != 0;
}

static int run(int argc, char **argv)
{
    const char *what = argc > 0 ? argv[0] : "";

    if (!strcmp(what, "host"))
        return wait_for(hv->ops->host(hv, on_host, NULL)) != 0;
    if (!strcmp(what, "list")) {
        if (wait_for(hv->ops->list(hv, on_list, NULL)))
            return 1;
        for (unsigned i = 0; i < n_guests; i++)
            print_guest(&guests[i]);
        return 0;
    }
    if (!strcmp(what, "watch") && argc == 2) {
        stay((unsigned)atoi(argv[1]));
        return 0;
    }
    if (!strcmp(what, "mem") && argc == 3) {
        struct hv_guest g = *find(argv[1]);
        return wait_for(hv->ops->set_memory(hv, g.domid, &g.uuid, strtoull(argv[2], NULL, 10),
                                            on_done, NULL)) != 0;
    }
    if (!strcmp(what, "sched") && argc == 4) {
        struct hv_guest g = *find(argv[1]);
        return wait_for(hv->ops->set_sched(hv, g.domid, &g.uuid, (uint32_t)atoi(argv[2]),
                                           (uint32_t)atoi(argv[3]), on_done, NULL)) != 0;
    }
    if (!strcmp(what, "send") && argc == 4)
        return send_guest(argv[1], argv[2], atoi(argv[3]));
    if (!strcmp(what, "recv") && argc >= 2)
        return receive_guest(atoi(argv[1]), argc > 2 ? argv[2] : NULL);
    if (argc == 2 && (!strcmp(what, "pause") || !strcmp(what, "unpause") ||
                      !strcmp(what, "resume") || !strcmp(what, "destroy")))
        return simple(what, argv[1]);
    fprintf(stderr, "see tests/unit/tool_hv_probe.c for the commands\n");
    return 2;
}

int main(int argc, char **argv)
{
    const char *images[IMAGES_FOLDERS_MAX];
    struct hypervisor_libxl_config cfg = {.image_folders = images, .state_folder = "/tmp"};
    char why[256];
    int status;

    if (argc == 2 && !strcmp(argv[1], "stream-check"))
        return stream_check_main(0, 1);
    for (argc--, argv++; argc >= 2 && !strcmp(argv[0], "-i"); argc -= 2, argv += 2)
        if (cfg.n_image_folders < IMAGES_FOLDERS_MAX)
            images[cfg.n_image_folders++] = argv[1];
    uv_loop_init(&loop);
    started = vi_clock_boottime();
    hv = hypervisor_libxl_open(&loop, &cfg, why, sizeof why);
    if (!hv) {
        fprintf(stderr, "%s\n", why);
        uv_run(&loop, UV_RUN_DEFAULT);
        return 1;
    }
    hv->on_event = on_event;
    status = run(argc, argv);
    hv->ops->close(hv);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
    return status;
}
