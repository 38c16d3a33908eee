/*
 * The native queue: calls wait here, in order, until every limit allows the first of them at
 * once. This is the whole decision and nothing else: no clock (who lets time pass says `now`), no
 * thread, no Python. What is to be done about a decision is left in the *outbox*: calls that
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
 * What a provider says of its limits is in answers.h. Functions are O(log n) in the number of
 * waiting calls or better. Only xf_scheduler_init() and xf_submit() allocate; where they fail,
 * nothing has changed. Numbers of ns must be >= 0.
 */
#ifndef XF_SCHEDULER_H
#define XF_SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/alloc.h"
#include "core/cooldown.h"
#include "core/heap.h"
#include "core/limit.h"
#include "core/margin.h"
#include "core/outage.h"

#define XF_NEVER INT64_MAX       /* an instant that does not come by itself */
#define XF_CATCH_UP_NS 25000000  /* 25 ms: a garbage collection of many tasks */
#define XF_UNLIMITED UINT32_MAX  /* slots */
#define XF_MIN_PRIORITY (-32768) /* priorities are 16 bits, */
#define XF_MAX_PRIORITY 32767    /* higher goes first */

typedef enum xf_state {
    XF_NEW,       /* not submitted yet */
    XF_WAITING,   /* in the queue */
    XF_ADMITTED,  /* holds a slot and its cost, not dispatched yet */
    XF_IN_FLIGHT, /* dispatched */
    XF_EXPIRED,   /* its deadline came first; holds nothing */
    XF_DONE,      /* finished or cancelled; holds nothing */
} xf_state;

/* One call. The memory is the caller's, zeroed and with `held` and `priced` filled in before
   xf_submit(); it must stay until the call is done. All else is the scheduler's. */
typedef struct xf_call {
    uint64_t order;       /* key in the queue: priority, then sequence number */
    uint32_t queue_place; /* see heap.h */
    union {
        uint32_t deadline_place; /* 0 out of the heap; */
        uint32_t crowd;          /* in flight: how many there were at its dispatch, with it */
    };
    union {
        int64_t deadline;      /* of the first admission, or XF_NEVER; */
        int64_t dispatched_at; /* in flight: when it was dispatched */
    };
    struct xf_call *next, **previous; /* in the outbox; in flight: among those in flight */
    uint32_t generation;              /* of the cooldown, at the last dispatch */
    uint16_t resets;                  /* at admission, modulo 2**16 */
    uint8_t state;                    /* xf_state */
    bool priced : 1;                  /* its costs are known: a 0 among them is one, too */
    bool repeated : 1;                /* `held` is the next attempt's, not the last one's */
    bool refused : 1;                 /* in flight: this attempt was, in the last cooldown */
    bool foreseen : 1;                /* in flight: the level at its end has paid for it */
    int64_t held[];                   /* per limit, in units: the cost, later what was reported */
} xf_call;

typedef enum xf_outcome { XF_SUCCEEDED, XF_FAILED, XF_CANCELLED } xf_outcome;

/* What holds the head of the queue back: a limit's index, or one of these. */
enum { XF_BY_NOTHING = -1, XF_BY_SLOTS = -2, XF_BY_COOLDOWN = -3 };

typedef struct xf_counters {
    uint64_t submitted;
    uint64_t admitted; /* attempts; those taken back before their dispatch are not counted */
    uint64_t succeeded, failed, cancelled, expired;
    uint64_t refused; /* 429s */
    uint64_t retries;
    int64_t first_ns;                         /* the first xf_submit(), or -1 */
    int64_t idle_ns, no_slot_ns, cooldown_ns; /* why nothing was admitted, beside the */
                                              /* limits' held_ns */
} xf_counters;

typedef struct xf_scheduler {
    xf_alloc alloc;
    xf_limit *limits;
    uint32_t n_limits;
    uint32_t slots;    /* XF_UNLIMITED, or how many calls may be admitted at a time */
    uint32_t in_use;   /* slots held */
    uint32_t n_flying; /* calls in flight: the others that hold one are still to be dispatched */
    uint32_t live;     /* calls submitted and not done */
    uint32_t resets;   /* how often levels were set to what a provider said */
    xf_cooldown cooldown;
    xf_outage outage;
    xf_margin margin;
    xf_counters counters;

    xf_heap queue, deadlines;
    xf_call *outbox, **outbox_end;
    xf_call *flying, **flying_end; /* the calls in flight, in order of their dispatch */
    uint64_t next_sequence;
    int64_t now;         /* the latest `now` */
    int64_t anchor;      /* virtual instant of the last admission, */
    int64_t admitted_at; /* the `now` at which it was decided, */
    bool waited;         /* and whether it was waited for, or is part of catching up after that */
    const xf_call *arriving; /* the call that the running operation has put into an empty queue */
    int64_t head_at;         /* when the head becomes admissible, as far as is known */
    bool changed;            /* since head_at was worked out */
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
   admitted at once it is (state XF_ADMITTED) and does not go through the outbox. False: no
   memory, nothing was done. */
bool xf_submit(xf_scheduler *s, xf_call *c, int priority, int64_t deadline, int64_t now);

/* An admitted call is started, at the time of the latest operation: from here on its cost is spent.
   False, and nothing is done, when a cooldown runs or levels were set anew since its admission,
   which these have not paid for: then it must go back, see xf_put_back(). O(1). */
bool xf_dispatch(xf_scheduler *s, xf_call *c);

/* An admitted call that was not dispatched returns its slot and cost, and waits again, in its
   old place, until its deadline. */
void xf_put_back(xf_scheduler *s, xf_call *c, int64_t now);

/* A call in flight gives its slot back and waits, in its old place (so before all newer calls of
   its priority), for its next attempt, which is paid for again with what `held` says then: the
   caller may have filled in the estimate anew. */
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

/* Time has passed: admits what has become admissible, expires what is overdue. */
void xf_poll(xf_scheduler *s, int64_t now);

/* Takes the next call out of the outbox (state XF_ADMITTED or XF_EXPIRED), or returns NULL. */
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
