/* A frame as a hostile guest has it: virtio-net header and bytes. What passes the check is split, the pieces are joined
 * again, and what would be written to a TAP must pass the same check; whatever else it is, it stays within its buffers.
 * The first byte says how: bit 0 partial checksums are believed, bit 1 UDP is joined, the rest the largest frame. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "overlay/flows.h"
#include "overlay/gso.h"

#define ROOM   70000
#define PIECES 256

static uint8_t *copy(const uint8_t *p, size_t n) /* to the byte, so that the sanitizer sees what is behind */
{
    uint8_t *c = malloc(n ? n : 1);
    if (!c)
        abort();
    memcpy(c, p, n);
    return c;
}

/* Writes the run out, and looks at it as its reader would. */
static void take(struct gso_run *r)
{
    static uint8_t all[VNET_HDR + ROOM];
    struct vnet_frame f;
    size_t len = 0, want = VNET_HDR + r->len;
    bool many = r->n > 1;
    unsigned n = gso_run_finish(r);
    for (unsigned i = 0; i < n; i++) {
        if (len + r->out[i].len > sizeof all)
            abort();
        memcpy(all + len, r->out[i].p, r->out[i].len);
        len += r->out[i].len;
    }
    if (len != want || (many && vnet_check(&f, all, all + VNET_HDR, len - VNET_HDR)))
        abort();
    r->n = 0;
}

static void split_and_join(const uint8_t *frame, size_t len, const struct vnet_frame *f, uint8_t how)
{
    static struct gso_run run;
    struct gso_split s;
    uint8_t *pieces[PIECES];
    unsigned n = 0;
    size_t size, bytes = 0;
    run.n = 0;
    gso_split_begin(&s, frame, len, f, 100 + (size_t)(how >> 2) * 40);
    while ((size = gso_split_size(&s)) && n < PIECES) {
        pieces[n] = malloc(size);
        if (!pieces[n] || size <= f->payload)
            abort();
        gso_split_next(&s, pieces[n]);
        bytes += size - f->payload;
        if (!gso_run_add(&run, pieces[n], size, how & 1, how & 2)) {
            take(&run);
            if (!gso_run_add(&run, pieces[n], size, how & 1, how & 2))
                abort();
        }
        n++;
    }
    if (n < PIECES && bytes != len - f->payload)
        abort();
    if (run.n)
        take(&run);
    while (n)
        free(pieces[--n]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct gso_run run;
    struct vnet_frame f;
    uint8_t *frame, *twice;
    size_t len;
    if (size < 1 + VNET_HDR || size > ROOM)
        return 0;
    len = size - 1 - VNET_HDR;
    frame = copy(data + 1 + VNET_HDR, len);
    if (vnet_check(&f, data + 1, frame, len) == 0) {
        (void)flows_key(data[0], frame, len, f.l4);
        if (f.gso)
            split_and_join(frame, len, &f, data[0]);
        else if (f.csum_at)
            vnet_complete(frame, len, f.csum_start, f.csum_at);
    }
    /* the same frame twice, as two that came from a peer: nothing says that it was checked there */
    twice = copy(frame, len);
    run.n = 0;
    if (len >= 14) {
        gso_run_add(&run, frame, len, data[0] & 1, data[0] & 2);
        if (!gso_run_add(&run, twice, len, data[0] & 1, data[0] & 2)) {
            take(&run);
            gso_run_add(&run, twice, len, data[0] & 1, data[0] & 2);
        }
        take(&run);
    }
    free(frame);
    free(twice);
    return 0;
}
