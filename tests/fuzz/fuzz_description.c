/* Guest descriptions: what decodes encodes again. */
#include <stddef.h>
#include <stdint.h>

#include "xen/hypervisor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hv_description d;
    uint8_t out[HV_DESCRIPTION_MAX];
    if (hv_description_decode(&d, data, size) == 0 && hv_description_encode(&d, out, sizeof out) < 0)
        __builtin_trap();
    return 0;
}
