/* What happens to a gate when the provider serves a call, refuses it, or does not answer. */
#include "core/admission.h"
#include "core/lease.h"
#include "core/share.h"
#include "core/sum.h"

static void keep_margin(xf_gate *g, int64_t now)
{
    for (uint32_t i = 0; i < g->n_limits; i++) {
        xf_limit_reserve(&g->limits[i], g->margin.ns, now);
    }
}

void xf_gate_accepted(xf_gate *g, const xf_call *c, int64_t now)
{
    xf_share_refresh(g);
    if (g->lease != NULL) {
        xf_lease_answered(g, c->dispatched_at);
    }
    if (g->cooldown.step == 0 && g->margin.ns == 0 && g->outage.failures == 0) {
        return; /* nothing to reset */
    }
    do {
        now = xf_share_open(g, now);
        xf_cooldown_success(&g->cooldown, c->generation);
        xf_outage_answered(&g->outage, c->dispatched_at);
        if (xf_margin_shrink(&g->margin, now)) {
            keep_margin(g, now);
        }
    } while (!xf_share_close(g, now));
}

/* The cost of the refused call of limit `i`; if that is unknown, the mean cost of the calls so
   far. */
static int64_t refused_cost(const xf_gate *g, const xf_call *c, uint32_t i)
{
    if (c != NULL && (c->priced || c->held[i] > 0)) {
        return c->held[i];
    }
    return g->admitted ? (int64_t)(g->limits[i].used / g->admitted) : 1;
}

/* A refusal, as it is worked out: nothing that is only ours moves before it is known to count. */
typedef struct xf_refusal {
    xf_call *c;   /* refused, or NULL */
    bool flies;   /* it is in flight, */
    bool repaid;  /* and the level at the cooldown's end had paid for it: it has cost nothing */
    bool extends; /* a cooldown runs already */
    bool promises;
} xf_refusal;

/* Whether `f`, in flight, is refused, and foreseen, after this refusal. Foreseen are the calls on
   their way that may take the quota meanwhile that the provider has promised to the refused one:
   those that `follow` it, unless they are refused too. Where the refused one is not in flight, its
   followers are not known: then those foreseen by the cooldown that this one extends. */
static bool is_refused(const xf_refusal *r, const xf_call *f)
{
    /* A call that was refused in an earlier cooldown was sent again without our knowing. */
    return (f->refused || f == r->c) && (r->extends || f == r->c);
}

static bool is_foreseen(const xf_refusal *r, const xf_call *f, bool follows)
{
    return !is_refused(r, f) && (r->flies ? follows : r->extends && f->foreseen);
}

/* The units of limit `i` that the foreseen calls hold. */
static int64_t foreseen(const xf_gate *g, const xf_refusal *r, uint32_t i)
{
    bool follows = false;
    int64_t held = 0;
    for (const xf_call *f = g->flying.first; f != NULL; f = f->next) {
        held = xf_sum(held, is_foreseen(r, f, follows) ? f->held[i] : 0);
        follows |= f == r->c;
    }
    return held;
}

/* Whether the refusal's answer says of limit `i` that enough was left. */
static bool is_vouched(const xf_gate *g, const xf_refusal *r, uint32_t i)
{
    return r->flies && xf_limit_vouched(&g->limits[i], r->c->held[i], r->c->dispatched_at);
}

/* Whether it says so of all limits. That explains no refusal, and is not believed. */
static bool all_vouched(const xf_gate *g, const xf_refusal *r)
{
    for (uint32_t i = 0; i < g->n_limits; i++) {
        if (refused_cost(g, r->c, i) > 0 && !is_vouched(g, r, i)) {
            return false;
        }
    }
    return true;
}

/* The provider has promised that the refused call will pass at the end of the cooldown. The level
   of a limit that was not the cause stays. */
static void promise(xf_gate *g, const xf_refusal *r, int64_t now)
{
    bool unexplained = all_vouched(g, r);
    g->resets++;
    for (uint32_t i = 0; i < g->n_limits; i++) {
        xf_limit *l = &g->limits[i];
        int64_t cost = refused_cost(g, r->c, i), taken = foreseen(g, r, i);
        bool is_cause = unexplained || !is_vouched(g, r, i);
        if (is_cause && xf_limit_refuse(l, cost, taken, now, g->cooldown.until)) {
            l->reset = g->resets;
        }
    }
}

/* It counts. */
static void mark(xf_gate *g, const xf_refusal *r)
{
    bool follows = false;
    if (r->flies) {
        r->c->refused = true;
        r->c->foreseen = false;
    }
    for (xf_call *f = g->flying.first; r->promises && f != NULL; f = f->next) {
        bool refused = is_refused(r, f);
        f->foreseen = is_foreseen(r, f, follows);
        f->refused = refused;
        follows |= f == r->c;
    }
}

/* Works it out. Returns the end of the cooldown. */
static int64_t refuse(xf_gate *g, xf_refusal *r, const xf_backoff *b, int64_t now)
{
    xf_cooldown *cooldown = &g->cooldown;
    const xf_call *c = r->c;
    bool fresh = c != NULL ? c->generation == cooldown->generation : cooldown->until <= now;
    if (r->flies && g->lease != NULL) {
        xf_lease_answered(g, c->dispatched_at);
    }
    if (r->flies) {
        xf_outage_answered(&g->outage, c->dispatched_at);
    }
    int64_t before = cooldown->until, until = xf_cooldown_open(cooldown, b, fresh, now);
    if (fresh && c != NULL && xf_margin_widen(&g->margin, b->told_ns, now)) {
        keep_margin(g, now);
    }
    for (uint32_t i = 0; r->repaid && i < g->n_limits; i++) {
        xf_limit_amend(&g->limits[i], c->held[i], now);
    }
    r->extends = before > now;
    r->promises = until > before && until > now;
    if (r->promises) {
        promise(g, r, now);
    }
    return until;
}

int64_t xf_gate_refused(xf_gate *g, xf_call *c, const xf_backoff *b, int64_t now)
{
    bool flies = c != NULL && c->state == XF_CALL_IN_FLIGHT;
    xf_refusal r = {.c = c, .flies = flies, .repaid = flies && c->foreseen};
    int64_t until;
    g->refused++;
    if (b->told_ns == 0 && b->base_ns == 0) {
        return g->cooldown.until > now ? g->cooldown.until : now;
    }
    do {
        now = xf_share_open(g, now);
        until = refuse(g, &r, b, now);
    } while (!xf_share_close(g, now));
    mark(g, &r);
    if (g->lease != NULL) {
        xf_lease_paused(g, r.promises);
    }
    return until;
}

/* Works a failure out, see xf_gate_failed(). */
static void fail(xf_gate *g, const xf_call *c, const xf_backoff *b, int64_t wait, int64_t now)
{
    xf_cooldown *cooldown = &g->cooldown;
    int64_t interval = b->base_ns < b->max_ns ? b->base_ns : b->max_ns;
    bool fresh = c->generation == cooldown->generation;
    bool extends = fresh || b->told_ns != XF_UNTOLD;
    bool is_alone = b->alone && b->told_ns == XF_UNTOLD && g->outage.failures + 1 < XF_OUTAGE_AFTER;
    const xf_outage_failure failure = {c->dispatched_at, now, fresh};
    if (g->lease != NULL) {
        xf_lease_failed(g, &failure, interval);
    }
    if (is_alone) {
        xf_outage_failed(&g->outage, &failure, 0, now);
    } else {
        xf_cooldown_extend(cooldown, extends ? xf_sum(now, wait) : 0, fresh, now);
        xf_outage_failed(&g->outage, &failure, interval, cooldown->until);
        g->resets += fresh; /* calls admitted before must not be dispatched now */
    }
}

int64_t xf_gate_failed(xf_gate *g, const xf_call *c, const xf_backoff *b, int64_t now)
{
    int64_t interval = b->base_ns < b->max_ns ? b->base_ns : b->max_ns;
    int64_t wait = b->told_ns != XF_UNTOLD ? b->told_ns : interval;
    if (wait > 0) {
        do {
            now = xf_share_open(g, now);
            fail(g, c, b, wait, now);
        } while (!xf_share_close(g, now));
        if (g->lease != NULL) {
            xf_lease_paused(g, false);
        }
    }
    return g->cooldown.until > now ? g->cooldown.until : now;
}
