#include "binding/record.h"

PyObject *xf_record_new(PyTypeObject *type, PyObject *const *fields, Py_ssize_t n)
{
    PyObject *made = PyStructSequence_New(type);
    for (Py_ssize_t i = 0; i < n; i++) {
        if (made != NULL && fields[i] != NULL) {
            PyStructSequence_SET_ITEM(made, i, fields[i]);
            continue;
        }
        Py_XDECREF(fields[i]);
        Py_CLEAR(made); /* with the fields that it has */
    }
    return made;
}

PyObject *xf_row_new(PyObject *const *fields, Py_ssize_t n)
{
    PyObject *made = PyTuple_New(n);
    for (Py_ssize_t i = 0; i < n; i++) {
        if (made != NULL && fields[i] != NULL) {
            PyTuple_SET_ITEM(made, i, fields[i]);
            continue;
        }
        Py_XDECREF(fields[i]);
        Py_CLEAR(made);
    }
    return made;
}
