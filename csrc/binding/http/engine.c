#include "binding/http/http.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

int64_t xf_http_clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* How often this process has come out of a fork: cheaper to ask than the process's number. It is
 * of the process, so of no module or interpreter. */
static unsigned forks;

static void after_fork(void)
{
    forks++;
}

static int watching; /* the result of watch_forks() */

static void watch_forks(void)
{
    watching = pthread_atfork(NULL, NULL, after_fork);
}

int xf_http_forks_watch(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT; /* interpreters may import it at a time */
    pthread_once(&once, watch_forks);
    return watching;
}

bool xf_http_engine_is_inherited(const EngineObject *self)
{
    return self->forks != forks;
}

int xf_http_engine_fault(const EngineObject *self)
{
    if (xf_http_engine_is_inherited(self)) {
        return XF_E_FORKED;
    }
    return self->net == NULL ? XF_E_CLOSED : 0;
}

/* The descriptor is readable. */
static PyObject *turn(EngineObject *self)
{
    if (self->net == NULL) {
        Py_RETURN_NONE;
    }
    if (xf_http_engine_is_inherited(self)) {
        PyErr_Format(PyExc_RuntimeError,
                     "this event loop and its connections belong to process %ld, which forked; "
                     "make a new loop and a new client in process %ld",
                     self->pid, (long)getpid());
        return NULL;
    }
    Py_INCREF(self); /* a woken task may close the client, or run its loop, and so us, anew */
    int interrupted = xf_engine_turn(self->net, xf_http_clock_now());
    Py_DECREF(self);
    if (interrupted < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *close_it(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    EngineObject *self = (EngineObject *)op;
    if (self->net == NULL) {
        Py_RETURN_NONE;
    }
    if (xf_http_engine_is_inherited(self)) { /* left alone with its connections */
        self->net = NULL;
        Py_RETURN_NONE;
    }
    PyObject *closed = PyObject_CallMethodNoArgs(self->loop, self->state->str_is_closed);
    if (closed == NULL) {
        return NULL;
    }
    bool watched = closed != Py_True;
    Py_DECREF(closed);
    if (watched && self->net != NULL) {
        PyObject *fd = PyLong_FromLong(xf_engine_fd(self->net));
        PyObject *done =
            fd != NULL ? PyObject_CallMethodOneArg(self->loop, self->state->str_remove_reader, fd)
                       : NULL;
        Py_XDECREF(fd);
        if (done == NULL) {
            return NULL;
        }
        Py_DECREF(done);
    }
    xf_engine *net = self->net;
    if (net == NULL) { /* another thread was faster */
        Py_RETURN_NONE;
    }
    self->net = NULL;
    xf_transfer *ended = xf_engine_close(net);
    for (xf_transfer *t = ended; t != NULL; t = t->next) {
        xf_http_transfer_hold(t); /* waking one may end others */
    }
    for (xf_transfer *next, *t = ended; t != NULL; t = next) {
        next = t->next;
        t->next = NULL;
        xf_http_transfer_closed(t);
    }
    Py_RETURN_NONE;
}

/* Ends all transfers in flight with an error. Must run in the thread of the loop, or when that is
 * closed. */
static PyObject *engine_close(PyObject *op, PyObject *ignored)
{
    PyObject *result;
    XF_LOCK(op);
    result = close_it(op, ignored);
    XF_UNLOCK();
    return result;
}

static PyObject *engine_stats(PyObject *op, PyObject *Py_UNUSED(ignored))
{
    EngineObject *self = (EngineObject *)op;
    xf_stats s = xf_engine_stats(self->memory);
    if (self->net == NULL) {
        s = (xf_stats){0};
    }
    return Py_BuildValue("{s:n,s:n,s:K,s:K,s:K,s:K}", "active", (Py_ssize_t)s.active, "sockets",
                         (Py_ssize_t)s.sockets, "started", (unsigned long long)s.started,
                         "finished", (unsigned long long)s.finished, "connects",
                         (unsigned long long)s.connects, "repeated",
                         (unsigned long long)s.repeated);
}

static PyObject *engine_loop(PyObject *op, void *Py_UNUSED(closure))
{
    return Py_NewRef(((EngineObject *)op)->loop);
}

static PyObject *engine_inherited(PyObject *op, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(xf_http_engine_is_inherited((EngineObject *)op));
}

static int engine_traverse(PyObject *op, visitproc visit, void *arg)
{
    EngineObject *self = (EngineObject *)op;
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(self->loop);
    Py_VISIT(self->session);
    return 0;
}

static int engine_clear(PyObject *op)
{
    EngineObject *self = (EngineObject *)op;
    Py_CLEAR(self->loop);
    Py_CLEAR(self->session);
    return 0;
}

static void engine_dealloc(PyObject *op)
{
    EngineObject *self = (EngineObject *)op;
    PyTypeObject *type = Py_TYPE(op);
    PyObject_GC_UnTrack(op);
    if (self->net != NULL && !xf_http_engine_is_inherited(self)) {
        /* Transfers hold a reference to their engine, so none is in flight. */
        (void)xf_engine_close(self->net);
        self->net = NULL;
    }
    if (self->net == NULL && self->memory != NULL && !xf_http_engine_is_inherited(self)) {
        xf_engine_free(self->memory);
    }
    engine_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyMethodDef engine_methods[] = {
    {"close", engine_close, METH_NOARGS, "Ends what is in flight and closes the connections."},
    {"stats", engine_stats, METH_NOARGS, "Counters since the start."},
    {0},
};

static PyGetSetDef engine_getset[] = {
    {"loop", engine_loop, NULL, "The event loop that it belongs to.", NULL},
    {"inherited", engine_inherited, NULL, "Whether it is another process's, from before a fork.",
     NULL},
    {0},
};

static PyType_Slot engine_slots[] = {
    {Py_tp_doc, "The transfers of one client in one event loop."},
    {Py_tp_methods, engine_methods},
    {Py_tp_getset, engine_getset},
    {Py_tp_traverse, engine_traverse},
    {Py_tp_clear, engine_clear},
    {Py_tp_dealloc, engine_dealloc},
    {0},
};

PyType_Spec xf_http_engine_spec = {
    .name = "xtremeflow._http.Engine",
    .basicsize = sizeof(EngineObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = engine_slots,
};

/* ---- the loop's callback ----
 *
 * The loop alone holds it, so that its end is the end of the loop: a loop that is closed lets go of
 * what it watched, without a word to any object. Transfers in flight, which no garbage collector
 * sees, would keep their tasks, the loop and all descriptors for ever. */

typedef struct WatchObject {
    PyObject_HEAD EngineObject *engine;
} WatchObject;

static PyObject *watch_call(PyObject *op, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    return turn(((WatchObject *)op)->engine);
}

static int forget(SessionObject *session, EngineObject *engine)
{
    if (session->engine == engine) {
        session->engine = NULL;
    }
    if (session->engines == NULL ||
        PyDict_GetItemWithError(session->engines, engine->loop) != (PyObject *)engine) {
        return PyErr_Occurred() ? -1 : 0;
    }
    return PyDict_DelItem(session->engines, engine->loop);
}

static int close_if_dead(EngineObject *engine)
{
    PyObject *closed = PyObject_CallMethodNoArgs(engine->loop, engine->state->str_is_closed);
    if (closed == NULL) {
        return -1;
    }
    bool dead = closed == Py_True;
    Py_DECREF(closed);
    if (!dead) {
        return 0;
    }
    Py_INCREF(engine);
    PyObject *none = engine_close((PyObject *)engine, NULL);
    int result = none != NULL && engine->session != NULL
                     ? forget((SessionObject *)engine->session, engine)
                     : 0;
    Py_DECREF(engine);
    Py_XDECREF(none);
    return none != NULL ? result : -1;
}

static void watch_finalize(PyObject *op)
{
    EngineObject *engine = ((WatchObject *)op)->engine;
    if (engine == NULL || engine->net == NULL || engine->loop == NULL) {
        return;
    }
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (close_if_dead(engine) < 0) {
        PyErr_WriteUnraisable(op);
    }
    PyErr_Restore(type, value, traceback);
}

static int watch_traverse(PyObject *op, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(op));
    Py_VISIT(((WatchObject *)op)->engine);
    return 0;
}

static int watch_clear(PyObject *op)
{
    Py_CLEAR(((WatchObject *)op)->engine);
    return 0;
}

static void watch_dealloc(PyObject *op)
{
    PyTypeObject *type = Py_TYPE(op);
    if (PyObject_CallFinalizerFromDealloc(op) < 0) {
        return;
    }
    PyObject_GC_UnTrack(op);
    watch_clear(op);
    type->tp_free(op);
    Py_DECREF(type);
}

static PyType_Slot watch_slots[] = {
    {Py_tp_doc, "The callback of the loop when an engine has work to do."},
    {Py_tp_call, watch_call},
    {Py_tp_finalize, watch_finalize},
    {Py_tp_traverse, watch_traverse},
    {Py_tp_clear, watch_clear},
    {Py_tp_dealloc, watch_dealloc},
    {0},
};

PyType_Spec xf_http_watch_spec = {
    .name = "xtremeflow._http.Watch",
    .basicsize = sizeof(WatchObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = watch_slots,
};

/* 0, or -1 with an exception. */
static int watch_engine(EngineObject *engine)
{
    xf_http_module *state = engine->state;
    WatchObject *watch = (WatchObject *)state->watch_type->tp_alloc(state->watch_type, 0);
    PyObject *fd = PyLong_FromLong(xf_engine_fd(engine->net)), *handle = NULL;
    if (watch != NULL) {
        watch->engine = (EngineObject *)Py_NewRef(engine);
    }
    if (watch != NULL && fd != NULL) {
        handle = PyObject_CallMethodObjArgs(engine->loop, state->str_add_reader, fd, watch, NULL);
    }
    Py_XDECREF(fd);
    Py_XDECREF(watch);
    Py_XDECREF(handle);
    return handle != NULL ? 0 : -1;
}

/* ---- the session's engines ---- */

/* NULL with an exception, or with the outcome for the transfer that asked. */
static EngineObject *engine_new(SessionObject *session, PyObject *loop, xf_ending *refused)
{
    xf_http_module *state = session->state;
    EngineObject *self = (EngineObject *)state->engine_type->tp_alloc(state->engine_type, 0);
    if (self == NULL) {
        return NULL;
    }
    self->state = state;
    self->loop = Py_NewRef(loop);
    self->session = Py_NewRef(session);
    self->forks = forks;
    self->pid = (long)getpid();
    self->net =
        xf_engine_new(&state->curl, &session->options, (xf_host){.news = xf_http_transfer_news});
    self->memory = self->net;
    if (self->net == NULL) {
        refused->os_errno = errno;
        refused->code = errno == EMFILE || errno == ENFILE ? XF_E_FILES : XF_E_MEMORY;
        goto fail;
    }
    if (watch_engine(self) < 0 || PyDict_SetItem(session->engines, loop, (PyObject *)self) < 0) {
        goto fail;
    }
    return self;
fail:
    Py_DECREF(self);
    return NULL;
}

/* Engines of loops that are gone without closing their watch are closed when a new one is made. */
static int drop_dead_engines(SessionObject *session)
{
    PyObject *engines = PyDict_Values(session->engines);
    if (engines == NULL) {
        return -1;
    }
    int result = 0;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(engines) && !result; i++) {
        result = close_if_dead((EngineObject *)PyList_GET_ITEM(engines, i));
    }
    Py_DECREF(engines);
    return result;
}

/* The engine of `loop`, created if need be. Borrowed. */
static EngineObject *engine_of(SessionObject *self, PyObject *loop, xf_ending *refused)
{
    EngineObject *engine = self->engine;
    if (engine == NULL || engine->loop != loop) {
        engine = (EngineObject *)PyDict_GetItemWithError(self->engines, loop); /* borrowed */
        if (engine == NULL && !PyErr_Occurred() && !self->closed && drop_dead_engines(self) == 0) {
            engine = engine_new(self, loop, refused);
            Py_XDECREF(engine); /* the dict has it */
        }
        if (self->closed && engine == NULL) {
            refused->code = XF_E_CLOSED;
        }
        self->engine = engine;
    }
    return engine;
}

EngineObject *xf_http_session_engine(SessionObject *self, xf_ending *refused)
{
    PyObject *loop = PyObject_CallNoArgs(self->state->get_running_loop);
    if (loop == NULL) {
        return NULL;
    }
    EngineObject *engine;
    XF_LOCK(self);
    engine = engine_of(self, loop, refused);
    XF_UNLOCK();
    Py_DECREF(loop);
    if (engine != NULL) {
        refused->code = xf_http_engine_fault(engine);
    }
    return refused->code == 0 ? engine : NULL;
}
