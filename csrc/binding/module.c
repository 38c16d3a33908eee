/* xtremeflow._core: the module, its state, its functions. */
#include "binding/module.h"

#include "binding/call/call_object.h"
#include "binding/call/deliver.h"
#include "binding/call/digests.h"
#include "binding/call/estimate.h"
#include "binding/call/measure.h"
#include "binding/call/exchange.h"
#include "binding/call/prefix.h"
#include "binding/call/start.h"
#include "binding/call/usage.h"
#include "binding/loop/loop.h"
#include "binding/loop/port.h"
#include "binding/scheduler/observe.h"
#include "binding/scheduler/scheduler.h"
#include "binding/scheduler/share.h"
#include "binding/scheduler/unread.h"
#include "binding/steps.h"

static PyObject *current_call(PyObject *module, PyObject *Py_UNUSED(unused))
{
    CallObject *c = xf_call_current(PyModule_GetState(module));
    if (c == NULL) {
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    }
    if (c->core.state == XF_CALL_DONE) {
        Py_DECREF(c);
        Py_RETURN_NONE;
    }
    return (PyObject *)c;
}

static PyMethodDef resolve_def = {"resolve", xf_resolve_now, METH_O, NULL};

static PyMethodDef module_methods[] = {
    {"current_call", current_call, METH_NOARGS,
     PyDoc_STR("current_call($module, /)\n--\n\n"
               "Returns the scheduled call to which the running task, child task or thread\n"
               "belongs, or None.")},
    {"report_token_usage", XF_FUNCTION(xf_report_token_usage), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("report_token_usage($module, /, actual)\n--\n\n"
               "Replaces the estimate of the current call by its actual usage.\n\n"
               "It settles at once, whether the result is awaited or not, and a refund lets\n"
               "waiting calls pass. A further report settles against the last one.\n\n"
               "Args:\n"
               "    actual: Tokens, or a mapping of limit names to units.\n\n"
               "Raises:\n"
               "    RuntimeError: The running code belongs to no scheduled call.")},
    {"prompt_size", XF_FUNCTION(xf_prompt_size), METH_FASTCALL,
     PyDoc_STR("prompt_size($module, body, measure, /)\n--\n\n"
               "The size of all text for the model in a decoded request: in characters, or the\n"
               "sum of measure(string), if that is not None. Data, such as pictures, do not\n"
               "count.")},
    {"rolling_digests", XF_FUNCTION(xf_rolling_digests), METH_FASTCALL,
     PyDoc_STR("rolling_digests($module, settings, text, chunk, /)\n--\n\n"
               "The rolling digests of a text, one for each `chunk` bytes; the last chunk may be\n"
               "shorter. Each stands for all of the text before its end, and for the settings.\n"
               "As bytes, of which eight are one digest, a number.")},
    {"share_layout", xf_share_layout, METH_O,
     PyDoc_STR("share_layout($module, seat, /)\n--\n\n"
               "Bytes of a share's memory, and where in it a seat's part begins and how long\n"
               "that is.")},
    {"share_state", xf_share_state, METH_VARARGS,
     PyDoc_STR("share_state($module, memory, now, /)\n--\n\n"
               "What lies in a share's memory, as a dict; None: nothing. now: seconds on the\n"
               "members' clock.")},
    {NULL, NULL, 0, NULL},
};

static int add_types(PyObject *module, xf_module *st)
{
    const struct {
        PyTypeObject **type;
        PyType_Spec *spec;
        bool public;
    } types[] = {
        {&st->scheduler_type, &xf_scheduler_spec, true},
        {&st->call_type, &xf_call_spec, true},
        {&st->port_type, &xf_port_spec, false},
        {&st->start_type, &xf_start_spec, false},
        {&st->reported_type, &xf_reported_spec, false},
        {&st->steps_type, &xf_steps_spec, false},
        {&st->exchange_type, &xf_exchange_spec, false},
        {&st->estimated_type, &xf_estimated_spec, true},
        {&st->typical_type, &xf_typical_spec, true},
    };
    for (size_t i = 0; i < Py_ARRAY_LENGTH(types); i++) {
        *types[i].type = (PyTypeObject *)PyType_FromModuleAndSpec(module, types[i].spec, NULL);
        if (*types[i].type == NULL ||
            (types[i].public && PyModule_AddType(module, *types[i].type) < 0)) {
            return -1;
        }
    }
    return 0;
}

static int add_records(PyObject *module, xf_module *st)
{
    const struct {
        PyTypeObject **type;
        PyStructSequence_Desc *desc;
    } records[] = {
        {&st->flight_type, &xf_flight_desc},   {&st->gauge_type, &xf_gauge_desc},
        {&st->reading_type, &xf_reading_desc}, {&st->unread_type, &xf_unread_desc},
        {&st->spent_type, &xf_spent_desc},     {&st->branch_type, &xf_branch_desc},
    };
    for (size_t i = 0; i < Py_ARRAY_LENGTH(records); i++) {
        *records[i].type = PyStructSequence_NewType(records[i].desc);
        if (*records[i].type == NULL || PyModule_AddType(module, *records[i].type) < 0) {
            return -1;
        }
    }
    return 0;
}

static int add_names(xf_module *st)
{
    const struct {
        PyObject **string;
        const char *name;
    } names[] = {
        {&st->s_call_soon, "call_soon"},
        {&st->s_call_soon_threadsafe, "call_soon_threadsafe"},
        {&st->s_create_task, "create_task"},
        {&st->s_create_future, "create_future"},
        {&st->s_name, "name"},
        {&st->s_close, "close"},
        {&st->s_throw, "throw"},
        {&st->s_add_reader, "add_reader"},
        {&st->s_remove_reader, "remove_reader"},
        {&st->s_call_at, "call_at"},
        {&st->s_cancel, "cancel"},
        {&st->s_time, "time"},
        {&st->s_is_closed, "is_closed"},
        {&st->s_done, "done"},
        {&st->s_unshown, "_unshown"},
        {&st->s_set_result, "set_result"},
        {&st->s_get_loop, "get_loop"},
        {&st->s_tokens, "tokens"},
        {&st->s_requests, "requests"},
        {&st->s_coro, "coro"},
        {&st->s_estimated_tokens, "estimated_tokens"},
        {&st->s_priority, "priority"},
        {&st->s_timeout, "timeout"},
        {&st->s_prefix, "prefix"},
        {&st->s_prefix_tokens, "prefix_tokens"},
        {&st->s_prefix_life, "prefix_life"},
        {&st->s_actual, "actual"},
        {&st->s_retry_after, "retry_after"},
        {&st->s_task_factory, "_task_factory"},
    };
    for (size_t i = 0; i < Py_ARRAY_LENGTH(names); i++) {
        *names[i].string = PyUnicode_InternFromString(names[i].name);
        if (*names[i].string == NULL) {
            return -1;
        }
    }
    st->kw_context = Py_BuildValue("(s)", "context");
    st->kw_name = PyTuple_Pack(1, st->s_name);
    st->kw_loop = Py_BuildValue("(s)", "loop");
    st->kw_loop_name = Py_BuildValue("(ss)", "loop", "name");
    return st->kw_context != NULL && st->kw_name != NULL && st->kw_loop != NULL &&
                   st->kw_loop_name != NULL
               ? 0
               : -1;
}

static int import_asyncio(xf_module *st)
{
    PyObject *asyncio = PyImport_ImportModule("asyncio"), *base = NULL;
    if (asyncio == NULL) {
        return -1;
    }
    st->get_running_loop = PyObject_GetAttrString(asyncio, "_get_running_loop");
    st->current_task = PyObject_GetAttrString(asyncio, "current_task");
    st->cancelled_error = PyObject_GetAttrString(asyncio, "CancelledError");
    st->timeout_error = PyObject_GetAttrString(asyncio, "TimeoutError");
    st->task_type = PyObject_GetAttrString(asyncio, "Task");
    base = PyObject_GetAttrString(asyncio, "BaseEventLoop");
    st->base_time = base != NULL ? PyObject_GetAttr(base, st->s_time) : NULL;
    st->base_create_task = base != NULL ? PyObject_GetAttr(base, st->s_create_task) : NULL;
    Py_XDECREF(base);
    Py_DECREF(asyncio);
    return st->get_running_loop != NULL && st->current_task != NULL &&
                   st->cancelled_error != NULL && st->timeout_error != NULL &&
                   st->task_type != NULL && st->base_time != NULL && st->base_create_task != NULL
               ? 0
               : -1;
}

static int module_exec(PyObject *module)
{
    xf_module *st = PyModule_GetState(module);
    if (add_names(st) < 0 || import_asyncio(st) < 0 || add_types(module, st) < 0 ||
        add_records(module, st) < 0 || xf_add_observed(module) < 0) {
        return -1;
    }
    st->current_call = PyContextVar_New("xtremeflow_call", NULL);
    st->reported = st->reported_type->tp_alloc(st->reported_type, 0);
    st->resolve = PyCFunction_New(&resolve_def, module);
    return st->current_call != NULL && st->reported != NULL && st->resolve != NULL ? 0 : -1;
}

/* The references back to the module. */
#define EACH_CYCLE(DO)                                                                             \
    DO(scheduler_type)                                                                             \
    DO(call_type)                                                                                  \
    DO(port_type)                                                                                  \
    DO(start_type)                                                                                 \
    DO(exchange_type)                                                                              \
    DO(reported_type)                                                                              \
    DO(steps_type)                                                                                 \
    DO(estimated_type)                                                                             \
    DO(typical_type)                                                                               \
    DO(unread_type)                                                                                \
    DO(spent_type)                                                                                 \
    DO(branch_type)                                                                                \
    DO(flight_type)                                                                                \
    DO(gauge_type)                                                                                 \
    DO(reading_type)                                                                               \
    DO(reported)                                                                                   \
    DO(resolve)

/* All other state, which schedulers that are collected together with the module still need. */
#define EACH_OTHER(DO)                                                                             \
    DO(current_call)                                                                               \
    DO(get_running_loop)                                                                           \
    DO(current_task)                                                                               \
    DO(cancelled_error)                                                                            \
    DO(timeout_error)                                                                              \
    DO(base_time)                                                                                  \
    DO(s_call_soon)                                                                                \
    DO(s_call_soon_threadsafe)                                                                     \
    DO(s_create_task)                                                                              \
    DO(s_create_future)                                                                            \
    DO(s_name)                                                                                     \
    DO(s_close)                                                                                    \
    DO(s_throw)                                                                                    \
    DO(s_add_reader)                                                                               \
    DO(s_remove_reader)                                                                            \
    DO(s_call_at)                                                                                  \
    DO(s_cancel)                                                                                   \
    DO(s_time)                                                                                     \
    DO(s_is_closed)                                                                                \
    DO(s_done)                                                                                     \
    DO(s_unshown)                                                                                  \
    DO(s_set_result)                                                                               \
    DO(s_get_loop)                                                                                 \
    DO(s_tokens)                                                                                   \
    DO(s_requests)                                                                                 \
    DO(s_coro)                                                                                     \
    DO(s_estimated_tokens)                                                                         \
    DO(s_priority)                                                                                 \
    DO(s_timeout)                                                                                  \
    DO(s_prefix)                                                                                   \
    DO(s_prefix_tokens)                                                                            \
    DO(s_prefix_life)                                                                              \
    DO(s_actual)                                                                                   \
    DO(s_retry_after)                                                                              \
    DO(kw_context)                                                                                 \
    DO(kw_name)                                                                                    \
    DO(base_create_task)                                                                           \
    DO(s_task_factory)                                                                             \
    DO(kw_loop)                                                                                    \
    DO(kw_loop_name)                                                                               \
    DO(task_type)

static int module_traverse(PyObject *module, visitproc visit, void *arg)
{
    xf_module *st = PyModule_GetState(module);
#define DO_VISIT(object) Py_VISIT(st->object);
    EACH_CYCLE(DO_VISIT)
    EACH_OTHER(DO_VISIT)
    return 0;
}

static int module_clear(PyObject *module)
{
    xf_module *st = PyModule_GetState(module);
#define DO_CLEAR(object) Py_CLEAR(st->object);
    EACH_CYCLE(DO_CLEAR)
    return 0;
}

static void module_free(void *module)
{
    xf_module *st = PyModule_GetState(module);
    (void)module_clear(module);
    EACH_OTHER(DO_CLEAR)
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "xtremeflow._core",
    .m_doc = PyDoc_STR("The native queue: limits, admission, the shared cooldown."),
    .m_size = sizeof(xf_module),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
    .m_free = module_free,
};

xf_module *xf_module_state(PyObject *module)
{
    if (module == NULL || PyModule_GetDef(module) != &module_def) {
        PyErr_Clear();
        return NULL;
    }
    return PyModule_GetState(module);
}

PyMODINIT_FUNC PyInit__core(void)
{
    return PyModuleDef_Init(&module_def);
}
