/*
 * A queue and its gate: calls wait here, in order, until the gate lets the first of them pass. This
 * is the whole decision and nothing else: no clock (who lets time pass says `now`), no thread, no
 * Python. What is to be done about a decision is left in the *outbox*: calls that
 * were admitted or whose deadline has come, in order, for the caller to collect; and in xf_head()
 * and xf_first_deadline(), the instants at which the queue wants to be looked at again.
 *
 * A call is admitted when it is first in the queue and there is a free slot, no cooldown, and
 * in every bucket level >= min(cost, capacity). All or nothing, first come first served within
 * a priority, whatever the sizes.
 *
 * Lateness is not lost. A queue that is looked at late is played back: each admission happens
 * at the virtual instant at which it had become possible, the *anchor* of the next one. It may
 * lag behind `now` by XF_CATCH_UP_NS, so that a loop that stalls for long does not answer with
 * a burst. When the queue has just run empty, an arrival within that time of an admission that
 * was waited for continues the schedule in the same way: that is a producer which waits for one
 * admission to ask for the next. With a full queue the i-th admission thus comes at t0 +
 * (cost so far) / rate.
 *
 * Functions are O(log n) in the number of waiting calls or better, but for those that say so. Only
 * xf_scheduler_init(), xf_submit() and xf_follow() allocate; where they fail, nothing has changed.
 * Numbers of ns must be >= 0.
 */
#ifndef XF_SCHEDULER_H
#define XF_SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/alloc.h"
#include "core/gate.h"
#include "core/list.h"
#include "core/queue.h"

#define XF_CATCH_UP_NS 25000000 /* 25 ms: a garbage collection of many tasks */

typedef enum xf_outcome { XF_SUCCEEDED, XF_FAILED, XF_CANCELLED } xf_outcome;

typedef struct xf_counters {
    uint64_t submitted;
    uint64_t succeeded, failed, cancelled, expired;
    uint64_t retries;
    int64_t first_ns;                         /* the first xf_submit(), or -1 */
    int64_t idle_ns, no_slot_ns, cooldown_ns; /* why nothing was admitted, beside the */
                                              /* limits' held_ns */
} xf_counters;

typedef struct xf_scheduler {
    xf_alloc alloc;
    xf_queue queue;
    xf_gate gate;
    xf_list outbox;
    xf_counters counters;
    uint32_t live;       /* calls submitted and not done */
    int64_t now;         /* the latest `now` */
    int64_t anchor;      /* virtual instant of the last admission, */
    int64_t admitted_at; /* the `now` at which it was decided, */
    bool waited;         /* and whether it was waited for, or is part of catching up after that */
    bool changed;        /* since head_at was worked out */
    const xf_call *arriving; /* the call that the running operation has put into an empty queue */
    int64_t head_at;         /* when the head becomes admissible, as far as is known */
    int held_by;             /* what holds the head back, */
    int64_t held_since;
} xf_scheduler;

/* Sets up a scheduler with `n` limits by these definitions, and `slots` > 0 slots. False: no
   memory. */
bool xf_scheduler_init(xf_scheduler *s, const xf_definition *limits, uint32_t n, uint32_t slots,
                       const xf_alloc *alloc);

/* Gives the memory back. Calls that are still known to it must not be used again. */
void xf_scheduler_free(xf_scheduler *s);

/* Bytes of an xf_call for this scheduler. */
size_t xf_call_size(const xf_scheduler *s);

/* Puts a new call at the end of its priority. `priority` in XF_MIN_PRIORITY..XF_MAX_PRIORITY,
   every held[i] in 0..max_cost of limit i, `deadline` an instant or XF_NEVER. If the call can be
   admitted at once it is (state XF_CALL_ADMITTED) and does not go through the outbox. False: no
   memory, nothing was done. */
bool xf_submit(xf_scheduler *s, xf_call *c, int priority, int64_t deadline, int64_t now);

/* An admitted call is started, at the time of the latest operation: from here on its cost is spent.
   False, and nothing is done, when a cooldown runs or levels were set anew since its admission,
   which these have not paid for: then it must go back, see xf_put_back(). O(1). */
bool xf_dispatch(xf_scheduler *s, xf_call *c);

/* An admitted call that was not dispatched returns its slot and cost, and waits again, in its
   old place, until its deadline. */
void xf_put_back(xf_scheduler *s, xf_call *c, int64_t now);

/* A call in flight gives its slot back and waits out of the queue, until xf_retry(). */
void xf_rest(xf_scheduler *s, xf_call *c, int64_t now);

/* A call in flight, or resting, gives its slot back and waits, in its old place (so before all
   newer calls of its priority), for its next attempt, which is paid for again with what `held` says
   then: the caller may have filled in the estimate anew. */
void xf_retry(xf_scheduler *s, xf_call *c, int64_t now);

/* A call has ended, in whatever state. In flight: its slot is free, what it held stays spent. Not
   dispatched (any more, or yet): it leaves the queue, and what it was admitted with is given back
   and goes to the next one. Done or expired: nothing. */
void xf_finish(xf_scheduler *s, xf_call *c, xf_outcome outcome, int64_t now);

/* Replaces what a call that was dispatched (it may have ended) holds of limit `i` by what it
   actually used, 0 to max_cost units. Does nothing once it was to be repeated: what it holds from
   then on is the next attempt's. */
void xf_settle(xf_scheduler *s, xf_call *c, uint32_t i, int64_t actual, int64_t now);

/* Gives limit `i` a new definition (see xf_limit_retune). */
void xf_retune(xf_scheduler *s, uint32_t i, const xf_definition *definition, int64_t now);

/* Changes the number of slots; fewer than are in use lets no call in until enough have ended. */
void xf_set_slots(xf_scheduler *s, uint32_t slots, int64_t now);

/* Lets in no more than `n` calls for now, whatever the slots (XF_UNLIMITED: as many as there are),
   and no faster than they are dispatched: once xf_gate_is_ramping(), xf_ramp_up() lets in more. */
void xf_let_in(xf_scheduler *s, uint32_t n, int64_t now);
void xf_ramp_up(xf_scheduler *s, int64_t now);

/* ---- what a provider answers ---- */

/*
 * A provider refused `c` (NULL: a call that is not known here) with a 429. Opens or extends the
 * cooldown by the rules of cooldown.h. At its end the buckets that can have caused it hold just
 * what the refused call needs (see xf_limit_refuse()): it is let through at once, the rest follow
 * at the rate. Where its cost is not known (no call, or not `priced`) the mean of the calls so far
 * stands for it. A length of 0 asks for no pause and changes nothing. Returns the instant of the
 * end. O(calls in flight).
 */
int64_t xf_refused(xf_scheduler *s, xf_call *c, const xf_backoff *b, int64_t now);

/* `c`, in flight, failed for a reason that lies with the provider and may pass, and is no rate: its
   buckets keep their levels. Opens a cooldown as long as the provider said, else b->base_ns (at
   the most b->max_ns), which later failures of calls dispatched before it do not extend. From
   XF_OUTAGE_AFTER failures in a row on see outage.h. Returns the instant of the end. */
int64_t xf_failed(xf_scheduler *s, const xf_call *c, const xf_backoff *b, int64_t now);

/* From now on the levels of all limits are kept track of, as xf_told() needs it. False: no memory,
   nothing was done. Once is enough. */
bool xf_follow(xf_scheduler *s, int64_t now);

/* The provider had so much left of limit `i` when it answered a call. Other calls in flight that
   were dispatched before may have been overtaken, and not be counted in it. Where `left`
   contradicts itself nothing is done. See xf_limit_told(). O(calls in flight). */
double xf_told(xf_scheduler *s, uint32_t i, const xf_remaining *left, int64_t now);

/* How many units of limit `i` may be missing in what an answer to `c` (NULL: to a call that is not
   known) says is left, though they are not used: a settlement gives back a part of what that call
   cost; or, where the provider charges `late`, of what all calls in flight did. O(calls in
   flight). */
double xf_doubt(const xf_scheduler *s, uint32_t i, const xf_call *c, bool late);

/* Limit `i` is another one from now on, whose level was not known until an answer told what was
   left of it; `c` (or NULL) is the call that was answered. What was dispatched since it was sent
   has been taken from that; the call itself, and what it may have overtaken, is counted in it. */
void xf_replace(xf_scheduler *s, uint32_t i, const xf_definition *definition,
                const xf_remaining *left, const xf_call *c, int64_t now);

/* See xf_limit_withhold() and xf_limit_ascertain(); as of the time of the last operation. */
void xf_withhold(xf_scheduler *s, uint32_t i, int64_t units);
void xf_ascertain(xf_scheduler *s, uint32_t i, const xf_ascertained *found);

/* Limit `i` lets no call pass before `until`, however much is left of it; an earlier word on that
   counts no longer. Its bucket goes on refilling. */
void xf_shut(xf_scheduler *s, uint32_t i, int64_t until, int64_t now);

/* See xf_limit_pace(). */
void xf_set_pace(xf_scheduler *s, uint32_t i, const xf_pacing *pacing, int64_t now);

/* Sets the level of limit `i` to that many units, or as near as its capacity allows. */
void xf_set_level(xf_scheduler *s, uint32_t i, double units, int64_t now);

/* ---- what time does ---- */

/* Time has passed: admits what has become admissible, expires what is overdue. */
void xf_poll(xf_scheduler *s, int64_t now);

/* Takes the next call out of the outbox (state XF_CALL_ADMITTED or XF_CALL_EXPIRED), or returns
 * NULL. */
xf_call *xf_collect(xf_scheduler *s);

/* The head of the queue (NULL: empty) and, in `at`, when it becomes admissible: XF_NEVER if that
   depends on something other than time. */
xf_call *xf_head(const xf_scheduler *s, int64_t *at);

/* The waiting call with the earliest deadline (NULL: none has one), and that deadline. */
xf_call *xf_first_deadline(const xf_scheduler *s, int64_t *at);

/* How long each cause has held the head back, up to `now`: brings counters and held_ns up to
   date. */
void xf_account(xf_scheduler *s, int64_t now);

#endif
