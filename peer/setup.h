/* Commands that make a host a member of a domain: run by root, before the peer runs. */
#ifndef PEER_SETUP_H
#define PEER_SETUP_H

#include <stdbool.h>

struct setup {
    const char *state_dir;
    const char *user, *group; /* who the state folder belongs to */
    long cert_lifetime;       /* s */
};

/* `violin init --domain D [--host NAME]`: makes the domain's authority and admits this host.
 * argv[0] is the command's name. Returns the exit status. */
int setup_init(const struct setup *s, int argc, char **argv);
/* `violin join [--host NAME] TOKEN`: makes this host's keys and is admitted by the inviter. */
int setup_join(const struct setup *s, int argc, char **argv);

/* `violin authority export|import FILE`: the authority's secret key, encrypted with a passphrase. */
int setup_authority(const struct setup *s, int argc, char **argv);

/* Has this host an identity in that state folder? */
bool setup_is_member(const char *state_dir);

#endif
