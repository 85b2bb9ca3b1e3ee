/* Why would that host not take this guest? Question and answer between two members (CALL_WHYNOT). Hostile input. */
#ifndef PEER_WHYNOT_H
#define PEER_WHYNOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WHYNOT_DESCRIPTION 900
#define WHYNOT_REASONS     6
#define WHYNOT_REASON      120
#define WHYNOT_SUMMARY     64

struct whynot_question {
    uint64_t kb;
    double pct;
    size_t len;
    uint8_t description[WHYNOT_DESCRIPTION]; /* xen/hypervisor.h's */
};

struct whynot_answer {
    bool observes, paused;
    bool ordered; /* an operator's order is taken: its only reason is one of the policies' among themselves */
    unsigned n;
    char reason[WHYNOT_REASONS][WHYNOT_REASON]; /* none: it would take it */
    size_t summary_len;
    uint8_t summary[WHYNOT_SUMMARY]; /* of its load, now: policy/summary.c's */
};

/* Each encode: the length, or VI_EFULL; each decode: 0 or VI_EPROTO. */
int whynot_question_encode(const struct whynot_question *q, uint8_t *out, size_t cap);
int whynot_question_decode(struct whynot_question *q, const uint8_t *data, size_t len);
int whynot_answer_encode(const struct whynot_answer *a, uint8_t *out, size_t cap);
int whynot_answer_decode(struct whynot_answer *a, const uint8_t *data, size_t len);

#endif
