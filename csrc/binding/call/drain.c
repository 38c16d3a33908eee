/* Waiting until the last call has ended, for wait_pending(). */
#include "binding/call/drain.h"

#include "binding/call/call.h"
#include "binding/call/deliver.h"
#include "binding/call/owner.h"
#include "binding/loop/loop.h"

enum { FEW = 8 };

static CallObject *waiter_call(PyObject *waiter)
{
    PyObject *call = PyTuple_GET_ITEM(waiter, 1);
    return call != Py_None ? (CallObject *)call : NULL;
}

/* A call that waits for all others does not wait for itself, nor for other such calls. */
static bool waits_inside(PyObject *waiter)
{
    CallObject *c = waiter_call(waiter);
    return c != NULL && c->core.state != XF_CALL_DONE;
}

static void count_inside(SchedulerObject *s, PyObject *waiter)
{
    if (waits_inside(waiter) && !waiter_call(waiter)->is_draining) {
        waiter_call(waiter)->is_draining = true;
        s->drains_inside++;
    }
}

/* Drops the drains that are done, and counts the calls among the rest anew. */
static void recount(SchedulerObject *s)
{
    PyObject *drains = Py_NewRef(s->drains);
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(drains); i++) {
        CallObject *c = waiter_call(PyList_GET_ITEM(drains, i));
        if (c != NULL) {
            c->is_draining = false;
        }
    }
    s->drains_inside = 0;
    for (Py_ssize_t i = PyList_GET_SIZE(drains); i-- > 0;) {
        if (i >= PyList_GET_SIZE(drains)) {
            continue; /* shortened by what done() has run */
        }
        PyObject *waiter = Py_NewRef(PyList_GET_ITEM(drains, i));
        PyObject *done = PyObject_CallMethodNoArgs(PyTuple_GET_ITEM(waiter, 0), s->st->s_done);
        if (done == Py_False) {
            count_inside(s, waiter);
        } else if (done == NULL || PySequence_DelItem(drains, i) < 0) {
            PyErr_Clear();
        }
        Py_XDECREF(done);
        Py_DECREF(waiter);
    }
    s->recount_at = 2 * PyList_GET_SIZE(drains) + FEW;
    if (s->drains == drains && PyList_GET_SIZE(drains) == 0) {
        Py_CLEAR(s->drains);
    }
    Py_DECREF(drains);
}

PyObject *xf_scheduler_wait(PyObject *self, PyObject *Py_UNUSED(unused))
{
    SchedulerObject *s = (SchedulerObject *)self;
    if (xf_scheduler_check(s) < 0) {
        return NULL;
    }
    PyObject *future = xf_new_future(s->st), *waiter = NULL;
    CallObject *c = future != NULL ? xf_call_current(s->st) : NULL;
    if (future != NULL && !PyErr_Occurred()) {
        waiter = PyTuple_Pack(2, future, c != NULL && c->scheduler == s ? (PyObject *)c : Py_None);
    }
    Py_XDECREF(c);
    if (waiter != NULL && s->drains != NULL && PyList_GET_SIZE(s->drains) >= s->recount_at) {
        recount(s); /* or cancelled waits would pile up */
    }
    if (waiter == NULL || (s->drains == NULL && (s->drains = PyList_New(0)) == NULL) ||
        PyList_Append(s->drains, waiter) < 0) {
        Py_CLEAR(future);
    } else {
        count_inside(s, waiter);
        xf_deliver(s);
    }
    Py_XDECREF(waiter);
    return future;
}

void xf_scheduler_drained(SchedulerObject *s, PyObject *here)
{
    if (xf_scheduler_may_be_drained(s)) {
        recount(s);
    }
    if (!xf_scheduler_may_be_drained(s)) {
        return;
    }
    /* Only calls that wait here are live: they go on, and when they have ended the others do. */
    bool all = s->core.live == 0;
    PyObject *drains = Py_NewRef(s->drains);
    if (all) {
        Py_CLEAR(s->drains);
        s->drains_inside = 0;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(drains); i++) {
        PyObject *waiter = Py_NewRef(PyList_GET_ITEM(drains, i));
        if ((all || waits_inside(waiter)) &&
            xf_resolve(s->st, PyTuple_GET_ITEM(waiter, 0), here) < 0) {
            PyErr_Clear(); /* its loop is closed */
        }
        Py_DECREF(waiter);
    }
    Py_DECREF(drains);
}
