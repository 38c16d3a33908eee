/* Exchange: a request and its answer as a call of a scheduler, run by the task that awaits it.

   It queues, is admitted, and sends the request, all without a task of its own and without Python.
   Then `answered` looks at what came: mostly nothing is left to be done, and the call has ended.
   Else it gives the coroutine that goes on with the call, its further attempts and all.

   Awaited within a call of the same scheduler it is a part of that one: it has its slot. */
#include "binding/call/exchange.h"

#include "binding/call/await.h"
#include "binding/call/call.h"
#include "binding/call/owner.h"
#include "binding/call/prefix.h"
#include "binding/call/run.h"
#include "binding/call/start.h"

typedef enum exchange_phase {
    EXCHANGE_NEW,
    EXCHANGE_QUEUED, /* its call waits, or is admitted and not dispatched */
    EXCHANGE_SENT,   /* the request is on its way */
    EXCHANGE_REST,   /* the coroutine that `answered` has given is run */
    EXCHANGE_OVER,
} exchange_phase;

typedef struct ExchangeObject {
    PyObject_HEAD SchedulerObject *scheduler;
    PyObject *coro;     /* the request; later what goes on with the call */
    PyObject *terms;    /* terms(request): (priority, timeout, cost, prefix, prefix_tokens) */
    PyObject *answered; /* see _exchange() */
    PyObject *request;
    CallObject *call; /* from the start on: its own, or the one that it is a part of */
    int64_t asked_at, sent_at;
    uint8_t phase; /* exchange_phase */
    bool is_part;  /* of another call */
    bool is_stepping;
} ExchangeObject;

static void let_go(ExchangeObject *x)
{
    x->phase = EXCHANGE_OVER;
    Py_CLEAR(x->coro);
    Py_CLEAR(x->terms);
    Py_CLEAR(x->answered);
    Py_CLEAR(x->request);
    Py_CLEAR(x->call);
}

/* Ends its own call with that outcome. Keeps a set exception. */
static void end(ExchangeObject *x, xf_outcome outcome)
{
    if (!x->is_part && x->call != NULL) {
        CallObject *c = x->call;
        XF_LOCK(x->scheduler);
        xf_call_move(c, XF_STAGE_ENDED);
        xf_call_end(c, outcome);
        XF_UNLOCK();
    }
    let_go(x);
}

static void end_failed(ExchangeObject *x)
{
    bool is_cancelled = PyErr_ExceptionMatches(x->scheduler->st->cancelled_error) ||
                        PyErr_ExceptionMatches(PyExc_GeneratorExit);
    end(x, is_cancelled ? XF_CANCELLED : XF_FAILED);
}

/* Closes a request that will not be sent. Keeps a set exception. */
static void give_up(ExchangeObject *x)
{
    if (x->phase == EXCHANGE_QUEUED) {
        xf_call_give_up(x->call); /* closes the request, too */
    } else {
        xf_close_coro(x->coro);
    }
    let_go(x);
}

/* ---- what its user is asked ---- */

/* The exception that is set, as an object. */
static PyObject *caught(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL) {
        (void)PyException_SetTraceback(value, traceback);
    }
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

/* Shows `answered` what came: an answer, or the exception that is set; also that it was not
   admitted in time, and so never sent. */
static PyObject *show(ExchangeObject *x, PyObject *answer)
{
    PyObject *error = answer == NULL ? caught() : NULL, *more = NULL;
    int64_t came_at;
    XF_LOCK(x->scheduler);
    came_at = xf_port_now(x->scheduler, x->call->port);
    XF_UNLOCK();
    PyObject *asked = PyFloat_FromDouble((double)x->asked_at * 1e-9);
    PyObject *came = PyFloat_FromDouble((double)came_at * 1e-9);
    PyObject *sent = x->phase == EXCHANGE_QUEUED ? Py_NewRef(Py_None)
                                                 : PyFloat_FromDouble((double)x->sent_at * 1e-9);
    if (asked != NULL && sent != NULL && came != NULL) {
        PyObject *args[] = {x->request,
                            (PyObject *)x->call,
                            asked,
                            sent,
                            came,
                            answer != NULL ? answer : Py_None,
                            error != NULL ? error : Py_None};
        more = PyObject_Vectorcall(x->answered, args, Py_ARRAY_LENGTH(args), NULL);
    }
    Py_XDECREF(asked);
    Py_XDECREF(sent);
    Py_XDECREF(came);
    Py_XDECREF(error);
    return more;
}

/* ---- until it is sent ---- */

/* The task that awaits it, for who asks for the tasks of calls. */
static void note_task(CallObject *c)
{
    PyObject *task = PyObject_CallOneArg(c->scheduler->st->current_task, c->port->loop);
    if (task == NULL) {
        PyErr_Clear(); /* who drives it has no task */
    } else if (task != Py_None && c->core.state != XF_CALL_DONE) {
        Py_XSETREF(c->task, task);
    } else {
        Py_DECREF(task);
    }
}

/* What terms(request) says. The objects are borrowed from it. */
typedef struct admission_terms {
    int priority;
    int64_t timeout_ns;
    PyObject *cost;
    PyObject *prefix; /* NULL if it has none */
    int64_t prefix_tokens;
} admission_terms;

/* 0, or -1 with an error set. */
static int parse_terms(PyObject *terms, admission_terms *t)
{
    if (!PyTuple_Check(terms) || PyTuple_GET_SIZE(terms) != 5) {
        PyErr_Format(PyExc_TypeError,
                     "terms are (priority, timeout, cost, prefix, prefix_tokens), not %R", terms);
        return -1;
    }
    PyObject *prefix = PyTuple_GET_ITEM(terms, 3);
    *t = (admission_terms){.timeout_ns = -1, .cost = PyTuple_GET_ITEM(terms, 2)};
    if (prefix != Py_None) {
        t->prefix = prefix;
        t->prefix_tokens = PyLong_AsLongLong(PyTuple_GET_ITEM(terms, 4));
        if (t->prefix_tokens == -1 && PyErr_Occurred()) {
            return -1;
        }
    }
    return xf_parse_priority(PyTuple_GET_ITEM(terms, 0), &t->priority) < 0 ||
                   xf_parse_timeout(PyTuple_GET_ITEM(terms, 1), &t->timeout_ns) < 0
               ? -1
               : 0;
}

/* Makes its call and puts that into the queue. -1 with an error set. */
static int submit(ExchangeObject *x, const admission_terms *t)
{
    SchedulerObject *s = x->scheduler;
    x->call = xf_call_new(s, x->coro, t->cost, t->priority);
    if (x->call == NULL) {
        return -1;
    }
    x->phase = EXCHANGE_QUEUED;
    if (t->prefix != NULL && xf_prefix_join(x->call, t->prefix, t->prefix_tokens) < 0) {
        return -1;
    }
    return xf_call_submit(x->call, t->timeout_ns);
}

/* Puts a call of its own into the queue. -1 with an error set, the request closed. */
static int queue(ExchangeObject *x)
{
    SchedulerObject *s = x->scheduler;
    PyObject *told = PyObject_CallOneArg(x->terms, x->request);
    admission_terms terms;
    int r;
    if (told == NULL || parse_terms(told, &terms) < 0) {
        Py_XDECREF(told);
        give_up(x);
        return -1;
    }
    XF_LOCK(s);
    r = submit(x, &terms);
    if (r == 0) {
        x->asked_at = s->core.now;
        note_task(x->call);
    }
    XF_UNLOCK();
    Py_DECREF(told);
    if (r < 0 && x->call != NULL) {
        give_up(x);
    } else if (r < 0) {
        let_go(x);
    }
    return r;
}

static int begin(ExchangeObject *x)
{
    SchedulerObject *s = x->scheduler;
    CallObject *around = xf_call_current(s->st);
    if (around == NULL && PyErr_Occurred()) {
        give_up(x);
        return -1;
    }
    if (around != NULL && around->scheduler == s && around->core.state != XF_CALL_DONE) {
        x->call = around;
        x->is_part = true;
        x->phase = EXCHANGE_SENT;
        XF_LOCK(s);
        x->asked_at = x->sent_at = xf_port_now(s, around->port);
        XF_UNLOCK();
        return 0;
    }
    Py_XDECREF(around);
    return queue(x);
}

/* PYGEN_RETURN: it is dispatched. PYGEN_NEXT: *result is what to wait for. */
static PySendResult dispatch(ExchangeObject *x, PyObject **result)
{
    CallObject *c = x->call;
    if (c->core.state == XF_CALL_ADMITTED && xf_call_dispatch(c)) {
        xf_call_move(c, XF_STAGE_STEPPING);
        xf_call_move(c, XF_STAGE_PAUSED);
        x->sent_at = c->core.dispatched_at;
        x->phase = EXCHANGE_SENT;
        return PYGEN_RETURN;
    }
    if (c->core.state == XF_CALL_WAITING || c->core.state == XF_CALL_ADMITTED) {
        c->blocking = true;
        *result = Py_NewRef(c);
        return PYGEN_NEXT;
    }
    if (c->core.state == XF_CALL_EXPIRED) {
        xf_set_timeout(c);
        Py_XDECREF(show(x, NULL)); /* raises what its user makes of that */
    }
    if (!PyErr_Occurred()) {
        PyErr_SetNone(x->scheduler->st->cancelled_error);
    }
    give_up(x);
    return PYGEN_ERROR;
}

/* ---- a step of what is run ---- */

/* Code in Python finds the call that it belongs to. NULL: no need to see to it, or with an error
   set. */
static PyObject *enter(ExchangeObject *x)
{
    if (x->is_part) {
        return NULL;
    }
    xf_call_move(x->call, XF_STAGE_STEPPING);
    return PyCoro_CheckExact(x->coro)
               ? PyContextVar_Set(x->scheduler->st->current_call, (PyObject *)x->call)
               : NULL;
}

static void leave(ExchangeObject *x, PyObject *token_steal_ref)
{
    if (x->is_part) {
        return;
    }
    xf_call_move(x->call, XF_STAGE_PAUSED);
    if (token_steal_ref != NULL) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        if (PyContextVar_Reset(x->scheduler->st->current_call, token_steal_ref) < 0) {
            PyErr_WriteUnraisable((PyObject *)x);
        }
        PyErr_Restore(type, value, traceback);
        Py_DECREF(token_steal_ref);
    }
}

static PySendResult send(ExchangeObject *x, PyObject *value, PyObject **result)
{
    PySendResult status = PYGEN_ERROR;
    PyObject *token = enter(x);
    *result = NULL;
    if (!PyErr_Occurred()) {
        status = PyIter_Send(x->coro, value, result);
    }
    leave(x, token);
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

static PySendResult throw_in(ExchangeObject *x, PyObject *const *args, Py_ssize_t nargs,
                             PyObject **result)
{
    PyObject *token = enter(x);
    *result = NULL;
    PyObject *method =
        PyErr_Occurred() ? NULL : PyObject_GetAttr(x->coro, x->scheduler->st->s_throw);
    if (method != NULL) {
        *result = PyObject_Vectorcall(method, args, (size_t)nargs, NULL);
        Py_DECREF(method);
    }
    leave(x, token);
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
    PyObject *answer = *result, *more = show(x, answer);
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
    x->phase = EXCHANGE_REST;
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
        end(x, XF_FAILED);
        return PYGEN_ERROR;
    }
    *result = Py_NewRef(PyTuple_GET_ITEM(both, 0));
    end(x, PyTuple_GET_ITEM(both, 1) == Py_True ? XF_SUCCEEDED : XF_FAILED);
    Py_DECREF(both);
    return PYGEN_RETURN;
}

/* What follows from a step. */
static PySendResult after(ExchangeObject *x, PySendResult status, PyObject **result)
{
    while (status != PYGEN_NEXT) {
        if (x->phase == EXCHANGE_SENT &&
            (status == PYGEN_RETURN || PyErr_ExceptionMatches(PyExc_Exception))) {
            status = look(x, result);
            if (status == PYGEN_RETURN) {
                end(x, XF_SUCCEEDED);
                return status;
            }
            if (status == PYGEN_NEXT) {
                status = send(x, Py_None, result);
                continue;
            }
        }
        if (status == PYGEN_RETURN) {
            return conclude(x, result);
        }
        end_failed(x);
        return status;
    }
    return status;
}

/* ---- the coroutine protocol ---- */

/* Whether it cannot be stepped, with an error set. */
static bool is_refused(const ExchangeObject *x)
{
    if (x->is_stepping) {
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
    } else if (x->phase == EXCHANGE_OVER) {
        xf_already_awaited();
    }
    return x->is_stepping || x->phase == EXCHANGE_OVER;
}

static PySendResult step(ExchangeObject *x, PyObject *value, PyObject **result)
{
    PySendResult status;
    if (x->phase == EXCHANGE_NEW && begin(x) < 0) {
        return PYGEN_ERROR;
    }
    if (x->phase == EXCHANGE_QUEUED) {
        XF_LOCK(x->scheduler);
        status = dispatch(x, result);
        XF_UNLOCK();
        if (status != PYGEN_RETURN) {
            return status;
        }
        value = Py_None;
    }
    status = send(x, value, result);
    return after(x, status, result);
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
    if (x->phase <= EXCHANGE_QUEUED) {
        give_up(x);
        xf_set_thrown(args, nargs);
        return NULL;
    }
    x->is_stepping = true;
    PySendResult status = throw_in(x, args, nargs, &result);
    status = after(x, status, &result);
    x->is_stepping = false;
    return xf_send_result(status, result);
}

static PyObject *exchange_close(PyObject *op, PyObject *Py_UNUSED(unused))
{
    ExchangeObject *x = (ExchangeObject *)op;
    PyObject *closed = NULL;
    if (x->phase == EXCHANGE_OVER) {
        Py_RETURN_NONE;
    }
    if (is_refused(x)) {
        return NULL;
    }
    if (x->phase <= EXCHANGE_QUEUED) {
        give_up(x);
        Py_RETURN_NONE;
    }
    x->is_stepping = true;
    PyObject *token = enter(x);
    if (!PyErr_Occurred()) {
        closed = PyObject_CallMethodNoArgs(x->coro, x->scheduler->st->s_close);
    }
    leave(x, token);
    end(x, XF_CANCELLED);
    x->is_stepping = false;
    return closed;
}

/* ---- life ---- */

PyObject *xf_scheduler_exchange(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    SchedulerObject *s = (SchedulerObject *)self;
    if (xf_scheduler_check(s) < 0) {
        return NULL;
    }
    if (nargs != 4) {
        return PyErr_Format(PyExc_TypeError, "_exchange() takes 4 arguments, not %zd", nargs);
    }
    ExchangeObject *x = PyObject_GC_New(ExchangeObject, s->st->exchange_type);
    if (x == NULL) {
        return NULL;
    }
    x->scheduler = (SchedulerObject *)Py_NewRef(self);
    x->coro = Py_NewRef(args[0]);
    x->terms = Py_NewRef(args[1]);
    x->answered = Py_NewRef(args[2]);
    x->request = Py_NewRef(args[3]);
    x->call = NULL;
    x->asked_at = x->sent_at = 0;
    x->phase = EXCHANGE_NEW;
    x->is_part = x->is_stepping = false;
    PyObject_GC_Track(x);
    return (PyObject *)x;
}

/* Dropped before its end. One that was never awaited says so by the request in it. */
static void exchange_finalize(PyObject *op)
{
    ExchangeObject *x = (ExchangeObject *)op;
    if (x->phase == EXCHANGE_NEW || x->phase == EXCHANGE_OVER) {
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
    let_go((ExchangeObject *)op);
    return 0;
}

static void exchange_dealloc(PyObject *op)
{
    if (PyObject_CallFinalizerFromDealloc(op) < 0) {
        return;
    }
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    let_go((ExchangeObject *)op);
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
