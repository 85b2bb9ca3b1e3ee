/* Walks a migration stream (libxl format version 2 around libxc's version 3) before libxl sees it.
 *
 * Xen docs/specs/libxl-migration-stream.pandoc and libxc-migration-stream.pandoc. What comes from
 * another host is parsed by libxl's restore helper as root; this walker, which runs without
 * privileges and is fuzzed, lets only streams through that have the shape a plain live migration
 * of a guest without a device model has: known records, in order, lengths in their bounds, page
 * counts that agree with lengths, frame numbers below a bound. The contents of pages, of the CPU
 * state and of parameters pass unseen: the hypervisor checks those.
 *
 * Pure: no allocation, no I/O. */
#ifndef XEN_STREAM_CHECK_H
#define XEN_STREAM_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STREAM_CHECK_PFN_MAX ((uint64_t)1 << 34) /* 64 TiB of guest frames */

enum stream_check_status {
    STREAM_MORE, /* all of the chunk was walked; more must follow */
    STREAM_DONE, /* the stream's end was in this chunk, after *used bytes */
    STREAM_BAD,  /* the *used bytes before it were good; see reason */
};

enum stream_check_reason {
    STREAM_FINE,
    STREAM_NOT_LIBXL,    /* ident, version or options of the outer header */
    STREAM_RECORD,       /* an outer record that a plain migration does not have */
    STREAM_NOT_LIBXC,    /* marker, id, version or options of the image header */
    STREAM_DOMAIN,       /* domain header: type, page size, reserved bits */
    STREAM_TYPE,         /* an unknown or inapplicable inner record */
    STREAM_LENGTH,       /* a record's length is out of the bounds of its type */
    STREAM_TWICE,        /* a record that may come once came again */
    STREAM_ORDER,        /* memory before static data, or the end too early */
    STREAM_PAGES,        /* page count, types and length disagree */
    STREAM_FRAME,        /* a frame number out of bounds */
    STREAM_PARAMETERS,   /* count and length of parameters disagree */
    STREAM_REASONS
};

struct stream_check {
    int state;
    enum stream_check_reason reason;
    uint8_t field[24]; /* the fixed-size field being collected */
    unsigned have, need;
    uint64_t pass;     /* bytes of record bodies that pass unseen */
    uint64_t pfn_max;
    bool hvm;
    uint32_t seen;     /* bit per record type that was there */
    uint32_t left;     /* of a page record: frame numbers still to come */
    uint64_t data, body; /* bytes of pages announced; bytes of the record after the frame numbers */
    uint64_t records, pages; /* for display */
};

/* pfn_max: frame numbers must be below it; 0 means STREAM_CHECK_PFN_MAX. */
void stream_check_init(struct stream_check *s, uint64_t pfn_max);
/* Walks the next bytes; after STREAM_DONE or STREAM_BAD it walks nothing more. */
enum stream_check_status stream_check_feed(struct stream_check *s, const uint8_t *data, size_t len,
                                           size_t *used);
/* A phrase for people, never NULL. */
const char *stream_check_reason_name(enum stream_check_reason r);

/* The child process `violin stream-check` (stream_check_main.c): gives up what it can (new
 * privileges, files, processes, memory; on x86-64 every system call but read and write), then
 * walks from `in` to `out` and writes only what was walked. It does not change user: who starts it
 * does. Ends the process, or returns its exit status: 0 after a whole good stream, STREAM_CHECK_EXIT + reason for a bad
 * one, STREAM_CHECK_CUT if it ended early, 1 for errors of its own. */
#define STREAM_CHECK_EXIT 64
#define STREAM_CHECK_CUT  2
int stream_check_main(int in, int out);

#endif
