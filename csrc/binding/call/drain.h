/* Waiting until the last call has ended. */
#ifndef XF_BINDING_DRAIN_H
#define XF_BINDING_DRAIN_H

#include "binding/call/owner.h"

/* A future that is done when no call waits or is in flight but those that wait so themselves; the
   method of a scheduler. */
PyObject *xf_scheduler_wait(PyObject *scheduler, PyObject *unused);

/* Whether some wait for the last call to end, and it may have. */
static inline bool xf_scheduler_may_be_drained(const SchedulerObject *s)
{
    return s->drains != NULL && s->core.live <= s->drains_inside;
}

/* Tells those who wait for the last call to end, if it has. */
void xf_scheduler_drained(SchedulerObject *s, PyObject *here);

#endif
