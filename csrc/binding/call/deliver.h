/* Hands out the decisions of the core. */
#ifndef XF_BINDING_DELIVER_H
#define XF_BINDING_DELIVER_H

#include "binding/module.h"

/* Carries out the decisions of the core: wakes calls, arms timers, and wakes tasks that wait for
   the last call to end. Must be called after every operation of the core. Keeps a set exception. */
void xf_deliver(SchedulerObject *s);

/* The method of a port that its timer calls. */
extern PyMethodDef xf_wake_def;

#endif
