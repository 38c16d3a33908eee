#include "core/queue.h"

#include <string.h>

void xf_queue_init(xf_queue *q)
{
    *q = (xf_queue){0};
    xf_heap_init(&q->flows, offsetof(xf_flow, place));
    xf_heap_init(&q->deadlines, offsetof(xf_call, deadline_place));
}

void xf_queue_free(xf_queue *q, const xf_alloc *alloc)
{
    for (uint32_t i = 0; i < q->n_known; i++) {
        alloc->realloc(alloc->ctx, q->known[i], 0);
    }
    if (q->known != NULL) {
        alloc->realloc(alloc->ctx, q->known, 0);
    }
    if (q->ranks != NULL) {
        alloc->realloc(alloc->ctx, q->ranks, 0);
    }
    xf_heap_free(&q->flows, alloc);
    xf_heap_free(&q->deadlines, alloc);
    xf_queue_init(q);
}

/* ---- flows ---- */

/* The place of the flow of that priority among the ranks, or the place for it. */
static uint32_t rank_of(const xf_queue *q, int priority)
{
    uint32_t low = 0, high = q->n_known;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (q->known[q->ranks[middle]]->priority < priority) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Makes room for one flow more than the present `n`. False if there is no memory. */
static bool reserve_flow(xf_queue *q, uint32_t n, const xf_alloc *alloc)
{
    if ((n & (n - 1)) != 0) {
        return true; /* there is room up to the next power of two */
    }
    size_t room = n > 0 ? 2 * (size_t)n : 1;
    xf_flow **known = alloc->realloc(alloc->ctx, q->known, room * sizeof(*known));
    if (known == NULL) {
        return false;
    }
    q->known = known;
    uint32_t *ranks = alloc->realloc(alloc->ctx, q->ranks, room * sizeof(*ranks));
    if (ranks == NULL) {
        return false;
    }
    q->ranks = ranks;
    return true;
}

/* Adds a flow of that rank. False, and nothing is done, if there is no memory. */
static bool add_flow(xf_queue *q, uint32_t rank, int priority, const xf_alloc *alloc)
{
    uint32_t n = q->n_known;
    if (!xf_heap_reserve(&q->flows, n + 1, alloc) || !reserve_flow(q, n, alloc)) {
        return false;
    }
    xf_flow *f = alloc->realloc(alloc->ctx, NULL, sizeof(*f));
    if (f == NULL) {
        return false;
    }
    *f = (xf_flow){.priority = priority};
    memmove(&q->ranks[rank + 1], &q->ranks[rank], (n - rank) * sizeof(*q->ranks));
    q->ranks[rank] = n;
    q->known[n] = f;
    q->n_known++;
    return true;
}

/* Makes the flow of that priority the latest. False if there is no memory. */
static bool find_flow(xf_queue *q, int priority, const xf_alloc *alloc)
{
    if (q->n_known > 0 && q->known[q->latest]->priority == priority) {
        return true;
    }
    uint32_t rank = rank_of(q, priority);
    bool is_known = rank < q->n_known && q->known[q->ranks[rank]]->priority == priority;
    if (!is_known && !add_flow(q, rank, priority, alloc)) {
        return false;
    }
    q->latest = q->ranks[rank];
    return true;
}

static xf_flow *flow_of(const xf_queue *q, const xf_call *c)
{
    return q->known[c->flow];
}

/* The last of the calls returned to `f` that is older than `c`, or NULL. Searches from both ends at
   once. */
static xf_call *last_older(const xf_flow *f, const xf_call *c)
{
    xf_call *old = f->returned, *young = f->calls.first;
    while (old != NULL && old->number > c->number) {
        if (young->number > c->number) {
            return young->previous;
        }
        old = old->previous;
        young = young->next;
    }
    return old;
}

/* ---- calls ---- */

bool xf_queue_number(xf_queue *q, xf_call *c, int priority, int64_t deadline, uint32_t n,
                     const xf_alloc *alloc)
{
    if (!find_flow(q, priority, alloc) ||
        (deadline != XF_NEVER && !xf_heap_reserve(&q->deadlines, n, alloc))) {
        return false;
    }
    c->flow = q->latest;
    c->number = q->next_number++;
    c->deadline = deadline;
    return true;
}

/* Puts `c` behind `before`, or first if that is NULL. */
static void insert(xf_queue *q, xf_call *c, xf_call *before)
{
    xf_flow *f = flow_of(q, c);
    if (f->calls.first == NULL) {
        xf_heap_push(&q->flows, (uint64_t)(XF_MAX_PRIORITY - f->priority), f);
    }
    xf_list_insert(&f->calls, c, before);
    if (c->deadline != XF_NEVER) {
        xf_heap_push(&q->deadlines, (uint64_t)c->deadline, c);
    }
    q->size++;
}

void xf_queue_enter(xf_queue *q, xf_call *c)
{
    insert(q, c, flow_of(q, c)->calls.last);
}

void xf_queue_return(xf_queue *q, xf_call *c)
{
    xf_flow *f = flow_of(q, c);
    xf_call *before = last_older(f, c);
    insert(q, c, before);
    if (before == f->returned) {
        f->returned = c;
    }
}

void xf_queue_leave(xf_queue *q, xf_call *c)
{
    xf_flow *f = flow_of(q, c);
    if (f->returned == c) {
        f->returned = c->previous;
    }
    xf_list_remove(&f->calls, c);
    if (f->calls.first == NULL) {
        xf_heap_remove(&q->flows, f);
    }
    if (c->deadline_place != 0) {
        xf_heap_remove(&q->deadlines, c);
    }
    q->size--;
}

void xf_queue_shrink(xf_queue *q, uint32_t n, const xf_alloc *alloc)
{
    xf_heap_shrink(&q->deadlines, n, alloc);
}

xf_call *xf_queue_first_deadline(const xf_queue *q, int64_t *at)
{
    const xf_heap_entry *top = xf_heap_top(&q->deadlines);
    *at = top != NULL ? (int64_t)top->key : XF_NEVER;
    return top != NULL ? top->item : NULL;
}
