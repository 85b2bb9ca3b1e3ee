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
    struct env_rules r;
    env_definition_decode(&d, data, size);
    env_takes_part_decode(&t, data, size);
    if (env_rules_decode(&r, data, size) == 0)
        for (unsigned i = 0; i < r.n; i++)
            if (r.rule[i].number == 0 || r.rule[i].number > ENV_RULES || r.rule[i].n == 0 || r.rule[i].n > POLICY_RULE_GUESTS)
                __builtin_trap();
    env_record_verify(data, size, pk);
    return 0;
}
