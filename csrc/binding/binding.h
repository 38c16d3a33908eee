/*
 * The types of xtremeflow._core and who owns whom.
 *
 *   Scheduler --> Port (one per event loop) --> Call (while it waits or is in flight) --> Task
 *   Task --> Call (the coroutine it runs) --> Scheduler, and the coroutine that was given
 *   Start (what start_task() returns) --> Call
 *
 * The cycle through Call is there while the call is alive and is cut when it ends: a task that
 * waits or runs is kept alive by its scheduler, as asyncio itself holds tasks weakly.
 *
 * All of it runs under the GIL. Calls into Python may run anything, so state is moved before and
 * never after such a call, and the core is never in the middle of an operation then.
 */
#ifndef XF_BINDING_H
#define XF_BINDING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>
#include <stdint.h>

#include "binding/steps.h"
#include "core/scheduler.h"

/* A function of any calling convention as a PyMethodDef wants it. */
#define XF_FUNCTION(f) ((PyCFunction)(void (*)(void))(f))

typedef struct module_state {
    PyTypeObject *scheduler_type;
    PyTypeObject *port_type;
    PyTypeObject *call_type;
    PyTypeObject *start_type;
    PyTypeObject *reported_type;
    PyTypeObject *steps_type; /* see steps.h */

    PyObject *current_call;     /* the context variable */
    PyObject *reported;         /* what report_token_usage() returns: done, always */
    PyObject *get_running_loop; /* asyncio._get_running_loop: None where none runs */
    PyObject *cancelled_error;
    PyObject *timeout_error; /* asyncio's: not the built-in one before Python 3.11 */
    PyObject *task_type;     /* asyncio.Task */
    PyObject *base_time;     /* BaseEventLoop.time: loops that have another have their own clock */
    PyObject *base_create_task; /* BaseEventLoop.create_task */

    /* Interned names. */
    PyObject *s_call_soon, *s_call_soon_threadsafe, *s_create_task, *s_create_future, *s_name,
        *s_close, *s_throw, *s_add_reader, *s_remove_reader, *s_call_at, *s_cancel, *s_time,
        *s_is_closed, *s_done, *s_set_result, *s_get_loop, *s_tokens, *s_requests, *s_coro,
        *s_estimated_tokens, *s_priority, *s_timeout, *s_actual, *s_retry_after, *s_task_factory;
    PyObject *kw_context, *kw_name, *kw_loop,
        *kw_loop_name; /* tuples of these names, for vectorcalls */
    PyObject *resolve; /* see xf_resolve() */
} module_state;

/* What a limit's name says of its cost: every call counts 1; its tokens do; or only a mapping
 * tells. */
enum xf_kind { KIND_OTHER, KIND_REQUESTS, KIND_TOKENS };

typedef struct SchedulerObject SchedulerObject;
typedef struct CallObject CallObject;

/* An event loop, as one scheduler sees it: its clock, its timer, and the calls that run there. */
typedef struct PortObject {
    PyObject_HEAD module_state *st;
    SchedulerObject *scheduler; /* borrowed; NULL once the scheduler is gone */
    PyObject *loop;
    struct PortObject *next; /* in the scheduler's list, which owns it */
    CallObject *calls;       /* owned, doubly linked */
    PyObject *woken;         /* list of those whose tasks are about to be run, or NULL */
    PyObject *handle;        /* of loop.call_at(), where there is no timerfd */
    int64_t armed_at;        /* ns, or XF_NEVER */
    int64_t not_before;      /* the timer is not armed for an earlier instant, ns */
    int timerfd;             /* or -1 */
    bool own_clock;          /* loop.time() is not the system's monotonic clock */
    bool has_plain_tasks;    /* its create_task() is asyncio's own */
    bool no_reader;          /* the loop cannot watch a timerfd */
    bool prepared;           /* xf_port_prepare() has been called */
} PortObject;

struct SchedulerObject {
    PyObject_HEAD module_state *st;
    PyObject *module; /* owns `st`; types let go of it when they are garbage */
    PyObject *weakrefs;
    PyObject *names; /* tuple: the limits' names */
    PortObject *ports;
    PortObject *port;      /* borrowed: the one used last */
    PyObject *drains;      /* list of (future, call or None) that wait for the last call, or NULL */
    size_t drains_inside;  /* calls that wait so for the others, or a little more than that */
    Py_ssize_t recount_at; /* how many drains there are when they are next counted anew */
    int64_t tokens_used, tokens_refunded;
    bool ready;                 /* __init__ has run */
    bool delivering;            /* see xf_deliver() */
    bool has_tokens, has_other; /* limits by that name; by names other than it and requests */
    uint8_t *kinds;             /* per limit: what its name says, see xf_kind */
    uint32_t n_configured;      /* limits; those behind them are places for limits yet unknown */
    CallObject *free_calls;     /* linked by `next` */
    int n_free_calls;
    xf_scheduler core;
};

/* How far a call is with its coroutine. */
typedef enum call_phase { CALL_PENDING, CALL_RUNNING, CALL_OVER } call_phase;

/* One call: what it costs and holds; the coroutine that its task runs; and the future that a task
   waits for while the call is not admitted. */
struct CallObject {
    PyObject_VAR_HEAD SchedulerObject *scheduler;
    PyObject *coro; /* as given; kept to the end, as tasks show its name */
    union {
        PyObject *steps; /* what is sent to: the coroutine, or the iterator of another awaitable */
        PyObject *message; /* cancelled before it ran: with this, or None */
    };
    PortObject *port;   /* NULL until submitted */
    PyObject *estimate; /* estimated_tokens as given */
    PyObject *callback; /* the waiting task's wake-up, */
    union {
        PyObject *context; /* and the context to run it in; */
        PyObject *verdict; /* in flight: what the last answer to this attempt means, or NULL */
    };
    PyObject *task;    /* the task that runs it, while it is alive */
    PyObject *retries; /* list of futures of attempts that wait to be repeated, or NULL */
    CallObject *next, **previous; /* in port->calls */
    int64_t tokens;               /* what it counts for in the scheduler's tokens_used */
    int16_t priority;
    uint8_t phase;     /* call_phase */
    bool blocking;     /* asyncio's protocol: just yielded to a task */
    bool is_executing; /* a step of its coroutine */
    bool is_cancelled;
    bool is_draining;     /* waits for the other calls of its scheduler to end */
    bool is_over : 1;     /* ended, but for a child task's attempt that waits to be repeated; */
    uint8_t outcome : 2;  /* then, how: an xf_outcome */
    bool child_waits : 1; /* it is, or was, a child task whose attempt is to be repeated */
    xf_call core;         /* the last: has one number per limit */
};

/* ---- module.c ---- */

/* The state of `module` (borrowed) if it is this one, else NULL; clears an exception. */
module_state *xf_module_state(PyObject *module);

/* ---- port.c ---- */

extern PyType_Spec xf_port_spec;

/* The port of the running loop, made if need be; borrowed. NULL: no loop runs, or no memory. */
PortObject *xf_port_running(SchedulerObject *s);

bool xf_port_is_closed(const PortObject *port);

/* Ends the calls of loops that were closed without their tasks having been cancelled, so that
   their slots are not lost, and lets go of these loops. */
void xf_port_purge_closed(SchedulerObject *s);

/* The same, if several loops use `s`. */
void xf_port_purge_others(SchedulerObject *s);

/* Lets go of all ports of `s`, which is going away. */
void xf_port_detach_all(SchedulerObject *s);

/* ---- timer.c ---- */

/* Whether the loop's time is something else than the system's monotonic clock: a virtual clock. -1
   with an error set. */
int xf_has_own_clock(module_state *st, PyObject *loop);

/* Now, on the clock of `port` (NULL: of the loop used last, else of the running one, else the
   system's), in ns. */
int64_t xf_port_now(SchedulerObject *s, const PortObject *port);

/* The same for an operation that only gives something back. While nobody waits, and no cooldown
   may be over by now, nothing depends on when exactly that is, and the time of the last operation
   will do: it saves reading the clock. */
static inline int64_t xf_port_about_now(SchedulerObject *s, const PortObject *port)
{
    bool is_waited_for = s->core.queue.size > 0 || s->core.now < s->core.gate.cooldown.until;
    return is_waited_for ? xf_port_now(s, port) : s->core.now;
}

/* Sees to it that the port's timer can be armed. To be called on its own loop. -1 with an error. */
int xf_port_prepare(PortObject *port);

/* Makes sure that the port wakes for what is due at `at`; `here` is the running loop (borrowed) or
   NULL. -1 with an error set. */
int xf_timer_arm(PortObject *port, PyObject *here, int64_t at);

/* Whether it does already. */
bool xf_timer_is_armed(const PortObject *port, int64_t at);

/* The timer has fired: returns the instant, which is not before the one it was armed for. */
int64_t xf_timer_fired(PortObject *port);

/* Quiets a timer that has fired, if it was not armed again. */
void xf_timer_rest(PortObject *port);

/* Gives the timer back; on the loop's own thread, or when the loop is closed. */
void xf_timer_close(PortObject *port);

/* The same for a port that is about to be freed, whose loop may be gone: runs no Python. */
void xf_timer_drop(PortObject *port);

/* ---- deliver.c ---- */

/* The running loop, new reference; NULL without an error: none. */
PyObject *xf_running_loop(module_state *st);

/* A future of the running loop, new reference. NULL with an error set: none runs. */
PyObject *xf_new_future(module_state *st);

/* Has the port's loop call `callback(arg)` soon; arg and context may be NULL; `here` as above. -1
   with an error set: the loop is closed. */
int xf_port_call_soon(PortObject *port, PyObject *here, PyObject *callback, PyObject *arg,
                      PyObject *context);

/* What the timer calls; the method of a port. */
PyObject *xf_port_wake(PyObject *port, PyObject *unused);

/* Hands out what the core has decided: wakes calls, arms timers, tells who waits for the last
   call. To be called after every operation of the core; keeps a set exception. */
void xf_deliver(SchedulerObject *s);

/* Wakes whoever waits for `c` after the core took it from the queue; `here` is the running loop
   (borrowed) or NULL. False: nobody can be woken, and the call is to be ended. */
bool xf_call_wake(CallObject *c, PyObject *here);

/* Gives `future` the result None, if it has none yet, on its own loop; `here` as above. -1 with an
   error set. */
int xf_resolve(module_state *st, PyObject *future, PyObject *here);
PyObject *xf_resolve_now(PyObject *module, PyObject *future);

/* ---- call.c ---- */

extern PyType_Spec xf_call_spec;

/* A new call of `coro` with its cost from `estimate` (borrowed; NULL is 0). NULL with an error set,
   the coroutine closed. */
CallObject *xf_call_new(SchedulerObject *s, PyObject *coro, PyObject *estimate, int priority);

/* The call in whose context this is, if it is one of `s` that is in flight: new reference; NULL
   without an error: none. */
CallObject *xf_call_in_flight(SchedulerObject *s);

/* Gives back the memory that was kept for calls of `s`. */
void xf_call_free_all(SchedulerObject *s);

/* Submits `c` on the running loop; `timeout_ns` < 0 is none. -1 with an error set. */
int xf_call_submit(CallObject *c, int64_t timeout_ns);

/* An admitted call is about to run. False: a cooldown has sent it back to the queue. */
bool xf_call_dispatch(CallObject *c);

/* Ends `c` in whatever state it is; what comes free goes to the next. Keeps a set exception. */
void xf_call_end(CallObject *c, xf_outcome outcome);

/* The attempt is over, and what its answer means with it. */
void xf_call_drop_verdict(CallObject *c);

/* What `c` costs by its estimate: of each limit in cost[], and in tokens. -1 with an error set. */
int64_t xf_call_cost(CallObject *c, int64_t *cost);

/* "waiting", "in flight", ... */
const char *xf_call_state(const CallObject *c);

/* Takes `c` out of its port's list, and the port's reference away. */
void xf_call_unlink(CallObject *c);

/* The call whose context this is, new reference; NULL without an error: none. */
CallObject *xf_call_current(module_state *st);

static inline CallObject *xf_call_of(xf_call *core)
{
    return (CallObject *)((char *)core - offsetof(CallObject, core));
}

/* ---- retry.c ---- */

PyObject *xf_call_rate_limited(PyObject *self, PyObject *args);
PyObject *xf_call_failed(PyObject *self, PyObject *args);
PyObject *xf_call_retry(PyObject *self, PyObject *unused);
PyObject *xf_call_resume(PyObject *self, PyObject *unused);

/* xf_call_wake() for a call that waited to be repeated. */
bool xf_call_repeat(CallObject *c, PyObject *here);

/* Whether attempts of `c` wait to be repeated for somebody. */
bool xf_call_has_retries(const CallObject *c);

/* ---- usage.c ---- */

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

/* ---- run.c ---- */

PySendResult xf_call_am_send(PyObject *self, PyObject *value, PyObject **result);
PyObject *xf_call_send(PyObject *self, PyObject *value);
PyObject *xf_call_iternext(PyObject *self);
PyObject *xf_call_throw(PyObject *self, PyObject *const *args, Py_ssize_t nargs);
PyObject *xf_call_close(PyObject *self, PyObject *unused);
PyObject *xf_call_get_inner(PyObject *self, void *name);
PyObject *xf_call_get_name(PyObject *self, void *name);
PyObject *xf_call_get_await(PyObject *self, void *name);

/* Ends a call whose coroutine was not started, and closes that. Else does nothing. */
void xf_call_give_up(CallObject *c);

/* Ends a call that nobody will run any further: its loop is closed, or it was an attempt of a call
   that has ended. */
void xf_call_abandon(CallObject *c);

/* ---- coroutine.c, start.c ---- */

extern PyType_Spec xf_start_spec;

/* What start_task() and submit() were given. */
typedef struct xf_request {
    PyObject *coro;     /* borrowed */
    PyObject *estimate; /* borrowed, NULL: none */
    PyObject *name;     /* borrowed, NULL: none */
    int priority;
    int64_t timeout_ns; /* -1: none */
} xf_request;

/* Reads the arguments of start_task() and submit(); `method` names it in errors. -1 with an error
   set, the coroutine closed. */
int xf_request_parse(SchedulerObject *s, const char *method, PyObject *const *args,
                     Py_ssize_t nargs, PyObject *kwnames, xf_request *r);

/* What start_task() returns: takes over `c`. */
PyObject *xf_start_new(CallObject *c, const xf_request *r);

/* Creates the task that runs the submitted call `c`. NULL with an error set, the call ended and its
   coroutine closed. */
PyObject *xf_create_task(CallObject *c, PyObject *name);

/* Closes a coroutine that will not be run (any more); an error in doing so is reported as
   unraisable. Keeps a set exception. */
void xf_close_coro(PyObject *coro);

/* Sets the error of a call whose timeout ran out. */
void xf_set_timeout(const CallObject *c);

/* Sets the exception that throw(type[, value[, traceback]]) was given. */
void xf_set_thrown(PyObject *const *args, Py_ssize_t nargs);

/* The result of send(): what was yielded, or NULL with StopIteration or the error set. */
PyObject *xf_send_result(PySendResult status, PyObject *result_steal_ref);

/* The method __await__ of what is awaited: see steps.h. */
PyObject *xf_await_method(PyObject *self, PyTypeObject *cls, PyObject *const *args,
                          Py_ssize_t nargs, PyObject *kwnames);

/* Sets the error of a coroutine that has ended, and returns NULL. */
PyObject *xf_already_awaited(void);

/* ---- learn.c: what the learner sees and moves ---- */

PyObject *xf_scheduler_retune(PyObject *self, PyObject *args);
PyObject *xf_scheduler_now(PyObject *self, PyObject *unused);
PyObject *xf_scheduler_track(PyObject *self, PyObject *unused);
PyObject *xf_scheduler_told(PyObject *self, PyObject *args);
PyObject *xf_scheduler_withhold(PyObject *self, PyObject *args);
PyObject *xf_scheduler_ascertain(PyObject *self, PyObject *args);
PyObject *xf_scheduler_shut(PyObject *self, PyObject *args);
PyObject *xf_scheduler_begin(PyObject *self, PyObject *args);
PyObject *xf_scheduler_flight(PyObject *self, PyObject *unused);
PyObject *xf_scheduler_ramp(PyObject *self, PyObject *slots);
PyObject *xf_scheduler_gauge(PyObject *self, PyObject *sent);

/* ---- scheduler.c ---- */

extern PyType_Spec xf_scheduler_spec;

/* Reads (name, amount, per, capacity); `name` is borrowed from it. -1 with an error set. */
int xf_parse_limit(PyObject *item, PyObject **name, xf_definition *limit);

/* -1 with an error set when __init__ has not run. */
int xf_scheduler_check(SchedulerObject *s);

/* ---- drain.c ---- */

/* A future that is done when no call waits or is in flight but those that wait so themselves; the
   method of a scheduler. */
PyObject *xf_scheduler_wait(PyObject *scheduler, PyObject *unused);

/* Whether some wait for the last call to end, and it may have. */
static inline bool xf_scheduler_may_be_drained(const SchedulerObject *s)
{
    return s->drains != NULL && s->core.live <= s->drains_inside;
}

/* Tells those who wait for the last call to end, if it has. */
void xf_scheduler_drained(SchedulerObject *s, PyObject *here);

#endif
