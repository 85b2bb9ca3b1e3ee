/* Fuzz target: what an unprivileged peer may write to the agent, and the agent to the peer. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "peer/agent_request.h"
#include "peer/link_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct link_message m;
    struct agent_request q;
    struct hv_guest g;
    struct hv_host h;
    struct hv_event e;
    struct disk_info d;
    if (link_decode(&m, data, size))
        return 0;
    if (!agent_request_decode(&q, &m) && agent_request_on_disk(&q) && q.method != AM_DISK_LIST &&
        (vi_id_is_zero(&q.disk) || q.path[0] == '.' || strstr(q.path, "..") || q.sectors > DISK_SECTORS_MAX))
        abort();
    struct vi_reader r = m.body;
    link_read_guest(&r, &g);
    r = m.body;
    link_read_host(&r, &h);
    r = m.body;
    link_read_event(&r, &e);
    r = m.body;
    link_read_disk(&r, &d);
    return 0;
}
