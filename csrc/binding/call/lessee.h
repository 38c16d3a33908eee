/* A lessee: a scheduler that has a part of an account on a server. */
#ifndef XF_BINDING_LESSEE_H
#define XF_BINDING_LESSEE_H

#include "binding/call/owner.h"
#include "core/lease.h"

typedef struct xf_lessee {
    PyObject *holder; /* an object with ask(), which is told of news, and close() */
    bool told;        /* the holder knows that there are news */
    bool gone;        /* it has left the account, */
    bool forgotten;   /* or is a copy in a process that was forked */
    uint32_t slots;   /* those of the account; the gate has the lessee's */
    xf_lease lease;
} xf_lessee;

/* Must be called before a call of `s` waits. 0, or -1 with an error set if it cannot. */
int xf_lessee_enter(const SchedulerObject *s);

/* Whether the holder must be told of news. */
static inline bool xf_lessee_has_news(const SchedulerObject *s)
{
    return s->lessee != NULL && s->lessee->lease.news && !s->lessee->told;
}

/* Tells it. Errors are reported. */
void xf_lessee_tell(SchedulerObject *s);

/* Leaves the account, if `s` is in one. No call can be submitted any more. Keeps a set exception.
 */
void xf_lessee_leave(SchedulerObject *s);

/* Frees the lessee, if there is one. */
void xf_lessee_free(SchedulerObject *s);

#endif
