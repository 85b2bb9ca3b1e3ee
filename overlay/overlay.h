/* The overlay's public header: everything that peer/ may use of this folder. */
#ifndef OVERLAY_OVERLAY_H
#define OVERLAY_OVERLAY_H

#include "overlay/bulk.h"
#include "overlay/cert.h"
#include "overlay/datapath.h"
#include "overlay/mesh.h"
#include "overlay/noise.h"
#include "overlay/stream.h"
#include "overlay/switch.h"
#include "overlay/token.h"
#include "overlay/udp.h"

#endif
