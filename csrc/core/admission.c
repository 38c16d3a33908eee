#include "core/admission.h"

#include "core/lease.h"
#include "core/share.h"

/* Calls overtake one another by at most this. So a provider has counted calls sent longer ago. */
#define OVERTAKING_NS INT64_C(1000000000) /* 1 s */

/* ---- calls ---- */

/* Keeps the pace. Each call that waits behind `c` is expected to cost as much as those so far. */
static void keep_pace(xf_gate *g, const xf_call *c, uint32_t waiting, int64_t at)
{
    for (uint32_t i = 0; i < g->n_limits; i++) {
        double mean = (double)(int64_t)g->limits[i].used / (double)(g->admitted + 1);
        xf_limit_took(&g->limits[i], c->held[i], mean * waiting, at);
    }
}

int64_t xf_gate_pass(xf_gate *g, xf_call *c, const xf_turn *turn, int *held_by)
{
    int64_t at;
    uint32_t resets = g->resets;
    if (g->share != NULL) {
        at = xf_share_pass(g, c->held, turn, &resets, held_by);
    } else if (xf_gate_is_full(g)) {
        *held_by = XF_BY_SLOTS;
        if (g->lease != NULL) {
            xf_lease_is_full(g);
        }
        return XF_NEVER;
    } else if (g->lease != NULL) {
        at = xf_lease_due(g, c->held, turn, held_by);
    } else {
        at = xf_gate_due(g, c->held, turn->from, held_by);
    }
    if (at > turn->until) {
        return at;
    }
    if (g->lease != NULL) {
        xf_lease_take(g, c->held);
    }
    if (g->share == NULL) {
        xf_gate_pay(g, c->held, at);
        keep_pace(g, c, turn->waiting, at);
    }
    g->in_use++;
    g->admitted++;
    c->resets = (uint16_t)resets;
    xf_call_become(c, XF_CALL_ADMITTED);
    return at;
}

void xf_gate_leave(xf_gate *g, int64_t now)
{
    if (g->share != NULL) {
        xf_share_withdraw(g, now);
    }
}

void xf_gate_revoke(xf_gate *g, xf_call *c, int64_t now)
{
    g->in_use--;
    g->admitted--;
    if (g->lease != NULL) {
        xf_lease_untake(g, c->held, c->resets);
    }
    do {
        now = xf_share_open(g, now);
        xf_gate_unpay(g, c->held, c->resets, now);
    } while (!xf_share_close(g, now));
}

bool xf_gate_may_dispatch(xf_gate *g, const xf_call *c, int64_t now)
{
    xf_share_refresh(g);
    return c->resets == (uint16_t)g->resets && g->cooldown.until <= now;
}

void xf_gate_dispatch(xf_gate *g, xf_call *c, int64_t now)
{
    xf_list_append(&g->flying, c);
    xf_call_become(c, XF_CALL_IN_FLIGHT);
    c->generation = g->cooldown.generation;
    c->repeated = c->refused = c->foreseen = false;
    c->dispatched_at = now; /* in place of the deadline, which the call has met */
    c->crowd = ++g->n_flying;
}

void xf_gate_land(xf_gate *g, xf_call *c, int64_t now)
{
    xf_list_remove(&g->flying, c);
    c->crowd = 0;
    g->n_flying--;
    g->in_use--;
    if (g->lease != NULL) {
        xf_lease_landed(g);
    }
    if (g->share != NULL) {
        do {
            now = xf_share_open(g, now);
        } while (!xf_share_close(g, now));
    }
}

void xf_gate_settle(xf_gate *g, xf_call *c, uint32_t i, int64_t actual, int64_t now)
{
    xf_limit *l = &g->limits[i];
    int64_t less = c->held[i] - actual;
    if (g->lease != NULL) {
        xf_lease_settle(g, i, less);
    }
    do {
        now = xf_share_open(g, now);
        if (g->lease != NULL && less < 0) {
            l->used -= (uint64_t)less; /* the account pays, not the chunk */
        } else {
            xf_limit_adjust(l, less, now);
        }
        if (c->foreseen && c->state == XF_CALL_IN_FLIGHT) {
            xf_limit_amend(l, less, now);
        }
    } while (!xf_share_close(g, now));
    if (less > 0) {
        l->refunded += (uint64_t)less;
    } else {
        l->charged += (uint64_t)-less;
    }
    c->held[i] = actual;
    c->priced &= actual > 0; /* a failed call may report 0, which it does not cost */
}

/* ---- changes ---- */

void xf_gate_set_level(xf_gate *g, uint32_t i, double units, int64_t now)
{
    do {
        now = xf_share_open(g, now);
        if (xf_limit_set_level(&g->limits[i], units, now)) {
            g->limits[i].reset = ++g->resets;
        }
    } while (!xf_share_close(g, now));
}

void xf_gate_retune(xf_gate *g, uint32_t i, const xf_definition *definition, int64_t now)
{
    do {
        now = xf_share_open(g, now);
        xf_limit_retune(&g->limits[i], definition, now);
        xf_limit_reserve(&g->limits[i], g->margin.ns, now);
        xf_share_revise(g);
    } while (!xf_share_close(g, now));
}

void xf_gate_replace(xf_gate *g, uint32_t i, const xf_definition *definition,
                     const xf_remaining *left, const xf_call *c, int64_t now)
{
    int64_t held = xf_gate_held_since(g, i, left->sent_at - OVERTAKING_NS, c, now);
    xf_gate_retune(g, i, definition, now);
    xf_gate_set_level(g, i, left->units - (double)held, now);
}

void xf_gate_set_slots(xf_gate *g, uint32_t slots, int64_t now)
{
    do {
        now = xf_share_open(g, now);
        g->slots = slots;
    } while (!xf_share_close(g, now));
}

void xf_gate_shut(xf_gate *g, uint32_t i, int64_t until, int64_t now)
{
    do {
        now = xf_share_open(g, now);
        g->limits[i].bucket.shut = until;
    } while (!xf_share_close(g, now));
}

void xf_gate_pace(xf_gate *g, uint32_t i, const xf_pacing *pacing, int64_t now)
{
    do {
        now = xf_share_open(g, now);
        xf_limit_pace(&g->limits[i], pacing);
    } while (!xf_share_close(g, now));
}
