/* Running a call: as a coroutine, a call waits until it is admitted, then is the coroutine it was
   given, step by step, and ends with it. This is what its task runs. */
#include "binding/call/run.h"

#include "binding/call/await.h"
#include "binding/call/call.h"
#include "binding/scheduler/scheduler.h"

static void end(CallObject *c, xf_outcome outcome)
{
    c->phase = CALL_OVER;
    Py_CLEAR(c->steps);
    xf_call_end(c, outcome);
}

/* Ends with the exception that is set. */
static void end_failed(CallObject *c)
{
    xf_outcome outcome = XF_FAILED;
    if (PyErr_ExceptionMatches(PyExc_StopIteration)) {
        outcome = XF_SUCCEEDED; /* throw() ran the coroutine to its return */
    } else if (PyErr_ExceptionMatches(c->scheduler->st->cancelled_error) ||
               PyErr_ExceptionMatches(PyExc_GeneratorExit)) {
        outcome = XF_CANCELLED;
    }
    end(c, outcome);
}

void xf_call_give_up(CallObject *c)
{
    if (c->phase == CALL_PENDING) {
        Py_INCREF(c);
        end(c, XF_CANCELLED);
        xf_close_coro(c->coro);
        Py_DECREF(c);
    }
}

void xf_call_abandon(CallObject *c)
{
    if (c->phase == CALL_PENDING) {
        xf_call_give_up(c);
    } else {
        xf_call_end(c, c->is_over ? (xf_outcome)c->outcome : XF_CANCELLED);
    }
}

/* What `await coro` sends to; NULL with an error set. */
static PyObject *steps_of(PyObject *coro)
{
    if (PyCoro_CheckExact(coro)) {
        return Py_NewRef(coro);
    }
    PyObject *steps = Py_TYPE(coro)->tp_as_async->am_await(coro);
    if (steps != NULL && !PyIter_Check(steps)) {
        PyErr_Format(PyExc_TypeError, "__await__() returned non-iterator of type '%.100s'",
                     Py_TYPE(steps)->tp_name);
        Py_CLEAR(steps);
    }
    return steps;
}

/* Starts the coroutine if the call is admitted. PYGEN_RETURN: it is started. PYGEN_NEXT: *result
   is what to wait for. */
static PySendResult start(CallObject *c, PyObject **result)
{
    if (c->core.state == XF_ADMITTED && xf_call_dispatch(c)) {
        c->phase = CALL_RUNNING;
        c->is_executing = true;
        c->steps = steps_of(c->coro);
        c->is_executing = false;
        PyObject *token = c->steps == NULL
                              ? NULL
                              : PyContextVar_Set(c->scheduler->st->current_call, (PyObject *)c);
        if (token != NULL) {
            Py_DECREF(token);
            return PYGEN_RETURN;
        }
        end(c, XF_FAILED);
        xf_close_coro(c->coro);
        return PYGEN_ERROR;
    }
    if (c->core.state == XF_WAITING || c->core.state == XF_ADMITTED) {
        c->blocking = true;
        *result = Py_NewRef(c);
        return PYGEN_NEXT;
    }
    if (c->core.state == XF_EXPIRED) {
        xf_set_timeout(c);
    } else {
        PyErr_SetNone(c->scheduler->st->cancelled_error);
    }
    xf_call_give_up(c);
    return PYGEN_ERROR;
}

/* Whoever sends to a call in the middle of a step is that step itself. */
static bool is_executing(const CallObject *c)
{
    if (c->is_executing) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
    }
    return c->is_executing;
}

PySendResult xf_call_am_send(PyObject *self, PyObject *value, PyObject **result)
{
    CallObject *c = (CallObject *)self;
    *result = NULL;
    if (is_executing(c)) {
        return PYGEN_ERROR;
    }
    if (c->phase != CALL_RUNNING) {
        if (c->phase == CALL_OVER) {
            xf_already_awaited();
            return PYGEN_ERROR;
        }
        PySendResult started = start(c, result);
        if (started != PYGEN_RETURN) {
            return started;
        }
    }
    c->is_executing = true;
    PySendResult status = PyIter_Send(c->steps, value, result);
    c->is_executing = false;
    if (status == PYGEN_RETURN) {
        end(c, XF_SUCCEEDED);
    } else if (status == PYGEN_ERROR) {
        end_failed(c);
    }
    return status;
}

PyObject *xf_call_send(PyObject *self, PyObject *value)
{
    PyObject *result;
    PySendResult status = xf_call_am_send(self, value, &result);
    return xf_send_result(status, result);
}

PyObject *xf_call_iternext(PyObject *self)
{
    return xf_call_send(self, Py_None);
}

PyObject *xf_call_throw(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    CallObject *c = (CallObject *)self;
    if (is_executing(c)) {
        return NULL;
    }
    if (c->phase == CALL_OVER) {
        return xf_already_awaited();
    }
    if (c->phase == CALL_PENDING) {
        xf_call_give_up(c);
        xf_set_thrown(args, nargs);
        return NULL;
    }
    PyObject *method = PyObject_GetAttr(c->steps, c->scheduler->st->s_throw);
    PyObject *result = NULL;
    c->is_executing = true;
    if (method != NULL) {
        result = PyObject_Vectorcall(method, args, (size_t)nargs, NULL);
        Py_DECREF(method);
    } else if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        xf_set_thrown(args, nargs); /* an iterator that cannot be thrown into */
    }
    c->is_executing = false;
    if (result == NULL) {
        end_failed(c);
    }
    return result;
}

PyObject *xf_call_close(PyObject *self, PyObject *Py_UNUSED(unused))
{
    CallObject *c = (CallObject *)self;
    if (is_executing(c)) {
        return NULL;
    }
    if (c->phase == CALL_PENDING) {
        xf_call_give_up(c);
    } else if (c->phase == CALL_RUNNING) {
        PyObject *close = PyObject_GetAttr(c->steps, c->scheduler->st->s_close);
        PyObject *r = NULL;
        c->is_executing = true;
        if (close != NULL) {
            r = PyObject_CallNoArgs(close);
            Py_DECREF(close);
        } else if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
            PyErr_Clear();
            r = Py_NewRef(Py_None); /* an iterator that cannot be closed */
        }
        c->is_executing = false;
        end(c, XF_CANCELLED);
        if (r == NULL) {
            return NULL;
        }
        Py_DECREF(r);
    }
    Py_RETURN_NONE;
}

/* ---- introspection: a task, its stack and its name look like those of the inner coroutine ---- */

PyObject *xf_call_get_inner(PyObject *self, void *name)
{
    PyObject *coro = ((CallObject *)self)->coro; /* NULL once the call was garbage */
    PyObject *value = coro != NULL ? PyObject_GetAttrString(coro, name) : NULL;
    if (value == NULL) {
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    return value;
}

PyObject *xf_call_get_name(PyObject *self, void *name)
{
    PyObject *value = xf_call_get_inner(self, name);
    if (value == Py_None) {
        PyObject *coro = ((CallObject *)self)->coro;
        Py_DECREF(value);
        value = PyUnicode_FromString(Py_TYPE(coro != NULL ? coro : self)->tp_name);
    }
    return value;
}

PyObject *xf_call_get_await(PyObject *self, void *name)
{
    CallObject *c = (CallObject *)self;
    return c->core.state == XF_WAITING && c->phase == CALL_PENDING ? Py_NewRef(Py_None)
                                                                   : xf_call_get_inner(self, name);
}
