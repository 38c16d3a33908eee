/* A min-heap of transfers by the time of their next deadline. */
#ifndef XF_NET_DEADLINES_H
#define XF_NET_DEADLINES_H

#include <stddef.h>
#include <stdint.h>

#define XF_NO_DEADLINE INT64_MAX

typedef struct xf_deadline {
    int64_t when;
    size_t place; /* one-based index in the heap, 0: not in it */
} xf_deadline;

typedef struct xf_deadlines {
    xf_deadline **heap;
    size_t size, room;
} xf_deadlines;

/* Adds an entry. 0, or -1 if there is no memory. */
int xf_deadlines_add(xf_deadlines *d, xf_deadline *entry, int64_t when);

/* Removes an entry, if it is in the heap. */
void xf_deadlines_remove(xf_deadlines *d, xf_deadline *entry);

/* Moves an entry to another time. */
void xf_deadlines_move(xf_deadlines *d, xf_deadline *entry, int64_t when);

/* Frees the memory. Does not touch the entries. */
void xf_deadlines_free(xf_deadlines *d);

static inline xf_deadline *xf_deadlines_first(const xf_deadlines *d)
{
    return d->size ? d->heap[0] : NULL;
}

#endif
