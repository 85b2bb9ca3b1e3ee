/* A played scenario as text and as JSON. See scenario_run.h. */
#include "tests/sim/scenario_run.h"

#include <inttypes.h>
#include <jansson.h>

static double seconds(vi_time t)
{
    return (double)t / 1e6;
}

static void column(FILE *out, vi_time t, vi_time from)
{
    if (t == VI_NEVER || from == VI_NEVER)
        fprintf(out, " %8s", "-");
    else
        fprintf(out, " %8.2f", seconds(t - from));
}

void scenario_text(const struct scenario_run *r, const char *name, FILE *out)
{
    const struct scenario *s = r->s;

    fprintf(out, "%s: %u peers, %s, seed %" PRIu64 ", %.0f s\n", name, r->n, s->swim ? "swim" : "violin", r->seed,
            seconds(s->length));
    fprintf(out, "%8s %8s %8s %8s %8s  %s\n", "at", "first", "last", "all", "back", "event");
    for (unsigned k = 0; k < s->nevents; k++) {
        const struct sr_outcome *o = &r->outcome[k];

        fprintf(out, "%8.2f", seconds(s->event[k].at));
        column(out, o->first, o->at);
        column(out, o->last, o->at);
        column(out, o->all, o->at);
        column(out, o->back, o->end);
        fprintf(out, "  %s\n", s->event[k].text);
    }
    fprintf(out, "healthy ones declared dead: %" PRIu64 ", by healthy ones: %" PRIu64 "\n", r->wrong, r->wrong_by_healthy);
    for (unsigned k = 0; k < r->nshown; k++)
        fprintf(out, "  at %.2f s: %u by %u\n", seconds(r->shown[k].at), r->shown[k].who, r->shown[k].by);
    fprintf(out, "traffic a peer: membership %.0f B/s, at most %.0f B in a second; summaries and records %.0f B/s\n",
            r->tx_mean, r->tx_max, r->store_mean);
    fprintf(out, "at the end all agree: %s\n", r->agreed ? "yes" : "no");
    for (unsigned k = 0; k < s->nexpects; k++)
        fprintf(out, "line %u: expect %s: %s, %s\n", s->expect[k].line, s->expect[k].text, r->check[k].ok ? "yes" : "NO",
                r->check[k].said);
    fprintf(out, "trace %016" PRIx64 ", %" PRIu64 " events\n", r->hash, r->events);
}

/* What didn't happen has no field. */
static void put(json_t *o, const char *name, vi_time t, vi_time from)
{
    if (t != VI_NEVER && from != VI_NEVER)
        json_object_set_new(o, name, json_real(seconds(t - from)));
}

static json_t *events(const struct scenario_run *r)
{
    json_t *all = json_array();

    for (unsigned k = 0; k < r->s->nevents; k++) {
        const struct sr_outcome *o = &r->outcome[k];
        json_t *e = json_object(), *who = json_array();

        json_object_set_new(e, "at_s", json_real(seconds(r->s->event[k].at)));
        json_object_set_new(e, "event", json_string(r->s->event[k].text));
        for (unsigned j = 0; j < o->nsubjects; j++)
            json_array_append_new(who, json_integer(o->subject[j].who));
        json_object_set_new(e, "peers", who);
        put(e, "first_s", o->first, o->at);
        put(e, "last_s", o->last, o->at);
        put(e, "all_s", o->all, o->at);
        put(e, "end_s", o->end, 0);
        put(e, "back_s", o->back, o->end);
        json_array_append_new(all, e);
    }
    return all;
}

static json_t *expectations(const struct scenario_run *r)
{
    json_t *all = json_array();

    for (unsigned k = 0; k < r->s->nexpects; k++)
        json_array_append_new(all, json_pack("{s:i, s:s, s:b, s:s}", "line", (int)r->s->expect[k].line, "expect",
                                             r->s->expect[k].text, "ok", r->check[k].ok, "said", r->check[k].said));
    return all;
}

static json_t *wrong(const struct scenario_run *r)
{
    json_t *all = json_array();

    for (unsigned k = 0; k < r->nshown; k++)
        json_array_append_new(all, json_pack("{s:f, s:i, s:i}", "at_s", seconds(r->shown[k].at), "peer",
                                             (int)r->shown[k].who, "by", (int)r->shown[k].by));
    return all;
}

int scenario_json(const struct scenario_run *r, const char *name, FILE *out)
{
    char hash[20];
    json_t *j;
    int err = -1;

    snprintf(hash, sizeof hash, "%016" PRIx64, r->hash);
    j = json_pack("{s:s, s:s, s:i, s:I, s:f, s:s, s:I, s:b, s:b}", "scenario", name, "system",
                  r->s->swim ? "swim" : "violin", "peers", (int)r->n, "seed", (json_int_t)r->seed, "length_s",
                  seconds(r->s->length), "trace", hash, "events_handled", (json_int_t)r->events, "agreed_at_end",
                  r->agreed, "ok", r->ok);
    if (!j)
        return -1;
    json_object_set_new(j, "events", events(r));
    json_object_set_new(j, "healthy_removed", json_integer((json_int_t)r->wrong));
    json_object_set_new(j, "healthy_removed_by_healthy", json_integer((json_int_t)r->wrong_by_healthy));
    json_object_set_new(j, "first_wrong", wrong(r));
    json_object_set_new(j, "traffic", json_pack("{s:f, s:f, s:f}", "membership_bytes_per_s_mean", r->tx_mean,
                                                "membership_bytes_per_s_max", r->tx_max, "store_bytes_per_s_mean",
                                                r->store_mean));
    json_object_set_new(j, "expectations", expectations(r));
    if (!json_dumpf(j, out, JSON_INDENT(2)) && fputc('\n', out) != EOF)
        err = 0;
    json_decref(j);
    return err;
}
