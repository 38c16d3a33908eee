#include "binding/scheduler/tariff.h"

#include <string.h>

static const char *const ADMISSIONS[] = {"nothing", "input", "max", "sum"};

static void free_tariff(PyObject *capsule)
{
    xf_tariff *t = PyCapsule_GetPointer(capsule, NULL);
    Py_DECREF(t->typical);
    PyMem_Free(t);
}

/* A part of a rule, which is None, False or True. -2 with an error set. */
static int part_of(PyObject *rule, const char *name)
{
    PyObject *part = PyObject_GetAttrString(rule, name);
    const int value = part == NULL ? -2 : part == Py_None ? -1 : PyObject_IsTrue(part);
    Py_XDECREF(part);
    return value;
}

/* Reads a ChargeRule. -1 with an error set. */
static int parse_rule(PyObject *rule, xf_rule *r)
{
    PyObject *admission = PyObject_GetAttrString(rule, "admission");
    if (admission == NULL) {
        return -1;
    }
    r->admission = XF_ADMIT_UNKNOWN;
    for (int i = 0; PyUnicode_Check(admission) && i < (int)Py_ARRAY_LENGTH(ADMISSIONS); i++) {
        if (PyUnicode_CompareWithASCIIString(admission, ADMISSIONS[i]) == 0) {
            r->admission = i;
        }
    }
    Py_DECREF(admission);
    r->settles = part_of(rule, "settles");
    r->cached_free = r->settles == -2 ? -2 : part_of(rule, "cached_free");
    return r->cached_free == -2 ? -1 : 0;
}

static PyObject *make(const xf_rule *rule, int in_doubt, PyObject *typical)
{
    xf_tariff *t = PyMem_Malloc(sizeof(*t));
    if (t == NULL) {
        return PyErr_NoMemory();
    }
    *t = (xf_tariff){*rule, in_doubt, (TypicalObject *)Py_NewRef(typical)};
    PyObject *capsule = PyCapsule_New(t, NULL, free_tariff);
    if (capsule == NULL) {
        Py_DECREF(typical);
        PyMem_Free(t);
    }
    return capsule;
}

PyObject *xf_scheduler_charged_as(PyObject *self, PyObject *args)
{
    SchedulerObject *s = (SchedulerObject *)self;
    PyObject *model, *rule, *typical;
    int in_doubt;
    xf_rule parsed;
    if (xf_scheduler_check(s) < 0 ||
        !PyArg_ParseTuple(args, "OOpO:_charged_as", &model, &rule, &in_doubt, &typical)) {
        return NULL;
    }
    if (s->tariffs == NULL && (s->tariffs = PyDict_New()) == NULL) {
        return NULL;
    }
    if (model == Py_None) {
        PyDict_Clear(s->tariffs);
    } else if (rule == Py_None) {
        if (PyDict_DelItem(s->tariffs, model) < 0) {
            PyErr_Clear();
        }
    } else if (!Py_IS_TYPE(typical, s->st->typical_type)) {
        return PyErr_Format(PyExc_TypeError, "typical must be a Typical, not %R", typical);
    } else {
        PyObject *capsule = parse_rule(rule, &parsed) < 0 ? NULL : make(&parsed, in_doubt, typical);
        const int r = capsule == NULL ? -1 : PyDict_SetItem(s->tariffs, model, capsule);
        Py_XDECREF(capsule);
        if (r < 0) {
            return NULL;
        }
    }
    Py_RETURN_NONE;
}

const xf_tariff *xf_tariff_of(SchedulerObject *s, PyObject *model)
{
    PyObject *capsule = s->tariffs == NULL ? NULL : PyDict_GetItemWithError(s->tariffs, model);
    if (capsule == NULL) {
        PyErr_Clear();
        return NULL;
    }
    return PyCapsule_GetPointer(capsule, NULL);
}

PyObject *xf_scheduler_estimate(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    SchedulerObject *s = (SchedulerObject *)self;
    if (xf_scheduler_check(s) < 0) {
        return NULL;
    }
    if (nargs != 4 || !PyType_Check(args[0]) ||
        !PyType_IsSubtype((PyTypeObject *)args[0], s->st->estimated_type)) {
        PyErr_SetString(PyExc_TypeError, "_estimate() takes a type of Estimated, and 3 arguments");
        return NULL;
    }
    const xf_tariff *tariff = PyUnicode_CheckExact(args[1]) ? xf_tariff_of(s, args[1]) : NULL;
    int is_large = 0, is_most_large = 0;
    int64_t most = -1;
    const int64_t size = PyLong_AsLongLongAndOverflow(args[2], &is_large);
    if (args[3] != Py_None) {
        most = PyLong_AsLongLongAndOverflow(args[3], &is_most_large);
    }
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (tariff == NULL || is_large || is_most_large || size > XF_ESTIMATE_MOST ||
        most > XF_ESTIMATE_MOST) {
        Py_RETURN_NONE;
    }
    const xf_rule rule = tariff->rule;
    PyObject *typical = Py_NewRef(tariff->typical); /* the tariff may be replaced meanwhile */
    PyObject *estimate =
        xf_estimate_new((PyTypeObject *)args[0], args[1], size, most, &rule,
                        (TypicalObject *)typical, s->core.gate.in_use, s->reserved);
    Py_DECREF(typical);
    return estimate;
}
