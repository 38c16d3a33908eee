/*
 * One call, as the queue and the gate know it. Its memory is the caller's.
 */
#ifndef XF_CALL_H
#define XF_CALL_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#define XF_NEVER INT64_MAX       /* an instant that does not come by itself */
#define XF_MIN_PRIORITY (-32768) /* priorities are 16 bits, */
#define XF_MAX_PRIORITY 32767    /* higher goes first */

typedef enum xf_state {
    XF_CALL_NEW,       /* not submitted yet */
    XF_CALL_WAITING,   /* in the queue */
    XF_CALL_ADMITTED,  /* holds a slot and its cost, not dispatched yet */
    XF_CALL_IN_FLIGHT, /* dispatched */
    XF_CALL_RESTING,   /* between two attempts, out of the queue; holds nothing */
    XF_CALL_EXPIRED,   /* its deadline came first; holds nothing */
    XF_CALL_DONE,      /* finished or cancelled; holds nothing */
} xf_state;

/* The caller zeroes it, fills in `held` and `priced` before xf_submit(), and keeps it until the
   call is done. All else is the core's. */
typedef struct xf_call {
    uint64_t number; /* its place in its flow */
    union {
        uint32_t deadline_place; /* waiting: its place in the heap of deadlines, 0 outside; */
        uint32_t saved;          /* admitted: tokens taken off its costs, see saving.h; */
        uint32_t crowd;          /* in flight: calls in flight at its dispatch, itself included */
    };
    uint32_t flow; /* index of its flow, see queue.h; of its group, until it is submitted */
    union {
        int64_t deadline;      /* of the first admission, or XF_NEVER; */
        int64_t dispatched_at; /* in flight: when it was dispatched */
    };
    struct xf_call *next, *previous; /* in its flow, in the outbox, among those in flight */
    uint32_t generation;             /* of the cooldown, at the last dispatch */
    uint16_t resets;                 /* the gate's `resets` at its admission, modulo 2**16 */
    uint8_t state;                   /* xf_state */
    bool priced : 1;                 /* its costs are known, those of 0 too */
    bool repeated : 1;               /* `held` is the next attempt's, not the last one's */
    bool refused : 1;                /* in flight: refused in the last cooldown */
    bool foreseen : 1; /* in flight: the level at the cooldown's end has paid for it */
    bool grouped : 1;  /* it belongs to a group, see group.h */
    bool led : 1;      /* it led its group when it was last admitted */
    int64_t held[];    /* per limit, in units: the cost, later the reported usage */
} xf_call;

/* Moves `c` to `state`. A debug build aborts if that may not follow the present state. */
static inline void xf_call_become(xf_call *c, xf_state state)
{
#ifndef NDEBUG
    static const uint8_t next[] = {
        [XF_CALL_NEW] = 1 << XF_CALL_WAITING | 1 << XF_CALL_ADMITTED,
        [XF_CALL_WAITING] = 1 << XF_CALL_ADMITTED | 1 << XF_CALL_EXPIRED | 1 << XF_CALL_DONE,
        [XF_CALL_ADMITTED] = 1 << XF_CALL_WAITING | 1 << XF_CALL_IN_FLIGHT | 1 << XF_CALL_DONE,
        [XF_CALL_IN_FLIGHT] = 1 << XF_CALL_RESTING | 1 << XF_CALL_DONE,
        [XF_CALL_RESTING] = 1 << XF_CALL_WAITING | 1 << XF_CALL_DONE,
        [XF_CALL_EXPIRED] = 1 << XF_CALL_DONE,
        [XF_CALL_DONE] = 0,
    };
    assert(next[c->state] >> state & 1);
#endif
    c->state = (uint8_t)state;
}

#endif
