/*
 * The types of xtremeflow._core and their ownership.
 *
 *   Scheduler --> Port (one per event loop), and Call (while it waits or is in flight) --> Task
 *   Task --> Call (the coroutine it runs) --> Scheduler, and the coroutine that was given
 *   Start (what start_task() returns) --> Call
 *
 * The cycle through Call exists while the call lives, and is cut when it ends. The scheduler keeps
 * a waiting or running task alive, because asyncio itself holds tasks weakly.
 *
 * All of it runs under the GIL, or under the scheduler's lock: see lock.h. Calls into Python may
 * run any code. So state is changed before such a call and never after it, and the core is never in
 * the middle of an operation then.
 */
#ifndef XF_BINDING_MODULE_H
#define XF_BINDING_MODULE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

#include "binding/lock.h"

/* Casts a function of any calling convention to the type of PyMethodDef. */
#define XF_FUNCTION(f) ((PyCFunction)(void (*)(void))(f))

/* Opaque here: only their own layers, and those above, know their fields. */
typedef struct PortObject PortObject;
typedef struct CallObject CallObject;
typedef struct SchedulerObject SchedulerObject;
typedef struct xf_member xf_member;

typedef struct xf_module {
    PyTypeObject *scheduler_type;
    PyTypeObject *port_type;
    PyTypeObject *call_type;
    PyTypeObject *start_type;
    PyTypeObject *exchange_type;
    PyTypeObject *reported_type;
    PyTypeObject *estimated_type, *typical_type;           /* see estimate.h */
    PyTypeObject *steps_type;                              /* see steps.h */
    PyTypeObject *flight_type, *gauge_type, *reading_type; /* see observe.h */
    PyTypeObject *unread_type, *spent_type;                /* unread.h */
    PyTypeObject *branch_type;                             /* see prefix.h */

    PyObject *current_call;     /* the context variable */
    PyObject *reported;         /* the awaitable of report_token_usage(): always done */
    PyObject *get_running_loop; /* asyncio._get_running_loop: returns None if none runs */
    PyObject *current_task;     /* asyncio.current_task */
    PyObject *cancelled_error;
    PyObject *timeout_error;    /* asyncio's: not the built-in one before Python 3.11 */
    PyObject *task_type;        /* asyncio.Task */
    PyObject *base_time;        /* BaseEventLoop.time: a loop with another has its own clock */
    PyObject *base_create_task; /* BaseEventLoop.create_task */

    /* Interned names. */
    PyObject *s_call_soon, *s_call_soon_threadsafe, *s_create_task, *s_create_future, *s_name,
        *s_close, *s_throw, *s_add_reader, *s_remove_reader, *s_call_at, *s_cancel, *s_time,
        *s_is_closed, *s_done, *s_unshown, *s_set_result, *s_get_loop, *s_tokens, *s_requests,
        *s_coro, *s_estimated_tokens, *s_priority, *s_timeout, *s_actual, *s_retry_after,
        *s_task_factory, *s_prefix, *s_prefix_tokens, *s_prefix_life;
    PyObject *kw_context, *kw_name, *kw_loop,
        *kw_loop_name; /* tuples of these names, for vectorcalls */
    PyObject *resolve; /* see xf_resolve() */
} xf_module;

/* The state of `module` (borrowed) if that is this module, else NULL. Clears an exception. */
xf_module *xf_module_state(PyObject *module);

#endif
