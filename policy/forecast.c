/* What a guest, and the host, can be expected to want: not this moment's demand, which says little of the next five
 * minutes (on PlanetLab's machines a guest's demand is as good as uncorrelated with that of five minutes before), but the
 * mean and the spread of the last hour.
 *
 * Means forget exponentially, with an hour's memory; in the beginning all samples count alike. The host's mean is the sum
 * of its guests', so a guest that comes or goes takes its part along; its variance is that of what the guests want
 * together about this mean, so peaks that coincide are in it. */
#include <math.h>

#include "policy/internal.h"


static double weight_of(vi_time span, vi_time seen)
{
    double a = (double)span / 1e6 / FORECAST_S, b = seen > 0 ? (double)span / (double)seen : 1;
    return fmin(1, fmax(a, b));
}

void policy_forecast_guest(struct guest_state *g, vi_time now)
{
    vi_time span = now - g->last_at;
    double a, off = g->demand_pct - g->lasting_pct;
    g->lasting_seen += span;
    a = weight_of(span, g->lasting_seen);
    g->lasting_pct += a * off;
    g->lasting_var += a * (off * (g->demand_pct - g->lasting_pct) - g->lasting_var);
}

void policy_forecast_host(struct policy *p, vi_time now)
{
    double mean = 0, off;
    vi_time span = p->forecast_at ? now - p->forecast_at : p->cfg.period;
    p->load.lasting_pct = 0;
    for (unsigned i = 0; i < p->top; i++)
        if (p->guests[i].used && p->guests[i].in.running)
            mean += p->guests[i].measured ? p->guests[i].lasting_pct : 0;
    off = p->load.demand_pct - mean;
    p->forecast_at = now;
    p->forecast_seen += span;
    p->forecast_var += weight_of(span, p->forecast_seen) * (off * off - p->forecast_var);
    p->load.lasting_known = p->forecast_seen >= p->cfg.forecast_after;
    p->load.lasting_pct = mean;
    p->load.spread_pct = sqrt(fmax(0, p->forecast_var));
}

/* The mean of what is beyond the capacity, of a normally distributed demand (the unit normal loss). */
double policy_unserved(double mean, double spread, double capacity)
{
    double z, above = mean - capacity;
    if (spread < 0.01)
        return above > 0 ? above : 0;
    z = -above / spread;
    return spread * exp(-z * z / 2) / sqrt(2 * M_PI) + above * erfc(z / M_SQRT2) / 2;
}
