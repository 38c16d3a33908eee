/* Delivery: hands out the decisions of the core. It wakes tasks in their own loops. All that became
   due in one turn of a loop run together in the next, since the loop's own work for a callback
   costs as much as a task's step. From the timer's callback they run at once. Then it arms the
   timer for the next moment. */
#include "binding/call/deliver.h"

#include "binding/call/call.h"
#include "binding/call/drain.h"
#include "binding/call/future.h"
#include "binding/call/lessee.h"
#include "binding/call/member.h"
#include "binding/call/owner.h"
#include "binding/call/run.h"
#include "binding/loop/loop.h"
#include "binding/loop/timer.h"

#define LOOK_AGAIN_NS INT64_C(1000000000)
#define LOOK_FOR_THE_DEAD_NS INT64_C(50000000)

static bool is_armed(xf_call *c, int64_t at)
{
    return c == NULL || xf_timer_is_armed(xf_call_of(c)->port, at);
}

/* The moment to wake for the head. If other loops have calls too, also now and then, to find a
   closed loop that still holds a slot; and if other members do, to find one that has died, or whose
   poke was lost. */
static int64_t head_wakes_at(const SchedulerObject *s, xf_call *head, int64_t at)
{
    bool has_loops = s->ports != NULL && s->ports->next != NULL;
    bool has_others =
        head != NULL && (has_loops || s->member != NULL) && !xf_call_of(head)->port->own_clock;
    bool may_die = s->member != NULL && at == XF_NEVER;
    int64_t look_at = s->core.now + (may_die ? LOOK_FOR_THE_DEAD_NS : LOOK_AGAIN_NS);
    return has_others && look_at < at ? look_at : at;
}

static void arm_for(SchedulerObject *s, xf_call *c, PyObject *here, int64_t at)
{
    if (!is_armed(c, at)) {
        PortObject *port = (PortObject *)Py_NewRef(xf_call_of(c)->port);
        if (port->loop != here && xf_port_is_closed(port)) {
            xf_port_purge_closed(s);
        } else if (xf_timer_arm(port, here, at) < 0) {
            PyErr_WriteUnraisable((PyObject *)port);
        }
        Py_DECREF(port);
    }
}

/* Whether the timers are armed for all that time alone will do: the head passes, a deadline comes,
   a group changes. */
static bool is_all_armed(const SchedulerObject *s)
{
    int64_t at;
    if (s->core.queue.size == 0) {
        return true; /* all of these are of calls that wait */
    }
    xf_call *head = xf_head(&s->core, &at);
    if (!is_armed(head, head_wakes_at(s, head, at))) {
        return false;
    }
    xf_call *first = xf_first_deadline(&s->core, &at);
    if (!is_armed(first, at)) {
        return false;
    }
    xf_call *waits = xf_first_change(&s->core, &at);
    return is_armed(waits, at);
}

static void arm_all(SchedulerObject *s, PyObject *here)
{
    int64_t at;
    xf_call *head = xf_head(&s->core, &at);
    arm_for(s, head, here, head_wakes_at(s, head, at));
    xf_call *first = xf_first_deadline(&s->core, &at);
    arm_for(s, first, here, at);
    xf_call *waits = xf_first_change(&s->core, &at);
    arm_for(s, waits, here, at);
}

/* Takes the callback of the task that waits for `c`; NULL if it has been woken. */
static PyObject *take_callback(CallObject *c, PyObject **context)
{
    PyObject *callback;
    XF_LOCK(c->scheduler);
    callback = xf_future_take_callback(c, context);
    XF_UNLOCK();
    return callback;
}

/* Runs the callback, or lets the loop run it if its context is in use or `later` is set. 0, or -1
   with an error set if it raised an exception that stops a loop. */
static int run_callback(CallObject *c, bool later)
{
    PyObject *context, *callback = take_callback(c, &context);
    int result = 0;
    if (callback == NULL) {
        return 0;
    }
    if (later || PyContext_Enter(context) < 0) {
        PyObject *type, *value, *traceback;
        if (!later) {
            PyErr_Clear();
        }
        PyErr_Fetch(&type, &value, &traceback);
        if (xf_port_call_soon(c->port, c->port->loop, callback, (PyObject *)c, context) < 0) {
            PyErr_Clear();
        }
        PyErr_Restore(type, value, traceback);
    } else {
        PyObject *r = PyObject_CallOneArg(callback, (PyObject *)c);
        if (PyContext_Exit(context) < 0) {
            Py_CLEAR(r);
        }
        result = r != NULL ? 0 : -1;
        Py_XDECREF(r);
    }
    Py_DECREF(callback);
    Py_DECREF(context);
    return result;
}

/* Takes the woken calls of a port; NULL if there are none. */
static PyObject *take_woken(PortObject *port)
{
    PyObject *woken = NULL;
    SchedulerObject *s = xf_port_scheduler(port);
    if (s != NULL) {
        XF_LOCK(s);
        woken = port->woken;
        port->woken = NULL; /* tasks that these wake run in the next turn */
        XF_UNLOCK();
        Py_DECREF(s);
    }
    return woken;
}

/* Runs the tasks of the woken calls. NULL with an error set if one raised an exception that stops a
   loop; the others are woken all the same. */
static PyObject *run_woken(PyObject *self, PyObject *Py_UNUSED(unused))
{
    PyObject *woken = take_woken((PortObject *)self);
    int result = 0;
    for (Py_ssize_t i = 0; woken != NULL && i < PyList_GET_SIZE(woken); i++) {
        if (run_callback((CallObject *)PyList_GET_ITEM(woken, i), result < 0) < 0) {
            result = -1;
        }
    }
    Py_XDECREF(woken);
    return result < 0 ? NULL : Py_NewRef(Py_None);
}

static PyMethodDef run_woken_def = {"run_woken", run_woken, METH_NOARGS, NULL};

static int schedule(PortObject *port, PyObject *here)
{
    PyObject *run = PyCFunction_New(&run_woken_def, (PyObject *)port);
    int r = run != NULL ? xf_port_call_soon(port, here, run, NULL, NULL) : -1;
    Py_XDECREF(run);
    return r;
}

/* Adds `c` to the calls whose tasks are to run, and schedules that, unless the caller does. `here`
   as in xf_resolve(). False if the loop is closed or there is no memory. */
static bool run_later(PortObject *port, CallObject *c, PyObject *here, bool is_seen_to)
{
    bool is_first = port->woken == NULL;
    if (is_first) {
        port->woken = PyList_New(0);
    }
    bool done = port->woken != NULL && PyList_Append(port->woken, (PyObject *)c) == 0 &&
                (!is_first || is_seen_to || schedule(port, here) == 0);
    if (!done) {
        PyErr_Clear();
        if (is_first) {
            Py_CLEAR(port->woken);
        }
    }
    return done;
}

/* See xf_deliver(). `timer` (or NULL) is the port whose timer has fired. The caller runs the tasks
   that are woken there. */
static void deliver(SchedulerObject *s, const PortObject *timer)
{
    if (s->core.outbox.first == NULL && is_all_armed(s) && !xf_scheduler_may_be_drained(s) &&
        (s->member == NULL || !xf_member_has_news(s)) && !xf_lessee_has_news(s)) {
        return;
    }
    if (s->delivering) {
        return; /* from within a wake-up: the loop below goes on */
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    Py_INCREF(s);
    PyObject *here = xf_running_loop(s->st);
    s->delivering = true;
    for (xf_call *c; (c = xf_collect(&s->core)) != NULL;) {
        CallObject *call = (CallObject *)Py_NewRef(xf_call_of(c));
        bool is_seen_to = timer != NULL && call->port == timer;
        bool is_woken = xf_call_is_awaited(call) && run_later(call->port, call, here, is_seen_to);
        if (!is_woken && !xf_call_wake(call, here)) {
            xf_call_abandon(call);
        }
        Py_DECREF(call);
    }
    s->delivering = false;
    arm_all(s, here);
    if (s->member != NULL && xf_member_has_news(s)) {
        xf_member_tell(s);
    }
    if (xf_lessee_has_news(s)) {
        xf_lessee_tell(s);
    }
    xf_scheduler_drained(s, here);
    Py_XDECREF(here);
    Py_DECREF(s);
    PyErr_Restore(type, value, traceback);
}

void xf_deliver(SchedulerObject *s)
{
    deliver(s, NULL);
}

/* Handles a timer that has fired: collects the due calls, arms the timer anew, and then runs their
   tasks at once. Another turn of the loop for each would cost more than the task itself. */
static PyObject *wake(PyObject *self, PyObject *Py_UNUSED(unused))
{
    PortObject *port = (PortObject *)self;
    SchedulerObject *s = xf_port_scheduler(port);
    if (s == NULL) {
        Py_RETURN_NONE;
    }
    XF_LOCK(s);
    (s->member != NULL ? xf_look : xf_poll)(&s->core, xf_timer_fired(port));
    if (s->core.outbox.first == NULL) { /* no call was due: see head_wakes_at() */
        xf_port_purge_others(s);
        if (s->core.gate.share != NULL) {
            xf_member_sweep(s);
        }
    }
    deliver(s, port);
    xf_timer_rest(port);
    XF_UNLOCK();
    Py_DECREF(s);
    return run_woken(self, NULL);
}

PyMethodDef xf_wake_def = {"wake", wake, METH_NOARGS, NULL};
