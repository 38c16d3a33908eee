/* The tariff of each model's calls: the rule by which the provider charges them, and their typical
   usage. xtremeflow.learning.costs.costs learns both, and hands them over when they change. */
#ifndef XF_BINDING_TARIFF_H
#define XF_BINDING_TARIFF_H

#include "binding/call/estimate.h"
#include "binding/call/owner.h"

typedef struct xf_tariff {
    xf_rule rule;
    int in_doubt;           /* older calls may still turn out to have cost less */
    TypicalObject *typical; /* owned */
} xf_tariff;

/* The tariff of a model, valid until it is replaced; NULL: none is known. */
const xf_tariff *xf_tariff_of(SchedulerObject *s, PyObject *model);

/* Methods of Scheduler: see their documentation there. */
PyObject *xf_scheduler_charged_as(PyObject *self, PyObject *args);
PyObject *xf_scheduler_estimate(PyObject *self, PyObject *const *args, Py_ssize_t nargs);

#endif
