/* The base of all schedulers. */
#ifndef XF_BINDING_SCHEDULER_H
#define XF_BINDING_SCHEDULER_H

#include "binding/loop/timer.h"
#include "binding/call/call.h"
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

extern PyType_Spec xf_scheduler_spec;

/* Reads (name, amount, per, capacity); `name` is borrowed from it. -1 with an error set. */
int xf_parse_limit(PyObject *item, PyObject **name, xf_definition *limit);

/* -1 with an error set when __init__ has not run. */
int xf_scheduler_check(SchedulerObject *s);

/* The same for an operation that only gives something back. While nobody waits, and no cooldown
   may be over by now, nothing depends on when exactly that is, and the time of the last operation
   will do: it saves reading the clock. */
static inline int64_t xf_port_about_now(SchedulerObject *s, const PortObject *port)
{
    bool is_waited_for = s->core.queue.size > 0 || s->core.now < s->core.gate.cooldown.until;
    return is_waited_for ? xf_port_now(s, port) : s->core.now;
}

#endif
