#include "binding/http/http.h"

#include <stddef.h>

PyObject *xf_http_transfer_new(SessionObject *session, PyObject *method, PyObject *url,
                               xf_header_list *headers, const xf_request *request, PyObject *body)
{
    PyTypeObject *type = session->state->transfer_type;
    TransferObject *self = (TransferObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        xf_http_headers_release(headers);
        return NULL;
    }
    xf_request r = *request;
    self->headers = headers;
    self->session = (SessionObject *)Py_NewRef(session);
    self->method = Py_NewRef(method);
    self->url = Py_NewRef(url);
    r.method = PyUnicode_AsUTF8(method);
    r.url = PyUnicode_AsUTF8(url);
    if (body != Py_None && !r.upload) {
        if (PyObject_GetBuffer(body, &self->body, PyBUF_SIMPLE) < 0) {
            if (PyErr_ExceptionMatches(PyExc_TypeError)) {
                PyErr_Format(PyExc_TypeError,
                             "content must be bytes, str or an async iterable of bytes, not a %s",
                             Py_TYPE(body)->tp_name);
            }
            self->phase = XF_TRANSFER_ANSWERED; /* it could never be awaited */
            Py_DECREF(self);
            return NULL;
        }
        r.body = self->body.buf;
        r.body_size = (size_t)self->body.len;
    }
    r.headers = xf_http_headers_lines(headers, r.upload || r.body_size > 100000);
    xf_transfer_init(&self->net, &r);
    return (PyObject *)self;
}

/* Whether the transfer may be passed to csrc/net. */
static bool is_ours(const TransferObject *self)
{
    return self->engine == NULL || !xf_http_engine_is_inherited(self->engine);
}

/* ---- news ---- */

static TransferObject *owner(xf_transfer *net)
{
    return (TransferObject *)((char *)net - offsetof(TransferObject, net));
}

static void tell_room(TransferObject *self)
{
    PyObject *room = self->room, *done = NULL;
    self->room = NULL;
    if (room == NULL) {
        return;
    }
    xf_http_module *state = self->session->state;
    PyObject *is_done = PyObject_CallMethodNoArgs(room, state->str_done);
    if (is_done == Py_False) {
        done = PyObject_CallMethodOneArg(room, state->str_set_result, Py_None);
    }
    if (PyErr_Occurred()) {
        PyErr_WriteUnraisable(room);
    }
    Py_XDECREF(is_done);
    Py_XDECREF(done);
    Py_DECREF(room);
}

int xf_http_transfer_news(xf_transfer *net, unsigned what)
{
    TransferObject *self = owner(net);
    int result = 0;
    Py_INCREF(self);
    if (what & (XF_ROOM | XF_DONE) && self->room != NULL) {
        tell_room(self);
    }
    if (what & ~XF_ROOM && self->waiter != NULL) {
        result = xf_http_waiter_wake(self->waiter);
    }
    Py_DECREF(self);
    return result;
}

void xf_http_transfer_hold(xf_transfer *net)
{
    Py_INCREF(owner(net));
}

void xf_http_transfer_closed(xf_transfer *net)
{
    TransferObject *self = owner(net);
    tell_room(self);
    if (self->waiter != NULL) {
        xf_http_waiter_wake_later(self->waiter);
    }
    Py_DECREF(self);
}

/* ---- the coroutine ---- */

static void raise_ending(const TransferObject *self, const xf_ending *o)
{
    const xf_buffer *head = &self->net.head;
    bool has_begun = self->net.head_done;
    const xf_http_failure failure = {
        .code = o->code,
        .message = o->message,
        .os_errno = o->os_errno,
        .retry_safe = o->unsent || self->net.request.repeatable,
        .connected = o->connected,
        .status = has_begun ? self->net.status : 0,
        .head = has_begun ? xf_buffer_data(head) : NULL,
        .head_size = has_begun ? (Py_ssize_t)xf_buffer_size(head) : 0,
        .times = self->net.times,
        .connects = o->connects,
        .sends = o->sends,
    };
    xf_http_raise(self->session, self->method, self->url, &failure);
}

void xf_http_transfer_raise(TransferObject *self)
{
    raise_ending(self, &self->net.outcome);
}

int xf_http_transfer_check(TransferObject *self)
{
    xf_ending ending = {.code = self->engine != NULL ? xf_http_engine_fault(self->engine) : 0};
    if (!ending.code) {
        return 0;
    }
    raise_ending(self, &ending);
    return -1;
}

static int start(TransferObject *self)
{
    xf_ending refused = {.unsent = true};
    EngineObject *engine = xf_http_session_engine(self->session, &refused);
    if (engine == NULL) {
        if (!PyErr_Occurred()) {
            raise_ending(self, &refused);
        }
        return -1;
    }
    self->engine = (EngineObject *)Py_NewRef(engine);
    self->phase = XF_TRANSFER_FLYING;
    int bad = xf_transfer_start(&self->net, engine->net, xf_http_clock_now());
    if (bad) {
        self->net.outcome.code = bad;
        self->net.outcome.unsent = true;
        self->net.done = true;
    }
    return 0;
}

static PySendResult answer(TransferObject *self, PyObject **result)
{
    self->phase = XF_TRANSFER_ANSWERED;
    if (self->net.outcome.code && !(self->net.request.stream && self->net.head_done)) {
        xf_http_transfer_raise(self);
        return PYGEN_ERROR;
    }
    *result = self->net.request.stream ? Py_NewRef(self) : xf_http_response_new(self);
    return *result != NULL ? PYGEN_RETURN : PYGEN_ERROR;
}

static PySendResult transfer_step(PyObject *op, PyObject **result)
{
    TransferObject *self = (TransferObject *)op;
    *result = NULL;
    if (self->phase == XF_TRANSFER_ANSWERED) {
        PyErr_SetString(PyExc_RuntimeError, "cannot await a call a second time");
        return PYGEN_ERROR;
    }
    if (self->phase == XF_TRANSFER_FRESH && start(self) < 0) {
        self->phase = XF_TRANSFER_ANSWERED;
        return PYGEN_ERROR;
    }
    if (self->net.done || (self->net.request.stream && self->net.head_done)) {
        return answer(self, result);
    }
    *result = xf_http_waiter_park(self);
    return *result != NULL ? PYGEN_NEXT : PYGEN_ERROR;
}

static PySendResult transfer_send(PyObject *op, PyObject *Py_UNUSED(value), PyObject **result)
{
    return transfer_step(op, result);
}

PyObject *xf_http_await_next(PyObject *self, xf_http_step_function step)
{
    PyObject *result;
    switch (step(self, &result)) {
    case PYGEN_NEXT:
        return result;
    case PYGEN_RETURN: {
        /* by call: a tuple given to PyErr_SetObject would be torn apart */
        PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, result);
        Py_DECREF(result);
        if (stop != NULL) {
            PyErr_SetObject(PyExc_StopIteration, stop);
            Py_DECREF(stop);
        }
        return NULL;
    }
    default:
        return NULL;
    }
}

PyObject *xf_http_await_method(PyObject *self, PyTypeObject *cls, PyObject *const *args,
                               Py_ssize_t nargs, PyObject *names)
{
    (void)args;
    if (nargs || names != NULL) {
        PyErr_SetString(PyExc_TypeError, "__await__() takes no arguments");
        return NULL;
    }
    xf_http_module *state = PyType_GetModuleState(cls);
    return xf_steps_new(state->steps_type, self);
}

static PyObject *transfer_next(PyObject *op)
{
    return xf_http_await_next(op, transfer_step);
}

static PyObject *transfer_send_method(PyObject *op, PyObject *Py_UNUSED(value))
{
    return xf_http_await_next(op, transfer_step);
}

/* Raises the arguments of a coroutine's throw(). */
static void set_thrown(PyObject *type, PyObject *value)
{
    if (PyExceptionInstance_Check(type)) {
        PyErr_SetObject((PyObject *)Py_TYPE(type), type);
    } else if (PyExceptionClass_Check(type)) {
        PyErr_SetObject(type, value != NULL && value != Py_None ? value : NULL);
    } else {
        PyErr_Format(PyExc_TypeError, "throw() takes an exception, not %R", type);
    }
}

static void give_up(TransferObject *self)
{
    if (self->phase == XF_TRANSFER_FLYING && is_ours(self)) {
        xf_transfer_cancel(&self->net);
    }
    self->phase = XF_TRANSFER_ANSWERED;
}

static PyObject *transfer_throw(PyObject *op, PyObject *args)
{
    PyObject *type, *value = NULL, *traceback = NULL;
    if (!PyArg_UnpackTuple(args, "throw", 1, 3, &type, &value, &traceback)) {
        return NULL;
    }
    give_up((TransferObject *)op);
    set_thrown(type, value);
    return NULL;
}

static PyObject *transfer_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    give_up((TransferObject *)op);
    Py_RETURN_NONE;
}

static PyObject *transfer_entrust(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    ((TransferObject *)op)->entrusted = true;
    Py_RETURN_NONE;
}

/* ---- of a streamed answer ---- */

static PyObject *transfer_abort(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    if (is_ours((TransferObject *)op)) {
        xf_transfer_cancel(&((TransferObject *)op)->net);
    }
    Py_RETURN_NONE;
}

static PyObject *transfer_chunks(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return xf_http_reader_new((TransferObject *)op, XF_READ_CHUNKS, 0);
}

static PyObject *transfer_ahead(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return xf_http_reader_new((TransferObject *)op, XF_READ_AHEAD, 0);
}

static PyObject *transfer_events(PyObject *op, PyObject *limit)
{
    Py_ssize_t size = PyNumber_AsSsize_t(limit, PyExc_OverflowError);
    if (size == -1 && PyErr_Occurred()) {
        return NULL;
    }
    if (size < 1) {
        return PyErr_Format(PyExc_ValueError, "max_event must be 1 or more bytes, not %zd", size);
    }
    return xf_http_reader_new((TransferObject *)op, XF_READ_EVENTS, size);
}

/* ---- of a streamed request ---- */

static PyObject *transfer_feed(PyObject *op, PyObject *bytes)
{
    TransferObject *self = (TransferObject *)op;
    Py_buffer view;
    if (xf_http_transfer_check(self) < 0) {
        return NULL;
    }
    if (PyObject_GetBuffer(bytes, &view, PyBUF_SIMPLE) < 0) {
        if (PyErr_ExceptionMatches(PyExc_TypeError)) {
            PyErr_Format(PyExc_TypeError,
                         "an async iterable as content must give bytes, but it gave a %s",
                         Py_TYPE(bytes)->tp_name);
        }
        return NULL;
    }
    int bad = xf_transfer_send(&self->net, view.buf, (size_t)view.len, xf_http_clock_now());
    PyBuffer_Release(&view);
    if (bad) {
        return PyErr_NoMemory();
    }
    return PyLong_FromSize_t(xf_buffer_size(&self->net.upload));
}

static PyObject *transfer_feed_end(PyObject *op, PyObject *aborted)
{
    if (is_ours((TransferObject *)op)) {
        xf_transfer_send_end(&((TransferObject *)op)->net, aborted == Py_True, xf_http_clock_now());
    }
    Py_RETURN_NONE;
}

static PyObject *transfer_set_room(PyObject *op, PyObject *future)
{
    TransferObject *self = (TransferObject *)op;
    Py_XSETREF(self->room, Py_NewRef(future));
    if (self->net.done || !xf_buffer_size(&self->net.upload)) {
        tell_room(self);
    }
    Py_RETURN_NONE;
}

/* ---- attributes ---- */

static PyObject *get_status(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromLong(((TransferObject *)op)->net.status);
}

static PyObject *get_http_version(PyObject *op, void *Py_UNUSED(closure))
{
    return PyLong_FromLong(((TransferObject *)op)->net.http_version);
}

static PyObject *get_head(PyObject *op, void *Py_UNUSED(closure))
{
    const xf_buffer *head = &((TransferObject *)op)->net.head;
    return PyBytes_FromStringAndSize(xf_buffer_data(head), (Py_ssize_t)xf_buffer_size(head));
}

static PyObject *get_times(PyObject *op, void *Py_UNUSED(closure))
{
    TransferObject *self = (TransferObject *)op;
    return xf_http_times_new(self->session->state, &self->net.times, self->net.outcome.connects,
                             self->net.outcome.sends);
}

static PyObject *get_done(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(((TransferObject *)op)->net.done);
}

static PyObject *get_done_well(PyObject *op, void *Py_UNUSED(closure))
{
    const xf_transfer *net = &((TransferObject *)op)->net;
    return PyBool_FromLong(net->done && !net->outcome.code);
}

static PyObject *get_url(PyObject *op, void *Py_UNUSED(closure))
{
    return Py_NewRef(((TransferObject *)op)->url);
}

static PyObject *get_method(PyObject *op, void *Py_UNUSED(closure))
{
    return Py_NewRef(((TransferObject *)op)->method);
}

/* ---- life ---- */

static void transfer_finalize(PyObject *op)
{
    TransferObject *self = (TransferObject *)op;
    if (self->phase != XF_TRANSFER_FRESH || self->entrusted || self->session == NULL) {
        return;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *shown = PyObject_CallOneArg(self->session->shown, self->url);
    if (shown == NULL ||
        PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "call to %S was never awaited", shown) < 0) {
        PyErr_WriteUnraisable(op);
    }
    Py_XDECREF(shown);
    PyErr_Restore(type, value, traceback);
}

static void transfer_dealloc(PyObject *op)
{
    TransferObject *self = (TransferObject *)op;
    PyTypeObject *type = Py_TYPE(op);
    if (PyObject_CallFinalizerFromDealloc(op) < 0) {
        return;
    }
    if (is_ours(self)) {
        xf_transfer_free(&self->net);
    }
    if (self->waiter != NULL) {
        self->waiter->transfer = NULL;
    }
    Py_XDECREF(self->waiter);
    Py_XDECREF(self->room);
    Py_XDECREF(self->engine);
    Py_XDECREF(self->url);
    Py_XDECREF(self->method);
    Py_XDECREF(self->session);
    PyBuffer_Release(&self->body);
    xf_http_headers_release(self->headers);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyMethodDef transfer_methods[] = {
    XF_AWAIT_METHOD(xf_http_await_method),
    {"send", transfer_send_method, METH_O, NULL},
    {"throw", transfer_throw, METH_VARARGS, NULL},
    {"close", transfer_close, METH_NOARGS, NULL},
    {"entrust", transfer_entrust, METH_NOARGS, "To a coroutine: unawaited, that one warns."},
    {"abort", transfer_abort, METH_NOARGS, "Frees the connection; what was received stays."},
    {"chunks", transfer_chunks, METH_NOARGS, "The body as it comes, an async iterator of bytes."},
    {"ahead", transfer_ahead, METH_NOARGS, "What came of the body, each time more did; it stays."},
    {"events", transfer_events, METH_O, "The body's events, an async iterator; argument: limit."},
    {"feed", transfer_feed, METH_O, "Adds to the upload; the number of bytes not yet sent."},
    {"feed_end", transfer_feed_end, METH_O, "Ends the upload; True: it is broken off."},
    {"set_room", transfer_set_room, METH_O, "Resolves a future when the upload has room."},
    {0},
};

static PyGetSetDef transfer_getset[] = {
    {"status", get_status, NULL, NULL, NULL},
    {"http_version", get_http_version, NULL, NULL, NULL},
    {"head", get_head, NULL, NULL, NULL},
    {"times", get_times, NULL, NULL, NULL},
    {"done", get_done, NULL, NULL, NULL},
    {"done_well", get_done_well, NULL, NULL, NULL},
    {"url", get_url, NULL, NULL, NULL},
    {"method", get_method, NULL, NULL, NULL},
    {0},
};

static PyObject *self_reference(PyObject *self)
{
    return Py_NewRef(self);
}

static PyType_Slot transfer_slots[] = {
    {Py_tp_doc, "One call, to be awaited once."},
    {Py_am_await, self_reference},
    {Py_am_send, transfer_send},
    {Py_tp_iternext, transfer_next},
    {Py_tp_methods, transfer_methods},
    {Py_tp_getset, transfer_getset},
    {Py_tp_finalize, transfer_finalize},
    {Py_tp_dealloc, transfer_dealloc},
    {0},
};

PyType_Spec xf_http_transfer_spec = {
    .name = "xtremeflow._http.Transfer",
    .basicsize = sizeof(TransferObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = transfer_slots,
};
