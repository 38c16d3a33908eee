/* The limits in heads, for Python: csrc/net/limits.h. */
#include "binding/http/http.h"
#include "binding/record.h"
#include "net/limits.h"

static PyObject *number_or_none(const xf_quota *q, int kind)
{
    return q->of[kind].said ? PyFloat_FromDouble(q->of[kind].value) : Py_NewRef(Py_None);
}

static PyStructSequence_Field quota_fields[] = {
    {"name", "requests, tokens, input_tokens or output_tokens"},
    {"style", "plain, period or anthropic"},
    {"per", "seconds, where the fields' names tell them"},
    {"amount", "units"},
    {"remaining", "units"},
    {"reset", "seconds after the answer"},
    {"reset_text", "the same as it was written"},
    {NULL, NULL},
};

/* The same fields as those of xtremeflow.answers.headers.Quota. */
PyStructSequence_Desc xf_http_quota_desc = {
    "xtremeflow._http.Quota", "One limit that an answer's head tells.", quota_fields, 7};

static PyObject *quota_record(const xf_http_module *state, const xf_quota *q)
{
    static const char *const names[] = {"requests", "tokens", "input_tokens", "output_tokens",
                                        "requests"};
    static const char *const styles[] = {"plain", "period", "anthropic"};
    const char *text = q->of[XF_QUOTA_RESET].text;
    PyObject *const fields[] = {
        PyUnicode_FromString(names[q->name]),
        PyUnicode_FromString(styles[q->style]),
        q->per > 0 ? PyFloat_FromDouble(q->per) : Py_NewRef(Py_None),
        number_or_none(q, XF_QUOTA_LIMIT),
        number_or_none(q, XF_QUOTA_REMAINING),
        number_or_none(q, XF_QUOTA_RESET),
        PyUnicode_FromStringAndSize(text,
                                    text != NULL ? (Py_ssize_t)q->of[XF_QUOTA_RESET].size : 0),
    };
    return xf_record_new(state->quota_type, fields, Py_ARRAY_LENGTH(fields));
}

PyObject *xf_http_quotas(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    char *head;
    Py_ssize_t size;
    xf_quotas read;
    if (nargs != 2) {
        return PyErr_Format(PyExc_TypeError, "quotas() takes 2 arguments, not %zd", nargs);
    }
    double now = PyFloat_AsDouble(args[1]);
    if ((now == -1.0 && PyErr_Occurred()) || PyBytes_AsStringAndSize(args[0], &head, &size) < 0) {
        return NULL;
    }
    if (!xf_quotas_read(&read, head, (size_t)size, now)) {
        Py_RETURN_NONE;
    }
    PyObject *list = PyList_New((Py_ssize_t)read.count);
    for (size_t i = 0; list != NULL && i < read.count; i++) {
        PyObject *quota = quota_record(PyModule_GetState(module), &read.of[i]);
        if (quota == NULL) {
            Py_CLEAR(list);
        } else {
            PyList_SET_ITEM(list, (Py_ssize_t)i, quota);
        }
    }
    return list;
}
