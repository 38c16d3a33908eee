#include "binding/http/http.h"
#include "net/head.h"
#include "net/sound.h"

#include <stdlib.h>

typedef PyObject *(*maker)(const char *bytes, Py_ssize_t size);

static PyObject *latin1(const char *bytes, Py_ssize_t size)
{
    return PyUnicode_DecodeLatin1(bytes, size, NULL);
}

/* A folded line belongs to the value before it. */
static int unfold(PyObject *list, const xf_field *f, maker make)
{
    Py_ssize_t last = PyList_GET_SIZE(list) - 1;
    if (last < 0) {
        return 0;
    }
    PyObject *before = PyList_GET_ITEM(list, last); /* borrowed */
    PyObject *value = make(f->value, (Py_ssize_t)f->value_size);
    PyObject *space = value != NULL ? make(" ", 1) : NULL;
    PyObject *left = space != NULL ? PySequence_Concat(PyTuple_GET_ITEM(before, 1), space) : NULL;
    PyObject *whole = left != NULL ? PySequence_Concat(left, value) : NULL;
    PyObject *pair = whole != NULL ? PyTuple_Pack(2, PyTuple_GET_ITEM(before, 0), whole) : NULL;
    Py_XDECREF(value);
    Py_XDECREF(space);
    Py_XDECREF(left);
    Py_XDECREF(whole);
    return pair != NULL ? PyList_SetItem(list, last, pair) : -1;
}

static int append(PyObject *list, const xf_field *f, maker make)
{
    PyObject *name = make(f->name, (Py_ssize_t)f->name_size);
    PyObject *value = name != NULL ? make(f->value, (Py_ssize_t)f->value_size) : NULL;
    PyObject *pair = value != NULL ? PyTuple_Pack(2, name, value) : NULL;
    int bad = pair != NULL ? PyList_Append(list, pair) : -1;
    Py_XDECREF(name);
    Py_XDECREF(value);
    Py_XDECREF(pair);
    return bad;
}

static PyObject *pairs_of(PyObject *head, maker make)
{
    char *bytes;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(head, &bytes, &size) < 0) {
        return NULL;
    }
    PyObject *list = PyList_New(0);
    size_t at = 0;
    xf_field f;
    while (list != NULL && xf_head_next(bytes, (size_t)size, &at, &f)) {
        if ((f.name_size ? append(list, &f, make) : unfold(list, &f, make)) < 0) {
            Py_CLEAR(list);
        }
    }
    return list;
}

static PyObject *parse_head(PyObject *Py_UNUSED(module), PyObject *head)
{
    return pairs_of(head, latin1);
}

static PyObject *parse_head_bytes(PyObject *Py_UNUSED(module), PyObject *head)
{
    return pairs_of(head, PyBytes_FromStringAndSize);
}

static PyObject *request_id(PyObject *Py_UNUSED(module), PyObject *head)
{
    char *bytes;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(head, &bytes, &size) < 0) {
        return NULL;
    }
    size_t at = 0;
    xf_field f;
    while (xf_head_next(bytes, (size_t)size, &at, &f)) {
        if (xf_field_is(&f, "x-request-id") || xf_field_is(&f, "request-id")) {
            return latin1(f.value, (Py_ssize_t)f.value_size);
        }
    }
    Py_RETURN_NONE;
}

static PyObject *is_sound(PyObject *Py_UNUSED(module), PyObject *body)
{
    Py_buffer view;
    if (PyObject_GetBuffer(body, &view, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    bool sound = xf_is_sound(view.buf, (size_t)view.len);
    PyBuffer_Release(&view);
    return PyBool_FromLong(sound);
}

/* check_headers(headers): raises for headers that cannot be sent */
static PyObject *check_headers(PyObject *Py_UNUSED(module), PyObject *given)
{
    return xf_http_headers_pairs(given);
}

static PyObject *set_loads(PyObject *module, PyObject *loads)
{
    xf_http_module *state = PyModule_GetState(module);
    Py_XSETREF(state->loads, Py_NewRef(loads));
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"parse_head", parse_head, METH_O, "The (name, value) pairs of an answer's head, as text."},
    {"parse_head_bytes", parse_head_bytes, METH_O, "The same as bytes."},
    {"request_id", request_id, METH_O, "The provider's name of a request, in the head; or None."},
    {"quotas", (PyCFunction)(void (*)(void))xf_http_quotas, METH_FASTCALL,
     "The limits that an answer's head tells of, a Quota each; None where it is "
     "written in a way that only the reader in Python knows."},
    {"usage_in", xf_http_usage_in, METH_O,
     "The (input, output, cached) tokens that the body of an answer says it used; or None."},
    {"is_sound", is_sound, METH_O,
     "Whether a body is one line of strict JSON, an object without an error."},
    {"asked", xf_http_asked, METH_O,
     "The model that a request's body names, or '', and the tokens that it allows its answers, or "
     "None."},
    {"check_headers", check_headers, METH_O, "The given headers as checked pairs of bytes."},
    {"set_loads", set_loads, METH_O, "The function that decodes JSON for Event.json."},
    {0},
};

static PyObject *imported(const char *module_name, const char *name)
{
    PyObject *module = PyImport_ImportModule(module_name);
    PyObject *value = module != NULL ? PyObject_GetAttrString(module, name) : NULL;
    Py_XDECREF(module);
    return value;
}

static int make_type(PyObject *module, PyType_Spec *spec, PyTypeObject **slot)
{
    *slot = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    return *slot != NULL ? 0 : -1;
}

static int add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **slot)
{
    return make_type(module, spec, slot) < 0 ? -1 : PyModule_AddType(module, *slot);
}

static int exec(PyObject *module)
{
    xf_http_module *s = PyModule_GetState(module);
    char why[256];
    const char *path = getenv("XTREMEFLOW_LIBCURL");
    if (xf_curl_load(&s->curl, path != NULL && *path ? path : NULL, why, sizeof why) < 0) {
#ifdef __APPLE__
        const char *cure = "install it with `brew install curl`";
#else
        const char *cure = "install it with `apt install libcurl4`, `dnf install libcurl` or "
                           "`apk add libcurl`";
#endif
        PyErr_Format(PyExc_ImportError, "xtremeflow.http needs libcurl 7.80 or newer (%s): %s", why,
                     cure);
        return -1;
    }
    if (xf_http_forks_watch() != 0) {
        return PyErr_NoMemory(), -1;
    }
    const struct {
        PyObject **slot;
        const char *text;
    } names[] = {
        {&s->str_add_reader, "add_reader"},
        {&s->str_remove_reader, "remove_reader"},
        {&s->str_call_soon, "call_soon"},
        {&s->str_is_closed, "is_closed"},
        {&s->str_done, "done"},
        {&s->str_set_result, "set_result"},
        {&s->str_message, "message"},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if ((*names[i].slot = PyUnicode_InternFromString(names[i].text)) == NULL) {
            return -1;
        }
    }
    if ((s->context_kw = Py_BuildValue("(s)", "context")) == NULL ||
        (s->get_running_loop = imported("asyncio", "get_running_loop")) == NULL ||
        (s->cancelled_error = imported("asyncio", "CancelledError")) == NULL ||
        (s->loads = imported("json", "loads")) == NULL) {
        return -1;
    }
    if (add_type(module, &xf_http_session_spec, &s->session_type) < 0 ||
        add_type(module, &xf_http_outgoing_spec, &s->outgoing_type) < 0 ||
        xf_http_outgoing_names(s) < 0 ||
        (s->times_type = PyStructSequence_NewType(&xf_http_times_desc)) == NULL ||
        PyModule_AddType(module, s->times_type) < 0 ||
        (s->ending_type = PyStructSequence_NewType(&xf_http_ending_desc)) == NULL ||
        PyModule_AddType(module, s->ending_type) < 0 ||
        (s->quota_type = PyStructSequence_NewType(&xf_http_quota_desc)) == NULL ||
        PyModule_AddType(module, s->quota_type) < 0 ||
        add_type(module, &xf_http_engine_spec, &s->engine_type) < 0 ||
        add_type(module, &xf_http_transfer_spec, &s->transfer_type) < 0 ||
        make_type(module, &xf_http_waiter_spec, &s->waiter_type) < 0 ||
        make_type(module, &xf_http_reader_spec, &s->reader_type) < 0 ||
        add_type(module, &xf_http_response_spec, &s->response_type) < 0 ||
        add_type(module, &xf_http_event_spec, &s->event_type) < 0 ||
        add_type(module, &xf_http_tap_spec, &s->tap_type) < 0 ||
        make_type(module, &xf_http_watch_spec, &s->watch_type) < 0 ||
        make_type(module, &xf_steps_spec, &s->steps_type) < 0) {
        return -1;
    }
    s->outgoing_type->tp_vectorcall = xf_http_outgoing_call; /* a slot of specs since Python 3.14 */
    if (PyModule_AddStringConstant(module, "libcurl_version", s->curl.version->version) < 0 ||
        PyModule_AddIntConstant(module, "libcurl_number", (long)s->curl.version->version_num) < 0 ||
        PyModule_AddStringConstant(
            module, "tls_version",
            s->curl.version->ssl_version != NULL ? s->curl.version->ssl_version : "") < 0 ||
        PyModule_AddObjectRef(module, "has_http2",
                              s->curl.version->features & CURL_FEATURE_HTTP2 ? Py_True : Py_False) <
            0 ||
        PyModule_AddObjectRef(module, "has_gzip", s->curl.zlib.init != NULL ? Py_True : Py_False) <
            0) {
        return -1;
    }
    return 0;
}

#define EACH_OBJECT(DO)                                                                            \
    DO(session_type)                                                                               \
    DO(outgoing_type)                                                                              \
    DO(times_type)                                                                                 \
    DO(ending_type)                                                                                \
    DO(quota_type)                                                                                 \
    DO(engine_type)                                                                                \
    DO(transfer_type)                                                                              \
    DO(waiter_type)                                                                                \
    DO(reader_type)                                                                                \
    DO(response_type)                                                                              \
    DO(event_type)                                                                                 \
    DO(tap_type)                                                                                   \
    DO(watch_type)                                                                                 \
    DO(steps_type)                                                                                 \
    DO(get_running_loop)                                                                           \
    DO(cancelled_error)                                                                            \
    DO(loads)                                                                                      \
    DO(str_add_reader)                                                                             \
    DO(str_remove_reader)                                                                          \
    DO(str_call_soon)                                                                              \
    DO(str_is_closed)                                                                              \
    DO(str_done)                                                                                   \
    DO(str_set_result)                                                                             \
    DO(str_message)                                                                                \
    DO(context_kw)

static int traverse(PyObject *module, visitproc visit, void *arg)
{
    xf_http_module *s = PyModule_GetState(module);
#define VISIT(name) Py_VISIT(s->name);
    EACH_OBJECT(VISIT)
    for (int i = 0; i < XF_OUTGOING_FIELDS; i++) {
        Py_VISIT(s->outgoing_names[i]);
    }
    return 0;
}

static int clear(PyObject *module)
{
    xf_http_module *s = PyModule_GetState(module);
#define CLEAR(name) Py_CLEAR(s->name);
    EACH_OBJECT(CLEAR)
    for (int i = 0; i < XF_OUTGOING_FIELDS; i++) {
        Py_CLEAR(s->outgoing_names[i]);
    }
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0},
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "xtremeflow._http",
    .m_doc = "HTTP transfers of libcurl on an asyncio event loop.",
    .m_size = sizeof(xf_http_module),
    .m_methods = methods,
    .m_slots = slots,
    .m_traverse = traverse,
    .m_clear = clear,
};

PyMODINIT_FUNC PyInit__http(void)
{
    return PyModuleDef_Init(&definition);
}
