/* Scheduled: the coroutine that a task runs. It waits until its call is admitted, then is the
   caller's coroutine, step by step, and ends the call with it. */
#include "binding/binding.h"

typedef enum scheduled_state { SCHEDULED_WAITING, SCHEDULED_RUNNING, SCHEDULED_OVER } scheduled_state;

typedef struct ScheduledObject {
    PyObject_HEAD
    CallObject *call; /* NULL once it is over */
    PyObject *coro;   /* as given; kept to the end, tasks show its name */
    PyObject *steps;  /* what is sent to: the coroutine, or the iterator of another awaitable */
    scheduled_state state;
} ScheduledObject;

PyObject *xf_scheduled_new(CallObject *c, PyObject *coro)
{
    ScheduledObject *self = PyObject_GC_New(ScheduledObject, c->scheduler->st->scheduled_type);
    if (self == NULL) {
        return NULL;
    }
    self->call = (CallObject *)Py_NewRef(c);
    self->coro = Py_NewRef(coro);
    self->steps = NULL;
    self->state = SCHEDULED_WAITING;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

static void end(ScheduledObject *self, xf_outcome outcome)
{
    CallObject *call = self->call;
    self->state = SCHEDULED_OVER;
    self->call = NULL;
    Py_CLEAR(self->steps);
    if (call != NULL) {
        xf_call_end(call, outcome);
        Py_DECREF(call);
    }
}

/* Ends with the exception that is set. */
static void end_failed(ScheduledObject *self)
{
    xf_outcome outcome = XF_FAILED;
    if (PyErr_ExceptionMatches(PyExc_StopIteration)) {
        outcome = XF_SUCCEEDED; /* throw() ran the coroutine to its return */
    } else if (PyErr_ExceptionMatches(self->call->scheduler->st->cancelled_error) ||
               PyErr_ExceptionMatches(PyExc_GeneratorExit)) {
        outcome = XF_CANCELLED;
    }
    end(self, outcome);
}

/* Ends a call that was never started. */
static void give_up(ScheduledObject *self)
{
    PyObject *coro = Py_NewRef(self->coro);
    end(self, XF_CANCELLED);
    xf_close_coro(coro);
    Py_DECREF(coro);
}

/* Starts the coroutine if the call is admitted. PYGEN_RETURN: it is started. PYGEN_NEXT: *result
   is what to wait for. */
static PySendResult start(ScheduledObject *self, PyObject **result)
{
    CallObject *call = self->call;
    if (call->core.state == XF_ADMITTED && xf_call_dispatch(call)) {
        self->state = SCHEDULED_RUNNING;
        self->steps = PyCoro_CheckExact(self->coro)
                          ? Py_NewRef(self->coro)
                          : Py_TYPE(self->coro)->tp_as_async->am_await(self->coro);
        PyObject *token = self->steps == NULL
                              ? NULL
                              : PyContextVar_Set(call->scheduler->st->current_call,
                                                 (PyObject *)call);
        if (token != NULL) {
            Py_DECREF(token);
            return PYGEN_RETURN;
        }
    } else if (call->core.state == XF_WAITING || call->core.state == XF_ADMITTED) {
        call->blocking = true;
        *result = Py_NewRef(call);
        return PYGEN_NEXT;
    } else if (call->core.state == XF_EXPIRED) {
        xf_set_timeout(call);
    } else {
        PyErr_SetNone(call->scheduler->st->cancelled_error);
    }
    give_up(self);
    return PYGEN_ERROR;
}

static PySendResult scheduled_am_send(PyObject *op, PyObject *value, PyObject **result)
{
    ScheduledObject *self = (ScheduledObject *)op;
    *result = NULL;
    if (self->state != SCHEDULED_RUNNING) {
        if (self->state == SCHEDULED_OVER) {
            xf_already_awaited();
            return PYGEN_ERROR;
        }
        PySendResult started = start(self, result);
        if (started != PYGEN_RETURN) {
            return started;
        }
    }
    PySendResult status = PyIter_Send(self->steps, value, result);
    if (status == PYGEN_RETURN) {
        end(self, XF_SUCCEEDED);
    } else if (status == PYGEN_ERROR && self->state != SCHEDULED_OVER) {
        end_failed(self);
    }
    return status;
}

static PyObject *scheduled_send(PyObject *self, PyObject *value)
{
    PyObject *result;
    PySendResult status = scheduled_am_send(self, value, &result);
    return xf_send_result(status, result);
}

static PyObject *scheduled_iternext(PyObject *self) { return scheduled_send(self, Py_None); }

static PyObject *scheduled_throw(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    ScheduledObject *self = (ScheduledObject *)op;
    if (self->state == SCHEDULED_OVER) {
        return xf_already_awaited();
    }
    if (self->state == SCHEDULED_WAITING) {
        give_up(self);
        xf_set_thrown(args, nargs);
        return NULL;
    }
    PyObject *method = PyObject_GetAttr(self->steps, self->call->scheduler->st->s_throw);
    PyObject *result = NULL;
    if (method != NULL) {
        result = PyObject_Vectorcall(method, args, (size_t)nargs, NULL);
        Py_DECREF(method);
    } else if (PyErr_ExceptionMatches(PyExc_AttributeError)) {
        xf_set_thrown(args, nargs); /* an iterator that cannot be thrown into */
    }
    if (result == NULL && self->state != SCHEDULED_OVER) {
        end_failed(self);
    }
    return result;
}

static PyObject *scheduled_close(PyObject *op, PyObject *Py_UNUSED(unused))
{
    ScheduledObject *self = (ScheduledObject *)op;
    if (self->state == SCHEDULED_WAITING) {
        give_up(self);
    } else if (self->state == SCHEDULED_RUNNING) {
        PyObject *steps = Py_NewRef(self->steps), *r;
        r = PyObject_CallMethodNoArgs(steps, self->call->scheduler->st->s_close);
        Py_DECREF(steps);
        end(self, XF_CANCELLED);
        if (r == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
            PyErr_Clear();
        } else if (r == NULL) {
            return NULL;
        }
        Py_XDECREF(r);
    }
    Py_RETURN_NONE;
}

/* A task was destroyed while it was pending. asyncio says so; here nothing may be lost. */
static void scheduled_finalize(PyObject *op)
{
    ScheduledObject *self = (ScheduledObject *)op;
    if (self->state == SCHEDULED_WAITING) {
        give_up(self);
    } else if (self->state == SCHEDULED_RUNNING) {
        end(self, XF_CANCELLED);
    }
}

static int scheduled_traverse(PyObject *op, visitproc visit, void *arg)
{
    ScheduledObject *self = (ScheduledObject *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->call);
    Py_VISIT(self->coro);
    Py_VISIT(self->steps);
    return 0;
}

static int scheduled_clear(PyObject *op)
{
    ScheduledObject *self = (ScheduledObject *)op;
    self->state = SCHEDULED_OVER;
    Py_CLEAR(self->call);
    Py_CLEAR(self->coro);
    Py_CLEAR(self->steps);
    return 0;
}

static void scheduled_dealloc(PyObject *op)
{
    if (PyObject_CallFinalizerFromDealloc(op) < 0) {
        return;
    }
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    (void)scheduled_clear(op);
    PyObject_GC_Del(op);
    Py_DECREF(type);
}

/* ---- introspection: a task, its stack and its name look like those of the inner coroutine ---- */

static PyObject *get_inner(PyObject *op, void *name)
{
    PyObject *coro = ((ScheduledObject *)op)->coro;
    PyObject *value = coro != NULL ? PyObject_GetAttrString(coro, name) : NULL;
    if (value == NULL) {
        PyErr_Clear();
        Py_RETURN_NONE;
    }
    return value;
}

static PyObject *get_inner_name(PyObject *op, void *name)
{
    PyObject *value = get_inner(op, name);
    if (value == Py_None) {
        Py_DECREF(value);
        value = PyUnicode_FromString(Py_TYPE(((ScheduledObject *)op)->coro)->tp_name);
    }
    return value;
}

static PyObject *get_await(PyObject *op, void *name)
{
    ScheduledObject *self = (ScheduledObject *)op;
    return self->state == SCHEDULED_WAITING ? Py_NewRef((PyObject *)self->call)
                                            : get_inner(op, name);
}

static PyObject *scheduled_repr(PyObject *op)
{
    ScheduledObject *self = (ScheduledObject *)op;
    return PyUnicode_FromFormat("<scheduled %R>", self->coro != NULL ? self->coro : Py_None);
}

static PyMethodDef scheduled_methods[] = {
    {"send", scheduled_send, METH_O, NULL},
    {"throw", XF_FUNCTION(scheduled_throw), METH_FASTCALL, NULL},
    {"close", scheduled_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef scheduled_getset[] = {
    {"__name__", get_inner_name, NULL, NULL, (void *)"__name__"},
    {"__qualname__", get_inner_name, NULL, NULL, (void *)"__qualname__"},
    {"cr_await", get_await, NULL, NULL, (void *)"cr_await"},
    {"cr_code", get_inner, NULL, NULL, (void *)"cr_code"},
    {"cr_frame", get_inner, NULL, NULL, (void *)"cr_frame"},
    {"cr_origin", get_inner, NULL, NULL, (void *)"cr_origin"},
    {"cr_running", get_inner, NULL, NULL, (void *)"cr_running"},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot scheduled_slots[] = {
    {Py_tp_doc, (void *)"The coroutine of a scheduled call's task."},
    {Py_tp_dealloc, scheduled_dealloc},
    {Py_tp_finalize, scheduled_finalize},
    {Py_tp_traverse, scheduled_traverse},
    {Py_tp_clear, scheduled_clear},
    {Py_tp_repr, scheduled_repr},
    {Py_tp_methods, scheduled_methods},
    {Py_tp_getset, scheduled_getset},
    {Py_tp_iter, PyObject_SelfIter},
    {Py_tp_iternext, scheduled_iternext},
    {Py_am_await, PyObject_SelfIter},
    {Py_am_send, scheduled_am_send},
    {0, NULL},
};

PyType_Spec xf_scheduled_spec = {
    .name = "xtremeflow._core.Scheduled",
    .basicsize = sizeof(ScheduledObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = scheduled_slots,
};
