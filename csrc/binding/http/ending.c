/* How a transfer ended without a whole answer: the record of which the session's factory makes an
 * exception. */
#include "binding/http/http.h"
#include "binding/record.h"

static PyStructSequence_Field ending_fields[] = {
    {"code", "libcurl's, or one below 0 of our own"},
    {"message", "libcurl's, or None"},
    {"os_errno", "the operating system's error number, or 0"},
    {"retry_safe", "whether the request may be sent again"},
    {"connected", "whether the connection had been made"},
    {"status", "of the answer that had begun, or 0"},
    {"head", "of that answer, or empty"},
    {"times", "how far it came"},
    {NULL, NULL},
};

PyStructSequence_Desc xf_http_ending_desc = {
    "xtremeflow._http.Ending", "How a transfer ended without a whole answer.", ending_fields, 8};

static PyObject *text_or_none(const char *text)
{
    return text != NULL ? PyUnicode_FromString(text) : Py_NewRef(Py_None);
}

static PyObject *record_of(const xf_http_module *state, const xf_http_failure *f)
{
    PyObject *const fields[] = {
        PyLong_FromLong(f->code),
        text_or_none(f->message),
        PyLong_FromLong(f->os_errno),
        PyBool_FromLong(f->retry_safe),
        PyBool_FromLong(f->connected),
        PyLong_FromLong(f->status),
        PyBytes_FromStringAndSize(f->head, f->head_size),
        xf_http_times_new(state, &f->times, f->connects, f->sends),
    };
    return xf_record_new(state->ending_type, fields, Py_ARRAY_LENGTH(fields));
}

void xf_http_raise(const SessionObject *session, PyObject *method, PyObject *url,
                   const xf_http_failure *failure)
{
    PyObject *record = record_of(session->state, failure);
    if (record == NULL) {
        return;
    }
    PyObject *args[] = {method, url, record};
    PyObject *error =
        PyObject_Vectorcall(session->error_factory, args, Py_ARRAY_LENGTH(args), NULL);
    Py_DECREF(record);
    if (error != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
        Py_DECREF(error);
    }
}
