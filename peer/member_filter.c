/* Which members are meant. See member_filter.h. */
#include "peer/member_filter.h"

#include <string.h>

#include "peer/base/err.h"

static void read_names(struct vi_reader *r, struct member_filter *f)
{
    uint32_t n = vi_read_array(r, MEMBER_FILTER_NAMES);
    for (f->n = 0; f->n < n && !r->err; f->n++)
        vi_read_cstr(r, f->name[f->n], sizeof f->name[0]);
}

int member_filter_read(const struct vi_reader *params, struct member_filter *f)
{
    struct vi_reader r = *params;
    char state[16] = "";
    uint32_t n = vi_read_map(&r, 16);
    memset(f, 0, sizeof *f);
    for (uint32_t i = 0; i < n && !r.err; i++) {
        if (vi_read_key(&r, "state"))
            vi_read_cstr(&r, state, sizeof state);
        else if (vi_read_key(&r, "names"))
            read_names(&r, f);
        else {
            vi_read_skip(&r);
            vi_read_skip(&r);
        }
    }
    for (unsigned s = GOSSIP_ALIVE; s <= GOSSIP_LEFT; s++)
        if (!strcmp(state, gossip_state_text((enum gossip_state)s)))
            f->state = (enum gossip_state)s;
    return r.err || (state[0] && !f->state) ? VI_EINVAL : 0;
}

bool member_filter_names(struct member_filter *f, const struct vi_id *id, const char *name)
{
    char text[VI_ID_TEXT];
    bool yes = f->n == 0;
    vi_id_format(id, text);
    for (unsigned i = 0; i < f->n; i++) {
        size_t n = strlen(f->name[i]);
        if (strcmp(f->name[i], name) != 0 && (n < MEMBER_ID_DIGITS || strncmp(f->name[i], text, n) != 0))
            continue;
        f->found[i] = yes = true;
    }
    return yes;
}

const char *member_filter_missed(const struct member_filter *f)
{
    for (unsigned i = 0; i < f->n; i++)
        if (!f->found[i])
            return f->name[i];
    return NULL;
}
