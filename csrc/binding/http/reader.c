#include "binding/http/http.h"

PyObject *xf_http_reader_new(TransferObject *transfer, xf_http_reading reading, Py_ssize_t limit)
{
    PyTypeObject *type = transfer->session->state->reader_type;
    if (transfer->engine == NULL) {
        return PyErr_Format(PyExc_RuntimeError, "a call must be awaited before its answer is read");
    }
    ReaderObject *self = (ReaderObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->transfer = (TransferObject *)Py_NewRef(transfer);
    self->reading = reading;
    xf_sse_init(&self->sse, (size_t)limit);
    return (PyObject *)self;
}

static void take(TransferObject *transfer, size_t size)
{
    xf_transfer_take(&transfer->net, size, xf_http_clock_now());
}

static PyObject *next_chunk(ReaderObject *self)
{
    const xf_buffer *body = &self->transfer->net.body;
    size_t size = xf_buffer_size(body);
    if (!size) {
        return NULL;
    }
    PyObject *chunk = PyBytes_FromStringAndSize(xf_buffer_data(body), (Py_ssize_t)size);
    if (chunk != NULL) {
        take(self->transfer, size);
    }
    return chunk;
}

static PyObject *look_ahead(ReaderObject *self)
{
    const xf_buffer *body = &self->transfer->net.body;
    size_t size = xf_buffer_size(body);
    if (size <= self->seen) {
        return NULL;
    }
    self->seen = size;
    return PyBytes_FromStringAndSize(xf_buffer_data(body), (Py_ssize_t)size);
}

static PyObject *decode(const char *text, size_t size)
{
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)size, "replace");
}

static PyObject *event_new(ReaderObject *self, const xf_sse_event *e)
{
    xf_http_module *state = self->transfer->session->state;
    if (self->last_id == NULL || e->id_size != (size_t)PyUnicode_GET_LENGTH(self->last_id) ||
        e->id_size) {
        PyObject *id = decode(e->id, e->id_size);
        if (id == NULL) {
            return NULL;
        }
        Py_XSETREF(self->last_id, id);
    }
    EventObject *event = (EventObject *)state->event_type->tp_alloc(state->event_type, 0);
    if (event == NULL) {
        return NULL;
    }
    event->state = state;
    event->id = Py_NewRef(self->last_id);
    event->retry = e->retry;
    event->data = decode(e->data, e->data_size);
    event->event = e->type_size ? decode(e->type, e->type_size) : Py_NewRef(state->str_message);
    if (event->data == NULL || event->event == NULL) {
        Py_DECREF(event);
        return NULL;
    }
    return (PyObject *)event;
}

/* NULL without an exception: none is whole. */
static PyObject *next_event(ReaderObject *self)
{
    const xf_buffer *body = &self->transfer->net.body;
    xf_sse_event event;
    for (;;) {
        int found = xf_sse_next(&self->sse, &event);
        if (found == 1) {
            return event_new(self, &event);
        }
        size_t size = xf_buffer_size(body);
        if (!found && !size) {
            return NULL;
        }
        if (!found) {
            found = xf_sse_push(&self->sse, xf_buffer_data(body), size);
            take(self->transfer, size);
        }
        if (found < 0) {
            self->broken = true;
            if (found == XF_SSE_MEMORY) {
                return PyErr_NoMemory();
            }
            self->transfer->net.outcome.code = XF_E_EVENT;
            xf_http_transfer_raise(self->transfer);
            return NULL;
        }
    }
}

/* NULL without an exception: nothing yet. */
static PyObject *next_item(ReaderObject *self)
{
    switch (self->reading) {
    case XF_READ_EVENTS:
        return next_event(self);
    case XF_READ_AHEAD:
        return look_ahead(self);
    case XF_READ_CHUNKS:
        break;
    }
    return next_chunk(self);
}

static PySendResult reader_step(PyObject *op, PyObject **result)
{
    ReaderObject *self = (ReaderObject *)op;
    TransferObject *transfer = self->transfer;
    *result = NULL;
    if (xf_http_engine_is_inherited(transfer->engine)) {
        (void)xf_http_transfer_check(transfer);
        return PYGEN_ERROR;
    }
    if (!self->broken) {
        *result = next_item(self);
    }
    if (*result != NULL) {
        return PYGEN_RETURN;
    }
    if (PyErr_Occurred()) {
        return PYGEN_ERROR;
    }
    if (self->broken || (transfer->net.done && !transfer->net.outcome.code)) {
        PyErr_SetNone(PyExc_StopAsyncIteration);
        return PYGEN_ERROR;
    }
    if (transfer->net.done) {
        self->broken = true; /* the error is raised once */
        xf_http_transfer_raise(transfer);
        return PYGEN_ERROR;
    }
    if (xf_http_transfer_check(transfer) < 0) {
        return PYGEN_ERROR;
    }
    *result = xf_http_waiter_park(transfer);
    return *result != NULL ? PYGEN_NEXT : PYGEN_ERROR;
}

static PySendResult reader_send(PyObject *op, PyObject *Py_UNUSED(value), PyObject **result)
{
    return reader_step(op, result);
}

static PyObject *reader_next(PyObject *op)
{
    return xf_http_await_next(op, reader_step);
}

static PyObject *reader_send_method(PyObject *op, PyObject *Py_UNUSED(value))
{
    return xf_http_await_next(op, reader_step);
}

static PyObject *reader_throw(PyObject *Py_UNUSED(op), PyObject *args)
{
    PyObject *type, *value = NULL, *traceback = NULL;
    if (!PyArg_UnpackTuple(args, "throw", 1, 3, &type, &value, &traceback)) {
        return NULL;
    }
    if (PyExceptionInstance_Check(type)) {
        PyErr_SetObject((PyObject *)Py_TYPE(type), type);
    } else {
        PyErr_SetObject(type, value);
    }
    return NULL;
}

static PyObject *reader_close(PyObject *Py_UNUSED(op), PyObject *Py_UNUSED(ignored))
{
    Py_RETURN_NONE; /* only the wait ends */
}

static void reader_dealloc(PyObject *op)
{
    ReaderObject *self = (ReaderObject *)op;
    PyTypeObject *type = Py_TYPE(op);
    xf_sse_free(&self->sse);
    Py_XDECREF(self->last_id);
    Py_XDECREF(self->transfer);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyObject *self_reference(PyObject *self)
{
    return Py_NewRef(self);
}

static PyMethodDef reader_methods[] = {
    XF_AWAIT_METHOD(xf_http_await_method),
    {"send", reader_send_method, METH_O, NULL},
    {"throw", reader_throw, METH_VARARGS, NULL},
    {"close", reader_close, METH_NOARGS, NULL},
    {0},
};

/* The reader is its own awaitable: one step for each item, without an object for each wait. */
static PyType_Slot reader_slots[] = {
    {Py_tp_doc, "An answer's body as an async iterator."},
    {Py_am_aiter, self_reference},
    {Py_am_anext, self_reference},
    {Py_am_await, self_reference},
    {Py_am_send, reader_send},
    {Py_tp_iternext, reader_next},
    {Py_tp_methods, reader_methods},
    {Py_tp_dealloc, reader_dealloc},
    {0},
};

PyType_Spec xf_http_reader_spec = {
    .name = "xtremeflow._http.Reader",
    .basicsize = sizeof(ReaderObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = reader_slots,
};
