/* The peer's main part: `violin peer-child`, the process that faces the network. */
#ifndef PEER_DAEMON_H
#define PEER_DAEMON_H

#include "peer/config.h"

/* Runs until SIGTERM. link_fd: the agent link's end. Returns the exit status (supervisor.h). */
int daemon_main(const struct config *cfg, int link_fd);

#endif
