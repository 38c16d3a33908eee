/* The size of the text in a prompt, before it is tokens. */
#ifndef XF_BINDING_MEASURE_H
#define XF_BINDING_MEASURE_H

#include "binding/module.h"

/* Function of the module, see its documentation there: prompt_size(body, measure). */
PyObject *xf_prompt_size(PyObject *module, PyObject *const *args, Py_ssize_t nargs);

#endif
