/* A call, and the future that a task waits for while it is not admitted. */
#ifndef XF_BINDING_CALL_H
#define XF_BINDING_CALL_H

#include "binding/loop/port.h"
#include "core/scheduler.h"

/* How far a call is with its coroutine; its core.state says how far with its admission. */
typedef enum xf_stage {
    XF_STAGE_PENDING,  /* it has not been started */
    XF_STAGE_STEPPING, /* a step of it runs */
    XF_STAGE_PAUSED,   /* it waits between two steps */
    XF_STAGE_LEFT,     /* it has ended, but a child task of it waits to repeat an attempt */
    XF_STAGE_ENDED,    /* it has ended, or will not be started */
} xf_stage;

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
    uint8_t stage; /* xf_stage, moved by xf_call_move() only */
    bool blocking; /* asyncio's protocol: just yielded to a task */
    bool is_cancelled;
    bool is_draining;     /* waits for the other calls of its scheduler to end */
    uint8_t outcome : 2;  /* in XF_STAGE_LEFT: how it has ended, an xf_outcome */
    bool child_waits : 1; /* it is, or was, a child task whose attempt is to be repeated */
    xf_call core;         /* the last: has one number per limit */
};

extern PyType_Spec xf_call_spec;

/* Moves `c` to that stage; a debug build aborts where no call may go there. */
void xf_call_move(CallObject *c, xf_stage stage);

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
CallObject *xf_call_current(xf_module *st);

/* The scheduler of a call, whose lock guards it. */
static inline SchedulerObject *xf_scheduler_of(PyObject *call)
{
    return ((CallObject *)call)->scheduler;
}

static inline CallObject *xf_call_of(xf_call *core)
{
    return (CallObject *)((char *)core - offsetof(CallObject, core));
}

/* Sets the error of a call whose timeout ran out. */
void xf_set_timeout(const CallObject *c);

#endif
