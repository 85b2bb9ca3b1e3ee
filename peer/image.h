/* Images: read-only files known by what is in them. What is said about them on the wire, and the arithmetic of their
 * chunks; pure.
 *
 * An image's id is BLAKE2b-256 of its bytes, as in a guest's description. For the way it is cut into chunks of a fixed
 * size (nothing shifts in an image), each named by its own BLAKE2b-256; the list of these is the manifest:
 *
 *   "VImf" 4 · version 1 · log2 of the chunk's size 1 · zero 2 · size 8 (little-endian) · hash 32 × chunks
 *
 * A manifest follows from the bytes alone, so all who have the image have the same one. It proves nothing by itself: its
 * hash is only what a source said. It tells which chunk is wrong, and so who sent it, at once; the id, tested over the
 * whole at the end, tells whether the manifest was true. */
#ifndef PEER_IMAGE_H
#define PEER_IMAGE_H

#include "peer/base/id.h"

#define IMAGE_HASH         32
#define IMAGE_HASH_TEXT    65 /* with NUL */
#define IMAGE_CHUNK_SHIFT  20
#define IMAGE_CHUNK        (1U << IMAGE_CHUNK_SHIFT)
#define IMAGE_CHUNKS_MAX   65536 /* 64 GiB */
#define IMAGE_SIZE_MAX     ((uint64_t)IMAGE_CHUNKS_MAX * IMAGE_CHUNK)
#define IMAGE_MANIFEST_HEAD 16
#define IMAGE_MANIFEST_MAX (IMAGE_MANIFEST_HEAD + IMAGE_HASH * IMAGE_CHUNKS_MAX)
#define IMAGE_NAME_MAX     64 /* with NUL; letters, digits, . _ + - ; begins with a letter or digit */
#define IMAGE_RANGES       16 /* in one request */
#define IMAGE_BODY_MAX     400 /* bytes of any question or answer below */

void image_hash(const void *data, size_t len, uint8_t out[IMAGE_HASH]);
char *image_hash_format(const uint8_t hash[IMAGE_HASH], char out[IMAGE_HASH_TEXT]);
/* 64 hex digits: 0 or VI_EINVAL. */
int image_hash_parse(uint8_t hash[IMAGE_HASH], const char *text);
bool image_name_valid(const char *name);

/* ---- chunks; size 1 to IMAGE_SIZE_MAX, chunk below image_chunks(size) ---- */
uint32_t image_chunks(uint64_t size);
uint32_t image_chunk_len(uint64_t size, uint32_t chunk);

/* ---- manifests, as their bytes ---- */
size_t image_manifest_len(uint64_t size);
/* Writes the head into out[image_manifest_len(size)]; the chunks' hashes are for the caller. */
void image_manifest_begin(uint8_t *out, uint64_t size);
uint8_t *image_manifest_chunk(uint8_t *manifest, uint32_t chunk);
/* A whole and sensible one? 0 and its size, VI_EVERSION, or VI_EPROTO. */
int image_manifest_check(const uint8_t *data, size_t len, uint64_t *size);
/* Are these a chunk's bytes, length and all? The manifest is one that was checked. */
bool image_chunk_good(const uint8_t *manifest, uint32_t chunk, const void *data, size_t len);

/* ---- "have you got it?" (CALL_IMAGE_FIND) ---- */
struct image_find {
    bool by_name;
    uint8_t hash[IMAGE_HASH];
    char name[IMAGE_NAME_MAX];
};
struct image_found {
    uint8_t hash[IMAGE_HASH], manifest[IMAGE_HASH];
    uint64_t size;
    char name[IMAGE_NAME_MAX]; /* there; "" for none */
};

/* ---- "send me this" (CALL_IMAGE_SEND); the answer is empty, the bytes come in a stream of that id ---- */
struct image_range {
    uint32_t first, n;
};
struct image_ask {
    struct vi_id stream;
    uint8_t hash[IMAGE_HASH];
    bool manifest;      /* it; else the chunks of the ranges, in this order */
    unsigned n_ranges;
    struct image_range ranges[IMAGE_RANGES];
};

/* Encoders return the length, or VI_EFULL. Decoders: 0, VI_EPROTO, VI_EINVAL, or VI_EVERSION; *out is all zero then. */
int image_find_encode(const struct image_find *f, uint8_t *out, size_t cap);
int image_find_decode(struct image_find *f, const uint8_t *data, size_t len);
int image_found_encode(const struct image_found *f, uint8_t *out, size_t cap);
int image_found_decode(struct image_found *f, const uint8_t *data, size_t len);
int image_ask_encode(const struct image_ask *a, uint8_t *out, size_t cap);
int image_ask_decode(struct image_ask *a, const uint8_t *data, size_t len);

/* ---- the stream: items of a head (what 4, length 4, little-endian) and bytes, in the order asked for ----
 * A length of 0: the source can't give that one. */
#define IMAGE_ITEM_HEAD     8
#define IMAGE_ITEM_MANIFEST UINT32_MAX /* instead of a chunk's number */
void image_item_head(uint8_t out[IMAGE_ITEM_HEAD], uint32_t what, uint32_t len);

/* Takes a stream apart against what was asked for. */
struct image_items {
    struct image_ask ask;
    uint64_t size;      /* of the image; 0: not known, then only the manifest can be asked for */
    unsigned range;     /* of the next item */
    uint32_t in_range;
    uint32_t what, len; /* of the item under way */
    uint32_t got;
    uint8_t head[IMAGE_ITEM_HEAD];
    unsigned head_len;
    bool broken;
};
enum image_items_step {
    IMAGE_ITEMS_MORE,  /* all was taken */
    IMAGE_ITEMS_HEAD,  /* an item begins: what, len; the caller gets ready for len bytes; 0: it doesn't come */
    IMAGE_ITEMS_BYTES, /* bytes at *data, n of them, belong at got - n of the item */
    IMAGE_ITEMS_BAD    /* not what was asked for; nothing more is taken */
};
void image_items_init(struct image_items *s, const struct image_ask *ask, uint64_t size);
/* Again and again until IMAGE_ITEMS_MORE: moves *data and *len on; n: of BYTES. */
enum image_items_step image_items_feed(struct image_items *s, const uint8_t **data, size_t *len, const uint8_t **bytes,
                                       size_t *n);
bool image_items_complete(const struct image_items *s); /* all that was asked for has come */

#endif
