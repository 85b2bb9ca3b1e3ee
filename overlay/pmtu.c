/* The prober. See pmtu.h. */
#include "overlay/pmtu.h"

#include <string.h>

void pmtu_init(struct pmtu *p, unsigned most, vi_time now)
{
    memset(p, 0, sizeof *p);
    p->size = PMTU_BASE;
    p->most = most < PMTU_BASE ? PMTU_BASE : most;
    p->bad = p->most + 1;
    p->confirm_at = now + PMTU_CONFIRM;
    p->raise_at = VI_NEVER;
}

/* The next size worth a probe; 0: found. */
static unsigned candidate(const struct pmtu *p)
{
    const unsigned likely[] = {1472, 1452, p->most, 8972};
    if (p->bad - p->size <= PMTU_STEP && !(p->size < p->most && p->bad > p->most))
        return 0;
    for (unsigned i = 0; i < sizeof likely / sizeof *likely; i++)
        if (likely[i] > p->size && likely[i] < p->bad)
            return likely[i];
    return p->size + (p->bad - p->size) / 2;
}

static void send_probe(struct pmtu *p, vi_time now, unsigned size)
{
    if (size != p->probe) {
        p->probe = size;
        p->tries = 0;
        p->id++;
    }
    p->at = now + (PMTU_TIMEOUT << p->tries);
    p->tries++;
}

static void shrink(struct pmtu *p, unsigned bad)
{
    p->bad = bad;
    p->size = bad > PMTU_BASE ? PMTU_BASE : PMTU_MIN;
    p->holes++;
}

/* The probe under way is lost for good. */
static void lost(struct pmtu *p, vi_time now)
{
    unsigned probe = p->probe;
    p->probe = 0;
    if (probe > p->size) {
        p->bad = probe;
        return;
    }
    if (p->size > PMTU_MIN) {
        shrink(p, p->size);
        p->confirm_at = now;
    } else
        p->confirm_at = now + 5 * PMTU_CONFIRM; /* nothing at all comes through: not a matter of size */
    p->raise_at = VI_NEVER;
}

bool pmtu_poll(struct pmtu *p, vi_time now, unsigned *size, uint32_t *id)
{
    unsigned next;
    if (p->probe) {
        if (now < p->at)
            return false;
        if (p->tries < PMTU_TRIES)
            goto send;
        lost(p, now);
    }
    if (now >= p->raise_at) {
        p->bad = p->most + 1;
        p->raise_at = VI_NEVER;
    }
    if (now >= p->confirm_at) /* first what is relied upon */
        send_probe(p, now, p->size);
    else if ((next = candidate(p)))
        send_probe(p, now, next);
    else {
        if (p->raise_at == VI_NEVER && p->size < p->most)
            p->raise_at = now + PMTU_RAISE;
        return false;
    }
    *size = p->probe;
    *id = p->id;
    return true;
send:
    send_probe(p, now, p->probe);
    *size = p->probe;
    *id = p->id;
    return true;
}

void pmtu_acked(struct pmtu *p, vi_time now, uint32_t id)
{
    if (!p->probe || id != p->id)
        return;
    if (p->probe > p->size)
        p->size = p->probe;
    p->probe = 0;
    p->confirm_at = now + PMTU_CONFIRM;
}

void pmtu_refused(struct pmtu *p, vi_time now, unsigned size)
{
    if (size < p->bad && size > PMTU_MIN)
        p->bad = size;
    if (p->probe >= p->bad)
        p->probe = 0;
    if (p->size >= p->bad) {
        shrink(p, p->bad);
        p->confirm_at = now;
    }
}

void pmtu_resume(struct pmtu *p, vi_time now)
{
    p->probe = 0;
    p->confirm_at = now;
}

vi_time pmtu_deadline(const struct pmtu *p, vi_time now)
{
    if (p->probe)
        return p->at;
    if (candidate(p))
        return now;
    return p->confirm_at < p->raise_at ? p->confirm_at : p->raise_at;
}
