/* The return value of `awaitable.__await__()`: an iterator over the awaitable's steps, for
 * `yield from`.
 *
 * `await x` uses the awaitable's own slots. The awaitable itself is not iterable, because `*x`, a
 * star too many, would take steps for ever: the same future comes each time. Both extensions are
 * built with this file, and each has a type of its own.
 */
#ifndef XF_STEPS_H
#define XF_STEPS_H

#include <Python.h>

extern PyType_Spec xf_steps_spec;

/* Makes the iterator of `awaitable`, which has tp_iternext, send(), throw() and close(). A new
   reference, or NULL with an exception. */
PyObject *xf_steps_new(PyTypeObject *steps_type, PyObject *awaitable);

/* The entry of a type's methods for __await__, a PyCMethod. It exists beside the slot that `await`
   uses. */
#define XF_AWAIT_METHOD(method)                                                                    \
    {"__await__", (PyCFunction)(void (*)(void))(method),                                           \
     METH_METHOD | METH_FASTCALL | METH_KEYWORDS | METH_COEXIST,                                   \
     PyDoc_STR("An iterator over the steps, for `yield from`.")}

#endif
