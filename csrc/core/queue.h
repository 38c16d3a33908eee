/*
 * The order in which calls go, and the instants at which those that wait expire or are let go.
 *
 * The calls that keep their order among themselves are a *flow*: a list. The queue is a heap of the
 * flows in which calls wait. There is one flow for each priority, and one more for each group and
 * priority (see group.h). The highest priority goes first. Within it the flow goes first whose
 * first call was submitted first, its retries included. So a waiting call takes no room in a heap.
 *
 * A group's flow has *turns*: once a call of it is admitted, up to XF_TURN - 1 of those that wait
 * behind it go before other flows of their priority, whichever was submitted first. So a prefix is
 * used while it is in the cache. New calls do not prolong a turn.
 *
 * The calls of a group that warms are *held*: its flows are in a heap of their own, and the others
 * overtake them. Where a machine serves no more calls of a prefix in a minute than a turn has, a
 * flow that has used its turn up *gives way*, though: it does not go before a held one whose first
 * call is older, or has a higher priority. Else the group that is warm first would take all that
 * may go, calls that its machine does not serve, while groups that are about to be warm have had no
 * turn. Such a flow is in a third heap.
 *
 * The flows of a group that *fades* are in a fourth heap. The first of them goes before the others
 * of its priority, so that the prefix lives on: a call that waits anyway renews it at no cost. Not
 * two in a row, though. Else calls that are older might wait for ever, if many groups fade.
 *
 * The cost of operations, with f flows in which calls wait:
 * - Entering, and leaving (as the first, cancelled or overdue): O(1), and O(log f) where that
 *   changes the first call of a flow. With one flow that is O(1), too. A call with a deadline, of
 *   which n wait, costs O(log n) more.
 * - Returning after an admission: O(1) for a call that is older or newer than all others that have
 *   returned to its flow and still wait. So it is O(1) for calls that return in their order or in
 *   its reverse. Else O(d), with d the number of those between the call and the nearer end.
 * - A new call of another priority than the last one's: O(log p), with p the priorities used. If
 *   the priority was never used before: O(p). There are at most 65,536. A group's call:
 *   O(priorities used in its group).
 */
#ifndef XF_QUEUE_H
#define XF_QUEUE_H

#include "core/alloc.h"
#include "core/call.h"
#include "core/group.h"
#include "core/heap.h"
#include "core/list.h"

/* Calls of a turn. OpenAI sends some 15 calls a minute of a prefix to the machine that has it in
   its cache, and the others to machines that do not. More in a row would miss it.
   https://developers.openai.com/api/docs/guides/prompt-caching */
#define XF_TURN 14

/* 2**48 calls have a number. In the key of a flow its priority stands above them. */
#define XF_NUMBER_BITS 48

typedef struct xf_flow {
    xf_list calls;       /* the waiting ones, in the order of their numbers */
    xf_call *returned;   /* the last of those that had been admitted before, or NULL. They are older
                            than the others, because only a first call is admitted. */
    xf_group *group;     /* or NULL */
    xf_flow *sibling;    /* the next one of its group; not in use: the next one that is not */
    uint64_t turn_since; /* the number of the call that the turn began with. Calls numbered */
    uint64_t turn_until; /* before the latter are of it. Both 0: there was no turn */
    uint32_t turn_left;  /* calls that may be admitted in the turn */
    uint32_t index;      /* its place among the known ones */
    xf_heap *heap;       /* that it is in, or NULL */
    uint32_t place;      /* in it, see heap.h */
    int32_t priority;
} xf_flow;

typedef struct xf_queue {
    xf_heap flows;     /* those in which calls wait, but for those of the next three */
    xf_heap held;      /* those of groups that warm */
    xf_heap used_up;   /* those of other groups that have used their turn up */
    xf_heap fading;    /* those of groups that fade and are not held */
    xf_heap deadlines; /* the waiting calls that have one */
    xf_heap changes;   /* the groups whose calls wait, by xf_group_changes_at() */
    xf_groups groups;
    xf_flow **known;  /* all flows, in the order of their creation; a call has its flow's index */
    uint32_t *ranks;  /* the indexes of the flows without a group, by priority */
    xf_flow *spare;   /* flows that are not in use */
    uint32_t n_known; /* `spare` ones included */
    uint32_t n_ranks;
    uint32_t latest; /* index of the flow of the last call without a group that was numbered */
    uint32_t size;   /* calls that wait, held ones included */
    bool gives_way;  /* flows do, that have used their turn up; see xf_queue_give_way() */
    bool renewed;    /* the last call that was admitted had gone first because its group faded */
    uint64_t next_number;
} xf_queue;

/* Makes `q` an empty queue that owns no memory. */
void xf_queue_init(xf_queue *q);

/* Frees the memory. Does not touch the calls. */
void xf_queue_free(xf_queue *q, const xf_alloc *alloc);

/* Gives a new call its flow and its deadline (or XF_NEVER). It needs no more memory to its end. `n`
   is the number of calls, this one included. A `grouped` call has its group's index in `flow`
   before. False, and nothing is done, if there is no memory. */
bool xf_queue_make_room(xf_queue *q, xf_call *c, int priority, int64_t deadline, uint32_t n,
                        const xf_alloc *alloc);

/* Gives a new call that has room its place behind all others of its flow, which it keeps to its
   end. */
static inline void xf_queue_number(xf_queue *q, xf_call *c)
{
    c->number = q->next_number++;
}

/* Whether no call of the flow of `c` waits, a numbered call that has not waited yet. */
static inline bool xf_queue_is_first(const xf_queue *q, const xf_call *c)
{
    return q->known[c->flow]->calls.first == NULL;
}

/* Puts a numbered call that has not waited yet into the queue. */
void xf_queue_enter(xf_queue *q, xf_call *c);

/* Puts a call that was admitted back into the queue, in its old place. */
void xf_queue_return(xf_queue *q, xf_call *c);

/* Takes `c` out, wherever it waits. */
void xf_queue_leave(xf_queue *q, xf_call *c);

/* Frees memory if there is room for many more than `n` calls. */
void xf_queue_shrink(xf_queue *q, uint32_t n, const xf_alloc *alloc);

/* A number for the priority of a flow, by its entry in a heap. */
static inline uint64_t xf_queue_priority(const xf_heap_entry *flow)
{
    return flow->key >> XF_NUMBER_BITS;
}

/* The call that goes first, or NULL. Calls that are held do not go, nor those that give way. */
static inline xf_call *xf_queue_head(const xf_queue *q)
{
    const xf_heap_entry *top = xf_heap_top(&q->flows), *other = xf_heap_top(&q->used_up);
    if (other != NULL && xf_heap_comes_before(other, xf_heap_top(&q->held)) &&
        xf_heap_comes_before(other, top)) {
        top = other;
    }
    other = xf_heap_top(&q->fading);
    if (other != NULL && (xf_heap_comes_before(other, top) ||
                          (!q->renewed && xf_queue_priority(other) == xf_queue_priority(top)))) {
        top = other;
    }
    return top != NULL ? ((const xf_flow *)top->item)->calls.first : NULL;
}

/* The call that goes after `c`, which waits: the next one of its flow, or else of the flow without
   a group that is next by priority. NULL if there is none. Other flows of groups are not looked at.
   O(1), and O(p) at the end of a flow, with p the priorities used. */
const xf_call *xf_queue_next(const xf_queue *q, const xf_call *c);

/* The waiting call with the earliest deadline, or NULL if none has one. Stores that deadline in
   `at`. */
xf_call *xf_queue_first_deadline(const xf_queue *q, int64_t *at);

/* ---- groups ---- */

/* The group of a numbered call, or NULL. */
static inline xf_group *xf_queue_group(const xf_queue *q, const xf_call *c)
{
    return c->grouped ? q->known[c->flow]->group : NULL;
}

/* Opens a cold group, or a branch, see group.h. Returns NULL, and nothing is done, if there is no
 * memory. */
xf_group *xf_queue_open(xf_queue *q, int64_t ttl_ns, xf_group *trunk, const xf_alloc *alloc);

/* Forgets a group if it is over, and then its trunk, and so on. O(their flows). */
void xf_queue_forget(xf_queue *q, xf_group *g);

/* Notes that a call was admitted at `at`. It has left the queue, or never entered it. If it is of a
   group, begins a turn, and a hold if the group was cold, and ends the fading. That costs what
   xf_queue_regroup() does. */
void xf_queue_admitted(xf_queue *q, xf_call *c, int64_t at);

/* Puts the flows of a group and of the branches below it into the heaps in which they belong, when
   a hold or the fading has begun or ended. O(these flows and branches), and O(log f) for each. */
void xf_queue_regroup(xf_queue *q, xf_group *top);

/* Notes that the life of a group and of its trunks may have changed. O(these), and O(log f) for
   each. */
void xf_queue_relive(xf_queue *q, xf_group *g);

/* Says whether flows that have used their turn up give way to those that are held. O(flows), if
   that changes. */
void xf_queue_give_way(xf_queue *q, bool gives_way);

/* The first group that time alone changes, of those whose calls wait, or NULL. Stores that instant
   in `at`. */
xf_group *xf_queue_first_change(const xf_queue *q, int64_t *at);

#endif
