/* The daemon and images: what is here (daemon_image.c), what comes (daemon_image_get.c, its looking in
 * daemon_image_look.c), what is given (daemon_image_give.c), and what people ask of it (daemon_image_rpc.c). */
#ifndef PEER_DAEMON_IMAGE_H
#define PEER_DAEMON_IMAGE_H

#include <sys/queue.h>

#include "peer/daemon_internal.h"
#include "peer/imagefetch.h"
#include "peer/imagestore.h"

#define IMAGE_FETCHES   3  /* at a time; a further one is refused with VI_EFULL */
#define IMAGE_GIVES     8  /* streams from here at a time, … */
#define IMAGE_GIVES_EACH 3 /* … to one peer; further ones are told that it is busy */
#define IMAGE_ASKED     16 /* hosts asked at a time who has it */
#define IMAGE_ENEMIES   64 /* who sent or said what was wrong; the oldest is forgotten */
#define IMAGE_ENEMY_FOR (10 * VI_MIN)
#define IMAGE_SCAN      (60 * VI_SEC)
#define IMAGE_KEEP      (15 * VI_MIN) /* what was just fetched isn't removed: the guest that needs it is still to come */
#define IMAGE_SPARE     (64U << 20)   /* bytes of the disk that stay free */
#define IMAGE_FINISHED  (5 * VI_MIN)  /* a fetch that is over is still shown */
#define IMAGE_OF_GUEST  10            /* images of one guest: kernel, ramdisk, disks */

/* A manifest, as long as a worker reads in it. */
struct image_list {
    unsigned refs;
    size_t len;
    uint8_t bytes[];
};

struct fetching;

/* One request's stream, on its way here. Freed when nothing holds it any more. */
struct coming {
    LIST_ENTRY(coming) link;
    struct fetching *f;
    uint32_t request;
    struct vi_id peer, stream;
    struct image_items items;
    uv_pipe_t pipe;
    uint8_t *buf; /* of the item under way */
    unsigned refs; /* call, bulk stream, pipe, jobs; and as long as it isn't ended */
    unsigned jobs;
    bool piped, reading, eof, ended; /* ended: told, or not wanted any more */
};
LIST_HEAD(coming_list, coming);

struct image_look; /* daemon_image_look.c */

struct fetching {
    bool used, over, closing;
    bool discard; /* what there is of it, once it is over */
    struct daemon *d;
    uint8_t hash[IMAGE_HASH];
    char name[IMAGE_NAME_MAX];
    char why[IMAGE_WHY];
    int err;
    struct image_fetch *core; /* NULL when it is over, and was looked at */
    struct image_fetch_view last;
    struct image_source_view sources[IMAGE_SOURCES];
    unsigned n_sources;
    struct image_list *list;
    int fd;        /* of the part */
    unsigned jobs; /* that use it */
    bool open_wanted;
    struct vi_id from, env; /* whom to ask first; whose participants next; zero: nobody */
    struct image_look *look;
    struct coming_list coming;
    vi_time ended;
};

struct images_daemon {
    struct image_file files[IMAGE_FILES_MAX];
    bool fresh[IMAGE_FILES_MAX]; /* came while the folders were looked through */
    unsigned n;
    bool scanning, scanned, closing;
    vi_time next_scan;
    struct fetching fetch[IMAGE_FETCHES];
    LIST_HEAD(, giving) giving;
    unsigned n_giving;
    struct {
        struct vi_id peer;
        vi_time at;
    } enemy[IMAGE_ENEMIES];
    unsigned next_enemy;
    /* `violin image add`: one at a time */
    struct {
        bool busy, over;
        int err;
        char file[32], why[200];
        struct image_file f;
        struct image_progress progress;
    } adding;
    struct image_progress scan_progress;
    uint64_t given_bytes;
    unsigned jobs;
};

/* ---- daemon_image.c: what is here ---- */
int daemon_image_open(struct daemon *d, char *why, size_t cap);
void daemon_image_tick(struct daemon *d, vi_time now);
vi_time daemon_image_deadline(const struct daemon *d);
void daemon_image_close(struct daemon *d);
void daemon_image_free(struct daemon *d); /* after the loop's last turn */
struct image_file *image_here(struct daemon *d, const uint8_t hash[IMAGE_HASH]);
/* By name, whole hash, or at least 8 digits of it that only one begins with. NULL with why. */
struct image_file *image_by_text(struct daemon *d, const char *text, char *why, size_t cap);
void image_keep(struct daemon *d, const struct image_file *f); /* it is here, or changed: in the index, and stored */
void image_forget(struct daemon *d, struct image_file *f);
/* By whom: a guest's or handover's text, for people; NULL: by nobody, it may be removed. */
const char *image_used_by(struct daemon *d, const uint8_t hash[IMAGE_HASH]);
/* The images of a description, a hash each into out[IMAGE_OF_GUEST]; and of a guest that is here. */
unsigned image_of_description(const struct hv_description *desc, uint8_t out[][IMAGE_HASH]);
unsigned image_of_guest(const struct hv_guest *g, uint8_t out[][IMAGE_HASH]);
/* Bytes that fetches have still to write, but for that one (NULL: all): the disk's figures don't have them yet. */
uint64_t image_to_come(const struct daemon *d, const uint8_t *but);
/* Which may go so that `bytes` more fit: *n of them into out, or VI_EFULL with why. */
int image_make_room(struct daemon *d, uint64_t bytes, uint64_t used, uint64_t available, uint8_t out[][IMAGE_HASH],
                    unsigned *n, char *why, size_t cap);
bool image_is_enemy(const struct daemon *d, const struct vi_id *peer);
void image_enemy(struct daemon *d, const struct vi_id *peer, const char *why);
/* A guest is to come here and images of its are missing: begins to fetch them, from that peer first. What to tell. */
void daemon_image_needed(struct daemon *d, const struct hv_description *desc, const struct vi_id *from, char *why,
                         size_t cap);
/* Answer to CALL_IMAGE_LACKS. */
int daemon_image_lacks(struct daemon *d, const uint8_t *body, size_t len, uint8_t *out);
/* The question, for a guest here; 0: it has no images. */
size_t daemon_image_ask_lacks(struct daemon *d, const struct vi_id *guest, uint8_t *out);

/* ---- daemon_image_get.c ---- */
/* Begins to fetch, or goes on with it. 0, VI_EEXIST (it is here), VI_EFULL, VI_ENOMEM with why. */
int image_get(struct daemon *d, const uint8_t hash[IMAGE_HASH], const char *name, const struct vi_id *from,
              const struct vi_id *env, char *why, size_t cap);
struct fetching *image_getting(struct daemon *d, const uint8_t hash[IMAGE_HASH]); /* NULL: it isn't */
void image_get_tick(struct daemon *d, vi_time now);
vi_time image_get_deadline(const struct daemon *d);
void image_get_close(struct daemon *d);
void image_get_free(struct daemon *d); /* once nothing works for it any more */
void image_get_step(struct fetching *f, struct image_event *ev);
void image_get_cancel(struct fetching *f, const char *why);
void image_get_view(struct fetching *f, struct image_fetch_view *v);
/* A stream has come: ours? The descriptor for it, or -1. */
int daemon_image_stream(struct daemon *d, const struct vi_id *peer, const uint8_t *purpose, size_t len, bulk_done **done,
                        void **done_arg);
bool daemon_image_expects(struct daemon *d, const struct vi_id *stream, const struct vi_id *peer);

/* ---- daemon_image_look.c ---- */
typedef void image_found_cb(void *arg, const struct vi_id *peer, const struct image_found *found);
typedef void image_looked_cb(void *arg, unsigned asked);
/* Asks: first these, then the own domain's members, at random, IMAGE_ASKED at a time, until `enough` have it or all were
 * asked. found is called for each that has it, looked once; neither from inside. NULL: no memory. */
struct image_look *image_look(struct daemon *d, const struct image_find *what, const struct vi_id *first, unsigned n,
                              unsigned enough, image_found_cb *found, image_looked_cb *looked, void *arg);
void image_look_cancel(struct image_look *l); /* no callback any more */
/* Asks who can be asked now; once nobody is left, looked is called and l is gone. False: nobody is being asked, as there
 * are too many questions; to be called again. */
bool image_look_pump(struct image_look *l);

/* ---- daemon_image_give.c ---- */
int daemon_image_find(struct daemon *d, const struct vi_id *from, const uint8_t *body, size_t len, uint8_t *out);
int daemon_image_send(struct daemon *d, const struct vi_id *from, const uint8_t *body, size_t len);
void image_give_close(struct daemon *d);

/* ---- daemon_image_rpc.c ---- */
void daemon_do_image_list(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_image_show(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_image_fetch(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_image_cancel(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_image_remove(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_image_begin(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_image_add(void *arg, struct rpc_call *call, struct vi_reader *params);
void daemon_do_image_adding(void *arg, struct rpc_call *call, struct vi_reader *params);

#endif
