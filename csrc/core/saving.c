#include "core/saving.h"

static bool holds_input(const xf_gate *g, const xf_call *c, uint32_t i)
{
    return g->limits[i].counts_input && c->held[i] > 0;
}

bool xf_saving_take(const xf_gate *g, xf_call *c, int64_t tokens)
{
    bool any = false;
    for (uint32_t i = 0; i < g->n_limits; i++) {
        if (holds_input(g, c, i) && c->held[i] <= tokens) {
            return false;
        }
        any |= holds_input(g, c, i);
    }
    if (any) {
        xf_saving_return(g, c, -tokens);
    }
    return any;
}

void xf_saving_return(const xf_gate *g, xf_call *c, int64_t tokens)
{
    for (uint32_t i = 0; i < g->n_limits; i++) {
        c->held[i] += holds_input(g, c, i) ? tokens : 0;
    }
}
