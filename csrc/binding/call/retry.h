/* Calls that the provider refused, or failed to answer. */
#ifndef XF_BINDING_RETRY_H
#define XF_BINDING_RETRY_H

#include "binding/call/call.h"

/* Methods of Call, whose docstrings describe them. */
PyObject *xf_call_rate_limited(PyObject *self, PyObject *args);
PyObject *xf_call_failed(PyObject *self, PyObject *args);
PyObject *xf_call_rest(PyObject *self, PyObject *unused);
PyObject *xf_call_retry(PyObject *self, PyObject *unused);
PyObject *xf_call_resume(PyObject *self, PyObject *unused);

/* Does the work of xf_call_wake() for a call that waited for another attempt. */
bool xf_call_repeat(CallObject *c, PyObject *here);

/* Whether attempts of `c` wait to be repeated, and a task awaits one of them. */
bool xf_call_has_retries(const CallObject *c);

#endif
