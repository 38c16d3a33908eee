/*
 * The order in which calls go, and the deadlines of those that wait.
 *
 * The calls that keep their order among themselves are a *flow*: a list. The queue is a heap of the
 * flows in which calls wait. There is one flow for each priority. The highest priority goes first,
 * and within it the call that was submitted first, its retries included. So a waiting call takes no
 * room in a heap.
 *
 * The cost of operations, with f flows:
 * - Entering, and leaving (as the first, cancelled or overdue): O(1), and O(log f) for the first
 * and the last call of a flow. A call with a deadline, of which n wait, costs O(log n) more.
 * - Returning after an admission: O(1) for a call that is older or newer than all others that have
 *   returned to its flow and still wait. So it is O(1) for calls that return in their order or in
 * its reverse. Else O(d), with d the number of those between the call and the nearer end.
 * - A new call of another priority than the last one's: O(log f). If the priority was never used
 *   before: O(f). A flow is kept as long as the queue; there are at most 65,536.
 */
#ifndef XF_QUEUE_H
#define XF_QUEUE_H

#include "core/alloc.h"
#include "core/call.h"
#include "core/heap.h"
#include "core/list.h"

typedef struct xf_flow {
    xf_list calls;     /* the waiting ones, in the order of their numbers */
    xf_call *returned; /* the last of those that had been admitted before, or NULL. They are older
                          than the others, because only a first call is admitted. */
    int32_t priority;
    uint32_t place; /* see heap.h */
} xf_flow;

typedef struct xf_queue {
    xf_heap flows;     /* those in which calls wait */
    xf_heap deadlines; /* the waiting calls that have one */
    xf_flow **known;   /* all flows, in the order of their creation; a call has its flow's index */
    uint32_t *ranks;   /* these indexes, by priority */
    uint32_t n_known;
    uint32_t latest; /* index of the flow that the last call was numbered for */
    uint32_t size;   /* calls that wait */
    uint64_t next_number;
} xf_queue;

/* Makes `q` an empty queue that owns no memory. */
void xf_queue_init(xf_queue *q);

/* Frees the memory. Does not touch the calls. */
void xf_queue_free(xf_queue *q, const xf_alloc *alloc);

/* Gives a new call its flow, its place there behind all others, and its deadline (or XF_NEVER). The
   call keeps the place to its end, and needs no more memory for it. `n` is the number of calls,
   this one included. False, and nothing is done, if there is no memory. */
bool xf_queue_number(xf_queue *q, xf_call *c, int priority, int64_t deadline, uint32_t n,
                     const xf_alloc *alloc);

/* Puts a numbered call that has not waited yet into the queue. */
void xf_queue_enter(xf_queue *q, xf_call *c);

/* Puts a call that was admitted back into the queue, in its old place. */
void xf_queue_return(xf_queue *q, xf_call *c);

/* Takes `c` out, wherever it waits. */
void xf_queue_leave(xf_queue *q, xf_call *c);

/* Frees memory if there is room for many more than `n` calls. */
void xf_queue_shrink(xf_queue *q, uint32_t n, const xf_alloc *alloc);

/* The call that goes first, or NULL. */
static inline xf_call *xf_queue_head(const xf_queue *q)
{
    const xf_heap_entry *top = xf_heap_top(&q->flows);
    return top != NULL ? ((const xf_flow *)top->item)->calls.first : NULL;
}

/* The waiting call with the earliest deadline, or NULL if none has one. Stores that deadline in
   `at`. */
xf_call *xf_queue_first_deadline(const xf_queue *q, int64_t *at);

#endif
