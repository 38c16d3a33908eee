/* The size of the text in a prompt: every call is measured, and most of its values are no text. */
#include "binding/call/measure.h"

#include "binding/call/estimate.h"

/* Whether a text stands for a picture or other data: it begins with "data:". */
static bool is_data(PyObject *text)
{
    static const char begin[] = "data:";
    const Py_ssize_t size = sizeof begin - 1;
    bool is = PyUnicode_GET_LENGTH(text) >= size;
    for (Py_ssize_t i = 0; is && i < size; i++) {
        is = PyUnicode_READ_CHAR(text, i) == (Py_UCS4)begin[i];
    }
    return is;
}

/* The size of one text: in characters, or by `measure`. -1 with an error set. */
static int64_t size_of(PyObject *text, PyObject *measure)
{
    if (is_data(text)) {
        return 0;
    }
    if (measure == Py_None) {
        return PyUnicode_GET_LENGTH(text);
    }
    PyObject *measured = PyObject_CallOneArg(measure, text);
    const int64_t size = measured != NULL ? xf_tokens_of(measured, "the size of a text") : -1;
    Py_XDECREF(measured);
    return size;
}

static bool is_any_of(PyObject *key, const char *const *names)
{
    for (; PyUnicode_Check(key) && *names != NULL; names++) {
        if (PyUnicode_CompareWithASCIIString(key, *names) == 0) {
            return true;
        }
    }
    return false;
}

/* Whether a field of a body is text for the model. */
static bool is_prompt(PyObject *key)
{
    static const char *const names[] = {"messages",     "input", "prompt",   "system",
                                        "instructions", "tools", "contents", NULL};
    return is_any_of(key, names);
}

static bool is_not_data(PyObject *key)
{
    static const char *const names[] = {"data", NULL};
    return !is_any_of(key, names);
}

/* Appends those values of a dict to `parts` whose keys `counts`. -1 with an error set. */
static int add_values(PyObject *parts, PyObject *dict, bool (*counts)(PyObject *key))
{
    PyObject *key, *value;
    Py_ssize_t at = 0;
    int r = 0;
    XF_LOCK(dict);
    while (r == 0 && PyDict_Next(dict, &at, &key, &value)) {
        if (counts(key)) {
            r = PyList_Append(parts, value);
        }
    }
    XF_UNLOCK();
    return r;
}

/* Appends what is in a list or a dict to `parts`. -1 with an error set. */
static int add_parts(PyObject *parts, PyObject *part)
{
    if (PyDict_Check(part)) {
        return add_values(parts, part, is_not_data);
    }
    const Py_ssize_t end = PyList_GET_SIZE(parts);
    return PyList_Check(part) ? PyList_SetSlice(parts, end, end, part) : 0;
}

PyObject *xf_prompt_size(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 2) {
        return PyErr_Format(PyExc_TypeError, "prompt_size() takes 2 arguments, not %zd", nargs);
    }
    PyObject *body = PyDict_Check(args[0]) ? Py_NewRef(args[0])
                                           : PyObject_CallOneArg((PyObject *)&PyDict_Type, args[0]);
    PyObject *parts = PyList_New(0); /* not by recursion, since JSON may be nested deep */
    int64_t total = 0;
    int r = body != NULL && parts != NULL ? add_values(parts, body, is_prompt) : -1;
    for (Py_ssize_t i = 0; r == 0 && i < PyList_GET_SIZE(parts); i++) {
        PyObject *part = PyList_GET_ITEM(parts, i); /* borrowed: nothing else knows the list */
        if (!PyUnicode_Check(part)) {
            r = add_parts(parts, part);
            continue;
        }
        const int64_t size = size_of(part, args[1]);
        r = size < 0 ? -1 : 0;
        total = size > XF_ESTIMATE_MOST - total ? XF_ESTIMATE_MOST : total + size;
    }
    Py_XDECREF(parts);
    Py_XDECREF(body);
    return r == 0 ? PyLong_FromLongLong(total) : NULL;
}
