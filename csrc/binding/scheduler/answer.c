#include "binding/scheduler/answer.h"

#include "binding/loop/timer.h"

#include <string.h>

/* ---- its body ---- */

/* Where `key` stands in a text; NULL: nowhere. */
static const char *find(const char *text, const char *end, const char *key)
{
    const size_t size = strlen(key);
    while (text < end && (text = memchr(text, *key, (size_t)(end - text))) != NULL) {
        if ((size_t)(end - text) >= size && !memcmp(text, key, size)) {
            return text;
        }
        text++;
    }
    return NULL;
}

static const char *past_blanks(const char *text, const char *end)
{
    while (text < end && *text != 0 && strchr(" \t\n\r\f\v", *text) != NULL) {
        text++;
    }
    return text;
}

/* Whether the line names a server-sent event "error". */
static bool names_error_event(const char *line, const char *end)
{
    const size_t size = strlen("event:");
    if ((size_t)(end - line) < size || memcmp(line, "event:", size) != 0) {
        return false;
    }
    line += size;
    const char *name = line < end && (*line == ' ' || *line == '\t') ? line + 1 : line;
    const char *past = name + strlen("error");
    return past < end && !memcmp(name, "error", strlen("error")) && past_blanks(past, end) > past;
}

/* Whether there is one, in any line. */
static bool has_error_event(const char *text, const char *end)
{
    for (const char *line = text; line < end; line++) {
        if (names_error_event(line, end)) {
            return true;
        }
        line = memchr(line, '\n', (size_t)(end - line));
        if (line == NULL) {
            break;
        }
    }
    return false;
}

/* Whether there is a key "error" with something to it, as far as the text shows, or an event of
   that name. */
static bool may_name_error(const char *text, size_t size)
{
    const char *end = text + size;
    for (const char *p = text; (p = find(p, end, "\"error\"")) != NULL;) {
        p += strlen("\"error\"");
        const char *q = past_blanks(p, end);
        q = q < end && *q == ':' ? past_blanks(q + 1, end) : end;
        if (q < end && *q != 'n') {
            return true;
        }
    }
    return has_error_event(text, end) ||
           (size >= 2 && (!memcmp(text, "\xff\xfe", 2) || !memcmp(text, "\xfe\xff", 2) ||
                          memchr(text, 0, size < 4 ? size : 4) != NULL));
}

bool xf_answer_is_fine(PyObject *body)
{
    const char *text;
    Py_ssize_t size;
    if (body == Py_None) {
        return true;
    }
    if (PyDict_CheckExact(body)) {
        PyObject *error = PyDict_GetItemString(body, "error");
        return error == NULL || error == Py_None;
    }
    if (PyBytes_CheckExact(body)) {
        return !may_name_error(PyBytes_AS_STRING(body), (size_t)PyBytes_GET_SIZE(body));
    }
    if (PyUnicode_CheckExact(body) && (text = PyUnicode_AsUTF8AndSize(body, &size)) != NULL) {
        return find(text, text + size, "\"error\"") == NULL;
    }
    PyErr_Clear();
    return false;
}

bool xf_answer_usage(PyObject *body, xf_usage *usage)
{
    xf_usage_scan scan;
    xf_usage_begin(&scan);
    xf_usage_push(&scan, PyBytes_AS_STRING(body), (size_t)PyBytes_GET_SIZE(body));
    return xf_usage_read(&scan, usage);
}

/* ---- its head ---- */

enum { HEAD = 4096 }; /* bytes of it that are of interest */

static bool is_of_interest(const char *name)
{
    return *name == 'x' || *name == 'X' || *name == 'a' || *name == 'A' || *name == 'd' ||
           *name == 'D';
}

/* Writes a field to `head` at `*at`; false: it is for the reader in Python. */
static bool write_field(PyObject *name, PyObject *value, char *head, size_t *at)
{
    if (!PyUnicode_CheckExact(name) || !PyUnicode_CheckExact(value) || !PyUnicode_IS_ASCII(name) ||
        !PyUnicode_IS_ASCII(value)) {
        return false;
    }
    const char *text = PyUnicode_DATA(name), *said = PyUnicode_DATA(value);
    size_t size = (size_t)PyUnicode_GET_LENGTH(name);
    size_t length = (size_t)PyUnicode_GET_LENGTH(value);
    if (size == 0 || !is_of_interest(text)) {
        return true;
    }
    if (*at + size + length + 4 > HEAD || memchr(text, '\n', size) != NULL ||
        memchr(said, '\n', length) != NULL || memchr(said, '\r', length) != NULL) {
        return false;
    }
    memcpy(head + *at, text, size);
    memcpy(head + *at + size, ": ", 2);
    memcpy(head + *at + size + 2, said, length);
    memcpy(head + *at + size + 2 + length, "\r\n", 2);
    *at += size + length + 4;
    return true;
}

/* Writes the fields that tell of limits as text. False: they are for the reader in Python. */
static bool write_head(PyObject *headers, char *head, size_t *size)
{
    static const char status[] = "HTTP/1.1 200\r\n";
    PyObject *name, *value;
    Py_ssize_t at = 0;
    memcpy(head, status, sizeof status - 1);
    *size = sizeof status - 1;
    if (!PyDict_CheckExact(headers)) {
        return false;
    }
    while (PyDict_Next(headers, &at, &name, &value)) {
        if (!write_field(name, value, head, size)) {
            return false;
        }
    }
    return true;
}

int xf_answer_limits(PyObject *headers, xf_observation *seen)
{
    char text[HEAD], *head = text;
    Py_ssize_t length;
    size_t size;
    xf_quotas quotas;
    if (PyBytes_CheckExact(headers)) {
        (void)PyBytes_AsStringAndSize(headers, &head, &length);
        size = (size_t)length;
    } else if (!write_head(headers, text, &size)) {
        return -1;
    }
    return xf_quotas_read(&quotas, head, size, xf_unix_time()) ? xf_observe(&quotas, seen) : -1;
}
