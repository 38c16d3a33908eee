/* Questions to asyncio's event loops. */
#ifndef XF_BINDING_LOOP_H
#define XF_BINDING_LOOP_H

#include "binding/module.h"

/* The running loop. A new reference, or NULL without an error if none runs. */
PyObject *xf_running_loop(xf_module *st);

/* Makes a future of the running loop. A new reference, or NULL with an error set if none runs. */
PyObject *xf_new_future(xf_module *st);

/* Sets the result None of `future`, if it has none yet, on its own loop. `here` is the running loop
   (borrowed) or NULL. 0, or -1 with an error set. */
int xf_resolve(xf_module *st, PyObject *future, PyObject *here);

/* The function of the module that xf_resolve() lets another loop call. */
PyObject *xf_resolve_now(PyObject *module, PyObject *future);

#endif
