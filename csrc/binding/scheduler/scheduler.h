/* The base of all schedulers. */
#ifndef XF_BINDING_SCHEDULER_H
#define XF_BINDING_SCHEDULER_H

#include "binding/module.h"

extern PyType_Spec xf_scheduler_spec;

#endif
