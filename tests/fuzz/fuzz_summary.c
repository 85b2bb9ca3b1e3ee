/* Load summaries and probes from other hosts. */
#include <stddef.h>
#include <stdint.h>

#include "policy/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct policy *p;
    static struct vi_rng rng;
    static const struct vi_id from = {{1}};
    struct policy_config c;
    struct policy_load l;
    uint8_t out[POLICY_PROBE];
    policy_config_init(&c);
    if (!p)
        p = policy_new(&c, &rng, 0);
    policy_summary_decode(&l, data, size);
    if (p)
        policy_probe_answer(p, VI_HOUR, &from, data, size, 0, 0, 0, out);
    return 0;
}
