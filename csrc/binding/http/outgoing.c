/* Outgoing: what a session is to send, as a record. */
#include "binding/http/http.h"

#include <stddef.h>
#include <structmember.h>

/* In the order in which they may be given; the first are given by place or by name, the rest by
   name alone. */
static const struct {
    const char *name;
    size_t offset;
} fields[XF_OUTGOING_FIELDS] = {
    {"method", offsetof(OutgoingObject, method)},
    {"url", offsetof(OutgoingObject, url)},
    {"headers", offsetof(OutgoingObject, headers)},
    {"body", offsetof(OutgoingObject, body)},
    {"json", offsetof(OutgoingObject, json)},
    {"timeout", offsetof(OutgoingObject, timeout)},
    {"idle_timeout", offsetof(OutgoingObject, idle_timeout)},
    {"connect_timeout", offsetof(OutgoingObject, connect_timeout)},
    {"stream", offsetof(OutgoingObject, stream)},
    {"idempotent", offsetof(OutgoingObject, idempotent)},
    {"upload_size", offsetof(OutgoingObject, upload_size)},
    {"bare", offsetof(OutgoingObject, bare)},
    {"foreign", offsetof(OutgoingObject, foreign)},
};
enum { NEEDED = 2, BY_PLACE = 4 };

int xf_http_outgoing_names(xf_http_module *state)
{
    for (int i = 0; i < XF_OUTGOING_FIELDS; i++) {
        if ((state->outgoing_names[i] = PyUnicode_InternFromString(fields[i].name)) == NULL) {
            return -1;
        }
    }
    return 0;
}

static PyObject **field(OutgoingObject *self, Py_ssize_t i)
{
    return (PyObject **)((char *)self + fields[i].offset);
}

/* The number of the field of that name, or -1 with an exception. */
static int number_of(const xf_http_module *state, PyObject *name)
{
    for (int i = 0; i < XF_OUTGOING_FIELDS; i++) {
        if (name == state->outgoing_names[i]) {
            return i;
        }
    }
    for (int i = 0; i < XF_OUTGOING_FIELDS; i++) { /* names in a call are interned nearly always */
        if (PyUnicode_Compare(name, state->outgoing_names[i]) == 0) {
            return i;
        }
    }
    PyErr_Format(PyExc_TypeError, "a request has no %R", name);
    return -1;
}

/* Stores the values of `names`, borrowed. The first `given` fields may not be among them. */
static int set_named(OutgoingObject *self, const xf_http_module *state, PyObject *const *values,
                     PyObject *names, Py_ssize_t given)
{
    for (Py_ssize_t i = 0; names != NULL && i < PyTuple_GET_SIZE(names); i++) {
        int n = number_of(state, PyTuple_GET_ITEM(names, i));
        if (n >= 0 && n < given) {
            PyErr_Format(PyExc_TypeError, "a request got its %s twice", fields[n].name);
            n = -1;
        }
        if (n < 0) {
            return -1;
        }
        *field(self, n) = values[i];
    }
    return 0;
}

/* Takes references to the fields of a new request, borrowed until here. NULL if it is `bad`. */
static PyObject *owning(OutgoingObject *self, bool bad)
{
    for (Py_ssize_t i = 0; i < XF_OUTGOING_FIELDS; i++) {
        Py_XINCREF(*field(self, i));
    }
    if (bad) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

/* Outgoing(method, url, headers=None, body=None, *, ...); what is not given is as in the stub. */
PyObject *xf_http_outgoing_call(PyObject *type, PyObject *const *args, size_t nargsf,
                                PyObject *kwnames)
{
    Py_ssize_t given = PyVectorcall_NARGS(nargsf);
    if (given > BY_PLACE) {
        PyErr_Format(PyExc_TypeError, "a request takes %d arguments by place, not %zd", BY_PLACE,
                     given);
        return NULL;
    }
    OutgoingObject *self = PyObject_New(OutgoingObject, (PyTypeObject *)type);
    if (self == NULL) {
        return NULL;
    }
    self->method = self->url = NULL;
    self->headers = self->body = self->idempotent = self->upload_size = Py_None;
    self->json = self->stream = self->bare = self->foreign = Py_False;
    self->timeout = self->idle_timeout = self->connect_timeout = Py_Ellipsis;
    for (Py_ssize_t i = 0; i < given; i++) {
        *field(self, i) = args[i];
    }
    const xf_http_module *state = PyType_GetModuleState((PyTypeObject *)type);
    bool bad = set_named(self, state, args + given, kwnames, given) < 0;
    if (!bad && (self->method == NULL || self->url == NULL)) {
        PyErr_SetString(PyExc_TypeError, "a request needs a method and a url");
        bad = true;
    }
    return owning(self, bad);
}

/* replace(**fields): the same request with other values of these fields. */
static PyObject *outgoing_replace(PyObject *op, PyObject *const *args, Py_ssize_t given,
                                  PyObject *kwnames)
{
    if (given) {
        PyErr_Format(PyExc_TypeError, "replace() takes names and values, not %zd values alone",
                     given);
        return NULL;
    }
    OutgoingObject *self = PyObject_New(OutgoingObject, Py_TYPE(op));
    if (self == NULL) {
        return NULL;
    }
    for (Py_ssize_t i = 0; i < XF_OUTGOING_FIELDS; i++) {
        *field(self, i) = *field((OutgoingObject *)op, i);
    }
    const xf_http_module *state = PyType_GetModuleState(Py_TYPE(op));
    return owning(self, set_named(self, state, args, kwnames, 0) < 0);
}

static void outgoing_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    for (Py_ssize_t i = 0; i < XF_OUTGOING_FIELDS; i++) {
        Py_XDECREF(*field((OutgoingObject *)op, i));
    }
    PyObject_Free(op);
    Py_DECREF(type);
}

#define MEMBER(name, doc) {#name, T_OBJECT_EX, offsetof(OutgoingObject, name), READONLY, doc}

static PyMemberDef outgoing_members[] = {
    MEMBER(method, "str"),
    MEMBER(url, "str"),
    MEMBER(headers, "a mapping, or pairs, or None"),
    MEMBER(body, "a buffer, or None"),
    MEMBER(json, "whether the body is JSON"),
    MEMBER(timeout, "seconds, None, or ... for the session's"),
    MEMBER(idle_timeout, "the same"),
    MEMBER(connect_timeout, "the same"),
    MEMBER(stream, "whether the answer's body is read as it comes"),
    MEMBER(idempotent, "whether it may be sent twice; None: the method tells"),
    MEMBER(upload_size, "bytes that will be fed, -1: unknown; None: the body is all"),
    MEMBER(bare, "without the session's headers"),
    MEMBER(foreign, "redirected to a host that the caller did not name: without the session's "
                    "certificate"),
    {0},
};

static PyMethodDef outgoing_methods[] = {
    {"replace", (PyCFunction)(void (*)(void))outgoing_replace, METH_FASTCALL | METH_KEYWORDS,
     "replace($self, /, **fields)\n--\n\nThe same request with other values of these fields."},
    {0},
};

static PyType_Slot outgoing_slots[] = {
    {Py_tp_doc, "Outgoing(method, url, headers=None, body=None, *, json=False, timeout=...,\n"
                "        idle_timeout=..., connect_timeout=..., stream=False, idempotent=None,\n"
                "        upload_size=None, bare=False, foreign=False)\n"
                "--\n\n"
                "What Session.call() is to send."},
    {Py_tp_members, outgoing_members},
    {Py_tp_methods, outgoing_methods},
    {Py_tp_dealloc, outgoing_dealloc},
    {0},
};

/* Made by xf_http_outgoing_call() alone, so that no field is ever missing. */
PyType_Spec xf_http_outgoing_spec = {
    .name = "xtremeflow._http.Outgoing",
    .basicsize = sizeof(OutgoingObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = outgoing_slots,
};
