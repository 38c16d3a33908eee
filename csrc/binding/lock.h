/* One lock for each scheduler, where there is no GIL.
 *
 * It is the critical section of the scheduler object, and guards the scheduler, its core, its ports
 * and its calls. Every function that Python calls takes the lock at its door; the functions behind
 * the doors hold it. Like the GIL, the lock may be lost during a call into Python. So state is
 * changed before such a call and never after it, and two schedulers never wait for each other.
 *
 * The steps of coroutines run outside the lock, so that threads run at the same time. So does code
 * that belongs to one thread: the wake-ups of a port's calls, and a call's own coroutine.
 *
 * With the GIL all of this compiles to nothing.
 */
#ifndef XF_LOCK_H
#define XF_LOCK_H

#include <Python.h>

#if PY_VERSION_HEX < 0x030D0000
#define XF_LOCK(scheduler) {
#define XF_UNLOCK() }
#else
#define XF_LOCK(scheduler) Py_BEGIN_CRITICAL_SECTION(scheduler)
#define XF_UNLOCK() Py_END_CRITICAL_SECTION()
#endif

/* Doors, by the signature of the function behind them. Each defines name_locked, which calls `name`
   with the lock of `scheduler`, an expression of `self`. */
#define XF_DOOR(result_type, name, scheduler, parameters, ...)                                     \
    static result_type name##_locked parameters                                                    \
    {                                                                                              \
        result_type result;                                                                        \
        XF_LOCK(scheduler);                                                                        \
        result = name(__VA_ARGS__);                                                                \
        XF_UNLOCK();                                                                               \
        return result;                                                                             \
    }

/* METH_NOARGS, METH_O, METH_VARARGS. */
#define XF_METHOD_DOOR(name, scheduler)                                                            \
    XF_DOOR(PyObject *, name, scheduler, (PyObject * self, PyObject * args), self, args)

/* METH_FASTCALL. */
#define XF_POSITIONAL_DOOR(name, scheduler)                                                        \
    XF_DOOR(PyObject *, name, scheduler,                                                           \
            (PyObject * self, PyObject *const *args, Py_ssize_t nargs), self, args, nargs)

/* METH_FASTCALL | METH_KEYWORDS. */
#define XF_FASTCALL_DOOR(name, scheduler)                                                          \
    XF_DOOR(PyObject *, name, scheduler,                                                           \
            (PyObject * self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames), self,   \
            args, nargs, kwnames)

/* METH_VARARGS | METH_KEYWORDS. */
#define XF_KEYWORDS_DOOR(name, scheduler)                                                          \
    XF_DOOR(PyObject *, name, scheduler, (PyObject * self, PyObject * args, PyObject * kwargs),    \
            self, args, kwargs)

#define XF_GETTER_DOOR(name, scheduler)                                                            \
    XF_DOOR(PyObject *, name, scheduler, (PyObject * self, void *closure), self, closure)

#define XF_SETTER_DOOR(name, scheduler)                                                            \
    XF_DOOR(int, name, scheduler, (PyObject * self, PyObject * value, void *closure), self, value, \
            closure)

#endif
