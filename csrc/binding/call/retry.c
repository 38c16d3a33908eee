/* Calls that the provider refused: the cooldown, and the next attempt. Methods of Call. */
#include "binding/call/retry.h"

#include "binding/call/call.h"
#include "binding/call/deliver.h"
#include "binding/call/owner.h"
#include "binding/loop/loop.h"

static int64_t to_ns(double seconds)
{
    return seconds >= 9e9 ? (int64_t)9e18 : (int64_t)(seconds * 1e9);
}

/* Reads a backoff from (retry_after or None, base, exponential, max_retry_after). 0, or -1 with an
   error set. */
static int parse_backoff(PyObject *args, const char *format, xf_backoff *b)
{
    PyObject *told;
    double base, max, seconds = -1;
    int exponential;
    if (!PyArg_ParseTuple(args, format, &told, &base, &exponential, &max)) {
        return -1;
    }
    if (told != Py_None) {
        seconds = PyFloat_AsDouble(told);
        if (seconds == -1 && PyErr_Occurred()) {
            return -1;
        }
    }
    if ((told != Py_None && !(seconds >= 0)) || !(base >= 0) || !(max >= 0)) {
        PyErr_Format(PyExc_ValueError, "retry_after, base and max_retry_after must be >= 0, not %R",
                     args);
        return -1;
    }
    *b = (xf_backoff){
        .told_ns = told == Py_None ? XF_UNTOLD : to_ns(seconds < max ? seconds : max),
        .base_ns = to_ns(base),
        .exponential = exponential,
        .max_ns = to_ns(max),
    };
    return 0;
}

static PyObject *wait_until(CallObject *c, int64_t until, int64_t now)
{
    xf_deliver(c->scheduler);
    return PyFloat_FromDouble(until > now ? (double)(until - now) * 1e-9 : 0.0);
}

PyObject *xf_call_rate_limited(PyObject *self, PyObject *args)
{
    CallObject *c = (CallObject *)self;
    SchedulerObject *s = c->scheduler;
    xf_backoff b;
    if (parse_backoff(args, "Odpd:rate_limited", &b) < 0) {
        return NULL;
    }
    int64_t now = xf_port_now(s, c->port);
    return wait_until(c, xf_refused(&s->core, &c->core, &b, now), now);
}

PyObject *xf_call_failed(PyObject *self, PyObject *args)
{
    CallObject *c = (CallObject *)self;
    xf_backoff b;
    if (parse_backoff(args, "Odpd:failed", &b) < 0) {
        return NULL;
    }
    b.alone = b.exponential;
    int64_t now = xf_port_now(c->scheduler, c->port), until = now;
    if (c->core.state == XF_CALL_IN_FLIGHT) {
        until = xf_failed(&c->scheduler->core, &c->core, &b, now);
    }
    return wait_until(c, until, now);
}

/* Wakes the attempts that wait, since `c` is admitted again. `here` as in xf_resolve(). */
static void resolve_retries(CallObject *c, PyObject *here)
{
    PyObject *retries = c->retries;
    c->retries = NULL;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(retries); i++) {
        if (xf_resolve(c->scheduler->st, PyList_GET_ITEM(retries, i), here) < 0) {
            PyErr_Clear(); /* its loop is closed */
        }
    }
    Py_DECREF(retries);
}

/* The cost of the next attempt of `c`, in new memory. NULL with an error set. */
static int64_t *next_cost(CallObject *c, int64_t *tokens)
{
    int64_t *cost = PyMem_Malloc(c->scheduler->core.gate.n_limits * sizeof(*cost));
    if (cost == NULL) {
        PyErr_NoMemory();
    } else if ((*tokens = xf_call_cost(c, cost)) < 0) {
        PyMem_Free(cost);
        cost = NULL;
    }
    return cost;
}

PyObject *xf_call_retry(PyObject *self, PyObject *Py_UNUSED(unused))
{
    CallObject *c = (CallObject *)self;
    SchedulerObject *s = c->scheduler;
    xf_module *st = s->st;
    if (c->stage == XF_STAGE_PENDING || c->core.state == XF_CALL_DONE) {
        PyErr_Format(PyExc_RuntimeError, "cannot repeat a call that is %s", xf_call_state(c));
        return NULL;
    }
    PyObject *future = xf_new_future(st);
    int64_t tokens = 0, *cost = future != NULL ? next_cost(c, &tokens) : NULL;
    /* Attempts of one call that fail together wait together, since the call paid for them together.
     */
    bool is_granted = c->core.state == XF_CALL_ADMITTED && c->retries == NULL;
    if (cost == NULL || (c->retries == NULL && (c->retries = PyList_New(0)) == NULL) ||
        PyList_Append(c->retries, future) < 0) {
        PyMem_Free(cost);
        Py_XDECREF(future);
        return NULL;
    }
    /* Code that runs outside a step of the call's own coroutine is in a child task of it. */
    bool is_first = c->core.state == XF_CALL_IN_FLIGHT || c->core.state == XF_CALL_RESTING;
    c->child_waits = c->stage != XF_STAGE_STEPPING || (c->child_waits && !is_first);
    int64_t now = xf_port_now(s, c->port);
    if (is_first) {
        /* Whatever this attempt has reported, the next one is new. */
        memcpy(c->core.held, cost, s->core.gate.n_limits * sizeof(*cost));
        c->core.priced = tokens > 0;
        c->tokens = tokens;
        xf_retry(&s->core, &c->core, now);
        xf_deliver(s);
        xf_call_drop_verdict(c);
    } else if (is_granted) {
        resolve_retries(c, NULL);
    }
    PyMem_Free(cost);
    return future;
}

PyObject *xf_call_rest(PyObject *self, PyObject *Py_UNUSED(unused))
{
    CallObject *c = (CallObject *)self;
    SchedulerObject *s = c->scheduler;
    if (c->core.state == XF_CALL_IN_FLIGHT) {
        xf_rest(&s->core, &c->core, xf_port_now(s, c->port));
        xf_deliver(s);
        xf_call_drop_verdict(c);
    }
    Py_RETURN_NONE;
}

PyObject *xf_call_resume(PyObject *self, PyObject *Py_UNUSED(unused))
{
    CallObject *c = (CallObject *)self;
    bool is_granted = c->core.state == XF_CALL_ADMITTED && c->stage != XF_STAGE_PENDING;
    return PyBool_FromLong(is_granted ? xf_call_dispatch(c) : c->core.state != XF_CALL_WAITING);
}

bool xf_call_repeat(CallObject *c, PyObject *here)
{
    /* The waiting task dispatches the call, unless it is cancelled before. A call that has ended is
       not kept for that. */
    bool has_left = c->stage == XF_STAGE_LEFT;
    if (has_left && !xf_call_dispatch(c)) {
        return true; /* back in the queue */
    }
    resolve_retries(c, here);
    return !has_left;
}

bool xf_call_has_retries(const CallObject *c)
{
    PyObject *retries = Py_XNewRef(c->retries);
    bool found = false;
    for (Py_ssize_t i = 0; retries != NULL && !found && i < PyList_GET_SIZE(retries); i++) {
        PyObject *future = Py_NewRef(PyList_GET_ITEM(retries, i));
        PyObject *done = PyObject_CallMethodNoArgs(future, c->scheduler->st->s_done);
        if (done == NULL) {
            PyErr_Clear();
        }
        found = done == Py_False;
        Py_XDECREF(done);
        Py_DECREF(future);
    }
    Py_XDECREF(retries);
    return found;
}
