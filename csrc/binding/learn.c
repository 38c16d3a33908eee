/* What a learner moves: definitions of limits, their levels, and how many calls are let in. Methods
   of Scheduler. */
#include "binding/binding.h"

#include <math.h>

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
    uint64_t admitted = s->core.gate.admitted;
    return admitted > 0 ? (double)(int64_t)s->core.gate.limits[i].used / (double)admitted : 0;
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
    int64_t answered_at = sent_at < 0 ? -1 : instant(answered, "received_at", now);
    double doubt =
        late ? (double)xf_gate_held_since(&s->core.gate, i, -1, NULL, now) : cost_of(s, c, i);
    Py_XDECREF(c);
    if (sent_at < 0 || answered_at < 0) {
        return NULL;
    }
    if (remaining >= 0 && sent_at <= answered_at && s->core.gate.limits[i].trail != NULL) {
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
    if (units > 0 && s->core.gate.limits[i].trail != NULL) {
        xf_withhold(&s->core, i, units);
    }
    Py_RETURN_NONE;
}

PyObject *xf_scheduler_ascertain(PyObject *self, PyObject *args)
{
    SchedulerObject *s = (SchedulerObject *)self;
    unsigned int i;
    long long withheld, due, doubtful;
    if (xf_scheduler_check(s) < 0 ||
        !PyArg_ParseTuple(args, "ILLL:_ascertain", &i, &withheld, &due, &doubtful) ||
        check_index(s, i) < 0) {
        return NULL;
    }
    if (due >= 0 && doubtful >= 0 && s->core.gate.limits[i].trail != NULL) {
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

/* Calls overtake one another by no more, so a provider has counted those sent that long before. */
static const int64_t OVERTAKING_NS = 1000000000; /* 1 s */

PyObject *xf_scheduler_begin(PyObject *self, PyObject *args)
{
    SchedulerObject *s = (SchedulerObject *)self;
    unsigned int i;
    double remaining;
    PyObject *item, *sent, *name;
    xf_definition limit;
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
    int64_t held = xf_gate_held_since(&s->core.gate, i, sent_at - OVERTAKING_NS,
                                      c != NULL ? &c->core : NULL, now);
    Py_XDECREF(c);
    if (sent_at < 0 && PyErr_Occurred()) {
        return NULL;
    }
    /* The level first, or calls that wait would go by the old one. */
    double level = remaining - (double)held;
    xf_set_level(&s->core, i, level < 0 ? level : 0, now);
    xf_retune(&s->core, i, &limit, now);
    xf_set_level(&s->core, i, level, now);
    xf_deliver(s);
    Py_RETURN_NONE;
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
    PyObject *flight = Py_BuildValue("ddIII", (double)xf_port_now(s, c->port) * 1e-9,
                                     (double)c->core.dispatched_at * 1e-9, c->core.crowd,
                                     core->gate.in_use, core->queue.size);
    Py_DECREF(c);
    return flight;
}

/* A full bucket may let in thousands of calls at once. All their tasks would run up to their first
   wait before anything of them is sent, for seconds if the client is a slow one; meanwhile the
   bucket here fills again, and the provider's, full as it is, cannot. So they come in as fast as
   they are dispatched, some in each turn of the loop, which then sends what they have begun. */
enum { CALLS_A_TURN = 16 };

void xf_ramp_up(SchedulerObject *s)
{
    uint32_t ramp = s->core.gate.n_flying + CALLS_A_TURN;
    s->ramp = ramp < s->let_in ? ramp : s->let_in;
    xf_apply_slots(s);
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
    s->let_in = n < XF_UNLIMITED ? (uint32_t)n : XF_UNLIMITED;
    xf_ramp_up(s);
    Py_RETURN_NONE;
}

/* (units admitted so far, of these in flight since `sent_at`, cost of the call, seconds held back
   by it, units in flight) */
static PyObject *reading_of(SchedulerObject *s, const CallObject *c, uint32_t i, int64_t sent_at)
{
    const xf_limit *l = &s->core.gate.limits[i];
    xf_held held = xf_gate_held(&s->core.gate, i, sent_at, s->core.now);
    return Py_BuildValue("LLddL", (long long)l->used, (long long)held.since, cost_of(s, c, i),
                         (double)l->held_ns * 1e-9, (long long)held.all);
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
    int64_t sent_at = instant(sent, "sent_at", c != NULL ? c->core.dispatched_at : now);
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
    int64_t begun = core->counters.first_ns, resumes = core->gate.cooldown.until;
    return Py_BuildValue("ddddIIN", (double)now * 1e-9, (double)sent_at * 1e-9,
                         (double)(begun < 0 ? now : begun) * 1e-9,
                         (double)(resumes > now ? resumes : now) * 1e-9,
                         (unsigned)core->gate.in_use, (unsigned)core->queue.size, readings);
}
