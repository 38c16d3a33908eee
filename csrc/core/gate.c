#include "core/gate.h"

#include "core/sum.h"
#include "core/trail.h"

/* A full bucket may let in thousands of calls at once. All their tasks would run up to their first
   wait before any of them is sent, for seconds with a slow client. Meanwhile the bucket here
   refills, and the provider's, which is full, cannot. So calls are let in as fast as they are
   dispatched, some in each turn of the loop, which then sends them. */
enum { CALLS_A_TURN = 16 };

/* ---- life ---- */

bool xf_gate_init(xf_gate *g, const xf_definition *limits, uint32_t n, uint32_t slots,
                  const xf_alloc *alloc)
{
    *g = (xf_gate){.n_limits = n, .slots = slots, .let_in = XF_UNLIMITED, .ramp = XF_UNLIMITED};
    if (n > 0) {
        g->limits = alloc->realloc(alloc->ctx, NULL, n * sizeof(xf_limit));
        if (g->limits == NULL) {
            return false;
        }
        for (uint32_t i = 0; i < n; i++) {
            xf_limit_init(&g->limits[i], &limits[i]);
        }
    }
    return true;
}

/* The trails of all limits are one block, which begins with that of the first limit. */
static bool is_followed(const xf_gate *g)
{
    return g->n_limits > 0 && g->limits[0].trail != NULL;
}

void xf_gate_free(xf_gate *g, const xf_alloc *alloc)
{
    if (g->limits == NULL) {
        return;
    }
    if (is_followed(g)) {
        alloc->realloc(alloc->ctx, g->limits[0].trail, 0);
    }
    alloc->realloc(alloc->ctx, g->limits, 0);
    g->limits = NULL;
}

bool xf_gate_follow(xf_gate *g, const xf_alloc *alloc, int64_t now)
{
    if (g->n_limits == 0 || is_followed(g) || g->share != NULL) {
        return true; /* others move the level too, so a member cannot know where it has been */
    }
    xf_trail *trails = alloc->realloc(alloc->ctx, NULL, g->n_limits * sizeof(xf_trail));
    if (trails == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < g->n_limits; i++) {
        xf_limit_follow(&g->limits[i], &trails[i], now);
    }
    return true;
}

/* ---- calls ---- */

int64_t xf_gate_due(const xf_gate *g, const int64_t *costs, int64_t from, int *held_by)
{
    int64_t at = from;
    *held_by = XF_BY_NOTHING;
    if (g->cooldown.until > at) {
        at = g->cooldown.until;
        *held_by = XF_BY_COOLDOWN;
    }
    int64_t tried = xf_outage_ready(&g->outage, at);
    if (tried > at) {
        at = tried;
        *held_by = XF_BY_COOLDOWN;
    }
    for (uint32_t i = 0; i < g->n_limits; i++) {
        int64_t ready = xf_limit_ready(&g->limits[i], costs[i], at);
        if (ready > at) {
            at = ready;
            *held_by = (int)i;
        }
    }
    return at;
}

void xf_gate_pay(xf_gate *g, const int64_t *costs, int64_t at)
{
    for (uint32_t i = 0; i < g->n_limits; i++) {
        xf_limit_take(&g->limits[i], costs[i], at);
    }
    xf_outage_admitted(&g->outage, at);
}

void xf_gate_unpay(xf_gate *g, const int64_t *costs, uint16_t resets, int64_t now)
{
    for (uint32_t i = 0; i < g->n_limits; i++) {
        xf_limit *l = &g->limits[i];
        if (xf_gate_has_paid(g, i, resets)) {
            xf_limit_give_back(l, costs[i], now);
        } else {
            l->used -= (uint64_t)costs[i];
        }
    }
    if (resets == (uint16_t)g->resets) {
        xf_outage_revoked(&g->outage, now);
    }
}

/* ---- told levels ---- */

/* Units of limit `i` held by a call in flight. One that was refused and waits for the cooldown's
   end holds nothing. */
static int64_t holds(const xf_gate *g, const xf_call *f, uint32_t i, int64_t now)
{
    return f->refused && g->cooldown.until > now ? 0 : f->held[i];
}

/* Units of limit `i` held by the calls in flight that were dispatched until `instant`. */
static int64_t held_until(const xf_gate *g, uint32_t i, int64_t instant, int64_t now)
{
    int64_t held = 0;
    for (const xf_call *f = g->flying.first; f != NULL && f->dispatched_at <= instant;
         f = f->next) {
        held = xf_sum(held, holds(g, f, i, now));
    }
    return held;
}

int64_t xf_gate_held_since(const xf_gate *g, uint32_t i, int64_t instant, const xf_call *c,
                           int64_t now)
{
    int64_t held = 0;
    for (const xf_call *f = g->flying.last; f != NULL && f->dispatched_at > instant;
         f = f->previous) {
        held = xf_sum(held, f != c ? holds(g, f, i, now) : 0);
    }
    return held;
}

xf_held xf_gate_held(const xf_gate *g, uint32_t i, int64_t instant, int64_t now)
{
    xf_held held = {0, 0};
    for (const xf_call *f = g->flying.first; f != NULL; f = f->next) {
        int64_t units = holds(g, f, i, now);
        held.all = xf_sum(held.all, units);
        held.since = xf_sum(held.since, f->dispatched_at >= instant ? units : 0);
    }
    return held;
}

double xf_gate_told(xf_gate *g, uint32_t i, const xf_remaining *left, int64_t now)
{
    xf_remaining seen = *left;
    if (!(left->units >= 0) || left->sent_at > left->answered_at) {
        return 0;
    }
    seen.doubt += (double)held_until(g, i, left->sent_at, now);
    return xf_limit_told(&g->limits[i], &seen, now);
}

/* ---- changes and questions ---- */

void xf_gate_let_in(xf_gate *g, uint32_t n)
{
    g->let_in = n;
    xf_gate_ramp_up(g);
}

void xf_gate_ramp_up(xf_gate *g)
{
    uint32_t ramp = g->n_flying + CALLS_A_TURN;
    g->ramp = ramp < g->let_in ? ramp : g->let_in;
}

double xf_gate_cost(const xf_gate *g, const xf_call *c, uint32_t i)
{
    if (c != NULL) {
        return (double)c->held[i];
    }
    return g->admitted > 0 ? (double)(int64_t)g->limits[i].used / (double)g->admitted : 0;
}
