#include "binding/http/http.h"
#include "net/head.h"

#include <math.h>
#include <string.h>
#include <strings.h>

/* ---- arguments ---- */

static int borrow_path(PyObject *value, const char **out)
{
    if (value == Py_None) {
        *out = NULL;
        return 0;
    }
    *out = PyBytes_AsString(value); /* refuses other types */
    return *out != NULL ? 0 : -1;
}

/* None: no bound. */
static int nanoseconds(PyObject *value, const char *name, int64_t *out)
{
    if (value == Py_None) {
        *out = XF_NO_DEADLINE;
        return 0;
    }
    bool strange = PyBool_Check(value);
    double seconds = strange ? 0 : PyFloat_AsDouble(value);
    if (seconds == -1.0 && PyErr_Occurred()) {
        strange = PyErr_ExceptionMatches(PyExc_TypeError);
        PyErr_Clear();
    }
    if (!(seconds > 0) || !isfinite(seconds)) {
        PyErr_Format(strange ? PyExc_TypeError : PyExc_ValueError,
                     "%s must be a number of seconds above 0, or None, not %R", name, value);
        return -1;
    }
    *out = seconds > 9e9 ? XF_NO_DEADLINE : (int64_t)(seconds * 1e9);
    return 0;
}

static int milliseconds(PyObject *value, const char *name, long *out)
{
    int64_t ns;
    if (nanoseconds(value, name, &ns) < 0) {
        return -1;
    }
    *out = ns == XF_NO_DEADLINE                 ? 0
           : ns > INT64_C(2000000000) * 1000000 ? 2000000000L
                                                : (long)((ns + 999999) / 1000000);
    return 0;
}

static PyObject *session_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"response_type",
                               "error_factory",
                               "shown",
                               "headers",
                               "ca_file",
                               "cert_file",
                               "key_file",
                               "key_password",
                               "proxy",
                               "no_proxy",
                               "verify",
                               "http2",
                               "compressed",
                               "max_connections",
                               "max_connections_per_host",
                               "max_idle",
                               "max_head",
                               "max_body",
                               "high_water",
                               "timeout",
                               "idle_timeout",
                               "connect_timeout",
                               NULL};
    PyObject *response_type, *error_factory, *shown, *headers, *ca, *cert, *key, *password, *proxy,
        *no_proxy;
    PyObject *total, *idle_time, *connect;
    int verify, http2, compressed;
    long connections, per_host, idle;
    Py_ssize_t head, body, water;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "$OOOOOOOOOOppplllnnnOOO:Session", keywords,
                                     &response_type, &error_factory, &shown, &headers, &ca, &cert,
                                     &key, &password, &proxy, &no_proxy, &verify, &http2,
                                     &compressed, &connections, &per_host, &idle, &head, &body,
                                     &water, &total, &idle_time, &connect)) {
        return NULL;
    }
    xf_http_module *state = PyType_GetModuleState(type);
    if (!PyType_Check(response_type) ||
        !PyType_IsSubtype((PyTypeObject *)response_type, state->response_type)) {
        PyErr_Format(PyExc_TypeError, "response_type must be a subclass of Response, not %R",
                     response_type);
        return NULL;
    }
    SessionObject *self = (SessionObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->state = state;
    xf_options *o = &self->options;
    *o = (xf_options){
        .verify = verify,
        .http2 = http2 && state->curl.version->features & CURL_FEATURE_HTTP2,
        .compressed = compressed,
        .max_connections = connections,
        .max_per_host = per_host,
        .max_idle = idle,
        .max_head = (size_t)head,
        .max_body = (size_t)body,
        .high_water = (size_t)water,
    };
    if (nanoseconds(total, "timeout", &self->total_ns) < 0 ||
        nanoseconds(idle_time, "idle_timeout", &self->idle_ns) < 0 ||
        milliseconds(connect, "connect_timeout", &o->connect_timeout_ms) < 0) {
        goto fail;
    }
    if (borrow_path(ca, &o->ca_file) < 0 || borrow_path(cert, &o->cert_file) < 0 ||
        borrow_path(key, &o->key_file) < 0 || borrow_path(password, &o->key_password) < 0 ||
        borrow_path(proxy, &o->proxy) < 0 || borrow_path(no_proxy, &o->no_proxy) < 0) {
        goto fail;
    }
    self->keep = PyTuple_Pack(6, ca, cert, key, password, proxy, no_proxy);
    self->response_type = Py_NewRef(response_type);
    self->error_factory = Py_NewRef(error_factory);
    self->shown = Py_NewRef(shown);
    self->defaults = xf_http_headers_pairs(headers);
    self->engines = PyDict_New();
    if (self->keep == NULL || self->defaults == NULL || self->engines == NULL) {
        goto fail;
    }
    self->plain = xf_http_headers_new(Py_None, self->defaults, false);
    self->json = xf_http_headers_new(Py_None, self->defaults, true);
    if (self->plain == NULL || self->json == NULL) {
        goto fail;
    }
    return (PyObject *)self;
fail:
    Py_DECREF(self);
    return NULL;
}

/* ---- methods ---- */

static bool repeatable_method(const char *method)
{
    static const char *const idempotent[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"};
    for (size_t i = 0; i < sizeof idempotent / sizeof *idempotent; i++) {
        if (!strcmp(method, idempotent[i])) {
            return true;
        }
    }
    return false;
}

static int check_method(PyObject *method)
{
    Py_ssize_t size;
    const char *text = PyUnicode_Check(method) ? PyUnicode_AsUTF8AndSize(method, &size) : NULL;
    if (text != NULL && xf_name_ok(text, (size_t)size)) {
        return 0;
    }
    PyErr_Format(PyExc_ValueError, "method must be a token such as 'POST', not %R", method);
    return -1;
}

/* Raises the exception for a libcurl code. */
static int bad_url(const SessionObject *self, PyObject *method, PyObject *url, const char *rule)
{
    const xf_http_failure failure = {
        .code = CURLE_URL_MALFORMAT, .message = rule, .retry_safe = true};
    xf_http_raise(self, method, url, &failure);
    return -1;
}

static int check_url(const SessionObject *self, PyObject *method, PyObject *url)
{
    Py_ssize_t size;
    if (!PyUnicode_Check(url)) {
        PyErr_Format(PyExc_TypeError, "url must be a str, not a %s", Py_TYPE(url)->tp_name);
        return -1;
    }
    const char *text = PyUnicode_AsUTF8AndSize(url, &size);
    if (text == NULL) {
        return -1;
    }
    if (strncasecmp(text, "http://", 7) && strncasecmp(text, "https://", 8)) {
        return bad_url(self, method, url, "it must begin with http:// or https://");
    }
    if (!xf_url_ok(text, (size_t)size)) {
        return bad_url(self, method, url,
                       "it must be without spaces, CR, LF and other control characters "
                       "(percent-encode them)");
    }
    return 0;
}

static int check_head_size(PyObject *url, const xf_header_list *headers)
{
    size_t size = (size_t)PyUnicode_GET_LENGTH(url) + headers->size;
    if (size <= XF_LARGEST_REQUEST_HEAD) {
        return 0;
    }
    PyErr_Format(PyExc_ValueError,
                 "the URL and the headers must have no more than %d bytes together, not %zu",
                 XF_LARGEST_REQUEST_HEAD, size);
    return -1;
}

/* Reads `given`, a timeout that replaces the session's; `...` keeps that. */
static int read_timeouts(const SessionObject *self, const OutgoingObject *given, xf_request *r)
{
    r->total_ns = self->total_ns;
    r->idle_ns = self->idle_ns;
    r->connect_timeout_ms = self->options.connect_timeout_ms;
    return (given->timeout != Py_Ellipsis &&
            nanoseconds(given->timeout, "timeout", &r->total_ns) < 0) ||
                   (given->idle_timeout != Py_Ellipsis &&
                    nanoseconds(given->idle_timeout, "idle_timeout", &r->idle_ns) < 0) ||
                   (given->connect_timeout != Py_Ellipsis &&
                    milliseconds(given->connect_timeout, "connect_timeout",
                                 &r->connect_timeout_ms) < 0)
               ? -1
               : 0;
}

static int read_idempotent(const OutgoingObject *given, xf_request *r)
{
    PyObject *said = given->idempotent;
    if (said != Py_None && !PyBool_Check(said)) {
        PyErr_Format(PyExc_TypeError, "idempotent must be True, False or None, not %R", said);
        return -1;
    }
    r->repeatable =
        said == Py_None ? repeatable_method(PyUnicode_AsUTF8(given->method)) : said == Py_True;
    return 0;
}

static PyObject *session_call(PyObject *op, PyObject *request)
{
    SessionObject *self = (SessionObject *)op;
    if (!Py_IS_TYPE(request, self->state->outgoing_type)) {
        PyErr_Format(PyExc_TypeError, "call() takes a Outgoing, not %R", request);
        return NULL;
    }
    const OutgoingObject *given = (OutgoingObject *)request;
    xf_request r = {.stream = given->stream == Py_True,
                    .upload_size = -1,
                    .foreign = given->foreign == Py_True};
    if (check_method(given->method) < 0 || check_url(self, given->method, given->url) < 0 ||
        read_timeouts(self, given, &r) < 0 || read_idempotent(given, &r) < 0) {
        return NULL;
    }
    if (given->upload_size != Py_None) {
        r.upload = true;
        r.upload_size = PyLong_AsLongLong(given->upload_size);
        if (r.upload_size == -1 && PyErr_Occurred()) {
            return NULL;
        }
    }
    xf_header_list *headers;
    bool bare = given->bare == Py_True, json = given->json == Py_True;
    if (given->headers == Py_None && !bare) {
        headers = json ? self->json : self->plain;
        atomic_fetch_add(&headers->refs, 1);
    } else if ((headers = xf_http_headers_new(given->headers, bare ? NULL : self->defaults,
                                              json)) == NULL) {
        return NULL;
    }
    if (check_head_size(given->url, headers) < 0) {
        xf_http_headers_release(headers);
        return NULL;
    }
    return xf_http_transfer_new(self, given->method, given->url, headers, &r,
                                given->body); /* takes over the headers */
}

static PyObject *session_close(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    SessionObject *self = (SessionObject *)op;
    XF_LOCK(self);
    self->closed = true;
    self->engine = NULL;
    XF_UNLOCK();
    return PyDict_Values(self->engines);
}

static PyObject *session_engine_list(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    return PyDict_Values(((SessionObject *)op)->engines);
}

/* ---- life ---- */

static int session_traverse(PyObject *op, visitproc visit, void *arg)
{
    SessionObject *self = (SessionObject *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->response_type);
    Py_VISIT(self->error_factory);
    Py_VISIT(self->shown);
    Py_VISIT(self->engines);
    return 0;
}

static int session_clear(PyObject *op)
{
    SessionObject *self = (SessionObject *)op;
    self->engine = NULL;
    Py_CLEAR(self->engines);
    Py_CLEAR(self->response_type);
    Py_CLEAR(self->error_factory);
    Py_CLEAR(self->shown);
    return 0;
}

static void session_dealloc(PyObject *op)
{
    SessionObject *self = (SessionObject *)op;
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    session_clear(op);
    xf_http_headers_release(self->plain);
    xf_http_headers_release(self->json);
    Py_XDECREF(self->defaults);
    Py_XDECREF(self->keep);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyMethodDef session_methods[] = {
    {"call", session_call, METH_O, "A transfer of that Outgoing, not started."},
    {"close", session_close, METH_NOARGS, "Refuses new transfers; the engines still to close."},
    {"engines", session_engine_list, METH_NOARGS, "The engines, one a loop."},
    {0},
};

static PyType_Slot session_slots[] = {
    {Py_tp_doc, "The options of a client and its engines."},
    {Py_tp_new, session_new},
    {Py_tp_methods, session_methods},
    {Py_tp_traverse, session_traverse},
    {Py_tp_clear, session_clear},
    {Py_tp_dealloc, session_dealloc},
    {0},
};

PyType_Spec xf_http_session_spec = {
    .name = "xtremeflow._http.Session",
    .basicsize = sizeof(SessionObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = session_slots,
};
