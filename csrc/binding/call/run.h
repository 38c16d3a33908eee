/* Running a call: the coroutine methods that its task uses. */
#ifndef XF_BINDING_RUN_H
#define XF_BINDING_RUN_H

#include "binding/call/call.h"

/* Slots, methods and attributes of Call: those of a coroutine. */
PySendResult xf_call_am_send(PyObject *self, PyObject *value, PyObject **result);
PyObject *xf_call_send(PyObject *self, PyObject *value);
PyObject *xf_call_iternext(PyObject *self);
PyObject *xf_call_throw(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *xf_call_close(PyObject *self, PyObject *unused);
PyObject *xf_call_get_inner(PyObject *self, void *name);
PyObject *xf_call_get_name(PyObject *self, void *name);
PyObject *xf_call_get_await(PyObject *self, void *name);

/* Ends a call whose coroutine was not started, and closes the coroutine. Does nothing to others. */
void xf_call_give_up(CallObject *c);

/* Ends a call that no task will run any further, because its loop is closed, or because it was an
   attempt of a call that has ended. */
void xf_call_abandon(CallObject *c);

#endif
