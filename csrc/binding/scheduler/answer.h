/* The native reader of answers: whether there is an error in one, its limits, and its usage.
   xtremeflow.answers is the reference. */
#ifndef XF_BINDING_ANSWER_H
#define XF_BINDING_ANSWER_H

#include "binding/module.h"
#include "net/observation.h"
#include "net/usage.h"

/* Whether a body (bytes, str, a decoded value or None) of an answer with a good status is known to
   tell of no error. */
bool xf_answer_is_fine(PyObject *body);

/* Writes the limits in a head, bytes or a dict of fields, to seen[XF_QUOTAS], and returns how many
   that are. -1 without an error set: it is for the reader in Python. */
int xf_answer_limits(PyObject *headers, xf_observation *seen);

/* Reads the usage in a body of bytes. False: there is none. */
bool xf_answer_usage(PyObject *body, xf_usage *usage);

#endif
