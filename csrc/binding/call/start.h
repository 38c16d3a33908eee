/* What start_task() and submit() are given, and make of it. */
#ifndef XF_BINDING_START_H
#define XF_BINDING_START_H

#include "binding/call/call.h"

extern PyType_Spec xf_start_spec;

/* What start_task() and submit() were given. */
typedef struct xf_submission {
    PyObject *coro;     /* borrowed */
    PyObject *estimate; /* borrowed, NULL: none */
    PyObject *name;     /* borrowed, NULL: none */
    int priority;
    int64_t timeout_ns; /* -1: none */
} xf_submission;

/* A priority; and seconds, or None, which leaves *timeout_ns alone. -1 with an error set. */
int xf_parse_priority(PyObject *value, int *priority);
int xf_parse_timeout(PyObject *value, int64_t *timeout_ns);

/* Reads the arguments of start_task() and submit(); `method` names it in errors. -1 with an error
   set, the coroutine closed. */
int xf_submission_parse(SchedulerObject *s, const char *method, PyObject *const *args,
                        Py_ssize_t nargs, PyObject *kwnames, xf_submission *r);

/* What start_task() returns: takes over `c`. */
PyObject *xf_start_new(CallObject *c, const xf_submission *r);

/* Creates the task that runs the submitted call `c`. NULL with an error set, the call ended and its
   coroutine closed. */
PyObject *xf_create_task(CallObject *c, PyObject *name);

#endif
