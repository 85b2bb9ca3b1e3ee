/* Fetching an image on virtual time: honest, wrong, lying, slow, busy, silent and vanishing sources; killed and resumed at
 * any step. What must hold: it ends; what is said to be here is right; nobody honest is distrusted; what was on the disk
 * isn't fetched again. SEED= replays one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "peer/base/err.h"
#include "peer/imagefetch.h"

#define CHUNKS_MAX 400
#define SOURCES    12
#define TRANSFERS  64

enum kind { HONEST, WRONG, LIAR, CHEAT, SLOW, BUSY, SILENT, VANISHES, EMPTY };
/* WRONG: some of its chunks are bad. LIAR: states and gives another manifest, with chunks to match. CHEAT: gives another
 * manifest than it states. SILENT: accepts requests, sends nothing. VANISHES: cut off after some chunks, comes back.
 * EMPTY: says that it has it, has no chunk. */

struct src {
    struct vi_id id;
    enum kind kind;
    unsigned rank;
    vi_time per_chunk, back_at;
    unsigned budget; /* VANISHES: chunks until then; BUSY: refusals */
    uint32_t sent, bad;
    bool distrusted;
};

struct transfer {
    bool used;
    uint32_t request;
    unsigned src, range;
    uint32_t in_range;
    struct image_ask ask;
    vi_time next;
};

static struct world {
    struct vi_rng rng;
    vi_time now;
    uint64_t size;
    uint32_t chunks, lie_at;
    uint8_t hash[IMAGE_HASH], true_hash[IMAGE_HASH], lie_hash[IMAGE_HASH];
    uint8_t *truth, *lie; /* manifests */
    size_t len;
    uint8_t disk[CHUNKS_MAX]; /* 0 nothing, 1 right, 2 the liar's */
    struct src src[SOURCES];
    unsigned n;
    struct transfer tr[TRANSFERS];
    struct image_fetch *f;
    vi_time looked_at; /* LOOKED is due */
    bool looking, over, no_room;
    int err;
    char why[IMAGE_WHY];
    uint64_t written, again; /* chunks; again: that were right on the disk already */
    unsigned steps, cancels, fail_write_at;
} w;

static vi_time soon(vi_time most)
{
    return w.now + 1 + vi_rng_below(&w.rng, (uint32_t)most);
}

static void make(uint64_t seed, uint32_t chunks)
{
    memset(&w, 0, sizeof w);
    vi_rng_seed(&w.rng, seed);
    w.now = VI_SEC;
    w.chunks = chunks;
    w.size = (uint64_t)(chunks - 1) * IMAGE_CHUNK + 1 + vi_rng_below(&w.rng, IMAGE_CHUNK);
    w.len = image_manifest_len(w.size);
    w.truth = malloc(w.len);
    w.lie = malloc(w.len);
    image_manifest_begin(w.truth, w.size);
    vi_rng_bytes(&w.rng, image_manifest_chunk(w.truth, 0), (size_t)chunks * IMAGE_HASH);
    memcpy(w.lie, w.truth, w.len);
    w.lie_at = vi_rng_below(&w.rng, chunks);
    image_manifest_chunk(w.lie, w.lie_at)[0] ^= 1;
    image_hash(w.truth, w.len, w.true_hash);
    image_hash(w.lie, w.len, w.lie_hash);
    vi_rng_bytes(&w.rng, w.hash, sizeof w.hash);
}

static struct src *add(enum kind kind, unsigned rank, vi_time per_chunk)
{
    struct src *s = &w.src[w.n++];
    vi_rng_id(&w.rng, &s->id);
    s->kind = kind;
    s->rank = rank;
    s->per_chunk = per_chunk;
    s->budget = 1 + vi_rng_below(&w.rng, 20);
    return s;
}

static void begin(void)
{
    w.f = image_fetch_new(w.hash, &w.rng, w.now);
    assert_non_null(w.f);
    w.looking = w.over = false;
}

static void end(void)
{
    image_fetch_free(w.f);
    free(w.truth);
    free(w.lie);
    w.f = NULL;
}

static void step(struct image_event *ev)
{
    image_fetch_step(w.f, w.now, ev);
}

/* ---- what the fetch wants ---- */

static unsigned index_of(const struct vi_id *id)
{
    for (unsigned i = 0; i < w.n; i++)
        if (vi_id_equal(&w.src[i].id, id))
            return i;
    fail_msg("asked somebody who isn't a source");
    return 0;
}

static void asked(const struct image_effect *fx)
{
    struct image_event ended = {.kind = IMAGE_EV_ENDED, .request = fx->request, .err = VI_EFULL};
    struct src *s = &w.src[index_of(&fx->peer)];
    assert_false(s->distrusted);
    assert_memory_equal(fx->ask.hash, w.hash, IMAGE_HASH);
    if (s->kind == BUSY && s->budget) {
        s->budget--;
        step(&ended);
        return;
    }
    for (unsigned i = 0; i < TRANSFERS; i++)
        if (!w.tr[i].used) {
            w.tr[i] = (struct transfer){true, fx->request, (unsigned)(s - w.src), 0, 0, fx->ask, soon(s->per_chunk)};
            return;
        }
    fail_msg("too many requests");
}

static void room(void)
{
    struct image_event ev = {.kind = IMAGE_EV_ROOM, .err = w.no_room ? VI_EFULL : 0, .why = "no room"};
    step(&ev);
}

static bool manifest_is_true(void)
{
    return !memcmp(image_fetch_manifest(w.f), w.truth, w.len);
}

static bool right_on_disk(uint32_t c, bool of_truth)
{
    return w.disk[c] == 1 ? of_truth || c != w.lie_at : w.disk[c] == 2 && !of_truth && c == w.lie_at;
}

static void open_part(void)
{
    uint8_t kept[CHUNKS_MAX];
    struct image_event ev = {.kind = IMAGE_EV_KEPT, .kept = kept};
    for (uint32_t c = 0; c < w.chunks; c++)
        kept[c] = right_on_disk(c, manifest_is_true());
    step(&ev);
}

static void check(void)
{
    struct image_event ev = {.kind = IMAGE_EV_WHOLE};
    for (uint32_t c = 0; c < w.chunks; c++) {
        assert_int_not_equal(w.disk[c], 0);
        if (w.disk[c] != 1)
            ev.err = VI_EAUTH;
    }
    step(&ev);
}

static void distrust(const struct image_effect *fx)
{
    struct src *s = &w.src[index_of(&fx->peer)];
    s->distrusted = true;
    if (s->kind == WRONG)
        assert_true(s->bad > 0);
    else
        assert_true(s->kind == LIAR || s->kind == CHEAT);
}

static void perform(const struct image_effect *fx)
{
    switch (fx->kind) {
    case IMAGE_FX_LOOK:
        assert_false(w.looking);
        w.looking = true;
        w.looked_at = soon(VI_SEC);
        break;
    case IMAGE_FX_ASK: asked(fx); break;
    case IMAGE_FX_CANCEL:
        w.cancels++;
        for (unsigned i = 0; i < TRANSFERS; i++)
            if (w.tr[i].used && w.tr[i].request == fx->request)
                w.tr[i].used = false;
        break;
    case IMAGE_FX_ROOM: room(); break;
    case IMAGE_FX_OPEN: open_part(); break;
    case IMAGE_FX_CHECK: check(); break;
    case IMAGE_FX_DISTRUST: distrust(fx); break;
    case IMAGE_FX_OVER:
        assert_false(w.over);
        w.over = true;
        w.err = fx->err;
        memcpy(w.why, fx->why, sizeof w.why);
        break;
    }
}

static void effects(void)
{
    const struct image_effect *fx;
    struct image_effect copy;
    while ((fx = image_fetch_effect(w.f))) {
        copy = *fx;
        perform(&copy);
    }
}

/* ---- what happens to it ---- */

static void answers(void)
{
    struct image_event done = {.kind = IMAGE_EV_LOOKED};
    for (unsigned i = 0; i < w.n; i++) {
        struct src *s = &w.src[i];
        struct image_found found = {.size = w.size};
        struct image_event ev = {.kind = IMAGE_EV_SOURCE, .peer = s->id, .found = &found, .rank = s->rank, .rtt = s->per_chunk};
        memcpy(found.hash, w.hash, IMAGE_HASH);
        memcpy(found.manifest, s->kind == LIAR ? w.lie_hash : w.true_hash, IMAGE_HASH);
        if (s->back_at <= w.now && vi_rng_below(&w.rng, 10)) /* some answers are lost */
            step(&ev);
    }
    w.looking = false;
    step(&done);
}

static void end_transfer(struct transfer *t, int err)
{
    struct image_event ev = {.kind = IMAGE_EV_ENDED, .request = t->request, .err = err};
    t->used = false;
    step(&ev);
}

static void send_manifest(struct transfer *t, const struct src *s)
{
    struct image_event ev = {.kind = IMAGE_EV_MANIFEST, .request = t->request, .len = w.len};
    ev.data = s->kind == LIAR || s->kind == CHEAT ? w.lie : w.truth;
    step(&ev);
    if (t->used)
        end_transfer(t, 0);
}

/* The owner tests the chunk and writes it. */
static void send_chunk(struct transfer *t, struct src *s, uint32_t c)
{
    struct image_event ev = {.kind = IMAGE_EV_CHUNK, .request = t->request, .chunk = c};
    bool of_truth = manifest_is_true(), wanted = image_fetch_wants(w.f, t->request, c);
    uint8_t bytes = s->kind == LIAR && c == w.lie_at ? 2 : 1;
    bool bad = (s->kind == WRONG && vi_rng_below(&w.rng, 8) == 0) || (bytes == 1 ? !of_truth && c == w.lie_at : of_truth);
    s->sent++;
    if (s->kind == EMPTY)
        ev.err = VI_ENOTFOUND;
    else if (bad) {
        s->bad++;
        ev.err = VI_EAUTH;
    } else if (w.fail_write_at && w.written + 1 == w.fail_write_at) {
        ev.err = VI_EIO;
        ev.why = "the disk is full";
    } else {
        w.again += wanted && right_on_disk(c, of_truth);
        w.disk[c] = bytes;
        w.written++;
    }
    step(&ev);
}

static void move(struct transfer *t)
{
    struct src *s = &w.src[t->src];
    uint32_t c;
    t->next = soon(2 * s->per_chunk);
    if (s->kind == SILENT) {
        t->next = w.now + VI_HOUR;
        return;
    }
    if (s->kind == VANISHES && s->budget-- == 0) {
        s->budget = vi_rng_below(&w.rng, 30);
        s->back_at = soon(5 * VI_SEC);
        end_transfer(t, VI_EIO);
        return;
    }
    if (t->ask.manifest) {
        send_manifest(t, s);
        return;
    }
    c = t->ask.ranges[t->range].first + t->in_range;
    if (++t->in_range == t->ask.ranges[t->range].n) {
        t->in_range = 0;
        t->range++;
    }
    send_chunk(t, s, c);
    if (t->used && t->range == t->ask.n_ranges)
        end_transfer(t, 0);
}

/* One thing after another, until it is over or `most` things happened. false: not over. */
static bool go(unsigned most)
{
    effects();
    for (unsigned n = 0; n < most && !w.over; n++) {
        struct transfer *first = NULL;
        struct image_event tick = {.kind = IMAGE_EV_TICK};
        vi_time at = image_fetch_deadline(w.f);
        for (unsigned i = 0; i < TRANSFERS; i++)
            if (w.tr[i].used && w.tr[i].next < at) {
                at = w.tr[i].next;
                first = &w.tr[i];
            }
        if (w.looking && w.looked_at <= at) {
            at = w.looked_at;
            first = NULL;
        }
        assert_true(at != VI_NEVER);
        w.now = at > w.now ? at : w.now;
        w.steps++;
        if (first)
            move(first);
        else if (w.looking && w.looked_at <= w.now)
            answers();
        else
            step(&tick);
        effects();
    }
    return w.over;
}

static void check_whole(void)
{
    struct image_fetch_view v;
    image_fetch_look(w.f, &v);
    assert_int_equal(w.err, 0);
    assert_int_equal(v.state, IMAGE_DONE);
    for (uint32_t c = 0; c < w.chunks; c++)
        assert_int_equal(w.disk[c], 1);
}

/* ---- tests ---- */

static void one_source(void **unused)
{
    (void)unused;
    make(1, 100);
    add(HONEST, 0, VI_MSEC);
    begin();
    assert_true(go(10000));
    check_whole();
    assert_int_equal(w.written, 100);
    end();
}

/* Both give their part, by what they can. */
static void two_sources_share(void **unused)
{
    (void)unused;
    make(2, 400);
    add(HONEST, 0, 10 * VI_MSEC);
    add(HONEST, 0, 20 * VI_MSEC);
    begin();
    assert_true(go(100000));
    check_whole();
    assert_true(w.src[0].sent > 150 && w.src[1].sent > 60);
    assert_true(w.src[0].sent > w.src[1].sent);
    assert_true(w.written <= 400 + IMAGE_BATCH_MAX);
    end();
}

static void own_domain_first(void **unused)
{
    (void)unused;
    make(3, 60);
    add(HONEST, IMAGE_FOREIGN, VI_MSEC);
    add(HONEST, 1, 50 * VI_MSEC);
    begin();
    assert_true(go(100000));
    check_whole();
    assert_int_equal(w.src[0].sent, 0);
    end();
}

/* What is asked of a source that turns out slow is taken over; it doesn't hold up the whole. */
static void slow_one_is_helped(void **unused)
{
    vi_time began;
    (void)unused;
    make(4, 100);
    add(HONEST, 0, 5 * VI_MSEC);
    add(SLOW, 0, 9 * VI_SEC);
    begin();
    began = w.now;
    assert_true(go(100000));
    check_whole();
    assert_true(w.now - began < 20 * VI_SEC);
    end();
}

static void wrong_chunk_comes_from_another(void **unused)
{
    (void)unused;
    make(5, 200);
    add(HONEST, 0, 5 * VI_MSEC);
    add(WRONG, 0, VI_MSEC);
    begin();
    assert_true(go(100000));
    check_whole();
    assert_true(w.src[1].distrusted);
    assert_false(w.src[0].distrusted);
    assert_int_equal(w.src[1].bad, 1); /* the first ends it */
    end();
}

/* More liars than honest ones: their manifest is tried first, found out, and what is right of theirs stays. */
static void liars_are_found_out(void **unused)
{
    struct image_fetch_view v;
    (void)unused;
    make(6, 120);
    add(LIAR, 0, VI_MSEC);
    add(LIAR, 0, VI_MSEC);
    add(HONEST, 1, VI_MSEC);
    begin();
    for (unsigned i = 0; i < 20 && !w.over; i++)
        go(1000);
    check_whole();
    image_fetch_look(w.f, &v);
    assert_int_equal(v.manifests, 1);
    assert_true(w.src[0].distrusted && w.src[1].distrusted && !w.src[2].distrusted);
    assert_int_equal(w.src[2].sent, 1); /* all but the false one were right */
    end();
}

/* One who comes later with a manifest that was found out is known at once. */
static void late_liar_is_known(void **unused)
{
    struct image_fetch_view v;
    (void)unused;
    make(12, 300);
    add(LIAR, 0, VI_MSEC);
    begin();
    while (!w.src[0].distrusted) /* all but one chunk, and found out */
        assert_false(go(1));
    add(LIAR, 0, VI_MSEC);
    while (!w.src[1].distrusted)
        assert_false(go(1));
    image_fetch_look(w.f, &v);
    assert_int_equal(v.manifests, 1); /* it isn't tried a second time */
    add(HONEST, 1, VI_MSEC);
    assert_true(go(1000));
    check_whole();
    assert_int_equal(w.src[2].sent, 1);
    end();
}

static void nobody_has_it(void **unused)
{
    (void)unused;
    make(7, 10);
    begin();
    assert_true(go(100));
    assert_int_equal(w.err, VI_ENOTFOUND);
    assert_true(w.now < 2 * VI_MIN);
    end();
}

/* Only those that don't give it: it is given up, and costs little. */
static void only_enemies(void **unused)
{
    (void)unused;
    make(8, 50);
    add(CHEAT, 0, VI_MSEC);
    add(LIAR, 0, VI_MSEC);
    add(SILENT, 0, VI_MSEC);
    add(EMPTY, 0, VI_MSEC);
    add(WRONG, 0, VI_MSEC);
    begin();
    assert_true(go(100000));
    assert_int_not_equal(w.err, 0);
    assert_true(w.written <= 100);
    end();
}

static void no_room(void **unused)
{
    (void)unused;
    make(9, 50);
    add(HONEST, 0, VI_MSEC);
    w.no_room = true;
    begin();
    assert_true(go(1000));
    assert_int_equal(w.err, VI_EFULL);
    assert_string_equal(w.why, "no room");
    assert_int_equal(w.written, 0);
    end();
}

static void disk_fails(void **unused)
{
    (void)unused;
    make(10, 50);
    add(HONEST, 0, VI_MSEC);
    w.fail_write_at = 20;
    begin();
    assert_true(go(1000));
    assert_int_equal(w.err, VI_EIO);
    assert_string_equal(w.why, "the disk is full");
    end();
}

/* Killed after each single step: what was on the disk isn't fetched again. */
static void resumes_from_any_step(void **unused)
{
    (void)unused;
    for (unsigned at = 0; at < 260; at += 3) {
        uint64_t before;
        make(11, 100);
        add(HONEST, 0, 5 * VI_MSEC);
        add(HONEST, 0, 5 * VI_MSEC);
        begin();
        if (!go(at)) {
            image_fetch_free(w.f);
            memset(w.tr, 0, sizeof w.tr);
            before = w.written;
            begin();
            assert_true(go(10000));
            assert_true(w.written <= 100 + before / 50 + IMAGE_BATCH_MAX);
        }
        check_whole();
        assert_int_equal(w.again, 0);
        end();
    }
}

/* Anything, with at least one honest source, killed now and then. */
static void one_seed(uint64_t seed)
{
    unsigned others;
    make(seed, 1 + vi_rng_below(&w.rng, CHUNKS_MAX)); /* the generator of the seed before: any number */
    others = vi_rng_below(&w.rng, SOURCES);
    for (unsigned i = 0; i < others; i++)
        add((enum kind)vi_rng_below(&w.rng, EMPTY + 1), vi_rng_below(&w.rng, 3), 1 + vi_rng_below(&w.rng, 200000));
    add(vi_rng_below(&w.rng, 3) ? HONEST : VANISHES, vi_rng_below(&w.rng, 3), 1 + vi_rng_below(&w.rng, 200000));
    begin();
    for (unsigned life = 0; life < 6 && !w.over; life++) {
        if (life) {
            image_fetch_free(w.f);
            memset(w.tr, 0, sizeof w.tr);
            for (unsigned i = 0; i < w.n; i++)
                w.src[i].distrusted = false; /* that is forgotten, too */
            begin();
        }
        go(life == 5 ? 1000000 : vi_rng_below(&w.rng, 2000));
    }
    assert_true(w.over);
    check_whole();
    assert_int_equal(w.again, 0);
    end();
}

static void many_seeds(void **unused)
{
    const char *one = getenv("SEED"), *many = getenv("SEEDS");
    uint64_t n = many ? strtoull(many, NULL, 10) : 300;
    (void)unused;
    vi_rng_seed(&w.rng, one ? strtoull(one, NULL, 10) : 0);
    for (uint64_t seed = 1; seed <= n; seed++) {
        uint64_t s = one ? strtoull(one, NULL, 10) : seed;
        vi_rng_seed(&w.rng, s);
        if (getenv("VERBOSE"))
            print_message("SEED=%llu\n", (unsigned long long)s);
        one_seed(s);
        if (one)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_source),         cmocka_unit_test(two_sources_share),
        cmocka_unit_test(own_domain_first),   cmocka_unit_test(slow_one_is_helped),
        cmocka_unit_test(wrong_chunk_comes_from_another), cmocka_unit_test(liars_are_found_out),
        cmocka_unit_test(late_liar_is_known),
        cmocka_unit_test(nobody_has_it),      cmocka_unit_test(only_enemies),
        cmocka_unit_test(no_room),            cmocka_unit_test(disk_fails),
        cmocka_unit_test(resumes_from_any_step), cmocka_unit_test(many_seeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
