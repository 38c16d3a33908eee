/* Start: the return value of start_task(). Awaiting it waits for the admission and returns the
   task. */
#include "binding/call/start.h"

#include "binding/call/await.h"
#include "binding/call/call.h"
#include "binding/call/owner.h"
#include "binding/call/run.h"

/* ---- arguments ---- */

static bool is_awaitable(PyObject *o)
{
    return Py_TYPE(o)->tp_as_async != NULL && Py_TYPE(o)->tp_as_async->am_await != NULL;
}

/* Reads a whole number of any type, an int or one of NumPy's. It is INT64_MIN if it is none, or out
   of range. -1 with an error set if the conversion raises. */
static int parse_whole(PyObject *value, int64_t *whole)
{
    int overflow = 0;
    *whole = INT64_MIN;
    if (PyIndex_Check(value)) {
        PyObject *number = PyNumber_Index(value);
        if (number == NULL) {
            return -1;
        }
        const int64_t n = PyLong_AsLongLongAndOverflow(number, &overflow);
        Py_DECREF(number);
        *whole = overflow == 0 ? n : INT64_MIN;
    }
    return 0;
}

int xf_parse_priority(PyObject *value, int *priority)
{
    int64_t n;
    if (parse_whole(value, &n) < 0) {
        return -1;
    }
    if (n < XF_MIN_PRIORITY || n > XF_MAX_PRIORITY) {
        PyErr_Format(PyIndex_Check(value) ? PyExc_ValueError : PyExc_TypeError,
                     "priority must be a whole number from %d to %d, not %R", XF_MIN_PRIORITY,
                     XF_MAX_PRIORITY, value);
        return -1;
    }
    *priority = (int)n;
    return 0;
}

int xf_parse_timeout(PyObject *value, int64_t *timeout_ns)
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

int xf_parse_life(PyObject *value, int64_t *life_ns)
{
    if (value == Py_None) {
        return 0;
    }
    double seconds = PyFloat_AsDouble(value);
    if (seconds == -1.0 && PyErr_Occurred()) {
        PyErr_Format(PyExc_TypeError, "prefix_life must be a number of seconds or None, not %R",
                     value);
        return -1;
    }
    if (!(seconds >= 1e-9)) {
        PyErr_Format(PyExc_ValueError, "prefix_life must be > 0 seconds or None, not %R", value);
        return -1;
    }
    *life_ns = seconds < 9e9 ? (int64_t)(seconds * 1e9) : XF_NEVER;
    return 0;
}

static int parse_prefix_tokens(PyObject *value, int64_t *tokens)
{
    if (parse_whole(value, tokens) < 0) {
        return -1;
    }
    if (*tokens < 0) {
        PyErr_Format(PyIndex_Check(value) ? PyExc_ValueError : PyExc_TypeError,
                     "prefix_tokens must be a whole number >= 0, not %R", value);
        return -1;
    }
    return 0;
}

static int parse_keyword(xf_module *st, const char *method, PyObject *key, PyObject *value,
                         xf_submission *r)
{
    /* Names of keywords are nearly always interned. The comparison is for those that are not. */
    if (key == st->s_estimated_tokens || PyUnicode_Compare(key, st->s_estimated_tokens) == 0) {
        if (r->estimate != NULL) {
            PyErr_Format(PyExc_TypeError, "%s() got estimated_tokens twice", method);
            return -1;
        }
        r->estimate = value;
        return 0;
    }
    if (key == st->s_priority || PyUnicode_Compare(key, st->s_priority) == 0) {
        return xf_parse_priority(value, &r->priority);
    }
    if (key == st->s_timeout || PyUnicode_Compare(key, st->s_timeout) == 0) {
        return xf_parse_timeout(value, &r->timeout_ns);
    }
    if (key == st->s_name || PyUnicode_Compare(key, st->s_name) == 0) {
        r->name = value == Py_None ? NULL : value;
        return 0;
    }
    if (key == st->s_prefix || PyUnicode_Compare(key, st->s_prefix) == 0) {
        r->prefix.key = value == Py_None ? NULL : value;
        return 0;
    }
    if (key == st->s_prefix_tokens || PyUnicode_Compare(key, st->s_prefix_tokens) == 0) {
        return parse_prefix_tokens(value, &r->prefix.tokens);
    }
    if (key == st->s_prefix_life || PyUnicode_Compare(key, st->s_prefix_life) == 0) {
        return xf_parse_life(value, &r->prefix.life_ns);
    }
    PyErr_Format(PyExc_TypeError,
                 "%s() got an unexpected keyword argument %R; allowed are estimated_tokens, "
                 "priority, timeout, name, prefix, prefix_tokens and prefix_life",
                 method, key);
    return -1;
}

int xf_submission_parse(SchedulerObject *s, const char *method, PyObject *const *args,
                        Py_ssize_t nargs, PyObject *kwnames, xf_submission *r)
{
    xf_module *st = s->st;
    Py_ssize_t nkw = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
    *r = (xf_submission){.coro = nargs > 0 ? args[0] : NULL,
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
    if (r->prefix.key == NULL && r->prefix.tokens > 0) {
        PyErr_Format(PyExc_ValueError, "prefix_tokens must be 0 without prefix=, not %lld",
                     (long long)r->prefix.tokens);
        goto fail;
    }
    if (r->prefix.key == NULL && r->prefix.life_ns > 0) {
        PyErr_SetString(PyExc_ValueError, "prefix_life must be None without prefix=");
        goto fail;
    }
    return 0;
fail:
    xf_close_coro(r->coro);
    return -1;
}

/* ---- tasks ---- */

/* Does the work of loop.create_task(c, name=name). If that is asyncio's own method, without a task
   factory, it would do the same; the detour through Python costs 7 % of a whole task. */
static PyObject *new_task(CallObject *c, PyObject *name)
{
    xf_module *st = c->scheduler->st;
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
        return NULL;
    }
    XF_LOCK(c->scheduler);
    if (c->core.state != XF_CALL_DONE) { /* an eager task may have run to its end */
        c->task = Py_NewRef(task);
    }
    XF_UNLOCK();
    return task;
}

/* ---- the coroutine of start_task() ---- */

typedef enum start_state { START_NEW, START_WAITING, START_OVER } start_state;

typedef struct StartObject {
    PyObject_HEAD CallObject *call;
    PyObject *name;
    int64_t timeout_ns;
    start_state state;
} StartObject;

static const char qualified_name[] = "TaskScheduler.start_task";

PyObject *xf_start_new(CallObject *c_steal_ref, const xf_submission *r)
{
    StartObject *self = PyObject_GC_New(StartObject, c_steal_ref->scheduler->st->start_type);
    if (self == NULL) {
        xf_call_give_up(c_steal_ref);
        Py_DECREF(c_steal_ref);
        return NULL;
    }
    self->call = c_steal_ref;
    self->name = Py_XNewRef(r->name);
    self->timeout_ns = r->timeout_ns;
    self->state = START_NEW;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

/* Gives up a call that will not be started: it leaves the queue and its coroutine is closed. */
static void give_up(StartObject *self)
{
    CallObject *call = self->call;
    self->state = START_OVER;
    self->call = NULL;
    if (call != NULL) {
        xf_call_give_up(call);
        Py_DECREF(call);
    }
}

/* Steps up to the admission, which is PYGEN_RETURN without a result. */
static PySendResult wait(StartObject *self, PyObject **result)
{
    CallObject *call = self->call;
    *result = NULL;
    if (call == NULL || self->state == START_OVER) {
        xf_already_awaited();
        return PYGEN_ERROR;
    }
    if (self->state == START_NEW) {
        self->state = START_WAITING;
        Py_INCREF(call); /* code of a loop's own clock may close this coroutine */
        int r = xf_call_submit(call, self->timeout_ns);
        Py_DECREF(call);
        if (r < 0) {
            give_up(self);
            return PYGEN_ERROR;
        }
    }
    switch (call->core.state) {
    case XF_CALL_WAITING:
        call->blocking = true;
        *result = Py_NewRef(call);
        return PYGEN_NEXT;
    case XF_CALL_ADMITTED:
        return PYGEN_RETURN;
    case XF_CALL_EXPIRED:
        xf_set_timeout(call);
        break;
    default:
        PyErr_SetNone(call->scheduler->st->cancelled_error);
    }
    give_up(self);
    return PYGEN_ERROR;
}

static PySendResult start_am_send(PyObject *op, PyObject *Py_UNUSED(value), PyObject **result)
{
    StartObject *self = (StartObject *)op;
    CallObject *call = self->call;
    PySendResult status;
    if (call == NULL) {
        status = wait(self, result);
    } else {
        XF_LOCK(call->scheduler);
        status = wait(self, result);
        XF_UNLOCK();
    }
    if (status != PYGEN_RETURN) {
        return status;
    }
    self->state = START_OVER;
    self->call = NULL;
    *result = xf_create_task(call, self->name);
    Py_DECREF(call);
    return *result != NULL ? PYGEN_RETURN : PYGEN_ERROR;
}

static PyObject *start_send(PyObject *self, PyObject *value)
{
    PyObject *result;
    PySendResult status = start_am_send(self, value, &result);
    return xf_send_result(status, result);
}

static PyObject *start_iternext(PyObject *self)
{
    return start_send(self, Py_None);
}

static PyObject *start_throw(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    if (((StartObject *)self)->state == START_OVER) {
        return xf_already_awaited();
    }
    give_up((StartObject *)self);
    xf_set_thrown(args, nargs);
    return NULL;
}

static PyObject *start_close(PyObject *self, PyObject *Py_UNUSED(unused))
{
    give_up((StartObject *)self);
    Py_RETURN_NONE;
}

static void start_finalize(PyObject *op)
{
    StartObject *self = (StartObject *)op;
    if (self->state == START_OVER) {
        return;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (self->state == START_NEW &&
        PyErr_WarnFormat(PyExc_RuntimeWarning, 1, "coroutine '%s' was never awaited",
                         qualified_name) < 0) {
        PyErr_WriteUnraisable(op);
    }
    give_up(self);
    PyErr_Restore(type, value, traceback);
}

static int start_traverse(PyObject *op, visitproc visit, void *arg)
{
    StartObject *self = (StartObject *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->call);
    Py_VISIT(self->name);
    return 0;
}

static int start_clear(PyObject *op)
{
    StartObject *self = (StartObject *)op;
    self->state = START_OVER;
    Py_CLEAR(self->call);
    Py_CLEAR(self->name);
    return 0;
}

static void start_dealloc(PyObject *op)
{
    if (((StartObject *)op)->state != START_OVER && PyObject_CallFinalizerFromDealloc(op) < 0) {
        return;
    }
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    (void)start_clear(op);
    PyObject_GC_Del(op);
    Py_DECREF(type);
}

static PyObject *get_name(PyObject *Py_UNUSED(self), void *closure)
{
    return PyUnicode_FromString(closure);
}

static PyObject *get_none(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    Py_RETURN_NONE;
}

static PyObject *get_running(PyObject *Py_UNUSED(self), void *Py_UNUSED(closure))
{
    Py_RETURN_FALSE; /* C code is never seen in the middle */
}

static PyObject *get_await(PyObject *op, void *Py_UNUSED(closure))
{
    StartObject *self = (StartObject *)op;
    return Py_NewRef(self->state == START_WAITING ? (PyObject *)self->call : Py_None);
}

static PyMethodDef start_methods[] = {
    XF_AWAIT_METHOD(xf_await_method),
    {"send", start_send, METH_O, NULL},
    {"throw", XF_FUNCTION(start_throw), METH_FASTCALL, NULL},
    {"close", start_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef start_getset[] = {
    {"__name__", get_name, NULL, NULL, (void *)"start_task"},
    {"__qualname__", get_name, NULL, NULL, (void *)qualified_name},
    {"cr_await", get_await, NULL, NULL, NULL},
    {"cr_code", get_none, NULL, NULL, NULL},
    {"cr_frame", get_none, NULL, NULL, NULL},
    {"cr_running", get_running, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot start_slots[] = {
    {Py_tp_doc, (void *)"The coroutine of start_task()."},
    {Py_tp_dealloc, start_dealloc},
    {Py_tp_finalize, start_finalize},
    {Py_tp_traverse, start_traverse},
    {Py_tp_clear, start_clear},
    {Py_tp_methods, start_methods},
    {Py_tp_getset, start_getset},
    {Py_tp_iternext, start_iternext},
    {Py_am_await, PyObject_SelfIter},
    {Py_am_send, start_am_send},
    {0, NULL},
};

PyType_Spec xf_start_spec = {
    .name = "xtremeflow._core.Start",
    .basicsize = sizeof(StartObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = start_slots,
};
