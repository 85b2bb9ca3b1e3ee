/* Shared by setup.c and join.c. */
#ifndef PEER_SETUP_INTERNAL_H
#define PEER_SETUP_INTERNAL_H

#include "overlay/overlay.h"
#include "peer/setup.h"

int setup_fail(const char *text); /* prints it, returns 1 */
int setup_folder(const struct setup *s, char *why, size_t cap);
int setup_host_name(char out[CERT_NAME_MAX + 1], const char *given, char *why, size_t cap);
int setup_not_member(const struct setup *s); /* 0, or 1 with a message printed */

#endif
