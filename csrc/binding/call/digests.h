/* The digests of a prompt, by which calls that begin alike are found. */
#ifndef XF_BINDING_DIGESTS_H
#define XF_BINDING_DIGESTS_H

#include "binding/module.h"

/* Function of the module, see its documentation there: rolling_digests(settings, text, chunk). */
PyObject *xf_rolling_digests(PyObject *module, PyObject *const *args, Py_ssize_t nargs);

#endif
