/* hypervisor.h's structures on the agent link. Each is one msgpack array; readers are bounded, set
 * r->err on anything out of its range, and never leave a structure half trusted: test r->err. */
#ifndef PEER_LINK_WIRE_H
#define PEER_LINK_WIRE_H

#include "peer/base/wire.h"
#include "xen/disks.h"

void link_write_host(struct vi_writer *w, const struct hv_host *h);
void link_read_host(struct vi_reader *r, struct hv_host *h);
void link_write_guest(struct vi_writer *w, const struct hv_guest *g);
void link_read_guest(struct vi_reader *r, struct hv_guest *g);
void link_write_disk(struct vi_writer *w, const struct disk_info *d);
void link_read_disk(struct vi_reader *r, struct disk_info *d);
void link_write_event(struct vi_writer *w, const struct hv_event *e);
void link_read_event(struct vi_reader *r, struct hv_event *e);
/* A bin that holds hv_description_encode's bytes. */
void link_write_description(struct vi_writer *w, const struct hv_description *d);
void link_read_description(struct vi_reader *r, struct hv_description *d);

#endif
