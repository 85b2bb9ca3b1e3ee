/* Scenario files: whatever is read is within its bounds, whatever is refused says where and why. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/scenario.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void within(const struct scenario *s, const struct sc_set *set)
{
    if (set->n > SC_RANGES)
        abort();
    for (unsigned k = 0; k < set->n; k++)
        if (set->r[k].lo > set->r[k].hi || set->r[k].hi >= s->peers)
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct scenario s;
    struct words_error err;

    if (!scenario_parse(&s, (const char *)data, size, &err)) {
        if (!err.text[0] || strlen(err.text) >= sizeof err.text)
            abort();
        return 0;
    }
    if (s.peers < 2 || s.peers > SC_PEERS_MAX || s.length <= 0 || s.nevents > SC_EVENTS || s.nexpects > SC_EXPECTS ||
        s.nclocks > SC_CLOCKS || s.net.delay_min > s.net.delay_max || s.net.loss < 0 || s.net.loss > 1)
        abort();
    for (unsigned k = 0; k < s.nevents; k++) {
        within(&s, &s.event[k].set);
        within(&s, &s.event[k].to);
        if (s.event[k].at < 0 || s.event[k].at >= s.length || s.event[k].lasts < 0 || !sc_verb_text(s.event[k].verb))
            abort();
    }
    for (unsigned k = 0; k < s.nexpects; k++)
        within(&s, &s.expect[k].set);
    return 0;
}
