/* Who has which copy of a disk: what one host says to another. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "peer/diskcopy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size ? size : 1), out[DISKCOPY_MAX];
    struct diskcopy c, again;
    struct vi_id disk;
    int n;
    if (!exact)
        return 0;
    memcpy(exact, data, size);
    if (diskcopy_asked(&disk, exact, size) == 0 && diskcopy_ask(&disk, out) < 0)
        abort();
    if (diskcopy_decode(&c, exact, size) == 0) {
        n = diskcopy_encode(&c, out);
        if (n < 0 || diskcopy_decode(&again, out, (size_t)n) || again.here != c.here || again.generation != c.generation)
            abort();
    }
    free(exact);
    return 0;
}
