/* The common part of the coroutine types, Start and Call. */
#ifndef XF_BINDING_AWAIT_H
#define XF_BINDING_AWAIT_H

#include "binding/module.h"
#include "binding/steps.h"

/* Converts the result of a step to that of send(): the yielded value, or NULL with StopIteration or
   the error set. */
PyObject *xf_send_result(PySendResult status, PyObject *result_steal_ref);

/* Sets the exception in the arguments of throw(type[, value[, traceback]]). */
void xf_set_thrown(PyObject *const *args, Py_ssize_t nargs);

/* Sets the error of a coroutine that has ended, and returns NULL. */
PyObject *xf_already_awaited(void);

/* The method __await__ of awaitables: see steps.h. */
PyObject *xf_await_method(PyObject *self, PyTypeObject *cls, PyObject *const *args,
                          Py_ssize_t nargs, PyObject *kwnames);

/* Closes a coroutine that will not run any further. Reports an error in that as unraisable. Keeps a
   set exception. */
void xf_close_coro(PyObject *coro);

#endif
