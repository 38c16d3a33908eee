/* Ports: the event loops in which a scheduler's calls wait and run. */
#include "binding/loop/port.h"

#include "binding/loop/poke.h"
#include "binding/loop/timer.h"

#include "core/call.h"

#ifndef _WIN32
#include <unistd.h>
#endif

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

PortObject *xf_port_new(SchedulerObject *s, xf_module *st, PyObject *loop, PyMethodDef *wake)
{
    int own_clock = xf_has_own_clock(st, loop), plain_tasks = has_plain_tasks(st, loop);
    if (own_clock < 0 || plain_tasks < 0) {
        return NULL;
    }
    PyObject *reference = PyWeakref_NewRef((PyObject *)s, NULL);
    PortObject *port = reference != NULL ? PyObject_GC_New(PortObject, st->port_type) : NULL;
    if (port == NULL) {
        Py_XDECREF(reference);
        return NULL;
    }
    port->st = st;
    port->scheduler = s;
    port->reference = reference;
    port->loop = Py_NewRef(loop);
    port->next = NULL;
    port->calls = NULL;
    port->woken = NULL;
    port->wake = wake;
    port->handle = NULL;
    port->armed_at = XF_NEVER;
    port->not_before = 0;
    port->poke_fd = -1;
    port->timerfd = -1;
    port->own_clock = own_clock;
    port->has_plain_tasks = plain_tasks;
    port->no_reader = false;
    port->prepared = false;
    PyObject_GC_Track(port);
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

bool xf_port_is_closed(const PortObject *port)
{
    PyObject *closed = PyObject_CallMethodNoArgs(port->loop, port->st->s_is_closed);
    if (closed == NULL) {
        PyErr_Clear();
    }
    Py_XDECREF(closed);
    return closed == Py_True;
}

int xf_port_call_soon(PortObject *port, PyObject *here, PyObject *callback, PyObject *arg,
                      PyObject *context)
{
    xf_module *st = port->st;
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

bool xf_port_cannot_watch(void)
{
    return PyErr_ExceptionMatches(PyExc_NotImplementedError) ||
           PyErr_ExceptionMatches(PyExc_AttributeError);
}

void xf_port_unwatch(PortObject *port, int *watched)
{
    int fd = *watched;
    *watched = -1;
#ifdef _WIN32
    (void)port; /* there is none */
    (void)fd;
#else
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
#endif
}

/* On the loop's own thread, or when the loop is closed. */
static PyObject *port_close(PyObject *self, PyObject *Py_UNUSED(unused))
{
    xf_timer_close((PortObject *)self);
    xf_poke_close((PortObject *)self);
    Py_RETURN_NONE;
}

static PyMethodDef close_def = {"close", port_close, METH_NOARGS, NULL};

void xf_port_detach(PortObject *port, PyObject *here)
{
    port->scheduler = NULL;
    if (port->loop == NULL) {
        /* cleared by the garbage collector */
    } else if (port->loop == here) {
        xf_timer_close(port);
        xf_poke_close(port);
    } else if (port->timerfd >= 0 || port->poke_fd >= 0 || port->handle != NULL) {
        PyObject *close = PyCFunction_New(&close_def, (PyObject *)port);
        if (close == NULL || xf_port_call_soon(port, here, close, NULL, NULL) < 0) {
            PyErr_Clear();
        }
        Py_XDECREF(close);
    }
}

static int port_traverse(PyObject *self, visitproc visit, void *arg)
{
    PortObject *port = (PortObject *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(port->reference);
    Py_VISIT(port->loop);
    Py_VISIT(port->handle);
    Py_VISIT(port->woken);
    return 0;
}

static int port_clear(PyObject *self)
{
    PortObject *port = (PortObject *)self;
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
    xf_poke_drop(port);
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
