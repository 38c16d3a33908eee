/* The methods and attributes of Scheduler by which users submit calls, report a refusal and set
   the slots. Their docstrings describe them. */
#ifndef XF_BINDING_USE_H
#define XF_BINDING_USE_H

#include <Python.h>

PyObject *xf_scheduler_start_task(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                  PyObject *kwnames);
PyObject *xf_scheduler_submit(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                              PyObject *kwnames);
PyObject *xf_scheduler_notify(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                              PyObject *kwnames);
PyObject *xf_scheduler_get_slots(PyObject *self, void *closure);
int xf_scheduler_set_slots(PyObject *self, PyObject *value, void *closure);

#endif
