/* The lines that say which disks a guest has that is started again. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "xen/kept_disks.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kept_disk d[HV_DISKS_MAX];
    char *text = malloc(size + 1), out[KEPT_DISKS_MAX];
    const char *rest;
    unsigned n;
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    rest = kept_disks_decode(d, &n, text);
    if (rest) {
        int len = kept_disks_encode(d, n, out);
        if (len < 0 || len != rest - text)
            abort();
    }
    free(text);
    return 0;
}
