/*
 * In which order calls go; and which of those that wait runs out of patience first.
 *
 * The calls that keep their order among themselves are a *flow*: a list. The queue is a heap of the
 * flows in which calls wait. As long as nobody names flows there is one for each priority: the
 * highest priority goes first, and within one the call that was submitted first, its retries
 * included. So a call that waits costs no room in a heap.
 *
 * What that costs, with f flows:
 * - entering, leaving (as the first, cancelled or overdue): O(1), and O(log f) for the first and
 * the last call of a flow; O(log n) more for a call with a deadline, n of which wait.
 * - coming back after an admission: O(1) for one that is older or newer than all others that have
 *   come back to its flow and still wait, so when calls come back in their order or in its reverse;
 *   else O(d), d being how many of those it is away from the nearer end.
 * - a new call of another priority than the last one's: O(log f); of one that was never used: O(f).
 *   A flow is kept as long as the queue: there are at most 65,536.
 */
#ifndef XF_QUEUE_H
#define XF_QUEUE_H

#include "core/alloc.h"
#include "core/call.h"
#include "core/heap.h"
#include "core/list.h"

typedef struct xf_flow {
    xf_list calls;     /* that wait, in the order of their numbers */
    xf_call *returned; /* the last of those that had been admitted before, all of which are older
                          than the others: only a first one is admitted. NULL: none */
    int32_t priority;
    uint32_t place; /* see heap.h */
} xf_flow;

typedef struct xf_queue {
    xf_heap flows;     /* in which calls wait */
    xf_heap deadlines; /* the waiting calls that have one */
    xf_flow **known; /* all flows, in the order in which they came, which a call has the place of */
    uint32_t *ranks; /* these places, by priority */
    uint32_t n_known;
    uint32_t latest; /* place of the flow that a call was numbered for last */
    uint32_t size;   /* how many calls wait */
    uint64_t next_number;
} xf_queue;

/* Makes `q` an empty queue that owns no memory. */
void xf_queue_init(xf_queue *q);

/* Gives the memory back. The calls are not touched. */
void xf_queue_free(xf_queue *q, const xf_alloc *alloc);

/* Gives a new call its flow, its place there, behind all others, and its deadline (or XF_NEVER). It
   keeps the place to its end, and needs no more memory for it. `n`: how many calls there are, with
   it. False: no memory, and nothing was done. */
bool xf_queue_number(xf_queue *q, xf_call *c, int priority, int64_t deadline, uint32_t n,
                     const xf_alloc *alloc);

/* A numbered call that has not waited yet waits from now on. */
void xf_queue_enter(xf_queue *q, xf_call *c);

/* One that was admitted waits again, in its old place. */
void xf_queue_return(xf_queue *q, xf_call *c);

/* Takes `c` out, wherever it waits. */
void xf_queue_leave(xf_queue *q, xf_call *c);

/* Gives memory back where there is room for many more than `n` calls. */
void xf_queue_shrink(xf_queue *q, uint32_t n, const xf_alloc *alloc);

/* The call that goes first, or NULL. */
static inline xf_call *xf_queue_head(const xf_queue *q)
{
    const xf_heap_entry *top = xf_heap_top(&q->flows);
    return top != NULL ? ((const xf_flow *)top->item)->calls.first : NULL;
}

/* The waiting call with the earliest deadline (NULL: none has one), and that deadline. */
xf_call *xf_queue_first_deadline(const xf_queue *q, int64_t *at);

#endif
