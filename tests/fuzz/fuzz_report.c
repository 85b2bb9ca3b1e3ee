/* What a guest writes about itself. */
#include <stddef.h>
#include <stdint.h>

#include "xen/hypervisor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hv_report r;
    if (hv_report_parse(&r, (const char *)data, size) == 0 && r.available_kb > r.total_kb)
        __builtin_trap();
    return 0;
}
