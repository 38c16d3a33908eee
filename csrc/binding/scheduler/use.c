#include "binding/scheduler/use.h"

#include "binding/call/call.h"
#include "binding/call/deliver.h"
#include "binding/call/lessee.h"
#include "binding/call/owner.h"
#include "binding/call/prefix.h"
#include "binding/call/run.h"
#include "binding/call/start.h"
#include "binding/call/usage.h"
#include "binding/scheduler/limits.h"
#include "core/share.h"

/* A call by these arguments. On failure closes the coroutine and returns NULL with an error set. */
static CallObject *new_call(SchedulerObject *s, const xf_submission *r)
{
    CallObject *c = xf_call_new(s, r->coro, r->estimate, r->priority);
    if (c != NULL && r->prefix.key != NULL && xf_prefix_join(c, &r->prefix) < 0) {
        xf_call_give_up(c);
        Py_CLEAR(c);
    }
    return c;
}

PyObject *xf_scheduler_start_task(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                  PyObject *kwnames)
{
    SchedulerObject *s = (SchedulerObject *)self;
    xf_submission r;
    if (xf_submission_parse(s, "start_task", args, nargs, kwnames, &r) < 0) {
        return NULL;
    }
    CallObject *c = new_call(s, &r);
    return c != NULL ? xf_start_new(c, &r) : NULL;
}

PyObject *xf_scheduler_submit(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                              PyObject *kwnames)
{
    SchedulerObject *s = (SchedulerObject *)self;
    xf_submission r;
    PyObject *task = NULL;
    if (xf_submission_parse(s, "submit", args, nargs, kwnames, &r) < 0) {
        return NULL;
    }
    CallObject *c;
    bool submitted;
    XF_LOCK(self);
    c = new_call(s, &r);
    submitted = c != NULL && xf_call_submit(c, r.timeout_ns) == 0;
    XF_UNLOCK();
    if (c == NULL) {
        return NULL;
    }
    if (!submitted) {
        xf_call_give_up(c);
    } else {
        task = xf_create_task(c, r.name); /* may run it: without the lock */
    }
    Py_DECREF(c);
    return task;
}

/* ---- the shared cooldown ---- */

PyObject *xf_scheduler_notify(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                              PyObject *kwnames)
{
    SchedulerObject *s = (SchedulerObject *)self;
    PyObject *retry_after =
        xf_only_argument("notify_rate_limit_exceeded", s->st->s_retry_after, args, nargs, kwnames);
    if (retry_after == NULL || xf_scheduler_check(s) < 0) {
        return NULL;
    }
    double seconds = PyFloat_AsDouble(retry_after);
    if (seconds == -1.0 && PyErr_Occurred()) {
        PyErr_Format(PyExc_TypeError, "retry_after must be a number of seconds, not %R",
                     retry_after);
        return NULL;
    }
    if (!(seconds >= 0 && seconds <= 86400)) {
        PyErr_Format(PyExc_ValueError,
                     "retry_after must be from 0 to 86400 seconds, not %R: a longer wait is a "
                     "failure to report, not a pause",
                     retry_after);
        return NULL;
    }
    CallObject *c = xf_call_in_flight(s);
    if (c == NULL && PyErr_Occurred()) {
        return NULL;
    }
    xf_call *refused = c != NULL ? &c->core : NULL;
    const xf_backoff b = {.told_ns = (int64_t)(seconds * 1e9)};
    xf_refused(&s->core, refused, &b, xf_port_now(s, refused != NULL ? c->port : NULL));
    Py_XDECREF(c);
    xf_deliver(s);
    Py_RETURN_NONE;
}

/* ---- slots ---- */

PyObject *xf_scheduler_get_slots(PyObject *self, void *Py_UNUSED(closure))
{
    SchedulerObject *s = (SchedulerObject *)self;
    xf_share_refresh(&s->core.gate);
    uint32_t slots = s->lessee != NULL ? s->lessee->slots : s->core.gate.slots;
    return slots == XF_UNLIMITED ? Py_NewRef(Py_None) : PyLong_FromUnsignedLong(slots);
}

int xf_scheduler_set_slots(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    SchedulerObject *s = (SchedulerObject *)self;
    uint32_t slots;
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "max_concurrency cannot be deleted");
        return -1;
    }
    if (xf_scheduler_check(s) < 0 || xf_parse_slots(value, &slots) < 0) {
        return -1;
    }
    if (s->lessee != NULL) { /* for all members */
        PyObject *r = PyObject_CallMethod(s->lessee->holder, "set_slots", "O", value);
        Py_XDECREF(r);
        return r != NULL ? 0 : -1;
    }
    xf_set_slots(&s->core, slots, xf_port_about_now(s, NULL));
    xf_deliver(s);
    return 0;
}
