/* What a host asks another of a guest's disks, and what that answers. */
#include <stdint.h>
#include <string.h>

#include "peer/diskask.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct diskask q, again;
    uint8_t out[DISKASK_SIZE];
    uint64_t lacks;
    int n;
    (void)diskask_answer_decode(&lacks, data, size);
    if (diskask_decode(&q, data, size))
        return 0;
    n = diskask_encode(&q, out, sizeof out);
    if (n < 0 || diskask_decode(&again, out, (size_t)n) || memcmp(&q, &again, sizeof q) != 0)
        __builtin_trap(); /* what was believed can be said */
    return 0;
}
