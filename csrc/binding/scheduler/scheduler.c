/* Scheduler: the base of all schedulers. Python subclasses give it their limits. */
#include "binding/scheduler/scheduler.h"

#include "binding/call/call.h"
#include "binding/call/run.h"
#include "binding/call/start.h"
#include "binding/loop/deliver.h"
#include "binding/loop/port.h"
#include "binding/module.h"
#include "binding/scheduler/drain.h"
#include "binding/scheduler/observe.h"
#include "binding/scheduler/usage.h"

#include <structmember.h>

/* ---- limits ---- */

int xf_parse_limit(PyObject *item, PyObject **name, xf_definition *limit)
{
    double amount, per, capacity;
    if (!PyTuple_Check(item)) {
        PyErr_Format(PyExc_TypeError, "a limit is (name, amount, per, capacity), not %R", item);
        return -1;
    }
    if (!PyArg_ParseTuple(item, "Uddd:limit", name, &amount, &per, &capacity)) {
        return -1;
    }
    if (!xf_define(limit, amount, per, capacity)) {
        PyErr_Format(PyExc_ValueError,
                     "the limit %R cannot be kept: amount and period must be finite and > 0, the "
                     "capacity >= 0, the rate from 0.001 to 1e12 per second and the capacity not "
                     "far above a minute's worth of it",
                     item);
        return -1;
    }
    return 0;
}

static int parse_slots(PyObject *value, uint32_t *slots)
{
    if (value == NULL || value == Py_None) {
        *slots = XF_UNLIMITED;
        return 0;
    }
    if (!PyIndex_Check(value)) {
        PyErr_Format(PyExc_TypeError, "max_concurrency must be a whole number or None, not %R",
                     value);
        return -1;
    }
    Py_ssize_t n = PyNumber_AsSsize_t(value, NULL);
    if (n == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (n <= 0) {
        PyErr_Format(PyExc_ValueError, "max_concurrency must be positive, got %R", value);
        return -1;
    }
    *slots = n < XF_UNLIMITED ? (uint32_t)n : XF_UNLIMITED;
    return 0;
}

static void *core_realloc(void *Py_UNUSED(ctx), void *p, size_t size)
{
    if (size == 0) {
        PyMem_RawFree(p);
        return NULL;
    }
    return PyMem_RawRealloc(p, size);
}

/* ---- life ---- */

/* This module, which defines one of the bases of `type`; borrowed. */
static PyObject *module_of(PyTypeObject *type)
{
    PyObject *module = NULL;
    for (; type != NULL && xf_module_state(module) == NULL; type = type->tp_base) {
        module = PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE) ? PyType_GetModule(type) : NULL;
    }
    return module;
}

static PyObject *scheduler_new(PyTypeObject *type, PyObject *Py_UNUSED(args),
                               PyObject *Py_UNUSED(kwargs))
{
    SchedulerObject *s = (SchedulerObject *)type->tp_alloc(type, 0);
    if (s != NULL) {
        s->module = Py_XNewRef(module_of(type));
        s->st = xf_module_state(s->module);
    }
    return (PyObject *)s;
}

/* What a limit's name says of its cost. */
static xf_kind kind_of(xf_module *st, PyObject *name)
{
    return PyUnicode_Compare(name, st->s_requests) == 0 ? XF_KIND_REQUESTS
           : PyUnicode_Compare(name, st->s_tokens) == 0 ? XF_KIND_TOKENS
                                                        : XF_KIND_OTHER;
}

/* A place for a limit of that name that may be learned later: until then so high that nobody can
   reach it. -1 with an error set. */
static int parse_place(PyObject *item, PyObject **name, xf_definition *limit)
{
    if (!PyUnicode_Check(item)) {
        PyErr_Format(PyExc_TypeError, "places must be names of limits, not %R", item);
        return -1;
    }
    *name = item;
    (void)xf_define(limit, 1e12, 1, 1e12);
    return 0;
}

/* A plain number of tokens counts for the input as well, which it is most of; the output only costs
   what is said of it. */
static xf_kind kind_of_place(xf_module *st, PyObject *name)
{
    bool is_input = PyUnicode_CompareWithASCIIString(name, "input_tokens") == 0;
    return is_input ? XF_KIND_TOKENS : kind_of(st, name);
}

/* `given` (NULL: nothing) as a tuple of our own, which nothing that its items run can change. */
static PyObject *items_of(PyObject *given, const char *error)
{
    PyObject *list = given != NULL ? PySequence_Fast(given, error) : PyTuple_New(0);
    PyObject *items = list != NULL ? PySequence_Tuple(list) : NULL;
    Py_XDECREF(list);
    return items;
}

static int scheduler_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"limits", "max_concurrency", "places", NULL};
    SchedulerObject *s = (SchedulerObject *)self;
    PyObject *given = NULL, *concurrency = NULL, *places = NULL, *names = NULL;
    PyObject *limit_items = NULL, *place_items = NULL;
    xf_definition *limits = NULL;
    uint8_t *kinds = NULL;
    uint32_t slots;
    Py_ssize_t n = 0, n_configured = 0;
    const xf_alloc alloc = {core_realloc, NULL};
    int result = -1;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$OOO:Scheduler", keywords, &given,
                                     &concurrency, &places) ||
        parse_slots(concurrency, &slots) < 0) {
        return -1;
    }
    limit_items = items_of(given, "limits must be a sequence");
    place_items = items_of(places, "places must be a sequence");
    if (limit_items == NULL || place_items == NULL) {
        goto done;
    }
    n_configured = PyTuple_GET_SIZE(limit_items);
    n = n_configured + PyTuple_GET_SIZE(place_items);
    names = PyTuple_New(n);
    limits = PyMem_Calloc((size_t)n + 1, sizeof(xf_definition));
    kinds = PyMem_Calloc((size_t)n + 1, 1);
    if (names == NULL || limits == NULL || kinds == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        bool configured = i < n_configured;
        PyObject *name, *item = configured ? PyTuple_GET_ITEM(limit_items, i)
                                           : PyTuple_GET_ITEM(place_items, i - n_configured);
        if ((configured ? xf_parse_limit : parse_place)(item, &name, &limits[i]) < 0) {
            goto done;
        }
        PyTuple_SET_ITEM(names, i, Py_NewRef(name));
        kinds[i] = (uint8_t)(configured ? kind_of : kind_of_place)(s->st, name);
    }
    /* Asked last: what was given may have run anything. */
    if (s->ready) {
        PyErr_SetString(PyExc_RuntimeError, "a scheduler can be initialised once only");
        goto done;
    }
    if (!xf_scheduler_init(&s->core, limits, (uint32_t)n, slots, &alloc)) {
        PyErr_NoMemory();
        goto done;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        s->has_tokens |= kinds[i] == XF_KIND_TOKENS;
        s->has_other |= i < n_configured && kinds[i] == XF_KIND_OTHER;
    }
    s->names = Py_NewRef(names);
    s->kinds = kinds;
    kinds = NULL;
    s->n_configured = (uint32_t)n_configured;
    s->ready = true;
    result = 0;
done:
    PyMem_Free(kinds);
    PyMem_Free(limits);
    Py_XDECREF(names);
    Py_XDECREF(limit_items);
    Py_XDECREF(place_items);
    return result;
}

static int scheduler_traverse(PyObject *self, visitproc visit, void *arg)
{
    SchedulerObject *s = (SchedulerObject *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(s->module);
    Py_VISIT(s->names);
    Py_VISIT(s->drains);
    for (PortObject *port = s->ports; port != NULL; port = port->next) {
        Py_VISIT(port);
    }
    return 0;
}

static int scheduler_clear(PyObject *self)
{
    SchedulerObject *s = (SchedulerObject *)self;
    Py_CLEAR(s->drains);
    xf_port_detach_all(s);
    return 0;
}

static void scheduler_dealloc(PyObject *self)
{
    SchedulerObject *s = (SchedulerObject *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (s->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    (void)scheduler_clear(self);
    Py_CLEAR(s->names);
    xf_call_free_all(s);
    xf_scheduler_free(&s->core);
    PyMem_Free(s->kinds);
    Py_XDECREF(s->module);
    type->tp_free(self);
    Py_DECREF(type);
}

int xf_scheduler_check(SchedulerObject *s)
{
    if (!s->ready) {
        PyErr_Format(PyExc_RuntimeError, "%.100s.__init__() has not been called",
                     Py_TYPE(s)->tp_name);
        return -1;
    }
    return 0;
}

/* ---- calls ---- */

static PyObject *scheduler_start_task(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                      PyObject *kwnames)
{
    SchedulerObject *s = (SchedulerObject *)self;
    xf_submission r;
    if (xf_submission_parse(s, "start_task", args, nargs, kwnames, &r) < 0) {
        return NULL;
    }
    CallObject *c = xf_call_new(s, r.coro, r.estimate, r.priority);
    return c != NULL ? xf_start_new(c, &r) : NULL;
}

static PyObject *scheduler_submit(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
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
    c = xf_call_new(s, r.coro, r.estimate, r.priority);
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

static PyObject *scheduler_notify(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
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

/* ---- what it tells ---- */

static PyObject *get_max_concurrency(PyObject *self, void *Py_UNUSED(closure))
{
    uint32_t slots = ((SchedulerObject *)self)->core.gate.slots;
    return slots == XF_UNLIMITED ? Py_NewRef(Py_None) : PyLong_FromUnsignedLong(slots);
}

static int set_max_concurrency(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    SchedulerObject *s = (SchedulerObject *)self;
    uint32_t slots;
    if (value == NULL) {
        PyErr_SetString(PyExc_AttributeError, "max_concurrency cannot be deleted");
        return -1;
    }
    if (xf_scheduler_check(s) < 0 || parse_slots(value, &slots) < 0) {
        return -1;
    }
    xf_set_slots(&s->core, slots, xf_port_about_now(s, NULL));
    xf_deliver(s);
    return 0;
}

static PyObject *get_active_tasks(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(((SchedulerObject *)self)->core.gate.in_use);
}

static PyObject *get_waiting(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(((SchedulerObject *)self)->core.queue.size);
}

static PyObject *get_total_completed(PyObject *self, void *Py_UNUSED(closure))
{
    const xf_counters *n = &((SchedulerObject *)self)->core.counters;
    return PyLong_FromUnsignedLongLong(n->succeeded + n->failed + n->cancelled);
}

static PyObject *get_pending_tasks(PyObject *self, void *Py_UNUSED(closure))
{
    SchedulerObject *s = (SchedulerObject *)self;
    /* A list first: hashing a task may run Python code. */
    PyObject *tasks = PyList_New(0), *set = NULL;
    for (PortObject *port = s->ports; port != NULL; port = port->next) {
        for (CallObject *c = port->calls; c != NULL; c = c->next) {
            if (tasks != NULL && c->task != NULL && PyList_Append(tasks, c->task) < 0) {
                Py_CLEAR(tasks);
            }
        }
    }
    if (tasks != NULL) {
        set = PySet_New(tasks);
        Py_DECREF(tasks);
    }
    return set;
}

static PyObject *limit_snapshot(const SchedulerObject *s, uint32_t i, int64_t now)
{
    const xf_limit *l = &s->core.gate.limits[i];
    return Py_BuildValue(
        "{sOsdsdsdsLsKsKsd}", "name", PyTuple_GET_ITEM(s->names, i), "rate", xf_limit_rate(l),
        "capacity", (double)l->def.capacity / (double)l->def.unit, "level", xf_limit_level(l, now),
        "used", (long long)l->used, "refunded", (unsigned long long)l->refunded, "charged",
        (unsigned long long)l->charged, "held", (double)l->held_ns * 1e-9);
}

static PyObject *scheduler_snapshot(PyObject *self, PyObject *Py_UNUSED(unused))
{
    SchedulerObject *s = (SchedulerObject *)self;
    if (xf_scheduler_check(s) < 0) {
        return NULL;
    }
    xf_scheduler *core = &s->core;
    const xf_counters *n = &core->counters;
    int64_t now = xf_port_now(s, NULL);
    xf_account(core, now);
    now = core->now;
    int64_t rest = core->gate.cooldown.until > now ? core->gate.cooldown.until - now : 0;
    PyObject *limits = PyTuple_New(core->gate.n_limits);
    for (uint32_t i = 0; limits != NULL && i < core->gate.n_limits; i++) {
        PyObject *limit = limit_snapshot(s, i, now);
        if (limit == NULL) {
            Py_CLEAR(limits);
            break;
        }
        PyTuple_SET_ITEM(limits, i, limit);
    }
    if (limits == NULL) {
        return NULL;
    }
    return Py_BuildValue(
        "{sKsKsKsKsKsKsKsKsIsIsLsLsIsdsdsdsdsdsdsdsN}", "submitted",
        (unsigned long long)n->submitted, "admitted", (unsigned long long)core->gate.admitted,
        "succeeded", (unsigned long long)n->succeeded, "failed", (unsigned long long)n->failed,
        "cancelled", (unsigned long long)n->cancelled, "expired", (unsigned long long)n->expired,
        "refused", (unsigned long long)core->gate.refused, "retries",
        (unsigned long long)n->retries, "waiting", (unsigned int)core->queue.size, "in_flight",
        (unsigned int)core->gate.in_use, "tokens_used", (long long)s->tokens_used,
        "tokens_refunded", (long long)s->tokens_refunded, "episodes",
        (unsigned int)core->gate.cooldown.generation, "elapsed",
        n->first_ns < 0 ? 0.0 : (double)(now - n->first_ns) * 1e-9, "cooldown",
        (double)(core->gate.cooldown.total_ns - rest) * 1e-9, "cooldown_left", (double)rest * 1e-9,
        "idle", (double)n->idle_ns * 1e-9, "no_slot", (double)n->no_slot_ns * 1e-9, "held_cooldown",
        (double)n->cooldown_ns * 1e-9, "margin", (double)core->gate.margin.ns * 1e-9, "limits",
        limits);
}

/* The doors: see lock.h. */
XF_FASTCALL_DOOR(scheduler_start_task, self)
XF_FASTCALL_DOOR(scheduler_notify, self)
XF_METHOD_DOOR(xf_scheduler_wait, self)
XF_METHOD_DOOR(scheduler_snapshot, self)
XF_METHOD_DOOR(xf_scheduler_now, self)
XF_METHOD_DOOR(xf_scheduler_retune, self)
XF_METHOD_DOOR(xf_scheduler_track, self)
XF_METHOD_DOOR(xf_scheduler_alarm_after, self)
XF_METHOD_DOOR(xf_scheduler_told, self)
XF_METHOD_DOOR(xf_scheduler_withhold, self)
XF_METHOD_DOOR(xf_scheduler_ascertain, self)
XF_METHOD_DOOR(xf_scheduler_shut, self)
XF_METHOD_DOOR(xf_scheduler_pace, self)
XF_METHOD_DOOR(xf_scheduler_begin, self)
XF_METHOD_DOOR(xf_scheduler_flight, self)
XF_METHOD_DOOR(xf_scheduler_ramp, self)
XF_METHOD_DOOR(xf_scheduler_gauge, self)
XF_GETTER_DOOR(get_max_concurrency, self)
XF_GETTER_DOOR(get_active_tasks, self)
XF_GETTER_DOOR(get_waiting, self)
XF_GETTER_DOOR(get_total_completed, self)
XF_GETTER_DOOR(get_pending_tasks, self)
XF_SETTER_DOOR(set_max_concurrency, self)

static PyMethodDef scheduler_methods[] = {
    {"start_task", XF_FUNCTION(scheduler_start_task_locked), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "start_task($self, /, coro, estimated_tokens=0, *, priority=0, timeout=None, name=None)\n"
         "--\n\n"
         "Waits until the call is admitted, starts `coro` and returns its asyncio.Task.\n\n"
         "estimated_tokens: what the call will cost of the limit 'tokens'; or a mapping of limit\n"
         "names to amounts. priority: higher goes first, -32768 to 32767. timeout: seconds to\n"
         "wait for the admission before asyncio.TimeoutError. name: of the task. Refused,\n"
         "cancelled or timed out, `coro` is closed.")},
    {"submit", XF_FUNCTION(scheduler_submit), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "submit($self, /, coro, estimated_tokens=0, *, priority=0, timeout=None, name=None)\n"
         "--\n\n"
         "Queues the call and returns its asyncio.Task at once; see start_task().")},
    {"notify_rate_limit_exceeded", XF_FUNCTION(scheduler_notify_locked),
     METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("notify_rate_limit_exceeded($self, /, retry_after)\n--\n\n"
               "A provider refused a call: nothing is dispatched for `retry_after` seconds\n"
               "(0 to 86400) from now. Extends a cooldown, never shortens it.")},
    {"_drained", xf_scheduler_wait_locked, METH_NOARGS,
     PyDoc_STR("_drained($self, /)\n--\n\nA future: done when no call waits or is in flight.")},
    {"_snapshot", scheduler_snapshot_locked, METH_NOARGS,
     PyDoc_STR("_snapshot($self, /)\n--\n\nAll counters, as a dict.")},
    {"_now", xf_scheduler_now_locked, METH_NOARGS,
     PyDoc_STR("_now($self, /)\n--\n\nSeconds on the clock of the loop used last.")},
    {"_retune", xf_scheduler_retune_locked, METH_VARARGS,
     PyDoc_STR("_retune($self, index, limit, /)\n--\n\n"
               "Replaces limit `index` by (name, amount, per, capacity).")},
    {"_alarm_after", xf_scheduler_alarm_after_locked, METH_O,
     PyDoc_STR("_alarm_after($self, calls, /)\n--\n\nCalls self._unshown() once so many calls have "
               "succeeded; 0: never.")},
    {"_track", xf_scheduler_track_locked, METH_NOARGS,
     PyDoc_STR("_track($self, /)\n--\n\nKeeps track of the levels from now on, for _told().")},
    {"_told", xf_scheduler_told_locked, METH_VARARGS,
     PyDoc_STR("_told($self, index, remaining, late, bounded, sent_at, answered_at, /)\n--\n\n"
               "The provider had `remaining` units of limit `index` left at some time between the\n"
               "two, seconds on the loop's clock or None: the dispatch of the current call, now.\n"
               "late: calls in flight may not be charged yet. bounded: see xf_limit_told().\n"
               "Returns by how many units the level was moved, 0.0 if the time is not known.")},
    {"_withhold", xf_scheduler_withhold_locked, METH_VARARGS,
     PyDoc_STR("_withhold($self, index, units, /)\n--\n\n"
               "So many units of limit `index` were not given back by a settlement that the\n"
               "provider may give back: an answer that says so raises the level by them.")},
    {"_ascertain", xf_scheduler_ascertain_locked, METH_VARARGS,
     PyDoc_STR(
         "_ascertain($self, index, withheld, due, doubtful, /)\n--\n\n"
         "Of `withheld` units, which are all that were withheld so far, the provider has\n"
         "given back `due`, and may have given back `doubtful`. The level rises by those that\n"
         "are due, but for what answers have raised it by.")},
    {"_shut", xf_scheduler_shut_locked, METH_VARARGS,
     PyDoc_STR("_shut($self, index, seconds, /)\n--\n\n"
               "Limit `index` lets no call pass for so long, however much is left of it.")},
    {"_pace", xf_scheduler_pace_locked, METH_VARARGS,
     PyDoc_STR("_pace($self, index, most, kept, scale, fits, seconds, /)\n--\n\n"
               "Calls pass limit `index` at min(most, rate * exp((level - kept) / scale)) units\n"
               "per second, or at `most` if scale is 0; unless all that wait cost no more than\n"
               "the part `fits` of the level. For so many seconds, or with 0 until it is retuned.\n"
               "most = 0 is: at any pace.")},
    {"_begin", xf_scheduler_begin_locked, METH_VARARGS,
     PyDoc_STR(
         "_begin($self, index, limit, remaining, sent_at, /)\n--\n\n"
         "Replaces limit `index` by one whose level is not known yet: `remaining` units were\n"
         "left some time after `sent_at`, less what was dispatched since.")},
    {"_flight", xf_scheduler_flight_locked, METH_NOARGS,
     PyDoc_STR("_flight($self, /)\n--\n\n"
               "A Flight: what is so of the current call. None outside of a call in flight.")},
    {"_ramp", xf_scheduler_ramp_locked, METH_O,
     PyDoc_STR("_ramp($self, slots, /)\n--\n\n"
               "No more than so many calls in flight for now, whatever max_concurrency says;\n"
               "None: as it says.")},
    {"_gauge", xf_scheduler_gauge_locked, METH_O,
     PyDoc_STR(
         "_gauge($self, sent_at, /)\n--\n\n"
         "A Gauge: what the scheduler and each limit hold, as of the current call's dispatch\n"
         "or as given; seconds on the loop's clock.")},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef scheduler_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(SchedulerObject, weakrefs), READONLY, NULL},
    {"limit_names", T_OBJECT_EX, offsetof(SchedulerObject, names), READONLY,
     PyDoc_STR("the names of the limits, in order")},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef scheduler_getset[] = {
    {"max_concurrency", get_max_concurrency_locked, set_max_concurrency_locked,
     PyDoc_STR("how many calls may be in flight at a time, or None; may be changed"), NULL},
    {"active_tasks", get_active_tasks_locked, NULL, PyDoc_STR("calls that hold a slot"), NULL},
    {"waiting", get_waiting_locked, NULL, PyDoc_STR("calls in the queue"), NULL},
    {"total_completed", get_total_completed_locked, NULL, PyDoc_STR("calls that have ended"), NULL},
    {"pending_tasks", get_pending_tasks_locked, NULL,
     PyDoc_STR("the tasks of calls that have not ended, as a new set"), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot scheduler_slots[] = {
    {Py_tp_doc, (void *)"Scheduler(*, limits=(), max_concurrency=None, places=())\n--\n\n"
                        "The native queue. limits: (name, amount, per, capacity) each, per in "
                        "seconds.\nplaces: names of limits that may be learned later."},
    {Py_tp_new, scheduler_new},
    {Py_tp_init, scheduler_init},
    {Py_tp_dealloc, scheduler_dealloc},
    {Py_tp_traverse, scheduler_traverse},
    {Py_tp_clear, scheduler_clear},
    {Py_tp_methods, scheduler_methods},
    {Py_tp_members, scheduler_members},
    {Py_tp_getset, scheduler_getset},
    {0, NULL},
};

PyType_Spec xf_scheduler_spec = {
    .name = "xtremeflow._core.Scheduler",
    .basicsize = sizeof(SchedulerObject),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = scheduler_slots,
};
