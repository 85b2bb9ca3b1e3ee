/* `violin top`: the domain and this host's guests as bars, again and again. */
#ifndef PEER_CLI_TOP_H
#define PEER_CLI_TOP_H

#include "peer/cli_client.h"

/* Draws every `interval` seconds until interrupted, or `times` times when that isn't 0. On a terminal each
 * picture replaces the one before. With json a line {"status": …, "members": …, "guests": …} each time. An
 * exit status. */
int cli_top(struct cli_client *c, double interval, unsigned times, bool json);

#endif
