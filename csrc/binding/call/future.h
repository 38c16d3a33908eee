/* asyncio's future protocol, for the task that waits for the admission of a call. */
#ifndef XF_BINDING_FUTURE_H
#define XF_BINDING_FUTURE_H

#include "binding/call/call.h"

/* Wakes the task that waits for `c` after the core took it from the queue. `here` is the running
   loop (borrowed) or NULL. False if no task can be woken; then the caller must end the call. */
bool xf_call_wake(CallObject *c, PyObject *here);

/* Takes the callback of the task that waits for `c`, and the context to run it in, for the caller,
   who then owns both. NULL, and *context is not set, if no task waits. */
PyObject *xf_future_take_callback(CallObject *c, PyObject **context);

/* Wakes the task that waits for `c`, whatever its state. Keeps a set exception. */
void xf_future_settle(CallObject *c);

/* Methods and attributes of Call. */
PyObject *xf_future_add_done_callback(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                      PyObject *kwnames);
PyObject *xf_future_cancel(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *xf_future_result(PyObject *self, PyObject *unused);
PyObject *xf_future_get_loop(PyObject *self, PyObject *unused);
PyObject *xf_future_get_blocking(PyObject *self, void *closure);
int xf_future_set_blocking(PyObject *self, PyObject *value, void *closure);

#endif
