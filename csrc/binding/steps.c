#include "binding/steps.h"

typedef struct StepsObject {
    PyObject_HEAD PyObject *awaitable; /* has tp_iternext, send(), throw() and close() */
} StepsObject;

PyObject *xf_steps_new(PyTypeObject *steps_type, PyObject *awaitable)
{
    StepsObject *self = (StepsObject *)steps_type->tp_alloc(steps_type, 0);
    if (self != NULL) {
        self->awaitable = Py_NewRef(awaitable);
    }
    return (PyObject *)self;
}

static PyObject *xf_steps_next(PyObject *self)
{
    PyObject *awaitable = ((StepsObject *)self)->awaitable;
    return Py_TYPE(awaitable)->tp_iternext(awaitable);
}

/* send(), throw() and close() are the awaitable's. */
static PyObject *xf_steps_get(PyObject *self, PyObject *name)
{
    PyObject *own = PyObject_GenericGetAttr(self, name);
    if (own != NULL || !PyErr_ExceptionMatches(PyExc_AttributeError)) {
        return own;
    }
    PyErr_Clear();
    return PyObject_GetAttr(((StepsObject *)self)->awaitable, name);
}

static int xf_steps_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(((StepsObject *)self)->awaitable);
    return 0;
}

static void xf_steps_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    Py_DECREF(((StepsObject *)self)->awaitable);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyType_Slot xf_steps_slots[] = {
    {Py_tp_dealloc, xf_steps_dealloc}, {Py_tp_traverse, xf_steps_traverse},
    {Py_tp_getattro, xf_steps_get},    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, xf_steps_next},   {0, NULL},
};

PyType_Spec xf_steps_spec = {
    .name = "xtremeflow.Steps",
    .basicsize = sizeof(StepsObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = xf_steps_slots,
};
