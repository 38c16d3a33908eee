#include "binding/call/future.h"

#include "binding/call/deliver.h"
#include "binding/call/owner.h"
#include "binding/call/retry.h"

PyObject *xf_future_take_callback(CallObject *c, PyObject **context)
{
    PyObject *callback = NULL;
    if (xf_call_is_awaited(c)) {
        callback = c->callback;
        *context = c->context;
        c->callback = NULL;
        c->context = NULL;
    }
    return callback;
}

bool xf_call_wake(CallObject *c, PyObject *here)
{
    if (c->retries != NULL) {
        return xf_call_repeat(c, here);
    }
    PyObject *context, *callback = xf_future_take_callback(c, &context);
    if (callback == NULL) {
        return true;
    }
    int r = xf_port_call_soon(c->port, here, callback, (PyObject *)c, context);
    Py_DECREF(callback);
    Py_XDECREF(context);
    if (r < 0) {
        PyErr_Clear();
    }
    return r == 0;
}

void xf_future_settle(CallObject *c)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *here = PyObject_CallNoArgs(c->scheduler->st->get_running_loop);
    if (here == NULL || !xf_call_wake(c, here)) {
        PyErr_Clear();
    }
    Py_XDECREF(here);
    PyErr_Restore(type, value, traceback);
}

PyObject *xf_future_add_done_callback(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                      PyObject *kwnames)
{
    CallObject *c = (CallObject *)self;
    if (nargs != 1 || (kwnames != NULL && PyTuple_GET_SIZE(kwnames) > 1)) {
        PyErr_SetString(PyExc_TypeError, "add_done_callback(callback, *, context=None)");
        return NULL;
    }
    if (c->is_started || c->callback != NULL) {
        PyErr_SetString(PyExc_RuntimeError, c->is_started
                                                ? "a call that has started cannot be waited for"
                                                : "a call can be waited for by one task only");
        return NULL;
    }
    PyObject *context = kwnames != NULL && PyTuple_GET_SIZE(kwnames) == 1 ? Py_NewRef(args[1])
                                                                          : PyContext_CopyCurrent();
    if (context == NULL) {
        return NULL;
    }
    c->callback = Py_NewRef(args[0]);
    Py_XSETREF(c->context, context);
    if (c->core.state != XF_CALL_WAITING) {
        xf_future_settle(c);
    }
    Py_RETURN_NONE;
}

PyObject *xf_future_cancel(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"msg", NULL};
    CallObject *c = (CallObject *)self;
    PyObject *message = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:cancel", keywords, &message)) {
        return NULL;
    }
    if (c->core.state != XF_CALL_WAITING || c->stage != XF_STAGE_PENDING) {
        Py_RETURN_FALSE; /* admitted: its task is about to run, and will see the cancellation */
    }
    c->is_cancelled = true;
    Py_XSETREF(c->message, Py_NewRef(message));
    xf_call_end(c, XF_CANCELLED);
    Py_RETURN_TRUE;
}

PyObject *xf_future_result(PyObject *self, PyObject *Py_UNUSED(unused))
{
    CallObject *c = (CallObject *)self;
    if (!c->is_cancelled) {
        Py_RETURN_NONE;
    }
    PyObject *type = c->scheduler->st->cancelled_error;
    PyObject *error = c->message == NULL || c->message == Py_None
                          ? PyObject_CallNoArgs(type)
                          : PyObject_CallOneArg(type, c->message);
    if (error != NULL) {
        PyErr_SetObject(type, error);
        Py_DECREF(error);
    }
    return NULL;
}

PyObject *xf_future_get_loop(PyObject *self, PyObject *Py_UNUSED(unused))
{
    CallObject *c = (CallObject *)self;
    return Py_NewRef(c->port != NULL ? c->port->loop : Py_None);
}

/* None unless the call was just yielded to a task, since asyncio recognises a future by this
   attribute. */
PyObject *xf_future_get_blocking(PyObject *self, void *Py_UNUSED(closure))
{
    if (((CallObject *)self)->blocking) {
        Py_RETURN_TRUE;
    }
    Py_RETURN_NONE;
}

int xf_future_set_blocking(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    int blocking = value == NULL ? 0 : PyObject_IsTrue(value);
    if (blocking < 0) {
        return -1;
    }
    ((CallObject *)self)->blocking = blocking;
    return 0;
}
