#include "core/ahead.h"

#include <string.h>

/* Takes the costs of `c` out of `units`. */
static void spend(const xf_gate *g, const xf_call *c, int64_t *units)
{
    for (uint32_t i = 0; i < g->n_limits; i++) {
        units[i] -= c->held[i];
    }
}

/* Whether `c` passes by a chunk of which so many units are left. */
static bool fits(const xf_gate *g, const xf_call *c, const int64_t *units)
{
    bool all = true;
    for (uint32_t i = 0; i < g->n_limits; i++) {
        all &= c->held[i] <= units[i] || xf_lease_is_place(&g->limits[i]);
    }
    return all;
}

/* Whether another call belongs to a chunk that lacks so many units. */
static bool is_short(const xf_gate *g, const int64_t *units)
{
    bool all = true;
    for (uint32_t i = 0; i < g->n_limits; i++) {
        all &= units[i] > 0;
    }
    return all;
}

xf_ahead xf_ahead_look(const xf_gate *g, const xf_queue *q, const int64_t *enough)
{
    const xf_lease *l = g->lease;
    const xf_call *c = xf_queue_head(q);
    int64_t lack[XF_LEASE_LIMITS] = {0};
    xf_ahead a = {0};
    if (l->has_chunk) {
        memcpy(a.left, l->chunk.units, sizeof(a.left));
    }
    for (; l->has_chunk && c != NULL && a.covered < XF_AHEAD_MOST && fits(g, c, a.left);
         c = xf_queue_next(q, c)) {
        spend(g, c, a.left);
        a.covered++;
    }
    for (uint32_t i = 0; c != NULL && i < g->n_limits; i++) {
        a.head[i] = c->held[i];
        lack[i] = enough[i];
    }
    while (c != NULL && a.count < XF_AHEAD_MOST && (a.count == 0 || is_short(g, lack))) {
        spend(g, c, lack);
        a.count++;
        c = xf_queue_next(q, c);
    }
    for (uint32_t i = 0; a.count > 0 && i < g->n_limits; i++) {
        a.rest[i] = enough[i] - lack[i] - a.head[i];
    }
    a.is_full = a.count > 0 && !is_short(g, lack);
    return a;
}
