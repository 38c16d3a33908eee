/* One lock for each scheduler, where there is no GIL.
 *
 * It is the critical section of the scheduler object, and guards the scheduler, its core, its ports
 * and its calls. Whatever Python calls takes it at the door; what is behind the doors has it. It is
 * what the GIL is: whoever calls Python may lose it until that returns, so state is moved before
 * and never after such a call, and two schedulers never wait for each other. Outside of it run the
 * steps of coroutines, or threads would not run at the same time, and what is of one thread only: a
 * port's woken calls, and a call's own coroutine.
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

/* Doors, by the form of the function behind them: each defines name_locked, which is `name` with
   the lock of `scheduler`, an expression of `self`. */
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
