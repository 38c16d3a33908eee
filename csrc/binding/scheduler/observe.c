/* The moves of a learner: definitions of limits, their levels, and the calls let in. Methods of
   Scheduler. */
#include "binding/scheduler/observe.h"

#include "binding/call/call.h"
#include "binding/call/deliver.h"
#include "binding/call/owner.h"
#include "binding/scheduler/limits.h"
#include "core/trail.h"

#include <math.h>

int xf_add_observed(PyObject *module)
{
    return PyModule_AddIntConstant(module, "RISING_NS", (long)XF_RISING_NS);
}

/* A limit's index from `i`. -1 with an error set. */
static int check_index(SchedulerObject *s, unsigned int i)
{
    if (i >= s->core.gate.n_limits) {
        PyErr_Format(PyExc_IndexError, "there are %u limits, not %u", s->core.gate.n_limits, i);
        return -1;
    }
    return 0;
}

/* -1 with an error set. */
static int check_wait(double seconds)
{
    if (seconds >= 0 && seconds <= 86400) {
        return 0;
    }
    PyObject *told = PyFloat_FromDouble(seconds);
    if (told != NULL) {
        PyErr_Format(PyExc_ValueError, "a wait is 0 to 86400 seconds, not %R", told);
        Py_DECREF(told);
    }
    return -1;
}

int64_t xf_instant(PyObject *seconds, const char *name, int64_t unsaid)
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

PyObject *xf_scheduler_now(PyObject *self, PyObject *Py_UNUSED(unused))
{
    SchedulerObject *s = (SchedulerObject *)self;
    return xf_scheduler_check(s) < 0 ? NULL : PyFloat_FromDouble(xf_port_now(s, NULL) * 1e-9);
}

PyObject *xf_scheduler_retune(PyObject *self, PyObject *args)
{
    SchedulerObject *s = (SchedulerObject *)self;
    unsigned int i;
    PyObject *item, *name;
    xf_definition limit;
    if (xf_scheduler_check(s) < 0 || !PyArg_ParseTuple(args, "IO:_retune", &i, &item) ||
        check_index(s, i) < 0 || xf_parse_limit(item, &name, &limit) < 0) {
        return NULL;
    }
    xf_retune(&s->core, i, &limit, xf_port_now(s, NULL));
    xf_deliver(s);
    Py_RETURN_NONE;
}

PyObject *xf_scheduler_alarm_after(PyObject *self, PyObject *calls)
{
    SchedulerObject *s = (SchedulerObject *)self;
    unsigned long n = PyLong_AsUnsignedLong(calls);
    if (n == (unsigned long)-1 && PyErr_Occurred()) {
        return NULL;
    }
    s->alarm_at = n;
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

PyObject *xf_scheduler_told(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"", "", "late", "bounded", "sent_at", "answered_at", NULL};
    SchedulerObject *s = (SchedulerObject *)self;
    unsigned int i;
    xf_remaining left;
    int late = 0, bounded = 0;
    PyObject *sent = Py_None, *answered = Py_None;
    if (xf_scheduler_check(s) < 0 ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "Id|$ppOO:_told", keywords, &i, &left.units,
                                     &late, &bounded, &sent, &answered) ||
        check_index(s, i) < 0) {
        return NULL;
    }
    CallObject *c = xf_call_in_flight(s);
    if (c == NULL && PyErr_Occurred()) {
        return NULL;
    }
    int64_t now = xf_port_now(s, c != NULL ? c->port : NULL);
    left.sent_at = xf_instant(sent, "sent_at", c != NULL ? c->core.dispatched_at : XF_NEVER);
    left.answered_at = left.sent_at < 0 ? -1 : xf_instant(answered, "received_at", now);
    left.doubt = xf_doubt(&s->core, i, c != NULL ? &c->core : NULL, late);
    left.bounded = bounded;
    Py_XDECREF(c);
    if (left.sent_at < 0 || left.answered_at < 0) {
        return NULL;
    }
    double moved = xf_told(&s->core, i, &left, now);
    xf_deliver(s);
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
    if (units > 0) {
        xf_withhold(&s->core, i, units);
    }
    Py_RETURN_NONE;
}

PyObject *xf_scheduler_ascertain(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"", "withheld", "due", "doubtful", NULL};
    SchedulerObject *s = (SchedulerObject *)self;
    unsigned int i;
    long long withheld, due, doubtful;
    if (xf_scheduler_check(s) < 0 ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "I$LLL:_ascertain", keywords, &i, &withheld,
                                     &due, &doubtful) ||
        check_index(s, i) < 0) {
        return NULL;
    }
    if (due >= 0 && doubtful >= 0) {
        const xf_ascertained found = {withheld, due, doubtful};
        xf_ascertain(&s->core, i, &found);
        xf_deliver(s);
    }
    Py_RETURN_NONE;
}

PyObject *xf_scheduler_shut(PyObject *self, PyObject *args)
{
    SchedulerObject *s = (SchedulerObject *)self;
    unsigned int i;
    double seconds;
    if (xf_scheduler_check(s) < 0 || !PyArg_ParseTuple(args, "Id:_shut", &i, &seconds) ||
        check_index(s, i) < 0 || check_wait(seconds) < 0) {
        return NULL;
    }
    int64_t now = xf_port_now(s, NULL);
    xf_shut(&s->core, i, now + (int64_t)(seconds * 1e9), now);
    xf_deliver(s);
    Py_RETURN_NONE;
}

PyObject *xf_scheduler_pace(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"", "", "kept", "scale", "fits", "seconds", NULL};
    SchedulerObject *s = (SchedulerObject *)self;
    unsigned int i;
    double seconds = 0;
    xf_pacing pacing = {0};
    if (xf_scheduler_check(s) < 0 ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "Id|$dddd:_pace", keywords, &i, &pacing.most,
                                     &pacing.kept, &pacing.scale, &pacing.fits, &seconds) ||
        check_index(s, i) < 0 || check_wait(seconds) < 0) {
        return NULL;
    }
    int64_t now = xf_port_now(s, NULL);
    pacing.until = seconds > 0 ? now + (int64_t)(seconds * 1e9) : XF_NEVER;
    xf_set_pace(&s->core, i, &pacing, now);
    xf_deliver(s);
    Py_RETURN_NONE;
}

PyObject *xf_scheduler_begin(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"", "", "", "sent_at", NULL};
    SchedulerObject *s = (SchedulerObject *)self;
    unsigned int i;
    xf_remaining left = {0};
    PyObject *item, *sent = Py_None, *name;
    xf_definition limit;
    if (xf_scheduler_check(s) < 0 ||
        !PyArg_ParseTupleAndKeywords(args, kwargs, "IOd|$O:_begin", keywords, &i, &item,
                                     &left.units, &sent) ||
        check_index(s, i) < 0 || xf_parse_limit(item, &name, &limit) < 0) {
        return NULL;
    }
    CallObject *c = xf_call_in_flight(s);
    if (c == NULL && PyErr_Occurred()) {
        return NULL;
    }
    int64_t now = xf_port_now(s, c != NULL ? c->port : NULL);
    left.sent_at = xf_instant(sent, "sent_at", c != NULL ? c->core.dispatched_at : -1);
    if (left.sent_at >= 0 || !PyErr_Occurred()) {
        xf_replace(&s->core, i, &limit, &left, c != NULL ? &c->core : NULL, now);
        xf_deliver(s);
    }
    Py_XDECREF(c);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

/* ---- records ---- */

static PyStructSequence_Field flight_fields[] = {
    {"now", "seconds on the loop's clock"},
    {"dispatched", "when the call was, on the same clock"},
    {"crowd", "calls in flight at its dispatch, with it"},
    {"in_flight", "calls that hold a slot now"},
    {"waiting", "calls that wait now"},
    {NULL, NULL},
};

static PyStructSequence_Field gauge_fields[] = {
    {"now", "seconds on the loop's clock"},
    {"sent_at", "when the call was dispatched, or as given"},
    {"first", "when the first call was submitted"},
    {"shared", "seconds for which the head of the queue waited for other members' calls"},
    {"readings", "a Reading of each limit"},
    {NULL, NULL},
};

static PyStructSequence_Field reading_fields[] = {
    {"used", "units admitted so far"},
    {"since", "of these in flight that were dispatched since sent_at"},
    {"cost", "of the call, or on average"},
    {"held", "seconds for which it was what the head of the queue waited for"},
    {"flying", "units in flight"},
    {"level", "units that may be used now"},
    {NULL, NULL},
};

PyStructSequence_Desc xf_flight_desc = {"xtremeflow._core.Flight", "What _flight() tells.",
                                        flight_fields, 5};
PyStructSequence_Desc xf_gauge_desc = {"xtremeflow._core.Gauge", "What _gauge() tells.",
                                       gauge_fields, 5};
PyStructSequence_Desc xf_reading_desc = {"xtremeflow._core.Reading",
                                         "What _gauge() tells of a limit.", reading_fields, 6};

/* A record of that type. NULL with an error set, also where there are no `fields`. */
static PyObject *record(PyTypeObject *type, PyObject *fields_steal_ref)
{
    PyObject *made = NULL;
    if (fields_steal_ref != NULL) {
        made = PyObject_CallOneArg((PyObject *)type, fields_steal_ref);
        Py_DECREF(fields_steal_ref);
    }
    return made;
}

PyObject *xf_scheduler_flight(PyObject *self, PyObject *Py_UNUSED(unused))
{
    SchedulerObject *s = (SchedulerObject *)self;
    if (xf_scheduler_check(s) < 0) {
        return NULL;
    }
    CallObject *c = xf_call_in_flight(s);
    if (c == NULL) {
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    }
    const xf_scheduler *core = &s->core;
    PyObject *fields = Py_BuildValue("ddIII", (double)xf_port_now(s, c->port) * 1e-9,
                                     (double)c->core.dispatched_at * 1e-9, c->core.crowd,
                                     core->gate.in_use, core->queue.size);
    Py_DECREF(c);
    return record(s->st->flight_type, fields);
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
    xf_let_in(&s->core, n < XF_UNLIMITED ? (uint32_t)n : XF_UNLIMITED, xf_port_about_now(s, NULL));
    xf_deliver(s);
    Py_RETURN_NONE;
}

static PyObject *reading_of(const SchedulerObject *s, const CallObject *c, uint32_t i,
                            int64_t sent_at)
{
    const xf_limit *l = &s->core.gate.limits[i];
    xf_held held = xf_gate_held(&s->core.gate, i, sent_at, s->core.now);
    return record(s->st->reading_type,
                  Py_BuildValue("LLddLd", (long long)l->used, (long long)held.since,
                                xf_gate_cost(&s->core.gate, c != NULL ? &c->core : NULL, i),
                                (double)l->held_ns * 1e-9, (long long)held.all,
                                xf_limit_level(l, s->core.now)));
}

PyObject *xf_scheduler_gauge(PyObject *self, PyObject *sent)
{
    SchedulerObject *s = (SchedulerObject *)self;
    if (xf_scheduler_check(s) < 0) {
        return NULL;
    }
    CallObject *c = xf_call_in_flight(s);
    if (c == NULL && PyErr_Occurred()) {
        return NULL;
    }
    xf_scheduler *core = &s->core;
    int64_t now = xf_port_now(s, c != NULL ? c->port : NULL);
    int64_t sent_at = xf_instant(sent, "sent_at", c != NULL ? c->core.dispatched_at : now);
    PyObject *readings = sent_at >= 0 ? PyTuple_New(core->gate.n_limits) : NULL;
    xf_account(core, now);
    for (uint32_t i = 0; readings != NULL && i < core->gate.n_limits; i++) {
        PyObject *reading = reading_of(s, c, i, sent_at);
        if (reading == NULL) {
            Py_CLEAR(readings);
            break;
        }
        PyTuple_SET_ITEM(readings, i, reading);
    }
    Py_XDECREF(c);
    if (readings == NULL) {
        return NULL;
    }
    int64_t begun = core->counters.first_ns;
    return record(s->st->gauge_type,
                  Py_BuildValue("ddddN", (double)now * 1e-9, (double)sent_at * 1e-9,
                                (double)(begun < 0 ? now : begun) * 1e-9,
                                (double)core->counters.share_ns * 1e-9, readings));
}
