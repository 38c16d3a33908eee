#include "core/pace.h"

#include <math.h>
#include <stdbool.h>

static const double LONGEST_NS = 60e9; /* between two calls, whatever the level says */

/* Whether the waiting calls may pass at once. `spent->cost` has, then. */
static bool fits(xf_pace *p, const xf_spent *spent, int64_t when)
{
    if (p->fits <= 0) {
        return false;
    }
    if (p->full > 0 && when > p->faded) {
        p->burst *= exp((double)(p->faded - when) * p->rate / p->full);
        p->faded = when;
    }
    double burst = p->burst + spent->cost;
    if (spent->waiting + burst > p->fits * (spent->level + burst)) {
        return false;
    }
    p->burst = burst;
    return true;
}

void xf_pace_took(xf_pace *p, const xf_spent *spent, int64_t when)
{
    if (spent->cost <= 0 || fits(p, spent, when)) {
        return;
    }
    double pace = p->most;
    if (p->scale > 0) {
        pace = fmin(pace, p->rate * exp((spent->level - p->kept) / p->scale));
    }
    int64_t gap = (int64_t)fmin(spent->cost / pace, LONGEST_NS);
    int64_t next = when + gap;
    p->next = next < p->until ? next : p->until;
}
