/* Answers that tell nothing new. They are dealt with here, as the learner would deal with them. */
#ifndef XF_BINDING_FORETOLD_H
#define XF_BINDING_FORETOLD_H

#include "binding/call/owner.h"

/* Methods of Scheduler: see their documentation there. */
PyObject *xf_scheduler_unread(PyObject *self, PyObject *unused);
PyObject *xf_scheduler_foreseen(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *xf_scheduler_foresees(PyObject *self, PyObject *args);
PyObject *xf_scheduler_settled(PyObject *self, PyObject *const *args, Py_ssize_t nargs);

#endif
