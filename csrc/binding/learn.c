/* What a learner moves: definitions of limits, their levels, and how many calls are let in. Methods
   of Scheduler. */
#include "binding/binding.h"

#include <math.h>

/* A limit's index from `i`. -1 with an error set. */
static int check_index(SchedulerObject *s, unsigned int i)
{
    if (i >= s->core.n_limits) {
        PyErr_Format(PyExc_IndexError, "there are %u limits, not %u", s->core.n_limits, i);
        return -1;
    }
    return 0;
}

/* An instant in ns from seconds on the loop's clock, or from None `unsaid`. -1 with an error set.
 */
static int64_t instant(PyObject *seconds, const char *name, int64_t unsaid)
{
    if (seconds == Py_None) {
        return unsaid;
    }
    double at = PyFloat_AsDouble(seconds);
    if (at == -1.0 && PyErr_Occurred()) {
        return -1;
    }
    if (!(at >= 0 && at <= 9e9)) {
        PyErr_Format(PyExc_ValueError, "%s must be seconds on the loop's clock, not %R", name,
                     seconds);
        return -1;
    }
    return (int64_t)nearbyint(at * 1e9);
}

PyObject *xf_scheduler_retune(PyObject *self, PyObject *args)
{
    SchedulerObject *s = (SchedulerObject *)self;
    unsigned int i;
    PyObject *item, *name;
    xf_limit limit;
    if (xf_scheduler_check(s) < 0 || !PyArg_ParseTuple(args, "IO:_retune", &i, &item) ||
        check_index(s, i) < 0 || xf_parse_limit(item, &name, &limit) < 0) {
        return NULL;
    }
    xf_retune(&s->core, i, &limit, xf_port_now(s, NULL));
    xf_deliver(s);
    Py_RETURN_NONE;
}

PyObject *xf_scheduler_track(PyObject *self, PyObject *Py_UNUSED(unused))
{
    SchedulerObject *s = (SchedulerObject *)self;
    if (xf_scheduler_check(s) < 0) {
        return NULL;
    }
    if (!xf_follow(&s->core, s->core.now)) {
        return PyErr_NoMemory();
    }
    Py_RETURN_NONE;
}

/* What a call costs of limit `i`: the current one, or on average. */
static double cost_of(SchedulerObject *s, const CallObject *c, uint32_t i)
{
    if (c != NULL) {
        return (double)c->core.held[i];
    }
    uint64_t admitted = s->core.counters.admitted;
    return admitted > 0 ? (double)(int64_t)s->core.limits[i].used / (double)admitted : 0;
}

PyObject *xf_scheduler_told(PyObject *self, PyObject *args)
{
    SchedulerObject *s = (SchedulerObject *)self;
    unsigned int i;
    double remaining, moved = 0;
    int late, bounded;
    PyObject *sent, *answered;
    if (xf_scheduler_check(s) < 0 ||
        !PyArg_ParseTuple(args, "IdppOO:_told", &i, &remaining, &late, &bounded, &sent,
                          &answered) ||
        check_index(s, i) < 0) {
        return NULL;
    }
    CallObject *c = xf_call_in_flight(s);
    if (c == NULL && PyErr_Occurred()) {
        return NULL;
    }
    int64_t now = xf_port_now(s, c != NULL ? c->port : NULL);
    int64_t sent_at = instant(sent, "sent_at", c != NULL ? c->core.dispatched_at : XF_NEVER);
    int64_t answered_at = instant(answered, "received_at", now);
    double doubt = late ? (double)xf_held_since(&s->core, i, -1) : cost_of(s, c, i);
    Py_XDECREF(c);
    if (sent_at < 0 || answered_at < 0) {
        return NULL;
    }
    if (remaining >= 0 && sent_at <= answered_at && s->core.limits[i].trail != NULL) {
        moved = xf_told(&s->core, i, remaining, doubt, bounded, sent_at,
                        answered_at < now ? answered_at : now, now);
        xf_deliver(s);
    }
    return PyFloat_FromDouble(moved);
}

PyObject *xf_scheduler_withhold(PyObject *self, PyObject *args)
{
    SchedulerObject *s = (SchedulerObject *)self;
    unsigned int i;
    long long units;
    if (xf_scheduler_check(s) < 0 || !PyArg_ParseTuple(args, "IL:_withhold", &i, &units) ||
        check_index(s, i) < 0) {
        return NULL;
    }
    if (units > 0 && s->core.limits[i].trail != NULL) {
        xf_withhold(&s->core, i, units);
    }
    Py_RETURN_NONE;
}

PyObject *xf_scheduler_begin(PyObject *self, PyObject *args)
{
    SchedulerObject *s = (SchedulerObject *)self;
    unsigned int i;
    double remaining;
    PyObject *item, *sent, *name;
    xf_limit limit;
    if (xf_scheduler_check(s) < 0 ||
        !PyArg_ParseTuple(args, "IOdO:_begin", &i, &item, &remaining, &sent) ||
        check_index(s, i) < 0 || xf_parse_limit(item, &name, &limit) < 0) {
        return NULL;
    }
    CallObject *c = xf_call_in_flight(s);
    if (c == NULL && PyErr_Occurred()) {
        return NULL;
    }
    int64_t now = xf_port_now(s, c != NULL ? c->port : NULL);
    int64_t sent_at = instant(sent, "sent_at", c != NULL ? c->core.dispatched_at : -1);
    Py_XDECREF(c);
    if (sent_at < 0 && PyErr_Occurred()) {
        return NULL;
    }
    /* The level first, or calls that wait would go by the old one. */
    double level = remaining - (double)xf_held_since(&s->core, i, sent_at);
    xf_set_level(&s->core, i, level < 0 ? level : 0, now);
    xf_retune(&s->core, i, &limit, now);
    xf_set_level(&s->core, i, level, now);
    xf_deliver(s);
    Py_RETURN_NONE;
}

PyObject *xf_scheduler_ramp(PyObject *self, PyObject *slots)
{
    SchedulerObject *s = (SchedulerObject *)self;
    if (xf_scheduler_check(s) < 0) {
        return NULL;
    }
    unsigned long n = slots == Py_None ? XF_UNLIMITED : PyLong_AsUnsignedLong(slots);
    if (n == (unsigned long)-1 && PyErr_Occurred()) {
        return NULL;
    }
    s->ramp = n < XF_UNLIMITED ? (uint32_t)n : XF_UNLIMITED;
    xf_apply_slots(s);
    Py_RETURN_NONE;
}
