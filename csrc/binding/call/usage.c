/* Amounts from users: estimates and reports of tokens. */
#include "binding/call/usage.h"

#include "binding/call/await.h"
#include "binding/call/call.h"
#include "binding/call/deliver.h"
#include "binding/call/estimate.h"
#include "binding/call/owner.h"
#include "core/sum.h"

#include <math.h>

static void set_error(PyObject *exception, const char *what, PyObject *key, const char *must_be,
                      PyObject *got)
{
    PyObject *label =
        key != NULL ? PyUnicode_FromFormat("%s[%R]", what, key) : PyUnicode_FromString(what);
    if (label != NULL) {
        PyErr_Format(exception, "%U must be %s, not %R", label, must_be, got);
        Py_DECREF(label);
    }
}

/* A whole number >= 0 from what the user gave as `what`, or as what[key] where key is not NULL; a
   fraction is rounded up, but for one of a named limit that is less than a unit: it would cost many
   times as much. -1 with an error set. */
static int64_t amount(PyObject *value, const char *what, PyObject *key)
{
    PyObject *number = NULL;
    int overflow = 0;
    int64_t result = -1;
    if (PyLong_CheckExact(value)) {
        number = Py_NewRef(value);
    } else if (PyIndex_Check(value)) {
        number = PyNumber_Index(value);
    } else {
        double d = PyFloat_AsDouble(value);
        if (key != NULL && d > 0 && d < 1) {
            set_error(PyExc_ValueError, what, key,
                      "in whole units (a limit on dollars can be one on micro-dollars)", value);
            return -1;
        }
        number = isfinite(d) && d >= 0 ? PyLong_FromDouble(ceil(d)) : NULL;
    }
    if (number != NULL) {
        result = PyLong_AsLongLongAndOverflow(number, &overflow);
        Py_DECREF(number);
    }
    if (PyErr_Occurred() && PyErr_ExceptionMatches(PyExc_TypeError)) { /* it is no number */
        PyErr_Clear(); /* the value's own repr is called next */
        set_error(PyExc_TypeError, what, key,
                  key != NULL ? "a number" : "a number or a mapping of limit names to numbers",
                  value);
    } else if ((result < 0 || overflow) && !PyErr_Occurred()) {
        set_error(PyExc_ValueError, what, key, "a finite number >= 0 and < 2**63", value);
        result = -1;
    }
    return result;
}

/* Sets out[i]. -1 with an error set if the bucket could never pay for so much. */
static int set_cost(SchedulerObject *s, uint32_t i, int64_t value, const char *what, int64_t *out)
{
    if (value > s->core.gate.limits[i].def.max_cost) {
        PyErr_Format(PyExc_ValueError,
                     "%s: %lld of the limit %R can never be paid for; at most %lld can", what,
                     (long long)value, PyTuple_GET_ITEM(s->names, i),
                     (long long)s->core.gate.limits[i].def.max_cost);
        return -1;
    }
    out[i] = value;
    return 0;
}

/* Sets out[] for every limit of that name, and its bit in `named`, for the first 64. Returns how
   many there are, or -1 with an error set. */
static int set_named(SchedulerObject *s, PyObject *name, int64_t value, const char *what,
                     int64_t *out, uint64_t *named)
{
    int found = 0;
    for (uint32_t i = 0; i < s->core.gate.n_limits; i++) {
        int same = PyObject_RichCompareBool(PyTuple_GET_ITEM(s->names, i), name, Py_EQ);
        if (same < 0 || (same && set_cost(s, i, value, what, out) < 0)) {
            return -1;
        }
        found += same;
        *named |= same && i < 64 ? UINT64_C(1) << i : 0;
    }
    return found;
}

static int64_t mapping_amounts(SchedulerObject *s, PyObject *amounts, const char *what,
                               int64_t *out)
{
    int64_t all = 0, tokens = -1;
    uint64_t named = 0;
    PyObject *items = PyMapping_Items(amounts);
    if (items == NULL) {
        return -1;
    }
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(items); i++) {
        PyObject *key, *value;
        if (!PyArg_ParseTuple(PyList_GET_ITEM(items, i), "OO", &key, &value)) {
            goto fail;
        }
        int64_t n = amount(value, what, key);
        int found = n < 0 ? -1 : set_named(s, key, n, what, out, &named);
        if (found < 0) {
            goto fail;
        }
        int is_tokens = PyObject_RichCompareBool(key, s->st->s_tokens, Py_EQ);
        int is_requests = PyObject_RichCompareBool(key, s->st->s_requests, Py_EQ);
        if (is_tokens < 0 || is_requests < 0) {
            goto fail;
        }
        if (found == 0 && !is_tokens) {
            PyErr_Format(PyExc_ValueError, "%s names %R, but the limits are %R", what, key,
                         s->names);
            goto fail;
        }
        tokens = is_tokens ? n : tokens;
        all += is_requests || all > INT64_MAX - n ? 0 : n;
    }
    Py_DECREF(items);
    tokens = tokens >= 0 ? tokens : all;
    /* Users cannot name limits that they do not know. */
    for (uint32_t i = s->n_configured; i < s->core.gate.n_limits; i++) {
        const bool is_named = i < 64 ? (named >> i & 1) != 0
                                     : PyMapping_HasKey(amounts, PyTuple_GET_ITEM(s->names, i));
        if (s->kinds[i] == XF_KIND_TOKENS && !is_named && set_cost(s, i, tokens, what, out) < 0) {
            return -1;
        }
    }
    return tokens;
fail:
    Py_DECREF(items);
    return -1;
}

/* The same of an estimate, which is a mapping too. All units in it have limits here, but for
   tokens. */
static int64_t estimated_amounts(SchedulerObject *s, const EstimatedObject *e, const char *what,
                                 int64_t *out)
{
    int64_t tokens = e->amounts[XF_TOKENS];
    if ((e->units >> XF_TOKENS & 1U) == 0) {
        tokens = xf_sum(e->amounts[XF_INPUT_TOKENS], e->amounts[XF_OUTPUT_TOKENS]);
    }
    for (uint32_t i = 0; i < s->core.gate.n_limits; i++) {
        const int unit = s->units[i];
        const bool is_named = unit >= 0 && (e->units >> unit & 1U) != 0;
        const bool is_place = i >= s->n_configured && s->kinds[i] == XF_KIND_TOKENS;
        if ((is_named || is_place) &&
            set_cost(s, i, is_named ? e->amounts[unit] : tokens, what, out) < 0) {
            return -1;
        }
    }
    return tokens;
}

int64_t xf_amounts(SchedulerObject *s, PyObject *amounts, const char *what, int64_t *out)
{
    if (PyObject_TypeCheck(amounts, s->st->estimated_type)) {
        const EstimatedObject *e = (const EstimatedObject *)amounts;
        return (e->units & ~s->reserved) == 0 ? estimated_amounts(s, e, what, out)
                                              : mapping_amounts(s, amounts, what, out);
    }
    if (!PyLong_CheckExact(amounts) &&
        (PyDict_Check(amounts) ||
         (!PyNumber_Check(amounts) && PyObject_HasAttrString(amounts, "keys")))) {
        return mapping_amounts(s, amounts, what, out);
    }
    int64_t n = amount(amounts, what, NULL);
    if (n > 0 && s->has_other && !s->has_tokens) {
        PyErr_Format(PyExc_ValueError,
                     "%s=%R does not say of which limit: give a mapping with names out of %R", what,
                     amounts, s->names);
        return -1;
    }
    for (uint32_t i = 0; n >= 0 && i < s->core.gate.n_limits; i++) {
        if (s->kinds[i] == XF_KIND_TOKENS && set_cost(s, i, n, what, out) < 0) {
            return -1;
        }
    }
    return n;
}

PyObject *xf_only_argument(const char *function, PyObject *name, PyObject *const *args,
                           Py_ssize_t nargs, PyObject *kwnames)
{
    Py_ssize_t nkw = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;
    if (nargs + nkw == 1 &&
        (nkw == 0 || PyUnicode_Compare(PyTuple_GET_ITEM(kwnames, 0), name) == 0)) {
        return args[0];
    }
    PyErr_Format(PyExc_TypeError, "%s() takes exactly one argument, %U", function, name);
    return NULL;
}

/* ---- report_token_usage() ---- */

void xf_call_settle(CallObject *c, const int64_t *amounts, int64_t tokens)
{
    SchedulerObject *s = c->scheduler;
    if (c->core.repeated) {
        return; /* it waits for its next attempt, which costs anew */
    }
    bool is_charged = false;
    for (uint32_t i = 0; i < s->core.gate.n_limits; i++) {
        is_charged |= amounts[i] > c->core.held[i];
    }
    const int64_t now = is_charged ? xf_port_now(s, c->port) : xf_port_about_now(s, c->port);
    for (uint32_t i = 0; i < s->core.gate.n_limits; i++) {
        if (amounts[i] != c->core.held[i]) {
            xf_settle(&s->core, &c->core, i, amounts[i], now);
        }
    }
    s->tokens_used += tokens - c->tokens;
    s->tokens_refunded += tokens < c->tokens ? c->tokens - tokens : 0;
    c->tokens = tokens;
    xf_deliver(s);
}

static int settle(CallObject *c, PyObject *actual)
{
    SchedulerObject *s = c->scheduler;
    uint32_t n = s->core.gate.n_limits;
    int64_t small[8], *amounts = small;
    if (n > Py_ARRAY_LENGTH(small) && (amounts = PyMem_Malloc(n * sizeof(int64_t))) == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memcpy(amounts, c->core.held, n * sizeof(int64_t));
    int64_t tokens = xf_amounts(s, actual, "actual", amounts);
    if (tokens >= 0) {
        xf_call_settle(c, amounts, tokens);
    }
    if (amounts != small) {
        PyMem_Free(amounts);
    }
    return tokens < 0 ? -1 : 0;
}

PyObject *xf_report_token_usage(PyObject *module, PyObject *const *args, Py_ssize_t nargs,
                                PyObject *kwnames)
{
    xf_module *st = PyModule_GetState(module);
    PyObject *actual = xf_only_argument("report_token_usage", st->s_actual, args, nargs, kwnames);
    if (actual == NULL) {
        return NULL;
    }
    CallObject *c = xf_call_current(st);
    if (c == NULL) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_RuntimeError,
                            "report_token_usage() was called outside a scheduled call: only what "
                            "start_task(), submit() or map() run has a usage to settle");
        }
        return NULL;
    }
    int r;
    XF_LOCK(c->scheduler);
    r = settle(c, actual);
    XF_UNLOCK();
    Py_DECREF(c);
    return r < 0 ? NULL : Py_NewRef(st->reported);
}

/* ---- what it returns: an awaitable that is done, and can be awaited any number of times ---- */

static PySendResult reported_am_send(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(value),
                                     PyObject **result)
{
    *result = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

static PyObject *reported_iternext(PyObject *Py_UNUSED(self))
{
    return NULL;
}

static PyObject *reported_send(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(value))
{
    return xf_send_result(PYGEN_RETURN, Py_NewRef(Py_None));
}

static PyObject *reported_throw(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t nargs)
{
    xf_set_thrown(args, nargs);
    return NULL;
}

static PyObject *reported_close(PyObject *Py_UNUSED(self), PyObject *Py_UNUSED(unused))
{
    Py_RETURN_NONE;
}

static int reported_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    return 0;
}

static void reported_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef reported_methods[] = {
    XF_AWAIT_METHOD(xf_await_method),
    {"send", reported_send, METH_O, NULL},
    {"throw", XF_FUNCTION(reported_throw), METH_FASTCALL, NULL},
    {"close", reported_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot reported_slots[] = {
    {Py_tp_doc, (void *)"The usage is settled; awaiting it gives None at once."},
    {Py_tp_dealloc, reported_dealloc},
    {Py_tp_traverse, reported_traverse},
    {Py_tp_methods, reported_methods},
    {Py_tp_iternext, reported_iternext},
    {Py_am_await, PyObject_SelfIter},
    {Py_am_send, reported_am_send},
    {0, NULL},
};

PyType_Spec xf_reported_spec = {
    .name = "xtremeflow._core.Reported",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION |
             Py_TPFLAGS_IMMUTABLETYPE,
    .slots = reported_slots,
};
