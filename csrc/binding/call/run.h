/* Running a call: what its task does with it. */
#ifndef XF_BINDING_RUN_H
#define XF_BINDING_RUN_H

#include "binding/call/call.h"

PySendResult xf_call_am_send(PyObject *self, PyObject *value, PyObject **result);
PyObject *xf_call_send(PyObject *self, PyObject *value);
PyObject *xf_call_iternext(PyObject *self);
PyObject *xf_call_throw(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *xf_call_close(PyObject *self, PyObject *unused);
PyObject *xf_call_get_inner(PyObject *self, void *name);
PyObject *xf_call_get_name(PyObject *self, void *name);
PyObject *xf_call_get_await(PyObject *self, void *name);

/* Ends a call whose coroutine was not started, and closes that. Else does nothing. */
void xf_call_give_up(CallObject *c);

/* Ends a call that nobody will run any further: its loop is closed, or it was an attempt of a call
   that has ended. */
void xf_call_abandon(CallObject *c);

#endif
