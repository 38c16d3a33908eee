#include "binding/call/exchange_queue.h"

#include "binding/call/call.h"
#include "binding/call/prefix.h"
#include "binding/call/run.h"
#include "binding/call/start.h"

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

/* The result of terms(request). The objects are borrowed from it. */
typedef struct admission_terms {
    int priority;
    int64_t timeout_ns;
    PyObject *cost;
    xf_named_prefix prefix;
} admission_terms;

/* 0, or -1 with an error set. */
static int parse_terms(PyObject *terms, admission_terms *t)
{
    if (!PyTuple_Check(terms) || PyTuple_GET_SIZE(terms) != 6) {
        PyErr_Format(PyExc_TypeError,
                     "terms are (priority, timeout, cost, prefix, prefix_tokens, prefix_life), "
                     "not %R",
                     terms);
        return -1;
    }
    PyObject *prefix = PyTuple_GET_ITEM(terms, 3);
    *t = (admission_terms){.timeout_ns = -1, .cost = PyTuple_GET_ITEM(terms, 2)};
    if (prefix != Py_None) {
        t->prefix.key = prefix;
        t->prefix.tokens = PyLong_AsLongLong(PyTuple_GET_ITEM(terms, 4));
        if ((t->prefix.tokens == -1 && PyErr_Occurred()) ||
            xf_parse_life(PyTuple_GET_ITEM(terms, 5), &t->prefix.life_ns) < 0) {
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
    x->phase = XF_EXCHANGE_QUEUED;
    if (t->prefix.key != NULL && xf_prefix_join(x->call, &t->prefix) < 0) {
        return -1;
    }
    return xf_call_submit(x->call, t->timeout_ns);
}

/* Puts a call of its own into the queue. -1 with an error set, the request closed. */
static int queue(ExchangeObject *x)
{
    SchedulerObject *s = x->scheduler;
    PyObject *told =
        x->request != NULL ? PyObject_CallOneArg(x->terms, x->request) : Py_NewRef(x->terms);
    admission_terms terms;
    int r;
    if (told == NULL || parse_terms(told, &terms) < 0) {
        Py_XDECREF(told);
        xf_exchange_give_up(x);
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
        xf_exchange_give_up(x);
    } else if (r < 0) {
        xf_exchange_let_go(x);
    }
    return r;
}

int xf_exchange_begin(ExchangeObject *x)
{
    SchedulerObject *s = x->scheduler;
    CallObject *around = xf_call_current(s->st);
    if (around == NULL && PyErr_Occurred()) {
        xf_exchange_give_up(x);
        return -1;
    }
    if (around != NULL && around->scheduler == s && around->core.state != XF_CALL_DONE) {
        x->call = around;
        x->is_part = true;
        x->phase = XF_EXCHANGE_SENT;
        XF_LOCK(s);
        x->asked_at = x->sent_at = xf_port_now(s, around->port);
        XF_UNLOCK();
        return 0;
    }
    Py_XDECREF(around);
    return queue(x);
}

PySendResult xf_exchange_dispatch(ExchangeObject *x, PyObject **result)
{
    CallObject *c = x->call;
    if (c->core.state == XF_CALL_ADMITTED && xf_call_dispatch(c)) {
        xf_call_start(c);
        xf_call_move(c, XF_STAGE_PAUSED);
        x->sent_at = c->core.dispatched_at;
        x->phase = XF_EXCHANGE_SENT;
        return PYGEN_RETURN;
    }
    if (c->core.state == XF_CALL_WAITING || c->core.state == XF_CALL_ADMITTED) {
        c->blocking = true;
        *result = Py_NewRef(c);
        return PYGEN_NEXT;
    }
    if (c->core.state == XF_CALL_EXPIRED) {
        xf_set_timeout(c);
        if (x->answered != NULL) {
            Py_XDECREF(xf_exchange_show(x, NULL)); /* raises what its user makes of that */
        }
    }
    if (!PyErr_Occurred()) {
        PyErr_SetNone(x->scheduler->st->cancelled_error);
    }
    xf_exchange_give_up(x);
    return PYGEN_ERROR;
}
