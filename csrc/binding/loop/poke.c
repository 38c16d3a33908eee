#include "binding/loop/poke.h"

#ifdef _WIN32
/* Where there is no POSIX, no process shares anything with another. */
int xf_poke_watch(PortObject *Py_UNUSED(port), int Py_UNUSED(descriptor))
{
    return 0;
}

void xf_poke_close(PortObject *Py_UNUSED(port)) {}

void xf_poke_drop(PortObject *Py_UNUSED(port)) {}
#else
#include <fcntl.h>
#include <unistd.h>

static PyObject *poked(PyObject *self, PyObject *unused)
{
    PortObject *port = (PortObject *)self;
    char pokes[64];
    while (read(port->poke_fd, pokes, sizeof(pokes)) == (ssize_t)sizeof(pokes)) {
    }
    return port->wake->ml_meth(self, unused);
}

static PyMethodDef poked_def = {"poked", poked, METH_NOARGS, NULL};

int xf_poke_watch(PortObject *port, int descriptor)
{
    PyObject *added = NULL, *wake = NULL, *number = NULL;
    if (port->poke_fd >= 0 || port->no_reader || port->own_clock || descriptor < 0) {
        return 0;
    }
    int fd = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    wake = PyCFunction_New(&poked_def, (PyObject *)port);
    number = PyLong_FromLong(fd);
    if (wake != NULL && number != NULL) {
        port->poke_fd = fd;
        added = PyObject_CallMethodObjArgs(port->loop, port->st->s_add_reader, number, wake, NULL);
    }
    Py_XDECREF(wake);
    Py_XDECREF(number);
    if (added == NULL) {
        port->poke_fd = -1;
        close(fd);
        if (!xf_port_cannot_watch()) {
            return -1;
        }
        PyErr_Clear();
        port->no_reader = true;
    }
    Py_XDECREF(added);
    return 0;
}

void xf_poke_close(PortObject *port)
{
    xf_port_unwatch(port, &port->poke_fd);
}

void xf_poke_drop(PortObject *port)
{
    if (port->poke_fd >= 0) {
        close(port->poke_fd);
    }
}
#endif
