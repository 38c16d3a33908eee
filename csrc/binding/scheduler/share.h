/* The methods of Scheduler and of the module that xtremeflow/share/ calls. */
#ifndef XF_BINDING_SHARE_H
#define XF_BINDING_SHARE_H

#include "binding/module.h"

PyObject *xf_scheduler_join(PyObject *self, PyObject *args);
PyObject *xf_scheduler_leave(PyObject *self, PyObject *unused);
PyObject *xf_scheduler_forget(PyObject *self, PyObject *unused);
PyObject *xf_scheduler_bury(PyObject *self, PyObject *seat);
PyObject *xf_scheduler_poked(PyObject *self, PyObject *unused);
PyObject *xf_scheduler_seats(PyObject *self, PyObject *unused);
PyObject *xf_scheduler_learn(PyObject *self, PyObject *args);
PyObject *xf_scheduler_believed(PyObject *self, PyObject *known);
PyObject *xf_scheduler_standing(PyObject *self, PyObject *unused);
PyObject *xf_scheduler_lower(PyObject *self, PyObject *args);
PyObject *xf_scheduler_shared(PyObject *self, PyObject *unused);

/* How a share's memory is laid out, and what lies in it. */
PyObject *xf_share_layout(PyObject *module, PyObject *seat);
PyObject *xf_share_state(PyObject *module, PyObject *args);

#endif
