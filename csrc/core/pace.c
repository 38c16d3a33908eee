#include "core/pace.h"

#include <math.h>
#include <stdbool.h>

static const double LONGEST_NS = 60e9; /* between two calls, whatever the level says */

void xf_pace_took(xf_pace *p, const xf_spent *spent, int64_t when)
{
    bool fits = p->fits > 0 && spent->waiting <= p->fits * spent->level;
    if (spent->cost <= 0 || fits) {
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
