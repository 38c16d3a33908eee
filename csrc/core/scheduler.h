/*
 * A scheduler: a queue and its gate. Calls wait here, in order, until the gate lets the first of
 * them pass. The core decides and never performs. It has no clock (callers pass `now`), no thread
 * and no Python. Its decisions come out in two ways. The *outbox* holds the calls that were
 * admitted or whose deadline has come, in order, for the caller to collect. xf_head(),
 * xf_first_deadline() and xf_first_change() return the instants at which the queue must be looked
 * at again.
 *
 * A call is admitted when it is first in the queue, a slot is free, no cooldown runs, and every
 * bucket has level >= min(cost, capacity). All or nothing, first come first served within a
 * priority, whatever the sizes. Calls that share a prefix may be a group, whose first call goes
 * alone until the prefix is in the provider's cache; see group.h and queue.h for their order.
 *
 * Lateness is not lost. A late look at the queue plays the missed time back: each admission happens
 * at the virtual instant at which it had become possible. That instant is the *anchor* of the next
 * one. It lags behind `now` by at most XF_CATCH_UP_NS, so that a loop that stalls for long does not
 * answer with a burst. With a full queue the i-th admission thus comes at t0 + (cost so far) /
 * rate.
 *
 * A producer may wait for one admission before it asks for the next. Its call finds an empty queue.
 * It continues the schedule all the same if it arrives within XF_CATCH_UP_NS of an admission that
 * was waited for.
 *
 * Functions are O(log n) in the number of waiting calls or better, except those that say otherwise.
 * Only xf_scheduler_init(), xf_submit(), xf_follow() and xf_open_group() allocate; where they fail,
 * nothing has changed. Numbers of ns must be >= 0.
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
    int64_t first_ns; /* the first xf_submit(), or -1 */
    /* Time in which no call waited, or the head waited for a slot, for a cooldown, or for the heads
       of other members of a share, or all calls that waited were held by their groups. The limits'
       held_ns is the rest. */
    int64_t idle_ns, concurrency_ns, cooldown_ns, share_ns, prefix_ns;
} xf_counters;

typedef struct xf_scheduler {
    xf_alloc alloc;
    xf_queue queue;
    xf_gate gate;
    xf_list outbox;
    xf_counters counters;
    uint32_t live;       /* calls submitted and not done */
    int64_t now;         /* the latest `now` */
    int64_t anchor;      /* virtual instant of the last admission */
    int64_t admitted_at; /* the `now` at which that was decided */
    bool waited;         /* its call had waited, or was part of catching up after one that had */
    bool changed;        /* something has changed since head_at was computed */
    const xf_call *arriving; /* the call that the running operation has put into an empty queue */
    int64_t head_at;         /* when the head becomes admissible, as far as is known */
    int held_by;             /* the cause that holds the head back, see gate.h */
    int64_t held_since;      /* since when, ns */
} xf_scheduler;

/* Sets up a scheduler with `n` limits by these definitions, and `slots` > 0 slots. False if there
   is no memory. */
bool xf_scheduler_init(xf_scheduler *s, const xf_definition *limits, uint32_t n, uint32_t slots,
                       const xf_alloc *alloc);

/* Frees the memory. Calls that it still knows must not be used again. */
void xf_scheduler_free(xf_scheduler *s);

/* Bytes of an xf_call for this scheduler. */
size_t xf_call_size(const xf_scheduler *s);

/* Submits a new call: puts it at the end of its priority, or admits it at once if it can go. A call
   that is admitted at once has the state XF_CALL_ADMITTED and does not go through the outbox.
   `priority` is XF_MIN_PRIORITY to XF_MAX_PRIORITY, every held[i] is 0 to max_cost of limit i, and
   `deadline` is an instant or XF_NEVER. False, and nothing is done, if there is no memory. */
bool xf_submit(xf_scheduler *s, xf_call *c, int priority, int64_t deadline, int64_t now);

/* Dispatches an admitted call, at the time of the latest operation: from here on its cost is spent.
   False, and nothing is done, when a cooldown runs or a level was set since its admission. (The
   call has not paid from that level.) Then the caller must put it back with xf_put_back(). O(1). */
bool xf_dispatch(xf_scheduler *s, xf_call *c);

/* Puts an admitted call that was not dispatched back into the queue: returns its slot and cost. It
   waits in its old place, until its deadline. */
void xf_put_back(xf_scheduler *s, xf_call *c, int64_t now);

/* Returns the slot of a call in flight, which then waits outside the queue until xf_retry(). */
void xf_rest(xf_scheduler *s, xf_call *c, int64_t now);

/* Puts a call in flight, or a resting one, back into the queue for its next attempt, and returns
   its slot. It waits in its old place, so before all newer calls of its priority. The next attempt
   pays what `held` says then; the caller may fill in another estimate before. */
void xf_retry(xf_scheduler *s, xf_call *c, int64_t now);

/* Ends a call in whatever state. A call in flight returns its slot, and its cost stays spent. A
   call that waits leaves the queue. An admitted one returns its slot and cost, which go to the next
   call. Does nothing if the call is done or expired. */
void xf_finish(xf_scheduler *s, xf_call *c, xf_outcome outcome, int64_t now);

/* Settles limit `i` of a call that was dispatched: `actual` units (0 to max_cost) replace its cost.
   The call may have ended. Does nothing once the call waits for its next attempt, because then
   `held` is the next attempt's. */
void xf_settle(xf_scheduler *s, xf_call *c, uint32_t i, int64_t actual, int64_t now);

/* Gives limit `i` a new definition (see xf_limit_retune). */
void xf_retune(xf_scheduler *s, uint32_t i, const xf_definition *definition, int64_t now);

/* Sets the number of slots. If more are in use, no call is admitted until enough have ended. */
void xf_set_slots(xf_scheduler *s, uint32_t slots, int64_t now);

/* Bounds the calls that hold a slot by `n` for now, whatever the slots (XF_UNLIMITED: only the
   slots count). Lets them in no faster than they are dispatched: once xf_gate_is_ramping(), the
   caller lets more in with xf_ramp_up(). */
void xf_let_in(xf_scheduler *s, uint32_t n, int64_t now);
void xf_ramp_up(xf_scheduler *s, int64_t now);

/* ---- groups of calls that share a prefix, see group.h ---- */

/* Bounds the holds of all groups, from the next one on: 0 is no hold at all, as at first. */
void xf_set_hold(xf_scheduler *s, int64_t hold_ns);

/* Opens a cold group. Its calls keep the prefix readable for `ttl_ns` > 0 (or XF_NEVER) after their
   dispatch. The caller may change that number in the group at any time; it counts from the next
   hold on. NULL, and nothing is done, if there is no memory. It is a branch of `trunk`, an open
   group, if that is not NULL. */
xf_group *xf_open_group(xf_scheduler *s, int64_t ttl_ns, xf_group *trunk);

/* Says how many tokens the prefix of a group has, from now on. */
void xf_set_tokens(xf_scheduler *s, xf_group *g, int64_t tokens);

/* Says whether a machine of the provider serves only some calls of a prefix in a minute, as is
   assumed at first: whether groups that have used their turn up give way, see queue.h. O(groups),
   if that changes. */
void xf_give_way(xf_scheduler *s, bool gives_way, int64_t now);

/* Gives a group up. It is freed with the last of its calls. */
void xf_close_group(xf_scheduler *s, xf_group *g);

/* Makes a call that is not submitted yet one of an open group. xf_finish() ends it, submitted or
   not. */
void xf_join_group(xf_call *c, xf_group *g);

/* The group of a submitted call, or NULL. */
xf_group *xf_group_of(const xf_scheduler *s, const xf_call *c);

/* Notes that the provider can read the prefix of `c`, a call of a group in flight: its answer has
   begun. That ends a hold. A call that succeeds says so by itself. */
void xf_warmed(xf_scheduler *s, const xf_call *c, int64_t now);

/* Notes whether the answer to `c`, a call of a group in flight, says that the provider `found` the
   prefix in its cache, and `is_free`: charges nothing for it. A leader need not find it. After two
   misses in a row the next call leads. Where it is free, calls of warm groups are admitted for
   their cost without the tokens of the group, see saving.h. */
void xf_looked_up(xf_scheduler *s, const xf_call *c, bool found, bool is_free, int64_t now);

/* ---- answers of the provider ---- */

/*
 * Notes that the provider has refused `c` (NULL: a call that is not known here) with a 429. Opens
 * or extends the cooldown by the rules of cooldown.h. At its end the buckets that can have caused
 * the refusal hold just what the refused call needs (see xf_limit_refuse()). So that call passes at
 * once, and the rest follow at the rate. A limit of which the refusal's answer has said that enough
 * is left keeps its level, unless it has said so of all. If its cost is unknown (no call, or not
 * `priced`), the mean cost of the calls so far stands for it. A told wait and a base of 0 change
 * nothing. Returns the instant of the end. O(calls in flight).
 */
int64_t xf_refused(xf_scheduler *s, xf_call *c, const xf_backoff *b, int64_t now);

/* Notes that `c`, in flight, has failed for a reason of the provider's that may pass and is no
   rate. The buckets keep their levels. Opens a cooldown as long as the provider says, else of
   b->base_ns (at most b->max_ns). Later failures of calls that were dispatched before it do not
   extend it. After XF_OUTAGE_AFTER failures in a row an outage begins, see outage.h. Returns the
   instant of the end. */
int64_t xf_failed(xf_scheduler *s, const xf_call *c, const xf_backoff *b, int64_t now);

/* Follows the levels of all limits from now on, which xf_told() needs. False, and nothing is done,
   if there is no memory. Once is enough. */
bool xf_follow(xf_scheduler *s, int64_t now);

/* Corrects limit `i` by the units that the provider had left when it answered a call. The answer
   may not count other calls in flight that were dispatched before, because its call may have
   overtaken them. Does nothing if `left` contradicts itself. Returns the units by which the level
   moved, see xf_limit_told(). O(calls in flight). */
double xf_told(xf_scheduler *s, uint32_t i, const xf_remaining *left, int64_t now);

/* The units of limit `i` that an answer to `c` (NULL: to an unknown call) may count as used
   though they are not. That is the cost of `c` (of NULL: the mean cost), of which a settlement may
   refund a part. Where the provider charges `late`, it is the cost of all calls in flight. O(calls
   in flight). */
double xf_doubt(const xf_scheduler *s, uint32_t i, const xf_call *c, bool late);

/* Replaces limit `i` by another one, whose level became known by an answer to `c` (or NULL). `left`
   counts the call itself and the calls that it may have overtaken. The new level is `left` less the
   costs of the calls dispatched since. */
void xf_replace(xf_scheduler *s, uint32_t i, const xf_definition *definition,
                const xf_remaining *left, const xf_call *c, int64_t now);

/* As xf_limit_withhold() and xf_limit_ascertain(), at the time of the latest operation. */
void xf_withhold(xf_scheduler *s, uint32_t i, int64_t units);
void xf_ascertain(xf_scheduler *s, uint32_t i, const xf_ascertained *found);

/* Lets no call pass limit `i` before `until`, whatever its level. This replaces an earlier `until`.
   The bucket goes on refilling. */
void xf_shut(xf_scheduler *s, uint32_t i, int64_t until, int64_t now);

/* Paces limit `i`, see xf_limit_pace(). */
void xf_set_pace(xf_scheduler *s, uint32_t i, const xf_pacing *pacing, int64_t now);

/* Sets the level of limit `i` to `units`, or as near as its capacity allows. */
void xf_set_level(xf_scheduler *s, uint32_t i, double units, int64_t now);

/* ---- time ---- */

/* Lets time pass up to `now`: admits the calls that may go and expires those that are overdue. */
void xf_poll(xf_scheduler *s, int64_t now);

/* The same, after another member of a share may have changed the instant at which the head
   passes. */
void xf_look(xf_scheduler *s, int64_t now);

/* Takes the next call out of the outbox and returns it, or NULL. Its state is XF_CALL_ADMITTED or
   XF_CALL_EXPIRED. */
xf_call *xf_collect(xf_scheduler *s);

/* The head of the queue, or NULL. Stores in `at` the instant at which it becomes admissible, or
   XF_NEVER if time alone does not make it so. */
xf_call *xf_head(const xf_scheduler *s, int64_t *at);

/* The waiting call with the earliest deadline, or NULL if none has one. Stores that deadline in
   `at`. */
xf_call *xf_first_deadline(const xf_scheduler *s, int64_t *at);

/* A call that waits, a held one if there is any, or NULL. Stores in `at` the instant at which time
   alone changes the first group whose calls wait, see group.h. */
xf_call *xf_first_change(const xf_scheduler *s, int64_t *at);

/* Brings the counters of idle and held time up to `now`. */
void xf_account(xf_scheduler *s, int64_t now);

#endif
