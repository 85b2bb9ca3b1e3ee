/* Fuzz target: a simulated guest as text, as files, streams and the control socket have it, and the table of what it wrote. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "xen/simulated_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void text(const uint8_t *data, size_t size)
{
    char line[SIM_TEXT_MAX], again[SIM_TEXT_MAX], why[SIM_DETAIL];
    struct sim_guest g, back;
    if (size >= sizeof line || memchr(data, 0, size))
        return;
    memcpy(line, data, size);
    line[size] = '\0';
    sim_text_defaults(&g);
    if (sim_text_read(&g, line, why, sizeof why) || !g.cfg.name[0] || sim_text_write(&g, again, sizeof again) < 0)
        return;
    sim_text_defaults(&back);
    if (sim_text_read(&back, again, why, sizeof why) || back.cfg.n_disks != g.cfg.n_disks ||
        g.cfg.n_disks > SIM_DISKS_MAX || g.cfg.n_images > SIM_IMAGES_MAX || g.cfg.n_vifs > HV_VIFS_MAX)
        abort(); /* what is written reads back */
}

static void tables(const uint8_t *data, size_t size)
{
    struct sim_tables t = {.n = 0};
    while (size > 2) {
        size_t n = (size_t)data[1] * 4 < size - 2 ? (size_t)data[1] * 4 : size - 2;
        if (sim_table_take(&t, data[0], data + 2, n))
            break;
        data += 2 + n;
        size -= 2 + n;
    }
    if (t.n > SIM_DISKS_MAX)
        abort();
    sim_tables_free(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    text(data, size);
    tables(data, size);
    return 0;
}
