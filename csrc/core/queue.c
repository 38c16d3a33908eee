#include "core/queue.h"

enum { SEQUENCE_BITS = 48 };

void xf_queue_init(xf_queue *q)
{
    q->next_sequence = 0;
    xf_heap_init(&q->calls, offsetof(xf_call, queue_place));
    xf_heap_init(&q->deadlines, offsetof(xf_call, deadline_place));
}

void xf_queue_free(xf_queue *q, const xf_alloc *alloc)
{
    xf_heap_free(&q->calls, alloc);
    xf_heap_free(&q->deadlines, alloc);
}

bool xf_queue_reserve(xf_queue *q, uint32_t n, int64_t deadline, const xf_alloc *alloc)
{
    return xf_heap_reserve(&q->calls, n, alloc) &&
           (deadline == XF_NEVER || xf_heap_reserve(&q->deadlines, n, alloc));
}

void xf_queue_shrink(xf_queue *q, uint32_t n, const xf_alloc *alloc)
{
    xf_heap_shrink(&q->calls, n, alloc);
    xf_heap_shrink(&q->deadlines, n, alloc);
}

void xf_queue_number(xf_queue *q, xf_call *c, int priority)
{
    c->order = (uint64_t)(XF_MAX_PRIORITY - priority) << SEQUENCE_BITS | q->next_sequence++;
}

void xf_queue_enter(xf_queue *q, xf_call *c)
{
    xf_heap_push(&q->calls, c->order, c);
    if (c->deadline != XF_NEVER) {
        xf_heap_push(&q->deadlines, (uint64_t)c->deadline, c);
    }
}

void xf_queue_leave(xf_queue *q, xf_call *c)
{
    xf_heap_remove(&q->calls, c);
    if (c->deadline_place != 0) {
        xf_heap_remove(&q->deadlines, c);
    }
}

xf_call *xf_queue_first_deadline(const xf_queue *q, int64_t *at)
{
    const xf_heap_entry *top = xf_heap_top(&q->deadlines);
    *at = top != NULL ? (int64_t)top->key : XF_NEVER;
    return top != NULL ? top->item : NULL;
}
