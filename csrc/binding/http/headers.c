#include "binding/http/http.h"
#include "net/head.h"

#include <string.h>
#include <strings.h>

static PyObject *text(PyObject *value, const char *what)
{
    if (PyBytes_Check(value))
        return Py_NewRef(value);
    if (PyUnicode_Check(value)) {
        PyObject *bytes = PyUnicode_AsLatin1String(value);
        if (!bytes && PyErr_ExceptionMatches(PyExc_UnicodeEncodeError))
            PyErr_Format(PyExc_ValueError, "header %s must be latin-1 text, not %R", what, value);
        return bytes;
    }
    PyErr_Format(PyExc_TypeError, "header %s must be str or bytes, not %R", what, value);
    return NULL;
}

static PyObject *checked_pair(PyObject *name, PyObject *value)
{
    PyObject *pair = NULL, *n = text(name, "name"), *v = n ? text(value, "value") : NULL;
    if (!v)
        goto done;
    if (!xf_name_ok(PyBytes_AS_STRING(n), (size_t)PyBytes_GET_SIZE(n)))
        PyErr_Format(PyExc_ValueError, "header name must be a token of RFC 9110, not %R", name);
    else if (!xf_value_ok(PyBytes_AS_STRING(v), (size_t)PyBytes_GET_SIZE(v)))
        /* the value may be a secret */
        PyErr_Format(PyExc_ValueError,
                     "value of header %R must be without CR, LF, NUL and other control characters",
                     name);
    else
        pair = PyTuple_Pack(2, n, v);
done:
    Py_XDECREF(n);
    Py_XDECREF(v);
    return pair;
}

PyObject *headers_pairs(PyObject *given)
{
    PyObject *items = NULL, *fast = NULL, *pairs = NULL;
    if (given == Py_None)
        return PyTuple_New(0);
    if (PyDict_CheckExact(given) || PyObject_HasAttrString(given, "items"))
        items = PyMapping_Items(given);
    else
        items = Py_NewRef(given);
    if (!items || !(fast = PySequence_Fast(items, "headers must be a mapping or an iterable of "
                                                  "(name, value) pairs")))
        goto done;
    Py_ssize_t n = PySequence_Fast_GET_SIZE(fast);
    if (!(pairs = PyTuple_New(n)))
        goto done;
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *item = PySequence_Fast_GET_ITEM(fast, i); /* borrowed */
        PyObject *pair = NULL, *two = NULL;
        if (!PyUnicode_Check(item) && !PyBytes_Check(item))
            two = PySequence_Fast(item, "");
        if (two && PySequence_Fast_GET_SIZE(two) == 2)
            pair = checked_pair(PySequence_Fast_GET_ITEM(two, 0), PySequence_Fast_GET_ITEM(two, 1));
        else
            PyErr_Format(PyExc_TypeError, "headers must hold (name, value) pairs, not %R", item);
        Py_XDECREF(two);
        if (!pair) {
            Py_CLEAR(pairs);
            goto done;
        }
        PyTuple_SET_ITEM(pairs, i, pair);
    }
done:
    Py_XDECREF(items);
    Py_XDECREF(fast);
    return pairs;
}

static bool is_named(PyObject *pair, const char *name)
{
    return !strcasecmp(PyBytes_AS_STRING(PyTuple_GET_ITEM(pair, 0)), name);
}

static bool names(PyObject *pairs, const char *name)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(pairs); i++)
        if (is_named(PyTuple_GET_ITEM(pairs, i), name))
            return true;
    return false;
}

/* libcurl makes these itself from what it sends. */
static bool made_by_libcurl(PyObject *pair)
{
    return is_named(pair, "content-length") || is_named(pair, "transfer-encoding") ||
           is_named(pair, "expect");
}

struct builder {
    struct headers *headers; /* NULL while measuring */
    size_t count, size;
    char *text;
};

static void line(struct builder *b, const char *name, size_t name_size, const char *between,
                 const char *value, size_t value_size)
{
    size_t between_size = strlen(between);
    if (b->headers) {
        struct curl_slist *node = &b->headers->lines[b->count];
        node->data = b->text;
        node->next = NULL;
        if (b->count)
            node[-1].next = node;
        memcpy(b->text, name, name_size);
        memcpy(b->text + name_size, between, between_size);
        memcpy(b->text + name_size + between_size, value, value_size);
        b->text[name_size + between_size + value_size] = 0;
        b->text += name_size + between_size + value_size + 1;
    }
    b->count++;
    b->size += name_size + between_size + value_size + 1;
}

static void pair_line(struct builder *b, PyObject *pair)
{
    PyObject *name = PyTuple_GET_ITEM(pair, 0), *value = PyTuple_GET_ITEM(pair, 1);
    size_t value_size = (size_t)PyBytes_GET_SIZE(value);
    line(b, PyBytes_AS_STRING(name), (size_t)PyBytes_GET_SIZE(name),
         value_size ? ": " : ";", /* libcurl's way of saying "empty" */
         PyBytes_AS_STRING(value), value_size);
}

static void build(struct builder *b, PyObject *given, PyObject *defaults, bool json)
{
    bool typed = names(given, "content-type");
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(given); i++)
        if (!made_by_libcurl(PyTuple_GET_ITEM(given, i)))
            pair_line(b, PyTuple_GET_ITEM(given, i));
    for (Py_ssize_t i = 0; defaults && i < PyTuple_GET_SIZE(defaults); i++) {
        PyObject *pair = PyTuple_GET_ITEM(defaults, i);
        if (names(given, PyBytes_AS_STRING(PyTuple_GET_ITEM(pair, 0))) || made_by_libcurl(pair))
            continue;
        typed |= is_named(pair, "content-type");
        pair_line(b, pair);
    }
    /* A name without a value takes back what libcurl would add. */
    static const char type[] = "Content-Type", expect[] = "Expect", json_type[] = "application/json";
    if (!typed && json)
        line(b, type, sizeof type - 1, ": ", json_type, sizeof json_type - 1);
    else if (!typed)
        line(b, type, sizeof type - 1, ":", "", 0);
    line(b, expect, sizeof expect - 1, ":", "", 0);
}

struct headers *headers_new(PyObject *given, PyObject *defaults, bool json)
{
    PyObject *pairs = headers_pairs(given);
    if (!pairs)
        return NULL;
    struct builder b = {0};
    build(&b, pairs, defaults, json);
    size_t nodes = sizeof *b.headers + b.count * sizeof(struct curl_slist);
    struct headers *headers = PyMem_Malloc(nodes + b.size);
    if (headers) {
        headers->refs = 1;
        b = (struct builder){.headers = headers, .text = (char *)headers + nodes};
        build(&b, pairs, defaults, json);
    } else {
        PyErr_NoMemory();
    }
    Py_DECREF(pairs);
    return headers;
}

void headers_release(struct headers *headers)
{
    if (headers && --headers->refs == 0)
        PyMem_Free(headers);
}
