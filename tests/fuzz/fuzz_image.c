/* What other hosts say about images: questions, answers, manifests, and the streams that bring them. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "peer/image.h"
#include "peer/imagefetch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void stream(const struct image_ask *ask, const uint8_t *data, size_t len)
{
    struct image_items s;
    const uint8_t *bytes;
    size_t n = 0;
    image_items_init(&s, ask, 5 * (uint64_t)IMAGE_CHUNK + 7);
    for (;;) {
        enum image_items_step st = image_items_feed(&s, &data, &len, &bytes, &n);
        if (st == IMAGE_ITEMS_MORE || st == IMAGE_ITEMS_BAD)
            break;
        if (st == IMAGE_ITEMS_BYTES && (s.got > s.len || n > s.got))
            abort();
        if (s.len > IMAGE_MANIFEST_MAX)
            abort();
    }
    (void)image_items_complete(&s);
}

/* A manifest that was stated with its true hash, whatever it is. */
static void fetch(const uint8_t *data, size_t len)
{
    struct vi_rng rng;
    struct image_found found = {.size = 3 * (uint64_t)IMAGE_CHUNK};
    struct image_event ev = {.kind = IMAGE_EV_SOURCE, .peer = {{1}}, .found = &found};
    struct image_fetch *f;
    vi_rng_seed(&rng, 1);
    f = image_fetch_new(found.hash, &rng, 1);
    if (!f)
        return;
    image_hash(data, len, found.manifest);
    image_fetch_step(f, 2, &ev);
    ev = (struct image_event){.kind = IMAGE_EV_LOOKED};
    image_fetch_step(f, 3, &ev);
    ev = (struct image_event){.kind = IMAGE_EV_MANIFEST, .request = 1, .data = data, .len = len};
    image_fetch_step(f, 4, &ev);
    while (image_fetch_effect(f))
        ;
    image_fetch_free(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct image_ask manifest = {.manifest = true};
    static const struct image_ask chunks = {.n_ranges = 2, .ranges = {{0, 2}, {5, 1}}};
    struct image_find f;
    struct image_found a;
    struct image_ask q;
    uint64_t n;
    uint8_t *exact = malloc(size ? size : 1);
    if (!exact)
        return 0;
    memcpy(exact, data, size);
    if (image_find_decode(&f, exact, size) == 0 && f.by_name && !image_name_valid(f.name))
        abort();
    if (image_found_decode(&a, exact, size) == 0 && (a.size == 0 || a.size > IMAGE_SIZE_MAX))
        abort();
    if (image_ask_decode(&q, exact, size) == 0)
        for (unsigned i = 0; i < q.n_ranges; i++)
            if (q.ranges[i].n == 0 || q.ranges[i].n > IMAGE_CHUNKS_MAX - q.ranges[i].first)
                abort();
    if (image_manifest_check(exact, size, &n) == 0)
        for (uint32_t c = 0; c < image_chunks(n); c++)
            (void)image_chunk_good(exact, c, exact, image_chunk_len(n, c) <= size ? image_chunk_len(n, c) : 0);
    stream(&manifest, exact, size);
    stream(&chunks, exact, size);
    fetch(exact, size);
    free(exact);
    return 0;
}
