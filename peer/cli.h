/* The command line's client side: commands that ask the running peer over its control socket. */
#ifndef PEER_CLI_H
#define PEER_CLI_H

#include <stdbool.h>
#include <stddef.h>

enum cli_exit {
    CLI_OK = 0,
    CLI_FAILED = 1, /* refused, or not possible */
    CLI_USAGE = 2,
    CLI_NO_PEER = 3 /* nobody answers at the socket */
};

struct cli_command {
    const char *name, *args, *what; /* "explain", "GUEST", "why a guest has what it has" */
};

/* Ends with a NULL name; for the program's help. */
extern const struct cli_command cli_commands[];

bool cli_knows(const char *command);
/* Runs `argv[0]` against the socket at path. Returns the exit status. */
int cli_run(const char *socket_path, int argc, char **argv);

#endif
