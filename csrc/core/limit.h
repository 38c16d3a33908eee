/*
 * A limit: its definition (an amount per period, with a capacity), its bucket, and what became of
 * it. Here amounts are in units, and in bucket.h in credits.
 *
 * Arithmetic is in whole *credits*: a bucket gains `gain` credits each nanosecond and one unit
 * of the limited amount (a request, a token) is worth `unit` credits, so that
 *
 *     gain / unit = amount / period_in_ns
 *
 * exactly when amount and period are whole numbers, else to within 1e-12 of it (5e-10 where a huge
 * capacity leaves no room for a finer unit). Nothing is ever rounded after that: what is less than
 * a nanosecond's gain stays in the level. So a limit of 90 million a minute admits 90 million a
 * minute, not 0.1 % less.
 */
#ifndef XF_LIMIT_H
#define XF_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/bucket.h"
#include "core/pace.h"

typedef struct xf_trail xf_trail;

/* What a limit is: it does not change but by another definition. */
typedef struct xf_definition {
    int64_t gain;     /* credits per ns, >= 1 */
    int64_t unit;     /* credits per unit, >= 1 */
    int64_t capacity; /* credits, >= 0 */
    int64_t max_cost; /* units: what a call costs beyond that could never be paid for */
} xf_definition;

typedef struct xf_limit {
    xf_definition def;
    int64_t reserve; /* credits of the capacity that are not used, see xf_limit_reserve() */
    xf_bucket bucket;
    xf_pace pace;
    uint32_t reset;  /* the gate's: number of the last one that set this level */
    xf_trail *trail; /* where the level has been, see trail.h; NULL: nobody asks */

    /* What became of it, in units (wrapping like any counter) and ns. */
    uint64_t used;     /* admitted, with settlements counted in */
    uint64_t refunded; /* given back by settlements */
    uint64_t charged;  /* taken in addition by settlements */
    int64_t held_ns;   /* how long this limit was what held the head of the queue back */
} xf_limit;

/*
 * Defines a limit of `amount` units per `period` seconds with room for `capacity` units. False when
 * a number is not finite, amount or period is not above 0, capacity is below 0, or the three cannot
 * be represented (rates from 1e-3 to 1e12 units per second always can, with a capacity of up to a
 * minute's worth).
 */
bool xf_define(xf_definition *d, double amount, double period, double capacity);

/* A limit by that definition, its bucket full. */
void xf_limit_init(xf_limit *l, const xf_definition *definition);

/* Gives `l` another definition; its level, in units, and its counters stay, the level clipped to
   the new capacity; nothing of that is kept in reserve. */
void xf_limit_retune(xf_limit *l, const xf_definition *definition, int64_t now);

/* Keeps what `margin` ns refill of the capacity in reserve: calls that were that much further apart
   when they left than when they arrive are still within the provider's bucket. It costs a part of
   the burst and nothing of the rate. */
void xf_limit_reserve(xf_limit *l, int64_t margin, int64_t now);

/* The level at `now`, in units. */
double xf_limit_level(const xf_limit *l, int64_t now);

/* The rate in units per second. */
double xf_limit_rate(const xf_limit *l);

/* The first instant >= `from` at which a call that costs `cost` units (>= 0; what exceeds max_cost
   is not counted) passes: level >= min(cost, capacity), and the limit is not shut. So a call larger
   than the capacity passes when the bucket is full. */
int64_t xf_limit_ready(const xf_limit *l, int64_t cost, int64_t from);

/* What xf_set_pace() says, in units and seconds. */
typedef struct xf_pacing {
    double most;        /* units per second; 0: any pace is right */
    double kept, scale; /* units */
    double fits;
    int64_t until; /* the instant at which it ends, ns */
} xf_pacing;

/* From now on calls follow each other no faster than `pacing` says, see pace.h; until the limit is
   retuned. */
void xf_limit_pace(xf_limit *l, const xf_pacing *pacing);

/* A call of `cost` units was taken at `when`; those that wait behind it will cost `waiting`. */
void xf_limit_took(xf_limit *l, int64_t cost, double waiting, int64_t when);

/* Takes `cost` units at `when`, an instant that xf_limit_ready() allowed. */
void xf_limit_take(xf_limit *l, int64_t cost, int64_t when);

/* Gives back what a call took since the level was last set, also what it took in addition. */
void xf_limit_give_back(xf_limit *l, int64_t cost, int64_t now);

/* Moves the level at `now` by `units`: above 0 gives back (never above the capacity), below 0
   takes, as far as the largest debt that can be told. While a cooldown runs that has set the level
   at its end (xf_limit_refuse), only the counters move. */
void xf_limit_adjust(xf_limit *l, int64_t units, int64_t now);

/*
 * A provider has sent a call of `cost` units away until `until` (> now): at that instant the
 * bucket holds just what this call needs, as it has promised, less the `taken` units that calls on
 * their way will have used by then. The reserve is refilled after that call. Does nothing, and
 * returns false, when this limit cannot have been the cause: the call costs nothing of it, or the
 * bucket takes hours to fill and more than 100 times as long as the wait. So the refusal of a
 * per-minute limit does not throw away what is left of the day's.
 */
bool xf_limit_refuse(xf_limit *l, int64_t cost, int64_t taken, int64_t now, int64_t until);

/* Gives `units` (below 0: takes) of those `taken` back, while the cooldown lasts. */
void xf_limit_amend(xf_limit *l, int64_t units, int64_t now);

/* Keeps track of the level in `trail`, the caller's, from now on. */
void xf_limit_follow(xf_limit *l, xf_trail *trail, int64_t now);

/* `units` (>= 0) of what a call has cost may be given back by the provider, but are not here as
   nobody knows: an answer that says so raises the level by so much, at once and although the limit
   is bounded. Nothing happens during a cooldown, or where nobody asks (no trail). */
void xf_limit_withhold(xf_limit *l, int64_t units, int64_t now);

/* What has turned out, in units (>= 0): of the `withheld`, which are all so far, `due` were given
   back and `doubtful` still may have been. */
typedef struct xf_ascertained {
    int64_t withheld, due, doubtful;
} xf_ascertained;

/* The level rises by what is due and by which no answer has raised it before. Nothing happens
   during a cooldown, or where nobody asks (no trail). */
void xf_limit_ascertain(xf_limit *l, const xf_ascertained *found, int64_t now);

/* Sets the level to `units`, or as near as the capacity and the largest debt allow; what came
   before is forgotten. False, and does nothing, during a cooldown. */
bool xf_limit_set_level(xf_limit *l, double units, int64_t now);

/* What an answer says of a limit. */
typedef struct xf_remaining {
    double units;        /* were left, */
    double doubt;        /* and so many more may have been, or less: see xf_limit_told() */
    bool bounded;        /* no answer lets more pass than the limit's own figures */
    int64_t sent_at;     /* when the call was dispatched that was answered */
    int64_t answered_at; /* and when the answer was there, ns */
} xf_remaining;

/*
 * A provider had `left->units` left at an instant between `sent_at` and `answered_at`; which,
 * nobody knows. So the level is only moved as far as it contradicts that wherever the instant was:
 * down to what the answer allows at most, or up to what it allows at least less `doubt` units: once
 * all answers of XF_RISING_NS have said so.
 * Where the limit is `bounded` it goes up by no more than it was moved down before. Returns by how
 * many units the level was moved. Does nothing during a cooldown, for calls sent before the trail
 * began, for answers to calls sent before one that was listened to, or where nobody asks (no
 * trail).
 */
double xf_limit_told(xf_limit *l, const xf_remaining *left, int64_t now);

#endif
