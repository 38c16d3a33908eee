/* The methods of Scheduler for the holder of a lease (xtremeflow/share/holder.py). */
#ifndef XF_BINDING_LEASE_H
#define XF_BINDING_LEASE_H

#include "binding/module.h"

PyObject *xf_scheduler_lease(PyObject *self, PyObject *holder);
PyObject *xf_scheduler_lease_look(PyObject *self, PyObject *unused);
PyObject *xf_scheduler_lease_ahead(PyObject *self, PyObject *enough);
PyObject *xf_scheduler_lease_asks(PyObject *self, PyObject *args);
PyObject *xf_scheduler_lease_grant(PyObject *self, PyObject *args);
PyObject *xf_scheduler_lease_return(PyObject *self, PyObject *unused);
PyObject *xf_scheduler_lease_void(PyObject *self, PyObject *unused);
PyObject *xf_scheduler_lease_slots(PyObject *self, PyObject *args);
PyObject *xf_scheduler_lease_pause(PyObject *self, PyObject *args);
PyObject *xf_scheduler_lease_outage(PyObject *self, PyObject *args);
PyObject *xf_scheduler_lease_end(PyObject *self, PyObject *forgotten);

#endif
