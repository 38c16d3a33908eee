#include "core/answers.h"

#include "core/internal.h"
#include "core/sum.h"
#include "core/trail.h"

/* Keeps the margin in reserve. */
static void keep_margin(xf_scheduler *s)
{
    for (uint32_t i = 0; i < s->n_limits; i++) {
        xf_limit_reserve(&s->limits[i], s->margin.ns, s->now);
    }
    s->changed = true;
}

void xf_accepted(xf_scheduler *s, const xf_call *c)
{
    if (s->cooldown.step == 0 && s->margin.ns == 0 && s->outage.failures == 0) {
        return; /* there is nothing to make good */
    }
    xf_cooldown_success(&s->cooldown, c->generation);
    xf_outage_answered(&s->outage, c->dispatched_at);
    if (xf_margin_shrink(&s->margin, s->now)) {
        keep_margin(s);
    }
}

/* ---- refusals ---- */

/* What the refused call cost of limit `i`; or, where that is not known, what a call has cost so
   far on average. */
static int64_t refused_cost(const xf_scheduler *s, const xf_call *c, uint32_t i)
{
    if (c != NULL && (c->priced || c->held[i] > 0)) {
        return c->held[i];
    }
    return s->counters.admitted ? (int64_t)(s->limits[i].used / s->counters.admitted) : 1;
}

/* Which calls on their way may take the quota meanwhile that the provider has promised to `c`:
   those that followed it, unless they are refused too. Where `c` is not in flight, so that nobody
   knows who followed, those foreseen by the cooldown that this one `extends`. */
static void foresee(xf_scheduler *s, const xf_call *c, bool extends)
{
    bool flies = c != NULL && c->state == XF_IN_FLIGHT, follows = false;
    for (xf_call *f = s->flying; f != NULL; f = f->next) {
        f->refused &= extends || f == c; /* else it was sent again, without our knowing */
        f->foreseen = !f->refused && (flies ? follows : extends && f->foreseen);
        follows |= f == c;
    }
}

/* The provider has promised that `c` will pass at the end of the cooldown. */
static void promise(xf_scheduler *s, const xf_call *c, bool extends, int64_t now)
{
    foresee(s, c, extends);
    s->resets++;
    for (uint32_t i = 0; i < s->n_limits; i++) {
        xf_limit *l = &s->limits[i];
        int64_t taken = 0;
        for (const xf_call *f = s->flying; f != NULL; f = f->next) {
            taken = xf_sum(taken, f->foreseen ? f->held[i] : 0);
        }
        if (xf_limit_refuse(l, refused_cost(s, c, i), taken, now, s->cooldown.until)) {
            l->reset = s->resets;
        }
    }
}

/* A call that the level at the cooldown's end has paid for has cost nothing. */
static void unforesee(xf_scheduler *s, xf_call *c, int64_t now)
{
    for (uint32_t i = 0; c->foreseen && i < s->n_limits; i++) {
        xf_limit_amend(&s->limits[i], c->held[i], now);
    }
    c->foreseen = false;
}

int64_t xf_refused(xf_scheduler *s, xf_call *c, const xf_backoff *b, int64_t now)
{
    xf_cooldown *cooldown = &s->cooldown;
    now = xf_begin(s, now);
    s->counters.refused++;
    if (b->told_ns == 0) {
        return cooldown->until > now ? cooldown->until : now;
    }
    bool fresh = c != NULL ? c->generation == cooldown->generation : cooldown->until <= now;
    if (c != NULL && c->state == XF_IN_FLIGHT) {
        xf_outage_answered(&s->outage, c->dispatched_at);
    }
    int64_t before = cooldown->until, until = xf_cooldown_open(cooldown, b, fresh, now);
    if (fresh && c != NULL && xf_margin_widen(&s->margin, b->told_ns, now)) {
        keep_margin(s);
    }
    if (c != NULL && c->state == XF_IN_FLIGHT) {
        c->refused = true;
        unforesee(s, c, now);
    }
    if (until > before && until > now) {
        promise(s, c, before > now, now);
    }
    xf_look_again(s);
    return until;
}

/* ---- failures ---- */

int64_t xf_failed(xf_scheduler *s, const xf_call *c, const xf_backoff *b, int64_t now)
{
    xf_cooldown *cooldown = &s->cooldown;
    now = xf_begin(s, now);
    int64_t interval = b->base_ns < b->max_ns ? b->base_ns : b->max_ns;
    int64_t wait = b->told_ns != XF_UNTOLD ? b->told_ns : interval;
    bool fresh = c->generation == cooldown->generation;
    bool extends = fresh || b->told_ns != XF_UNTOLD;
    if (wait > 0) {
        xf_cooldown_extend(cooldown, extends ? xf_sum(now, wait) : 0, fresh, now);
        const xf_outage_failure failure = {c->dispatched_at, now, fresh};
        xf_outage_failed(&s->outage, &failure, interval, cooldown->until);
        s->resets += fresh; /* who was admitted before is not to go now */
        xf_look_again(s);
    }
    return cooldown->until > now ? cooldown->until : now;
}

/* ---- what is left ---- */

bool xf_follow(xf_scheduler *s, int64_t now)
{
    if (s->n_limits == 0 || s->limits[0].trail != NULL) {
        return true;
    }
    xf_trail *trails = s->alloc.realloc(s->alloc.ctx, NULL, s->n_limits * sizeof(xf_trail));
    if (trails == NULL) {
        return false;
    }
    now = xf_begin(s, now);
    for (uint32_t i = 0; i < s->n_limits; i++) {
        xf_limit_follow(&s->limits[i], &trails[i], now);
    }
    return true;
}

/* Units of limit `i` held by a call in flight. One that was refused and waits for the cooldown's
   end holds nothing. */
static int64_t holds(const xf_scheduler *s, const xf_call *f, uint32_t i)
{
    return f->refused && s->cooldown.until > s->now ? 0 : f->held[i];
}

/* Units of limit `i` held by the calls in flight, but for `c`, that were dispatched after `from`
   and not after `to`. */
static int64_t held_between(const xf_scheduler *s, uint32_t i, int64_t from, int64_t to,
                            const xf_call *c)
{
    int64_t held = 0;
    for (const xf_call *f = s->flying; f != NULL && f->dispatched_at <= to; f = f->next) {
        held = xf_sum(held, f->dispatched_at > from && f != c ? holds(s, f, i) : 0);
    }
    return held;
}

double xf_told(xf_scheduler *s, uint32_t i, double remaining, double doubt, bool bounded,
               int64_t sent_at, int64_t answered_at, int64_t now)
{
    now = xf_begin(s, now);
    doubt += (double)held_between(s, i, -1, sent_at, NULL);
    double moved =
        xf_limit_told(&s->limits[i], remaining, doubt, bounded, sent_at, answered_at, now);
    xf_look_again(s);
    return moved;
}

void xf_withhold(xf_scheduler *s, uint32_t i, int64_t units)
{
    xf_limit_withhold(&s->limits[i], units, s->now);
}

void xf_ascertain(xf_scheduler *s, uint32_t i, const xf_ascertained *found)
{
    xf_limit_ascertain(&s->limits[i], found, s->now);
    xf_look_again(s);
}

void xf_shut(xf_scheduler *s, uint32_t i, int64_t until, int64_t now)
{
    xf_begin(s, now);
    s->limits[i].bucket.shut = until;
    xf_look_again(s);
}

int64_t xf_held_since(const xf_scheduler *s, uint32_t i, int64_t instant, const xf_call *c)
{
    return held_between(s, i, instant, INT64_MAX, c);
}

xf_held xf_held_in_flight(const xf_scheduler *s, uint32_t i, int64_t instant)
{
    xf_held held = {0, 0};
    for (const xf_call *f = s->flying; f != NULL; f = f->next) {
        int64_t units = holds(s, f, i);
        held.all = xf_sum(held.all, units);
        held.since = xf_sum(held.since, f->dispatched_at >= instant ? units : 0);
    }
    return held;
}

void xf_set_level(xf_scheduler *s, uint32_t i, double units, int64_t now)
{
    now = xf_begin(s, now);
    if (xf_limit_set_level(&s->limits[i], units, now)) {
        s->limits[i].reset = ++s->resets;
    }
    xf_look_again(s);
}
