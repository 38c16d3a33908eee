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
    CallObject *calls;    /* owned, doubly linked */
    PyObject *woken;      /* list of those whose tasks are about to be run, or NULL */
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

/* The port of the running loop, made if need be; borrowed. NULL: no loop runs, or no memory. */
PortObject *xf_port_running(SchedulerObject *s);

/* The scheduler, new reference, or NULL without an error: it is gone. */
SchedulerObject *xf_port_scheduler(const PortObject *port);

bool xf_port_is_closed(const PortObject *port);

/* Ends the calls of loops that were closed without their tasks having been cancelled, so that
   their slots are not lost, and lets go of these loops. */
void xf_port_purge_closed(SchedulerObject *s);

/* The same, if several loops use `s`. */
void xf_port_purge_others(SchedulerObject *s);

/* Lets go of all ports of `s`, which is going away. */
void xf_port_detach_all(SchedulerObject *s);

#endif
