/*
 * What a provider answers: that it has refused a call, or how much of a limit it has left. Either
 * moves the scheduler's buckets to where the provider's are.
 *
 * xf_refused(), xf_told() and xf_held_since() are O(n) in the number of calls in flight. Only
 * xf_follow() allocates; where it fails, nothing has changed.
 */
#ifndef XF_ANSWERS_H
#define XF_ANSWERS_H

#include "core/scheduler.h"

/*
 * A provider refused `c` (NULL: a call that is not known here) with a 429. Opens or extends the
 * cooldown by the rules of cooldown.h. At its end the buckets that can have caused it hold just
 * what the refused call needs (see xf_limit_refuse): it is let through at once, the rest follow
 * at the rate. Where its cost is not known (no call, or not `priced`) the mean of the calls so far
 * stands for it. A length of 0 asks for no pause and changes nothing. Returns the instant of the
 * end.
 */
int64_t xf_refused(xf_scheduler *s, xf_call *c, const xf_backoff *b, int64_t now);

/*
 * `c`, in flight, failed for a reason that lies with the provider and may pass, and is no rate: its
 * buckets keep their levels. Opens a cooldown as long as the provider said, else b->base_ns (at
 * the most b->max_ns), which later failures of calls dispatched before it do not extend. From
 * XF_OUTAGE_AFTER failures in a row on see outage.h. Returns the instant of the end.
 */
int64_t xf_failed(xf_scheduler *s, const xf_call *c, const xf_backoff *b, int64_t now);

/* From now on the levels of all limits are kept track of, as xf_told() needs it. False: no memory,
   nothing was done. Once is enough. */
bool xf_follow(xf_scheduler *s, int64_t now);

/* The provider had `remaining` units of limit `i` left when it answered a call that was sent at
   `sent_at` and answered at `answered_at`; `doubt` units of it may be what a refund has given back
   that will be reported here later. Other calls in flight that were dispatched before may have been
   overtaken, and not be counted in it. See xf_limit_told(). O(calls in flight). */
double xf_told(xf_scheduler *s, uint32_t i, double remaining, double doubt, bool bounded,
               int64_t sent_at, int64_t answered_at, int64_t now);

/* See xf_limit_withhold() and xf_limit_ascertain(); as of the time of the last operation. */
void xf_withhold(xf_scheduler *s, uint32_t i, int64_t units);
void xf_ascertain(xf_scheduler *s, uint32_t i, const xf_ascertained *found);

/* Limit `i` lets no call pass before `until`, however much is left of it; an earlier word on that
   counts no longer. Its bucket goes on refilling. */
void xf_shut(xf_scheduler *s, uint32_t i, int64_t until, int64_t now);

/* Units of limit `i` held by the calls in flight, but for `c` (or NULL), that were dispatched after
   `instant`. O(calls in flight). */
int64_t xf_held_since(const xf_scheduler *s, uint32_t i, int64_t instant, const xf_call *c);

/* Units held by all calls in flight, and by those of them dispatched not before some instant. */
typedef struct xf_held {
    int64_t all, since;
} xf_held;

/* Both of limit `i` in one walk. O(calls in flight). */
xf_held xf_held_in_flight(const xf_scheduler *s, uint32_t i, int64_t instant);

/* Sets the level of limit `i` to that many units, or as near as its capacity allows. */
void xf_set_level(xf_scheduler *s, uint32_t i, double units, int64_t now);

#endif
