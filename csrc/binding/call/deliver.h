/* Handing out what the core has decided. */
#ifndef XF_BINDING_DELIVER_H
#define XF_BINDING_DELIVER_H

#include "binding/module.h"

/* Hands out what the core has decided: wakes calls, arms timers, tells who waits for the last
   call. To be called after every operation of the core; keeps a set exception. */
void xf_deliver(SchedulerObject *s);

/* What the timers of ports call; a method of a port. */
extern PyMethodDef xf_wake_def;

#endif
