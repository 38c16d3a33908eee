/* Amounts that users give: estimates and reports of tokens. */
#ifndef XF_BINDING_USAGE_H
#define XF_BINDING_USAGE_H

#include "binding/call/owner.h"

extern PyType_Spec xf_reported_spec;

/* Reads what `amounts` (a number or a mapping; errors call it `what`) means for each limit into
   out[], where it says something about it, else leaves out[i] alone; returns what it means in
   tokens. -1 with an error set. */
int64_t xf_amounts(SchedulerObject *s, PyObject *amounts, const char *what, int64_t *out);

/* The one argument of a function that takes it by position or by name; borrowed. NULL with an
   error set. */
PyObject *xf_only_argument(const char *function, PyObject *name, PyObject *const *args,
                           Py_ssize_t nargs, PyObject *kwnames);

PyObject *xf_report_token_usage(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *kwnames);

#endif
