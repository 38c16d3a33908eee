/* Ports: the event loops in which the calls of a scheduler wait and run. */
#ifndef XF_BINDING_PORT_H
#define XF_BINDING_PORT_H

#include "binding/module.h"

/* An event loop, as one scheduler sees it: its clock, its timer, and the calls that run there. */
struct PortObject {
    PyObject_HEAD xf_module *st;
    SchedulerObject
        *scheduler;      /* borrowed, for holders of its lock; NULL once the scheduler is gone */
    PyObject *reference; /* a weak one to it, for others; NULL: cleared */
    PyObject *loop;
    PortObject *next;     /* in the scheduler's list, which owns it */
    CallObject *calls;    /* the scheduler's calls on this loop, doubly linked: see call.h */
    PyObject *woken;      /* list of those whose tasks are about to run, or NULL */
    PyMethodDef *wake;    /* the method of the port that the timer calls */
    PyObject *handle;     /* of loop.call_at(), if there is no timerfd */
    int64_t armed_at;     /* ns, or XF_NEVER */
    int64_t not_before;   /* the timer is not armed for an earlier instant, ns */
    int poke_fd;          /* see poke.h, or -1 */
    int timerfd;          /* or -1 */
    bool own_clock;       /* loop.time() is not the system's monotonic clock */
    bool has_plain_tasks; /* its create_task() is asyncio's own */
    bool no_reader;       /* the loop cannot watch a timerfd */
    bool prepared;        /* xf_port_prepare() has been called */
};

extern PyType_Spec xf_port_spec;

/* Makes the port of `loop` for `s`, which is in no list yet. Its timer calls the method `wake`,
   which must live for ever. May run Python. A new reference, or NULL with an error set. */
PortObject *xf_port_new(SchedulerObject *s, xf_module *st, PyObject *loop, PyMethodDef *wake);

/* The scheduler of a port. A new reference, or NULL without an error if it is gone. */
SchedulerObject *xf_port_scheduler(const PortObject *port);

/* Whether the port's loop is closed. Runs Python. */
bool xf_port_is_closed(const PortObject *port);

/* Lets the port's loop call `callback(arg)` soon. `arg` and `context` may be NULL; `here` is the
   running loop (borrowed) or NULL. 0, or -1 with an error set if the loop is closed. */
int xf_port_call_soon(PortObject *port, PyObject *here, PyObject *callback, PyObject *arg,
                      PyObject *context);

/* Whether the error that is set says that the loop has no add_reader(). */
bool xf_port_cannot_watch(void);

/* Closes a descriptor that the port's loop watches, unless it is -1, and sets it to -1. On the
   port's own thread, or when the loop is closed. */
void xf_port_unwatch(PortObject *port, int *fd);

/* Closes the timer of a port whose scheduler is being freed, on the port's own thread. `here` as
   above. */
void xf_port_detach(PortObject *port, PyObject *here);

#endif
