/* The overlay's public header: everything that peer/ may use of this folder. */
#ifndef OVERLAY_OVERLAY_H
#define OVERLAY_OVERLAY_H

#include "overlay/cert.h"
#include "overlay/mesh.h"
#include "overlay/noise.h"
#include "overlay/stream.h"
#include "overlay/token.h"

#endif
