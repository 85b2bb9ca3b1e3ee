/* The msgpack reader: a program of reads from the first bytes, carried out over the rest. Whatever is
 * asked of whatever bytes, nothing is read outside them, and both readers agree. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "peer/base/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool what)
{
    if (!what)
        abort();
}

static void read_one(struct vi_reader *r, unsigned what)
{
    uint8_t bytes[16];
    char text[16];
    size_t n = 0;
    struct vi_id id;
    switch (what % 14) {
    case 0: vi_read_nil(r); break;
    case 1: vi_read_bool(r); break;
    case 2: vi_read_uint(r, UINT64_MAX); break;
    case 3: vi_read_int(r, INT64_MIN, INT64_MAX); break;
    case 4: vi_read_double(r); break;
    case 5: vi_read_str(r, 1000, &n); break;
    case 6: vi_read_bin(r, 1000, &n); break;
    case 7: vi_read_cstr(r, text, what / 14 % sizeof text); break;
    case 8: vi_read_bytes(r, bytes, what / 14 % sizeof bytes); break;
    case 9: vi_read_id(r, &id); break;
    case 10: vi_read_array(r, UINT32_MAX); break;
    case 11: vi_read_map(r, UINT32_MAX); break;
    case 12: vi_read_key(r, "key"); break;
    default: vi_read_skip(r);
    }
    must(n <= 1000 && r->p <= r->end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vi_reader r;
    size_t program = size ? data[0] % 32 : 0, used = 0;
    int walked;
    if (size <= program)
        return 0;
    vi_reader_init(&r, data + 1 + program, size - 1 - program);
    for (size_t i = 0; i < program; i++)
        read_one(&r, data[1 + i]);
    vi_read_end(&r);
    vi_reader_init(&r, data + 1 + program, size - 1 - program);
    walked = vi_wire_walk(data + 1 + program, size - 1 - program, VI_WIRE_DEPTH, UINT32_MAX, &used);
    vi_read_skip(&r);
    must(!walked == !r.err); /* both take it, or neither */
    must(walked || (used > 0 && used <= size - 1 - program));
    return 0;
}
