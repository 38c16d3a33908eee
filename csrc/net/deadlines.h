/* A min-heap of transfers by the time at which they have to be looked at again. */
#ifndef XF_NET_DEADLINES_H
#define XF_NET_DEADLINES_H

#include <stddef.h>
#include <stdint.h>

#define XF_NEVER INT64_MAX

struct xf_deadline {
    int64_t when;
    size_t place; /* one-based index in the heap, 0: not in it */
};

struct xf_deadlines {
    struct xf_deadline **heap;
    size_t size, room;
};

/* 0, or -1 for want of memory. */
int xf_deadlines_add(struct xf_deadlines *d, struct xf_deadline *entry, int64_t when);
void xf_deadlines_remove(struct xf_deadlines *d, struct xf_deadline *entry);
void xf_deadlines_move(struct xf_deadlines *d, struct xf_deadline *entry, int64_t when);
void xf_deadlines_free(struct xf_deadlines *d);

static inline struct xf_deadline *xf_deadlines_first(const struct xf_deadlines *d)
{
    return d->size ? d->heap[0] : NULL;
}

#endif
