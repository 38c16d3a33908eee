#include "binding/call/open.h"

#include "binding/call/call.h"
#include "binding/call/owner.h"

void xf_call_leave_open(CallObject *c)
{
    PyObject *task = c->task;
    c->is_open = true;
    c->task = NULL;
    Py_XDECREF(task);
}

/* Ends an open call. Once is enough. */
static void end(CallObject *c, xf_outcome outcome)
{
    if (c->is_open) {
        c->is_open = false;
        xf_call_move(c, XF_STAGE_ENDED);
        xf_call_end(c, outcome);
    }
}

PyObject *xf_scheduler_end(PyObject *self, PyObject *call)
{
    SchedulerObject *s = (SchedulerObject *)self;
    if (xf_scheduler_check(s) < 0) {
        return NULL;
    }
    if (!Py_IS_TYPE(call, s->st->call_type) || xf_scheduler_of(call) != s) {
        return PyErr_Format(PyExc_TypeError, "call must be a call of this scheduler, not %R", call);
    }
    end((CallObject *)call, XF_SUCCEEDED);
    Py_RETURN_NONE;
}

PyObject *xf_scheduler_end_all(PyObject *self, PyObject *Py_UNUSED(unused))
{
    SchedulerObject *s = (SchedulerObject *)self;
    PyObject *calls = PyList_New(0); /* first, since the end of one may run Python code */
    for (PortObject *port = s->ports; port != NULL; port = port->next) {
        for (CallObject *c = port->calls; c != NULL; c = c->next) {
            if (calls != NULL && c->is_open && PyList_Append(calls, (PyObject *)c) < 0) {
                Py_CLEAR(calls);
            }
        }
    }
    for (Py_ssize_t i = 0; calls != NULL && i < PyList_GET_SIZE(calls); i++) {
        end((CallObject *)PyList_GET_ITEM(calls, i), XF_CANCELLED);
    }
    if (calls == NULL) {
        return NULL;
    }
    Py_DECREF(calls);
    Py_RETURN_NONE;
}
