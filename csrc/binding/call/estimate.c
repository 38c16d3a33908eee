#include "binding/call/estimate.h"

#include <structmember.h>

static const char *const UNITS[XF_UNITS] = {"tokens", "input_tokens", "output_tokens"};

int xf_unit_of(PyObject *name)
{
    for (int unit = 0; unit < XF_UNITS; unit++) {
        if (PyUnicode_CompareWithASCIIString(name, UNITS[unit]) == 0) {
            return unit;
        }
    }
    return -1;
}

/* ---- numbers from Python ---- */

int64_t xf_tokens_of(PyObject *value, const char *name)
{
    int overflow = 0;
    const int64_t number = PyLong_AsLongLongAndOverflow(value, &overflow);
    if (number == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (overflow > 0 || number > XF_ESTIMATE_MOST) {
        return XF_ESTIMATE_MOST;
    }
    if (overflow < 0 || number < 0) {
        PyErr_Format(PyExc_ValueError, "%s must be 0 or more, not %R", name, value);
        return -1;
    }
    return number;
}

/* Reads a mapping of units to amounts. -1 with an error set. */
static int parse_amounts(EstimatedObject *e, PyObject *amounts)
{
    PyObject *items = PyMapping_Items(amounts), *name, *value;
    int r = items == NULL ? -1 : 0;
    for (Py_ssize_t i = 0; r == 0 && i < PyList_GET_SIZE(items); i++) {
        if (!PyArg_ParseTuple(PyList_GET_ITEM(items, i), "UO", &name, &value)) {
            r = -1;
            break;
        }
        const int unit = xf_unit_of(name);
        if (unit < 0) {
            PyErr_Format(PyExc_ValueError,
                         "amounts must be of tokens, input_tokens or "
                         "output_tokens, not of %R",
                         name);
            r = -1;
        } else if ((e->amounts[unit] = xf_tokens_of(value, UNITS[unit])) < 0) {
            r = -1;
        } else {
            e->units |= 1U << unit;
        }
    }
    Py_XDECREF(items);
    return r;
}

/* ---- Estimated ---- */

static PyObject *estimated_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"model", "input", "output", "most", "size", "amounts", NULL};
    PyObject *model, *input, *output, *most, *size, *amounts;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "UOOOOO:Estimate", keywords, &model, &input,
                                     &output, &most, &size, &amounts)) {
        return NULL;
    }
    EstimatedObject *e = (EstimatedObject *)type->tp_alloc(type, 0);
    if (e == NULL) {
        return NULL;
    }
    e->model = Py_NewRef(model);
    e->most = -1;
    if ((e->input = xf_tokens_of(input, "input")) < 0 ||
        (e->output = xf_tokens_of(output, "output")) < 0 ||
        (e->size = xf_tokens_of(size, "size")) < 0 ||
        (most != Py_None && (e->most = xf_tokens_of(most, "most")) < 0) ||
        parse_amounts(e, amounts) < 0) {
        Py_DECREF(e);
        return NULL;
    }
    return (PyObject *)e;
}

static void estimated_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    Py_XDECREF(((EstimatedObject *)op)->model);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyObject *get_most(PyObject *op, void *Py_UNUSED(closure))
{
    const int64_t most = ((EstimatedObject *)op)->most;
    return most < 0 ? Py_NewRef(Py_None) : PyLong_FromLongLong(most);
}

static PyObject *get_total(PyObject *op, void *Py_UNUSED(closure))
{
    const EstimatedObject *e = (const EstimatedObject *)op;
    return PyLong_FromUnsignedLongLong((uint64_t)e->input + (uint64_t)e->output);
}

static PyObject *get_amounts(PyObject *op, void *Py_UNUSED(closure))
{
    const EstimatedObject *e = (EstimatedObject *)op;
    PyObject *amounts = PyDict_New();
    for (int unit = 0; amounts != NULL && unit < XF_UNITS; unit++) {
        if (e->units >> unit & 1U) {
            PyObject *amount = PyLong_FromLongLong(e->amounts[unit]);
            if (amount == NULL || PyDict_SetItemString(amounts, UNITS[unit], amount) < 0) {
                Py_CLEAR(amounts);
            }
            Py_XDECREF(amount);
        }
    }
    return amounts;
}

static PyMemberDef estimated_members[] = {
    {"model", T_OBJECT, offsetof(EstimatedObject, model), READONLY, NULL},
    {"input", T_LONGLONG, offsetof(EstimatedObject, input), READONLY, NULL},
    {"output", T_LONGLONG, offsetof(EstimatedObject, output), READONLY, NULL},
    {"size", T_LONGLONG, offsetof(EstimatedObject, size), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef estimated_getset[] = {
    {"most", get_most, NULL, NULL, NULL},
    {"total", get_total, NULL, PyDoc_STR("the tokens of input and output together"), NULL},
    {"amounts", get_amounts, NULL, PyDoc_STR("the reservation of each limit, as a new dict"), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot estimated_slots[] = {
    {Py_tp_doc, (void *)"The numbers of an Estimate."},
    {Py_tp_new, estimated_new},
    {Py_tp_dealloc, estimated_dealloc},
    {Py_tp_members, estimated_members},
    {Py_tp_getset, estimated_getset},
    {0, NULL},
};

PyType_Spec xf_estimated_spec = {
    .name = "xtremeflow._core.Estimated",
    .basicsize = sizeof(EstimatedObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = estimated_slots,
};

/* ---- Typical ---- */

static PyObject *typical_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"tokens", "measure", NULL};
    xf_typical first = {.tokens = 0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "dd:Typical", keywords, &first.tokens,
                                     &first.measure)) {
        return NULL;
    }
    if (!(first.tokens > 0) || !(first.measure > 0)) {
        PyErr_SetString(PyExc_ValueError, "tokens and measure must be above 0");
        return NULL;
    }
    TypicalObject *made = (TypicalObject *)type->tp_alloc(type, 0);
    if (made != NULL) {
        made->typical = first;
    }
    return (PyObject *)made;
}

static PyObject *typical_note(PyObject *op, PyObject *args)
{
    PyObject *size, *input, *output;
    int64_t n[3];
    if (!PyArg_ParseTuple(args, "OOO:note", &size, &input, &output) ||
        (n[0] = xf_tokens_of(size, "size")) < 0 || (n[1] = xf_tokens_of(input, "input")) < 0 ||
        (n[2] = xf_tokens_of(output, "output")) < 0) {
        return NULL;
    }
    XF_LOCK(op);
    xf_typical_note(&((TypicalObject *)op)->typical, n[0], n[1], n[2]);
    XF_UNLOCK();
    Py_RETURN_NONE;
}

static PyObject *typical_expect(PyObject *op, PyObject *args)
{
    PyObject *size;
    unsigned int in_flight;
    int64_t measured;
    xf_typical typical;
    if (!PyArg_ParseTuple(args, "OI:expect", &size, &in_flight) ||
        (measured = xf_tokens_of(size, "size")) < 0) {
        return NULL;
    }
    XF_LOCK(op);
    typical = ((TypicalObject *)op)->typical;
    XF_UNLOCK();
    return Py_BuildValue("(LL)", (long long)xf_typical_input(&typical, measured),
                         (long long)xf_typical_output(&typical, in_flight));
}

static PyMemberDef typical_members[] = {
    {"tokens", T_DOUBLE, offsetof(TypicalObject, typical.tokens), READONLY, NULL},
    {"measure", T_DOUBLE, offsetof(TypicalObject, typical.measure), READONLY, NULL},
    {"reports", T_DOUBLE, offsetof(TypicalObject, typical.reports), READONLY, NULL},
    {"mean", T_DOUBLE, offsetof(TypicalObject, typical.mean), READONLY, NULL},
    {"variance", T_DOUBLE, offsetof(TypicalObject, typical.variance), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef typical_methods[] = {
    {"note", typical_note, METH_VARARGS,
     PyDoc_STR("note($self, size, input, output, /)\n--\n\n"
               "Learns from the usage of a call whose input measured `size`.")},
    {"expect", typical_expect, METH_VARARGS,
     PyDoc_STR("expect($self, size, in_flight, /)\n--\n\n"
               "Returns the expected tokens of input and of output of a call whose input\n"
               "measures `size`. The more calls are in flight, the less doubt each carries.")},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot typical_slots[] = {
    {Py_tp_doc, (void *)"Typical(tokens, measure)\n--\n\n"
                        "The typical usage of a model's calls: so many tokens are in so many units "
                        "of measure,\nuntil usages show better."},
    {Py_tp_new, typical_new},
    {Py_tp_members, typical_members},
    {Py_tp_methods, typical_methods},
    {0, NULL},
};

PyType_Spec xf_typical_spec = {
    .name = "xtremeflow._core.Typical",
    .basicsize = sizeof(TypicalObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = typical_slots,
};

/* ---- for the scheduler ---- */

PyObject *xf_estimate_new(PyTypeObject *type, PyObject *model, int64_t size, int64_t most,
                          const xf_rule *rule, TypicalObject *typical, uint32_t in_flight,
                          unsigned int units)
{
    EstimatedObject *e = (EstimatedObject *)type->tp_alloc(type, 0);
    xf_typical usual;
    if (e == NULL) {
        return NULL;
    }
    XF_LOCK(typical);
    usual = typical->typical;
    XF_UNLOCK();
    e->model = Py_NewRef(model);
    e->size = size > 0 ? size : 1;
    e->most = most;
    e->input = xf_typical_input(&usual, e->size);
    e->output = xf_typical_output(&usual, in_flight);
    if (most >= 0 && e->output > most) {
        e->output = most;
    }
    e->units = units;
    xf_rule_reserve(rule, e->input, e->output, most > 0 ? most : 0, e->amounts);
    return (PyObject *)e;
}

void xf_typical_learn(TypicalObject *typical, const EstimatedObject *estimate, int64_t input,
                      int64_t output)
{
    XF_LOCK(typical);
    xf_typical_note(&typical->typical, estimate->size, input, output);
    XF_UNLOCK();
}
