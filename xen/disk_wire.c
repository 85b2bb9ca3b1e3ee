/* What goes between the two ends of a disk's copy, and what the kernel says and wants of it. See disk.h. Pure.
 *
 * nbd: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md, transmission phase with simple replies. */
#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "peer/base/err.h"
#include "xen/disk.h"

#define REQUEST_MAGIC 0x25609513
#define REPLY_MAGIC   0x67446698
#define LOG_MAGIC     0x4D695272
#define LOG_VERSION   2
#define LOG_BITS_AT   1024 /* behind the header's two sectors */

static uint32_t be32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return be32toh(v);
}

static uint64_t be64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return be64toh(v);
}

int disk_request_decode(struct disk_request *q, const uint8_t *data, uint64_t size)
{
    uint32_t type = be32(data + 4) & 0xffff; /* the upper half are flags: all that is written is on the disk in the end */
    memset(q, 0, sizeof *q);
    if (be32(data) != REQUEST_MAGIC || type > DISK_FLUSH)
        return VI_EPROTO;
    q->command = (enum disk_command)type;
    memcpy(&q->handle, data + 8, sizeof q->handle);
    if (type == DISK_DISCONNECT || type == DISK_FLUSH)
        return 0;
    q->offset = be64(data + 16);
    q->length = be32(data + 24);
    if (q->length == 0 || q->length > DISK_IO_MAX || q->offset > size || q->length > size - q->offset)
        return VI_EPROTO;
    return 0;
}

void disk_reply_encode(uint8_t out[DISK_REPLY_SIZE], uint64_t handle, uint32_t error)
{
    uint32_t head[2] = {htobe32(REPLY_MAGIC), htobe32(error)};
    memcpy(out, head, sizeof head);
    memcpy(out + 8, &handle, sizeof handle); /* as it came */
}

void disk_request_encode(uint8_t out[DISK_REQUEST_SIZE], const struct disk_request *q)
{
    uint32_t head[2] = {htobe32(REQUEST_MAGIC), htobe32((uint32_t)q->command)}, length = htobe32(q->length);
    uint64_t offset = htobe64(q->offset);
    memcpy(out, head, sizeof head);
    memcpy(out + 8, &q->handle, sizeof q->handle);
    memcpy(out + 16, &offset, sizeof offset);
    memcpy(out + 24, &length, sizeof length);
}

int disk_reply_decode(const uint8_t *data, uint64_t *handle)
{
    memcpy(handle, data + 8, sizeof *handle);
    return be32(data) != REPLY_MAGIC ? VI_EPROTO : be32(data + 4) ? VI_EIO : 0;
}

/* "2 254:1 43:0 3072/3072 1 AA 3 disk 7:1 A" */
int disk_mirror_status_parse(struct disk_mirror_status *s, const char *text)
{
    unsigned legs, marks, n = 0;
    char state[8] = "";
    memset(s, 0, sizeof *s);
    if (sscanf(text, "%u %*u:%*u %*u:%*u %" SCNu64 "/%" SCNu64 " %u %7s%n", &legs, &s->in_sync, &s->regions, &marks, state,
               (int *)&n) != 5 ||
        legs != 2 || marks != 1 || strlen(state) != 2 || s->in_sync > s->regions || s->regions == 0)
        return VI_EPROTO;
    s->broken = strcmp(state, "AA") != 0;
    s->own_lost = state[0] != 'A';
    s->whole = !s->broken && s->in_sync == s->regions;
    return 0;
}

uint64_t disk_regions(uint64_t sectors)
{
    return (sectors + DISK_REGION - 1) / DISK_REGION;
}

size_t disk_log_size(uint64_t regions)
{
    size_t bits = (size_t)((regions + 7) / 8);
    return LOG_BITS_AT + (bits + 4095) / 4096 * 4096 + 4096;
}

void disk_log_encode(uint8_t *log, uint64_t regions, const uint8_t *bits)
{
    uint32_t head[2] = {htole32(LOG_MAGIC), htole32(LOG_VERSION)};
    uint64_t count = htole64(regions);
    memset(log, 0, disk_log_size(regions));
    memcpy(log, head, sizeof head);
    memcpy(log + 8, &count, sizeof count);
    memcpy(log + LOG_BITS_AT, bits, (size_t)((regions + 7) / 8));
}
