#include "binding/loop/loop.h"

PyObject *xf_running_loop(xf_module *st)
{
    PyObject *loop = PyObject_CallNoArgs(st->get_running_loop);
    if (loop == NULL) {
        PyErr_Clear();
    } else if (loop == Py_None) {
        Py_CLEAR(loop);
    }
    return loop;
}

PyObject *xf_new_future(xf_module *st)
{
    PyObject *future = NULL, *loop = xf_running_loop(st);
    if (loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "no running event loop");
    } else {
        future = PyObject_CallMethodNoArgs(loop, st->s_create_future);
        Py_DECREF(loop);
    }
    return future;
}

/* Runs on the future's own loop. */
PyObject *xf_resolve_now(PyObject *module, PyObject *future)
{
    xf_module *st = PyModule_GetState(module);
    PyObject *done = PyObject_CallMethodNoArgs(future, st->s_done);
    int is_done = done == NULL ? -1 : PyObject_IsTrue(done);
    Py_XDECREF(done);
    if (is_done < 0) {
        return NULL;
    }
    return is_done ? Py_NewRef(Py_None)
                   : PyObject_CallMethodOneArg(future, st->s_set_result, Py_None);
}

int xf_resolve(xf_module *st, PyObject *future, PyObject *here)
{
    PyObject *r = NULL, *loop = PyObject_CallMethodNoArgs(future, st->s_get_loop);
    if (loop != NULL && loop == here) {
        r = PyObject_CallOneArg(st->resolve, future);
    } else if (loop != NULL) {
        r = PyObject_CallMethodObjArgs(loop, st->s_call_soon_threadsafe, st->resolve, future, NULL);
    }
    Py_XDECREF(loop);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}
