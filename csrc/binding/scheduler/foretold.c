/* Answers that tell nothing new: the limits in their heads are those that are kept to, they have
   passed, and how their usage is charged is known. Of most answers that is so, and then what is
   left moves the levels and the usage settles the call right here. The learner in Python is the
   reference. It says what it expects (_foretell), is shown every answer that is different, and is
   told of the others later, many at a time (_unread), before it looks at anything. */
#include "binding/scheduler/foretold.h"

#include "binding/call/call.h"
#include "binding/call/deliver.h"
#include "binding/call/usage.h"
#include "binding/loop/timer.h"
#include "binding/scheduler/observe.h"
#include "net/observation.h"
#include "net/usage.h"

#include <math.h>
#include <string.h>

enum { UNREAD = 32 };                  /* answers at most that the learner has not seen yet, */
#define UNREAD_NS INT64_C(50000000)    /* and for no longer */
enum { TOKENS, INPUT, OUTPUT, UNITS }; /* what is charged, in the order of values.charges.UNITS */
enum { NOT, BY_RULE, BY_USAGE };       /* how a call is to be settled */
enum { NOTHING, PROMPT, LARGER, SUM }; /* what is taken at admission, of a rule */

/* A limit, as answers have told of it, and what follows from one that says it again. */
typedef struct word {
    xf_observation told;
    long index;                        /* of the scheduler's limit; -1: it keeps to none of these */
    int is_late, is_bounded, is_level; /* see xf_scheduler_told(); it is kept to by its level */
    double per;                        /* s, of what is kept to */
    double notice;                     /* units: who takes more away is somebody else */
    double forget_at;                  /* s: when somebody else is forgotten; infinite: never */
    double remaining, reset;           /* as said last; -1: not, so far */
    PyObject *before;                  /* what was told of it: the learner's */
} word;

/* How a model's calls are charged, see values/charges.py; -1: not known. */
typedef struct rule {
    int admission, settles, cached_free;
    int is_open; /* older calls may still turn out to have cost less */
} rule;

typedef struct xf_foretold {
    bool is_armed;
    int is_blind;   /* heads are not looked at: there is no limit to be moved */
    double look_at; /* s: an answer from then on is the learner's in any case */
    long slots;     /* more calls in flight than this, while others wait, are, too; -1: any */
    int n_words;
    word words[XF_QUOTAS];
    PyObject *passed;        /* the verdict */
    PyObject *estimate_type; /* what the learner estimates */
    PyObject *rules;         /* dict: model -> what a rule has */
    PyObject *unread;        /* list of records */
    int64_t unread_since;
} xf_foretold;

/* ---- what the learner says ---- */

static xf_foretold *foretold(SchedulerObject *s)
{
    if (s->foretold == NULL) {
        xf_foretold *f = PyMem_Calloc(1, sizeof(*f));
        if (f == NULL || (f->unread = PyList_New(0)) == NULL || (f->rules = PyDict_New()) == NULL) {
            if (f != NULL) {
                Py_XDECREF(f->unread);
            }
            PyMem_Free(f);
            PyErr_NoMemory();
            return NULL;
        }
        s->foretold = f;
    }
    return s->foretold;
}

static int parse_word(SchedulerObject *s, PyObject *item, word *w)
{
    int name, slides;
    PyObject *before = w->before;
    *w = (word){.remaining = -1, .reset = -1};
    Py_XDECREF(before);
    before = NULL;
    if (!PyArg_ParseTuple(item, "(iddddp)lpppdddO:_foretell", &name, &w->told.per, &w->told.amount,
                          &w->told.window, &w->told.burst, &slides, &w->index, &w->is_late,
                          &w->is_bounded, &w->is_level, &w->per, &w->notice, &w->forget_at,
                          &before)) {
        return -1;
    }
    w->before = Py_NewRef(before);
    w->told.name = (xf_quota_name)name;
    w->told.slides = slides;
    if (w->index >= (long)s->core.gate.n_limits) {
        PyErr_Format(PyExc_IndexError, "there are %u limits, not %ld", s->core.gate.n_limits,
                     w->index);
        return -1;
    }
    return 0;
}

PyObject *xf_scheduler_foretell(PyObject *self, PyObject *args)
{
    SchedulerObject *s = (SchedulerObject *)self;
    PyObject *words, *passed, *estimate_type;
    int is_blind;
    double look_at;
    long slots;
    xf_foretold *f = xf_scheduler_check(s) < 0 ? NULL : foretold(s);
    if (f == NULL || !PyArg_ParseTuple(args, "O!dlpOO:_foretell", &PyTuple_Type, &words, &look_at,
                                       &slots, &is_blind, &passed, &estimate_type)) {
        return NULL;
    }
    f->is_armed = false;
    if (PyTuple_GET_SIZE(words) > XF_QUOTAS) {
        Py_RETURN_NONE; /* no provider has so many */
    }
    f->n_words = (int)PyTuple_GET_SIZE(words);
    for (int i = 0; i < f->n_words; i++) {
        if (parse_word(s, PyTuple_GET_ITEM(words, i), &f->words[i]) < 0) {
            return NULL;
        }
    }
    f->look_at = look_at;
    f->slots = slots;
    f->is_blind = is_blind;
    Py_XSETREF(f->passed, Py_NewRef(passed));
    Py_XSETREF(f->estimate_type, Py_NewRef(estimate_type));
    f->is_armed = true;
    Py_RETURN_NONE;
}

PyObject *xf_scheduler_charged_as(PyObject *self, PyObject *args)
{
    SchedulerObject *s = (SchedulerObject *)self;
    PyObject *model, *how;
    xf_foretold *f = xf_scheduler_check(s) < 0 ? NULL : foretold(s);
    if (f == NULL || !PyArg_ParseTuple(args, "OO:_charged_as", &model, &how)) {
        return NULL;
    }
    if (model == Py_None) {
        PyDict_Clear(f->rules);
    } else if (how == Py_None) {
        if (PyDict_DelItem(f->rules, model) < 0) {
            PyErr_Clear();
        }
    } else if (PyDict_SetItem(f->rules, model, how) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* The records so far. */
static PyObject *take_unread(xf_foretold *f)
{
    PyObject *records = f->unread;
    f->unread = PyList_New(0);
    if (f->unread == NULL) {
        f->unread = records;
        return NULL;
    }
    return records;
}

PyObject *xf_scheduler_unread(PyObject *self, PyObject *Py_UNUSED(unused))
{
    xf_foretold *f = ((SchedulerObject *)self)->foretold;
    return f == NULL || PyList_GET_SIZE(f->unread) == 0 ? PyList_New(0) : take_unread(f);
}

PyObject *xf_scheduler_unforetell(PyObject *self, PyObject *Py_UNUSED(unused))
{
    xf_foretold *f = ((SchedulerObject *)self)->foretold;
    int n = f != NULL && f->is_armed ? f->n_words : 0;
    PyObject *last = PyList_New(0);
    for (int i = 0; last != NULL && i < n; i++) {
        const word *w = &f->words[i];
        PyObject *one = w->remaining < 0 || w->index < 0
                            ? Py_NewRef(Py_None)
                            : Py_BuildValue("(ldd)", w->index, w->remaining, w->reset);
        if (one == NULL || (one != Py_None && PyList_Append(last, one) < 0)) {
            Py_CLEAR(last);
        }
        Py_XDECREF(one);
    }
    if (last != NULL && f != NULL) {
        f->is_armed = false;
    }
    return last;
}

/* ---- an answer ---- */

typedef struct answer {
    CallObject *call;
    int64_t now, sent_at, received_at;
    int n_seen;
    xf_observation seen[XF_QUOTAS];
    word *words[XF_QUOTAS]; /* of what is seen; NULL: it is of no use */
    int how;                /* NOT, BY_RULE or BY_USAGE */
    xf_usage usage;
    PyObject *model; /* owned; the estimate's, or NULL */
    int64_t most;    /* tokens that the answer may have had, as estimated */
    rule rule;
    int64_t most_charged[UNITS], least_charged[UNITS]; /* what the call may have cost */
} answer;

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

/* Whether there is a key "error" with something to it, as far as the text shows. */
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
    return size >= 2 && (!memcmp(text, "\xff\xfe", 2) || !memcmp(text, "\xfe\xff", 2) ||
                         memchr(text, 0, size < 4 ? size : 4) != NULL);
}

/* Whether a body, of an answer that has a good status, is known to be one without an error. */
static bool is_fine(PyObject *body)
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

/* ---- its head ---- */

enum { HEAD = 4096 };

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

/* What a dict of header fields says of limits, as text. False: it is for the reader in Python. */
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

static word *word_of(xf_foretold *f, const xf_observation *o)
{
    for (int i = 0; i < f->n_words; i++) {
        word *w = &f->words[i];
        if (xf_observation_is_of(&w->told, o)) {
            return w;
        }
    }
    for (int i = 0; o->per == 0 && i < f->n_words; i++) { /* of any period: minutes stand first */
        word *w = &f->words[i];
        if (w->told.name == o->name && w->told.amount == o->amount) {
            return w->told.per == 60 ? w : NULL;
        }
    }
    return NULL;
}

/* Whether all that a head tells of limits is as it was. */
static bool read_head(xf_foretold *f, PyObject *headers, answer *a)
{
    char text[HEAD], *head = text;
    Py_ssize_t length;
    size_t size;
    xf_quotas quotas;
    a->n_seen = 0;
    if (f->is_blind) {
        return true;
    }
    if (PyBytes_CheckExact(headers)) {
        (void)PyBytes_AsStringAndSize(headers, &head, &length);
        size = (size_t)length;
    } else if (!write_head(headers, text, &size)) {
        return false;
    }
    if (!xf_quotas_read(&quotas, head, size, xf_unix_time()) ||
        (a->n_seen = xf_observe(&quotas, a->seen)) < 0) {
        return false;
    }
    for (int i = 0; i < a->n_seen; i++) {
        a->words[i] = a->seen[i].per > 86400 ? NULL : word_of(f, &a->seen[i]);
        if (a->words[i] == NULL ? a->seen[i].per <= 86400 : a->words[i]->told.slides) {
            return false;
        }
    }
    return true;
}

/* ---- its usage ---- */

/* What was estimated. False: not in a way that is known here. */
static bool read_estimate(const xf_foretold *f, answer *a)
{
    PyObject *estimate = a->call->estimate;
    if (estimate != NULL && (PyObject *)Py_TYPE(estimate) == f->estimate_type) {
        PyObject *most = PyObject_GetAttrString(estimate, "most");
        a->model = PyObject_GetAttrString(estimate, "model");
        a->most = most == NULL || most == Py_None ? 0 : PyLong_AsLongLong(most);
        Py_XDECREF(most);
    } else if (estimate == NULL || PyLong_CheckExact(estimate)) {
        int64_t total = estimate != NULL ? PyLong_AsLongLong(estimate) : 0;
        a->model = PyUnicode_FromStringAndSize(NULL, 0);
        a->most = total > a->usage.input ? total - a->usage.input : 0;
    }
    bool is_read = a->model != NULL && !PyErr_Occurred() && a->most <= XF_MOST_TOKENS;
    PyErr_Clear();
    return is_read;
}

static bool read_rule(const xf_foretold *f, answer *a)
{
    PyObject *how = PyDict_GetItem(f->rules, a->model);
    if (how == NULL || !PyArg_ParseTuple(how, "iiip", &a->rule.admission, &a->rule.settles,
                                         &a->rule.cached_free, &a->rule.is_open)) {
        PyErr_Clear();
        return false;
    }
    if (a->how == BY_USAGE) {
        const bool decides = a->rule.is_open; /* something, so that is the learner's to see */
        a->rule = (rule){.admission = SUM, .settles = 1, .cached_free = 0};
        return !decides;
    }
    return true;
}

/* Whether it is known what a call is charged that has used so much. */
static bool read_usage(const xf_foretold *f, PyObject *body, answer *a)
{
    xf_usage_scan scan;
    if (a->how == NOT) {
        return true;
    }
    if (!PyBytes_CheckExact(body)) {
        return false;
    }
    xf_usage_begin(&scan);
    xf_usage_push(&scan, PyBytes_AS_STRING(body), (size_t)PyBytes_GET_SIZE(body));
    if (!xf_usage_read(&scan, &a->usage)) {
        a->how = NOT;
        return true;
    }
    return read_estimate(f, a) && read_rule(f, a);
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* What is taken at admission: see values/charges.py, as for the two functions below. */
static void taken(int admission, int64_t input, int64_t most, int64_t *amounts)
{
    const int64_t wanted = admission == LARGER || admission == SUM ? most : 0;
    const int64_t given = admission == NOTHING ? 0 : input;
    amounts[TOKENS] = admission == LARGER ? larger(given, wanted) : given + wanted;
    amounts[INPUT] = given;
    amounts[OUTPUT] = wanted;
}

static bool is_known(const rule *r)
{
    return r->admission >= 0 && r->settles >= 0 && r->cached_free >= 0;
}

/* The most, or the least, that a call may have cost. */
static void charged(const answer *a, bool is_most, int64_t *amounts)
{
    const rule r = a->rule;
    const bool is_free = is_most ? r.cached_free == 1 : r.cached_free != 0;
    const int64_t input = larger(0, a->usage.input - (is_free ? a->usage.cached : 0));
    const int64_t used[UNITS] = {input + a->usage.output, input, a->usage.output};
    const int unknown = is_most ? SUM : LARGER;
    int64_t kept[UNITS];
    taken(r.admission < 0 ? unknown : r.admission, input, a->most, kept);
    for (int unit = 0; unit < UNITS; unit++) {
        amounts[unit] = r.settles == 1   ? used[unit]
                        : r.settles == 0 ? kept[unit]
                        : is_most        ? larger(kept[unit], used[unit])
                                         : smaller(kept[unit], used[unit]);
    }
}

/* The unit that limit `i` counts; -1: none. */
static int unit_of(const SchedulerObject *s, uint32_t i)
{
    static const char *const names[] = {"tokens", "input_tokens", "output_tokens"};
    for (int unit = 0; unit < UNITS; unit++) {
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(s->names, i), names[unit]) == 0) {
            return unit;
        }
    }
    return -1;
}

/* What the call is settled at, of each limit. False: a limit could never pay for that. */
static bool price(const SchedulerObject *s, answer *a)
{
    if (a->how == NOT) {
        return true;
    }
    charged(a, true, a->most_charged);
    charged(a, false, a->least_charged);
    for (uint32_t i = 0; i < s->core.gate.n_limits; i++) {
        const int unit = i < XF_QUOTAS ? unit_of(s, i) : -1;
        if (i >= XF_QUOTAS ||
            (unit >= 0 && a->most_charged[unit] > s->core.gate.limits[i].def.max_cost)) {
            return false;
        }
    }
    return true;
}

static void settle(SchedulerObject *s, const answer *a)
{
    const bool is_sure = is_known(&a->rule);
    int64_t units[XF_QUOTAS];
    for (uint32_t i = 0; i < s->core.gate.n_limits; i++) {
        const int unit = unit_of(s, i);
        units[i] = unit < 0 ? a->call->core.held[i] : a->most_charged[unit];
    }
    xf_call_settle(a->call, units, a->most_charged[TOKENS]);
    for (uint32_t i = 0; i < s->core.gate.n_limits && !is_sure; i++) {
        const int unit = unit_of(s, i);
        if (unit >= 0 && a->most_charged[unit] > a->least_charged[unit]) {
            xf_withhold(&s->core, i, a->most_charged[unit] - a->least_charged[unit]);
        }
    }
}

/* ---- what follows from it ---- */

/* Tells the learner that somebody else was noticed at a limit, or is to be forgotten. */
static void notice(SchedulerObject *s, word *w, double moved)
{
    PyObject *at = PyObject_CallMethod((PyObject *)s, "_noticed", "ld", w->index, moved);
    double forget_at = at != NULL ? PyFloat_AsDouble(at) : -1;
    Py_XDECREF(at);
    if (PyErr_Occurred()) {
        PyErr_WriteUnraisable((PyObject *)s);
    } else {
        w->forget_at = forget_at;
    }
}

static void follow(SchedulerObject *s, const answer *a, const xf_observation *o, word *w)
{
    const uint32_t i = (uint32_t)w->index;
    if (o->remaining < 0) {
        return;
    }
    w->remaining = o->remaining;
    w->reset = o->reset;
    if (!w->is_level && w->per <= 60 && o->remaining > 0 && o->reset > 0) {
        const double left = fmin(fmax(o->reset, 1), w->per);
        const int64_t now = xf_port_now(s, NULL);
        const xf_pacing pacing = {.most = o->remaining / left,
                                  .until = now + (int64_t)(left * 1e9)};
        xf_set_pace(&s->core, i, &pacing, now);
    }
    const int64_t now = xf_port_now(s, a->call->port);
    const xf_remaining left = {.units = o->remaining,
                               .sent_at = a->sent_at,
                               .answered_at = a->received_at,
                               .doubt = xf_doubt(&s->core, i, &a->call->core, w->is_late),
                               .bounded = w->is_bounded || !w->is_level};
    const double moved = xf_told(&s->core, i, &left, now);
    if (w->is_level && (-moved > w->notice || (double)now * 1e-9 > w->forget_at)) {
        notice(s, w, moved);
    }
}

static PyObject *number(double value)
{
    return value < 0 ? Py_NewRef(Py_None) : PyFloat_FromDouble(value);
}

/* (what was told before, remaining, reset) of each limit on tokens that may show what is charged.
   NULL with an error set. */
static PyObject *seen(const answer *a)
{
    PyObject *all = PyList_New(0);
    for (int i = 0; all != NULL && i < a->n_seen; i++) {
        const xf_observation *o = &a->seen[i];
        if (o->name == XF_QUOTA_REQUESTS || o->remaining < 0 || a->words[i] == NULL ||
            a->words[i]->told.per != 60) {
            continue;
        }
        PyObject *one = Py_BuildValue("(OdN)", a->words[i]->before, o->remaining, number(o->reset));
        if (one == NULL || PyList_Append(all, one) < 0) {
            Py_CLEAR(all);
        }
        Py_XDECREF(one);
    }
    return all;
}

/* (input, output, cached, most, what of each unit is withheld or None). NULL with an error set. */
static PyObject *usage_of(const answer *a)
{
    const int64_t *most = a->most_charged, *least = a->least_charged;
    PyObject *withheld = NULL;
    if (a->how == NOT) {
        Py_RETURN_NONE;
    }
    if (!is_known(&a->rule) && memcmp(most, least, sizeof a->most_charged) != 0) {
        withheld = Py_BuildValue("(LLL)", (long long)(most[TOKENS] - least[TOKENS]),
                                 (long long)(most[INPUT] - least[INPUT]),
                                 (long long)(most[OUTPUT] - least[OUTPUT]));
    } else {
        withheld = Py_NewRef(Py_None);
    }
    return withheld == NULL
               ? NULL
               : Py_BuildValue("(LLLLN)", (long long)a->usage.input, (long long)a->usage.output,
                               (long long)a->usage.cached, (long long)a->most, withheld);
}

/* Puts down what the learner is to be told of it. */
static int record(xf_foretold *f, const SchedulerObject *s, const answer *a)
{
    const CallObject *c = a->call;
    PyObject *items[] = {
        PyFloat_FromDouble((double)a->now * 1e-9),
        PyFloat_FromDouble((double)c->core.dispatched_at * 1e-9),
        PyLong_FromLong((long)c->core.crowd),
        PyLong_FromLong((long)s->core.gate.in_use),
        PyLong_FromLong((long)s->core.queue.size),
        PyFloat_FromDouble((double)a->sent_at * 1e-9),
        PyFloat_FromDouble((double)a->received_at * 1e-9),
        Py_NewRef(c->estimate != NULL ? c->estimate : Py_None),
        usage_of(a),
        seen(a),
    };
    PyObject *one = PyTuple_New(Py_ARRAY_LENGTH(items));
    for (size_t i = 0; i < Py_ARRAY_LENGTH(items); i++) {
        if (one == NULL || items[i] == NULL) {
            Py_CLEAR(one);
            Py_XDECREF(items[i]);
        } else {
            PyTuple_SET_ITEM(one, (Py_ssize_t)i, items[i]);
        }
    }
    int r = one == NULL ? -1 : PyList_Append(f->unread, one);
    Py_XDECREF(one);
    if (r == 0 && PyList_GET_SIZE(f->unread) == 1) {
        f->unread_since = a->now;
    }
    return r;
}

/* Has the learner catch up if it is behind by much. */
static void catch_up(xf_foretold *f, SchedulerObject *s, int64_t now)
{
    if (PyList_GET_SIZE(f->unread) < UNREAD && now - f->unread_since < UNREAD_NS) {
        return;
    }
    PyObject *done = PyObject_CallMethod((PyObject *)s, "_catch_up", NULL);
    if (done == NULL) {
        PyErr_WriteUnraisable((PyObject *)s);
    }
    Py_XDECREF(done);
}

/* ---- the answer as a whole ---- */

static bool is_foreseen(SchedulerObject *s, answer *a, PyObject *headers, PyObject *body)
{
    const xf_foretold *f = s->foretold;
    if (f == NULL || !f->is_armed || s->alarm_at > 0 || (double)a->now * 1e-9 >= f->look_at ||
        a->call->core.repeated ||
        (f->slots >= 0 && s->core.queue.size > 0 && (long)s->core.gate.in_use >= f->slots)) {
        return false;
    }
    return is_fine(body) && read_head(s->foretold, headers, a) && read_usage(f, body, a) &&
           price(s, a);
}

static void take_in(SchedulerObject *s, const answer *a)
{
    xf_foretold *f = s->foretold;
    CallObject *c = a->call;
    for (int i = 0; i < a->n_seen; i++) {
        if (a->words[i] != NULL && a->words[i]->index >= 0) {
            follow(s, a, &a->seen[i], a->words[i]);
        }
    }
    if (c->callback == NULL) {
        Py_XSETREF(c->verdict, Py_NewRef(f->passed));
    }
    if (record(f, s, a) < 0) {
        PyErr_WriteUnraisable((PyObject *)s);
    }
    if (a->how != NOT) {
        settle(s, a);
    }
    xf_deliver(s);
    catch_up(f, s, a->now);
}

/* The call that was answered, new reference; NULL: none that is in flight here. */
static CallObject *call_of(SchedulerObject *s, PyObject *given)
{
    if (given == Py_None) {
        CallObject *c = xf_call_in_flight(s);
        PyErr_Clear();
        return c;
    }
    CallObject *c = (CallObject *)given;
    bool is_ours = Py_IS_TYPE(given, s->st->call_type) && c->scheduler == s &&
                   c->core.state == XF_CALL_IN_FLIGHT;
    return is_ours ? (CallObject *)Py_NewRef(given) : NULL;
}

PyObject *xf_scheduler_foreseen(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    SchedulerObject *s = (SchedulerObject *)self;
    answer a = {.call = NULL};
    if (xf_scheduler_check(s) < 0) {
        return NULL;
    }
    if (nargs != 7) {
        return PyErr_Format(PyExc_TypeError, "_foreseen() takes 7 arguments, not %zd", nargs);
    }
    const long status = PyLong_AsLong(args[1]);
    a.how = (int)PyLong_AsLong(args[6]);
    if (PyErr_Occurred()) {
        return NULL;
    }
    a.call = s->foretold != NULL && status >= 200 && status < 300 ? call_of(s, args[0]) : NULL;
    if (a.call == NULL) {
        Py_RETURN_FALSE;
    }
    a.now = xf_port_now(s, a.call->port);
    a.sent_at = xf_instant(args[4], "sent_at", a.call->core.dispatched_at);
    a.received_at = xf_instant(args[5], "received_at", a.now);
    bool is = a.sent_at >= 0 && a.received_at >= 0 && is_foreseen(s, &a, args[2], args[3]);
    if (is) {
        take_in(s, &a);
    }
    Py_XDECREF(a.model);
    Py_DECREF(a.call);
    return PyErr_Occurred() ? NULL : PyBool_FromLong(is);
}

/* ---- life ---- */

int xf_foretold_traverse(const SchedulerObject *s, visitproc visit, void *arg)
{
    const xf_foretold *f = s->foretold;
    if (f != NULL) {
        Py_VISIT(f->passed);
        Py_VISIT(f->estimate_type);
        Py_VISIT(f->rules);
        Py_VISIT(f->unread);
        for (int i = 0; i < XF_QUOTAS; i++) {
            Py_VISIT(f->words[i].before);
        }
    }
    return 0;
}

void xf_foretold_free(SchedulerObject *s)
{
    xf_foretold *f = s->foretold;
    s->foretold = NULL;
    if (f != NULL) {
        Py_XDECREF(f->passed);
        Py_XDECREF(f->estimate_type);
        Py_XDECREF(f->rules);
        Py_XDECREF(f->unread);
        for (int i = 0; i < XF_QUOTAS; i++) {
            Py_XDECREF(f->words[i].before);
        }
        PyMem_Free(f);
    }
}
