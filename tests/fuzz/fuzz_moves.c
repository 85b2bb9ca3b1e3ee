/* What hosts ask and tell each other of an environment's moves. */
#include <stdint.h>
#include <stddef.h>

#include "policy/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct policy *p;
    static struct vi_rng rng;
    static const struct vi_id env = {{1}};
    uint8_t out[POLICY_MOVES];
    struct policy_config c;
    if (!p) {
        policy_config_init(&c);
        vi_rng_seed(&rng, 1);
        p = policy_new(&c, &rng, VI_HOUR);
    }
    (void)policy_moves_heard(p, 3 * VI_HOUR, &env, data, size);
    if (policy_moves_tell(p, 3 * VI_HOUR, data, size, out) > POLICY_MOVES)
        __builtin_trap();
    return 0;
}
