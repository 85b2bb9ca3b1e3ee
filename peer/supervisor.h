/* The supervisor: what `violin peer` is. Root, and as little as possible: it starts the agent and
 * the peer child, hands the ends of their link out, starts them again when they die, ends them.
 *
 * Children are this program again (/proc/self/exe), with the same options before the command:
 * `violin -c FILE agent` and `violin -c FILE peer-child`. The agent has its control channel at
 * descriptor 3, over which each new link comes; the peer child has its link there. */
#ifndef PEER_SUPERVISOR_H
#define PEER_SUPERVISOR_H

#include <stdbool.h>
#include <stddef.h>

#define AGENT_CONTROL_FD   3 /* in the agent */
#define PEER_CHILD_LINK_FD 3 /* in the peer child */

/* Exit statuses of children that the supervisor understands (sysexits.h). */
#define EXIT_CONFIGURATION 78 /* not tried again: the supervisor ends with it, too */

struct supervisor_options {
    const char *const *agent_argv; /* NULL-terminated, [0] is the program's name: "violin", "-c", … */
    const char *const *peer_argv;
    const char *program;           /* what is executed; NULL: /proc/self/exe */
    const char *state_dir;         /* made as 0700, the user's */
    const char *run_dir;           /* made as 0755, the user's */
    const char *user, *group;
    bool simulated;                /* without root: allowed (all as the caller), else refused */
};

/* Makes the folders, starts both, and stays until SIGTERM or SIGINT (peer first, then agent; each
 * has 8 seconds before it is killed). SIGHUP goes on to the peer child. A child that dies is started
 * again after 0.2 s, doubling to 30 s, back to 0.2 s after it lived for 60 s; if the agent dies both
 * are. Says READY=1 to NOTIFY_SOCKET once both run. Returns the exit status. */
int supervisor_main(const struct supervisor_options *o);

/* The peer child calls this first, once it has read its configuration and before it opens anything
 * else: becomes user and group without capabilities, forbids itself new privileges and core dumps,
 * dies with the supervisor. Where the process isn't root: only the latter ones. 0, or a vi_err with
 * a sentence in why. */
int peer_child_prepare(const char *user, const char *group, char *why, size_t why_size);

/* Makes a folder (and its parent, if missing) with this mode and owner; one that is there is given
 * them too, unless it is the root or has the sticky bit, as /tmp. Follows no symbolic link. 0, or a vi_err with a sentence that says what to do. */
int make_owned_folder(const char *path, unsigned mode, const char *user, const char *group,
                      char *why, size_t why_size);

#endif
