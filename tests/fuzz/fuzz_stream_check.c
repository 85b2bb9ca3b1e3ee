/* The migration stream walker, fed in two chunk sizes: the verdict does not depend on it. */
#include <stddef.h>
#include <stdint.h>

#include "xen/stream_check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum stream_check_status st[2];
    size_t total[2] = {0, 0};
    for (int k = 0; k < 2; k++) {
        size_t chunk = k ? 1 + (size ? data[size - 1] : 0) : size + 1, at = 0, used;
        struct stream_check s;
        stream_check_init(&s, 0);
        st[k] = STREAM_MORE;
        while (at < size && st[k] == STREAM_MORE) {
            size_t n = size - at < chunk ? size - at : chunk;
            st[k] = stream_check_feed(&s, data + at, n, &used);
            if (used > n || (st[k] == STREAM_MORE && used != n))
                __builtin_trap();
            at += n;
            total[k] += used;
        }
    }
    if (st[0] != st[1] || (st[0] != STREAM_BAD && total[0] != total[1]))
        __builtin_trap();
    return 0;
}
