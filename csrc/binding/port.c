/* Event loops: clocks, timers, and waking calls in the loop that they belong to. */
#include "binding/binding.h"

#include <math.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/timerfd.h>
#endif

#define NS_PER_S 1000000000

/* ---- clocks ---- */

static int64_t system_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

static double loop_time(const PortObject *port)
{
    PyObject *t = PyObject_CallMethodNoArgs(port->loop, port->st->s_time);
    double seconds = t == NULL ? -1.0 : PyFloat_AsDouble(t);
    Py_XDECREF(t);
    return seconds;
}

int64_t xf_port_now(SchedulerObject *s, const PortObject *port)
{
    if (port == NULL) {
        port = s->port;
    }
    if (port != NULL && !port->own_clock) {
        return system_now();
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (port == NULL && ((port = xf_port_running(s)) == NULL || !port->own_clock)) {
        PyErr_Restore(type, value, traceback); /* drops that no loop runs */
        return system_now();
    }
    double seconds = loop_time(port);
    if (PyErr_Occurred()) {
        PyErr_WriteUnraisable(port->loop);
    }
    PyErr_Restore(type, value, traceback);
    /* A clock that fails stands still. */
    return seconds >= 0 ? (int64_t)nearbyint(seconds * 1e9) : s->core.now;
}

/* Whether a loop's method time() is uvloop's, which tells the monotonic clock too. */
static bool is_uvloop_time(PyObject *time)
{
    PyObject *module = PyObject_GetAttrString(time, "__module__");
    bool is = module != NULL && PyUnicode_Check(module) &&
              PyUnicode_CompareWithASCIIString(module, "uvloop.loop") == 0;
    Py_XDECREF(module);
    PyErr_Clear();
    return is;
}

/* Whether the loop's time is something else than the system's monotonic clock: a virtual clock. */
static int has_own_clock(module_state *st, PyObject *loop)
{
    PyObject *time = PyObject_GetAttr((PyObject *)Py_TYPE(loop), st->s_time);
    if (time == NULL) {
        return -1;
    }
    bool own = time != st->base_time && !is_uvloop_time(time);
    Py_DECREF(time);
    return own;
}

/* ---- the timer ---- */

static PyObject *port_wake(PyObject *self, PyObject *unused);
static PyObject *port_close(PyObject *self, PyObject *unused);
static PyMethodDef wake_def = {"wake", port_wake, METH_NOARGS, NULL};
static PyMethodDef close_def = {"close", port_close, METH_NOARGS, NULL};

#ifdef __linux__
static void set_timerfd(int fd, int64_t at)
{
    struct itimerspec t = {{0, 0}, {0, 0}};
    if (at != XF_NEVER) {
        /* An instant of 0 would disarm it. */
        at = at > 0 ? at : 1;
        t.it_value.tv_sec = (time_t)(at / NS_PER_S);
        t.it_value.tv_nsec = (long)(at % NS_PER_S);
    }
    (void)timerfd_settime(fd, TFD_TIMER_ABSTIME, &t, NULL);
}

/* Opens a timerfd and puts it into the loop. Returns -1 with an error set. */
static int open_timerfd(PortObject *port)
{
    int result = -1;
    PyObject *wake = NULL, *number = NULL, *added = NULL;
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (fd < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    wake = PyCFunction_New(&wake_def, (PyObject *)port);
    number = PyLong_FromLong(fd);
    if (wake == NULL || number == NULL) {
        goto done;
    }
    added = PyObject_CallMethodObjArgs(port->loop, port->st->s_add_reader, number, wake, NULL);
    if (added == NULL) {
        goto done;
    }
    port->timerfd = fd;
    fd = -1;
    result = 0;
done:
    if (fd >= 0) {
        close(fd);
    }
    Py_XDECREF(wake);
    Py_XDECREF(number);
    Py_XDECREF(added);
    return result;
}
#endif

int xf_port_prepare(PortObject *port)
{
#ifdef __linux__
    if (port->timerfd < 0 && !port->own_clock && !port->no_reader && open_timerfd(port) < 0) {
        /* A loop without add_reader(), or no descriptor to be had: its own timer will do. */
        if (!PyErr_ExceptionMatches(PyExc_NotImplementedError) &&
            !PyErr_ExceptionMatches(PyExc_AttributeError) &&
            !PyErr_ExceptionMatches(PyExc_OSError)) {
            return -1;
        }
        PyErr_Clear();
        port->no_reader = true;
    }
#endif
    port->prepared = true;
    return 0;
}

static void cancel_handle(PortObject *port)
{
    PyObject *handle = port->handle;
    if (handle != NULL) {
        port->handle = NULL;
        PyObject *r = PyObject_CallMethodNoArgs(handle, port->st->s_cancel);
        if (r == NULL) {
            PyErr_WriteUnraisable(handle);
        }
        Py_XDECREF(r);
        Py_DECREF(handle);
    }
}

/* loop.call_at(), for loops where a timerfd cannot be. */
static int call_at(PortObject *port, int64_t at)
{
    int64_t now = xf_port_now(port->scheduler, port);
    double seconds = loop_time(port);
    if (PyErr_Occurred()) {
        return -1;
    }
    PyObject *wake = PyCFunction_New(&wake_def, (PyObject *)port);
    PyObject *when = PyFloat_FromDouble(seconds + (double)(at - now) * 1e-9);
    cancel_handle(port);
    if (wake != NULL && when != NULL) {
        port->handle =
            PyObject_CallMethodObjArgs(port->loop, port->st->s_call_at, when, wake, NULL);
    }
    Py_XDECREF(wake);
    Py_XDECREF(when);
    return port->handle != NULL ? 0 : -1;
}

/* Calls `callback(arg)` soon in the port's loop; arg and context may be NULL. */
static int call_soon(PortObject *port, PyObject *here, PyObject *callback, PyObject *arg,
                     PyObject *context)
{
    module_state *st = port->st;
    PyObject *args[4] = {port->loop, callback};
    size_t n = 2;
    if (arg != NULL) {
        args[n++] = arg;
    }
    args[n] = context;
    PyObject *handle = PyObject_VectorcallMethod(
        port->loop == here ? st->s_call_soon : st->s_call_soon_threadsafe, args,
        n | PY_VECTORCALL_ARGUMENTS_OFFSET, context != NULL ? st->kw_context : NULL);
    if (handle == NULL) {
        return -1;
    }
    Py_DECREF(handle);
    return 0;
}

/* Makes sure that the port wakes at `at` or before. -1 with an error set. */
static int arm(PortObject *port, PyObject *here, int64_t at)
{
    if (at >= port->armed_at) {
        return 0;
    }
#ifdef __linux__
    if (port->timerfd >= 0) {
        port->armed_at = at;
        set_timerfd(port->timerfd, at);
        return 0;
    }
#endif
    if (port->loop == here) {
        if (!port->prepared && xf_port_prepare(port) < 0) {
            return -1;
        }
        if (port->timerfd >= 0) {
            return arm(port, here, at);
        }
        port->armed_at = at;
        return call_at(port, at);
    }
    /* Only the loop's own thread may touch its timers: have it look for itself. */
    PyObject *wake = PyCFunction_New(&wake_def, (PyObject *)port);
    int r = wake == NULL ? -1 : call_soon(port, here, wake, NULL, NULL);
    Py_XDECREF(wake);
    return r;
}

static PyObject *port_wake(PyObject *self, PyObject *Py_UNUSED(unused))
{
    PortObject *port = (PortObject *)self;
    SchedulerObject *s = port->scheduler;
    if (s == NULL) {
        Py_RETURN_NONE;
    }
    Py_INCREF(s);
    int64_t now = xf_port_now(s, port);
    if (port->own_clock && now < port->armed_at && port->armed_at != XF_NEVER &&
        port->armed_at - now < 1000) {
        now = port->armed_at; /* a float clock may fall short by its rounding */
    }
    port->armed_at = XF_NEVER;
    Py_CLEAR(port->handle);
    xf_poll(&s->core, now);
    xf_deliver(s);
#ifdef __linux__
    if (port->timerfd >= 0 && port->armed_at == XF_NEVER) {
        set_timerfd(port->timerfd, XF_NEVER); /* or it stays readable */
    }
#endif
    Py_DECREF(s);
    Py_RETURN_NONE;
}

/* ---- loops that were closed ---- */

static bool is_closed(const PortObject *port)
{
    PyObject *closed = PyObject_CallMethodNoArgs(port->loop, port->st->s_is_closed);
    if (closed == NULL) {
        PyErr_Clear();
    }
    Py_XDECREF(closed);
    return closed == Py_True;
}

/* False: another thread has taken it out already. */
static bool take_out(SchedulerObject *s, PortObject *port)
{
    PortObject **link = &s->ports;
    while (*link != NULL && *link != port) {
        link = &(*link)->next;
    }
    if (*link == NULL) {
        return false;
    }
    *link = port->next;
    port->next = NULL;
    if (s->port == port) {
        s->port = NULL;
    }
    return true;
}

/* Ends the calls of loops that were closed without their tasks having been cancelled, so that
   their slots are not lost, and lets go of these loops. */
static void purge_closed(SchedulerObject *s)
{
    PortObject *next, *port = s->ports;
    for (Py_XINCREF(port); port != NULL; port = next) {
        bool closed = is_closed(port); /* meanwhile the list may have changed */
        next = port->next;
        Py_XINCREF(next);
        if (closed && take_out(s, port)) {
            while (port->calls != NULL) {
                Py_CLEAR(port->calls->retries);
                xf_call_end(port->calls, XF_CANCELLED);
            }
            port->scheduler = NULL;
            Py_DECREF(port);
        }
        Py_DECREF(port);
    }
}

void xf_port_purge_others(SchedulerObject *s)
{
    if (s->ports != NULL && s->ports->next != NULL) {
        purge_closed(s);
    }
}

/* ---- delivery ---- */

static PyObject *running_loop(module_state *st)
{
    PyObject *loop = PyObject_CallNoArgs(st->get_running_loop);
    if (loop == NULL) {
        PyErr_Clear();
    } else if (loop == Py_None) {
        Py_CLEAR(loop);
    }
    return loop;
}

static bool is_armed(xf_call *c, int64_t at)
{
    return c == NULL || at >= xf_call_of(c)->port->armed_at;
}

static void arm_for(SchedulerObject *s, xf_call *c, PyObject *here, int64_t at)
{
    if (!is_armed(c, at)) {
        PortObject *port = (PortObject *)Py_NewRef(xf_call_of(c)->port);
        if (port->loop != here && is_closed(port)) {
            purge_closed(s);
        } else if (arm(port, here, at) < 0) {
            PyErr_WriteUnraisable((PyObject *)port);
        }
        Py_DECREF(port);
    }
}

void xf_deliver(SchedulerObject *s)
{
    int64_t head_at, deadline;
    xf_call *head = xf_head(&s->core, &head_at);
    xf_call *first = xf_first_deadline(&s->core, &deadline);
    if (s->core.outbox == NULL && is_armed(head, head_at) && is_armed(first, deadline) &&
        !xf_scheduler_may_be_drained(s)) {
        return;
    }
    if (s->delivering) {
        return; /* from within a wake-up: the loop below goes on */
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    Py_INCREF(s);
    PyObject *here = running_loop(s->st);
    s->delivering = true;
    for (xf_call *c; (c = xf_collect(&s->core)) != NULL;) {
        CallObject *call = xf_call_of(c);
        Py_INCREF(call);
        if (!xf_call_wake(call, here)) {
            xf_call_end(call, XF_CANCELLED);
        }
        Py_DECREF(call);
    }
    s->delivering = false;
    head = xf_head(&s->core, &head_at);
    arm_for(s, head, here, head_at);
    first = xf_first_deadline(&s->core, &deadline);
    arm_for(s, first, here, deadline);
    xf_scheduler_drained(s, here);
    Py_XDECREF(here);
    Py_DECREF(s);
    PyErr_Restore(type, value, traceback);
}

bool xf_call_wake(CallObject *c, PyObject *here)
{
    if (c->retries != NULL) {
        return xf_call_repeat(c, here);
    }
    PyObject *callback = c->callback, *context = c->context;
    if (callback == NULL) {
        return true;
    }
    c->callback = NULL;
    c->context = NULL;
    int r = call_soon(c->port, here, callback, (PyObject *)c, context);
    Py_DECREF(callback);
    Py_XDECREF(context);
    if (r < 0) {
        PyErr_Clear();
    }
    return r == 0;
}

/* Runs on the future's own loop. */
PyObject *xf_resolve_now(PyObject *module, PyObject *future)
{
    module_state *st = PyModule_GetState(module);
    PyObject *done = PyObject_CallMethodNoArgs(future, st->s_done);
    int is_done = done == NULL ? -1 : PyObject_IsTrue(done);
    Py_XDECREF(done);
    if (is_done < 0) {
        return NULL;
    }
    return is_done ? Py_NewRef(Py_None)
                   : PyObject_CallMethodOneArg(future, st->s_set_result, Py_None);
}

int xf_resolve(module_state *st, PyObject *future, PyObject *here)
{
    PyObject *r = NULL, *loop = PyObject_CallMethodNoArgs(future, st->s_get_loop);
    if (loop != NULL && loop == here) {
        r = PyObject_CallOneArg(st->resolve, future);
    } else if (loop != NULL) {
        r = PyObject_CallMethodObjArgs(loop, st->s_call_soon_threadsafe, st->resolve, future, NULL);
    }
    Py_XDECREF(loop);
    Py_XDECREF(r);
    return r == NULL ? -1 : 0;
}

/* ---- life ---- */

static int has_plain_tasks(module_state *st, PyObject *loop)
{
    PyObject *method = PyObject_GetAttr(loop, st->s_create_task);
    if (method == NULL) {
        return -1;
    }
    bool plain = PyMethod_Check(method) && PyMethod_GET_FUNCTION(method) == st->base_create_task;
    Py_DECREF(method);
    return plain;
}

static PortObject *port_new(SchedulerObject *s, PyObject *loop)
{
    module_state *st = s->st;
    int own_clock = has_own_clock(st, loop), plain_tasks = has_plain_tasks(st, loop);
    if (own_clock < 0 || plain_tasks < 0) {
        return NULL;
    }
    PortObject *port = PyObject_GC_New(PortObject, st->port_type);
    if (port == NULL) {
        return NULL;
    }
    port->st = st;
    port->scheduler = s;
    port->loop = Py_NewRef(loop);
    port->next = s->ports;
    port->calls = NULL;
    port->handle = NULL;
    port->armed_at = XF_NEVER;
    port->timerfd = -1;
    port->own_clock = own_clock;
    port->has_plain_tasks = plain_tasks;
    port->no_reader = false;
    port->prepared = false;
    s->ports = port;
    PyObject_GC_Track(port);
    return port;
}

PortObject *xf_port_running(SchedulerObject *s)
{
    PyObject *loop = running_loop(s->st);
    if (loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "no running event loop");
        return NULL;
    }
    PortObject *port = s->port;
    if (port == NULL || port->loop != loop) {
        for (port = s->ports; port != NULL && port->loop != loop; port = port->next) {
        }
        if (port == NULL) {
            purge_closed(s);
            port = port_new(s, loop);
        }
        s->port = port;
    }
    Py_DECREF(loop);
    return port;
}

/* Gives the timer back; on the loop's own thread, or when the loop is closed. */
static PyObject *port_close(PyObject *self, PyObject *Py_UNUSED(unused))
{
    PortObject *port = (PortObject *)self;
    int fd = port->timerfd;
    port->timerfd = -1;
    cancel_handle(port);
    if (fd >= 0) {
        PyObject *number = PyLong_FromLong(fd), *r = NULL;
        if (number != NULL) {
            r = PyObject_CallMethodOneArg(port->loop, port->st->s_remove_reader, number);
        }
        if (r == NULL) {
            PyErr_Clear(); /* the loop is closed, and has forgotten it itself */
        }
        Py_XDECREF(r);
        Py_XDECREF(number);
        close(fd);
    }
    Py_RETURN_NONE;
}

void xf_port_detach_all(SchedulerObject *s)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *here = s->ports != NULL ? running_loop(s->st) : NULL;
    s->port = NULL;
    for (PortObject *port; (port = s->ports) != NULL;) {
        s->ports = port->next;
        port->next = NULL;
        port->scheduler = NULL;
        if (port->loop == NULL) {
            /* cleared by the garbage collector */
        } else if (port->loop == here) {
            Py_DECREF(port_close((PyObject *)port, NULL));
        } else if (port->timerfd >= 0 || port->handle != NULL) {
            PyObject *close = PyCFunction_New(&close_def, (PyObject *)port);
            if (close == NULL || call_soon(port, here, close, NULL, NULL) < 0) {
                PyErr_Clear();
            }
            Py_XDECREF(close);
        }
        Py_DECREF(port);
    }
    Py_XDECREF(here);
    PyErr_Restore(type, value, traceback);
}

static int port_traverse(PyObject *self, visitproc visit, void *arg)
{
    PortObject *port = (PortObject *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(port->loop);
    Py_VISIT(port->handle);
    for (CallObject *c = port->calls; c != NULL; c = c->next) {
        Py_VISIT(c);
    }
    return 0;
}

static int port_clear(PyObject *self)
{
    PortObject *port = (PortObject *)self;
    while (port->calls != NULL) {
        xf_call_unlink(port->calls);
    }
    Py_CLEAR(port->handle);
    Py_CLEAR(port->loop);
    return 0;
}

static void port_dealloc(PyObject *self)
{
    PortObject *port = (PortObject *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (port->timerfd >= 0) {
        close(port->timerfd);
    }
    (void)port_clear(self);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyType_Slot port_slots[] = {
    {Py_tp_dealloc, port_dealloc},
    {Py_tp_traverse, port_traverse},
    {Py_tp_clear, port_clear},
    {0, NULL},
};

PyType_Spec xf_port_spec = {
    .name = "xtremeflow._core.Port",
    .basicsize = sizeof(PortObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = port_slots,
};
