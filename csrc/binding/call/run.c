/* Running a call. The call is the coroutine that its task runs: it waits until it is admitted, then
   passes each step on to the given coroutine, and ends with it. */
#include "binding/call/run.h"

#include "binding/call/await.h"
#include "binding/call/call.h"
#include "binding/call/owner.h"
#include "binding/call/step.h"

static void end(CallObject *c, xf_outcome outcome)
{
    XF_LOCK(c->scheduler);
    xf_call_move(c, XF_STAGE_ENDED);
    Py_CLEAR(c->steps);
    xf_call_end(c, outcome);
    XF_UNLOCK();
}

/* Ends the call with the exception that is set. */
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

/* Ends the call with the error that kept a step of its coroutine from beginning. */
static void fail(CallObject *c)
{
    end(c, XF_FAILED);
    xf_close_coro(c->coro);
}

void xf_call_give_up(CallObject *c)
{
    if (c->stage == XF_STAGE_PENDING) {
        Py_INCREF(c);
        end(c, XF_CANCELLED);
        xf_close_coro(c->coro);
        Py_DECREF(c);
    }
}

void xf_call_abandon(CallObject *c)
{
    if (c->stage == XF_STAGE_PENDING) {
        xf_call_give_up(c);
    } else {
        xf_call_end(c, c->stage == XF_STAGE_LEFT ? (xf_outcome)c->outcome : XF_CANCELLED);
    }
}

/* The object that `await coro` sends to; NULL with an error set. */
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

/* Starts the coroutine if the call is admitted. PYGEN_RETURN if it is started. PYGEN_NEXT if
 *result is to be awaited first. */
static PySendResult start(CallObject *c, PyObject **result)
{
    if (c->core.state == XF_CALL_ADMITTED && xf_call_dispatch(c)) {
        xf_call_start(c);
        c->steps = steps_of(c->coro);
        if (c->steps == NULL) {
            fail(c);
            return PYGEN_ERROR;
        }
        xf_call_move(c, XF_STAGE_PAUSED);
        return PYGEN_RETURN;
    }
    if (c->core.state == XF_CALL_WAITING || c->core.state == XF_CALL_ADMITTED) {
        c->blocking = true;
        *result = Py_NewRef(c);
        return PYGEN_NEXT;
    }
    if (c->core.state == XF_CALL_EXPIRED) {
        xf_set_timeout(c);
    } else {
        PyErr_SetNone(c->scheduler->st->cancelled_error);
    }
    xf_call_give_up(c);
    return PYGEN_ERROR;
}

/* See xf_step_begin(). If that fails the call has ended. */
static PyObject *begin_step(CallObject *c)
{
    PyObject *token = xf_step_begin(c);
    if (token == NULL) {
        fail(c);
    }
    return token;
}

/* Only the step itself can send to a call in the middle of a step. */
static bool is_executing(const CallObject *c)
{
    bool is = c->stage == XF_STAGE_STEPPING;
    if (is) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
    }
    return is;
}

PySendResult xf_call_am_send(PyObject *self, PyObject *value, PyObject **result)
{
    CallObject *c = (CallObject *)self;
    *result = NULL;
    if (is_executing(c)) {
        return PYGEN_ERROR;
    }
    if (c->stage == XF_STAGE_PENDING) {
        PySendResult started;
        XF_LOCK(c->scheduler);
        started = start(c, result);
        XF_UNLOCK();
        if (started != PYGEN_RETURN) {
            return started;
        }
    }
    if (c->stage != XF_STAGE_PAUSED) {
        xf_already_awaited();
        return PYGEN_ERROR;
    }
    PyObject *token = begin_step(c);
    if (token == NULL) {
        return PYGEN_ERROR;
    }
    PySendResult status = PyIter_Send(c->steps, value, result);
    xf_step_end(c, token);
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
    if (c->stage == XF_STAGE_PENDING) {
        xf_call_give_up(c);
        xf_set_thrown(args, nargs);
        return NULL;
    }
    if (c->stage != XF_STAGE_PAUSED) {
        return xf_already_awaited();
    }
    PyObject *token = begin_step(c);
    if (token == NULL) {
        return NULL;
    }
    PyObject *method = PyObject_GetAttr(c->steps, c->scheduler->st->s_throw);
    PyObject *result = NULL;
    if (method != NULL) {
        result = PyObject_Vectorcall(method, args, (size_t)nargs, NULL);
        Py_DECREF(method);
    } else if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear();
        xf_set_thrown(args, nargs); /* an iterator that cannot be thrown into */
    }
    xf_step_end(c, token);
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
    if (c->stage == XF_STAGE_PENDING) {
        xf_call_give_up(c);
    } else if (c->stage == XF_STAGE_PAUSED) {
        PyObject *token = begin_step(c);
        if (token == NULL) {
            return NULL;
        }
        PyObject *close = PyObject_GetAttr(c->steps, c->scheduler->st->s_close);
        PyObject *r = NULL;
        if (close != NULL) {
            r = PyObject_CallNoArgs(close);
            Py_DECREF(close);
        } else if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
            PyErr_Clear();
            r = Py_NewRef(Py_None); /* an iterator that cannot be closed */
        }
        xf_step_end(c, token);
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
    return c->core.state == XF_CALL_WAITING && c->stage == XF_STAGE_PENDING
               ? Py_NewRef(Py_None)
               : xf_call_get_inner(self, name);
}
