/* Played scenarios as one page: where every environment ran, how long each took. No scripts, nothing from
 * elsewhere. See policy_report.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/policy_report.h"

#define LEFT   70.0
#define WIDTH  960.0
#define LANE   11.0
#define GAP    3.0
#define LANES  16 /* guests side by side on a host; more are drawn over the last */
#define BAR    13.0

static const char *const colours[] = {"#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a7d00", "#7f7f7f"};
static const char *const shades[PW_SYSTEMS] = {"#9a9a9a", "#c9a227", "#2a7f62", "#3d6fb6"};
static const char *const headings[PW_SYSTEMS] = {"without adaptation", "reference (central, sees everything at once)",
                                                     "violin, a guest that moves stalls 20 s",
                                                     "violin, stall modelled (size, dirty rate, 1 Gb/s)"};

static void escaped(FILE *out, const char *text)
{
    for (; *text; text++)
        if (strchr("<>&\"", *text))
            fprintf(out, "&#%d;", *text);
        else
            fputc((unsigned char)*text < ' ' ? '?' : *text, out);
}

static const char *colour_of(unsigned env)
{
    return colours[env % (sizeof colours / sizeof colours[0])];
}

/* ---- time ------------------------------------------------------------------------------------------ */

static double length_of(const struct pr_case *c)
{
    vi_time last = 0;

    for (unsigned sys = 0; sys < PW_SYSTEMS; sys++)
        if (c->n[sys] && c->run[sys][0]->w->now > last)
            last = c->run[sys][0]->w->now;
    return (double)last / 1e6;
}

static double step_of(double length, unsigned most)
{
    static const double steps[] = {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000};
    unsigned k = 0;

    while (k + 1 < sizeof steps / sizeof steps[0] && length / steps[k] > most)
        k++;
    return steps[k];
}

static void time_axis(FILE *out, double length, double top, double bottom)
{
    double step = step_of(length, 12);

    for (double t = 0; t <= length; t += step) {
        double x = LEFT + WIDTH * t / length;

        fprintf(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"grid\"/>"
                     "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%.0f s</text>\n", x, top, x, bottom, x, bottom + 13, t);
    }
}

/* ---- where every environment ran ---------------------------------------------------------------------- */

struct lanes {
    unsigned *of; /* lane of each stay */
    unsigned *n;  /* lanes of each host */
};

static bool find_lanes(const struct pw_world *w, struct lanes *l)
{
    vi_time *busy = calloc((size_t)w->s->n_hosts * LANES, sizeof *busy);

    l->of = calloc(w->n_stays + 1, sizeof *l->of);
    l->n = calloc(w->s->n_hosts + 1, sizeof *l->n);
    for (unsigned k = 0; busy && l->of && l->n && k < w->n_stays; k++) {
        const struct pw_stay *s = &w->stay[k];
        vi_time *row = busy + (size_t)s->host * LANES;
        unsigned lane = 0;

        while (lane + 1 < LANES && row[lane] > s->from)
            lane++;
        row[lane] = s->to;
        l->of[k] = lane;
        if (lane + 1 > l->n[s->host])
            l->n[s->host] = lane + 1;
    }
    free(busy);
    return busy && l->of && l->n;
}

static void one_stay(FILE *out, const struct pw_world *w, const struct pw_stay *s, double y, double length)
{
    vi_time to = s->to == VI_NEVER ? w->now : s->to;
    unsigned env = w->guest[s->guest].env;
    double a = LEFT + WIDTH * (double)s->from / 1e6 / length, b = LEFT + WIDTH * (double)to / 1e6 / length;
    bool dead = w->env[env].state == PW_DIED && to > w->env[env].ended;

    fprintf(out, "<rect x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\" fill=\"%s\"%s><title>%s.%u, host %s.%u, %.1f–%.1f s%s"
                 "</title></rect>", a, y, fmax(.6, b - a), LANE - 1, colour_of(env), s->stalled ? " fill-opacity=\"0.35\"" : "",
            w->s->env[env].name, w->guest[s->guest].index, w->s->domain[w->host[s->host].domain].name,
            s->host - w->s->domain[w->host[s->host].domain].first, (double)s->from / 1e6, (double)to / 1e6,
            s->stalled ? ", stalled by its move" : "");
    if (dead) {
        double x = LEFT + WIDTH * (double)w->env[env].ended / 1e6 / length;

        fprintf(out, "<rect x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\" fill=\"#fff\" fill-opacity=\"0.75\"/>"
                     "<text x=\"%.1f\" y=\"%.1f\" font-size=\"9\">%s</text>", x, y, b - x, LANE - 1, x + 3, y + LANE - 3,
                w->guest[s->guest].index ? "" : "dead: out of memory");
    }
    if (b - a > 26 && !s->stalled)
        fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"9\" fill=\"#fff\">%s</text>", a + 3, y + LANE - 3,
                w->s->env[env].name);
    fputc('\n', out);
}

static double host_row(FILE *out, const struct pw_world *w, const struct lanes *l, unsigned host, double y, double length)
{
    const struct pw_domain *d = &w->s->domain[w->host[host].domain];
    double height = LANE * (l->n[host] ? l->n[host] : 1);

    fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%s.%u</text><rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
                 "height=\"%.1f\" class=\"host\"/>\n", LEFT - 6, y + height / 2 + 3, d->name, host - d->first, LEFT, y - 1, WIDTH,
            height + 1);
    for (unsigned k = 0; k < w->n_stays; k++)
        if (w->stay[k].host == host)
            one_stay(out, w, &w->stay[k], y + LANE * l->of[k], length);
    return height + GAP;
}

static void where(FILE *out, const struct pr_case *c, enum pw_system sys, double length)
{
    const struct pw_world *w = c->run[sys][0]->w;
    struct lanes l = {0};
    double y = 6, height = 6;

    if (find_lanes(w, &l)) {
        for (unsigned h = 0; h < w->s->n_hosts; h++)
            height += LANE * (l.n[h] ? l.n[h] : 1) + GAP + (h && w->host[h].domain != w->host[h - 1].domain ? 8 : 0);
        fprintf(out, "<h4>%s</h4>\n<svg viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" role=\"img\">\n", headings[sys],
                LEFT + WIDTH + 20, height + 22, LEFT + WIDTH + 20, height + 22);
        time_axis(out, length, 2, height);
        for (unsigned h = 0; h < w->s->n_hosts; h++) {
            if (h && w->host[h].domain != w->host[h - 1].domain)
                y += 8;
            y += host_row(out, w, &l, h, y, length);
        }
        fprintf(out, "</svg>\n");
    }
    free(l.of);
    free(l.n);
}

static void legend(FILE *out, const struct pr_case *c)
{
    fprintf(out, "<p class=\"legend\">");
    for (unsigned e = 0; e < c->s.n_envs; e++) {
        fprintf(out, "<span><i style=\"background:%s\"></i>", colour_of(e));
        escaped(out, c->s.env[e].name);
        fprintf(out, " (%u guests)</span> ", c->s.env[e].guests);
    }
    fprintf(out, "<span>pale: stalled by a move</span></p>\n");
}

/* ---- how long each took ------------------------------------------------------------------------------- */

static bool named(const struct pr_case *c, enum pw_system sys, const char *env, const char *figure, struct pr_metric *m)
{
    char name[64];

    snprintf(name, sizeof name, "%s%s%s", env, *env ? "_" : "", figure);
    for (unsigned k = 0; pr_metric(c, sys, k, m); k++)
        if (!strcmp(m->name, name))
            return true;
    return false;
}

static void one_bar(FILE *out, const struct pr_metric *m, enum pw_system sys, double y, double most)
{
    double per = (WIDTH - 80) / most;

    fprintf(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>", LEFT, y, m->mean * per, BAR - 2,
            shades[sys]);
    if (m->max - m->min > .5)
        fprintf(out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#000\"/>", LEFT + m->min * per, y + BAR / 2 - 1,
                LEFT + m->max * per, y + BAR / 2 - 1);
    fprintf(out, "<text x=\"%.1f\" y=\"%.1f\">%.0f s</text>\n", LEFT + m->max * per + 5, y + BAR - 4, m->mean);
}

static void bars(FILE *out, const struct pr_case *c)
{
    struct pr_metric m;
    double most = 1, y = 4, height = 4;
    unsigned systems = 0;

    for (unsigned sys = 0; sys < PW_SYSTEMS; sys++) {
        systems += c->n[sys] > 0;
        for (unsigned e = 0; e < c->s.n_envs; e++)
            if (named(c, sys, c->s.env[e].name, "execution_s", &m) && m.max > most)
                most = m.max;
    }
    if (!named(c, PW_STATIC, c->s.env[0].name, "execution_s", &m))
        return;
    height += c->s.n_envs * (systems * BAR + 8);
    fprintf(out, "<h4>execution time of each environment</h4>\n<p class=\"legend\">");
    for (unsigned sys = 0; sys < PW_SYSTEMS; sys++)
        if (c->n[sys])
            fprintf(out, "<span><i style=\"background:%s\"></i>%s</span> ", shades[sys], headings[sys]);
    fprintf(out, "</p>\n<svg viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" role=\"img\">\n", LEFT + WIDTH + 20, height,
            LEFT + WIDTH + 20, height);
    for (unsigned e = 0; e < c->s.n_envs; e++) {
        fprintf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\" font-size=\"12\">%s</text>\n", LEFT - 6,
                y + systems * BAR / 2 + 4, c->s.env[e].name);
        for (unsigned sys = 0; sys < PW_SYSTEMS; sys++)
            if (named(c, sys, c->s.env[e].name, "execution_s", &m)) {
                one_bar(out, &m, sys, y, most);
                y += BAR;
            }
        y += 8;
    }
    fprintf(out, "</svg>\n");
}

/* ---- figures, events ------------------------------------------------------------------------------------ */

static void table_row(FILE *out, const struct pr_case *c, unsigned k)
{
    struct pr_metric m;
    bool quoted = false;

    if (!pr_metric(c, PW_STATIC, k, &m))
        return;
    fprintf(out, "<tr><th>%s</th><td>", m.name);
    for (unsigned q = 0; q < c->s.n_quotes && !quoted; q++)
        if ((quoted = !strcmp(c->s.quote[q].metric, m.name)))
            fprintf(out, "%.0f", c->s.quote[q].value);
    fprintf(out, "</td>");
    for (unsigned sys = 0; sys < PW_SYSTEMS; sys++)
        if (pr_metric(c, sys, k, &m)) {
            fprintf(out, "<td>%.1f", m.mean);
            if (m.max - m.min > .05)
                fprintf(out, " <small>%.1f…%.1f</small>", m.min, m.max);
            fprintf(out, "</td>");
        }
    fprintf(out, "</tr>\n");
}

static void table(FILE *out, const struct pr_case *c)
{
    struct pr_metric m;

    fprintf(out, "<table><tr><th></th><th>paper</th>");
    for (unsigned sys = 0; sys < PW_SYSTEMS; sys++)
        if (c->n[sys])
            fprintf(out, "<th>%s%s</th>", pw_system_names[sys], c->n[sys] > 1 ? " (mean, range)" : "");
    fprintf(out, "</tr>\n");
    for (unsigned k = 0; pr_metric(c, PW_STATIC, k, &m); k++)
        table_row(out, c, k);
    fprintf(out, "</table>\n");
}

static void one_case(FILE *out, const struct pr_case *c)
{
    double length = length_of(c);

    fprintf(out, "<h2 id=\"%s\">", c->s.name);
    escaped(out, c->s.title);
    fprintf(out, "</h2>\n");
    legend(out, c);
    for (unsigned sys = 0; sys < PW_SYSTEMS; sys++)
        if (c->n[sys])
            where(out, c, sys, length > 0 ? length : 1);
    bars(out, c);
    table(out, c);
    for (unsigned sys = PW_REFERENCE; sys < PW_SYSTEMS; sys++)
        if (c->n[sys]) {
            fprintf(out, "<details><summary>order of events: %s, seed %llu</summary><pre>", headings[sys],
                    (unsigned long long)c->run[sys][0]->seed);
            pr_events(c->run[sys][0], out);
            fprintf(out, "</pre></details>\n");
        }
}

int pr_html(const struct pr_case *cases, unsigned n, FILE *out)
{
    fprintf(out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>violin: scenarios</title>\n<style>\n"
                 "body{font:14px/1.4 sans-serif;color:#222;max-width:1080px;margin:1em auto;padding:0 1em}\n"
                 "h2{margin:2em 0 .2em;border-top:1px solid #ccc;padding-top:.6em}h4{margin:1em 0 .2em}\n"
                 "svg{font:10px sans-serif;display:block;max-width:100%%;height:auto}.grid{stroke:#ccc}.host{fill:#f3f3f3}\n"
                 ".legend{margin:.2em 0}.legend span{margin-right:1em;white-space:nowrap}\n"
                 ".legend i{display:inline-block;width:12px;height:12px;margin-right:4px;vertical-align:-1px}\n"
                 "table{border-collapse:collapse;margin:.8em 0}th,td{padding:1px 12px 1px 0;text-align:right}\n"
                 "th:first-child{text-align:left}th{font-weight:600}small{color:#666}pre{font-size:12px}\n</style></head><body>\n"
                 "<h1>Scenarios</h1>\n<p>Where every environment's guests ran (a lane a guest, time to the right), how long each "
                 "environment took, with and without adaptation. Inputs, systems and words: tests/sim/README.md.</p>\n<p>");
    for (unsigned i = 0; i < n; i++)
        fprintf(out, "<a href=\"#%s\">%s</a>%s", cases[i].s.name, cases[i].s.name, i + 1 < n ? " · " : "</p>\n");
    for (unsigned i = 0; i < n; i++)
        one_case(out, &cases[i]);
    fprintf(out, "</body></html>\n");
    return ferror(out) ? -1 : 0;
}
