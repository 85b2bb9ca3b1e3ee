/* Traces: whatever is read is of the form, whatever is refused says why. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct trace t;
    struct trace_error err;

    if (!trace_parse(&t, (const char *)data, size, &err)) {
        if (!err.text[0] || strlen(err.text) >= sizeof err.text)
            abort();
        trace_free(&t);
        return 0;
    }
    if (!t.n || t.n > TRACE_GUESTS)
        abort();
    for (unsigned g = 0; g < t.n; g++) {
        if (!t.guest[g].name[0] || strlen(t.guest[g].name) >= TRACE_NAME || (g && strcmp(t.guest[g - 1].name, t.guest[g].name) >= 0))
            abort();
        for (unsigned k = 0; k < TRACE_STEPS; k++)
            if (t.guest[g].pct[k] > 100)
                abort();
    }
    trace_free(&t);
    return 0;
}
