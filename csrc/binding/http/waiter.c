#include "binding/http/http.h"

PyObject *xf_http_waiter_park(TransferObject *transfer)
{
    WaiterObject *self = transfer->waiter;
    if (self == NULL) {
        xf_http_module *state = transfer->session->state;
        self = (WaiterObject *)state->waiter_type->tp_alloc(state->waiter_type, 0);
        if (self == NULL) {
            return NULL;
        }
        self->state = state;
        self->transfer = transfer;
        self->loop = Py_NewRef(transfer->engine->loop);
        transfer->waiter = self;
    }
    if (self->callback != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "another task is already waiting for this answer");
        return NULL;
    }
    self->cancelled = false;
    Py_CLEAR(self->cancel_message);
    self->blocking = true;
    return Py_NewRef(self);
}

/* Takes the callback and context that the task left. The references are the caller's. */
static PyObject *detach(WaiterObject *self, PyObject **context)
{
    PyObject *callback = self->callback;
    *context = self->context;
    self->callback = self->context = NULL;
    return callback;
}

static void let_go(WaiterObject *self)
{
    Py_DECREF(self->transfer); /* stays as a borrowed reference, if it lives on */
    Py_DECREF(self);
}

static int call_soon(WaiterObject *self, PyObject *callback, PyObject *context)
{
    PyObject *args[] = {self->loop, callback, (PyObject *)self, context};
    PyObject *handle =
        PyObject_VectorcallMethod(self->state->str_call_soon, args, 3, self->state->context_kw);
    Py_XDECREF(handle);
    return handle != NULL ? 0 : -1;
}

/* The task runs here instead of by call_soon(), since the loop's bookkeeping for a callback costs
 * more than the rest of an answer. No other task is running, as this is a callback of the loop. */
int xf_http_waiter_wake(WaiterObject *self)
{
    PyObject *context, *callback = detach(self, &context), *done = NULL;
    int result = 0;
    if (callback == NULL) {
        return 0;
    }
    if (PyContext_Enter(context) < 0) {
        PyErr_Clear();
        result = call_soon(self, callback, context);
    } else {
        done = PyObject_CallOneArg(callback, (PyObject *)self);
        result = done != NULL ? 0 : -1;
        Py_XDECREF(done);
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        if (PyContext_Exit(context) < 0) {
            PyErr_WriteUnraisable(context);
        }
        PyErr_Restore(type, value, traceback);
    }
    Py_DECREF(callback);
    Py_DECREF(context);
    let_go(self);
    return result;
}

void xf_http_waiter_wake_later(WaiterObject *self)
{
    PyObject *context, *callback = detach(self, &context);
    if (callback == NULL) {
        return;
    }
    if (call_soon(self, callback, context) < 0) {
        PyErr_Clear(); /* the loop is closed, and its tasks are lost */
    }
    Py_DECREF(callback);
    Py_DECREF(context);
    let_go(self);
}

static PyObject *waiter_add_done_callback(PyObject *op, PyObject *const *args, Py_ssize_t nargs,
                                          PyObject *names)
{
    WaiterObject *self = (WaiterObject *)op;
    if (nargs != 1 || (names != NULL && PyTuple_GET_SIZE(names) > 1)) {
        PyErr_SetString(PyExc_TypeError, "add_done_callback() takes a callable and a context");
        return NULL;
    }
    if (self->callback != NULL || self->transfer == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "another task is already waiting for this answer");
        return NULL;
    }
    PyObject *context = names != NULL && PyTuple_GET_SIZE(names) && args[1] != Py_None
                            ? Py_NewRef(args[1])
                            : PyContext_CopyCurrent();
    if (context == NULL) {
        return NULL;
    }
    self->callback = Py_NewRef(args[0]);
    self->context = context;
    Py_INCREF(self);
    Py_INCREF(self->transfer);
    if (self->transfer->net.done) { /* ended between the yield and now */
        xf_http_waiter_wake_later(self);
    }
    Py_RETURN_NONE;
}

static PyObject *waiter_cancel(PyObject *op, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"msg", NULL};
    WaiterObject *self = (WaiterObject *)op;
    PyObject *message = Py_None;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:cancel", keywords, &message)) {
        return NULL;
    }
    if (self->callback == NULL || self->cancelled) {
        Py_RETURN_FALSE;
    }
    self->cancelled = true;
    Py_XSETREF(self->cancel_message, Py_NewRef(message));
    if (self->transfer->phase == XF_TRANSFER_FLYING &&
        !xf_http_engine_is_inherited(self->transfer->engine)) {
        xf_transfer_cancel(&self->transfer->net);
    }
    xf_http_waiter_wake_later(self);
    Py_RETURN_TRUE;
}

static PyObject *waiter_result(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    WaiterObject *self = (WaiterObject *)op;
    if (!self->cancelled) {
        Py_RETURN_NONE;
    }
    PyObject *message = self->cancel_message != NULL ? self->cancel_message : Py_None;
    PyObject *error = message == Py_None
                          ? PyObject_CallNoArgs(self->state->cancelled_error)
                          : PyObject_CallOneArg(self->state->cancelled_error, message);
    if (error != NULL) {
        PyErr_SetObject(self->state->cancelled_error, error);
        Py_DECREF(error);
    }
    return NULL;
}

static PyObject *waiter_get_loop(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return Py_NewRef(((WaiterObject *)op)->loop);
}

static PyObject *waiter_done(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(((WaiterObject *)op)->callback == NULL);
}

static PyObject *get_blocking(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((WaiterObject *)op)->blocking);
}

static int set_blocking(PyObject *op, PyObject *value, void *Py_UNUSED(closure))
{
    int truth = value != NULL ? PyObject_IsTrue(value) : 0;
    if (truth < 0) {
        return -1;
    }
    ((WaiterObject *)op)->blocking = truth;
    return 0;
}

static void waiter_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    Py_XDECREF(((WaiterObject *)op)->loop);
    Py_XDECREF(((WaiterObject *)op)->cancel_message);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyMethodDef waiter_methods[] = {
    {"add_done_callback", (PyCFunction)(void (*)(void))waiter_add_done_callback,
     METH_FASTCALL | METH_KEYWORDS, NULL},
    {"cancel", (PyCFunction)(void (*)(void))waiter_cancel, METH_VARARGS | METH_KEYWORDS, NULL},
    {"result", waiter_result, METH_NOARGS, NULL},
    {"done", waiter_done, METH_NOARGS, NULL},
    {"get_loop", waiter_get_loop, METH_NOARGS, NULL},
    {0},
};

static PyGetSetDef waiter_getset[] = {
    {"_asyncio_future_blocking", get_blocking, set_blocking, NULL, NULL},
    {0},
};

static PyType_Slot waiter_slots[] = {
    {Py_tp_doc, "The future that a task awaits while it waits for an answer."},
    {Py_tp_methods, waiter_methods},
    {Py_tp_getset, waiter_getset},
    {Py_tp_dealloc, waiter_dealloc},
    {0},
};

PyType_Spec xf_http_waiter_spec = {
    .name = "xtremeflow._http.Waiter",
    .basicsize = sizeof(WaiterObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = waiter_slots,
};
