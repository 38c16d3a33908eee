/* The object of an exchange, which its parts share, and the ways in which it ends. See exchange.c.
 */
#ifndef XF_BINDING_EXCHANGE_OBJECT_H
#define XF_BINDING_EXCHANGE_OBJECT_H

#include "binding/call/owner.h"

typedef enum xf_exchange_phase {
    XF_EXCHANGE_NEW,
    XF_EXCHANGE_QUEUED, /* its call waits, or is admitted and not dispatched */
    XF_EXCHANGE_SENT,   /* the request is on its way */
    XF_EXCHANGE_REST,   /* the coroutine that `answered` has given is run */
    XF_EXCHANGE_OVER,
} xf_exchange_phase;

typedef struct ExchangeObject {
    PyObject_HEAD SchedulerObject *scheduler;
    PyObject *coro;     /* the request; later what goes on with the call */
    PyObject *terms;    /* terms(request): see exchange_queue.c */
    PyObject *answered; /* see _exchange(); NULL: its call stays open, see _open() */
    PyObject *request;  /* NULL: `terms` are the terms */
    CallObject *call;   /* from the start on: its own, or the one that it is a part of */
    int64_t asked_at, sent_at;
    uint8_t phase; /* xf_exchange_phase */
    bool is_part;  /* of another call */
    bool is_stepping;
} ExchangeObject;

/* Ends the exchange's own call with that outcome. Keeps a set exception. */
void xf_exchange_end(ExchangeObject *x, xf_outcome outcome);

/* Ends the call as the set exception says, which stays. */
void xf_exchange_fail(ExchangeObject *x);

/* Closes a request that will not be sent. Keeps a set exception. */
void xf_exchange_give_up(ExchangeObject *x);

/* Drops all references of an exchange that is over, except that to the scheduler. */
void xf_exchange_let_go(ExchangeObject *x);

/* Calls `answered` with the answer, or with the exception that is set. That may also be the timeout
   of a request that was not admitted, and so never sent. */
PyObject *xf_exchange_show(ExchangeObject *x, PyObject *answer);

#endif
