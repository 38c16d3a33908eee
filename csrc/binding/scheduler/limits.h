/* Limits and slots from users. Functions that return an int return 0, or -1 with an error set. */
#ifndef XF_BINDING_LIMITS_H
#define XF_BINDING_LIMITS_H

#include "binding/call/owner.h"

/* Reads a tuple (name, amount, per, capacity). `name` is borrowed from it. */
int xf_parse_limit(PyObject *item, PyObject **name, xf_definition *limit);

/* Reads a place: the name of a limit that may be learned later. Until then the limit is so high
   that no calls reach it. */
int xf_parse_place(PyObject *item, PyObject **name, xf_definition *limit);

/* Reads max_concurrency. NULL and None are XF_UNLIMITED. */
int xf_parse_slots(PyObject *value, uint32_t *slots);

/* The cost that a limit's name implies. */
xf_kind xf_kind_of(xf_module *st, PyObject *name);

/* The cost that a place's name implies. A plain number of tokens counts for input tokens as well,
   because most of it is input. Output tokens cost only the amount in a mapping. */
xf_kind xf_kind_of_place(xf_module *st, PyObject *name);

/* The units of `n` limits as a tuple. NULL with an error set. */
PyObject *xf_units_from(const int64_t *units, uint32_t n);

#endif
