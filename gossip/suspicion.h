/* How long a suspicion lasts, and how well we are ourselves: Lifeguard's figures (pure arithmetic,
 * integers, so that every machine comes to the same). */
#ifndef GOSSIP_SUSPICION_H
#define GOSSIP_SUSPICION_H

#include "peer/base/clock.h"

/* log10(n) × 1000, rounded down; 0 for n ≤ 1. */
unsigned gsp_log10_milli(unsigned n);

/* Lifeguard §IV-B, with C confirmations of K: max - (max - min) × log(C + 1) / log(K + 1), where
 * min = alpha × max(1, log10 n) × interval and max = beta × min. With few members K shrinks to
 * n - 2 (accused and first accuser can't confirm); K = 0 gives min. */
struct gsp_suspicion {
    double alpha, beta;
    unsigned k;
    vi_time interval;
};
vi_time gsp_suspicion_min(const struct gsp_suspicion *s, unsigned members);
vi_time gsp_suspicion_time(const struct gsp_suspicion *s, unsigned members, unsigned confirmations);

/* Lifeguard §IV-A: 0 … most; every probe that fails or lacks nacks, and having to refute, adds;
 * every answered probe takes one away. */
unsigned gsp_health_add(unsigned health, int delta, unsigned most);

/* The longest of nearly all: p99 of the last round trips. */
#define GSP_RTTS 64
struct gsp_rtts {
    vi_time v[GSP_RTTS];
    unsigned n, next;
};
void gsp_rtt_add(struct gsp_rtts *r, vi_time rtt);
/* clamp(3 × p99, min, max); max until 8 are known. */
vi_time gsp_rtt_timeout(const struct gsp_rtts *r, vi_time min, vi_time max);

#endif
