/* A loop's time, and the one timer that a scheduler has in it. */
#include "binding/loop/timer.h"

#include "core/call.h"

#include <math.h>

#ifdef _WIN32
#include <windows.h>
#else
#include <time.h>
#endif
#ifdef __linux__
#include <sys/timerfd.h>
#include <unistd.h>
#endif

#define NS_PER_S 1000000000

/* At rates of many thousands per second a wake-up for each call would cost more than the calls. So
   a timer fires no more often than this. Calls that are due in between go together, in order, and
   the schedule catches up. */
#define MIN_WAKE_NS 200000

/* ---- clocks ---- */

static int64_t system_now(void)
{
#ifdef _WIN32
    LARGE_INTEGER ticks, per_s;
    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&per_s);
    return ticks.QuadPart / per_s.QuadPart * NS_PER_S +
           ticks.QuadPart % per_s.QuadPart * NS_PER_S / per_s.QuadPart;
#else
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
#endif
}

double xf_unix_time(void)
{
#ifdef _WIN32
    FILETIME since_1601; /* in units of 100 ns */
    GetSystemTimeAsFileTime(&since_1601);
    uint64_t units = (uint64_t)since_1601.dwHighDateTime << 32 | since_1601.dwLowDateTime;
    return (double)units * 1e-7 - 11644473600.0;
#else
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
#endif
}

static double loop_time(const PortObject *port)
{
    PyObject *t = PyObject_CallMethodNoArgs(port->loop, port->st->s_time);
    double seconds = t == NULL ? -1.0 : PyFloat_AsDouble(t);
    Py_XDECREF(t);
    return seconds;
}

int64_t xf_clock_now(const PortObject *port)
{
    if (port == NULL || !port->own_clock) {
        return system_now();
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    double seconds = loop_time(port);
    if (PyErr_Occurred()) {
        PyErr_WriteUnraisable(port->loop);
    }
    PyErr_Restore(type, value, traceback);
    return seconds >= 0 ? (int64_t)nearbyint(seconds * 1e9) : -1;
}

/* Whether a loop's method time() is uvloop's, which tells the monotonic clock too. */
static bool is_uvloop_time(PyObject *time)
{
    PyObject *module = PyObject_GetAttrString(time, "__module__");
    bool is = module != NULL && PyUnicode_Check(module) &&
              PyUnicode_CompareWithASCIIString(module, "uvloop.loop") == 0;
    Py_XDECREF(module);
    PyErr_Clear();
    return is;
}

int xf_has_own_clock(xf_module *st, PyObject *loop)
{
    PyObject *time = PyObject_GetAttr((PyObject *)Py_TYPE(loop), st->s_time);
    if (time == NULL) {
        return -1;
    }
    bool own = time != st->base_time && !is_uvloop_time(time);
    Py_DECREF(time);
    return own;
}

/* ---- the timer ---- */

static PyObject *wake_function(PortObject *port)
{
    return PyCFunction_New(port->wake, (PyObject *)port);
}

#ifdef __linux__
static void set_timerfd(int fd, int64_t at)
{
    struct itimerspec t = {{0, 0}, {0, 0}};
    if (at != XF_NEVER) {
        /* An instant of 0 would disarm it. */
        at = at > 0 ? at : 1;
        t.it_value.tv_sec = (time_t)(at / NS_PER_S);
        t.it_value.tv_nsec = (long)(at % NS_PER_S);
    }
    (void)timerfd_settime(fd, TFD_TIMER_ABSTIME, &t, NULL);
}

/* Opens a timerfd and puts it into the loop. Returns -1 with an error set. */
static int open_timerfd(PortObject *port)
{
    int result = -1;
    PyObject *wake = NULL, *number = NULL, *added = NULL;
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (fd < 0) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    wake = wake_function(port);
    number = PyLong_FromLong(fd);
    if (wake == NULL || number == NULL) {
        goto done;
    }
    added = PyObject_CallMethodObjArgs(port->loop, port->st->s_add_reader, number, wake, NULL);
    if (added == NULL) {
        goto done;
    }
    port->timerfd = fd;
    fd = -1;
    result = 0;
done:
    if (fd >= 0) {
        close(fd);
    }
    Py_XDECREF(wake);
    Py_XDECREF(number);
    Py_XDECREF(added);
    return result;
}
#endif

int xf_port_prepare(PortObject *port)
{
#ifdef __linux__
    if (port->timerfd < 0 && !port->own_clock && !port->no_reader && open_timerfd(port) < 0) {
        /* A loop without add_reader(), or no free descriptor: the loop's own timer is used. */
        if (!xf_port_cannot_watch() && !PyErr_ExceptionMatches(PyExc_OSError)) {
            return -1;
        }
        PyErr_Clear();
        port->no_reader = true;
    }
#endif
    port->prepared = true;
    return 0;
}

static void cancel_handle(PortObject *port)
{
    PyObject *handle = port->handle;
    if (handle != NULL) {
        port->handle = NULL;
        PyObject *r = PyObject_CallMethodNoArgs(handle, port->st->s_cancel);
        if (r == NULL) {
            PyErr_WriteUnraisable(handle);
        }
        Py_XDECREF(r);
        Py_DECREF(handle);
    }
}

/* Arms loop.call_at(), for loops without a timerfd. */
static int call_at(PortObject *port, int64_t at)
{
    int64_t now = xf_clock_now(port);
    double seconds = loop_time(port);
    if (PyErr_Occurred()) {
        return -1;
    }
    PyObject *wake = wake_function(port);
    PyObject *when = PyFloat_FromDouble(seconds + (double)(at - now) * 1e-9);
    cancel_handle(port);
    if (wake != NULL && when != NULL) {
        port->handle =
            PyObject_CallMethodObjArgs(port->loop, port->st->s_call_at, when, wake, NULL);
    }
    Py_XDECREF(wake);
    Py_XDECREF(when);
    return port->handle != NULL ? 0 : -1;
}

/* The moment at which the port wakes for calls that are due at `at`. */
static int64_t wake_at(const PortObject *port, int64_t at)
{
    return at > port->not_before ? at : port->not_before;
}

int xf_timer_arm(PortObject *port, PyObject *here, int64_t at)
{
    at = wake_at(port, at);
    if (at >= port->armed_at) {
        return 0;
    }
#ifdef __linux__
    if (port->timerfd >= 0) {
        port->armed_at = at;
        set_timerfd(port->timerfd, at);
        return 0;
    }
#endif
    if (port->loop == here) {
        if (!port->prepared && xf_port_prepare(port) < 0) {
            return -1;
        }
        if (port->timerfd >= 0) {
            return xf_timer_arm(port, here, at);
        }
        port->armed_at = at;
        int r = call_at(port, at);
        port->armed_at = r < 0 ? XF_NEVER : port->armed_at;
        return r;
    }
    /* Only the loop's own thread may touch its timers, so let that thread look. */
    PyObject *wake = wake_function(port);
    int r = wake == NULL ? -1 : xf_port_call_soon(port, here, wake, NULL, NULL);
    Py_XDECREF(wake);
    return r;
}

bool xf_timer_is_armed(const PortObject *port, int64_t at)
{
    return wake_at(port, at) >= port->armed_at;
}

int64_t xf_timer_fired(PortObject *port)
{
    int64_t now = xf_clock_now(port);
    if (port->own_clock && now < port->armed_at && port->armed_at != XF_NEVER &&
        port->armed_at - now < 1000) {
        now = port->armed_at; /* a float clock may fall short by its rounding */
    }
    port->armed_at = XF_NEVER;
    port->not_before = port->own_clock ? 0 : now + MIN_WAKE_NS;
    cancel_handle(port); /* another thread may have woken the loop before its timer */
    return now;
}

void xf_timer_rest(PortObject *port)
{
#ifdef __linux__
    if (port->timerfd >= 0 && port->armed_at == XF_NEVER) {
        set_timerfd(port->timerfd, XF_NEVER); /* or it stays readable */
    }
#else
    (void)port;
#endif
}

void xf_timer_close(PortObject *port)
{
    cancel_handle(port);
#ifdef __linux__
    xf_port_unwatch(port, &port->timerfd);
#endif
}

void xf_timer_drop(PortObject *port)
{
#ifdef __linux__
    if (port->timerfd >= 0) {
        close(port->timerfd);
    }
#else
    (void)port;
#endif
}
