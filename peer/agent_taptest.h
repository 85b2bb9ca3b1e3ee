/* Do this kernel's TAPs do superframes right? Some refuse them, some spoil them. */
#ifndef PEER_AGENT_TAPTEST_H
#define PEER_AGENT_TAPTEST_H

#include <stdbool.h>
#include <stddef.h>

/* Makes a TAP of its own for a moment (in no bridge), writes a TCP superframe with an unfinished checksum into it and
 * reads one from it. Takes milliseconds. false: with a sentence in why. Needs CAP_NET_ADMIN and CAP_NET_RAW. */
bool agent_tap_superframes(char *why, size_t why_size);

#endif
