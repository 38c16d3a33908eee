/* Ports: the event loops in which the calls of a scheduler wait and run. */
#ifndef XF_BINDING_PORT_H
#define XF_BINDING_PORT_H

#include "binding/module.h"

/* An event loop, as one scheduler sees it: its clock, its timer, and the calls that run there. */
struct PortObject {
    PyObject_HEAD xf_module *st;
    SchedulerObject
        *scheduler;      /* borrowed; NULL once the scheduler is gone: for who has its lock */
    PyObject *reference; /* a weak one to it, for who has not; NULL: cleared */
    PyObject *loop;
    PortObject *next;     /* in the scheduler's list, which owns it */
    CallObject *calls;    /* the scheduler's that are here, doubly linked: see call.h */
    PyObject *woken;      /* list of those whose tasks are about to be run, or NULL */
    PyMethodDef *wake;    /* what the timer calls, a method of the port */
    PyObject *handle;     /* of loop.call_at(), where there is no timerfd */
    int64_t armed_at;     /* ns, or XF_NEVER */
    int64_t not_before;   /* the timer is not armed for an earlier instant, ns */
    int timerfd;          /* or -1 */
    bool own_clock;       /* loop.time() is not the system's monotonic clock */
    bool has_plain_tasks; /* its create_task() is asyncio's own */
    bool no_reader;       /* the loop cannot watch a timerfd */
    bool prepared;        /* xf_port_prepare() has been called */
};

extern PyType_Spec xf_port_spec;

/* The port of `loop` for `s`, new reference, in no list yet; `wake` (kept for ever) is the method
   that its timer calls. May run Python. NULL with an error set. */
PortObject *xf_port_new(SchedulerObject *s, xf_module *st, PyObject *loop, PyMethodDef *wake);

/* The scheduler, new reference, or NULL without an error: it is gone. */
SchedulerObject *xf_port_scheduler(const PortObject *port);

/* Whether its loop is. Runs Python. */
bool xf_port_is_closed(const PortObject *port);

/* Has the port's loop call `callback(arg)` soon; arg and context may be NULL; `here` is the running
   loop (borrowed) or NULL. -1 with an error set: the loop is closed. */
int xf_port_call_soon(PortObject *port, PyObject *here, PyObject *callback, PyObject *arg,
                      PyObject *context);

/* Its scheduler is going away: gives the timer back, on the port's own thread; `here` as above. */
void xf_port_detach(PortObject *port, PyObject *here);

#endif
