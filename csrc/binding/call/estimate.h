/* Estimates of the usage of calls, and the typical usage from which they are computed. */
#ifndef XF_BINDING_ESTIMATE_H
#define XF_BINDING_ESTIMATE_H

#include "binding/module.h"
#include "core/charge.h"
#include "core/typical.h"

extern PyType_Spec xf_estimated_spec, xf_typical_spec;

#define XF_ESTIMATE_MOST (INT64_C(1) << 62) /* a larger number counts as this one */

/* A number of tokens, or of units of measure; errors call it `name`. -1 with an error set. */
int64_t xf_tokens_of(PyObject *value, const char *name);

/* Estimated: the expected usage of a call, in tokens, and what it reserves. It never changes.
   xtremeflow.learning.costs.estimates.Estimate is made of it. */
typedef struct EstimatedObject {
    PyObject_HEAD PyObject *model; /* a str */
    int64_t input, output, size;
    int64_t most; /* tokens that the answer may have; -1: not stated */
    int64_t amounts[XF_UNITS];
    unsigned int units; /* the bit of each unit that it reserves */
} EstimatedObject;

/* Typical: the learned usage of one model's calls. Without a GIL its own lock guards it. */
typedef struct TypicalObject {
    PyObject_HEAD xf_typical typical;
} TypicalObject;

/* Makes an estimate of `type`, a class derived from Estimated, by that rule and typical usage. It
   reserves `units`. NULL with an error set. */
PyObject *xf_estimate_new(PyTypeObject *type, PyObject *model, int64_t size, int64_t most,
                          const xf_rule *rule, TypicalObject *typical, uint32_t in_flight,
                          unsigned int units);

/* The unit of that name; -1: none. */
int xf_unit_of(PyObject *name);

/* Learns from the usage of a call with that estimate. */
void xf_typical_learn(TypicalObject *typical, const EstimatedObject *estimate, int64_t input,
                      int64_t output);

#endif
