#include "binding/call/call_object.h"

#include "binding/call/await.h"
#include "binding/call/call.h"
#include "binding/call/future.h"
#include "binding/call/owner.h"
#include "binding/call/prefix.h"
#include "binding/call/retry.h"
#include "binding/call/run.h"

#include <structmember.h>

static PyObject *call_repr(PyObject *self)
{
    CallObject *c = (CallObject *)self;
    return PyUnicode_FromFormat("<%s %s priority=%d estimated_tokens=%R of %R>",
                                Py_TYPE(self)->tp_name, xf_call_state(c), c->priority,
                                c->estimate != NULL ? c->estimate : Py_None,
                                c->coro != NULL ? c->coro : Py_None);
}

static PyObject *get_state(PyObject *self, void *Py_UNUSED(closure))
{
    return PyUnicode_FromString(xf_call_state((CallObject *)self));
}

static PyObject *get_dispatched_at(PyObject *self, void *Py_UNUSED(closure))
{
    CallObject *c = (CallObject *)self;
    if (c->core.state != XF_CALL_IN_FLIGHT) {
        Py_RETURN_NONE;
    }
    return PyFloat_FromDouble((double)c->core.dispatched_at * 1e-9);
}

static PyObject *get_verdict(PyObject *self, void *Py_UNUSED(closure))
{
    CallObject *c = (CallObject *)self;
    bool has_one = c->core.state == XF_CALL_IN_FLIGHT && c->is_started && c->verdict != NULL;
    return Py_NewRef(has_one ? c->verdict : Py_None);
}

static int set_verdict(PyObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    CallObject *c = (CallObject *)self;
    if (c->core.state == XF_CALL_IN_FLIGHT && c->is_started) {
        Py_XSETREF(c->verdict, Py_XNewRef(value));
    }
    return 0;
}

static PyObject *get_extra(PyObject *self, void *Py_UNUSED(closure))
{
    CallObject *c = (CallObject *)self;
    PyObject *extra = PyDict_New(), *zero = c->estimate ? NULL : PyLong_FromLong(0);
    PyObject *estimate = c->estimate ? c->estimate : zero;
    if (extra != NULL &&
        (estimate == NULL ||
         PyDict_SetItem(extra, c->scheduler->st->s_estimated_tokens, estimate) < 0)) {
        Py_CLEAR(extra);
    }
    Py_XDECREF(zero);
    return extra;
}

/* Its names are those of the scheduler's limits; of equal ones the last counts. */
static PyObject *get_held(PyObject *op, void *Py_UNUSED(closure))
{
    const CallObject *c = (const CallObject *)op;
    PyObject *held = PyDict_New();
    for (uint32_t i = 0; held != NULL && i < c->scheduler->core.gate.n_limits; i++) {
        PyObject *units = PyLong_FromLongLong(c->core.held[i]);
        if (units == NULL ||
            PyDict_SetItem(held, PyTuple_GET_ITEM(c->scheduler->names, i), units) < 0) {
            Py_CLEAR(held);
        }
        Py_XDECREF(units);
    }
    return held;
}

static PyObject *get_leads(PyObject *op, void *Py_UNUSED(closure))
{
    const CallObject *c = (const CallObject *)op;
    return PyBool_FromLong(c->core.led && c->core.state == XF_CALL_IN_FLIGHT);
}

/* The doors: see lock.h. */
XF_METHOD_DOOR(xf_call_rate_limited, xf_scheduler_of(self))
XF_METHOD_DOOR(xf_call_failed, xf_scheduler_of(self))
XF_METHOD_DOOR(xf_call_rest, xf_scheduler_of(self))
XF_METHOD_DOOR(xf_call_retry, xf_scheduler_of(self))
XF_METHOD_DOOR(xf_call_resume, xf_scheduler_of(self))
XF_FASTCALL_DOOR(xf_future_add_done_callback, xf_scheduler_of(self))
XF_KEYWORDS_DOOR(xf_future_cancel, xf_scheduler_of(self))
XF_METHOD_DOOR(xf_future_result, xf_scheduler_of(self))
XF_METHOD_DOOR(xf_call_warmed, xf_scheduler_of(self))
XF_METHOD_DOOR(xf_call_read, xf_scheduler_of(self))
XF_GETTER_DOOR(get_dispatched_at, xf_scheduler_of(self))
XF_GETTER_DOOR(get_extra, xf_scheduler_of(self))
XF_GETTER_DOOR(get_held, xf_scheduler_of(self))
XF_GETTER_DOOR(get_leads, xf_scheduler_of(self))
XF_GETTER_DOOR(get_state, xf_scheduler_of(self))
XF_GETTER_DOOR(get_verdict, xf_scheduler_of(self))
XF_SETTER_DOOR(set_verdict, xf_scheduler_of(self))

static PyMethodDef call_methods[] = {
    XF_AWAIT_METHOD(xf_await_method),
    {"rate_limited", xf_call_rate_limited_locked, METH_VARARGS,
     PyDoc_STR(
         "rate_limited($self, retry_after, base, exponential, max_retry_after, /)\n--\n\n"
         "Opens or extends the scheduler's cooldown, because the provider refused this call.\n"
         "`retry_after` is the told wait in seconds. If it is None, the cooldown is base *\n"
         "2**n, n the number of episodes since the last success, or just base. It is at most\n"
         "max_retry_after. Returns the seconds until its end.")},
    {"failed", xf_call_failed_locked, METH_VARARGS,
     PyDoc_STR(
         "failed($self, retry_after, base, alone, max_retry_after, /)\n--\n\n"
         "Opens or extends the cooldown, because the provider failed to answer this call for\n"
         "a reason that may pass and is no rate. The wait is `retry_after` or base. After some\n"
         "failures in a row single calls are let in every `base` seconds, until one is\n"
         "answered. alone: before that, a failure without a `retry_after` pauses no call.")},
    {"rest", xf_call_rest_locked, METH_NOARGS,
     PyDoc_STR("rest($self, /)\n--\n\n"
               "Returns the slot. The call waits outside the queue until retry().")},
    {"retry", xf_call_retry_locked, METH_NOARGS,
     PyDoc_STR("retry($self, /)\n--\n\n"
               "Returns the slot and queues the call again, before newer ones of its priority.\n"
               "Returns a future that is done when the call is admitted again. Then call\n"
               "resume().")},
    {"resume", xf_call_resume_locked, METH_NOARGS,
     PyDoc_STR("resume($self, /)\n--\n\n"
               "Dispatches the next attempt. False if a cooldown has begun since its admission.\n"
               "Then the call waits again: await retry() once more.")},
    {"warmed", xf_call_warmed_locked, METH_NOARGS,
     PyDoc_STR("warmed($self, /)\n--\n\n"
               "Says that the answer to a call in flight has begun: its prefix can be read.")},
    {"_read", xf_call_read_locked, METH_VARARGS,
     PyDoc_STR("_read($self, cached, written, is_free, /)\n--\n\n"
               "Says how many tokens the call has read from the cache and written to it, and\n"
               "whether the provider charges nothing for those read.")},
    {"send", xf_call_send, METH_O, PyDoc_STR("The coroutine protocol, for its task.")},
    {"throw", XF_FUNCTION(xf_call_throw), METH_FASTCALL,
     PyDoc_STR("The coroutine protocol, for its task.")},
    {"close", xf_call_close, METH_NOARGS, PyDoc_STR("The coroutine protocol, for its task.")},
    {"add_done_callback", XF_FUNCTION(xf_future_add_done_callback_locked),
     METH_FASTCALL | METH_KEYWORDS, PyDoc_STR("asyncio's future protocol.")},
    {"cancel", XF_FUNCTION(xf_future_cancel_locked), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("asyncio's future protocol.")},
    {"result", xf_future_result_locked, METH_NOARGS, PyDoc_STR("asyncio's future protocol.")},
    {"get_loop", xf_future_get_loop, METH_NOARGS, PyDoc_STR("asyncio's future protocol.")},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef call_members[] = {
    {"scheduler", T_OBJECT_EX, offsetof(CallObject, scheduler), READONLY,
     PyDoc_STR("the scheduler that runs it")},
    {"priority", T_SHORT, offsetof(CallObject, priority), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef call_getset[] = {
    {"__name__", xf_call_get_name, NULL, NULL, (void *)"__name__"},
    {"__qualname__", xf_call_get_name, NULL, NULL, (void *)"__qualname__"},
    {"cr_await", xf_call_get_await, NULL, NULL, (void *)"cr_await"},
    {"cr_code", xf_call_get_inner, NULL, NULL, (void *)"cr_code"},
    {"cr_frame", xf_call_get_inner, NULL, NULL, (void *)"cr_frame"},
    {"cr_origin", xf_call_get_inner, NULL, NULL, (void *)"cr_origin"},
    {"cr_running", xf_call_get_inner, NULL, NULL, (void *)"cr_running"},
    {"_asyncio_future_blocking", xf_future_get_blocking, xf_future_set_blocking, NULL, NULL},
    {"dispatched_at", get_dispatched_at_locked, NULL,
     PyDoc_STR("the time of its dispatch, in seconds on the loop's clock; None unless in flight"),
     NULL},
    {"held", get_held_locked, NULL,
     PyDoc_STR(
         "the units that it holds of each limit, by name: its cost, or what it was settled at"),
     NULL},
    {"leads", get_leads_locked, NULL,
     PyDoc_STR("whether it is in flight, and others of its prefix were held for it"), NULL},
    {"verdict", get_verdict_locked, set_verdict_locked,
     PyDoc_STR("the verdict on the last answer to this attempt, as its scheduler's observe() has\n"
               "noted it; None if there is none. It ends with the attempt."),
     NULL},
    {"extra", get_extra_locked, NULL, PyDoc_STR("{'estimated_tokens': as given}"), NULL},
    {"state", get_state_locked, NULL,
     PyDoc_STR("'new', 'waiting', 'admitted', 'in flight', 'resting', 'expired' or 'done'"), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot call_slots[] = {
    {Py_tp_doc, (void *)"One call of a scheduler; made by start_task(), submit() and map()."},
    {Py_tp_dealloc, xf_call_dealloc},
    {Py_tp_traverse, xf_call_traverse},
    {Py_tp_clear, xf_call_clear},
    {Py_tp_repr, call_repr},
    {Py_tp_iternext, xf_call_iternext},
    {Py_am_await, PyObject_SelfIter},
    {Py_am_send, xf_call_am_send},
    {Py_tp_methods, call_methods},
    {Py_tp_members, call_members},
    {Py_tp_getset, call_getset},
    {0, NULL},
};

PyType_Spec xf_call_spec = {
    .name = "xtremeflow._core.Call",
    .basicsize = offsetof(CallObject, core.held),
    .itemsize = sizeof(int64_t),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = call_slots,
};
