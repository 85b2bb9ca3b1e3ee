/* The configuration file. */
#include <stddef.h>
#include <stdint.h>

#include "peer/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config c;
    char why[600];
    config_parse(&c, (const char *)data, size, "fuzz", why, sizeof why);
    return 0;
}
