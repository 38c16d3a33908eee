/* The counters of a scheduler: methods and attributes of Scheduler. */
#ifndef XF_BINDING_STATS_H
#define XF_BINDING_STATS_H

#include "binding/module.h"

PyObject *xf_scheduler_active_tasks(PyObject *self, void *closure);
PyObject *xf_scheduler_waiting(PyObject *self, void *closure);
PyObject *xf_scheduler_total_completed(PyObject *self, void *closure);
PyObject *xf_scheduler_pending_tasks(PyObject *self, void *closure);
PyObject *xf_scheduler_snapshot(PyObject *self, PyObject *unused);

#endif
