/* A call: its cost, its place in the core, its stages. */
#include "binding/call/call.h"

#include "binding/call/await.h"
#include "binding/call/deliver.h"
#include "binding/call/future.h"
#include "binding/call/lessee.h"
#include "binding/call/member.h"
#include "binding/call/owner.h"
#include "binding/call/prefix.h"
#include "binding/call/retry.h"
#include "binding/call/usage.h"
#include "binding/loop/port.h"

#include <assert.h>

#ifdef Py_GIL_DISABLED
enum { MAX_FREE_CALLS = 0 };
#else
enum { MAX_FREE_CALLS = 500 }; /* at most some 100 KB per scheduler */
#endif

/* ---- stages ---- */

#ifndef NDEBUG
/* For each stage the stages that may follow it, as bits. */
static const uint8_t next_stages[] = {
    [XF_STAGE_PENDING] = 1 << XF_STAGE_STEPPING | 1 << XF_STAGE_ENDED,
    [XF_STAGE_STEPPING] = 1 << XF_STAGE_PAUSED | 1 << XF_STAGE_ENDED,
    [XF_STAGE_PAUSED] = 1 << XF_STAGE_STEPPING | 1 << XF_STAGE_ENDED,
    [XF_STAGE_LEFT] = 1 << XF_STAGE_ENDED,
    [XF_STAGE_ENDED] = 1 << XF_STAGE_LEFT | 1 << XF_STAGE_ENDED,
};
#endif

void xf_call_move(CallObject *c, xf_stage stage)
{
    assert(next_stages[c->stage] >> stage & 1);
    c->stage = (uint8_t)stage;
}

/* ---- life ---- */

int64_t xf_call_cost(CallObject *c, int64_t *cost)
{
    SchedulerObject *s = c->scheduler;
    for (uint32_t i = 0; i < s->core.gate.n_limits; i++) {
        cost[i] = s->kinds[i] == XF_KIND_REQUESTS;
    }
    return c->estimate != NULL ? xf_amounts(s, c->estimate, "estimated_tokens", cost) : 0;
}

/* Memory for a call: that of a freed one, if there is any. Reused memory also does not count
   towards the next run of the garbage collector. Without the GIL no memory is kept: the threads
   would meet at the list, and each has memory of its own. */
static CallObject *allocate(SchedulerObject *s)
{
    CallObject *c = s->free_calls;
    if (c == NULL) {
        return PyObject_GC_NewVar(CallObject, s->st->call_type, s->core.gate.n_limits);
    }
    s->free_calls = c->next;
    s->n_free_calls--;
    (void)PyObject_InitVar((PyVarObject *)c, s->st->call_type, s->core.gate.n_limits);
    return c;
}

/* Keeps the memory of a freed call of `s`, whose references have been dropped. */
static void recycle(SchedulerObject *s, CallObject *c)
{
    if (s->n_free_calls < MAX_FREE_CALLS) {
        c->next = s->free_calls;
        s->free_calls = c;
        s->n_free_calls++;
    } else {
        PyObject_GC_Del(c);
    }
}

void xf_call_free_all(SchedulerObject *s)
{
    for (CallObject *c; (c = s->free_calls) != NULL;) {
        s->free_calls = c->next;
        PyObject_GC_Del(c);
    }
}

CallObject *xf_call_new(SchedulerObject *s, PyObject *coro, PyObject *estimate, int priority)
{
    CallObject *c = allocate(s);
    if (c == NULL) {
        xf_close_coro(coro);
        return NULL;
    }
    memset((char *)c + offsetof(CallObject, scheduler), 0,
           offsetof(CallObject, core) - offsetof(CallObject, scheduler) + xf_call_size(&s->core));
    c->scheduler = (SchedulerObject *)Py_NewRef(s);
    c->priority = (int16_t)priority;
    c->coro = Py_NewRef(coro);
    /* A copy, since a retry reads it again and it must not change until then. */
    c->estimate =
        estimate != NULL && PyDict_Check(estimate) ? PyDict_Copy(estimate) : Py_XNewRef(estimate);
    if ((estimate != NULL && c->estimate == NULL) ||
        (c->tokens = xf_call_cost(c, c->core.held)) < 0) {
        xf_close_coro(coro);
        Py_DECREF(c);
        return NULL;
    }
    c->core.priced = c->tokens > 0; /* an estimate of 0 is none */
    PyObject_GC_Track(c);
    return c;
}

static void link_call(CallObject *c)
{
    PortObject *port = c->port;
    c->next = port->calls;
    if (c->next != NULL) {
        c->next->previous = &c->next;
    }
    c->previous = &port->calls;
    port->calls = (CallObject *)Py_NewRef(c);
}

void xf_call_unlink(CallObject *c)
{
    if (c->previous == NULL) {
        return;
    }
    *c->previous = c->next;
    if (c->next != NULL) {
        c->next->previous = c->previous;
    }
    c->next = NULL;
    c->previous = NULL;
    PyObject *task = c->task;
    c->task = NULL;
    Py_XDECREF(task);
    Py_DECREF(c);
}

/* Whether a closed loop may hold up a call that waits: as the loop of the head, whose timer never
   fires, or of a call that holds a slot. For those behind the head its timer looks now and then. */
static bool may_be_stuck(const CallObject *c)
{
    int64_t at;
    xf_call *head = xf_head(&c->scheduler->core, &at);
    if (head == NULL || head == &c->core) {
        return true;
    }
    PortObject *port = (PortObject *)Py_NewRef(xf_call_of(head)->port);
    bool is_stuck = port != c->port && xf_port_is_closed(port);
    Py_DECREF(port);
    return is_stuck;
}

int xf_call_submit(CallObject *c, int64_t timeout_ns)
{
    SchedulerObject *s = c->scheduler;
    PortObject *port = xf_port_running(s);
    if (port == NULL) {
        return -1;
    }
    if ((s->member != NULL && xf_member_enter(s, port) < 0) ||
        (s->lessee != NULL && xf_lessee_enter(s) < 0)) {
        return -1;
    }
    int64_t now = xf_port_now(s, port);
    if (c->stage == XF_STAGE_ENDED) { /* ended by code that this has run */
        (void)xf_already_awaited();
        return -1;
    }
    int64_t deadline = timeout_ns < 0 || timeout_ns > XF_NEVER - now ? XF_NEVER : now + timeout_ns;
    c->port = (PortObject *)Py_NewRef(port);
    if (!xf_submit(&s->core, &c->core, c->priority, deadline, now)) {
        PyErr_NoMemory();
        return -1;
    }
    link_call(c);
    xf_deliver(s);
    if (c->core.state == XF_CALL_WAITING && may_be_stuck(c)) {
        xf_port_purge_others(s);
    }
    return 0;
}

bool xf_call_dispatch(CallObject *c)
{
    SchedulerObject *s = c->scheduler;
    if (!xf_dispatch(&s->core, &c->core)) {
        xf_put_back(&s->core, &c->core, xf_port_now(s, c->port));
        xf_deliver(s);
        return false;
    }
    s->tokens_used += c->tokens;
    if (xf_gate_is_ramping(&s->core.gate)) {
        xf_ramp_up(&s->core, xf_port_about_now(s, NULL));
        xf_deliver(s);
    }
    return true;
}

void xf_set_timeout(const CallObject *c)
{
    PyErr_SetString(c->scheduler->st->timeout_error,
                    "the call was not admitted within its timeout");
}

void xf_call_start(CallObject *c)
{
    xf_call_move(c, XF_STAGE_STEPPING);
    if (c->callback != NULL) {
        xf_future_settle(c); /* whoever runs it has not been woken */
    }
    c->is_started = true;
}

/* Tells the scheduler that calls pass without an observed answer. Keeps a set exception. */
static void raise_alarm(SchedulerObject *s)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *done = PyObject_CallMethodNoArgs((PyObject *)s, s->st->s_unshown);
    if (done == NULL) {
        PyErr_WriteUnraisable((PyObject *)s);
    }
    Py_XDECREF(done);
    PyErr_Restore(type, value, traceback);
}

void xf_call_end(CallObject *c, xf_outcome outcome)
{
    SchedulerObject *s = c->scheduler;
    if (c->core.state == XF_CALL_NEW || c->core.state == XF_CALL_DONE) {
        return;
    }
    if (c->core.state == XF_CALL_WAITING && c->retries != NULL) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        bool is_waited_for = xf_call_has_retries(c);
        PyErr_Restore(type, value, traceback);
        if (is_waited_for) {
            xf_call_move(c, XF_STAGE_LEFT);
            c->outcome = outcome;
            return; /* a child task still waits for its next attempt: ends after its admission */
        }
    }
    Py_INCREF(c);
    if (c->core.state == XF_CALL_ADMITTED && c->child_waits) {
        (void)xf_call_dispatch(c); /* a child task is about to make its next attempt */
    }
    if (c->stage == XF_STAGE_LEFT) {
        xf_call_move(c, XF_STAGE_ENDED);
    }
    int64_t now = c->core.led ? xf_port_now(s, c->port) : xf_port_about_now(s, c->port);
    if (outcome == XF_SUCCEEDED) {
        xf_prefix_came(c, now);
    }
    xf_finish(&s->core, &c->core, outcome, now);
    xf_call_unlink(c);
    if (xf_call_is_awaited(c)) {
        xf_future_settle(c); /* ended by other code than the task that waits */
    }
    xf_deliver(s);
    xf_call_drop_verdict(c);
    if (s->alarm_at > 0 && s->core.counters.succeeded >= s->alarm_at) {
        s->alarm_at = 0;
        raise_alarm(s);
    }
    Py_DECREF(c);
}

CallObject *xf_call_current(xf_module *st)
{
    PyObject *value;
    if (PyContextVar_Get(st->current_call, NULL, &value) < 0) {
        return NULL;
    }
    return (CallObject *)value;
}

CallObject *xf_call_in_flight(SchedulerObject *s)
{
    CallObject *c = xf_call_current(s->st);
    if (c != NULL && (c->scheduler != s || c->core.state != XF_CALL_IN_FLIGHT)) {
        Py_CLEAR(c);
    }
    return c;
}

void xf_call_drop_verdict(CallObject *c)
{
    if (c->is_started) {
        Py_CLEAR(c->verdict);
    }
}

const char *xf_call_state(const CallObject *c)
{
    static const char *const names[] = {"new",     "waiting", "admitted", "in flight",
                                        "resting", "expired", "done"};
    return names[c->core.state];
}

/* ---- its end ---- */

int xf_call_traverse(PyObject *self, visitproc visit, void *arg)
{
    CallObject *c = (CallObject *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(c->scheduler);
    Py_VISIT(c->coro);
    Py_VISIT(c->steps);
    Py_VISIT(c->port);
    Py_VISIT(c->estimate);
    Py_VISIT(c->callback); /* or its verdict */
    Py_VISIT(c->context);
    Py_VISIT(c->task);
    Py_VISIT(c->retries);
    return 0;
}

int xf_call_clear(PyObject *self)
{
    CallObject *c = (CallObject *)self;
    if (c->core.state != XF_CALL_DONE && (c->core.state != XF_CALL_NEW || c->core.grouped)) {
        /* Garbage, together with its scheduler and its loop; or never submitted. */
        xf_finish(&c->scheduler->core, &c->core, XF_CANCELLED, c->scheduler->core.now);
    }
    xf_call_move(c, XF_STAGE_ENDED);
    Py_CLEAR(c->coro);
    Py_CLEAR(c->steps);
    Py_CLEAR(c->estimate);
    Py_CLEAR(c->callback);
    Py_CLEAR(c->context);
    Py_CLEAR(c->task);
    Py_CLEAR(c->retries);
    Py_CLEAR(c->port);
    return 0;
}

void xf_call_dealloc(PyObject *self)
{
    CallObject *c = (CallObject *)self;
    SchedulerObject *s = c->scheduler;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    PyObject *unstarted = c->stage == XF_STAGE_PENDING ? Py_XNewRef(c->coro) : NULL;
    if (c->core.state == XF_CALL_NEW) {
        XF_LOCK(s);
        xf_finish(&s->core, &c->core, XF_CANCELLED, s->core.now); /* it leaves its group */
        XF_UNLOCK();
    }
    (void)xf_call_clear(self);
    recycle(s, c);
    if (unstarted != NULL) { /* its task was destroyed before it ran */
        xf_close_coro(unstarted);
        Py_DECREF(unstarted);
    }
    Py_DECREF(s);
    Py_DECREF(type);
}
