#include "binding/call/member.h"

#include "binding/loop/poke.h"
#include "binding/loop/timer.h"

/* The kind of clock that a share's members have: see xf_snapshot_agree(). */
enum { SYSTEM_CLOCK = 1, LOOP_CLOCK = 2 };

int xf_member_enter(SchedulerObject *s, PortObject *port)
{
    xf_member *m = s->member;
    if (s->core.gate.share == NULL) {
        PyErr_SetString(PyExc_RuntimeError,
                        m->forgotten ? "the share of this scheduler is that of the process that "
                                       "this one was forked from: make a new scheduler here"
                                     : "this scheduler has left its share");
        return -1;
    }
    if (!xf_snapshot_agree(m->share.memory, port->own_clock ? LOOP_CLOCK : SYSTEM_CLOCK)) {
        PyErr_SetString(PyExc_RuntimeError,
                        "the members of this share are on another clock than this loop: one with "
                        "a clock of its own shares with others of that kind only");
        return -1;
    }
    return xf_poke_watch(port, m->poked);
}

PyObject *xf_member_seats(SchedulerObject *s, bool holding)
{
    xf_share_refresh(&s->core.gate);
    const xf_share *share = &s->member->share;
    PyObject *seats = PyList_New(0);
    for (uint32_t i = 0; seats != NULL && i < share->joint.n_seats; i++) {
        bool is_there = share->joint.seats[i].taken && i != share->seat;
        if (is_there && (!holding || xf_share_is_held(share, i))) {
            PyObject *seat = PyLong_FromUnsignedLong(i);
            if (seat == NULL || PyList_Append(seats, seat) < 0) {
                Py_CLEAR(seats);
            }
            Py_XDECREF(seat);
        }
    }
    PyObject *result = seats != NULL ? PyList_AsTuple(seats) : NULL;
    Py_XDECREF(seats);
    return result;
}

/* The seats that are to be poked, which is taken note of; NULL with an error set. */
static PyObject *take_pokes(xf_share *share)
{
    PyObject *seats = PyList_New(0);
    for (uint32_t i = 0; seats != NULL && i < XF_JOINT_SEATS; i++) {
        if (share->pokes.bits[i / 64] >> i % 64 & 1) {
            PyObject *seat = PyLong_FromUnsignedLong(i);
            if (seat == NULL || PyList_Append(seats, seat) < 0) {
                Py_CLEAR(seats);
            }
            Py_XDECREF(seat);
        }
    }
    share->pokes = (xf_pokes){{0}};
    return seats;
}

void xf_member_tell(SchedulerObject *s)
{
    PyObject *seats = take_pokes(&s->member->share), *ways = Py_NewRef(s->member->ways), *r = NULL;
    if (seats != NULL) {
        r = PyObject_CallMethod(ways, "poke", "O", seats);
    }
    if (r == NULL) {
        PyErr_WriteUnraisable(ways);
    }
    Py_XDECREF(r);
    Py_XDECREF(seats);
    Py_DECREF(ways);
}

void xf_member_sweep(SchedulerObject *s)
{
    if (s->core.held_by != XF_BY_SLOTS) {
        return;
    }
    PyObject *seats = xf_member_seats(s, true), *ways = Py_NewRef(s->member->ways), *r = NULL;
    if (seats != NULL) {
        r = PyTuple_GET_SIZE(seats) > 0 ? PyObject_CallMethod(ways, "sweep", "OO", s, seats)
                                        : Py_NewRef(Py_None);
    }
    if (r == NULL) {
        PyErr_WriteUnraisable(ways);
    }
    Py_XDECREF(r);
    Py_XDECREF(seats);
    Py_DECREF(ways);
}

void xf_member_leave(SchedulerObject *s)
{
    xf_member *m = s->member;
    if (m == NULL || s->core.gate.share == NULL) {
        return;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    int64_t now = xf_clock_now(s->port); /* makes no port: `s` may be about to be freed */
    xf_share_leave(&s->core.gate, now >= 0 ? now : s->core.now);
    if (xf_member_has_news(s)) {
        xf_member_tell(s);
    }
    PyObject *r = PyObject_CallMethod(m->ways, "close", NULL);
    if (r == NULL) {
        PyErr_WriteUnraisable(m->ways);
    }
    Py_XDECREF(r);
    PyErr_Restore(type, value, traceback);
}

void xf_member_forget(SchedulerObject *s)
{
    if (s->member != NULL) {
        s->core.gate.share = NULL;
        s->member->forgotten = true;
    }
}

void xf_member_free(SchedulerObject *s)
{
    xf_member *m = s->member;
    s->member = NULL;
    if (m != NULL) {
        PyBuffer_Release(&m->memory);
        Py_DECREF(m->ways);
        PyMem_Free(m);
    }
}
