#include "core/ahead.h"

#include <string.h>

#include "core/saving.h"

/* A call of the queue, and its costs if it passes by now. */
typedef struct xf_waiting {
    const xf_call *call; /* or NULL */
    int64_t costs[XF_LEASE_LIMITS];
} xf_waiting;

static xf_waiting waiting(const xf_scheduler *s, const xf_call *c)
{
    xf_waiting w = {.call = c};
    int64_t saving = 0;
    const xf_group *g = c != NULL ? xf_queue_group(&s->queue, c) : NULL;
    for (; g != NULL && saving == 0; g = g->trunk) {
        saving = xf_saving_of(&s->gate, &s->queue.groups, g, c, s->now);
    }
    for (uint32_t i = 0; c != NULL && i < s->gate.n_limits; i++) {
        w.costs[i] = xf_saving_cost(&s->gate, c, i, saving);
    }
    return w;
}

/* Takes the costs out of `units`. Returns the next call. */
static xf_waiting spend(const xf_scheduler *s, const xf_waiting *w, int64_t *units)
{
    for (uint32_t i = 0; i < s->gate.n_limits; i++) {
        units[i] -= w->costs[i];
    }
    return waiting(s, xf_queue_next(&s->queue, w->call));
}

/* Whether the call passes by a chunk of which so many units are left. */
static bool fits(const xf_gate *g, const xf_waiting *w, const int64_t *units)
{
    bool all = w->call != NULL;
    for (uint32_t i = 0; i < g->n_limits; i++) {
        all &= w->costs[i] <= units[i] || xf_lease_is_place(&g->limits[i]);
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

xf_ahead xf_ahead_look(const xf_scheduler *s, const int64_t *enough)
{
    const xf_gate *g = &s->gate;
    const xf_lease *l = g->lease;
    xf_waiting w = waiting(s, xf_queue_head(&s->queue));
    int64_t lack[XF_LEASE_LIMITS] = {0};
    xf_ahead a = {0};
    if (l->has_chunk) {
        memcpy(a.left, l->chunk.units, sizeof(a.left));
    }
    while (l->has_chunk && a.covered < XF_AHEAD_MOST && fits(g, &w, a.left)) {
        w = spend(s, &w, a.left);
        a.covered++;
    }
    for (uint32_t i = 0; w.call != NULL && i < g->n_limits; i++) {
        a.head[i] = w.costs[i];
        lack[i] = enough[i];
    }
    while (w.call != NULL && a.count < XF_AHEAD_MOST && (a.count == 0 || is_short(g, lack))) {
        w = spend(s, &w, lack);
        a.count++;
    }
    for (uint32_t i = 0; a.count > 0 && i < g->n_limits; i++) {
        a.rest[i] = enough[i] - lack[i] - a.head[i];
    }
    a.is_full = a.count > 0 && !is_short(g, lack);
    return a;
}
