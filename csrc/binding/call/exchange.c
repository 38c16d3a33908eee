/* Exchange: a request and its answer as a call of a scheduler, run by the task that awaits it.

   It queues, is admitted, and sends the request, all without a task of its own and without Python.
   Then `answered` looks at what came: mostly nothing is left to be done, and the call has ended.
   Else it gives the coroutine that goes on with the call, its further attempts and all.

   A stream's call stays open instead when its answer has begun, and holds its slot until its
   reader ends it.

   Awaited within a call of the same scheduler it is a part of that one: it has its slot. */
#include "binding/call/exchange.h"

#include "binding/call/await.h"
#include "binding/call/exchange_object.h"
#include "binding/call/exchange_queue.h"
#include "binding/call/exchange_step.h"
#include "binding/call/run.h"

/* ---- the coroutine protocol ---- */

/* Whether it cannot be stepped, with an error set. */
static bool is_refused(const ExchangeObject *x)
{
    if (x->is_stepping) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
    } else if (x->phase == XF_EXCHANGE_OVER) {
        xf_already_awaited();
    }
    return x->is_stepping || x->phase == XF_EXCHANGE_OVER;
}

static PySendResult step(ExchangeObject *x, PyObject *value, PyObject **result)
{
    PySendResult status;
    if (x->phase == XF_EXCHANGE_NEW && xf_exchange_begin(x) < 0) {
        return PYGEN_ERROR;
    }
    if (x->phase == XF_EXCHANGE_QUEUED) {
        XF_LOCK(x->scheduler);
        status = xf_exchange_dispatch(x, result);
        XF_UNLOCK();
        if (status != PYGEN_RETURN) {
            return status;
        }
        value = Py_None;
    }
    status = xf_exchange_step(x, value, result);
    return xf_exchange_follow(x, status, result);
}

static PySendResult exchange_am_send(PyObject *op, PyObject *value, PyObject **result)
{
    ExchangeObject *x = (ExchangeObject *)op;
    *result = NULL;
    if (is_refused(x)) {
        return PYGEN_ERROR;
    }
    x->is_stepping = true;
    PySendResult status = step(x, value, result);
    x->is_stepping = false;
    return status;
}

static PyObject *exchange_send(PyObject *self, PyObject *value)
{
    PyObject *result;
    PySendResult status = exchange_am_send(self, value, &result);
    return xf_send_result(status, result);
}

static PyObject *exchange_iternext(PyObject *self)
{
    return exchange_send(self, Py_None);
}

static PyObject *exchange_throw(PyObject *op, PyObject *const *args, Py_ssize_t nargs)
{
    ExchangeObject *x = (ExchangeObject *)op;
    PyObject *result;
    if (is_refused(x)) {
        return NULL;
    }
    if (x->phase <= XF_EXCHANGE_QUEUED) {
        xf_exchange_give_up(x);
        xf_set_thrown(args, nargs);
        return NULL;
    }
    x->is_stepping = true;
    PySendResult status = xf_exchange_throw_in(x, args, nargs, &result);
    status = xf_exchange_follow(x, status, &result);
    x->is_stepping = false;
    return xf_send_result(status, result);
}

static PyObject *exchange_close(PyObject *op, PyObject *Py_UNUSED(unused))
{
    ExchangeObject *x = (ExchangeObject *)op;
    PyObject *closed = NULL;
    if (x->phase == XF_EXCHANGE_OVER) {
        Py_RETURN_NONE;
    }
    if (is_refused(x)) {
        return NULL;
    }
    if (x->phase <= XF_EXCHANGE_QUEUED) {
        xf_exchange_give_up(x);
        Py_RETURN_NONE;
    }
    x->is_stepping = true;
    PyObject *token = xf_exchange_enter(x);
    if (!PyErr_Occurred()) {
        closed = PyObject_CallMethodNoArgs(x->coro, x->scheduler->st->s_close);
    }
    xf_exchange_leave(x, token);
    xf_exchange_end(x, XF_CANCELLED);
    x->is_stepping = false;
    return closed;
}

/* ---- life ---- */

/* Makes an exchange. `answered` and `request` may be NULL. */
static PyObject *make(SchedulerObject *s, PyObject *coro, PyObject *terms, PyObject *answered,
                      PyObject *request)
{
    ExchangeObject *x = PyObject_GC_New(ExchangeObject, s->st->exchange_type);
    if (x == NULL) {
        return NULL;
    }
    x->scheduler = (SchedulerObject *)Py_NewRef(s);
    x->coro = Py_NewRef(coro);
    x->terms = Py_NewRef(terms);
    x->answered = Py_XNewRef(answered);
    x->request = Py_XNewRef(request);
    x->call = NULL;
    x->asked_at = x->sent_at = 0;
    x->phase = XF_EXCHANGE_NEW;
    x->is_part = x->is_stepping = false;
    PyObject_GC_Track(x);
    return (PyObject *)x;
}

PyObject *xf_scheduler_exchange(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    SchedulerObject *s = (SchedulerObject *)self;
    if (xf_scheduler_check(s) < 0) {
        return NULL;
    }
    if (nargs != 4) {
        return PyErr_Format(PyExc_TypeError, "_exchange() takes 4 arguments, not %zd", nargs);
    }
    return make(s, args[0], args[1], args[2], args[3]);
}

PyObject *xf_scheduler_open(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    SchedulerObject *s = (SchedulerObject *)self;
    if (xf_scheduler_check(s) < 0) {
        return NULL;
    }
    if (nargs != 2) {
        return PyErr_Format(PyExc_TypeError, "_open() takes 2 arguments, not %zd", nargs);
    }
    return make(s, args[0], args[1], NULL, NULL);
}

/* Dropped before its end. One that was never awaited says so by the request in it. */
static void exchange_finalize(PyObject *op)
{
    ExchangeObject *x = (ExchangeObject *)op;
    if (x->phase == XF_EXCHANGE_NEW || x->phase == XF_EXCHANGE_OVER) {
        return;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *closed = exchange_close(op, NULL);
    if (closed == NULL) {
        PyErr_WriteUnraisable(op);
    }
    Py_XDECREF(closed);
    PyErr_Restore(type, value, traceback);
}

static int exchange_traverse(PyObject *op, visitproc visit, void *arg)
{
    ExchangeObject *x = (ExchangeObject *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(x->scheduler);
    Py_VISIT(x->coro);
    Py_VISIT(x->terms);
    Py_VISIT(x->answered);
    Py_VISIT(x->request);
    Py_VISIT(x->call);
    return 0;
}

static int exchange_clear(PyObject *op)
{
    xf_exchange_let_go((ExchangeObject *)op);
    return 0;
}

static void exchange_dealloc(PyObject *op)
{
    if (PyObject_CallFinalizerFromDealloc(op) < 0) {
        return;
    }
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    xf_exchange_let_go((ExchangeObject *)op);
    Py_DECREF(((ExchangeObject *)op)->scheduler);
    PyObject_GC_Del(op);
    Py_DECREF(type);
}

static PyMethodDef exchange_methods[] = {
    XF_AWAIT_METHOD(xf_await_method),
    {"send", exchange_send, METH_O, NULL},
    {"throw", XF_FUNCTION(exchange_throw), METH_FASTCALL, NULL},
    {"close", exchange_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot exchange_slots[] = {
    {Py_tp_doc, (void *)"A request and its answer, to be awaited once."},
    {Py_tp_dealloc, exchange_dealloc},
    {Py_tp_finalize, exchange_finalize},
    {Py_tp_traverse, exchange_traverse},
    {Py_tp_clear, exchange_clear},
    {Py_tp_methods, exchange_methods},
    {Py_tp_iternext, exchange_iternext},
    {Py_am_await, PyObject_SelfIter},
    {Py_am_send, exchange_am_send},
    {0, NULL},
};

PyType_Spec xf_exchange_spec = {
    .name = "xtremeflow._core.Exchange",
    .basicsize = sizeof(ExchangeObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = exchange_slots,
};
