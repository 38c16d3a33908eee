#include "binding/http/http.h"
#include "net/head.h"

#include <structmember.h>
#include <stddef.h>

/* ---- times ---- */

static PyStructSequence_Field times_fields[] = {
    {"lookup", "microseconds until the name was resolved"},
    {"connect", "until the connection was made"},
    {"tls", "until TLS had shaken hands"},
    {"ready", "until the request could be sent"},
    {"first_byte", "until the answer's first byte"},
    {"total", "until the end"},
    {"connects", "connections that were made for it"},
    {"sends", "how often it was sent"},
    {NULL, NULL},
};

PyStructSequence_Desc xf_http_times_desc = {
    "xtremeflow._http.Times", "How long a transfer took to get where, from its start.",
    times_fields, 8};

PyObject *xf_http_times_new(const xf_http_module *state, const xf_times *t, long connects,
                            int sends)
{
    const long long values[] = {t->lookup,     t->connect, t->tls,   t->ready,
                                t->first_byte, t->total,   connects, sends};
    PyObject *record = PyStructSequence_New(state->times_type);
    for (Py_ssize_t i = 0; record != NULL && i < (Py_ssize_t)Py_ARRAY_LENGTH(values); i++) {
        PyObject *value = PyLong_FromLongLong(values[i]);
        if (value == NULL) {
            Py_CLEAR(record);
            break;
        }
        PyStructSequence_SetItem(record, i, value);
    }
    return record;
}

int xf_http_times_read(PyObject *record, xf_times *t, long *connects, int *sends)
{
    long long lookup, connect, tls, ready, first_byte, total;
    if (!PyArg_ParseTuple(record, "LLLLLLli:Times", &lookup, &connect, &tls, &ready, &first_byte,
                          &total, connects, sends)) {
        return -1;
    }
    *t = (xf_times){lookup, connect, tls, ready, first_byte, total};
    return 0;
}

/* ---- response ---- */

static PyObject *bytes_of(const xf_buffer *b)
{
    return PyBytes_FromStringAndSize(xf_buffer_data(b), (Py_ssize_t)xf_buffer_size(b));
}

PyObject *xf_http_response_new(TransferObject *transfer)
{
    PyTypeObject *type = (PyTypeObject *)transfer->session->response_type;
    xf_transfer *net = &transfer->net;
    ResponseObject *self = (ResponseObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->url = Py_NewRef(transfer->url);
    self->method = Py_NewRef(transfer->method);
    self->status = net->status;
    self->http_version = net->http_version;
    self->sends = net->outcome.sends;
    self->connects = net->outcome.connects;
    self->times = net->times;
    self->head = bytes_of(&net->head);
    self->body = bytes_of(&net->body);
    xf_buffer_free(&net->head);
    xf_buffer_free(&net->body);
    if (self->head == NULL || self->body == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

/* How long ago the head had come when the answer was whole, in seconds. */
static PyObject *response_lag(PyObject *op, void *Py_UNUSED(closure))
{
    const xf_times *t = &((ResponseObject *)op)->times;
    return PyFloat_FromDouble((double)(t->total - t->first_byte) / 1e6);
}

static void response_dealloc(PyObject *op)
{
    ResponseObject *self = (ResponseObject *)op;
    PyTypeObject *type = Py_TYPE(op);
    Py_XDECREF(self->url);
    Py_XDECREF(self->method);
    Py_XDECREF(self->head);
    Py_XDECREF(self->body);
    Py_XDECREF(self->headers);
    type->tp_free(op);
    Py_DECREF(type);
}

/* Of this module, which defines the base that classes in Python have. */
static const xf_http_module *state_of(PyTypeObject *type)
{
    while (type->tp_dealloc != response_dealloc) {
        type = type->tp_base;
    }
    return PyType_GetModuleState(type);
}

/* Makes a Response again from the arguments that __reduce__ of the Python class names. */
static PyObject *response_new_again(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    PyObject *url, *method, *head, *body, *record;
    int status, version, sends;
    long connects;
    double queued;
    xf_times times;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs)) {
        PyErr_SetString(PyExc_TypeError, "Response() takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "UUiSSidO!:Response", &url, &method, &status, &head, &body,
                          &version, &queued, state_of(type)->times_type, &record) ||
        xf_http_times_read(record, &times, &connects, &sends) < 0) {
        return NULL;
    }
    ResponseObject *self = (ResponseObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->url = Py_NewRef(url);
    self->method = Py_NewRef(method);
    self->head = Py_NewRef(head);
    self->body = Py_NewRef(body);
    self->status = status;
    self->http_version = version;
    self->queued = queued;
    self->sends = sends;
    self->connects = connects;
    self->times = times;
    return (PyObject *)self;
}

static PyObject *response_times(PyObject *op, void *Py_UNUSED(closure))
{
    ResponseObject *self = (ResponseObject *)op;
    return xf_http_times_new(state_of(Py_TYPE(op)), &self->times, self->connects, self->sends);
}

static PyMemberDef response_members[] = {
    {"url", T_OBJECT_EX, offsetof(ResponseObject, url), READONLY, "The URL that was asked."},
    {"method", T_OBJECT_EX, offsetof(ResponseObject, method), READONLY, "The request's method."},
    {"status", T_INT, offsetof(ResponseObject, status), READONLY, "The status code."},
    {"body", T_OBJECT_EX, offsetof(ResponseObject, body), READONLY, "The body, decoded, as bytes."},
    {"_head", T_OBJECT_EX, offsetof(ResponseObject, head), READONLY, NULL},
    {"_headers", T_OBJECT, offsetof(ResponseObject, headers), 0, NULL},
    {"_queued", T_DOUBLE, offsetof(ResponseObject, queued), 0, NULL},
    {"_version", T_INT, offsetof(ResponseObject, http_version), READONLY, NULL},
    {0},
};

static PyGetSetDef response_getset[] = {
    {"_lag", response_lag, NULL, NULL, NULL},
    {"_times", response_times, NULL, NULL, NULL},
    {0},
};

static PyType_Slot response_slots[] = {
    {Py_tp_doc, "The base of xtremeflow.http.Response."},
    {Py_tp_new, response_new_again},
    {Py_tp_members, response_members},
    {Py_tp_getset, response_getset},
    {Py_tp_dealloc, response_dealloc},
    {0},
};

PyType_Spec xf_http_response_spec = {
    .name = "xtremeflow._http.Response",
    .basicsize = sizeof(ResponseObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = response_slots,
};

/* ---- event ---- */

static PyObject *event_json(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    EventObject *self = (EventObject *)op;
    return PyObject_CallOneArg(self->state->loads, self->data);
}

static PyObject *event_retry(PyObject *op, void *Py_UNUSED(closure))
{
    int64_t retry = ((EventObject *)op)->retry;
    if (retry < 0) {
        Py_RETURN_NONE;
    }
    return PyLong_FromLongLong(retry);
}

static PyObject *event_repr(PyObject *op)
{
    EventObject *self = (EventObject *)op;
    return PyUnicode_FromFormat("Event(event=%R, data=%R, id=%R)", self->event, self->data,
                                self->id);
}

static void event_dealloc(PyObject *op)
{
    EventObject *self = (EventObject *)op;
    PyTypeObject *type = Py_TYPE(op);
    Py_XDECREF(self->data);
    Py_XDECREF(self->event);
    Py_XDECREF(self->id);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyMethodDef event_methods[] = {
    {"json", event_json, METH_NOARGS, "The data, decoded from JSON."},
    {0},
};

static PyMemberDef event_members[] = {
    {"data", T_OBJECT_EX, offsetof(EventObject, data), READONLY, "The data lines, joined by LF."},
    {"event", T_OBJECT_EX, offsetof(EventObject, event), READONLY,
     "The type; 'message' if not given."},
    {"id", T_OBJECT_EX, offsetof(EventObject, id), READONLY,
     "The last id that the stream gave, or ''."},
    {0},
};

static PyGetSetDef event_getset[] = {
    {"retry", event_retry, NULL, "The last reconnection time in milliseconds, or None.", NULL},
    {0},
};

static PyType_Slot event_slots[] = {
    {Py_tp_doc, "A server-sent event."},
    {Py_tp_methods, event_methods},
    {Py_tp_members, event_members},
    {Py_tp_getset, event_getset},
    {Py_tp_repr, event_repr},
    {Py_tp_dealloc, event_dealloc},
    {0},
};

PyType_Spec xf_http_event_spec = {
    .name = "xtremeflow._http.Event",
    .basicsize = sizeof(EventObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = event_slots,
};
