/* A member: a scheduler that shares its account with others. */
#ifndef XF_BINDING_MEMBER_H
#define XF_BINDING_MEMBER_H

#include "binding/call/owner.h"
#include "core/share.h"

typedef struct xf_member {
    /* The way to the others: an object with poke(seats), which wakes these members,
       sweep(scheduler, seats), which buries those of them that are dead, and close(). */
    PyObject *ways;
    Py_buffer memory;
    int poked;      /* readable when another process pokes this member, or -1; owned by `ways` */
    bool forgotten; /* it belongs to the process from which this one was forked */
    xf_share share;
} xf_member;

/* Must be called before a call of `s` waits on that port. 0, or -1 with an error set if it cannot.
 */
int xf_member_enter(SchedulerObject *s, PortObject *port);

/* Whether other members must be told of decisions. */
static inline bool xf_member_has_news(const SchedulerObject *s)
{
    const xf_pokes *pokes = &s->member->share.pokes;
    uint64_t any = 0;
    for (size_t i = 0; i < Py_ARRAY_LENGTH(pokes->bits); i++) {
        any |= pokes->bits[i];
    }
    return any != 0;
}

/* Pokes these members. Errors are reported. */
void xf_member_tell(SchedulerObject *s);

/* Looks for dead members that hold slots, after the head has waited in vain for some time. Errors
   are reported. */
void xf_member_sweep(SchedulerObject *s);

/* The seats of other members that have not left, as a tuple. With `holding`, only those that hold
   or wait for slots or quota. NULL with an error set. */
PyObject *xf_member_seats(SchedulerObject *s, bool holding);

/* Leaves the account, if `s` is in one. No call can be submitted any more. Keeps a set exception.
 */
void xf_member_leave(SchedulerObject *s);

/* The same in a process that was forked: the seat is its parent's. */
void xf_member_forget(SchedulerObject *s);

/* Frees the member, if there is one. */
void xf_member_free(SchedulerObject *s);

#endif
