/* The common part of the coroutine types, Start and Call. */
#include "binding/call/await.h"

#include "binding/steps.h"

/* ---- the coroutine protocol ---- */

PyObject *xf_send_result(PySendResult status, PyObject *result_steal_ref)
{
    if (status == PYGEN_RETURN) {
        /* Not PyErr_SetObject() with the bare value, which would take a tuple for arguments. */
        PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, result_steal_ref);
        Py_CLEAR(result_steal_ref);
        if (stop != NULL) {
#if PY_VERSION_HEX >= 0x030C0000
            PyErr_SetRaisedException(stop);
#else
            PyErr_SetObject(PyExc_StopIteration, stop);
            Py_DECREF(stop);
#endif
        }
    }
    return result_steal_ref;
}

PyObject *xf_await_method(PyObject *self, PyTypeObject *cls, PyObject *const *args,
                          Py_ssize_t nargs, PyObject *kwnames)
{
    (void)args;
    if (nargs > 0 || kwnames != NULL) {
        PyErr_SetString(PyExc_TypeError, "__await__() takes no arguments");
        return NULL;
    }
    xf_module *st = PyType_GetModuleState(cls);
    return xf_steps_new(st->steps_type, self);
}

void xf_set_thrown(PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *type = nargs > 0 ? args[0] : Py_None;
    PyObject *value = nargs > 1 ? args[1] : Py_None;
    PyObject *traceback = nargs > 2 ? args[2] : Py_None;
    if (PyExceptionInstance_Check(type) && value == Py_None) {
        value = type;
        type = PyExceptionInstance_Class(type);
    } else if (!PyExceptionClass_Check(type)) {
        PyErr_Format(PyExc_TypeError, "exceptions must be classes or instances, not %.100s",
                     Py_TYPE(type)->tp_name);
        return;
    }
    if (traceback == Py_None) {
        traceback = PyExceptionInstance_Check(value) ? PyException_GetTraceback(value) : NULL;
    } else {
        Py_INCREF(traceback);
    }
    Py_INCREF(type);
    PyErr_Restore(type, value == Py_None ? NULL : Py_NewRef(value), traceback);
}

PyObject *xf_already_awaited(void)
{
    PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    return NULL;
}

void xf_close_coro(PyObject *coro)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *r = PyObject_CallMethod(coro, "close", NULL);
    if (r == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear(); /* some other awaitable */
    } else if (r == NULL) {
        PyErr_WriteUnraisable(coro);
    }
    Py_XDECREF(r);
    PyErr_Restore(type, value, traceback);
}
