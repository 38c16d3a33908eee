#include "binding/call/owner.h"

#include "binding/call/call.h"
#include "binding/call/deliver.h"
#include "binding/call/run.h"
#include "binding/loop/loop.h"
#include "binding/loop/timer.h"

int xf_scheduler_check(SchedulerObject *s)
{
    if (!s->ready) {
        PyErr_Format(PyExc_RuntimeError, "%.100s.__init__() has not been called",
                     Py_TYPE(s)->tp_name);
        return -1;
    }
    return 0;
}

/* ---- its ports ---- */

/* The port of `loop`, borrowed, or NULL. */
static PortObject *find(const SchedulerObject *s, PyObject *loop)
{
    PortObject *port = s->ports;
    while (port != NULL && port->loop != loop) {
        port = port->next;
    }
    return port;
}

static PortObject *make(SchedulerObject *s, PyObject *loop)
{
    xf_port_purge_closed(s);
    PortObject *port = xf_port_new(s, s->st, loop, &xf_wake_def);
    PortObject *other = find(s, loop);
    if (port == NULL || other != NULL) { /* made by code that ran meanwhile */
        Py_XDECREF(port);
        return port != NULL ? other : NULL;
    }
    port->next = s->ports;
    s->ports = port;
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
            port = make(s, loop);
        }
        s->port = port;
    }
    Py_DECREF(loop);
    return port;
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

/* Ends the calls of loops that were closed before their tasks had ended, so that their slots are
   not lost. Drops these loops. */
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

void xf_port_detach_all(SchedulerObject *s)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *here = s->ports != NULL ? xf_running_loop(s->st) : NULL;
    s->port = NULL;
    for (PortObject *port; (port = s->ports) != NULL;) {
        s->ports = port->next;
        port->next = NULL;
        while (port->calls != NULL) {
            xf_call_unlink(port->calls);
        }
        xf_port_detach(port, here);
        Py_DECREF(port);
    }
    Py_XDECREF(here);
    PyErr_Restore(type, value, traceback);
}

/* ---- its time ---- */

int64_t xf_port_now(SchedulerObject *s, const PortObject *port)
{
    if (port == NULL) {
        port = s->port;
    }
    if (port == NULL) {
        PyObject *type, *value, *traceback;
        PyErr_Fetch(&type, &value, &traceback);
        port = xf_port_running(s);
        PyErr_Restore(type, value, traceback); /* drops that no loop runs */
    }
    int64_t now = xf_clock_now(port);
    return now >= 0 ? now : s->core.now; /* a failing clock counts as standing still */
}
