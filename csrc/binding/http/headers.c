#include "binding/http/http.h"
#include "net/head.h"

#include <string.h>
#include <strings.h>

/* A header line's parts, borrowed from Python objects. */
typedef struct xf_view {
    const char *name, *value;
    size_t name_size, value_size;
} xf_view;

typedef struct xf_views {
    xf_view *items, few[32];
    Py_ssize_t count;
    PyObject *held; /* owns the objects that the views point into */
} xf_views;

static int text_of(PyObject *value, const char **bytes, size_t *size)
{
    if (PyUnicode_Check(value) && PyUnicode_READY(value) == 0 &&
        PyUnicode_KIND(value) == PyUnicode_1BYTE_KIND) { /* its memory is latin-1 text */
        *bytes = (const char *)PyUnicode_1BYTE_DATA(value);
        *size = (size_t)PyUnicode_GET_LENGTH(value);
        return 0;
    }
    if (PyBytes_Check(value)) {
        *bytes = PyBytes_AS_STRING(value);
        *size = (size_t)PyBytes_GET_SIZE(value);
        return 0;
    }
    return -1;
}

static bool is_named(const xf_view *view, const char *name, size_t size)
{
    return view->name_size == size && !strncasecmp(view->name, name, size);
}

#define IS(view, name) is_named(view, name, sizeof name - 1)

/* Neither a name nor a value is shown if it may be the other, or a whole line, and so a secret. */
static int bad_name(PyObject *name, const xf_view *view)
{
    if (view->name == NULL && !PyUnicode_Check(name)) {
        PyErr_Format(PyExc_TypeError, "header name must be str or bytes, not a %s",
                     Py_TYPE(name)->tp_name);
        return -1;
    }
    size_t good = 0;
    while (good < view->name_size && xf_name_ok(view->name + good, 1)) {
        good++;
    }
    PyObject *start = PyUnicode_FromStringAndSize(view->name, (Py_ssize_t)good);
    if (start != NULL) {
        PyErr_Format(PyExc_ValueError,
                     "header name must be a token of RFC 9110, unlike the one that begins with %R",
                     start);
    }
    Py_XDECREF(start);
    return -1;
}

static int view_of(PyObject *name, PyObject *value, xf_view *view)
{
    *view = (xf_view){0};
    if (text_of(name, &view->name, &view->name_size) < 0 ||
        !xf_name_ok(view->name, view->name_size)) {
        return bad_name(name, view);
    }
    if (IS(view, "proxy-authorization")) {
        PyErr_SetString(PyExc_ValueError,
                        "headers must be without Proxy-Authorization, which the server would get; "
                        "a proxy's user and password belong in its URL, as in "
                        "proxy='http://user:password@host:3128'");
        return -1;
    }
    if (text_of(value, &view->value, &view->value_size) < 0) {
        if (PyUnicode_Check(value)) {
            PyErr_Format(PyExc_ValueError, "value of header %R must be latin-1 text or bytes",
                         name);
        } else {
            PyErr_Format(PyExc_TypeError, "value of header %R must be str or bytes, not a %s", name,
                         Py_TYPE(value)->tp_name);
        }
        return -1;
    }
    if (!xf_value_ok(view->value, view->value_size)) {
        PyErr_Format(PyExc_ValueError,
                     "value of header %R must be without CR, LF, NUL and other control characters",
                     name);
        return -1;
    }
    return 0;
}

static void views_free(xf_views *views)
{
    if (views->items != views->few) {
        PyMem_Free(views->items);
    }
    Py_XDECREF(views->held);
}

static int views_room(xf_views *views, Py_ssize_t count)
{
    views->items = views->few;
    if (count <= (Py_ssize_t)(sizeof views->few / sizeof *views->few)) {
        return 0;
    }
    if ((views->items = PyMem_New(xf_view, count)) == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    return 0;
}

static int views_of_dict(PyObject *given, xf_views *views)
{
    PyObject *name, *value;
    Py_ssize_t at = 0;
    views->held = Py_NewRef(given);
    if (views_room(views, PyDict_GET_SIZE(given)) < 0) {
        return -1;
    }
    while (PyDict_Next(given, &at, &name, &value)) {
        if (view_of(name, value, &views->items[views->count++]) < 0) {
            return -1;
        }
    }
    return 0;
}

static int views_of_pairs(PyObject *given, xf_views *views)
{
    PyObject *items =
        PyObject_HasAttrString(given, "items") ? PyMapping_Items(given) : Py_NewRef(given);
    /* A list of our own, of tuples, since the objects behind the views must not change. */
    views->held = items != NULL ? PySequence_List(items) : NULL;
    Py_XDECREF(items);
    if (views->held == NULL) {
        if (PyErr_ExceptionMatches(PyExc_TypeError)) {
            PyErr_Format(PyExc_TypeError,
                         "headers must be a mapping or an iterable of (name, value) pairs, "
                         "not a %s",
                         Py_TYPE(given)->tp_name);
        }
        return -1;
    }
    if (views_room(views, PyList_GET_SIZE(views->held)) < 0) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(views->held); i++) {
        PyObject *item = PyList_GET_ITEM(views->held, i); /* borrowed */
        PyObject *pair = PyTuple_Check(item) || PyList_Check(item) ? PySequence_Tuple(item) : NULL;
        if (PyErr_Occurred()) {
            return -1;
        }
        if (pair == NULL || PyTuple_GET_SIZE(pair) != 2) {
            Py_XDECREF(pair);
            PyErr_Format(PyExc_TypeError,
                         "headers must be a mapping or hold (name, value) pairs, unlike item %zd",
                         i);
            return -1;
        }
        PyList_SetItem(views->held, i, pair);
        if (view_of(PyTuple_GET_ITEM(pair, 0), PyTuple_GET_ITEM(pair, 1),
                    &views->items[views->count++]) < 0) {
            return -1;
        }
    }
    return 0;
}

static int views_of(PyObject *given, xf_views *views)
{
    views->items = views->few;
    views->count = 0;
    views->held = NULL;
    if (given == Py_None) {
        return 0;
    }
    int result =
        PyDict_CheckExact(given) ? views_of_dict(given, views) : views_of_pairs(given, views);
    if (result < 0) {
        views_free(views);
    }
    return result;
}

PyObject *xf_http_headers_pairs(PyObject *given)
{
    xf_views views;
    /* The allocations below may start a collection, whose code may change the caller's list. */
    PyObject *own = PyDict_CheckExact(given) ? PyDict_Copy(given) : Py_NewRef(given);
    int bad = own != NULL ? views_of(own, &views) : -1;
    Py_XDECREF(own); /* the views hold it */
    if (bad < 0) {
        return NULL;
    }
    PyObject *pairs = PyTuple_New(views.count);
    for (Py_ssize_t i = 0; pairs != NULL && i < views.count; i++) {
        xf_view *v = &views.items[i];
        PyObject *pair = Py_BuildValue("(y#y#)", v->name, (Py_ssize_t)v->name_size, v->value,
                                       (Py_ssize_t)v->value_size);
        if (pair != NULL) {
            PyTuple_SET_ITEM(pairs, i, pair);
        } else {
            Py_CLEAR(pairs);
        }
    }
    views_free(&views);
    return pairs;
}

/* ---- building ---- */

/* libcurl makes these itself from the body. */
static bool made_by_libcurl(const xf_view *view)
{
    return IS(view, "content-length") || IS(view, "transfer-encoding") || IS(view, "expect");
}

typedef struct xf_builder {
    xf_header_list *headers; /* NULL while measuring */
    size_t count, size;
    char *text;
} xf_builder;

static void add(xf_builder *b, const char *name, size_t name_size, const char *between,
                const char *value, size_t value_size)
{
    size_t between_size = strlen(between);
    if (b->headers != NULL) {
        struct curl_slist *node = &b->headers->lines[b->count];
        node->data = b->text;
        node->next = NULL;
        if (b->count) {
            node[-1].next = node;
        }
        memcpy(b->text, name, name_size);
        memcpy(b->text + name_size, between, between_size);
        memcpy(b->text + name_size + between_size, value, value_size);
        b->text[name_size + between_size + value_size] = 0;
        b->text += name_size + between_size + value_size + 1;
    }
    b->count++;
    b->size += name_size + between_size + value_size + 1;
}

static void add_view(xf_builder *b, const xf_view *v)
{
    add(b, v->name, v->name_size, v->value_size ? ": " : ";", /* libcurl's way of saying "empty" */
        v->value, v->value_size);
}

static bool named_in(const xf_views *views, const xf_view *other)
{
    for (Py_ssize_t i = 0; i < views->count; i++) {
        if (is_named(&views->items[i], other->name, other->name_size)) {
            return true;
        }
    }
    return false;
}

static void build(xf_builder *b, const xf_views *given, PyObject *defaults, bool json)
{
    static const char type[] = "Content-Type", json_type[] = "application/json";
    bool typed = false;
    /* A name without a value removes a header that libcurl would add. It adds this one to large
     * bodies only, so this line is first and can be left out. */
    add(b, "Expect", 6, ":", "", 0);
    for (Py_ssize_t i = 0; i < given->count; i++) {
        typed |= IS(&given->items[i], "content-type");
        if (!made_by_libcurl(&given->items[i])) {
            add_view(b, &given->items[i]);
        }
    }
    for (Py_ssize_t i = 0; defaults != NULL && i < PyTuple_GET_SIZE(defaults); i++) {
        PyObject *pair = PyTuple_GET_ITEM(defaults, i); /* borrowed, of bytes */
        PyObject *name = PyTuple_GET_ITEM(pair, 0), *value = PyTuple_GET_ITEM(pair, 1);
        xf_view v = {PyBytes_AS_STRING(name), PyBytes_AS_STRING(value),
                     (size_t)PyBytes_GET_SIZE(name), (size_t)PyBytes_GET_SIZE(value)};
        if (named_in(given, &v) || made_by_libcurl(&v)) {
            continue;
        }
        typed |= IS(&v, "content-type");
        add_view(b, &v);
    }
    if (!typed && json) {
        add(b, type, sizeof type - 1, ": ", json_type, sizeof json_type - 1);
    } else if (!typed) {
        add(b, type, sizeof type - 1, ":", "", 0);
    }
}

xf_header_list *xf_http_headers_new(PyObject *given, PyObject *defaults, bool json)
{
    xf_views views;
    if (views_of(given, &views) < 0) {
        return NULL;
    }
    xf_builder b = {0};
    build(&b, &views, defaults, json);
    size_t nodes = sizeof *b.headers + b.count * sizeof(struct curl_slist);
    xf_header_list *headers = PyMem_Malloc(nodes + b.size);
    if (headers != NULL) {
        atomic_init(&headers->refs, 1);
        headers->size = b.size;
        b = (xf_builder){.headers = headers, .text = (char *)headers + nodes};
        build(&b, &views, defaults, json);
    } else {
        PyErr_NoMemory();
    }
    views_free(&views);
    return headers;
}

const struct curl_slist *xf_http_headers_lines(const xf_header_list *headers, bool large_body)
{
    return headers->lines + (large_body ? 0 : 1);
}

void xf_http_headers_release(xf_header_list *headers)
{
    if (headers != NULL && atomic_fetch_sub(&headers->refs, 1) == 1) {
        PyMem_Free(headers);
    }
}
