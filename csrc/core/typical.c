#include "core/typical.h"

#include <math.h>

static int64_t whole(double tokens)
{
    return tokens < 4e18 ? (int64_t)ceil(tokens) : (int64_t)4e18;
}

void xf_typical_note(xf_typical *t, int64_t size, int64_t input, int64_t output)
{
    const double keep = 1 - 1 / XF_TYPICAL_MEMORY;
    t->tokens = keep * t->tokens + (double)input;
    t->measure = keep * t->measure + (double)size;
    t->reports = keep * t->reports + 1;
    const double weight = 1 / t->reports;
    const double away = (double)output - t->mean;
    t->mean += weight * away;
    t->variance = (1 - weight) * (t->variance + weight * away * away);
}

int64_t xf_typical_input(const xf_typical *t, int64_t size)
{
    return whole((double)size * t->tokens / t->measure);
}

int64_t xf_typical_output(const xf_typical *t, uint32_t in_flight)
{
    if (t->reports <= 0) {
        return XF_TYPICAL_FIRST;
    }
    return whole(t->mean + 2 * sqrt(t->variance) / sqrt((double)in_flight + 1));
}
