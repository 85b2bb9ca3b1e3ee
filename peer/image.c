/* Images on the wire. See image.h. */
#include "peer/image.h"

#include <sodium.h>
#include <string.h>

#include "peer/base/err.h"
#include "peer/base/wire.h"

#define VERSION 1

static const uint8_t MAGIC[4] = "VImf";

static void put_u32(uint8_t *p, uint32_t v)
{
    for (unsigned i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static uint32_t get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* ---- hashes and names ---- */

void image_hash(const void *data, size_t len, uint8_t out[IMAGE_HASH])
{
    crypto_generichash(out, IMAGE_HASH, data, len, NULL, 0);
}

char *image_hash_format(const uint8_t hash[IMAGE_HASH], char out[IMAGE_HASH_TEXT])
{
    return sodium_bin2hex(out, IMAGE_HASH_TEXT, hash, IMAGE_HASH);
}

int image_hash_parse(uint8_t hash[IMAGE_HASH], const char *text)
{
    size_t n = 0;
    const char *end;
    if (strlen(text) != IMAGE_HASH_TEXT - 1 ||
        sodium_hex2bin(hash, IMAGE_HASH, text, IMAGE_HASH_TEXT - 1, NULL, &n, &end) || n != IMAGE_HASH || *end)
        return VI_EINVAL;
    return 0;
}

static bool plain(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool image_name_valid(const char *name)
{
    if (!plain(name[0]) || strlen(name) >= IMAGE_NAME_MAX)
        return false;
    for (; *name; name++)
        if (!plain(*name) && !strchr("._+-", *name))
            return false;
    return true;
}

/* ---- chunks and manifests ---- */

uint32_t image_chunks(uint64_t size)
{
    return (uint32_t)((size + IMAGE_CHUNK - 1) >> IMAGE_CHUNK_SHIFT);
}

uint32_t image_chunk_len(uint64_t size, uint32_t chunk)
{
    uint64_t left = size - ((uint64_t)chunk << IMAGE_CHUNK_SHIFT);
    return left < IMAGE_CHUNK ? (uint32_t)left : IMAGE_CHUNK;
}

size_t image_manifest_len(uint64_t size)
{
    return IMAGE_MANIFEST_HEAD + (size_t)IMAGE_HASH * image_chunks(size);
}

void image_manifest_begin(uint8_t *out, uint64_t size)
{
    memset(out, 0, IMAGE_MANIFEST_HEAD);
    memcpy(out, MAGIC, sizeof MAGIC);
    out[4] = VERSION;
    out[5] = IMAGE_CHUNK_SHIFT;
    put_u32(out + 8, (uint32_t)size);
    put_u32(out + 12, (uint32_t)(size >> 32));
}

static uint64_t size_of(const uint8_t *manifest)
{
    return get_u32(manifest + 8) | (uint64_t)get_u32(manifest + 12) << 32;
}

uint8_t *image_manifest_chunk(uint8_t *manifest, uint32_t chunk)
{
    return manifest + IMAGE_MANIFEST_HEAD + (size_t)chunk * IMAGE_HASH;
}

int image_manifest_check(const uint8_t *data, size_t len, uint64_t *size)
{
    if (len < IMAGE_MANIFEST_HEAD || memcmp(data, MAGIC, sizeof MAGIC))
        return VI_EPROTO;
    if (data[4] != VERSION || data[5] != IMAGE_CHUNK_SHIFT)
        return VI_EVERSION;
    *size = size_of(data);
    if (data[6] || data[7] || *size == 0 || *size > IMAGE_SIZE_MAX || len != image_manifest_len(*size))
        return VI_EPROTO;
    return 0;
}

bool image_chunk_good(const uint8_t *manifest, uint32_t chunk, const void *data, size_t len)
{
    uint8_t hash[IMAGE_HASH];
    uint64_t size = size_of(manifest);
    if (chunk >= image_chunks(size) || len != image_chunk_len(size, chunk))
        return false;
    image_hash(data, len, hash);
    return !memcmp(hash, manifest + IMAGE_MANIFEST_HEAD + (size_t)chunk * IMAGE_HASH, IMAGE_HASH);
}

/* ---- questions and answers ---- */

/* What every one of them begins with. */
static void open_message(struct vi_reader *r, const uint8_t *data, size_t len, uint32_t fields, int *err)
{
    vi_reader_init(r, data, len);
    *err = 0;
    if (len > IMAGE_BODY_MAX || vi_read_array(r, fields) != fields)
        *err = VI_EPROTO;
    else if (vi_read_uint(r, UINT32_MAX) != VERSION)
        *err = r->err ? VI_EPROTO : VI_EVERSION;
}

static int close_writer(const struct vi_writer *w)
{
    return w->err ? w->err : (int)w->len;
}

int image_find_encode(const struct image_find *f, uint8_t *out, size_t cap)
{
    struct vi_writer w;
    vi_writer_init(&w, out, cap);
    vi_write_array(&w, 2);
    vi_write_uint(&w, VERSION);
    if (f->by_name)
        vi_write_str(&w, f->name);
    else
        vi_write_bin(&w, f->hash, IMAGE_HASH);
    return close_writer(&w);
}

int image_find_decode(struct image_find *f, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    int err;
    memset(f, 0, sizeof *f);
    open_message(&r, data, len, 2, &err);
    if (err)
        return err;
    f->by_name = vi_read_peek(&r) == VI_WIRE_STR;
    if (f->by_name)
        vi_read_cstr(&r, f->name, sizeof f->name);
    else
        vi_read_bytes(&r, f->hash, IMAGE_HASH);
    err = vi_read_end(&r);
    if (!err && f->by_name && !image_name_valid(f->name))
        err = VI_EINVAL;
    if (err)
        memset(f, 0, sizeof *f);
    return err;
}

int image_found_encode(const struct image_found *f, uint8_t *out, size_t cap)
{
    struct vi_writer w;
    vi_writer_init(&w, out, cap);
    vi_write_array(&w, 5);
    vi_write_uint(&w, VERSION);
    vi_write_bin(&w, f->hash, IMAGE_HASH);
    vi_write_bin(&w, f->manifest, IMAGE_HASH);
    vi_write_uint(&w, f->size);
    vi_write_str(&w, f->name);
    return close_writer(&w);
}

int image_found_decode(struct image_found *f, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    int err;
    memset(f, 0, sizeof *f);
    open_message(&r, data, len, 5, &err);
    if (err)
        return err;
    vi_read_bytes(&r, f->hash, IMAGE_HASH);
    vi_read_bytes(&r, f->manifest, IMAGE_HASH);
    f->size = vi_read_uint(&r, IMAGE_SIZE_MAX);
    vi_read_cstr(&r, f->name, sizeof f->name);
    err = vi_read_end(&r);
    if (!err && (f->size == 0 || (f->name[0] && !image_name_valid(f->name))))
        err = VI_EINVAL;
    if (err)
        memset(f, 0, sizeof *f);
    return err;
}

int image_ask_encode(const struct image_ask *a, uint8_t *out, size_t cap)
{
    struct vi_writer w;
    vi_writer_init(&w, out, cap);
    vi_write_array(&w, 4);
    vi_write_uint(&w, VERSION);
    vi_write_id(&w, &a->stream);
    vi_write_bin(&w, a->hash, IMAGE_HASH);
    if (a->manifest) {
        vi_write_nil(&w);
        return close_writer(&w);
    }
    vi_write_array(&w, 2 * a->n_ranges);
    for (unsigned i = 0; i < a->n_ranges; i++) {
        vi_write_uint(&w, a->ranges[i].first);
        vi_write_uint(&w, a->ranges[i].n);
    }
    return close_writer(&w);
}

static void read_ranges(struct vi_reader *r, struct image_ask *a)
{
    uint32_t numbers = vi_read_array(r, 2 * IMAGE_RANGES);
    if (numbers == 0 || numbers % 2)
        r->err = VI_EPROTO;
    for (; a->n_ranges < numbers / 2 && !r->err; a->n_ranges++) {
        struct image_range *g = &a->ranges[a->n_ranges];
        g->first = (uint32_t)vi_read_uint(r, IMAGE_CHUNKS_MAX - 1);
        g->n = (uint32_t)vi_read_uint(r, IMAGE_CHUNKS_MAX - g->first);
        if (g->n == 0)
            r->err = VI_EPROTO;
    }
}

int image_ask_decode(struct image_ask *a, const uint8_t *data, size_t len)
{
    struct vi_reader r;
    int err;
    memset(a, 0, sizeof *a);
    open_message(&r, data, len, 4, &err);
    if (err)
        return err;
    vi_read_id(&r, &a->stream);
    vi_read_bytes(&r, a->hash, IMAGE_HASH);
    a->manifest = vi_read_peek(&r) == VI_WIRE_NIL;
    if (a->manifest)
        vi_read_nil(&r);
    else
        read_ranges(&r, a);
    err = vi_read_end(&r);
    if (err)
        memset(a, 0, sizeof *a);
    return err;
}

/* ---- the stream ---- */

void image_item_head(uint8_t out[IMAGE_ITEM_HEAD], uint32_t what, uint32_t len)
{
    put_u32(out, what);
    put_u32(out + 4, len);
}

void image_items_init(struct image_items *s, const struct image_ask *ask, uint64_t size)
{
    memset(s, 0, sizeof *s);
    s->ask = *ask;
    s->size = size;
    if (ask->manifest)
        s->ask.n_ranges = 1; /* of one item */
}

bool image_items_complete(const struct image_items *s)
{
    return s->range == s->ask.n_ranges && s->head_len == 0 && !s->broken;
}

static void next_item(struct image_items *s)
{
    s->head_len = 0;
    s->got = 0;
    if (s->ask.manifest || ++s->in_range == s->ask.ranges[s->range].n) {
        s->range++;
        s->in_range = 0;
    }
}

/* Is the item that begins the one that is due, of a length that it may have? */
static bool expected(const struct image_items *s)
{
    uint32_t due;
    if (s->ask.manifest)
        return s->what == IMAGE_ITEM_MANIFEST &&
               (s->len == 0 || (s->len > IMAGE_MANIFEST_HEAD && s->len <= IMAGE_MANIFEST_MAX));
    due = s->ask.ranges[s->range].first + s->in_range;
    return s->what == due && due < image_chunks(s->size) && (s->len == 0 || s->len == image_chunk_len(s->size, due));
}

static enum image_items_step broken(struct image_items *s, size_t *len)
{
    s->broken = true;
    *len = 0;
    return IMAGE_ITEMS_BAD;
}

enum image_items_step image_items_feed(struct image_items *s, const uint8_t **data, size_t *len, const uint8_t **bytes,
                                       size_t *n)
{
    if (s->broken)
        return broken(s, len);
    if (s->head_len == IMAGE_ITEM_HEAD && s->got == s->len) /* the one before was told of */
        next_item(s);
    if (*len == 0)
        return IMAGE_ITEMS_MORE;
    if (s->range == s->ask.n_ranges)
        return broken(s, len); /* more than was asked for */
    if (s->head_len < IMAGE_ITEM_HEAD) {
        size_t take = IMAGE_ITEM_HEAD - s->head_len < *len ? IMAGE_ITEM_HEAD - s->head_len : *len;
        memcpy(s->head + s->head_len, *data, take);
        s->head_len += (unsigned)take;
        *data += take;
        *len -= take;
        if (s->head_len < IMAGE_ITEM_HEAD)
            return IMAGE_ITEMS_MORE;
        s->what = get_u32(s->head);
        s->len = get_u32(s->head + 4);
        return expected(s) ? IMAGE_ITEMS_HEAD : broken(s, len);
    }
    *n = s->len - s->got < *len ? s->len - s->got : *len;
    *bytes = *data;
    s->got += (uint32_t)*n;
    *data += *n;
    *len -= *n;
    return IMAGE_ITEMS_BYTES;
}
