#ifndef PEER_VERSION_H
#define PEER_VERSION_H

#define VIOLIN_VERSION "0.2.0"

#endif
