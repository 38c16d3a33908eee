/* Limits and slots as users give them. Functions that return an int give -1 with an error set. */
#ifndef XF_BINDING_LIMITS_H
#define XF_BINDING_LIMITS_H

#include "binding/call/owner.h"

/* Reads (name, amount, per, capacity); `name` is borrowed from it. */
int xf_parse_limit(PyObject *item, PyObject **name, xf_definition *limit);

/* A place for a limit of that name that may be learned later: until then so high that nobody can
   reach it. */
int xf_parse_place(PyObject *item, PyObject **name, xf_definition *limit);

/* Reads max_concurrency; NULL and None: XF_UNLIMITED. */
int xf_parse_slots(PyObject *value, uint32_t *slots);

/* What a limit's name says of its cost. */
xf_kind xf_kind_of(xf_module *st, PyObject *name);

/* And that of a place: a plain number of tokens counts for the input as well, which it is most of;
   the output only costs what is said of it. */
xf_kind xf_kind_of_place(xf_module *st, PyObject *name);

#endif
