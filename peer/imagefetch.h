/* Fetching one image from whoever has it: whom to ask for what, and what comes of what arrives. Pure: events with `now`
 * in, effects out; the bytes, and the test of a chunk against the manifest, are the owner's.
 *
 *   LOOKING ─ a source ─> MANIFEST ─ it came ─> ROOM ─> OPENING ─> FETCHING ─ all chunks ─> CHECKING ─ id right ─> DONE
 *      ^────── none is left ─────┴──────────────────────────────────────┘   │
 *      └────────── the manifest was a lie: who stated it is distrusted ─────┘        FAILED: given up, or the disk
 *
 * Sources: own domain before others, then nearest; up to IMAGE_ACTIVE at once, each with up to two requests under way so
 * that its link is never idle, of as many chunks as it sent in the last second. When all is asked for, who is idle
 * takes over the tail of who is slow. A request from which nothing comes for IMAGE_SILENCE is given up.
 *
 * Trust: a source states the manifest's hash with its answer; the manifest that most state is taken first, and only
 * sources that state the same are asked for its chunks. A wrong chunk ends all that its source is asked for: DISTRUST. If
 * the whole isn't what its id says, everybody who stated that manifest is distrusted, and the next one is tried; chunks
 * that are right under it, too, stay. At most IMAGE_MANIFESTS are tried, so liars cost that many times the image.
 *
 * What is on the disk isn't in here: after a restart the chunks that are good are told with KEPT, and aren't asked for. */
#ifndef PEER_IMAGEFETCH_H
#define PEER_IMAGEFETCH_H

#include "peer/base/clock.h"
#include "peer/base/rng.h"
#include "peer/image.h"

#define IMAGE_SOURCES   16 /* known of one image; a further one is left out until one goes */
#define IMAGE_ACTIVE    4  /* asked at once */
#define IMAGE_REQUESTS  8  /* two of each */
#define IMAGE_BATCH_MIN 2
#define IMAGE_BATCH_MAX 32 /* chunks in a request */
#define IMAGE_MANIFESTS 4  /* tried */
#define IMAGE_SILENCE   (15 * VI_SEC)
#define IMAGE_LOOKS     3  /* in vain, before it is said that nobody has it */
#define IMAGE_GIVE_UP   (10 * VI_MIN) /* without a single good chunk */
#define IMAGE_FOREIGN   2  /* rank from which a source is of another domain */
#define IMAGE_WHY       160

enum image_state { IMAGE_LOOKING = 1, IMAGE_MANIFEST, IMAGE_ROOM, IMAGE_OPENING, IMAGE_FETCHING, IMAGE_CHECKING, IMAGE_DONE, IMAGE_FAILED };
const char *image_state_text(enum image_state s);

enum image_event_kind {
    IMAGE_EV_TICK,
    IMAGE_EV_SOURCE,   /* peer has it: found, rank (0 near, 1 own domain, IMAGE_FOREIGN), rtt */
    IMAGE_EV_LOOKED,   /* all whom FX_LOOK was about have answered, or won't */
    IMAGE_EV_MANIFEST, /* request: data, len: the manifest's bytes as they came, borrowed */
    IMAGE_EV_ROOM,     /* err: may it be here? why */
    IMAGE_EV_KEPT,     /* kept: a byte for each chunk, not 0: it is on the disk, and right; err: the disk, why */
    IMAGE_EV_CHUNK,    /* request, chunk, err: 0 right and on the disk; VI_EAUTH wrong; VI_ENOTFOUND not given; else the
                          disk, why */
    IMAGE_EV_ENDED,    /* request: its stream is over; err: VI_EFULL: it is busy */
    IMAGE_EV_GONE,     /* peer can't be asked any more */
    IMAGE_EV_WHOLE,    /* err: 0 all of it is right, and in its place; VI_EAUTH: it isn't what its id says; else the disk */
    IMAGE_EV_CANCEL    /* why */
};

struct image_event {
    enum image_event_kind kind;
    struct vi_id peer;
    const struct image_found *found;
    unsigned rank;
    vi_time rtt;
    uint32_t request, chunk;
    const uint8_t *data, *kept;
    size_t len;
    int err;
    const char *why;
};

enum image_effect_kind {
    IMAGE_FX_LOOK,     /* ask others who has it; SOURCE for each, then LOOKED */
    IMAGE_FX_ASK,      /* request: ask peer for `ask` (the stream's id is the owner's); CHUNK, MANIFEST, then ENDED */
    IMAGE_FX_CANCEL,   /* request: nothing of it is wanted any more; no ENDED */
    IMAGE_FX_ROOM,     /* may `size` bytes come? make room, and answer with ROOM */
    IMAGE_FX_OPEN,     /* with image_fetch_manifest(): what of it is there? answer with KEPT */
    IMAGE_FX_CHECK,    /* the whole: is it what its id says? put it in its place; answer with WHOLE */
    IMAGE_FX_DISTRUST, /* peer sent or said what is wrong: why */
    IMAGE_FX_OVER      /* err, why: it is here (0) or not */
};

struct image_effect {
    enum image_effect_kind kind;
    struct vi_id peer;
    uint32_t request;
    struct image_ask ask;
    uint64_t size;
    int err;
    char why[IMAGE_WHY];
};

struct image_fetch;
/* NULL: no memory. rng is borrowed. It begins by looking: see what it wants with image_fetch_effect(). */
struct image_fetch *image_fetch_new(const uint8_t hash[IMAGE_HASH], struct vi_rng *rng, vi_time now);
void image_fetch_free(struct image_fetch *f); /* NULL does nothing */
/* Whatever doesn't fit (an old request, a chunk that is there) changes nothing. */
void image_fetch_step(struct image_fetch *f, vi_time now, const struct image_event *ev);
/* The next effect, borrowed until the next call of anything; NULL: none. */
const struct image_effect *image_fetch_effect(struct image_fetch *f);
vi_time image_fetch_deadline(const struct image_fetch *f);

/* ---- queries ---- */
/* From OPENING on; NULL before. Valid until the state is LOOKING again, or the end. */
const uint8_t *image_fetch_manifest(const struct image_fetch *f);
/* Is this request still wanted, of whom, and is that chunk? For an owner that has it in hand. */
bool image_fetch_wants(const struct image_fetch *f, uint32_t request, uint32_t chunk);

struct image_fetch_view {
    enum image_state state;
    uint8_t hash[IMAGE_HASH];
    uint64_t size;            /* 0: not known yet */
    uint32_t chunks, have, kept; /* kept: of have, were on the disk at the beginning */
    uint64_t bytes;           /* good, that came over the network */
    uint64_t twice;           /* good ones that came a second time */
    unsigned manifests;       /* that turned out wrong */
    vi_time began;
    char why[IMAGE_WHY];
};
void image_fetch_look(const struct image_fetch *f, struct image_fetch_view *out);

struct image_source_view {
    struct vi_id peer;
    unsigned rank, asked; /* asked: requests under way */
    bool distrusted, gone;
    uint64_t bytes; /* good */
    uint32_t bad;   /* chunks */
    double rate;    /* bytes/s, lately; 0: not known */
};
bool image_fetch_source(const struct image_fetch *f, unsigned i, struct image_source_view *out);

#endif
