#include "binding/call/exchange_step.h"

#include "binding/call/call.h"
#include "binding/call/open.h"
#include "binding/call/run.h"
#include "binding/call/step.h"

/* ---- a step of what is run ---- */

PyObject *xf_exchange_enter(ExchangeObject *x)
{
    bool is_python = !x->is_part && PyCoro_CheckExact(x->coro);
    return is_python ? xf_step_begin(x->call) : NULL;
}

void xf_exchange_leave(ExchangeObject *x, PyObject *token_steal_ref)
{
    if (token_steal_ref != NULL) {
        xf_step_end(x->call, token_steal_ref);
    }
}

PySendResult xf_exchange_step(ExchangeObject *x, PyObject *value, PyObject **result)
{
    PySendResult status = PYGEN_ERROR;
    PyObject *token = xf_exchange_enter(x);
    *result = NULL;
    if (!PyErr_Occurred()) {
        status = PyIter_Send(x->coro, value, result);
    }
    xf_exchange_leave(x, token);
    return status;
}

/* The value of the StopIteration that is set. NULL with another error set. */
static PyObject *returned(void)
{
    PyObject *type, *value, *traceback, *result = NULL;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (value != NULL) {
        result = PyObject_GetAttrString(value, "value");
    }
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    return result;
}

PySendResult xf_exchange_throw_in(ExchangeObject *x, PyObject *const *args, Py_ssize_t nargs,
                                  PyObject **result)
{
    PyObject *token = xf_exchange_enter(x);
    *result = NULL;
    PyObject *method =
        PyErr_Occurred() ? NULL : PyObject_GetAttr(x->coro, x->scheduler->st->s_throw);
    if (method != NULL) {
        *result = PyObject_Vectorcall(method, args, (size_t)nargs, NULL);
        Py_DECREF(method);
    }
    xf_exchange_leave(x, token);
    if (*result != NULL) {
        return PYGEN_NEXT;
    }
    if (PyErr_ExceptionMatches(PyExc_StopIteration)) {
        *result = returned();
    }
    return *result != NULL ? PYGEN_RETURN : PYGEN_ERROR;
}

/* ---- the answer ---- */

/* What came is looked at: the answer, or the error that is set. PYGEN_RETURN: *result is the
   call's. PYGEN_NEXT: what goes on with it is now what is run. */
static PySendResult look(ExchangeObject *x, PyObject **result)
{
    PyObject *answer = *result, *more = xf_exchange_show(x, answer);
    if (more == Py_None && answer != NULL) {
        Py_DECREF(more);
        return PYGEN_RETURN;
    }
    Py_XDECREF(answer);
    *result = NULL;
    if (more != NULL && !PyCoro_CheckExact(more)) {
        PyErr_Format(PyExc_TypeError, "what goes on with a call must be a coroutine, not %R", more);
        Py_CLEAR(more);
    }
    if (more == NULL) {
        return PYGEN_ERROR;
    }
    Py_XSETREF(x->coro, more);
    x->phase = XF_EXCHANGE_REST;
    return PYGEN_NEXT;
}

/* The end of what goes on with a call: (result, whether it has passed). */
static PySendResult conclude(ExchangeObject *x, PyObject **result)
{
    PyObject *both = *result;
    *result = NULL;
    if (!PyTuple_CheckExact(both) || PyTuple_GET_SIZE(both) != 2) {
        PyErr_Format(PyExc_TypeError, "a call ends with (result, whether it has passed), not %R",
                     both);
        Py_DECREF(both);
        xf_exchange_end(x, XF_FAILED);
        return PYGEN_ERROR;
    }
    *result = Py_NewRef(PyTuple_GET_ITEM(both, 0));
    xf_exchange_end(x, PyTuple_GET_ITEM(both, 1) == Py_True ? XF_SUCCEEDED : XF_FAILED);
    Py_DECREF(both);
    return PYGEN_RETURN;
}

/* What it has run is over, and its call goes on without it. */
static void leave_open(ExchangeObject *x)
{
    if (!x->is_part) {
        XF_LOCK(x->scheduler);
        xf_call_leave_open(x->call);
        XF_UNLOCK();
    }
    xf_exchange_let_go(x);
}

PySendResult xf_exchange_follow(ExchangeObject *x, PySendResult status, PyObject **result)
{
    while (status != PYGEN_NEXT) {
        if (status == PYGEN_RETURN && x->answered == NULL) {
            leave_open(x);
            return status;
        }
        if (x->phase == XF_EXCHANGE_SENT && x->answered != NULL &&
            (status == PYGEN_RETURN || PyErr_ExceptionMatches(PyExc_Exception))) {
            status = look(x, result);
            if (status == PYGEN_RETURN) {
                xf_exchange_end(x, XF_SUCCEEDED);
                return status;
            }
            if (status == PYGEN_NEXT) {
                status = xf_exchange_step(x, Py_None, result);
                continue;
            }
        }
        if (status == PYGEN_RETURN) {
            return conclude(x, result);
        }
        xf_exchange_fail(x);
        return status;
    }
    return status;
}
