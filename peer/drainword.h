/* A host's draining as it is ordered and told between members (CALL_DRAIN). Hostile input. */
#ifndef PEER_DRAINWORD_H
#define PEER_DRAINWORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DRAINWORD_GUESTS 256
#define DRAINWORD_NAME   64
#define DRAINWORD_WHY    200
#define DRAINWORD_MOST_S (366 * 86400)

enum drainword_what { DRAIN_SHOW = 1, DRAIN_BEGIN = 2, DRAIN_END = 3 };

struct drainword_order {
    enum drainword_what what;
    uint32_t deadline_s; /* BEGIN: from now; 0: none */
    bool within;         /* BEGIN: not to other domains */
};

struct drainword {
    bool draining, drained, within;
    uint64_t deadline_s; /* wall clock, since 1970; 0: none */
    unsigned guests;     /* that are here */
    unsigned n;          /* told of */
    struct {
        char name[DRAINWORD_NAME], why[DRAINWORD_WHY];
    } guest[DRAINWORD_GUESTS];
};

/* Each encode: the length, or VI_EFULL; drainword_encode() leaves out the guests that don't fit. Each decode: 0 or VI_EPROTO. */
int drainword_order_encode(const struct drainword_order *o, uint8_t *out, size_t cap);
int drainword_order_decode(struct drainword_order *o, const uint8_t *data, size_t len);
int drainword_encode(const struct drainword *w, uint8_t *out, size_t cap);
int drainword_decode(struct drainword *w, const uint8_t *data, size_t len);

#endif
