/*
 * How an operation on a scheduler begins and ends: for the files of which its functions are made.
 */
#ifndef XF_OPERATION_H
#define XF_OPERATION_H

#include "core/scheduler.h"

/* Begins an operation. Only the passing of time is played back. The operation changes nothing for
   the time before now, in which calls have waited. Returns the scheduler's now. */
int64_t xf_begin(xf_scheduler *s, int64_t now);

/* Slots become free now, so no call could have had them earlier. */
void xf_slots_free(xf_scheduler *s);

/* Ends an operation that may have changed the instant at which the head passes. */
void xf_look_again(xf_scheduler *s);

#endif
