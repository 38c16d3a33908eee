/* Answers that tell nothing new: the limits in their heads are those that are kept to, they have
   passed, and how their usage is charged is known. Of most answers that is so, and then what is
   left moves the levels and the usage settles the call right here. A stream's usage comes at its
   end, after its answer was taken in, and settles its call by itself. The learner in Python is the
   reference. It says what it expects (_foretell), is shown every answer that is different, and is
   told of the others later, many at a time (_unread), before it looks at anything. */
#include "binding/scheduler/foretold.h"

#include "binding/call/call.h"
#include "binding/call/deliver.h"
#include "binding/call/usage.h"
#include "binding/loop/timer.h"
#include "binding/record.h"
#include "binding/scheduler/answer.h"
#include "binding/scheduler/expected.h"
#include "binding/scheduler/observe.h"
#include "binding/scheduler/tariff.h"
#include "binding/scheduler/unread.h"

#include <math.h>
#include <string.h>

enum { UNREAD = 64 };               /* answers at most that the learner has not seen yet, */
#define UNREAD_NS INT64_C(50000000) /* and for no longer */
enum { NOT, BY_RULE, BY_USAGE };    /* how a call is to be settled */

PyObject *xf_scheduler_unread(PyObject *self, PyObject *Py_UNUSED(unused))
{
    SchedulerObject *s = (SchedulerObject *)self;
    return s->foretold == NULL || s->foretold->unread.count == 0
               ? Py_NewRef(Py_None)
               : xf_unread_fetch(s->st, &s->foretold->unread);
}

/* ---- an answer ---- */

typedef struct answer {
    CallObject *call;
    int64_t now, sent_at, received_at;
    int n_seen;
    xf_observation seen[XF_QUOTAS];
    xf_word *words[XF_QUOTAS];       /* of what is seen; NULL: it is of no use */
    const EstimatedObject *estimate; /* the call's; NULL: a number, or none */
    PyObject *model;                 /* owned */
    int how;                         /* NOT, BY_RULE or BY_USAGE */
    int64_t kept;                    /* of its input, in tokens: written to the cache */
    xf_used used;
    xf_rule rule;
    TypicalObject *typical;                        /* owned, or NULL */
    int64_t charged[XF_UNITS], withheld[XF_UNITS]; /* the most that the call may have cost; and by
                                                      how much that may be too much */
} answer;

/* ---- its limits ---- */

static xf_word *word_of(xf_foretold *f, const xf_observation *o)
{
    for (int i = 0; i < f->n_words; i++) {
        xf_word *w = &f->words[i];
        if (xf_observation_is_of(&w->told, o)) {
            return w;
        }
    }
    for (int i = 0; o->per == 0 && i < f->n_words; i++) { /* of any period: minutes stand first */
        xf_word *w = &f->words[i];
        if (w->told.name == o->name && w->told.amount == o->amount) {
            return w->told.per == 60 ? w : NULL;
        }
    }
    return NULL;
}

/* Whether all that a head tells of limits is as it was. */
static bool read_head(xf_foretold *f, PyObject *headers, answer *a)
{
    a->n_seen = f->is_blind ? 0 : xf_answer_limits(headers, a->seen);
    for (int i = 0; i < a->n_seen; i++) {
        a->words[i] = a->seen[i].per > 86400 ? NULL : word_of(f, &a->seen[i]);
        if (a->words[i] == NULL ? a->seen[i].per <= 86400 : a->words[i]->told.slides) {
            return false;
        }
    }
    return a->n_seen >= 0;
}

/* ---- its usage ---- */

/* Reads the estimate. False: it has a form that is not known here. */
static bool read_estimate(answer *a)
{
    PyObject *estimate = a->call->estimate;
    if (estimate != NULL && PyObject_TypeCheck(estimate, a->call->scheduler->st->estimated_type)) {
        a->estimate = (const EstimatedObject *)estimate;
        a->model = Py_NewRef(a->estimate->model);
        a->used.most = a->estimate->most > 0 ? a->estimate->most : 0;
        return a->used.most <= XF_MOST_TOKENS;
    }
    a->model = PyUnicode_FromStringAndSize(NULL, 0);
    if (a->how == NOT || estimate == NULL) {
        return a->model != NULL;
    }
    const int64_t total = PyLong_CheckExact(estimate) ? PyLong_AsLongLong(estimate) : -1;
    a->used.most = total > a->used.input ? total - a->used.input : 0;
    PyErr_Clear();
    return a->model != NULL && total >= 0 && a->used.most <= XF_MOST_TOKENS;
}

static bool read_rule(SchedulerObject *s, answer *a)
{
    static const xf_rule by_usage = {.admission = XF_ADMIT_SUM, .settles = 1, .cached_free = 0};
    const xf_tariff *tariff = xf_tariff_of(s, a->model);
    if (tariff == NULL || (a->how == BY_USAGE && tariff->in_doubt)) {
        return false; /* older calls may turn out to have cost less, which is the learner's to see
                       */
    }
    a->rule = a->how == BY_USAGE ? by_usage : tariff->rule;
    a->typical = (TypicalObject *)Py_NewRef(tariff->typical);
    return true;
}

/* Whether it is known what a call is charged that has used so much. */
static bool read_charge(SchedulerObject *s, answer *a)
{
    return read_estimate(a) && (a->how == NOT || read_rule(s, a));
}

/* The same, of the usage in a body. */
static bool read_usage(SchedulerObject *s, PyObject *body, answer *a)
{
    xf_usage usage;
    if (a->how != NOT && !PyBytes_CheckExact(body)) {
        return false;
    }
    if (a->how != NOT && xf_answer_usage(body, &usage)) {
        a->used = (xf_used){usage.input, usage.output, usage.cached, 0};
        a->kept = usage.kept;
    } else {
        a->how = NOT;
    }
    return read_charge(s, a);
}

/* Computes the settlement of the call, for each limit. False: a limit could never pay for it. */
static bool price(const SchedulerObject *s, answer *a)
{
    int64_t least[XF_UNITS];
    if (a->how == NOT) {
        return true;
    }
    xf_rule_settle(&a->rule, &a->used, false, a->charged);
    xf_rule_settle(&a->rule, &a->used, true, least);
    for (int unit = 0; unit < XF_UNITS; unit++) {
        a->withheld[unit] = xf_rule_is_known(&a->rule) ? 0 : a->charged[unit] - least[unit];
    }
    for (uint32_t i = 0; i < s->core.gate.n_limits; i++) {
        const int unit = s->units[i];
        if (i >= XF_QUOTAS ||
            (unit >= 0 && a->charged[unit] > s->core.gate.limits[i].def.max_cost)) {
            return false;
        }
    }
    return true;
}

static void settle(SchedulerObject *s, const answer *a)
{
    int64_t units[XF_QUOTAS];
    for (uint32_t i = 0; i < s->core.gate.n_limits; i++) {
        units[i] = s->units[i] < 0 ? a->call->core.held[i] : a->charged[s->units[i]];
    }
    if (a->estimate != NULL) {
        xf_typical_learn(a->typical, a->estimate, a->used.input, a->used.output);
    }
    xf_call_settle(a->call, units, a->charged[XF_TOKENS]);
    for (uint32_t i = 0; i < s->core.gate.n_limits; i++) {
        const int64_t withheld = s->units[i] < 0 ? 0 : a->withheld[s->units[i]];
        if (withheld > 0) {
            xf_withhold(&s->core, i, withheld);
        }
    }
}

/* ---- what follows from it ---- */

/* Tells the learner that another user was noticed at a limit, or is to be forgotten. */
static void notice(SchedulerObject *s, const xf_word *by, double moved)
{
    PyObject *at = PyObject_CallMethod((PyObject *)s, "_noticed", "ld", by->index, moved);
    double forget_at = at != NULL ? PyFloat_AsDouble(at) : -1;
    Py_XDECREF(at);
    if (PyErr_Occurred()) {
        PyErr_WriteUnraisable((PyObject *)s);
        return;
    }
    xf_foretold *f = s->foretold;
    for (int i = 0; f != NULL && i < f->n_words; i++) {
        f->words[i].forget_at = forget_at;
    }
}

static void follow(SchedulerObject *s, const answer *a, const xf_observation *o, xf_word *w)
{
    const uint32_t i = (uint32_t)w->index;
    if (o->remaining < 0) {
        return;
    }
    w->remaining = o->remaining;
    w->reset = o->reset;
    if (!w->is_level && w->per <= 60 && o->remaining > 0 && o->reset > 0) {
        const double left = fmin(fmax(o->reset, 1), w->per);
        const xf_pacing pacing = {.most = o->remaining / left,
                                  .until = a->now + (int64_t)(left * 1e9)};
        xf_set_pace(&s->core, i, &pacing, a->now);
    }
    const xf_remaining left = {.units = o->remaining,
                               .sent_at = a->sent_at,
                               .answered_at = a->received_at,
                               .doubt = xf_doubt(&s->core, i, &a->call->core, w->is_late),
                               .bounded = w->is_bounded || !w->is_level};
    const double moved = xf_told(&s->core, i, &left, a->now);
    if (w->is_level && (-moved > w->notice || (double)a->now * 1e-9 > w->forget_at)) {
        notice(s, w, moved);
    }
}

/* Puts down what the learner is to be told of it. Reports that there is no memory. */
static void put_down(xf_foretold *f, const SchedulerObject *s, const answer *a, bool is_flight)
{
    xf_unread *u = xf_unread_add(&f->unread);
    if (u == NULL) {
        PyErr_NoMemory();
        PyErr_WriteUnraisable((PyObject *)s);
        return;
    }
    u->is_flight = is_flight;
    u->now = a->now;
    u->dispatched = a->call->core.dispatched_at;
    u->sent_at = a->sent_at;
    u->received_at = a->received_at;
    u->crowd = a->call->core.crowd;
    u->in_flight = s->core.gate.in_use;
    u->waiting = s->core.queue.size;
    u->model = Py_NewRef(a->model);
    u->is_settled = a->how != NOT;
    u->used = a->used;
    memcpy(u->withheld, a->withheld, sizeof u->withheld);
    for (int i = 0; i < a->n_seen; i++) {
        const xf_observation *o = &a->seen[i];
        if (o->name != XF_QUOTA_REQUESTS && o->remaining >= 0 && a->words[i] != NULL &&
            a->words[i]->told.per == 60) {
            u->told[u->n_told++] =
                (xf_telling){Py_NewRef(a->words[i]->before), o->remaining, o->reset};
        }
    }
    if (f->unread.count == 1) {
        f->unread_since = a->now;
    }
}

/* Has the learner catch up if it is behind by much. */
static void catch_up(xf_foretold *f, SchedulerObject *s, int64_t now)
{
    if (f->unread.count < UNREAD && now - f->unread_since < UNREAD_NS) {
        return;
    }
    PyObject *done = PyObject_CallMethod((PyObject *)s, "_catch_up", NULL);
    if (done == NULL) {
        PyErr_WriteUnraisable((PyObject *)s);
    }
    Py_XDECREF(done);
}

/* ---- the answer as a whole ---- */

/* Whether the learner has said what it expects of an answer to this call. */
static bool is_expected(const SchedulerObject *s, const answer *a)
{
    const xf_foretold *f = s->foretold;
    return f != NULL && f->is_armed && s->alarm_at <= 0 && (double)a->now * 1e-9 < f->look_at &&
           !a->call->core.repeated && !a->call->core.grouped &&
           (f->slots < 0 || s->core.queue.size == 0 || (long)s->core.gate.in_use < f->slots);
}

static bool is_foreseen(SchedulerObject *s, answer *a, PyObject *headers, PyObject *body)
{
    return is_expected(s, a) && xf_answer_is_fine(body) && read_head(s->foretold, headers, a) &&
           read_usage(s, body, a) && price(s, a);
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
    if (c->is_started) {
        Py_XSETREF(c->verdict, Py_NewRef(f->passed));
    }
    put_down(f, s, a, true);
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

/* Drops what the answer owns, its call too. */
static void release(const answer *a)
{
    Py_XDECREF(a->model);
    Py_XDECREF(a->typical);
    Py_DECREF(a->call);
}

PyObject *xf_scheduler_foresees(PyObject *self, PyObject *args)
{
    SchedulerObject *s = (SchedulerObject *)self;
    answer a = {.call = NULL};
    PyObject *headers;
    int status;
    if (xf_scheduler_check(s) < 0 || !PyArg_ParseTuple(args, "iO:_foresees", &status, &headers)) {
        return NULL;
    }
    a.call = s->foretold != NULL && status >= 200 && status < 300 ? call_of(s, Py_None) : NULL;
    if (a.call == NULL) {
        Py_RETURN_FALSE;
    }
    a.now = xf_port_now(s, a.call->port);
    bool is = is_expected(s, &a) && read_head(s->foretold, headers, &a);
    release(&a);
    return PyErr_Occurred() ? NULL : PyBool_FromLong(is);
}

/* The usage by which the call was settled; an empty tuple: it was not. */
static PyObject *settled_by(const answer *a)
{
    if (a->how == NOT) {
        return PyTuple_New(0);
    }
    PyObject *const tokens[] = {
        PyLong_FromLongLong(a->used.input),
        PyLong_FromLongLong(a->used.output),
        PyLong_FromLongLong(a->used.cached),
        PyLong_FromLongLong(a->kept),
    };
    return xf_row_new(tokens, Py_ARRAY_LENGTH(tokens));
}

PyObject *xf_scheduler_foreseen(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    SchedulerObject *s = (SchedulerObject *)self;
    answer a = {.call = NULL};
    PyObject *result = NULL;
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
        Py_RETURN_NONE;
    }
    a.now = xf_port_now(s, a.call->port);
    a.sent_at = xf_instant(args[4], "sent_at", a.call->core.dispatched_at);
    a.received_at = xf_instant(args[5], "received_at", a.now);
    if (a.sent_at >= 0 && a.received_at >= 0 && is_foreseen(s, &a, args[2], args[3])) {
        take_in(s, &a);
        result = PyErr_Occurred() ? NULL : settled_by(&a);
    } else if (!PyErr_Occurred()) {
        result = Py_NewRef(Py_None);
    }
    release(&a);
    return result;
}

/* ---- the usage of an answer that was taken in when it began ---- */

/* Reads three numbers of tokens. False, without an error set: some are too large to be true. */
static bool read_tokens(PyObject *const *args, xf_used *used)
{
    int64_t *const parts[] = {&used->input, &used->output, &used->cached};
    bool is_sound = true;
    for (size_t i = 0; i < Py_ARRAY_LENGTH(parts); i++) {
        *parts[i] = PyLong_AsLongLong(args[i]);
        is_sound = is_sound && *parts[i] >= 0 && *parts[i] <= XF_MOST_TOKENS;
    }
    PyErr_Clear();
    return is_sound;
}

PyObject *xf_scheduler_settled(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
    SchedulerObject *s = (SchedulerObject *)self;
    answer a = {.call = NULL};
    if (xf_scheduler_check(s) < 0) {
        return NULL;
    }
    if (nargs != 4) {
        return PyErr_Format(PyExc_TypeError, "_settled() takes 4 arguments, not %zd", nargs);
    }
    a.how = (int)PyLong_AsLong(args[3]);
    if (PyErr_Occurred()) {
        return NULL;
    }
    a.call = s->foretold != NULL && s->foretold->is_armed ? call_of(s, Py_None) : NULL;
    if (a.call == NULL) {
        Py_RETURN_FALSE;
    }
    a.now = xf_port_now(s, a.call->port);
    bool is = !a.call->core.repeated && !a.call->core.grouped && read_tokens(args, &a.used) &&
              read_charge(s, &a) && price(s, &a);
    if (is) {
        put_down(s->foretold, s, &a, false);
        settle(s, &a);
        catch_up(s->foretold, s, a.now);
    }
    release(&a);
    return PyErr_Occurred() ? NULL : PyBool_FromLong(is);
}
