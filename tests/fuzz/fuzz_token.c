/* Invitations, seeds, and what joiners and inviters say. */
#include <sodium.h>
#include <stdint.h>
#include <string.h>

#include "overlay/mesh.h"
#include "overlay/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[2048], again[TOKEN_TEXT];
    struct join_request q;
    struct join_answer a;
    struct mesh_addr addr;
    struct token t;
    struct seed s;
    const char *why;

    if (sodium_init() < 0)
        return 0;
    join_request_decode(&q, data, size);
    join_answer_decode(&a, data, size);
    if (size >= sizeof text)
        return 0;
    memcpy(text, data, size);
    text[size] = 0;
    if (!token_decode(&t, text, &why) && token_encode(&t, again))
        __builtin_trap();
    if (!seed_parse(&s, text) && seed_format(&s, again))
        __builtin_trap();
    if (!mesh_addr_parse(&addr, text))
        mesh_addr_format(&addr, again);
    return 0;
}
