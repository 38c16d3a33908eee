/* Shared by scheduler.c and answers.c only. */
#ifndef XF_CORE_INTERNAL_H
#define XF_CORE_INTERNAL_H

#include "core/scheduler.h"

/* Begins an operation. Only the passing of time is played back: what the operation changes for
   calls that have waited until now, it changes from now on. Returns the scheduler's now. */
int64_t xf_begin(xf_scheduler *s, int64_t now);

/* Ends one that may have changed when the head of the queue passes. */
void xf_look_again(xf_scheduler *s);

/* The provider has served `c`, which is in flight. */
void xf_accepted(xf_scheduler *s, const xf_call *c);

#endif
