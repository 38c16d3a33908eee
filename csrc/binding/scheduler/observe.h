/* The readings and moves of a learner. Methods of Scheduler, whose docstrings describe them. */
#ifndef XF_BINDING_OBSERVE_H
#define XF_BINDING_OBSERVE_H

#include "binding/module.h"

/* The types of the records that _flight() and _gauge() return. */
extern PyStructSequence_Desc xf_flight_desc, xf_gauge_desc, xf_reading_desc;

/* Adds RISING_NS to the module, XF_RISING_NS of core/trail.h. -1 with an error set. */
int xf_add_observed(PyObject *module);

/* An instant in ns from seconds on the loop's clock, or from None `unsaid`. -1 with an error set.
 */
int64_t xf_instant(PyObject *seconds, const char *name, int64_t unsaid);

PyObject *xf_scheduler_retune(PyObject *self, PyObject *args);
PyObject *xf_scheduler_now(PyObject *self, PyObject *unused);
PyObject *xf_scheduler_track(PyObject *self, PyObject *unused);
PyObject *xf_scheduler_alarm_after(PyObject *self, PyObject *calls);
PyObject *xf_scheduler_told(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *xf_scheduler_withhold(PyObject *self, PyObject *args);
PyObject *xf_scheduler_ascertain(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *xf_scheduler_shut(PyObject *self, PyObject *args);
PyObject *xf_scheduler_pace(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *xf_scheduler_begin(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *xf_scheduler_flight(PyObject *self, PyObject *unused);
PyObject *xf_scheduler_ramp(PyObject *self, PyObject *slots);
PyObject *xf_scheduler_gauge(PyObject *self, PyObject *sent);

#endif
