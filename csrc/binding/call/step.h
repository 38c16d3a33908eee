/* A step of a call's coroutine: code in it, and the tasks and threads that it starts, belong to the
   call. */
#ifndef XF_BINDING_STEP_H
#define XF_BINDING_STEP_H

#include "binding/call/call.h"

/* Begins a step of `c`: makes it the current call in the context in which this runs. Returns a
   token for the end of the step, or NULL with an error set. */
PyObject *xf_step_begin(CallObject *c);

/* Ends that step. Between two steps the context does not name the call. So calls in flight give the
   garbage collector fewer objects: no token, and no map where the context has no other variable.
   Keeps a set exception. */
void xf_step_end(CallObject *c, PyObject *token_steal_ref);

#endif
