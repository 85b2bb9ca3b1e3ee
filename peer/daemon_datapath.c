/* What `violin env show` tells about the data path: how frames go to each of the environment's hosts. */
#include "peer/daemon_internal.h"
#include "peer/rpc_write.h"

void daemon_datapath_write_env(struct daemon *d, struct vi_writer *w, const struct env *e)
{
    struct datapath_state s;
    struct datapath_path p;
    uint32_t n = 0;
    datapath_state(d->datapath, &s);
    vi_write_str(w, "datapath");
    vi_write_map(w, 5);
    put_uint(w, "threads", s.threads);
    put_bool(w, "gso", s.gso);
    put_bool(w, "gro", s.gro);
    put_bool(w, "superframes", s.taps && s.taps_vnet == s.taps);
    daemon_switch_write_counters(d, w);
    for (unsigned i = 0; i < e->n_participants; i++)
        n += datapath_path(d->datapath, &e->participants[i], &p);
    vi_write_str(w, "paths");
    vi_write_array(w, n);
    for (unsigned i = 0; i < e->n_participants && n; i++) {
        if (!datapath_path(d->datapath, &e->participants[i], &p))
            continue;
        n--; /* sessions don't come and go between the two: they are this thread's doing */
        vi_write_map(w, 7);
        put_text(w, "host", daemon_member_name(d, &e->participants[i]));
        put_text(w, "way", daemon_reach_way(d, &e->participants[i]));
        put_uint(w, "whole", p.bytes > DATAPATH_OVERHEAD + 14 ? p.bytes - DATAPATH_OVERHEAD - 14 : 0);
        put_text(w, "cipher", p.cipher == NOISE_AESGCM ? "AES-256-GCM" : "ChaCha20-Poly1305");
        put_uint(w, "datagram", p.bytes);
        put_bool(w, "found", p.found);
        put_bool(w, "gso", p.gso);
    }
}
