/* What the files of the image fetch share. */
#ifndef PEER_IMAGEFETCH_INTERNAL_H
#define PEER_IMAGEFETCH_INTERNAL_H

#include "peer/imagefetch.h"

#define EFFECTS 64

struct source {
    bool used, gone, distrusted;
    struct vi_id id;
    struct image_found found;
    unsigned rank, failures; /* failures: since the last good chunk */
    vi_time rtt, not_before, since; /* since: what is counted for its rate */
    uint64_t bytes, lately;
    uint32_t bad;
    double rate;
};

struct request {
    bool used;
    uint32_t id;
    unsigned source;
    struct image_ask ask;
    uint32_t left; /* chunks that haven't come */
    vi_time asked, moved;
};

struct image_fetch {
    uint8_t hash[IMAGE_HASH];
    struct vi_rng *rng;
    enum image_state state;
    char why[IMAGE_WHY];
    vi_time began, progress, stepped; /* progress: last good chunk, or beginning; stepped: last event */
    bool looking;
    unsigned looks; /* in vain, one after another */
    vi_time next_look;
    struct source sources[IMAGE_SOURCES];
    struct request requests[IMAGE_REQUESTS];
    uint32_t next_request;
    uint8_t manifest_hash[IMAGE_HASH], wrong[IMAGE_MANIFESTS][IMAGE_HASH];
    unsigned n_wrong;
    uint8_t *manifest; /* its bytes */
    size_t manifest_len;
    uint64_t size;
    uint32_t chunks, have, kept, next; /* next: below it nothing is missing */
    uint8_t *got;                      /* a byte a chunk */
    uint8_t *by;                       /* a bit a request that carries it */
    uint64_t bytes, twice;
    struct image_effect effects[EFFECTS];
    unsigned fx_at, fx_n;
};

/* imagefetch.c */
struct image_effect *if_push(struct image_fetch *f, enum image_effect_kind kind);
void if_over(struct image_fetch *f, int err, const char *why);
void if_distrust(struct image_fetch *f, struct source *s, const char *why);

/* imagefetch_assign.c */
/* Asks whoever can be asked for what is missing. */
void if_assign(struct image_fetch *f, vi_time now);
void if_ask_manifest(struct image_fetch *f, vi_time now);
struct request *if_request(struct image_fetch *f, uint32_t id);
bool if_any_request(const struct image_fetch *f);
/* It is over, or not wanted: its chunks are missing again. told: its stream is over already. */
void if_drop(struct image_fetch *f, struct request *r, bool told);
void if_drop_all(struct image_fetch *f, const struct source *of); /* NULL: everybody's */
bool if_useless(const struct image_fetch *f, const struct request *r); /* what still comes of it came from others */
bool if_usable(const struct image_fetch *f, const struct source *s); /* could be asked, if not now then later */
unsigned if_asked(const struct image_fetch *f, const struct source *s);

#endif
