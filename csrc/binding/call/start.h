/* start_task() and submit(): their arguments, and the task. */
#ifndef XF_BINDING_START_H
#define XF_BINDING_START_H

#include "binding/call/call.h"
#include "binding/call/prefix.h"

extern PyType_Spec xf_start_spec;

/* The arguments of start_task() and submit(). */
typedef struct xf_submission {
    PyObject *coro;     /* borrowed */
    PyObject *estimate; /* borrowed, NULL: none */
    PyObject *name;     /* borrowed, NULL: none */
    xf_named_prefix prefix;
    int priority;
    int64_t timeout_ns; /* -1: none */
} xf_submission;

/* Reads a priority; reads a timeout, or the life of a prefix, in seconds, or None, which leaves the
   time alone. 0, or -1 with an error set. */
int xf_parse_priority(PyObject *value, int *priority);
int xf_parse_timeout(PyObject *value, int64_t *timeout_ns);
int xf_parse_life(PyObject *value, int64_t *life_ns);

/* Reads the arguments of start_task() or submit(). Errors call it `method`. 0, or -1 with an error
   set and the coroutine closed. */
int xf_submission_parse(SchedulerObject *s, const char *method, PyObject *const *args,
                        Py_ssize_t nargs, PyObject *kwnames, xf_submission *r);

/* Makes the awaitable that start_task() returns. Takes over `c`. */
PyObject *xf_start_new(CallObject *c, const xf_submission *r);

/* Creates the task that runs the submitted call `c`. On failure ends the call, closes its coroutine
   and returns NULL with an error set. */
PyObject *xf_create_task(CallObject *c, PyObject *name);

#endif
