/* Ports: the event loops in which a scheduler's calls wait and run. */
#include "binding/loop/port.h"

#include "binding/call/call.h"
#include "binding/call/run.h"
#include "binding/loop/deliver.h"
#include "binding/loop/timer.h"
#include "binding/scheduler/scheduler.h"

/* ---- loops that were closed ---- */

bool xf_port_is_closed(const PortObject *port)
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
void xf_port_purge_closed(SchedulerObject *s)
{
    PortObject *next, *port = s->ports;
    for (Py_XINCREF(port); port != NULL; port = next) {
        bool closed = xf_port_is_closed(port); /* meanwhile the list may have changed */
        next = port->next;
        Py_XINCREF(next);
        if (closed && take_out(s, port)) {
            while (port->calls != NULL) {
                CallObject *c = (CallObject *)Py_NewRef(port->calls);
                Py_CLEAR(c->retries);
                xf_call_abandon(c);
                Py_DECREF(c);
            }
            Py_CLEAR(port->woken);
            port->scheduler = NULL;
            Py_DECREF(port);
        }
        Py_DECREF(port);
    }
}

void xf_port_purge_others(SchedulerObject *s)
{
    if (s->ports != NULL && s->ports->next != NULL) {
        xf_port_purge_closed(s);
    }
}

/* ---- life ---- */

static int has_plain_tasks(xf_module *st, PyObject *loop)
{
    PyObject *method = PyObject_GetAttr(loop, st->s_create_task);
    if (method == NULL) {
        return -1;
    }
    bool plain = PyMethod_Check(method) && PyMethod_GET_FUNCTION(method) == st->base_create_task;
    Py_DECREF(method);
    return plain;
}

/* The port of `loop`, borrowed, or NULL. */
static PortObject *find(const SchedulerObject *s, PyObject *loop)
{
    PortObject *port = s->ports;
    while (port != NULL && port->loop != loop) {
        port = port->next;
    }
    return port;
}

static PortObject *port_new(SchedulerObject *s, PyObject *loop)
{
    xf_module *st = s->st;
    int own_clock = xf_has_own_clock(st, loop), plain_tasks = has_plain_tasks(st, loop);
    if (own_clock < 0 || plain_tasks < 0) {
        return NULL;
    }
    PortObject *port = find(s, loop);
    if (port != NULL) {
        return port; /* made by what was run meanwhile */
    }
    PyObject *reference = PyWeakref_NewRef((PyObject *)s, NULL);
    if (reference == NULL) {
        return NULL;
    }
    port = PyObject_GC_New(PortObject, st->port_type);
    if (port == NULL) {
        Py_DECREF(reference);
        return NULL;
    }
    port->st = st;
    port->scheduler = s;
    port->reference = reference;
    port->loop = Py_NewRef(loop);
    port->next = s->ports;
    port->calls = NULL;
    port->woken = NULL;
    port->handle = NULL;
    port->armed_at = XF_NEVER;
    port->not_before = 0;
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
    PyObject *loop = xf_running_loop(s->st);
    if (loop == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "no running event loop");
        return NULL;
    }
    PortObject *port = s->port;
    if (port == NULL || port->loop != loop) {
        port = find(s, loop);
        if (port == NULL) {
            xf_port_purge_closed(s);
            port = port_new(s, loop);
        }
        s->port = port;
    }
    Py_DECREF(loop);
    return port;
}

SchedulerObject *xf_port_scheduler(const PortObject *port)
{
    PyObject *s = NULL;
    if (port->reference != NULL) {
#if PY_VERSION_HEX >= 0x030D0000
        (void)PyWeakref_GetRef(port->reference, &s);
#else
        s = PyWeakref_GetObject(port->reference);
        s = s != Py_None ? Py_XNewRef(s) : NULL;
#endif
    }
    return (SchedulerObject *)s;
}

/* On the loop's own thread, or when the loop is closed. */
static PyObject *port_close(PyObject *self, PyObject *Py_UNUSED(unused))
{
    xf_timer_close((PortObject *)self);
    Py_RETURN_NONE;
}

static PyMethodDef close_def = {"close", port_close, METH_NOARGS, NULL};

void xf_port_detach_all(SchedulerObject *s)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *here = s->ports != NULL ? xf_running_loop(s->st) : NULL;
    s->port = NULL;
    for (PortObject *port; (port = s->ports) != NULL;) {
        s->ports = port->next;
        port->next = NULL;
        port->scheduler = NULL;
        if (port->loop == NULL) {
            /* cleared by the garbage collector */
        } else if (port->loop == here) {
            xf_timer_close(port);
        } else if (port->timerfd >= 0 || port->handle != NULL) {
            PyObject *close = PyCFunction_New(&close_def, (PyObject *)port);
            if (close == NULL || xf_port_call_soon(port, here, close, NULL, NULL) < 0) {
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
    Py_VISIT(port->reference);
    Py_VISIT(port->loop);
    Py_VISIT(port->handle);
    Py_VISIT(port->woken);
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
    Py_CLEAR(port->woken);
    Py_CLEAR(port->handle);
    Py_CLEAR(port->reference);
    Py_CLEAR(port->loop);
    return 0;
}

static void port_dealloc(PyObject *self)
{
    PortObject *port = (PortObject *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    xf_timer_drop(port);
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
