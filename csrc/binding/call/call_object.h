/* The type of calls: a call, as Python sees it. */
#ifndef XF_BINDING_CALL_OBJECT_H
#define XF_BINDING_CALL_OBJECT_H

#include "binding/module.h"

extern PyType_Spec xf_call_spec;

#endif
