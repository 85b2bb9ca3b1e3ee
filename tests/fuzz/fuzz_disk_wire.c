/* A request of another host's nbd, the kernel's word on a mirror, a disk's record. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "xen/disk_store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint64_t disk = 1 << 20;
    struct disk_mirror_status s;
    struct disk_request q;
    char text[256] = "";
    uint64_t handle;
    if (size >= DISK_REPLY_SIZE)
        (void)disk_reply_decode(data, &handle);
    if (size >= DISK_REQUEST_SIZE && !disk_request_decode(&q, data, disk) && q.length &&
        (q.offset >= disk || q.length > DISK_IO_MAX || q.offset + q.length > disk))
        abort();
    memcpy(text, data, size < sizeof text - 1 ? size : sizeof text - 1);
    if (!disk_mirror_status_parse(&s, text) && (s.in_sync > s.regions || (s.whole && s.broken)))
        abort();
    struct disk_record r, again;
    if (!disk_record_decode(&r, (const char *)data, size)) {
        char record[DISK_RECORD_MAX];
        int n = disk_record_encode(&r, record, sizeof record);
        if (n < 0 || disk_record_decode(&again, record, (size_t)n) || !vi_id_equal(&r.id, &again.id))
            abort();
    }
    return 0;
}
