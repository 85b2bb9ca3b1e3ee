/* A played scenario as a picture: a row a peer, time to the right; the share of the others that suspect
 * it or believe it dead as colour, below it what really was. Plain SVG, no scripts. See scenario_run.h. */
#include "tests/sim/scenario_run.h"

#include <inttypes.h>

#define LEFT     64.0
#define WIDTH    1100.0
#define ROW      14.0
#define BELIEF   8.0 /* of a row; below it the truth */
#define TRUTH    3.0
#define LABELS   10  /* of events above the rows, in three heights */
#define ALL_ROWS 64  /* so many peers all have a row, of more only those ever suspected */
#define ROWS_MAX 400

struct picture {
    const struct scenario_run *r;
    FILE *out;
    double top;
    unsigned rows;
};

static const struct {
    enum sc_verb verb;
    const char *name, *colour;
} truths[] = {
    {SC_CRASH, "down", "#333333"},   {SC_PAUSE, "paused", "#1f6fd6"},  {SC_BLOCK, "blocked", "#17a2b8"},
    {SC_MUTE, "mute", "#7a5195"},    {SC_PARTITION, "parted", "#b07aa1"}, {SC_CUT, "cut one way", "#d45087"},
    {SC_LOSS, "lossy", "#8c6d31"},
};
#define TRUTHS (sizeof truths / sizeof truths[0])

static double x_of(const struct picture *p, vi_time t)
{
    if (t > p->r->s->length)
        t = p->r->s->length;
    return LEFT + WIDTH * (double)t / (double)p->r->s->length;
}

static void escaped(FILE *out, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == '<' || c == '>' || c == '&' || c == '"')
            fprintf(out, "&#%u;", c);
        else
            fputc(c < ' ' || c >= 127 ? '?' : c, out);
    }
}

static void box(const struct picture *p, vi_time from, vi_time to, double y, double height, const char *colour,
                double opacity)
{
    double a = x_of(p, from), b = x_of(p, to);

    if (b - a < 0.5)
        b = a + 0.5;
    fprintf(p->out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\" fill-opacity=\"%.2f\"/>\n", a,
            y, b - a, height, colour, opacity);
}

static void beliefs(const struct picture *p, unsigned who, double y)
{
    const struct sr_row *row = &p->r->row[who];

    for (unsigned k = 0; k < row->n; k++) {
        const struct sr_sample *s = &row->v[k];
        vi_time to = k + 1 < row->n ? row->v[k + 1].at : p->r->s->length;

        if (!s->observers)
            continue;
        if (s->suspecting)
            box(p, s->at, to, y, BELIEF, "#f0a30a", .15 + .85 * s->suspecting / s->observers);
        if (s->dead)
            box(p, s->at, to, y, BELIEF, "#c0152f", .15 + .85 * s->dead / s->observers);
    }
}

static const char *colour_of(enum sc_verb verb)
{
    for (size_t k = 0; k < TRUTHS; k++)
        if (truths[k].verb == verb)
            return truths[k].colour;
    return NULL;
}

static void truth(const struct picture *p, unsigned who, double y)
{
    const struct scenario_run *r = p->r;

    for (unsigned k = 0; k < r->s->nevents; k++) {
        const struct sr_outcome *o = &r->outcome[k];
        const char *colour = colour_of(r->s->event[k].verb);

        if (r->s->event[k].verb >= SC_PAUSE && colour && o->begun && r->in_event[(size_t)k * r->n + who])
            box(p, o->at, o->end, y + BELIEF + 1, TRUTH, colour, 1);
    }
    for (unsigned k = 0; k < r->ndown; k++)
        if (r->down[k].who == who)
            box(p, r->down[k].from, r->down[k].to, y + BELIEF + 1, TRUTH, truths[0].colour, 1);
}

static bool has_row(const struct scenario_run *r, unsigned who)
{
    return r->n <= ALL_ROWS || r->row[who].doubted;
}

static void one_row(const struct picture *p, unsigned who, double y)
{
    fprintf(p->out, "<g><title>peer %u</title>\n", who);
    fprintf(p->out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%u</text>\n", LEFT - 6, y + BELIEF, who);
    box(p, 0, p->r->s->length, y, BELIEF, "#dfeedd", 1);
    beliefs(p, who, y);
    truth(p, who, y);
    fprintf(p->out, "</g>\n");
}

static void axis(const struct picture *p)
{
    static const int steps[] = {1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200};
    double bottom = p->top + p->rows * ROW, length = (double)p->r->s->length / 1e6;
    int step = steps[0];

    for (size_t k = 0; k < sizeof steps / sizeof steps[0] && length / step > 20; k++)
        step = steps[k];
    for (int t = 0; t <= length; t += step) {
        double x = x_of(p, t * VI_SEC);

        fprintf(p->out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#00000022\"/>\n", x, p->top, x,
                bottom + 4);
        fprintf(p->out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%d s</text>\n", x, bottom + 16, t);
    }
}

static void marks(const struct picture *p)
{
    const struct scenario *s = p->r->s;
    unsigned labels = 0;

    for (unsigned k = 0; k < s->nevents; k++) {
        double x = x_of(p, s->event[k].at), y;

        if (s->event[k].verb == SC_START)
            continue;
        y = p->top - 6 - 12 * (labels % 3);
        fprintf(p->out, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"#000000\" stroke-opacity=\"0.35\""
                        " stroke-dasharray=\"2 3\"><title>%.1f s: ", x, labels < LABELS ? y : p->top, x,
                p->top + p->rows * ROW, (double)s->event[k].at / 1e6);
        escaped(p->out, s->event[k].text);
        fprintf(p->out, "</title></line>\n");
        if (labels++ >= LABELS)
            continue;
        fprintf(p->out, "<text x=\"%.1f\" y=\"%.1f\"%s>", x > LEFT + WIDTH * .75 ? x - 3 : x + 3, y,
                x > LEFT + WIDTH * .75 ? " text-anchor=\"end\"" : "");
        escaped(p->out, s->event[k].text);
        fprintf(p->out, "</text>\n");
    }
}

static void legend(const struct picture *p)
{
    double y = p->top + p->rows * ROW + 28, x = LEFT;
    static const struct {
        const char *name, *colour;
    } beliefs_of[] = {{"alive for all", "#dfeedd"}, {"suspected (darker: by more)", "#f0a30a"},
                      {"dead or left (darker: for more)", "#c0152f"}};

    for (size_t k = 0; k < 3; k++, x += 200)
        fprintf(p->out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"14\" height=\"8\" fill=\"%s\"/><text x=\"%.1f\" y=\"%.1f\">%s"
                        "</text>\n", x, y, beliefs_of[k].colour, x + 18, y + 8, beliefs_of[k].name);
    x = LEFT;
    y += 18;
    for (size_t k = 0; k < TRUTHS; k++, x += 110)
        fprintf(p->out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"14\" height=\"3\" fill=\"%s\"/><text x=\"%.1f\" y=\"%.1f\">%s"
                        "</text>\n", x, y + 3, truths[k].colour, x + 18, y + 8, truths[k].name);
}

int scenario_svg(const struct scenario_run *r, const char *name, FILE *out)
{
    struct picture p = {.r = r, .out = out, .top = 76};
    double y = p.top, height;

    for (unsigned who = 0; who < r->n && p.rows < ROWS_MAX; who++)
        p.rows += has_row(r, who);
    height = p.top + p.rows * ROW + 64;
    fprintf(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                 "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" "
                 "font-family=\"sans-serif\" font-size=\"10\" fill=\"#222222\">\n", LEFT + WIDTH + 20, height,
            LEFT + WIDTH + 20, height);
    fprintf(out, "<rect width=\"100%%\" height=\"100%%\" fill=\"#ffffff\"/>\n<text x=\"%.0f\" y=\"20\" font-size=\"15\">", LEFT);
    escaped(out, name);
    fprintf(out, ": who believed whom dead when</text>\n<text x=\"%.0f\" y=\"35\">%u peers, %s, seed %" PRIu64
                 ", trace %016" PRIx64 "; healthy ones declared dead: %" PRIu64 "</text>\n",
            LEFT, r->n, r->s->swim ? "swim" : "violin", r->seed, r->hash, r->wrong);
    for (unsigned who = 0, rows = 0; who < r->n && rows < p.rows; who++) {
        if (!has_row(r, who))
            continue;
        one_row(&p, who, y);
        y += ROW;
        rows++;
    }
    axis(&p);
    marks(&p);
    legend(&p);
    fprintf(out, "</svg>\n");
    return ferror(out) ? -1 : 0;
}
