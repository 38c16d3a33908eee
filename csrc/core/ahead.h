/*
 * The calls for which a member asks ahead: those that wait behind the ones that its chunk covers
 * (lease.h), and what exactly they cost. If a chunk had the mean cost of so many calls, the last
 * one would often be dearer than what is left of it. Then the rest would lapse. A call that is let
 * in for less, because its prefix is warm (saving.h), costs so much less here.
 */
#ifndef XF_AHEAD_H
#define XF_AHEAD_H

#include <stdbool.h>
#include <stdint.h>

#include "core/lease.h"
#include "core/scheduler.h"

/* Calls that are looked at. No member dispatches so many in the time of a chunk. */
enum { XF_AHEAD_MOST = 10000 };

typedef struct xf_ahead {
    uint32_t covered;              /* the first calls of the queue, which pass by the chunk */
    uint32_t count;                /* calls behind them that make up a chunk */
    bool is_full;                  /* they do, else no other call was found, though some may wait
                                      or come */
    int64_t left[XF_LEASE_LIMITS]; /* units of the chunk that `covered` calls do not use */
    int64_t head[XF_LEASE_LIMITS]; /* costs of the first of the `count` calls, */
    int64_t rest[XF_LEASE_LIMITS]; /* and of the others together */
} xf_ahead;

/* Looks at the queue of a scheduler whose gate has a lease. A chunk takes calls until they cost
   `enough` units of a limit together. O(calls looked at). */
xf_ahead xf_ahead_look(const xf_scheduler *s, const int64_t *enough);

#endif
