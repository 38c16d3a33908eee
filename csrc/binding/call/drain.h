/* Drains: waiting until the last call has ended. */
#ifndef XF_BINDING_DRAIN_H
#define XF_BINDING_DRAIN_H

#include "binding/call/owner.h"

/* A method of Scheduler. Returns a future that is done when no call waits or is in flight, except
   those that wait for such a future themselves. */
PyObject *xf_scheduler_wait(PyObject *scheduler, PyObject *unused);

/* Whether tasks wait for the last call to end, and that may be so. */
static inline bool xf_scheduler_may_be_drained(const SchedulerObject *s)
{
    return s->drains != NULL && s->core.live <= s->drains_inside;
}

/* Wakes the tasks that wait for the last call to end, if it has. `here` is the running loop
   (borrowed) or NULL. */
void xf_scheduler_drained(SchedulerObject *s, PyObject *here);

#endif
