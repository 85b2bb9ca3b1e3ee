/* Shared by setup.c and join.c. */
#ifndef PEER_SETUP_INTERNAL_H
#define PEER_SETUP_INTERNAL_H

#include "overlay/overlay.h"
#include "peer/setup.h"

int setup_fail(const char *text); /* prints it, returns 1 */
int setup_folder(const struct setup *s, char *why, size_t cap);
int setup_host_name(char out[CERT_NAME_MAX + 1], const char *given, char *why, size_t cap);
/* Makes this host a member of the domain whose authority's secret key is given, with a delegation of all its
 * capabilities, and stores all. host: NULL, its host name. 0, or an error with why. */
int setup_found(const struct setup *s, const char *domain, const char *host,
                const uint8_t authority_sk[64], char *why, size_t cap);
int setup_not_member(const struct setup *s); /* 0, or 1 with a message printed */

#endif
