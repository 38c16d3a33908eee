/* What the coroutine types, Start and Call, have in common. */
#include "binding/binding.h"

/* ---- the coroutine protocol ---- */

PyObject *xf_send_result(PySendResult status, PyObject *result_steal_ref)
{
    if (status == PYGEN_RETURN) {
        /* Not PyErr_SetObject with the bare value: a tuple would be taken for arguments. */
        PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, result_steal_ref);
        Py_CLEAR(result_steal_ref);
        if (stop != NULL) {
#if PY_VERSION_HEX >= 0x030C0000
            PyErr_SetRaisedException(stop);
#else
            PyErr_SetObject(PyExc_StopIteration, stop);
            Py_DECREF(stop);
#endif
        }
    }
    return result_steal_ref;
}

PyObject *xf_await_method(PyObject *self, PyTypeObject *cls, PyObject *const *args,
                          Py_ssize_t nargs, PyObject *kwnames)
{
    (void)args;
    if (nargs > 0 || kwnames != NULL) {
        PyErr_SetString(PyExc_TypeError, "__await__() takes no arguments");
        return NULL;
    }
    module_state *st = PyType_GetModuleState(cls);
    return xf_steps_new(st->steps_type, self);
}

void xf_set_thrown(PyObject *const *args, Py_ssize_t nargs)
{
    PyObject *type = nargs > 0 ? args[0] : Py_None;
    PyObject *value = nargs > 1 ? args[1] : Py_None;
    PyObject *traceback = nargs > 2 ? args[2] : Py_None;
    if (PyExceptionInstance_Check(type) && value == Py_None) {
        value = type;
        type = PyExceptionInstance_Class(type);
    } else if (!PyExceptionClass_Check(type)) {
        PyErr_Format(PyExc_TypeError, "exceptions must be classes or instances, not %.100s",
                     Py_TYPE(type)->tp_name);
        return;
    }
    if (traceback == Py_None) {
        traceback = PyExceptionInstance_Check(value) ? PyException_GetTraceback(value) : NULL;
    } else {
        Py_INCREF(traceback);
    }
    Py_INCREF(type);
    PyErr_Restore(type, value == Py_None ? NULL : Py_NewRef(value), traceback);
}

PyObject *xf_already_awaited(void)
{
    PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    return NULL;
}

void xf_close_coro(PyObject *coro)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *r = PyObject_CallMethod(coro, "close", NULL);
    if (r == NULL && PyErr_ExceptionMatches(PyExc_AttributeError)) {
        PyErr_Clear(); /* some other awaitable */
    } else if (r == NULL) {
        PyErr_WriteUnraisable(coro);
    }
    Py_XDECREF(r);
    PyErr_Restore(type, value, traceback);
}

/* ---- arguments ---- */

static bool is_awaitable(PyObject *o)
{
    return Py_TYPE(o)->tp_as_async != NULL && Py_TYPE(o)->tp_as_async->am_await != NULL;
}

static int parse_priority(PyObject *value, int *priority)
{
    int overflow = 0;
    long n = PyLong_Check(value) ? PyLong_AsLongAndOverflow(value, &overflow) : LONG_MIN;
    if (overflow != 0 || n < XF_MIN_PRIORITY || n > XF_MAX_PRIORITY) {
        PyErr_Format(PyLong_Check(value) ? PyExc_ValueError : PyExc_TypeError,
                     "priority must be a whole number from %d to %d, not %R", XF_MIN_PRIORITY,
                     XF_MAX_PRIORITY, value);
        return -1;
    }
    *priority = (int)n;
    return 0;
}

static int parse_timeout(PyObject *value, int64_t *timeout_ns)
{
    if (value == Py_None) {
        return 0;
    }
    double seconds = PyFloat_AsDouble(value);
    if (seconds == -1.0 && PyErr_Occurred()) {
        PyErr_Format(PyExc_TypeError, "timeout must be a number of seconds or None, not %R", value);
        return -1;
    }
    if (!(seconds >= 0)) {
        PyErr_Format(PyExc_ValueError, "timeout must be >= 0 seconds or None, not %R", value);
        return -1;
    }
    if (seconds < 9e9) {
        *timeout_ns = (int64_t)(seconds * 1e9);
    }
    return 0;
}

static int parse_keyword(module_state *st, const char *method, PyObject *key, PyObject *value,
                         xf_request *r)
{
    /* Names of keywords are interned nearly always; the comparison is for the other times. */
    if (key == st->s_estimated_tokens || PyUnicode_Compare(key, st->s_estimated_tokens) == 0) {
        if (r->estimate != NULL) {
            PyErr_Format(PyExc_TypeError, "%s() got estimated_tokens twice", method);
            return -1;
        }
        r->estimate = value;
        return 0;
    }
    if (key == st->s_priority || PyUnicode_Compare(key, st->s_priority) == 0) {
        return parse_priority(value, &r->priority);
    }
    if (key == st->s_timeout || PyUnicode_Compare(key, st->s_timeout) == 0) {
        return parse_timeout(value, &r->timeout_ns);
    }
    if (key == st->s_name || PyUnicode_Compare(key, st->s_name) == 0) {
        r->name = value == Py_None ? NULL : value;
        return 0;
    }
    PyErr_Format(PyExc_TypeError,
                 "%s() got an unexpected keyword argument %R; allowed are estimated_tokens, "
                 "priority, timeout and name",
                 method, key);
    return -1;
}

int xf_request_parse(SchedulerObject *s, const char *method, PyObject *const *args,
                     Py_ssize_t nargs, PyObject *kwnames, xf_request *r)
{
    module_state *st = s->st;
    Py_ssize_t nkw = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
    *r = (xf_request){.coro = nargs > 0 ? args[0] : NULL,
                      .estimate = nargs > 1 ? args[1] : NULL,
                      .timeout_ns = -1};
    for (Py_ssize_t i = 0; i < nkw && nargs == 0; i++) {
        if (PyUnicode_Compare(PyTuple_GET_ITEM(kwnames, i), st->s_coro) == 0) {
            r->coro = args[i];
        }
    }
    if (r->coro == NULL) {
        PyErr_Format(PyExc_TypeError, "%s() missing 1 required argument: 'coro'", method);
        return -1;
    }
    if (!is_awaitable(r->coro)) {
        PyErr_Format(PyExc_TypeError, "coro must be a coroutine, not %R", r->coro);
        return -1;
    }
    if (!s->ready) {
        PyErr_Format(PyExc_RuntimeError, "%.100s.__init__() has not been called",
                     Py_TYPE(s)->tp_name);
        goto fail;
    }
    if (nargs > 2) {
        PyErr_Format(PyExc_TypeError,
                     "%s() takes 1 or 2 positional arguments (coro, estimated_tokens), %zd given",
                     method, nargs);
        goto fail;
    }
    for (Py_ssize_t i = 0; i < nkw; i++) {
        PyObject *key = PyTuple_GET_ITEM(kwnames, i), *value = args[nargs + i];
        if (nargs == 0 && value == r->coro && PyUnicode_Compare(key, st->s_coro) == 0) {
            continue;
        }
        if (parse_keyword(st, method, key, value, r) < 0) {
            goto fail;
        }
    }
    return 0;
fail:
    xf_close_coro(r->coro);
    return -1;
}

/* ---- tasks ---- */

void xf_set_timeout(const CallObject *c)
{
    PyErr_SetString(c->scheduler->st->timeout_error,
                    "the call was not admitted within its timeout");
}

/* loop.create_task(c, name=name). Where that is asyncio's own method and no task factory is set, it
   would do nothing but what is done here; the detour through Python costs 7 % of a whole task. */
static PyObject *new_task(CallObject *c, PyObject *name)
{
    module_state *st = c->scheduler->st;
    PortObject *port = c->port;
    if (port->has_plain_tasks) {
        PyObject *factory = PyObject_GetAttr(port->loop, st->s_task_factory);
        Py_XDECREF(factory);
        if (factory == Py_None) {
            PyObject *args[3] = {(PyObject *)c, port->loop, name};
            return PyObject_Vectorcall(st->task_type, args, 1,
                                       name != NULL ? st->kw_loop_name : st->kw_loop);
        }
        PyErr_Clear();
    }
    PyObject *args[3] = {port->loop, (PyObject *)c, name};
    return PyObject_VectorcallMethod(st->s_create_task, args, 2 | PY_VECTORCALL_ARGUMENTS_OFFSET,
                                     name != NULL ? st->kw_name : NULL);
}

PyObject *xf_create_task(CallObject *c, PyObject *name)
{
    PyObject *task = new_task(c, name);
    if (task == NULL) {
        xf_call_give_up(c);
    } else if (c->core.state != XF_DONE) { /* an eager task may have run to its end */
        c->task = Py_NewRef(task);
    }
    return task;
}
