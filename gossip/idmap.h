/* A hash table from a short key to an index in the owner's array: open addressing, keyed hash (a
 * peer may choose ids). It holds only indexes; the owner says what key an index has. */
#ifndef GOSSIP_IDMAP_H
#define GOSSIP_IDMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GSP_NONE UINT32_MAX

struct gsp_idmap {
    uint32_t *slot; /* index + 1 in 24 bits, 8 of the key's hash above; 0: free */
    uint32_t mask, used;
    size_t key_len;
    const void *arg;
    const void *(*key)(const void *arg, uint32_t index); /* key_len bytes */
};

void gsp_idmap_init(struct gsp_idmap *m, size_t key_len,
                    const void *(*key)(const void *arg, uint32_t index), const void *arg);
void gsp_idmap_free(struct gsp_idmap *m);
uint32_t gsp_idmap_find(const struct gsp_idmap *m, const void *key); /* GSP_NONE */
/* The key must not be in it, the index is below GSP_IDMAP_MOST. 0 or VI_ENOMEM. */
#define GSP_IDMAP_MOST ((UINT32_C(1) << 24) - 1)
int gsp_idmap_add(struct gsp_idmap *m, uint32_t index);
/* The index must still have its key. */
void gsp_idmap_remove(struct gsp_idmap *m, uint32_t index);

#endif
