/* Experiments' files: whatever is read is within its bounds and can be played, whatever is refused says why. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/policy_world.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_env(const struct pw_scenario *s, const struct pw_env *e)
{
    if (!e->guests || e->guests > PW_GUESTS || e->domain >= s->n_domains || e->domain_static >= s->n_domains ||
        !e->n_stages || e->n_stages > PW_STAGES || !e->n_uses || e->n_uses > PW_USES || strlen(e->name) >= PW_NAME)
        abort();
    for (unsigned k = 0; k < e->n_stages; k++)
        if (!(e->stage[k].demand >= 0 && e->stage[k].demand <= 1 && e->stage[k].work >= 0))
            abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pw_scenario s;
    struct words_error err;
    struct pw_world *w;

    if (!pw_parse(&s, (const char *)data, size, &err)) {
        if (!err.text[0] || strlen(err.text) >= sizeof err.text)
            abort();
        pw_scenario_free(&s);
        return 0;
    }
    if (!s.n_domains || s.n_domains > PW_FILE_DOMAINS || !s.n_envs || s.n_envs > PW_FILE_ENVS || s.n_hosts > PW_FILE_HOSTS ||
        s.n_orders > PW_ORDERS || s.length <= 0 || s.period < VI_SEC || !(s.link_kbps >= 1))
        abort();
    for (unsigned e = 0; e < s.n_envs; e++)
        check_env(&s, &s.env[e]);
    w = pw_new(&s, true);
    for (unsigned k = 0; w && k < 20 && w->now < s.length; k++) { /* a little of it */
        vi_time t = pw_next(w);

        if (t < w->now)
            abort();
        pw_advance(w, t < s.length ? t : s.length);
    }
    pw_free(w);
    pw_scenario_free(&s);
    return 0;
}
