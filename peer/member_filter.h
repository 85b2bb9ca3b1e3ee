/* Which members a call of the control socket is about: params `state` and `names`. Pure. */
#ifndef PEER_MEMBER_FILTER_H
#define PEER_MEMBER_FILTER_H

#include "gossip/gossip.h"
#include "peer/base/wire.h"

#define MEMBER_FILTER_NAMES 16
#define MEMBER_ID_DIGITS    8 /* so many digits of an id name a member; fewer may be a name only */

struct member_filter {
    enum gossip_state state; /* 0: any */
    unsigned n;              /* 0: everybody */
    char name[MEMBER_FILTER_NAMES][VI_ID_TEXT + GOSSIP_NAME_MAX];
    bool found[MEMBER_FILTER_NAMES];
};

/* From a map, which is not moved on in; other keys are left to later versions. 0, or VI_EINVAL: no map,
 * no such state, too many names, a name too long. */
int member_filter_read(const struct vi_reader *params, struct member_filter *f);
/* Is it one of the names, and if so notes that it was found. */
bool member_filter_names(struct member_filter *f, const struct vi_id *id, const char *name);
/* The first name that nobody had, or NULL. */
const char *member_filter_missed(const struct member_filter *f);

#endif
