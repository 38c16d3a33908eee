/* The steps of what an exchange runs, and what follows from them: its answer is looked at, and
   mostly ends the call. */
#ifndef XF_BINDING_EXCHANGE_STEP_H
#define XF_BINDING_EXCHANGE_STEP_H

#include "binding/call/exchange_object.h"

/* Begins and ends a step. In between, code in Python finds the call that it belongs to. The first
   returns a token for the second; NULL if there is nothing to undo, or with an error set. */
PyObject *xf_exchange_enter(ExchangeObject *x);
void xf_exchange_leave(ExchangeObject *x, PyObject *token_steal_ref);

/* Makes a step, by a value or by the arguments of throw(). */
PySendResult xf_exchange_step(ExchangeObject *x, PyObject *value, PyObject **result);
PySendResult xf_exchange_throw_in(ExchangeObject *x, PyObject *const *args, Py_ssize_t nargs,
                                  PyObject **result);

/* Goes on after a step: looks at the answer that it has brought, and ends the call with it. */
PySendResult xf_exchange_follow(ExchangeObject *x, PySendResult status, PyObject **result);

#endif
