/* The usage in answers and the bounds in requests, for Python: csrc/net/usage.h. */
#include "binding/http/http.h"
#include "net/usage.h"

static PyObject *usage_tuple(const xf_usage_scan *scan)
{
    xf_usage u;
    if (!xf_usage_read(scan, &u)) {
        Py_RETURN_NONE;
    }
    return Py_BuildValue("(LLLL)", (long long)u.input, (long long)u.output, (long long)u.cached,
                         (long long)u.kept);
}

PyObject *xf_http_usage_in(PyObject *Py_UNUSED(module), PyObject *body)
{
    xf_usage_scan scan;
    Py_buffer view;
    if (PyObject_GetBuffer(body, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    xf_usage_begin(&scan);
    xf_usage_push(&scan, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    return usage_tuple(&scan);
}

PyObject *xf_http_asked(PyObject *Py_UNUSED(module), PyObject *body)
{
    xf_asked a;
    Py_buffer view;
    if (PyObject_GetBuffer(body, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    xf_asked_read(&a, view.buf, (size_t)view.len);
    PyObject *model =
        PyUnicode_DecodeUTF8(a.model != NULL ? a.model : "", (Py_ssize_t)a.model_size, "replace");
    PyBuffer_Release(&view);
    PyObject *most = model == NULL ? NULL
                     : a.most >= 0 ? PyLong_FromLongLong(a.most)
                                   : Py_NewRef(Py_None);
    PyObject *both = most != NULL ? PyTuple_Pack(2, model, most) : NULL;
    Py_XDECREF(model);
    Py_XDECREF(most);
    return both;
}

/* ---- the tap ---- */

typedef struct TapObject {
    PyObject_HEAD xf_usage_scan scan;
} TapObject;

static PyObject *tap_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    if (PyTuple_GET_SIZE(args) || (kwargs != NULL && PyDict_GET_SIZE(kwargs))) {
        PyErr_SetString(PyExc_TypeError, "Tap() takes no arguments");
        return NULL;
    }
    TapObject *self = (TapObject *)type->tp_alloc(type, 0);
    if (self != NULL) {
        xf_usage_begin(&self->scan);
    }
    return (PyObject *)self;
}

static PyObject *tap_see(PyObject *op, PyObject *piece)
{
    Py_buffer view;
    if (PyObject_GetBuffer(piece, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    xf_usage_push(&((TapObject *)op)->scan, view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    Py_RETURN_NONE;
}

static PyObject *tap_see_event(PyObject *op, PyObject *data)
{
    Py_ssize_t size;
    const char *text = PyUnicode_AsUTF8AndSize(data, &size);
    if (text == NULL) {
        return NULL;
    }
    xf_usage_event(&((TapObject *)op)->scan, text, (size_t)size);
    Py_RETURN_NONE;
}

static PyObject *tap_used(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return usage_tuple(&((TapObject *)op)->scan);
}

static void tap_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyMethodDef tap_methods[] = {
    {"see", tap_see, METH_O, "The next piece of the body."},
    {"see_event", tap_see_event, METH_O, "Instead: the data of the next event."},
    {"used", tap_used, METH_NOARGS, "(input, output, cached) tokens, or None: nothing is said."},
    {0},
};

static PyType_Slot tap_slots[] = {
    {Py_tp_doc, "Reads the usage of a streamed answer as it passes."},
    {Py_tp_new, tap_new},
    {Py_tp_methods, tap_methods},
    {Py_tp_dealloc, tap_dealloc},
    {0},
};

PyType_Spec xf_http_tap_spec = {
    .name = "xtremeflow._http.Tap",
    .basicsize = sizeof(TapObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = tap_slots,
};
