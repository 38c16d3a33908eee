/*
 * In which order calls go: the highest priority first, within one the call that was submitted
 * first; and which of those that wait runs out of patience first.
 *
 * Functions are O(log n) in the number of waiting calls or better.
 */
#ifndef XF_QUEUE_H
#define XF_QUEUE_H

#include "core/alloc.h"
#include "core/call.h"
#include "core/heap.h"

typedef struct xf_queue {
    xf_heap calls;
    xf_heap deadlines;
    uint64_t next_sequence;
} xf_queue;

/* Makes `q` an empty queue that owns no memory. */
void xf_queue_init(xf_queue *q);

/* Gives the memory back. The calls are not touched. */
void xf_queue_free(xf_queue *q, const xf_alloc *alloc);

/* Makes room for `n` calls in all, one of them with that deadline. False: no memory, and nothing
   was done. */
bool xf_queue_reserve(xf_queue *q, uint32_t n, int64_t deadline, const xf_alloc *alloc);

/* Gives memory back where there is room for many more than `n` calls. */
void xf_queue_shrink(xf_queue *q, uint32_t n, const xf_alloc *alloc);

/* Gives a new call its place, behind all others of its priority, which it keeps to its end. */
void xf_queue_number(xf_queue *q, xf_call *c, int priority);

/* Puts `c` into its place; there must be room. */
void xf_queue_enter(xf_queue *q, xf_call *c);

/* Takes `c` out, wherever it waits. */
void xf_queue_leave(xf_queue *q, xf_call *c);

/* How many calls wait. */
static inline uint32_t xf_queue_size(const xf_queue *q)
{
    return q->calls.size;
}

/* The call that goes first, or NULL. */
static inline xf_call *xf_queue_head(const xf_queue *q)
{
    const xf_heap_entry *top = xf_heap_top(&q->calls);
    return top != NULL ? top->item : NULL;
}

/* The waiting call with the earliest deadline (NULL: none has one), and that deadline. */
xf_call *xf_queue_first_deadline(const xf_queue *q, int64_t *at);

#endif
