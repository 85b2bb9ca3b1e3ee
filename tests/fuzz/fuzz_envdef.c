/* Environment records from the gossip's store. */
#include <stdint.h>
#include <stddef.h>

#include "peer/envdef.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t pk[32] = {1};
    struct env_definition d;
    struct env_takes_part t;
    env_definition_decode(&d, data, size);
    env_takes_part_decode(&t, data, size);
    env_record_verify(data, size, pk);
    return 0;
}
