/* The first byte's lowest bit chooses the side; the rest arrives on the connection, in two pieces. An
 * authentic stream is altered: the other side is real, and the input is XORed over what it sends. */
#include <sodium.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "overlay/stream.h"
#include "tests/fuzz/two_peers.h"

static struct mesh_config cfg[2];
static struct mesh_trust trust;
static uint8_t x[2][32];
static struct vi_rng rng;

static void set_up(void)
{
    vi_rng_seed(&rng, 1);
    two_peers(&trust, cfg, x, 2);
}

static void feed(struct stream *s, const uint8_t *p, size_t len)
{
    struct stream_event ev;
    size_t used;

    do {
        stream_feed(s, p, len, &used, &ev);
        p += used;
        len -= used;
    } while (len && ev.kind != STREAM_FAILED);
}

static void carry(struct stream *from, struct stream *to, const uint8_t **data, size_t *size)
{
    static uint8_t buf[STREAM_OUT_MAX];
    const uint8_t *p;
    size_t n;

    p = stream_pending(from, &n);
    if (!p)
        return;
    memcpy(buf, p, n);
    for (size_t i = 0; i < n && *size; i++, ++*data, --*size)
        buf[i] ^= **data;
    stream_sent(from, n);
    feed(to, buf, n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct stream *a, *b, *to;
    size_t used;

    if (sodium_init() < 0 || !size)
        return 0;
    if (!cfg[0].has_cert)
        set_up();
    a = stream_new(&cfg[0], &rng, x[1], NULL, "p", 1, 0);
    b = stream_new(&cfg[1], &rng, NULL, NULL, NULL, 0, 0);
    if (!a || !b)
        abort();
    to = data[0] & 1 ? a : b;
    if (data[0] & 2) {
        feed(to, data + 1, (size - 1) / 2);
        feed(to, data + 1 + (size - 1) / 2, size - 1 - (size - 1) / 2);
    } else {
        data++;
        size--;
        for (unsigned i = 0; i < 4; i++) {
            carry(a, b, &data, &size);
            carry(b, a, &data, &size);
            stream_write(a, "some plaintext", 14, &used);
        }
        stream_end(a);
        carry(a, b, &data, &size);
    }
    stream_free(a);
    stream_free(b);
    return 0;
}
