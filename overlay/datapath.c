/* The data path's life: threads, and what they are given. See datapath.h, datapath_internal.h.
 *
 * Each thread: epoll over its TAP queues, its sockets and an eventfd. */
#include "overlay/datapath.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "overlay/datapath_internal.h"

#define SOCKET SWITCH_ENVS /* in epoll's data: below it the TAPs; then one a lane */
#define POKE   (SOCKET + DATAPATH_LANES)

/* ---- replaced things ---- */

static bool quiet(const struct datapath *d, uint64_t epoch)
{
    for (unsigned i = 0; i < d->threads; i++) {
        uint64_t in = d->worker[i] ? atomic_load(&d->worker[i]->epoch) : 0;
        if (in && in < epoch)
            return false;
    }
    return true;
}

static void reclaim(struct datapath *d)
{
    unsigned kept = 0;
    for (unsigned i = 0; i < d->n_retired; i++) {
        struct retired *r = &d->retired[i];
        if (quiet(d, r->epoch))
            r->end(d, r->what);
        else
            d->retired[kept++] = *r;
    }
    d->n_retired = kept;
}

/* A batch takes microseconds, unless its thread has to wait for the processor. */
static void wait_quiet(struct datapath *d, uint64_t epoch)
{
    struct timespec t = {.tv_nsec = 50000};
    while (!quiet(d, epoch))
        nanosleep(&t, NULL);
}

void datapath_synchronize(struct datapath *d)
{
    wait_quiet(d, atomic_fetch_add(&d->epoch, 1) + 1);
    reclaim(d);
}

void datapath_retire(struct datapath *d, void (*end)(struct datapath *d, void *what), void *what)
{
    if (d->n_retired == RETIRED)
        datapath_synchronize(d);
    d->retired[d->n_retired++] = (struct retired){atomic_fetch_add(&d->epoch, 1) + 1, end, what};
    reclaim(d);
}

static void table_end(struct datapath *d, void *what)
{
    (void)d;
    switch_table_free(what);
}

void datapath_set_table(struct datapath *d, struct switch_table *t)
{
    pthread_mutex_lock(&d->owner);
    t = atomic_exchange(&d->table, t);
    if (t)
        datapath_retire(d, table_end, t);
    pthread_mutex_unlock(&d->owner);
}

/* ---- a thread ---- */

void datapath_poke(struct worker *w)
{
    uint64_t one = 1;
    (void)!write(w->event, &one, sizeof one);
}

/* Do datagrams fail more often than chance has it? Perhaps it is how they are put together here. */
static void judge_gro(struct worker *w)
{
    uint64_t good = atomic_load(&w->n.rx_packets), bad = atomic_load(&w->n.rx_auth);
    if (w->now < w->judge_at)
        return;
    w->judge_at = w->now + VI_SEC;
    if (w->gro && health_report(&w->gro_health, w->now, good - w->gro_good, bad - w->gro_bad)) {
        rx_gro(w, false);
        count(&w->n.gro_off, 1);
    } else if (!w->gro && w->d->offload.gro && health_ok(&w->gro_health, w->now))
        rx_gro(w, true);
    w->gro_good = good;
    w->gro_bad = bad;
}

static int timeout_of(struct worker *w)
{
    vi_time now;
    if (backlog_first(&w->backlog))
        return 0;
    if (w->next_tick == VI_NEVER)
        return -1;
    now = vi_clock_boottime();
    return w->next_tick <= now ? 0 : (int)((w->next_tick - now + VI_MSEC - 1) / VI_MSEC);
}

static void batch(struct worker *w, const struct epoll_event *ev, int n)
{
    bool poked = false;
    uint64_t value;
    w->table = atomic_load(&w->d->table);
    w->keyring = atomic_load(&w->d->keyring);
    w->taps = atomic_load(&w->d->taps);
    for (int i = 0; i < n; i++)
        if (ev[i].data.u32 == SOCKET + LIGHT)
            rx_socket(w, LIGHT);
    for (int i = 0; i < n; i++) {
        uint32_t what = ev[i].data.u32;
        if (what == SOCKET + HEAVY)
            rx_socket(w, HEAVY);
        else if (what == SOCKET + LIGHT)
            continue;
        else if (what == POKE)
            poked = read(w->event, &value, sizeof value) > 0;
        else
            tap_read(w, what);
    }
    tap_turn(w);
    if (poked)
        via_receive(w);
    if (w->now >= w->next_tick || (poked && w->index == 0)) {
        w->next_tick = w->index == 0 ? path_tick(w) : VI_NEVER;
        judge_gro(w);
    }
    if (n > 0 && w->next_tick > w->now + VI_SEC) /* something happens: look again; after a second of rest, not */
        w->next_tick = w->now + VI_SEC;
}

static void *run(void *arg)
{
    struct worker *w = arg;
    struct epoll_event ev[16];
    while (!atomic_load(&w->d->ending)) {
        int n = epoll_wait(w->epoll, ev, 16, timeout_of(w));
        w->now = vi_clock_boottime();
        atomic_store(&w->epoch, atomic_load(&w->d->epoch));
        batch(w, ev, n < 0 ? 0 : n);
        atomic_store(&w->epoch, 0);
    }
    return NULL;
}

static bool watch(struct worker *w, int fd, uint32_t what)
{
    struct epoll_event ev = {.events = EPOLLIN, .data.u32 = what};
    return epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &ev) == 0;
}

/* The network never cuts our datagrams: a path that is too small is found out by probes instead. */
static void never_cut(int fd)
{
    int v4 = IP_PMTUDISC_PROBE, v6 = IPV6_PMTUDISC_PROBE;
    (void)setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER, &v4, sizeof v4);
    (void)setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, &v6, sizeof v6); /* an IPv4 socket has none */
}

static struct worker *worker_make(struct datapath *d, unsigned index)
{
    struct worker *w = calloc(1, sizeof *w);
    if (!w)
        return NULL;
    w->d = d;
    w->index = index;
    w->next_tick = VI_NEVER;
    for (unsigned i = 0; i < SWITCH_ENVS; i++)
        w->rates[i].limits = &d->limits;
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    w->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    d->worker[index] = w;
    if (w->epoll < 0 || w->event < 0 || !watch(w, w->event, POKE))
        return NULL;
    for (unsigned lane = 0; lane < d->lanes; lane++) {
        w->send[lane].lane = lane;
        w->udp_fd[lane] = d->cfg.udp_fd[index * d->lanes + lane];
        if (!watch(w, w->udp_fd[lane], SOCKET + lane))
            return NULL;
        never_cut(w->udp_fd[lane]);
    }
    rx_gro(w, d->offload.gro);
    return w;
}

static void worker_end(struct worker *w)
{
    if (!w)
        return;
    if (w->running) {
        datapath_poke(w);
        pthread_join(w->thread, NULL);
    }
    if (w->epoll >= 0)
        close(w->epoll);
    if (w->event >= 0)
        close(w->event);
    free(w->injected);
    free(w);
}

/* ---- the whole ---- */

struct datapath *datapath_start(const struct datapath_config *cfg)
{
    struct datapath *d = calloc(1, sizeof *d);
    bool good = d != NULL;
    if (!d)
        return NULL;
    d->cfg = *cfg;
    d->threads = cfg->threads ? cfg->threads : 1;
    if (d->threads > DATAPATH_THREADS)
        d->threads = DATAPATH_THREADS;
    d->lanes = cfg->lanes == DATAPATH_LANES ? DATAPATH_LANES : 1;
    d->limits = cfg->limits.all > 0 ? cfg->limits : forward_defaults;
    d->limits.bytes = cfg->limits.bytes / d->threads;
    if (cfg->path_bytes)
        d->cfg.path_bytes = cfg->path_bytes < PMTU_MIN ? PMTU_MIN : cfg->path_bytes > PATH_MOST ? PATH_MOST : cfg->path_bytes;
    atomic_init(&d->epoch, 1);
    pthread_mutex_init(&d->owner, NULL);
    pthread_mutex_init(&d->mail, NULL);
    if (!cfg->no_gso)
        datapath_selftest(&d->offload);
    for (unsigned i = 0; i < d->threads; i++)
        good = worker_make(d, i) && good;
    for (unsigned i = 0; good && i < d->threads; i++)
        good = d->worker[i]->running = pthread_create(&d->worker[i]->thread, NULL, run, d->worker[i]) == 0;
    if (good)
        return d;
    datapath_stop(d);
    return NULL;
}

void datapath_stop(struct datapath *d)
{
    if (!d)
        return;
    atomic_store(&d->ending, true);
    for (unsigned i = 0; i < d->threads; i++) {
        worker_end(d->worker[i]);
        d->worker[i] = NULL;
    }
    reclaim(d);
    taps_free(d);
    via_free(d);
    keys_free(d);
    switch_table_free(atomic_load(&d->table));
    pthread_mutex_destroy(&d->owner);
    pthread_mutex_destroy(&d->mail);
    free(d);
}

static void add_counters(struct datapath_counters *out, struct counters *c)
{
#define X(name) out->name += atomic_load_explicit(&c->name, memory_order_relaxed);
    DATAPATH_COUNTERS(X)
#undef X
    for (unsigned i = 0; i < FORWARD_REASONS; i++)
        out->dropped[i] += atomic_load_explicit(&c->dropped[i], memory_order_relaxed);
}

void datapath_counters(struct datapath *d, struct datapath_counters *out)
{
    memset(out, 0, sizeof *out);
    pthread_mutex_lock(&d->owner);
    add_counters(out, &d->n);
    for (unsigned i = 0; i < d->threads; i++)
        add_counters(out, &d->worker[i]->n);
    pthread_mutex_unlock(&d->owner);
}

void datapath_state(struct datapath *d, struct datapath_state *out)
{
    struct taps *t;
    *out = (struct datapath_state){.threads = d->threads, .gso = d->offload.gso, .gro = d->offload.gro};
    pthread_mutex_lock(&d->owner);
    t = atomic_load(&d->taps);
    for (unsigned i = 0; t && i < SWITCH_ENVS; i++) {
        out->taps += t->tap[i].n > 0;
        out->taps_vnet += t->tap[i].n > 0 && t->tap[i].vnet;
    }
    pthread_mutex_unlock(&d->owner);
}
