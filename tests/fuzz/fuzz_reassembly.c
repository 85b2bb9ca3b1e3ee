/* Parts of frames, as an enemy with a session sends them: each 8 bytes (id, session and queue, offset 2, total 2,
 * length 2) and a pattern. A frame that comes out is whole: every byte of it is one that some part brought. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "overlay/reassembly.h"

static struct reassembly r;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vi_time now = 0;
    memset(&r, 0, sizeof r);
    for (unsigned i = 0; i < REASSEMBLY_FRAMES; i++)
        memset(r.frame[i].bytes, 0xee, sizeof r.frame[i].bytes); /* what no part brings */
    for (; size >= 8; data += 8, size -= 8) {
        struct reassembly_key k = {data[1] & 3, (uint16_t)(data[1] >> 2 & 3), data[0]};
        unsigned offset = (unsigned)(data[2] << 8 | data[3]), total = (unsigned)(data[4] << 8 | data[5]);
        size_t n = (size_t)(data[6] << 8 | data[7]) % (REASSEMBLY_BYTES + 2), len = 0;
        uint8_t *part = malloc(n + 1), *whole;
        if (!part)
            abort();
        memset(part, 0x11, n);
        now += (vi_time)(data[1] >> 4) * 100 * VI_MSEC;
        whole = reassembly_add(&r, now, &k, offset, total, part, n, &len);
        if (whole) {
            if (len != total || len > REASSEMBLY_BYTES)
                abort();
            for (size_t i = 0; i < len; i++)
                if (whole[i] != 0x11)
                    abort();
            memset(whole, 0xee, len);
        }
        free(part);
    }
    return 0;
}
