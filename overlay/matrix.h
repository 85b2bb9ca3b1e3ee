/* Who sent how much to whom: one thread counts, others read. Pure.
 *
 * Pairs of MACs of an environment, MATRIX_PAIRS at most; what belongs to further ones is counted as one sum. A pair
 * stays until its environment is forgotten with the process: guests are few, and only stated MACs are told apart. */
#ifndef OVERLAY_MATRIX_H
#define OVERLAY_MATRIX_H

#include <stdatomic.h>

#include "peer/base/id.h"

#define MATRIX_PAIRS 1024

struct matrix_pair {
    _Atomic bool used; /* the key is there, and doesn't change any more */
    struct vi_id env;
    uint8_t from[6], to[6];
    _Atomic uint64_t frames, bytes;
};

struct matrix {
    unsigned n, last;                /* the counting thread's: pairs; where the one counted last is */
    _Atomic uint64_t more;           /* frames of pairs for which there was no room */
    struct matrix_pair pair[MATRIX_PAIRS * 2]; /* open addressing */
};

void matrix_count(struct matrix *m, const struct vi_id *env, const uint8_t from[6], const uint8_t to[6], uint64_t frames,
                  uint64_t bytes);

struct matrix_row {
    uint8_t from[6], to[6];
    uint64_t frames, bytes;
};
/* Adds what m has of env to rows, *n of which are filled; beyond cap rows nothing is told. */
void matrix_add(const struct matrix *m, const struct vi_id *env, struct matrix_row *rows, unsigned cap, unsigned *n);

#endif
