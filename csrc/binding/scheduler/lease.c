#include "binding/scheduler/lease.h"

#include "binding/call/deliver.h"
#include "binding/call/lessee.h"
#include "binding/call/owner.h"
#include "binding/scheduler/limits.h"
#include "core/ahead.h"

/* The lessee. NULL with an error set if there is none. */
static xf_lessee *lessee_of(SchedulerObject *s)
{
    if (s->lessee == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "this scheduler has no lease");
    }
    return s->lessee;
}

PyObject *xf_scheduler_lease(PyObject *self, PyObject *holder)
{
    SchedulerObject *s = (SchedulerObject *)self;
    if (xf_scheduler_check(s) < 0) {
        return NULL;
    }
    if (s->lessee != NULL || s->member != NULL || s->core.counters.submitted > 0) {
        PyErr_SetString(PyExc_RuntimeError, "a scheduler joins a share once, before its calls");
        return NULL;
    }
    if (s->core.gate.n_limits > XF_LEASE_LIMITS) {
        PyErr_Format(PyExc_ValueError, "a share has at most %d limits, not %u", XF_LEASE_LIMITS,
                     s->core.gate.n_limits);
        return NULL;
    }
    xf_lessee *m = PyMem_Malloc(sizeof(*m));
    if (m == NULL) {
        return PyErr_NoMemory();
    }
    *m = (xf_lessee){.holder = Py_NewRef(holder), .slots = s->core.gate.slots};
    xf_lease_begin(&s->core.gate, &m->lease);
    if (m->slots != XF_UNLIMITED) {
        s->core.gate.slots = 0;
    }
    s->lessee = m;
    Py_RETURN_NONE;
}

/* ---- what the holder reads ---- */

/* Numbers of all limits as a tuple, which `get` makes. NULL with an error set. */
static PyObject *row_of(SchedulerObject *s, PyObject *(*get)(SchedulerObject *, uint32_t))
{
    PyObject *row = PyTuple_New(s->core.gate.n_limits);
    for (uint32_t i = 0; row != NULL && i < s->core.gate.n_limits; i++) {
        PyObject *value = get(s, i);
        if (value == NULL) {
            Py_CLEAR(row);
        } else {
            PyTuple_SET_ITEM(row, i, value);
        }
    }
    return row;
}

static PyObject *head_cost(SchedulerObject *s, uint32_t i)
{
    int64_t at;
    const xf_call *head = xf_head(&s->core, &at);
    return PyLong_FromLongLong(head != NULL ? head->held[i] : 0);
}

static PyObject *mean_cost(SchedulerObject *s, uint32_t i)
{
    return PyFloat_FromDouble(xf_gate_cost(&s->core.gate, NULL, i));
}

/* In the chunks. */
static PyObject *left_of(SchedulerObject *s, uint32_t i)
{
    const xf_lease *l = &s->lessee->lease;
    return PyLong_FromLongLong((l->has_chunk ? l->chunk.units[i] : 0) +
                               (l->has_next ? l->next.units[i] : 0));
}

static PyObject *take_unused(SchedulerObject *s, uint32_t i)
{
    int64_t units = s->lessee->lease.unused[i];
    s->lessee->lease.unused[i] = 0;
    return PyLong_FromLongLong(units);
}

static PyObject *take_refund(SchedulerObject *s, uint32_t i)
{
    int64_t units = s->lessee->lease.refunds[i];
    s->lessee->lease.refunds[i] = 0;
    return PyLong_FromLongLong(units);
}

static PyObject *level_of(SchedulerObject *s, uint32_t i)
{
    const xf_gate *g = &s->core.gate;
    return PyFloat_FromDouble(xf_limit_level(&g->limits[i], s->core.now));
}

static PyObject *used_of(SchedulerObject *s, uint32_t i)
{
    return PyLong_FromLongLong((long long)s->core.gate.limits[i].used);
}

/* The level that a refusal has promised for the cooldown's end; None where it has none. */
static PyObject *promised(SchedulerObject *s, uint32_t i)
{
    const xf_limit *l = &s->core.gate.limits[i];
    int64_t end = s->core.gate.cooldown.until;
    bool any = end > s->core.now && l->bucket.at == end;
    return any ? PyFloat_FromDouble((double)l->bucket.level / (double)l->def.unit)
               : Py_NewRef(Py_None);
}

/* An instant or a length for the holder, to which XF_NEVER is -1; and back. */
static long long told_instant(int64_t at)
{
    return at != XF_NEVER ? (long long)at : -1;
}

static int64_t heard_instant(long long at)
{
    return at >= 0 ? (int64_t)at : XF_NEVER;
}

PyObject *xf_scheduler_lease_look(PyObject *self, PyObject *Py_UNUSED(unused))
{
    SchedulerObject *s = (SchedulerObject *)self;
    xf_lessee *m = lessee_of(s);
    if (m == NULL) {
        return NULL;
    }
    int64_t now = xf_port_now(s, NULL);
    xf_gate *g = &s->core.gate;
    xf_lease *l = &m->lease;
    xf_lease_look(g, now);
    xf_look(&s->core, now);
    uint32_t returned = l->returned;
    bool refused = l->refused;
    l->returned = 0;
    xf_tried tried = l->tried;
    l->tried = (xf_tried){0};
    l->news = l->refused = m->told = false;
    PyObject *slots =
        g->slots == XF_UNLIMITED ? Py_NewRef(Py_None) : PyLong_FromUnsignedLong(g->slots);
    PyObject *state = Py_BuildValue(
        "{sLsIsIsNsIsOsOsOsLsNsNsNsNsNsNsNsOsNsKsLsIsLs(LILLL)s(LLLL)}", "now",
        (long long)s->core.now, "in_use", g->in_use, "waiting", s->core.queue.size, "slots", slots,
        "returned", returned, "has_chunk", l->has_chunk ? Py_True : Py_False, "has_next",
        l->has_next ? Py_True : Py_False, "refused", refused ? Py_True : Py_False, "until",
        l->has_chunk ? (long long)l->chunk.until : -1LL, "head", row_of(s, head_cost), "mean",
        row_of(s, mean_cost), "left", row_of(s, left_of), "unused", row_of(s, take_unused),
        "refunds", row_of(s, take_refund), "used", row_of(s, used_of), "levels",
        row_of(s, level_of), "has_loan", l->has_loan ? Py_True : Py_False, "promised",
        row_of(s, promised), "submitted", (unsigned long long)s->core.counters.submitted, "end",
        (long long)g->cooldown.until, "generation", g->cooldown.generation, "margin",
        (long long)g->margin.ns, "tried", (long long)tried.answered, tried.failures,
        (long long)tried.sent, (long long)tried.took, (long long)tried.interval, "outage",
        told_instant(g->outage.interval), (long long)g->outage.first, (long long)g->outage.longest,
        (long long)g->outage.sent);
    xf_deliver(s);
    return state;
}

/* ---- what it asks for ---- */

/* Reads a tuple of a number for each limit. -1 with an error set. */
static int read_row(const SchedulerObject *s, PyObject *row, double *numbers)
{
    if (!PyTuple_Check(row) || PyTuple_GET_SIZE(row) != (Py_ssize_t)s->core.gate.n_limits) {
        PyErr_Format(PyExc_ValueError, "a row has %u numbers, not %R", s->core.gate.n_limits, row);
        return -1;
    }
    for (uint32_t i = 0; i < s->core.gate.n_limits; i++) {
        numbers[i] = PyFloat_AsDouble(PyTuple_GET_ITEM(row, i));
        if (!(numbers[i] > -1e18 && numbers[i] < 1e18)) {
            if (!PyErr_Occurred()) {
                PyErr_Format(PyExc_ValueError, "units must be less than 1e18, not %R", row);
            }
            return -1;
        }
    }
    return 0;
}

PyObject *xf_scheduler_lease_ahead(PyObject *self, PyObject *enough)
{
    SchedulerObject *s = (SchedulerObject *)self;
    double row[XF_LEASE_LIMITS] = {0};
    int64_t units[XF_LEASE_LIMITS] = {0};
    if (lessee_of(s) == NULL || read_row(s, enough, row) < 0) {
        return NULL;
    }
    uint32_t n = s->core.gate.n_limits;
    for (uint32_t i = 0; i < n; i++) {
        units[i] = (int64_t)row[i];
    }
    xf_ahead a = xf_ahead_look(&s->core, units);
    return Py_BuildValue("IINNNN", a.covered, a.count, PyBool_FromLong(a.is_full),
                         xf_units_from(a.left, n), xf_units_from(a.head, n),
                         xf_units_from(a.rest, n));
}

/* ---- what the holder says ---- */

PyObject *xf_scheduler_lease_asks(PyObject *self, PyObject *args)
{
    SchedulerObject *s = (SchedulerObject *)self;
    xf_lessee *m = lessee_of(s);
    int asking;
    unsigned int want, returned;
    if (m == NULL || !PyArg_ParseTuple(args, "pII:_lease_asks", &asking, &want, &returned)) {
        return NULL;
    }
    m->lease.asking = asking;
    m->lease.want = want;
    if (s->core.gate.slots != XF_UNLIMITED) {
        uint32_t slots = s->core.gate.slots;
        s->core.gate.slots = slots > returned ? slots - returned : 0;
    }
    Py_RETURN_NONE;
}

PyObject *xf_scheduler_lease_grant(PyObject *self, PyObject *args)
{
    SchedulerObject *s = (SchedulerObject *)self;
    xf_lessee *m = lessee_of(s);
    long long from, until;
    PyObject *levels, *units;
    xf_chunk chunk = {0};
    double row[XF_LEASE_LIMITS] = {0};
    if (m == NULL || !PyArg_ParseTuple(args, "LOOL:_lease_grant", &from, &levels, &units, &until) ||
        read_row(s, levels, chunk.levels) < 0 || read_row(s, units, row) < 0) {
        return NULL;
    }
    for (uint32_t i = 0; i < s->core.gate.n_limits; i++) {
        chunk.units[i] = row[i] > 0 ? (int64_t)row[i] : 0;
    }
    chunk.from = from > 0 ? from : 0;
    chunk.is_loan = until >= 0;
    chunk.until = until;
    int64_t now = xf_port_now(s, NULL);
    m->lease.asking = false;
    bool done = xf_lease_grant(&s->core.gate, &chunk, now);
    int64_t lapses = m->lease.chunk.until;
    xf_look(&s->core, now);
    xf_deliver(s);
    return PyLong_FromLongLong(done ? lapses : -1);
}

PyObject *xf_scheduler_lease_return(PyObject *self, PyObject *Py_UNUSED(unused))
{
    SchedulerObject *s = (SchedulerObject *)self;
    if (lessee_of(s) == NULL) {
        return NULL;
    }
    int64_t now = xf_port_now(s, NULL);
    xf_look(&s->core, now);
    bool had_loan = xf_lease_return(&s->core.gate);
    PyObject *levels = had_loan ? row_of(s, level_of) : Py_NewRef(Py_None);
    xf_look(&s->core, now);
    xf_deliver(s);
    return levels;
}

PyObject *xf_scheduler_lease_void(PyObject *self, PyObject *Py_UNUSED(unused))
{
    SchedulerObject *s = (SchedulerObject *)self;
    if (lessee_of(s) == NULL) {
        return NULL;
    }
    xf_lease_void(&s->core.gate);
    xf_look(&s->core, xf_port_now(s, NULL));
    xf_deliver(s);
    Py_RETURN_NONE;
}

PyObject *xf_scheduler_lease_slots(PyObject *self, PyObject *args)
{
    SchedulerObject *s = (SchedulerObject *)self;
    xf_lessee *m = lessee_of(s);
    long long slots, fair, all;
    if (m == NULL || !PyArg_ParseTuple(args, "LLL:_lease_slots", &slots, &fair, &all)) {
        return NULL;
    }
    m->slots = all >= 0 && all < XF_UNLIMITED ? (uint32_t)all : XF_UNLIMITED;
    if (slots >= 0) { /* those that are on their way back are not known there yet */
        slots = slots > m->lease.returned ? slots - m->lease.returned : 0;
    }
    m->lease.fair = fair >= 0 && fair < XF_UNLIMITED ? (uint32_t)fair : XF_UNLIMITED;
    xf_set_slots(&s->core, slots >= 0 && slots < XF_UNLIMITED ? (uint32_t)slots : XF_UNLIMITED,
                 xf_port_now(s, NULL));
    xf_deliver(s);
    Py_RETURN_NONE;
}

PyObject *xf_scheduler_lease_pause(PyObject *self, PyObject *args)
{
    SchedulerObject *s = (SchedulerObject *)self;
    xf_lessee *m = lessee_of(s);
    long long until;
    int is_new;
    unsigned int known;
    if (m == NULL || !PyArg_ParseTuple(args, "LpI:_lease_pause", &until, &is_new, &known)) {
        return NULL;
    }
    int64_t now = xf_port_now(s, NULL);
    xf_poll(&s->core, now);
    /* An episode that a refusal has opened here meanwhile is the same one. */
    is_new = is_new && !(m->lease.refused && s->core.gate.cooldown.generation != known);
    xf_lease_pause(&s->core.gate, until, is_new, now);
    xf_look(&s->core, now);
    xf_deliver(s);
    return PyLong_FromUnsignedLong(s->core.gate.cooldown.generation);
}

PyObject *xf_scheduler_lease_outage(PyObject *self, PyObject *args)
{
    SchedulerObject *s = (SchedulerObject *)self;
    long long interval, next, longest, sent;
    if (lessee_of(s) == NULL ||
        !PyArg_ParseTuple(args, "LLLL:_lease_outage", &interval, &next, &longest, &sent)) {
        return NULL;
    }
    const xf_outage told = {
        .interval = heard_instant(interval),
        .next = heard_instant(next),
        .longest = longest > 0 ? longest : 0,
        .sent = sent > 0 ? sent : 0,
    };
    int64_t now = xf_port_now(s, NULL);
    xf_poll(&s->core, now);
    bool is_new = xf_lease_outage(&s->core.gate, &told);
    xf_look(&s->core, now);
    xf_deliver(s);
    return PyBool_FromLong(is_new);
}

PyObject *xf_scheduler_lease_end(PyObject *self, PyObject *forgotten)
{
    SchedulerObject *s = (SchedulerObject *)self;
    if (s->lessee != NULL) {
        s->lessee->gone = true;
        s->lessee->forgotten = forgotten == Py_True;
    }
    Py_RETURN_NONE;
}
