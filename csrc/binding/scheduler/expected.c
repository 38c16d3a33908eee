#include "binding/scheduler/expected.h"

static xf_foretold *foretold(SchedulerObject *s)
{
    if (s->foretold == NULL) {
        s->foretold = PyMem_Calloc(1, sizeof(xf_foretold));
        if (s->foretold == NULL) {
            PyErr_NoMemory();
        }
    }
    return s->foretold;
}

static int parse_word(SchedulerObject *s, PyObject *item, xf_word *w)
{
    int name, slides;
    PyObject *before = w->before;
    *w = (xf_word){.remaining = -1, .reset = -1};
    Py_XDECREF(before);
    before = NULL;
    if (!PyArg_ParseTuple(item, "iddddplpppdddO:_foretell", &name, &w->told.per, &w->told.amount,
                          &w->told.window, &w->told.burst, &slides, &w->index, &w->is_late,
                          &w->is_bounded, &w->is_level, &w->per, &w->notice, &w->forget_at,
                          &before)) {
        return -1;
    }
    w->before = Py_NewRef(before);
    w->told.name = (xf_quota_name)name;
    w->told.slides = slides;
    if (w->index >= (long)s->core.gate.n_limits) {
        PyErr_Format(PyExc_IndexError, "there are %u limits, not %ld", s->core.gate.n_limits,
                     w->index);
        return -1;
    }
    return 0;
}

PyObject *xf_scheduler_foretell(PyObject *self, PyObject *args)
{
    SchedulerObject *s = (SchedulerObject *)self;
    PyObject *words, *passed;
    int is_blind;
    double look_at;
    long slots;
    xf_foretold *f = xf_scheduler_check(s) < 0 ? NULL : foretold(s);
    if (f == NULL || !PyArg_ParseTuple(args, "O!dlpO:_foretell", &PyTuple_Type, &words, &look_at,
                                       &slots, &is_blind, &passed)) {
        return NULL;
    }
    f->is_armed = false;
    if (PyTuple_GET_SIZE(words) > XF_QUOTAS) {
        Py_RETURN_NONE; /* no provider has so many */
    }
    f->n_words = (int)PyTuple_GET_SIZE(words);
    for (int i = 0; i < f->n_words; i++) {
        if (parse_word(s, PyTuple_GET_ITEM(words, i), &f->words[i]) < 0) {
            return NULL;
        }
    }
    f->look_at = look_at;
    f->slots = slots;
    f->is_blind = is_blind;
    Py_XSETREF(f->passed, Py_NewRef(passed));
    f->is_armed = true;
    Py_RETURN_NONE;
}

PyObject *xf_scheduler_unforetell(PyObject *self, PyObject *Py_UNUSED(unused))
{
    xf_foretold *f = ((SchedulerObject *)self)->foretold;
    int n = f != NULL && f->is_armed ? f->n_words : 0;
    PyObject *last = PyList_New(0);
    for (int i = 0; last != NULL && i < n; i++) {
        const xf_word *w = &f->words[i];
        PyObject *one = w->remaining < 0 || w->index < 0
                            ? Py_NewRef(Py_None)
                            : Py_BuildValue("(ldd)", w->index, w->remaining, w->reset);
        if (one == NULL || (one != Py_None && PyList_Append(last, one) < 0)) {
            Py_CLEAR(last);
        }
        Py_XDECREF(one);
    }
    if (last != NULL && f != NULL) {
        f->is_armed = false;
    }
    return last;
}

/* ---- life ---- */

int xf_foretold_traverse(const SchedulerObject *s, visitproc visit, void *arg)
{
    const xf_foretold *f = s->foretold;
    if (f == NULL) {
        return 0;
    }
    Py_VISIT(f->passed);
    for (int i = 0; i < XF_QUOTAS; i++) {
        Py_VISIT(f->words[i].before);
    }
    return xf_unread_traverse(&f->unread, visit, arg);
}

void xf_foretold_free(SchedulerObject *s)
{
    xf_foretold *f = s->foretold;
    s->foretold = NULL;
    if (f != NULL) {
        Py_XDECREF(f->passed);
        for (int i = 0; i < XF_QUOTAS; i++) {
            Py_XDECREF(f->words[i].before);
        }
        xf_unread_free(&f->unread);
        PyMem_Free(f);
    }
}
