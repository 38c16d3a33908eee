#include "core/queue.h"

#include <string.h>

void xf_queue_init(xf_queue *q)
{
    *q = (xf_queue){.gives_way = true};
    xf_heap_init(&q->flows, offsetof(xf_flow, place));
    xf_heap_init(&q->held, offsetof(xf_flow, place));
    xf_heap_init(&q->used_up, offsetof(xf_flow, place));
    xf_heap_init(&q->deadlines, offsetof(xf_call, deadline_place));
    xf_heap_init(&q->fading, offsetof(xf_flow, place));
    xf_heap_init(&q->changes, offsetof(xf_group, place));
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
    xf_heap_free(&q->held, alloc);
    xf_heap_free(&q->used_up, alloc);
    xf_heap_free(&q->deadlines, alloc);
    xf_heap_free(&q->fading, alloc);
    xf_heap_free(&q->changes, alloc);
    xf_groups_free(&q->groups, alloc);
    xf_queue_init(q);
}

/* ---- flows ---- */

/* The place of the flow of that priority among the ranks, or the place for it. */
static uint32_t rank_of(const xf_queue *q, int priority)
{
    uint32_t low = 0, high = q->n_ranks;
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

/* A flow that is not in use, for that priority. NULL, and nothing is done, if there is no memory.
 */
static xf_flow *take_flow(xf_queue *q, int priority, const xf_alloc *alloc)
{
    uint32_t n = q->n_known;
    xf_flow *f = q->spare;
    if (f != NULL) {
        q->spare = f->sibling;
        *f = (xf_flow){.index = f->index, .priority = priority};
        return f;
    }
    if (!xf_heap_reserve(&q->flows, n + 1, alloc) || !xf_heap_reserve(&q->held, n + 1, alloc) ||
        !xf_heap_reserve(&q->used_up, n + 1, alloc) || !xf_heap_reserve(&q->fading, n + 1, alloc) ||
        !reserve_flow(q, n, alloc)) {
        return NULL;
    }
    f = alloc->realloc(alloc->ctx, NULL, sizeof(*f));
    if (f != NULL) {
        *f = (xf_flow){.index = n, .priority = priority};
        q->known[n] = f;
        q->n_known++;
    }
    return f;
}

/* The flow of that priority without a group, or NULL if there is no memory. */
static xf_flow *flow_for(xf_queue *q, int priority, const xf_alloc *alloc)
{
    if (q->n_ranks > 0 && q->known[q->latest]->priority == priority) {
        return q->known[q->latest];
    }
    uint32_t rank = rank_of(q, priority);
    bool is_known = rank < q->n_ranks && q->known[q->ranks[rank]]->priority == priority;
    if (!is_known) {
        const xf_flow *f = take_flow(q, priority, alloc);
        if (f == NULL) {
            return NULL;
        }
        memmove(&q->ranks[rank + 1], &q->ranks[rank], (q->n_ranks - rank) * sizeof(*q->ranks));
        q->ranks[rank] = f->index;
        q->n_ranks++;
    }
    q->latest = q->ranks[rank];
    return q->known[q->latest];
}

/* The flow of that priority of a group, or NULL if there is no memory. */
static xf_flow *flow_within(xf_queue *q, xf_group *g, int priority, const xf_alloc *alloc)
{
    xf_flow *f = g->flows;
    while (f != NULL && f->priority != priority) {
        f = f->sibling;
    }
    if (f == NULL) {
        f = take_flow(q, priority, alloc);
        if (f != NULL) {
            f->group = g;
            f->sibling = g->flows;
            g->flows = f;
        }
    }
    return f;
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

/* The place of a flow among the others: by priority, then by the number of the call that its turn
   began with, or of its first call. */
static uint64_t rank_in_heap(const xf_flow *f)
{
    uint64_t number = f->calls.first->number;
    if (f->turn_left > 0 && number < f->turn_until && f->turn_since < number) {
        number = f->turn_since;
    }
    return (uint64_t)(XF_MAX_PRIORITY - f->priority) << XF_NUMBER_BITS | number;
}

/* Whether a flow has used its turn up, and its first call has waited for that. */
static bool has_used_up(const xf_flow *f)
{
    return f->turn_left == 0 && f->calls.first->number < f->turn_until;
}

static xf_heap *heap_for(xf_queue *q, const xf_flow *f)
{
    if (f->calls.first == NULL) {
        return NULL;
    }
    if (xf_group_is_held(f->group)) {
        return &q->held;
    }
    if (xf_group_is_fading(f->group)) {
        return &q->fading;
    }
    return q->gives_way && has_used_up(f) ? &q->used_up : &q->flows;
}

/* Puts a flow into its place in its heap. */
static void arrange(xf_queue *q, xf_flow *f)
{
    xf_heap *heap = heap_for(q, f);
    if (heap != NULL && heap == f->heap) {
        xf_heap_rekey(heap, rank_in_heap(f), f);
        return;
    }
    if (f->heap != NULL) {
        xf_heap_remove(f->heap, f);
    }
    if (heap != NULL) {
        xf_heap_push(heap, rank_in_heap(f), f);
    }
    f->heap = heap;
}

/* Puts a group into its place in the heap of changes, or takes it out if time alone changes nothing
   for calls of it that wait. */
static void arrange_change(xf_queue *q, xf_group *g)
{
    int64_t at = g->waiting > 0 ? xf_group_changes_at(g) : XF_NEVER;
    if (at != XF_NEVER && g->place == 0) {
        xf_heap_push(&q->changes, (uint64_t)at, g);
    } else if (at != XF_NEVER) {
        xf_heap_rekey(&q->changes, (uint64_t)at, g);
    } else if (g->place != 0) {
        xf_heap_remove(&q->changes, g);
    }
}

/* ---- calls ---- */

bool xf_queue_make_room(xf_queue *q, xf_call *c, int priority, int64_t deadline, uint32_t n,
                        const xf_alloc *alloc)
{
    if (deadline != XF_NEVER && !xf_heap_reserve(&q->deadlines, n, alloc)) {
        return false;
    }
    const xf_flow *f = c->grouped ? flow_within(q, q->groups.known[c->flow], priority, alloc)
                                  : flow_for(q, priority, alloc);
    if (f == NULL) {
        return false;
    }
    c->flow = f->index;
    c->deadline = deadline;
    return true;
}

/* Puts `c` behind `before`, or first if that is NULL. */
static void insert(xf_queue *q, xf_call *c, xf_call *before)
{
    xf_flow *f = flow_of(q, c);
    xf_list_insert(&f->calls, c, before);
    if (before == NULL) {
        arrange(q, f);
    }
    if (c->deadline != XF_NEVER) {
        xf_heap_push(&q->deadlines, (uint64_t)c->deadline, c);
    }
    q->size++;
    for (xf_group *g = f->group; g != NULL; g = g->trunk) {
        g->waiting++;
        arrange_change(q, g);
    }
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
    bool was_first = f->calls.first == c;
    if (f->returned == c) {
        f->returned = c->previous;
    }
    xf_list_remove(&f->calls, c);
    if (was_first) {
        arrange(q, f);
    }
    if (c->deadline_place != 0) {
        xf_heap_remove(&q->deadlines, c);
    }
    q->size--;
    for (xf_group *g = f->group; g != NULL; g = g->trunk) {
        g->waiting--;
        arrange_change(q, g);
    }
}

void xf_queue_shrink(xf_queue *q, uint32_t n, const xf_alloc *alloc)
{
    xf_heap_shrink(&q->deadlines, n, alloc);
}

const xf_call *xf_queue_next(const xf_queue *q, const xf_call *c)
{
    const xf_call *next = c->next;
    int above = flow_of(q, c)->priority + (c->grouped ? 1 : 0);
    for (uint32_t rank = next == NULL ? rank_of(q, above) : 0; next == NULL && rank > 0; rank--) {
        next = q->known[q->ranks[rank - 1]]->calls.first;
    }
    return next;
}

xf_call *xf_queue_first_deadline(const xf_queue *q, int64_t *at)
{
    const xf_heap_entry *top = xf_heap_top(&q->deadlines);
    *at = top != NULL ? (int64_t)top->key : XF_NEVER;
    return top != NULL ? top->item : NULL;
}

/* ---- groups ---- */

xf_group *xf_queue_open(xf_queue *q, int64_t ttl_ns, xf_group *trunk, const xf_alloc *alloc)
{
    return xf_heap_reserve(&q->changes, q->groups.n_open + 1, alloc)
               ? xf_groups_open(&q->groups, ttl_ns, trunk, alloc)
               : NULL;
}

void xf_queue_forget(xf_queue *q, xf_group *g)
{
    while (g != NULL && xf_group_is_over(g)) {
        while (g->flows != NULL) {
            xf_flow *f = g->flows;
            g->flows = f->sibling;
            f->sibling = q->spare;
            q->spare = f;
        }
        xf_group *trunk = g->trunk;
        xf_groups_forget(&q->groups, g);
        g = trunk;
    }
}

void xf_queue_regroup(xf_queue *q, xf_group *top)
{
    for (xf_group *g = top; g != NULL; g = xf_group_next_below(top, g)) {
        for (xf_flow *f = g->flows; f != NULL; f = f->sibling) {
            arrange(q, f);
        }
        arrange_change(q, g);
    }
}

void xf_queue_relive(xf_queue *q, xf_group *g)
{
    for (; g != NULL; g = g->trunk) {
        arrange_change(q, g);
    }
}

void xf_queue_admitted(xf_queue *q, xf_call *c, int64_t at)
{
    xf_flow *f = flow_of(q, c);
    q->renewed = xf_group_is_fading(f->group);
    if (f->group == NULL) {
        return;
    }
    if (f->turn_left == 0 || c->number >= f->turn_until) {
        f->turn_since = c->number;
        f->turn_until = q->next_number;
        f->turn_left = XF_TURN;
    }
    f->turn_left--;
    xf_group *changed = xf_group_admitted(&q->groups, f->group, c, at);
    c->led = f->group->leader == c;
    arrange(q, f);
    if (changed != NULL) {
        xf_queue_regroup(q, changed);
    }
    xf_queue_relive(q, f->group);
}

void xf_queue_give_way(xf_queue *q, bool gives_way)
{
    if (gives_way != q->gives_way) {
        q->gives_way = gives_way;
        for (uint32_t i = 0; i < q->n_known; i++) {
            arrange(q, q->known[i]);
        }
    }
}

xf_group *xf_queue_first_change(const xf_queue *q, int64_t *at)
{
    const xf_heap_entry *top = xf_heap_top(&q->changes);
    *at = top != NULL ? (int64_t)top->key : XF_NEVER;
    return top != NULL ? top->item : NULL;
}
