/* A scheduler, as its calls know it: its memory, its ports and its time. The type is in scheduler/.
 */
#ifndef XF_BINDING_OWNER_H
#define XF_BINDING_OWNER_H

#include "binding/loop/port.h"
#include "core/scheduler.h"

/* What a limit's name says of its cost: every call counts 1; its tokens do; or only a mapping
 * tells. */
typedef enum xf_kind { XF_KIND_OTHER, XF_KIND_REQUESTS, XF_KIND_TOKENS } xf_kind;

struct SchedulerObject {
    PyObject_HEAD xf_module *st;
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
    uint64_t alarm_at;          /* calls that have succeeded, see _alarm_after(); 0: no alarm */
    uint32_t n_configured;      /* limits; those behind them are places for limits yet unknown */
    CallObject *free_calls;     /* linked by `next` */
    int n_free_calls;
    xf_scheduler core;
};

/* -1 with an error set when __init__ has not run. */
int xf_scheduler_check(SchedulerObject *s);

/* ---- its ports ---- */

/* The port of the running loop, made if need be; borrowed. NULL with an error set: no loop runs, or
   no memory. */
PortObject *xf_port_running(SchedulerObject *s);

/* Ends the calls of loops that were closed without their tasks having been cancelled, so that
   their slots are not lost, and lets go of these loops. */
void xf_port_purge_closed(SchedulerObject *s);

/* The same, if several loops use `s`. */
void xf_port_purge_others(SchedulerObject *s);

/* Lets go of all ports of `s`, which is going away, and of its calls. */
void xf_port_detach_all(SchedulerObject *s);

/* ---- its time ---- */

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
#endif
