/* Amounts from users: estimates and reports of tokens. */
#ifndef XF_BINDING_USAGE_H
#define XF_BINDING_USAGE_H

#include "binding/call/owner.h"

extern PyType_Spec xf_reported_spec;

/* Reads `amounts`, a number or a mapping, into out[], one number for each limit. Leaves out[i]
   alone where `amounts` says nothing of limit i. Errors call it `what`. Returns its tokens, or -1
   with an error set. */
int64_t xf_amounts(SchedulerObject *s, PyObject *amounts, const char *what, int64_t *out);

/* The one argument of a function, by position or by name. Borrowed, or NULL with an error set. */
PyObject *xf_only_argument(const char *function, PyObject *name, PyObject *const *args,
                           Py_ssize_t nargs, PyObject *kwnames);

/* Replaces what `c` holds of each limit by amounts[], and what it counts for by `tokens`. */
void xf_call_settle(CallObject *c, const int64_t *amounts, int64_t tokens);

/* The function report_token_usage() of the module. */
PyObject *xf_report_token_usage(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *kwnames);

#endif
