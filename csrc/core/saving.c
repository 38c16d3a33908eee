#include "core/saving.h"

static bool holds_input(const xf_gate *g, const xf_call *c, uint32_t i)
{
    return g->limits[i].counts_input && c->held[i] > 0;
}

/* Whether the costs of `c` hold more than `tokens`, of all limits that count input. */
static bool holds(const xf_gate *g, const xf_call *c, int64_t tokens)
{
    bool any = false;
    for (uint32_t i = 0; i < g->n_limits; i++) {
        if (holds_input(g, c, i) && c->held[i] <= tokens) {
            return false;
        }
        any |= holds_input(g, c, i);
    }
    return any;
}

int64_t xf_saving_of(const xf_gate *g, const xf_groups *all, const xf_group *group,
                     const xf_call *c, int64_t at)
{
    int64_t tokens = at < group->warm_until ? xf_group_saving(all, group) : 0;
    return tokens > 0 && holds(g, c, tokens) ? tokens : 0;
}

int64_t xf_saving_cost(const xf_gate *g, const xf_call *c, uint32_t i, int64_t tokens)
{
    return c->held[i] - (holds_input(g, c, i) ? tokens : 0);
}

void xf_saving_take(const xf_gate *g, xf_call *c, int64_t tokens)
{
    for (uint32_t i = 0; i < g->n_limits; i++) {
        c->held[i] = xf_saving_cost(g, c, i, tokens);
    }
}

void xf_saving_return(const xf_gate *g, xf_call *c, int64_t tokens)
{
    xf_saving_take(g, c, -tokens);
}
