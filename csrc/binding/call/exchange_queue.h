/* An exchange until its request is sent: it queues, is admitted and dispatched. */
#ifndef XF_BINDING_EXCHANGE_QUEUE_H
#define XF_BINDING_EXCHANGE_QUEUE_H

#include "binding/call/exchange_object.h"

/* Makes it a part of the call that it is awaited in, or puts a call of its own into the queue. -1
   with an error set, the request closed. */
int xf_exchange_begin(ExchangeObject *x);

/* PYGEN_RETURN: it is dispatched. PYGEN_NEXT: *result is what to wait for. */
PySendResult xf_exchange_dispatch(ExchangeObject *x, PyObject **result);

#endif
