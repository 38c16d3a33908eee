#include "binding/scheduler/share.h"

#include "binding/call/call.h"
#include "binding/call/deliver.h"
#include "binding/call/member.h"
#include "binding/call/owner.h"
#include "binding/loop/loop.h"
#include "binding/scheduler/limits.h"

#include <math.h>

enum { FIGURES = 4 }; /* of each limit, in _standing() */

/* ---- joining and leaving ---- */

/* -1 with an error set. */
static int check_memory(const Py_buffer *memory)
{
    if ((size_t)memory->len >= xf_snapshot_size() &&
        (uintptr_t)memory->buf % sizeof(uint64_t) == 0) {
        return 0;
    }
    PyErr_Format(PyExc_ValueError, "a share's memory has %zu bytes, not %zd", xf_snapshot_size(),
                 memory->len);
    return -1;
}

PyObject *xf_scheduler_join(PyObject *self, PyObject *args)
{
    SchedulerObject *s = (SchedulerObject *)self;
    PyObject *ways;
    int poked, alone, empty;
    unsigned int seat;
    Py_buffer memory;
    if (xf_scheduler_check(s) < 0 ||
        !PyArg_ParseTuple(args, "Ow*Iipp:_join", &ways, &memory, &seat, &poked, &alone, &empty)) {
        return NULL;
    }
    if (s->member != NULL || s->core.counters.submitted > 0) {
        PyErr_SetString(PyExc_RuntimeError, "a scheduler joins a share once, before its calls");
    }
    xf_member *m = PyErr_Occurred() || check_memory(&memory) < 0 ? NULL : PyMem_Malloc(sizeof(*m));
    if (m == NULL) {
        PyBuffer_Release(&memory);
        return PyErr_Occurred() ? NULL : PyErr_NoMemory();
    }
    m->ways = Py_NewRef(ways);
    m->memory = memory;
    m->poked = poked;
    m->forgotten = false;
    const xf_joining joining = {.seat = seat, .alone = alone, .empty = empty};
    s->member = m;
    if (!xf_share_join(&s->core.gate, &m->share, memory.buf, &joining, xf_port_now(s, NULL))) {
        xf_member_free(s);
        Py_RETURN_FALSE;
    }
    if (xf_member_has_news(s)) {
        xf_member_tell(s);
    }
    Py_RETURN_TRUE;
}

PyObject *xf_scheduler_leave(PyObject *self, PyObject *Py_UNUSED(unused))
{
    xf_member_leave((SchedulerObject *)self);
    Py_RETURN_NONE;
}

PyObject *xf_scheduler_forget(PyObject *self, PyObject *Py_UNUSED(unused))
{
    xf_member_forget((SchedulerObject *)self);
    Py_RETURN_NONE;
}

PyObject *xf_scheduler_bury(PyObject *self, PyObject *seat)
{
    SchedulerObject *s = (SchedulerObject *)self;
    unsigned long i = PyLong_AsUnsignedLong(seat);
    if (i == (unsigned long)-1 && PyErr_Occurred()) {
        return NULL;
    }
    if (s->core.gate.share != NULL && i < XF_JOINT_SEATS) {
        int64_t now = xf_port_now(s, NULL);
        xf_share_bury(&s->core.gate, (uint32_t)i, now);
        xf_look(&s->core, now);
        xf_deliver(s);
    }
    Py_RETURN_NONE;
}

/* Another scheduler of this process has found that our head may pass. */
PyObject *xf_scheduler_poked(PyObject *self, PyObject *Py_UNUSED(unused))
{
    SchedulerObject *s = (SchedulerObject *)self;
    int64_t at;
    xf_call *head = s->ready ? xf_head(&s->core, &at) : NULL;
    if (head == NULL) {
        Py_RETURN_NONE;
    }
    PortObject *port = (PortObject *)Py_NewRef(xf_call_of(head)->port);
    PyObject *wake = PyCFunction_New(port->wake, (PyObject *)port);
    if (wake != NULL && xf_port_call_soon(port, NULL, wake, NULL, NULL) < 0) {
        PyErr_Clear(); /* its loop is closed */
    }
    Py_XDECREF(wake);
    Py_DECREF(port);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

PyObject *xf_scheduler_seats(PyObject *self, PyObject *Py_UNUSED(unused))
{
    SchedulerObject *s = (SchedulerObject *)self;
    return s->core.gate.share != NULL ? xf_member_seats(s, false) : PyTuple_New(0);
}

/* ---- what members learn ---- */

/* Reads (index, limit, level or None). -1 with an error set. */
static int read_lesson(const SchedulerObject *s, PyObject *item, xf_lesson *lesson)
{
    PyObject *limit, *level, *name;
    if (!PyTuple_Check(item)) {
        PyErr_Format(PyExc_TypeError, "a lesson is (index, limit, level), not %R", item);
        return -1;
    }
    if (!PyArg_ParseTuple(item, "IOO:lesson", &lesson->limit, &limit, &level) ||
        xf_parse_limit(limit, &name, &lesson->def) < 0) {
        return -1;
    }
    if (lesson->limit >= s->core.gate.n_limits) {
        PyErr_Format(PyExc_IndexError, "there are %u limits, not %u", s->core.gate.n_limits,
                     lesson->limit);
        return -1;
    }
    lesson->sets_level = level != Py_None;
    lesson->level = lesson->sets_level ? PyFloat_AsDouble(level) : 0;
    return lesson->level == -1.0 && PyErr_Occurred() ? -1 : 0;
}

PyObject *xf_scheduler_learn(PyObject *self, PyObject *args)
{
    SchedulerObject *s = (SchedulerObject *)self;
    unsigned long long version;
    const char *belief;
    Py_ssize_t length;
    PyObject *items;
    xf_lesson lessons[XF_JOINT_LIMITS];
    if (!PyArg_ParseTuple(args, "Ks#O!:_learn", &version, &belief, &length, &PyTuple_Type,
                          &items)) {
        return NULL;
    }
    Py_ssize_t n = PyTuple_GET_SIZE(items);
    if (length > XF_JOINT_BELIEF || n > XF_JOINT_LIMITS) {
        PyErr_Format(PyExc_ValueError, "a belief has at most %d bytes, of at most %d limits",
                     XF_JOINT_BELIEF, XF_JOINT_LIMITS);
        return NULL;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        if (read_lesson(s, PyTuple_GET_ITEM(items, i), &lessons[i]) < 0) {
            return NULL;
        }
    }
    if (s->core.gate.share == NULL) {
        Py_RETURN_FALSE;
    }
    int64_t now = xf_port_now(s, NULL);
    bool done =
        xf_share_learn(&s->core.gate, version, lessons, (size_t)n, belief, (size_t)length, now);
    xf_look(&s->core, now);
    xf_deliver(s);
    return PyBool_FromLong(done);
}

PyObject *xf_scheduler_believed(PyObject *self, PyObject *known)
{
    SchedulerObject *s = (SchedulerObject *)self;
    unsigned long long version = PyLong_AsUnsignedLongLong(known);
    if (version == (unsigned long long)-1 && PyErr_Occurred()) {
        return NULL;
    }
    if (s->core.gate.share == NULL) {
        Py_RETURN_NONE;
    }
    xf_share_refresh(&s->core.gate);
    const xf_joint *a = &s->member->share.joint;
    int64_t used[XF_JOINT_LIMITS];
    for (uint32_t i = 0; i < a->n_limits; i++) {
        used[i] = (int64_t)a->limits[i].used;
    }
    PyObject *belief =
        a->version == version
            ? Py_NewRef(Py_None)
            : PyUnicode_DecodeUTF8((const char *)a->belief, (Py_ssize_t)a->n_belief, "replace");
    return Py_BuildValue("KNN", (unsigned long long)a->version, belief,
                         xf_units_from(used, a->n_limits));
}

PyObject *xf_scheduler_standing(PyObject *self, PyObject *Py_UNUSED(unused))
{
    SchedulerObject *s = (SchedulerObject *)self;
    const xf_gate *g = &s->core.gate;
    if (g->share == NULL) {
        Py_RETURN_NONE;
    }
    int64_t now = xf_port_now(s, NULL);
    xf_share_refresh(&s->core.gate);
    PyObject *rows[FIGURES];
    for (int k = 0; k < FIGURES; k++) {
        rows[k] = PyTuple_New(g->n_limits);
    }
    for (uint32_t i = 0; i < g->n_limits; i++) {
        const xf_limit *l = &g->limits[i];
        const double figures[FIGURES] = {(double)xf_share_used(g, i), xf_limit_level(l, now),
                                         l->lowered, xf_limit_rate(l)};
        for (int k = 0; k < FIGURES; k++) {
            PyObject *figure = rows[k] == NULL ? NULL : PyFloat_FromDouble(figures[k]);
            if (figure == NULL) {
                Py_CLEAR(rows[k]);
            } else {
                PyTuple_SET_ITEM(rows[k], i, figure);
            }
        }
    }
    return Py_BuildValue("IdNNNN", g->resets, (double)now * 1e-9, rows[0], rows[1], rows[2],
                         rows[3]);
}

PyObject *xf_scheduler_lower(PyObject *self, PyObject *args)
{
    SchedulerObject *s = (SchedulerObject *)self;
    unsigned int i;
    double left, used, at;
    if (!PyArg_ParseTuple(args, "Iddd:_lower", &i, &left, &used, &at)) {
        return NULL;
    }
    if (s->core.gate.share != NULL && i < s->core.gate.n_limits) {
        int64_t now = xf_port_now(s, NULL);
        xf_share_lower(&s->core.gate, i, (int64_t)ceil(left), (int64_t)used, (int64_t)(at * 1e9),
                       now);
        xf_look(&s->core, now);
        xf_deliver(s);
    }
    Py_RETURN_NONE;
}

/* ---- what it tells ---- */

/* The state of a limit of the account at `now`. */
static PyObject *limit_of(const xf_joint_limit *l, int64_t now)
{
    const xf_refill refill = {.gain = l->def.gain, .room = l->def.capacity - l->reserve};
    double unit = (double)l->def.unit;
    int64_t level = xf_bucket_level(&l->bucket, refill, now);
    level = level < refill.room ? level : refill.room;
    return Py_BuildValue("{sdsdsdsK}", "rate", (double)l->def.gain * 1e9 / unit, "capacity",
                         (double)l->def.capacity / unit, "level", (double)level / unit, "used",
                         (unsigned long long)l->used);
}

static PyObject *seat_of(const void *memory, const xf_joint *a, uint32_t i)
{
    static const char *const states[] = {"quiet", "waiting", "granted"};
    const xf_seat *e = &a->seats[i];
    int64_t used[XF_JOINT_LIMITS];
    for (uint32_t k = 0; k < a->n_limits; k++) {
        used[k] = (int64_t)xf_snapshot_told(memory, i, XF_TELLS_USED + k);
    }
    return Py_BuildValue("{sIsssIsNsNsK}", "seat", i, "state", states[e->state], "held", e->held,
                         "costs", xf_units_from(e->costs, a->n_limits), "used",
                         xf_units_from(used, a->n_limits), "admitted",
                         (unsigned long long)xf_snapshot_told(memory, i, XF_TELLS_ADMITTED));
}

/* The account as a dict. NULL with an error set. */
static PyObject *state_of(const void *memory, const xf_joint *a, int64_t now)
{
    PyObject *limits = PyList_New(0), *members = PyList_New(0);
    for (uint32_t i = 0; limits != NULL && i < a->n_limits; i++) {
        PyObject *limit = limit_of(&a->limits[i], now);
        if (limit == NULL || PyList_Append(limits, limit) < 0) {
            Py_CLEAR(limits);
        }
        Py_XDECREF(limit);
    }
    for (uint32_t i = 0; members != NULL && i < a->n_seats; i++) {
        PyObject *seat = a->seats[i].taken ? seat_of(memory, a, i) : Py_NewRef(Py_None);
        if (seat == NULL || (seat != Py_None && PyList_Append(members, seat) < 0)) {
            Py_CLEAR(members);
        }
        Py_XDECREF(seat);
    }
    int64_t rest = a->cooldown.until > now ? a->cooldown.until - now : 0;
    PyObject *slots =
        a->slots == XF_UNLIMITED ? Py_NewRef(Py_None) : PyLong_FromUnsignedLong(a->slots);
    PyObject *belief =
        PyUnicode_DecodeUTF8((const char *)a->belief, (Py_ssize_t)a->n_belief, "replace");
    const xf_outage *o = &a->outage;
    bool is_tried = o->interval != 0 && o->first != XF_UNTRIED;
    PyObject *prober = is_tried ? PyLong_FromUnsignedLong(o->prober) : Py_NewRef(Py_None);
    return Py_BuildValue("{sNsNsNsNsdsOsN}", "belief", belief, "limits", limits, "members", members,
                         "slots", slots, "cooldown_left", (double)rest * 1e-9, "outage",
                         o->interval != 0 ? Py_True : Py_False, "prober", prober);
}

PyObject *xf_scheduler_shared(PyObject *self, PyObject *Py_UNUSED(unused))
{
    SchedulerObject *s = (SchedulerObject *)self;
    if (s->core.gate.share == NULL) {
        Py_RETURN_NONE;
    }
    int64_t now = xf_port_now(s, NULL);
    xf_share_refresh(&s->core.gate);
    PyObject *state = state_of(s->member->share.memory, &s->member->share.joint, now);
    PyObject *seat = state != NULL ? PyLong_FromUnsignedLong(s->member->share.seat) : NULL;
    if (seat == NULL || PyDict_SetItemString(state, "seat", seat) < 0) {
        Py_CLEAR(state);
    }
    Py_XDECREF(seat);
    return state;
}

PyObject *xf_share_layout(PyObject *module, PyObject *seat)
{
    unsigned long i = PyLong_AsUnsignedLong(seat);
    (void)module;
    if (i == (unsigned long)-1 && PyErr_Occurred()) {
        return NULL;
    }
    if (i >= XF_JOINT_SEATS) {
        PyErr_Format(PyExc_IndexError, "there are %d seats, not %lu", XF_JOINT_SEATS, i);
        return NULL;
    }
    return Py_BuildValue("nnn", (Py_ssize_t)xf_snapshot_size(),
                         (Py_ssize_t)xf_snapshot_offset((uint32_t)i),
                         (Py_ssize_t)xf_snapshot_stride());
}

PyObject *xf_share_state(PyObject *module, PyObject *args)
{
    Py_buffer memory;
    double seconds;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*d:share_state", &memory, &seconds)) {
        return NULL;
    }
    xf_share *share = check_memory(&memory) < 0 ? NULL : PyMem_Malloc(sizeof(*share));
    PyObject *state = NULL;
    if (share == NULL) {
        state = PyErr_Occurred() ? NULL : PyErr_NoMemory();
    } else if (xf_share_look(share, memory.buf)) {
        state = state_of(memory.buf, &share->joint, (int64_t)(seconds * 1e9));
    } else {
        state = Py_NewRef(Py_None);
    }
    PyMem_Free(share);
    PyBuffer_Release(&memory);
    return state;
}
