/* What the files of the environment records share. */
#ifndef PEER_ENVDEF_INTERNAL_H
#define PEER_ENVDEF_INTERNAL_H

#include "peer/base/wire.h"

#define ENV_SIG 64

/* Appends the signature over what was written; the whole length, or VI_EFULL. */
int env_sign_body(struct vi_writer *w, const uint8_t sk[64]);

#endif
