#include "binding/call/digests.h"

#include <string.h>

#include "core/digest.h"

static uint64_t digest_of(uint64_t before, PyObject *bytes, Py_ssize_t from, Py_ssize_t end)
{
    return xf_digest(before, PyBytes_AS_STRING(bytes) + from, (size_t)(end - from));
}

PyObject *xf_rolling_digests(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 3 || !PyBytes_Check(args[0]) || !PyBytes_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "rolling_digests() takes bytes, bytes and a number");
        return NULL;
    }
    const Py_ssize_t chunk = PyLong_AsSsize_t(args[2]), size = PyBytes_GET_SIZE(args[1]);
    if (chunk <= 0) {
        return PyErr_Occurred()
                   ? NULL
                   : PyErr_Format(PyExc_ValueError, "chunk must be above 0, got %zd", chunk);
    }
    const Py_ssize_t count = size / chunk + (size % chunk > 0);
    PyObject *found = PyBytes_FromStringAndSize(NULL, count * (Py_ssize_t)sizeof(uint64_t));
    if (found == NULL) {
        return NULL;
    }
    uint64_t digest = digest_of(0, args[0], 0, PyBytes_GET_SIZE(args[0]));
    char *to = PyBytes_AS_STRING(found);
    for (Py_ssize_t at = 0; at < size; at += chunk, to += sizeof digest) {
        digest = digest_of(digest, args[1], at, size - at < chunk ? size : at + chunk);
        memcpy(to, &digest, sizeof digest);
    }
    return found;
}
