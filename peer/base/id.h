/* 128-bit identifiers: peers, environments, guests (their UUIDs), handovers, journals, boots.
 *
 * A peer's id is BLAKE2b-128 of "violin peer" followed by its Ed25519 public key. */
#ifndef PEER_BASE_ID_H
#define PEER_BASE_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VI_ID_SIZE 16
#define VI_ID_TEXT 33   /* 32 hex digits and NUL */
#define VI_UUID_TEXT 37 /* 8-4-4-4-12 and NUL */

struct vi_id {
    uint8_t b[VI_ID_SIZE];
};

bool vi_id_equal(const struct vi_id *a, const struct vi_id *b);
/* <0, 0, >0 in byte order; a total order for sorting and for breaking ties. */
int vi_id_compare(const struct vi_id *a, const struct vi_id *b);
bool vi_id_is_zero(const struct vi_id *a);

/* Hex text of the whole id, NUL-terminated. Returns out. */
char *vi_id_format(const struct vi_id *id, char out[VI_ID_TEXT]);
/* The form with dashes that Xen and people use for guests. Returns out. */
char *vi_uuid_format(const struct vi_id *id, char out[VI_UUID_TEXT]);
/* Reads 32 hex digits, dashes allowed anywhere between bytes, any case. 0 or VI_EINVAL. */
int vi_id_parse(struct vi_id *id, const char *text);

/* BLAKE2b-128 over the parts, each preceded by its length as 8 bytes little-endian. */
void vi_id_hash(struct vi_id *id, const char *label, const void *a, size_t alen, const void *b,
                size_t blen);

/* A keyed hash for hash tables whose keys a peer may choose (SipHash-2-4, per-process key). */
uint64_t vi_id_bucket(const struct vi_id *id);
uint64_t vi_bucket(const void *key, size_t len);

#endif
