/* Handing out what the core has decided. */
#ifndef XF_BINDING_DELIVER_H
#define XF_BINDING_DELIVER_H

#include "binding/loop/port.h"

/* The running loop, new reference; NULL without an error: none. */
PyObject *xf_running_loop(xf_module *st);

/* A future of the running loop, new reference. NULL with an error set: none runs. */
PyObject *xf_new_future(xf_module *st);

/* Has the port's loop call `callback(arg)` soon; arg and context may be NULL; `here` is the running
   loop (borrowed) or NULL. -1 with an error set: the loop is closed. */
int xf_port_call_soon(PortObject *port, PyObject *here, PyObject *callback, PyObject *arg,
                      PyObject *context);

/* What the timer calls; the method of a port. */
PyObject *xf_port_wake(PyObject *port, PyObject *unused);

/* Hands out what the core has decided: wakes calls, arms timers, tells who waits for the last
   call. To be called after every operation of the core; keeps a set exception. */
void xf_deliver(SchedulerObject *s);

/* Gives `future` the result None, if it has none yet, on its own loop; `here` is the running loop
   (borrowed) or NULL. -1 with an error set. */
int xf_resolve(xf_module *st, PyObject *future, PyObject *here);
PyObject *xf_resolve_now(PyObject *module, PyObject *future);

#endif
