/* Parameters `state` and `names` of a call: what is taken has terminated names within its bounds, and
 * means the same when it is written anew. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "peer/member_filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void again(const struct member_filter *f)
{
    static uint8_t bytes[8192];
    struct member_filter g;
    struct vi_writer w;
    struct vi_reader r;
    vi_writer_init(&w, bytes, sizeof bytes);
    vi_write_map(&w, 1U + (f->state != 0));
    if (f->state) {
        vi_write_str(&w, "state");
        vi_write_str(&w, gossip_state_text(f->state));
    }
    vi_write_str(&w, "names");
    vi_write_array(&w, f->n);
    for (unsigned i = 0; i < f->n; i++)
        vi_write_str(&w, f->name[i]);
    vi_reader_init(&r, bytes, w.len);
    if (w.err || member_filter_read(&r, &g) || g.state != f->state || g.n != f->n)
        abort();
    for (unsigned i = 0; i < f->n; i++)
        if (strcmp(g.name[i], f->name[i]) != 0)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vi_id id = {{0x12, 0x34, 0x56, 0x78}};
    struct member_filter f;
    struct vi_reader r;
    bool named;
    vi_reader_init(&r, data, size);
    if (member_filter_read(&r, &f))
        return 0;
    if (f.n > MEMBER_FILTER_NAMES || f.state > GOSSIP_LEFT)
        abort();
    for (unsigned i = 0; i < f.n; i++)
        if (!memchr(f.name[i], 0, sizeof f.name[i]))
            abort();
    again(&f);
    named = member_filter_names(&f, &id, f.n ? f.name[f.n - 1] : "x");
    if (!named || (f.n && !f.found[f.n - 1]))
        abort();
    (void)member_filter_missed(&f);
    return 0;
}
