#include "binding/scheduler/limits.h"

int xf_parse_limit(PyObject *item, PyObject **name, xf_definition *limit)
{
    double amount, per, capacity;
    if (!PyTuple_Check(item)) {
        PyErr_Format(PyExc_TypeError, "a limit is (name, amount, per, capacity), not %R", item);
        return -1;
    }
    if (!PyArg_ParseTuple(item, "Uddd:limit", name, &amount, &per, &capacity)) {
        return -1;
    }
    if (!xf_define(limit, amount, per, capacity)) {
        PyErr_Format(PyExc_ValueError,
                     "the limit %R cannot be kept: amount and period must be finite and > 0, the "
                     "capacity >= 0, the rate from 0.001 to 1e12 per second and the capacity not "
                     "far above a minute's worth of it",
                     item);
        return -1;
    }
    return 0;
}

int xf_parse_slots(PyObject *value, uint32_t *slots)
{
    if (value == NULL || value == Py_None) {
        *slots = XF_UNLIMITED;
        return 0;
    }
    if (!PyIndex_Check(value)) {
        PyErr_Format(PyExc_TypeError, "max_concurrency must be a whole number or None, not %R",
                     value);
        return -1;
    }
    Py_ssize_t n = PyNumber_AsSsize_t(value, NULL);
    if (n == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (n <= 0) {
        PyErr_Format(PyExc_ValueError, "max_concurrency must be positive, got %R", value);
        return -1;
    }
    *slots = n < XF_UNLIMITED ? (uint32_t)n : XF_UNLIMITED;
    return 0;
}

xf_kind xf_kind_of(xf_module *st, PyObject *name)
{
    return PyUnicode_Compare(name, st->s_requests) == 0 ? XF_KIND_REQUESTS
           : PyUnicode_Compare(name, st->s_tokens) == 0 ? XF_KIND_TOKENS
                                                        : XF_KIND_OTHER;
}

int xf_parse_place(PyObject *item, PyObject **name, xf_definition *limit)
{
    if (!PyUnicode_Check(item)) {
        PyErr_Format(PyExc_TypeError, "places must be names of limits, not %R", item);
        return -1;
    }
    *name = item;
    (void)xf_define(limit, 1e12, 1, 1e12);
    return 0;
}

xf_kind xf_kind_of_place(xf_module *st, PyObject *name)
{
    bool is_input = PyUnicode_CompareWithASCIIString(name, "input_tokens") == 0;
    return is_input ? XF_KIND_TOKENS : xf_kind_of(st, name);
}

PyObject *xf_units_from(const int64_t *units, uint32_t n)
{
    PyObject *row = PyTuple_New(n);
    for (uint32_t i = 0; row != NULL && i < n; i++) {
        PyObject *value = PyLong_FromLongLong(units[i]);
        if (value == NULL) {
            Py_CLEAR(row);
        } else {
            PyTuple_SET_ITEM(row, i, value);
        }
    }
    return row;
}
