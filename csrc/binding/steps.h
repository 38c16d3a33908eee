/* What `awaitable.__await__()` gives: an iterator over the awaitable's steps, for `yield from`.
 *
 * `await x` takes the awaitable's own slots. They are reachable without being iterable: `*x`, a
 * star too many, would take steps for ever, since the same future comes each time it is asked.
 * Both extensions are built with it; each has the type for itself.
 */
#ifndef XF_STEPS_H
#define XF_STEPS_H

#include <Python.h>

extern PyType_Spec xf_steps_spec;

/* A new reference, or NULL with an exception. `awaitable` has tp_iternext, send(), throw() and
   close(). */
PyObject *xf_steps_new(PyTypeObject *steps_type, PyObject *awaitable);

/* The entry of a type's methods for a PyCMethod; it stands beside the slot that `await` takes. */
#define XF_AWAIT_METHOD(method)                                                                    \
    {"__await__", (PyCFunction)(void (*)(void))(method),                                           \
     METH_METHOD | METH_FASTCALL | METH_KEYWORDS | METH_COEXIST,                                   \
     PyDoc_STR("An iterator over the steps, for `yield from`.")}

#endif
