/* A call that stays open: the coroutine that it ran is over, and it holds its slot until its user
   ends it. A stream's call does, while its answer is read. */
#ifndef XF_BINDING_OPEN_H
#define XF_BINDING_OPEN_H

#include "binding/module.h"

/* Leaves `c` open, which a task has run so far. It has no task from now on. */
void xf_call_leave_open(CallObject *c);

/* Methods of Scheduler, see their documentation there: _end(call) and _end_all(). */
PyObject *xf_scheduler_end(PyObject *scheduler, PyObject *call);
PyObject *xf_scheduler_end_all(PyObject *scheduler, PyObject *unused);

#endif
