/* A scheduler, as its calls know it: its memory, its ports and its time. The type is in scheduler/.
 */
#ifndef XF_BINDING_OWNER_H
#define XF_BINDING_OWNER_H

#include "binding/loop/port.h"
#include "core/scheduler.h"

/* The cost that a limit's name implies: 1 for every call; the call's tokens; or only the amount in
   a mapping. */
typedef enum xf_kind { XF_KIND_OTHER, XF_KIND_REQUESTS, XF_KIND_TOKENS } xf_kind;

/* See prefix.h. */
typedef struct xf_prefixes xf_prefixes;

/* Of the layer above: see scheduler/foretold.h. */
typedef struct xf_foretold xf_foretold;

/* See lessee.h. */
typedef struct xf_lessee xf_lessee;

struct SchedulerObject {
    PyObject_HEAD xf_module *st;
    PyObject *module; /* owns `st`, since types drop it when they are garbage */
    PyObject *weakrefs;
    PyObject *names; /* tuple: the limits' names */
    PortObject *ports;
    PortObject *port;      /* borrowed: the one used last */
    PyObject *drains;      /* list of (future, call or None) that wait for the last call, or NULL */
    size_t drains_inside;  /* calls that wait in this way for the others, or slightly more */
    Py_ssize_t recount_at; /* the number of drains at which these are counted anew */
    int64_t tokens_used, tokens_refunded;
    uint64_t begun;             /* calls whose answer was seen to begin, */
    int64_t begun_ns;           /* and their times from dispatch until then, added up */
    bool ready;                 /* __init__ has run */
    bool delivering;            /* see xf_deliver() */
    bool has_tokens, has_other; /* a limit on tokens; one on neither tokens nor requests */
    uint8_t *kinds;             /* per limit: its xf_kind */
    int8_t *units;              /* per limit: its unit, see core/charge.h; -1: none of these */
    unsigned int reserved;      /* the bit of each unit of which an estimate is */
    uint64_t alarm_at;          /* calls that have succeeded, see _alarm_after(); 0: no alarm */
    uint32_t n_configured;      /* limits; behind them are places for unknown limits */
    CallObject *free_calls;     /* linked by `next` */
    int n_free_calls;
    xf_member *member;     /* of a share, see member.h; NULL: of none */
    xf_prefixes *prefixes; /* those that calls have named, or NULL */
    xf_lessee *lessee;     /* of a share on a server, see lessee.h; NULL: of none */
    xf_foretold *foretold; /* what the next answer is expected to tell, or NULL */
    PyObject *tariffs;     /* dict: model -> capsule of its tariff, see tariff.h; or NULL */
    xf_scheduler core;
};

/* Checks that __init__ has run. 0, or -1 with an error set. */
int xf_scheduler_check(SchedulerObject *s);

/* ---- its ports ---- */

/* The port of the running loop, created if need be. Borrowed, or NULL with an error set, if no loop
   runs or there is no memory. */
PortObject *xf_port_running(SchedulerObject *s);

/* Ends the calls of loops that were closed before their tasks had ended, so that their slots are
   not lost. Drops these loops. */
void xf_port_purge_closed(SchedulerObject *s);

/* The same, if several loops use `s`. */
void xf_port_purge_others(SchedulerObject *s);

/* Drops all ports and calls of `s`, which is being freed. */
void xf_port_detach_all(SchedulerObject *s);

/* ---- its time ---- */

/* The time in ns on the clock of `port`. NULL: of the loop used last, else of the running one, else
   of the system. */
int64_t xf_port_now(SchedulerObject *s, const PortObject *port);

/* The same for an operation that only returns quota or a slot. If no call waits and no cooldown may
   have ended, nothing depends on the exact time. Then this returns the time of the last operation,
   which saves reading the clock. */
static inline int64_t xf_port_about_now(SchedulerObject *s, const PortObject *port)
{
    bool is_waited_for = s->core.queue.size > 0 || s->core.now < s->core.gate.cooldown.until ||
                         s->core.gate.share != NULL || s->lessee != NULL; /* others may wait */
    return is_waited_for ? xf_port_now(s, port) : s->core.now;
}
#endif
