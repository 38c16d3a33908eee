/* A scheduler that shares its account with others: what it is to them, and they to it. */
#ifndef XF_BINDING_MEMBER_H
#define XF_BINDING_MEMBER_H

#include "binding/call/owner.h"
#include "core/share.h"

typedef struct xf_member {
    /* Knows the way to the others: an object with poke(seats), which wakes these members,
       sweep(scheduler, seats), which buries those of them that are dead, and close(). */
    PyObject *ways;
    Py_buffer memory;
    int poked;      /* readable when another process pokes this member, or -1; owned by `ways` */
    bool forgotten; /* it is that of the process that this one was forked from */
    xf_share share;
} xf_member;

/* Before a call of `s` waits on that port. -1 with an error set: it cannot. */
int xf_member_enter(SchedulerObject *s, PortObject *port);

/* Whether others are to be told of what was decided. */
static inline bool xf_member_has_news(const SchedulerObject *s)
{
    const xf_pokes *pokes = &s->member->share.pokes;
    uint64_t any = 0;
    for (size_t i = 0; i < Py_ARRAY_LENGTH(pokes->bits); i++) {
        any |= pokes->bits[i];
    }
    return any != 0;
}

/* Tells them. Errors are reported. */
void xf_member_tell(SchedulerObject *s);

/* Nobody was due, though the head has waited for some time: perhaps somebody has died who holds a
   slot. Errors are reported. */
void xf_member_sweep(SchedulerObject *s);

/* The seats of other members that have not left, as a tuple; `holding`: those only that hold, or
   wait for, something. NULL with an error set. */
PyObject *xf_member_seats(SchedulerObject *s, bool holding);

/* Leaves the account, if it is in one; nothing can be submitted any more. Keeps a set exception. */
void xf_member_leave(SchedulerObject *s);

/* The same in a process that was forked: the seat is its parent's. */
void xf_member_forget(SchedulerObject *s);

/* Frees what there is of it. */
void xf_member_free(SchedulerObject *s);

#endif
