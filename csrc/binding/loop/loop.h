/* What is asked of asyncio's event loops. */
#ifndef XF_BINDING_LOOP_H
#define XF_BINDING_LOOP_H

#include "binding/module.h"

/* The running loop, new reference; NULL without an error: none. */
PyObject *xf_running_loop(xf_module *st);

/* A future of the running loop, new reference. NULL with an error set: none runs. */
PyObject *xf_new_future(xf_module *st);

/* Gives `future` the result None, if it has none yet, on its own loop; `here` is the running loop
   (borrowed) or NULL. -1 with an error set. */
int xf_resolve(xf_module *st, PyObject *future, PyObject *here);
PyObject *xf_resolve_now(PyObject *module, PyObject *future);

#endif
