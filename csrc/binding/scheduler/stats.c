#include "binding/scheduler/stats.h"

#include "binding/call/call.h"
#include "binding/call/owner.h"
#include "binding/call/prefix.h"
#include "core/share.h"

PyObject *xf_scheduler_active_tasks(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(((SchedulerObject *)self)->core.gate.in_use);
}

PyObject *xf_scheduler_waiting(PyObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(((SchedulerObject *)self)->core.queue.size);
}

PyObject *xf_scheduler_total_completed(PyObject *self, void *Py_UNUSED(closure))
{
    const xf_counters *n = &((SchedulerObject *)self)->core.counters;
    return PyLong_FromUnsignedLongLong(n->succeeded + n->failed + n->cancelled);
}

PyObject *xf_scheduler_pending_tasks(PyObject *self, void *Py_UNUSED(closure))
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
        (unsigned long long)l->charged, "held_back", (double)l->held_ns * 1e-9);
}

PyObject *xf_scheduler_snapshot(PyObject *self, PyObject *Py_UNUSED(unused))
{
    SchedulerObject *s = (SchedulerObject *)self;
    if (xf_scheduler_check(s) < 0) {
        return NULL;
    }
    xf_scheduler *core = &s->core;
    const xf_counters *n = &core->counters;
    int64_t now = xf_port_now(s, NULL);
    xf_share_refresh(&core->gate);
    xf_account(core, now);
    now = core->now;
    int64_t rest = core->gate.cooldown.until > now ? core->gate.cooldown.until - now : 0;
    PyObject *prefixes = xf_prefix_snapshot(s);
    PyObject *limits = prefixes != NULL ? PyTuple_New(core->gate.n_limits) : NULL;
    for (uint32_t i = 0; limits != NULL && i < core->gate.n_limits; i++) {
        PyObject *limit = limit_snapshot(s, i, now);
        if (limit == NULL) {
            Py_CLEAR(limits);
            break;
        }
        PyTuple_SET_ITEM(limits, i, limit);
    }
    if (limits == NULL) {
        Py_XDECREF(prefixes);
        return NULL;
    }
    return Py_BuildValue(
        "{sKsKsKsKsKsKsKsKsIsIsLsLsKsdsIsdsdsdsdsdsdsdsdsdsNsN}", "submitted",
        (unsigned long long)n->submitted, "admitted", (unsigned long long)core->gate.admitted,
        "succeeded", (unsigned long long)n->succeeded, "failed", (unsigned long long)n->failed,
        "cancelled", (unsigned long long)n->cancelled, "expired", (unsigned long long)n->expired,
        "refused", (unsigned long long)core->gate.refused, "retries",
        (unsigned long long)n->retries, "waiting", (unsigned int)core->queue.size, "in_flight",
        (unsigned int)core->gate.in_use, "tokens_used", (long long)s->tokens_used,
        "tokens_refunded", (long long)s->tokens_refunded, "begun", (unsigned long long)s->begun,
        "first_token_seconds", (double)s->begun_ns * 1e-9, "cooldowns",
        (unsigned int)core->gate.cooldown.generation, "elapsed",
        n->first_ns < 0 ? 0.0 : (double)(now - n->first_ns) * 1e-9, "cooldown_seconds",
        (double)(core->gate.cooldown.total_ns - rest) * 1e-9, "cooldown_left", (double)rest * 1e-9,
        "idle", (double)n->idle_ns * 1e-9, "held_by_share", (double)n->share_ns * 1e-9,
        "held_by_concurrency", (double)n->concurrency_ns * 1e-9, "held_by_cooldown",
        (double)n->cooldown_ns * 1e-9, "margin", (double)core->gate.margin.ns * 1e-9,
        "held_by_prefix", (double)n->prefix_ns * 1e-9, "prefixes", prefixes, "limits", limits);
}
