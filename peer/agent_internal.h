/* What the files of the agent share. */
#ifndef PEER_AGENT_INTERNAL_H
#define PEER_AGENT_INTERNAL_H

#include "peer/agent.h"
#include "peer/agent_request.h"
#include "peer/agent_tap.h"
#include "xen/disk_host.h"

#define AGENT_ENVS_MAX    64
#define AGENT_AT_ONCE_MAX 128
#define AGENT_STREAMS_MAX 16
#define AGENT_RATE        200 /* requests a second, as many saved up */
#define AGENT_WHY         256
#define AGENT_HASHES_MAX  DISK_COPIES_MAX /* second descriptors that wait for their copy */
#define AGENT_UDP_BUFFER  (4 << 20) /* bytes, each way */
#define AGENT_UDP_SOCKETS 16 /* that one peer may have so large */

struct agent_env {
    bool used;
    struct vi_id id;
    unsigned mtu;
    int tap_fd;
    char tap[AGENT_IFNAME], bridge[AGENT_IFNAME];
    bool unguarded;         /* that its bridge has no chain of agent_guard.h was said */
    char lan[AGENT_IFNAME]; /* the host's interface that was put into the bridge; "": none */
};

/* A guest that was seen on a vi- bridge: the only kind that the peer may touch. */
struct agent_guest {
    uint32_t domid;
    struct vi_id uuid;
    uint64_t max_kb;
    uint32_t vcpus;
};

/* A copy's second descriptor, which came before the request for the copy: a message carries one. */
struct agent_hashes {
    int fd; /* -1: free */
    struct vi_id handover, disk;
};

enum agent_taps { AGENT_TAPS_UNTRIED, AGENT_TAPS_GOOD, AGENT_TAPS_BAD };

struct agent {
    uv_loop_t loop;
    const struct agent_options *options;
    int lock_fd;
    struct link *control, *peer;
    uint32_t generation; /* of the peer's link; answers to an older one are dropped */
    struct hypervisor *hv;
    bool hv_up;
    char problem[AGENT_WHY];
    struct disks *disks; /* NULL: none, and why */
    char no_disks[AGENT_WHY];
    struct agent_hashes hashes[AGENT_HASHES_MAX];
    unsigned next_hashes; /* whose place is taken when none is free */
    uv_timer_t retry;
    unsigned retry_ms;
    uv_timer_t stop_timer;
    uv_signal_t sigterm, sigint;
    bool stopping;
    uv_timer_t guard;
    enum agent_taps taps; /* are superframes safe with this kernel's? */
    struct agent_env envs[AGENT_ENVS_MAX];
    struct agent_guest guests[HV_GUESTS_MAX];
    unsigned n_guests;
    unsigned udp_buffers; /* given to this peer's sockets */
    int streams[AGENT_STREAMS_MAX]; /* our duplicates, to end a stream with; -1: free */
    unsigned at_once;
    double tokens;
    vi_time tokens_at;
    uint8_t out[LINK_MESSAGE_MAX], page[LINK_MESSAGE_MAX];
};

/* A request of the peer that is being carried out. */
struct agent_job {
    struct agent *a;
    uint32_t generation;
    int fd;     /* a stream, until the operation has it */
    int stream; /* index of our duplicate, or -1 */
    bool looked; /* has listed already */
    struct agent_request q;
};

/* agent_serve.c */
/* Begins an answer in a->out, to which the caller adds a result; sends it, with a descriptor or -1, if who asked is there
 * still. */
void agent_begin_answer(struct agent_job *j, struct vi_writer *w, int err, const char *text);
void agent_send_out(struct agent_job *j, struct vi_writer *w, int fd);
void agent_end_job(struct agent_job *j);
/* An answer without a result; ends the job. */
void agent_answer(struct agent_job *j, int err, const char *text);
void agent_on_request(struct agent *a, const struct link_message *m, int *fd);
void agent_tell(struct agent *a, const struct hv_event *e); /* an event, to the peer if there is one */
void agent_end_streams(struct agent *a);
unsigned agent_count_streams(const struct agent *a);

/* agent_disk.c */
void agent_disk(struct agent_job *j);          /* one of disks.h's operations */
void agent_disk_forget(struct agent *a);       /* the peer is gone: descriptors that wait are closed */

/* agent_env.c: 0 or a vi_err with why; *env is set on success */
int agent_env_make(struct agent *a, const struct agent_request *q, struct agent_env **env, char *why,
                   size_t why_size);
int agent_env_end(struct agent *a, const struct vi_id *id, bool remove_bridge, char *why,
                  size_t why_size);
/* The host's interface q->iface: heard at (a descriptor), put into the environment's bridge, taken out of it. */
int agent_lan_listen(struct agent *a, const struct agent_request *q, char *why, size_t why_size);
int agent_lan_attach(struct agent *a, const struct agent_request *q, char *why, size_t why_size);
int agent_lan_detach(struct agent *a, const struct agent_request *q, char *why, size_t why_size);
struct agent_env *agent_env_find(struct agent *a, const struct vi_id *id);
/* Looks whether what keeps the host out of reach of its guests is still there, and puts it back (agent_guard.h). */
void agent_env_guard_all(struct agent *a);
void agent_env_end_all(struct agent *a); /* TAPs only; bridges stay, guests are in them */

#endif
