/* The configuration file. Whatever is accepted prints as what it is. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "peer/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct config c, again;
    char why[600], *text = NULL;
    size_t len = 0;
    FILE *f;
    if (config_parse(&c, (const char *)data, size, "fuzz", why, sizeof why))
        return 0;
    f = open_memstream(&text, &len);
    config_print(&c, f);
    fclose(f);
    if (config_parse(&again, text, len, "printed", why, sizeof why)) {
        fprintf(stderr, "%s\n%s", why, text);
        abort();
    }
    /* three digits of a ratio are printed */
    c.range_low = again.range_low;
    c.range_high = again.range_high;
    if (memcmp(&c, &again, sizeof c))
        abort();
    free(text);
    return 0;
}
