/* Images on the wire: hashes, manifests, questions, answers, streams; also when they are not what they should be. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "peer/base/err.h"
#include "peer/base/rng.h"
#include "peer/image.h"

static void hashes_and_names(void **unused)
{
    uint8_t h[IMAGE_HASH], again[IMAGE_HASH];
    char text[IMAGE_HASH_TEXT];
    (void)unused;
    image_hash("abc", 3, h);
    /* as b2sum -l 256 has it */
    assert_string_equal(image_hash_format(h, text), "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
    assert_int_equal(image_hash_parse(again, text), 0);
    assert_memory_equal(h, again, sizeof h);
    text[63] = 'g';
    assert_int_equal(image_hash_parse(again, text), VI_EINVAL);
    text[63] = 0;
    assert_int_equal(image_hash_parse(again, text), VI_EINVAL);
    assert_true(image_name_valid("debian-12.3_root+x"));
    assert_false(image_name_valid(""));
    assert_false(image_name_valid("-x"));
    assert_false(image_name_valid("../x"));
    assert_false(image_name_valid("a/b"));
}

static void manifests(void **unused)
{
    uint64_t sizes[] = {1, IMAGE_CHUNK, IMAGE_CHUNK + 1, 5 * (uint64_t)IMAGE_CHUNK}, size;
    uint8_t *chunk = calloc(1, IMAGE_CHUNK);
    (void)unused;
    for (unsigned i = 0; i < 4; i++) {
        size_t len = image_manifest_len(sizes[i]);
        uint8_t *m = malloc(len + 1);
        uint32_t last = image_chunks(sizes[i]) - 1, n = image_chunk_len(sizes[i], last);
        image_manifest_begin(m, sizes[i]);
        image_hash(chunk, n, image_manifest_chunk(m, last));
        assert_int_equal(image_manifest_check(m, len, &size), 0);
        assert_int_equal(size, sizes[i]);
        assert_true(image_chunk_good(m, last, chunk, n));
        assert_false(image_chunk_good(m, last, chunk, n - 1));
        assert_false(image_chunk_good(m, last + 1, chunk, n));
        chunk[0] = 1;
        assert_false(image_chunk_good(m, last, chunk, n));
        chunk[0] = 0;
        assert_int_equal(image_manifest_check(m, len - 1, &size), VI_EPROTO);
        assert_int_equal(image_manifest_check(m, len + 1, &size), VI_EPROTO);
        m[4] = 2;
        assert_int_equal(image_manifest_check(m, len, &size), VI_EVERSION);
        m[4] = 1;
        memset(m + 8, 0xff, 8);
        assert_int_equal(image_manifest_check(m, len, &size), VI_EPROTO);
        memset(m + 8, 0, 8);
        assert_int_equal(image_manifest_check(m, IMAGE_MANIFEST_HEAD, &size), VI_EPROTO);
        free(m);
    }
    free(chunk);
}

static void questions(void **unused)
{
    struct image_find f = {.by_name = true, .name = "root"}, f2;
    struct image_found a = {.size = 300, .name = "root"}, a2;
    struct image_ask q = {.n_ranges = IMAGE_RANGES}, q2;
    uint8_t b[IMAGE_BODY_MAX];
    int n;
    (void)unused;
    n = image_find_encode(&f, b, sizeof b);
    assert_true(n > 0);
    assert_int_equal(image_find_decode(&f2, b, (size_t)n), 0);
    assert_true(f2.by_name);
    assert_string_equal(f2.name, "root");
    f.by_name = false;
    memset(f.hash, 7, sizeof f.hash);
    n = image_find_encode(&f, b, sizeof b);
    assert_int_equal(image_find_decode(&f2, b, (size_t)n), 0);
    assert_memory_equal(f.hash, f2.hash, IMAGE_HASH);
    for (int i = 0; i < n; i++)
        assert_int_not_equal(image_find_decode(&f2, b, (size_t)i), 0);
    n = image_found_encode(&a, b, sizeof b);
    assert_int_equal(image_found_decode(&a2, b, (size_t)n), 0);
    assert_memory_equal(&a, &a2, sizeof a);
    a.size = 0;
    n = image_found_encode(&a, b, sizeof b);
    assert_int_equal(image_found_decode(&a2, b, (size_t)n), VI_EINVAL);
    for (unsigned i = 0; i < IMAGE_RANGES; i++)
        q.ranges[i] = (struct image_range){65535 - 2 * i, 1};
    n = image_ask_encode(&q, b, sizeof b);
    assert_true(n > 0);
    assert_int_equal(image_ask_decode(&q2, b, (size_t)n), 0);
    assert_memory_equal(&q, &q2, sizeof q);
    q.ranges[3].n = 2; /* beyond the largest image */
    q.ranges[3].first = 65535;
    n = image_ask_encode(&q, b, sizeof b);
    assert_int_equal(image_ask_decode(&q2, b, (size_t)n), VI_EPROTO);
    q = (struct image_ask){.manifest = true};
    n = image_ask_encode(&q, b, sizeof b);
    assert_int_equal(image_ask_decode(&q2, b, (size_t)n), 0);
    assert_true(q2.manifest);
    q = (struct image_ask){.n_ranges = 0};
    n = image_ask_encode(&q, b, sizeof b);
    assert_int_equal(image_ask_decode(&q2, b, (size_t)n), VI_EPROTO);
}

/* ---- streams ---- */

#define SIZE (3 * (uint64_t)IMAGE_CHUNK + 5)

static uint8_t stream[5 * IMAGE_CHUNK], chunk[IMAGE_CHUNK];

static size_t put_item(size_t at, uint32_t what, uint32_t len)
{
    image_item_head(stream + at, what, len);
    if (len)
        memset(stream + at + IMAGE_ITEM_HEAD, (int)what, len <= IMAGE_CHUNK ? len : 0);
    return at + IMAGE_ITEM_HEAD + len;
}

/* Feeds in pieces of random length; how many items came whole; -1 when it was refused. */
static int feed(struct image_items *s, size_t n, struct vi_rng *rng)
{
    int items = 0;
    for (size_t at = 0; at < n;) {
        size_t len = 1 + vi_rng_below(rng, 300000), took;
        const uint8_t *p = stream + at, *bytes;
        if (len > n - at)
            len = n - at;
        at += len;
        for (;;) {
            enum image_items_step st = image_items_feed(s, &p, &len, &bytes, &took);
            if (st == IMAGE_ITEMS_BAD)
                return -1;
            if (st == IMAGE_ITEMS_MORE)
                break;
            if (st == IMAGE_ITEMS_BYTES) {
                assert_true(s->got <= s->len && took <= s->got);
                memcpy(chunk + s->got - took, bytes, took);
            }
            if (s->got == s->len) {
                for (uint32_t i = 0; i < s->len; i += 1000)
                    assert_int_equal(chunk[i], (uint8_t)s->what);
                items++;
            }
        }
    }
    return items;
}

static void streams(void **unused)
{
    struct image_ask ask = {.n_ranges = 2, .ranges = {{1, 2}, {3, 1}}};
    struct image_items s;
    struct vi_rng rng;
    size_t n;
    (void)unused;
    vi_rng_seed(&rng, 1);
    for (unsigned i = 0; i < 50; i++) {
        image_items_init(&s, &ask, SIZE);
        n = put_item(put_item(put_item(0, 1, IMAGE_CHUNK), 2, 0), 3, 5);
        assert_int_equal(feed(&s, n, &rng), 3);
        assert_true(image_items_complete(&s));
        image_items_init(&s, &ask, SIZE);
        feed(&s, n - 1, &rng);
        assert_false(image_items_complete(&s));
    }
}

static void streams_that_are_wrong(void **unused)
{
    struct image_ask ask = {.n_ranges = 1, .ranges = {{1, 1}}}, m = {.manifest = true};
    struct image_items s;
    struct vi_rng rng;
    (void)unused;
    vi_rng_seed(&rng, 1);
    image_items_init(&s, &ask, SIZE);
    assert_int_equal(feed(&s, put_item(0, 2, IMAGE_CHUNK), &rng), -1); /* another chunk */
    image_items_init(&s, &ask, SIZE);
    assert_int_equal(feed(&s, put_item(0, 1, 5), &rng), -1); /* its length isn't that */
    image_items_init(&s, &ask, SIZE);
    assert_int_equal(feed(&s, put_item(put_item(0, 1, 0), 1, 0), &rng), -1); /* more than was asked for */
    assert_false(image_items_complete(&s));
    assert_int_equal(feed(&s, 20, &rng), -1); /* and never again anything */
    image_items_init(&s, &m, 0);
    assert_int_equal(feed(&s, put_item(0, IMAGE_ITEM_MANIFEST, 48), &rng), 1);
    assert_true(image_items_complete(&s));
    image_items_init(&s, &m, 0);
    image_item_head(stream, IMAGE_ITEM_MANIFEST, UINT32_MAX);
    assert_int_equal(feed(&s, 100, &rng), -1);
    image_items_init(&s, &ask, IMAGE_CHUNK); /* a chunk that the image hasn't */
    assert_int_equal(feed(&s, put_item(0, 1, 0), &rng), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_and_names), cmocka_unit_test(manifests), cmocka_unit_test(questions),
        cmocka_unit_test(streams),          cmocka_unit_test(streams_that_are_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
