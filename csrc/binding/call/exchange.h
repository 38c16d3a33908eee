/* A request to the provider that is a call of its own, and is run by the task that awaits it. */
#ifndef XF_BINDING_EXCHANGE_H
#define XF_BINDING_EXCHANGE_H

#include "binding/module.h"

extern PyType_Spec xf_exchange_spec;

/* Methods of Scheduler, see their documentation there:
   _exchange(coro, terms, answered, request), and _open(coro, terms). */
PyObject *xf_scheduler_exchange(PyObject *scheduler, PyObject *const *args, Py_ssize_t nargs);
PyObject *xf_scheduler_open(PyObject *scheduler, PyObject *const *args, Py_ssize_t nargs);

#endif
