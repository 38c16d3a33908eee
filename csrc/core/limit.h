/*
 * A limit: its definition (an amount per period, with a capacity), its bucket, and its counters.
 * Amounts are in units here, and in credits in bucket.h.
 *
 * Arithmetic is in whole *credits*: a bucket gains `gain` credits each nanosecond and one unit
 * of the limited amount (a request, a token) is worth `unit` credits, so that
 *
 *     gain / unit = amount / period_in_ns
 *
 * exactly when amount and period are whole numbers, else to within 1e-12 of it (5e-10 where a huge
 * capacity leaves no room for a finer unit). Nothing is ever rounded after that: a fraction of a
 * nanosecond's gain stays in the level. So a limit of 90 million a minute admits 90 million a
 * minute, not 0.1 % less.
 */
#ifndef XF_LIMIT_H
#define XF_LIMIT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "core/bucket.h"
#include "core/pace.h"

#define XF_SPACING_PART 20

typedef struct xf_trail xf_trail;

/* The fixed numbers of a limit. Only another definition changes them. */
typedef struct xf_definition {
    int64_t gain;     /* credits per ns, >= 1 */
    int64_t unit;     /* credits per unit, >= 1 */
    int64_t capacity; /* credits, >= 0 */
    int64_t max_cost; /* units: the bucket could never pay for a larger cost */
} xf_definition;

typedef struct xf_limit {
    xf_definition def;
    int64_t reserve; /* credits of the capacity that are kept free, see xf_limit_reserve() */
    xf_bucket bucket;
    xf_pace pace;
    bool counts_input; /* so it may not count what a call reads from a cache, see saving.h */
    uint32_t reset;    /* the gate's: `resets` when this level was last set */
    xf_trail *trail;   /* the past of the level, see trail.h; NULL: the level is not followed */

    /* Counters in units (wrapping like any counter), and ns. */
    uint64_t used;     /* admitted, corrected by settlements */
    uint64_t refunded; /* returned by settlements */
    uint64_t charged;  /* taken in addition by settlements */
    double lowered;    /* by xf_limit_lower(); of all members */
    int64_t held_ns;   /* time in which this limit held the head of the queue back */
} xf_limit;

/*
 * Defines a limit of `amount` units per `period` seconds with a capacity of `capacity` units. False
 * when a number is not finite, amount or period is not above 0, capacity is below 0, or the three
 * cannot be represented. Rates from 1e-3 to 1e12 units per second always can, with a capacity of up
 * to a minute's worth.
 */
bool xf_define(xf_definition *d, double amount, double period, double capacity);

/* Makes `l` a limit by `definition`, with a full bucket. */
void xf_limit_init(xf_limit *l, const xf_definition *definition);

/* Gives `l` another definition. Its counters stay, and so does its level in units, clipped to the
   new capacity. The reserve ends. */
void xf_limit_retune(xf_limit *l, const xf_definition *definition, int64_t now);

/* Keeps in reserve the part of the capacity that `margin` ns refill. Then two calls that arrive up
   to `margin` ns closer together than they left do not overdraw the provider's bucket. The reserve
   costs a part of the burst and nothing of the rate. Only a call that needs a part of the reserve
   costs more: it goes later than the bucket is full, by as long as that part takes to refill, but
   by no more than an XF_SPACING_PART-th of the time that its own cost takes. */
void xf_limit_reserve(xf_limit *l, int64_t margin, int64_t now);

/* The level at `now`, in units. */
double xf_limit_level(const xf_limit *l, int64_t now);

/* The rate in units per second. */
double xf_limit_rate(const xf_limit *l);

/* The first instant >= `from` at which a call of `cost` units passes: level >= min(cost, capacity),
   and the limit is not shut. `cost` is >= 0, and counts as max_cost above that. So a call larger
   than the capacity passes when the bucket is full, and has been for what xf_limit_reserve() says.
 */
int64_t xf_limit_ready(const xf_limit *l, int64_t cost, int64_t from);

/* The numbers of a pace (see pace.h), in units and seconds. */
typedef struct xf_pacing {
    double most;        /* units per second; 0: any pace is right */
    double kept, scale; /* units */
    double fits;
    int64_t until; /* the instant at which it ends, ns */
} xf_pacing;

/* Lets calls follow each other no faster than `pacing` says, until the limit is retuned. */
void xf_limit_pace(xf_limit *l, const xf_pacing *pacing);

/* Notes for the pace that a call of `cost` units was taken at `when`, and that the calls which wait
   behind it will cost `waiting` units. */
void xf_limit_took(xf_limit *l, int64_t cost, double waiting, int64_t when);

/* Takes `cost` units at `when`, an instant that xf_limit_ready() allowed. */
void xf_limit_take(xf_limit *l, int64_t cost, int64_t when);

/* Returns the `cost` units of a call that was admitted and not dispatched, and the credits that it
   took in addition. The level must not have been set since. */
void xf_limit_give_back(xf_limit *l, int64_t cost, int64_t now);

/* Moves the level at `now` by `units`. Above 0 it returns units, never above the capacity; below 0
   it takes them, down to the largest debt. During a cooldown that has set the level at its end
   (xf_limit_refuse()) only the counters move. */
void xf_limit_adjust(xf_limit *l, int64_t units, int64_t now);

/*
 * Sets the level after a provider has refused a call of `cost` units until `until` (> now). The
 * provider has promised that its bucket will then hold just what this call needs. So the level at
 * `until` is that, less the `taken` units that other calls in flight will have used by then. The
 * reserve refills after the refused call.
 *
 * Returns false, and changes nothing, when this limit cannot have been the cause: the call costs
 * nothing of it, or the bucket takes more than two minutes to fill and more than 100 times as long
 * as the wait. So the refusal of a limit per minute does not throw away the rest of the day's
 * quota.
 */
bool xf_limit_refuse(xf_limit *l, int64_t cost, int64_t taken, int64_t now, int64_t until);

/* Whether the last answer, to a call sent at `since` or later, said that `cost` units were left.
   Then this limit is hardly the cause of that call's refusal. */
bool xf_limit_vouched(const xf_limit *l, int64_t cost, int64_t since);

/* While the cooldown lasts, returns `units` of those `taken` (below 0: takes more). */
void xf_limit_amend(xf_limit *l, int64_t units, int64_t now);

/* Follows the level in `trail`, which stays the caller's, from now on. */
void xf_limit_follow(xf_limit *l, xf_trail *trail, int64_t now);

/* Notes that the provider may have refunded `units` (>= 0) of a call's cost, which this limit keeps
   until it is known. An answer that says so raises the level by so much at once, even if the limit
   is bounded. Does nothing during a cooldown, or without a trail. */
void xf_limit_withhold(xf_limit *l, int64_t units, int64_t now);

/* The truth about withheld units, all >= 0: of the `withheld`, which are all so far, the provider
   has refunded `due`, and may have refunded `doubtful`. */
typedef struct xf_ascertained {
    int64_t withheld, due, doubtful;
} xf_ascertained;

/* Raises the level by the units that are due, less those by which answers have raised it already.
   Does nothing during a cooldown, or without a trail. */
void xf_limit_ascertain(xf_limit *l, const xf_ascertained *found, int64_t now);

/* Sets the level at `from`, which may lie ahead, to `units`, or as near as the capacity allows:
   that of an account, of which this limit has a part for some time. */
void xf_limit_lend(xf_limit *l, double units, int64_t from);

/* Sets the level to `units`, or as near as the capacity and the largest debt allow, and forgets the
   trail. False, and does nothing, during a cooldown. */
bool xf_limit_set_level(xf_limit *l, double units, int64_t now);

/* Lowers the level at `now` to the most that the word of an answer allows: `left` units at the
   instant `at`, less those `used` since, less the reserve. It is not lowered into debt. Does
   nothing during a cooldown. */
void xf_limit_lower(xf_limit *l, int64_t left, int64_t used, int64_t at, int64_t now);

/* The words of an answer on a limit. */
typedef struct xf_remaining {
    double units;        /* left, as the answer says */
    double doubt;        /* units by which the true level may be lower, see xf_limit_told() */
    bool bounded;        /* no answer lets more pass than the limit's own figures */
    int64_t sent_at;     /* when the answered call was dispatched, ns */
    int64_t answered_at; /* when its answer arrived, ns */
} xf_remaining;

/*
 * Corrects the level by an answer. The provider had `left->units` left at some instant between
 * `sent_at` and `answered_at`, and the answer does not say at which. So the level only moves where
 * it contradicts the answer for every such instant: down to the most that the answer allows, or up
 * to the least that it allows, less `doubt` units. It moves up only once all answers of
 * XF_RISING_NS have said so. A `bounded` limit moves up by no more than answers moved it down
 * before.
 *
 * Returns the units by which the level moved. Does nothing during a cooldown, without a trail, for
 * calls sent before the trail began, and for answers to calls sent before one that was heard
 * already.
 */
double xf_limit_told(xf_limit *l, const xf_remaining *left, int64_t now);

/* Copies `n` limits. Of none, `to` and `from` may be NULL, which memcpy() does not allow. */
static inline void xf_limits_copy(xf_limit *to, const xf_limit *from, size_t n)
{
    if (n > 0) {
        memcpy(to, from, n * sizeof(*to));
    }
}

#endif
