#include "binding/call/lessee.h"

int xf_lessee_enter(const SchedulerObject *s)
{
    if (!s->lessee->gone) {
        return 0;
    }
    PyErr_SetString(PyExc_RuntimeError,
                    s->lessee->forgotten
                        ? "the share of this scheduler is that of the process that this one was "
                          "forked from: make a new scheduler here"
                        : "this scheduler has left its share");
    return -1;
}

static void tell_holder(SchedulerObject *s, const char *method)
{
    PyObject *type, *value, *traceback, *holder = Py_NewRef(s->lessee->holder);
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *r = PyObject_CallMethod(holder, method, NULL);
    if (r == NULL) {
        PyErr_WriteUnraisable(holder);
    }
    Py_XDECREF(r);
    PyErr_Restore(type, value, traceback);
    Py_DECREF(holder);
}

void xf_lessee_tell(SchedulerObject *s)
{
    s->lessee->told = true;
    tell_holder(s, "ask");
}

void xf_lessee_leave(SchedulerObject *s)
{
    if (s->lessee != NULL && !s->lessee->gone) {
        s->lessee->gone = true;
        tell_holder(s, "close");
    }
}

void xf_lessee_free(SchedulerObject *s)
{
    xf_lessee *m = s->lessee;
    s->lessee = NULL;
    if (m != NULL) {
        Py_DECREF(m->holder);
        PyMem_Free(m);
    }
}
