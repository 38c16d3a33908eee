/* An exchange until its request is sent: it queues, is admitted and dispatched. */
#ifndef XF_BINDING_EXCHANGE_QUEUE_H
#define XF_BINDING_EXCHANGE_QUEUE_H

#include "binding/call/exchange_object.h"

/* Makes the exchange a part of the call in which it is awaited, or puts a call of its own into the
   queue. 0, or -1 with an error set and the request closed. */
int xf_exchange_begin(ExchangeObject *x);

/* Dispatches the exchange, if it is its turn. PYGEN_RETURN: it is dispatched. PYGEN_NEXT: the task
   must wait for *result. PYGEN_ERROR: an error is set. */
PySendResult xf_exchange_dispatch(ExchangeObject *x, PyObject **result);

#endif
