/* A call, and the future that a task awaits until the call is admitted. */
#ifndef XF_BINDING_CALL_H
#define XF_BINDING_CALL_H

#include "binding/loop/port.h"
#include "core/scheduler.h"

/* The stage of a call's coroutine. (core.state is the state of its admission.) */
typedef enum xf_stage {
    XF_STAGE_PENDING,  /* not started */
    XF_STAGE_STEPPING, /* a step of it runs */
    XF_STAGE_PAUSED,   /* it waits between two steps */
    XF_STAGE_LEFT,     /* ended, but a child task of it waits to repeat an attempt */
    XF_STAGE_ENDED,    /* ended, or never to be started */
} xf_stage;

/* One call: its cost and state in the core, the coroutine that its task runs, and the future that a
   task awaits until the call is admitted. */
struct CallObject {
    PyObject_VAR_HEAD SchedulerObject *scheduler;
    PyObject *coro; /* as given; kept to the end, because tasks show its name */
    union {
        PyObject *steps; /* takes the steps: the coroutine, or the iterator of another awaitable */
        PyObject *message; /* cancelled before it ran: the message, or None */
    };
    PortObject *port;   /* NULL until submitted */
    PyObject *estimate; /* estimated_tokens as given */
    union {
        struct {                /* until it is started: */
            PyObject *callback; /* the waiting task's wake-up, or NULL */
            PyObject *context;  /* the context to run the callback in */
        };
        PyObject *verdict; /* from then on, in flight: on this attempt's last answer, or NULL */
    };
    PyObject *task;    /* the task that runs it, while it is alive */
    PyObject *retries; /* list of futures of attempts that wait to be repeated, or NULL */
    CallObject *next, **previous; /* in port->calls */
    int64_t tokens;               /* its share of the scheduler's tokens_used */
    int16_t priority;
    uint8_t stage; /* xf_stage, moved by xf_call_move() only */
    bool blocking; /* asyncio's protocol: just yielded to a task */
    bool is_cancelled;
    bool is_draining;     /* waits for the other calls of its scheduler to end */
    uint8_t outcome : 2;  /* in XF_STAGE_LEFT: its xf_outcome */
    bool child_waits : 1; /* a child task's attempt is, or was, to be repeated */
    bool has_begun : 1;   /* the leader of a group: its answer has */
    bool is_open : 1;     /* its coroutine is over, and its user ends it: see open.h */
    bool is_timed : 1;    /* the time until its answer began is counted */
    bool is_started : 1;  /* see xf_call_start() */
    xf_call core;         /* the last field: it has one number per limit */
};

/* Moves `c` to `stage`. A debug build aborts if that may not follow the present stage. */
void xf_call_move(CallObject *c, xf_stage stage);

/* Makes a call of `coro` with its cost from `estimate` (borrowed; NULL is 0). On failure closes the
   coroutine and returns NULL with an error set. */
CallObject *xf_call_new(SchedulerObject *s, PyObject *coro, PyObject *estimate, int priority);

/* The call to which the running code belongs, if it is a call of `s` in flight. A new reference, or
   NULL without an error. */
CallObject *xf_call_in_flight(SchedulerObject *s);

/* The slots of its type by which it ends: of the garbage collector, and of the last reference. */
int xf_call_traverse(PyObject *self, visitproc visit, void *arg);
int xf_call_clear(PyObject *self);
void xf_call_dealloc(PyObject *self);

/* Frees the memory that was kept for calls of `s`. */
void xf_call_free_all(SchedulerObject *s);

/* Submits `c` on the running loop. A `timeout_ns` < 0 is no timeout. 0, or -1 with an error set. */
int xf_call_submit(CallObject *c, int64_t timeout_ns);

/* Dispatches an admitted call, which is about to run. False if a cooldown has sent it back to the
   queue. */
bool xf_call_dispatch(CallObject *c);

/* Starts a dispatched call: its first step is about to run, and no task waits for it any more. */
void xf_call_start(CallObject *c);

/* Whether a task waits for the admission of `c`. */
static inline bool xf_call_is_awaited(const CallObject *c)
{
    return !c->is_started && c->callback != NULL;
}

/* Ends `c` in whatever state it is. Its slot and quota go to the next call. Keeps a set
   exception. */
void xf_call_end(CallObject *c, xf_outcome outcome);

/* Drops the verdict of an attempt that is over. */
void xf_call_drop_verdict(CallObject *c);

/* Stores the cost of `c` by its estimate, of each limit, in cost[]. Returns its tokens, or -1 with
   an error set. */
int64_t xf_call_cost(CallObject *c, int64_t *cost);

/* The state in words: "waiting", "in flight", ... */
const char *xf_call_state(const CallObject *c);

/* Takes `c` out of its port's list, and drops the port's reference. */
void xf_call_unlink(CallObject *c);

/* The call to which the running code belongs. A new reference, or NULL without an error. */
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

/* Sets the error of a call whose timeout has run out. */
void xf_set_timeout(const CallObject *c);

#endif
