/* xtremeflow._http: the engine of csrc/net on an asyncio event loop. */
#ifndef XF_HTTP_H
#define XF_HTTP_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "binding/lock.h"
#include "binding/steps.h"
#include "net/engine.h"
#include "net/sse.h"

struct state {
    struct xf_curl curl;
    PyTypeObject *session_type, *engine_type, *transfer_type, *waiter_type, *reader_type,
        *response_type, *event_type, *tap_type, *watch_type, *steps_type;
    PyObject *get_running_loop, *cancelled_error, *loads;
    PyObject *str_add_reader, *str_remove_reader, *str_call_soon, *str_is_closed, *str_done,
        *str_set_result, *str_message;
    PyObject *context_kw; /* ("context",) */
};

/* A list of header lines for libcurl in one piece of memory, shared by transfers. */
struct headers {
    atomic_size_t refs;        /* of transfers in any thread */
    struct curl_slist lines[]; /* two or more, and behind them the text */
};

typedef struct {
    PyObject_HEAD struct state *state; /* borrowed: the type keeps the module */
    struct xf_options options;
    PyObject *keep; /* owns the strings of options */
    PyObject *response_type, *error_factory;
    PyObject *shown;              /* a function: a URL without its secrets */
    PyObject *defaults;           /* tuple of (name, value) bytes */
    int64_t total_ns, idle_ns;    /* of calls that give no timeouts */
    struct headers *plain, *json; /* of calls that give no headers */
    PyObject *engines;            /* dict: loop -> Engine */
    struct Engine *engine;        /* the one used last, or NULL */
    bool closed;
} Session;

/* Of one loop, and so of one thread: only its making and closing, which other threads may do, and
 * what the session keeps of it, go by a lock. What stats() tells another thread may be a moment
 * old. */
typedef struct Engine {
    PyObject_HEAD struct state *state;
    struct xf_engine *net;    /* NULL: closed */
    struct xf_engine *memory; /* the same to the end: a turn or stats() may be looking at it */
    PyObject *loop;
    PyObject *session; /* keeps the options */
    unsigned forks;    /* that had happened when it was made */
    long pid;
} Engine;

enum phase { FRESH, FLYING, ANSWERED };

/* One call: a coroutine, driven by the task that awaits it.
 *
 * It, its waiter and its reader are outside the garbage collector, which would visit each of them
 * for nothing: while a task waits, they are held from outside, and otherwise they refer to nothing
 * that could refer to them. */
typedef struct {
    PyObject_HEAD struct xf_transfer net;
    Session *session;
    Engine *engine; /* from the start on */
    struct Waiter *waiter;
    PyObject *url, *method;
    Py_buffer body;
    struct headers *headers;
    PyObject *room; /* a future of the uploading task, or NULL */
    bool entrusted; /* to a coroutine, which warns if nobody awaits it */
    enum phase phase;
} Transfer;

/* The future that a waiting task is given: one a transfer, used again for each wait.
 * While a task waits, the waiter holds a reference to the transfer, and the engine counts as a
 * holder of the waiter: a task that waits for the network is not garbage. */
typedef struct Waiter {
    PyObject_HEAD struct state *state;
    Transfer *transfer; /* strong while a task waits, else borrowed, NULL when it is gone */
    PyObject *loop;
    PyObject *callback, *context; /* wakes the task; NULL: none waits */
    PyObject *cancel_message;
    bool blocking; /* asyncio's handshake of yielded futures */
    bool cancelled;
} Waiter;

/* The answer's body as an async iterator: of events, or of bytes as they come. */
typedef struct {
    PyObject_HEAD Transfer *transfer;
    bool events, broken;
    struct xf_sse sse;
    PyObject *last_id;
} Reader;

typedef struct {
    PyObject_HEAD PyObject *url, *method, *head, *body;
    PyObject *headers; /* parsed on demand, by the Python class */
    double queued;
    int status, http_version;
    int sends;
    long connects;
    struct xf_times times;
} Response;

typedef struct {
    PyObject_HEAD struct state *state;
    PyObject *data, *event, *id;
    int64_t retry;
} Event;

int64_t clock_now(void);
int forks_watch(void);

extern PyType_Spec session_spec, engine_spec, watch_spec, transfer_spec, waiter_spec, reader_spec,
    response_spec, event_spec, tap_spec;

/* The engine of the running loop; borrowed. NULL with an exception. */
Engine *session_engine(Session *self);
int engine_check(const Engine *self);
/* Whether it is the parent's, from before a fork: not to be touched, since the sockets and the
 * epoll set are shared. */
bool engine_is_inherited(const Engine *self);

/* A new reference, or NULL with an exception. */
PyObject *session_shown(const Session *self, PyObject *url);

PyObject *transfer_new(Session *session, PyObject *method, PyObject *url, struct headers *headers,
                       const struct xf_request *request, PyObject *body);
int transfer_news(struct xf_transfer *net, unsigned what);
/* Takes a reference to it, for transfer_closed() to give back. */
void transfer_hold(struct xf_transfer *net);
/* After the engine was closed: the waiting tasks are woken by the loop. Gives the reference back
 * that transfer_hold() took. */
void transfer_closed(struct xf_transfer *net);

/* Lets the calling awaitable wait for news: what it has to yield, or NULL with an exception. */
PyObject *waiter_park(Transfer *transfer);
/* Runs the waiting task up to its next wait. 0, or -1 with the exception that it let through. */
int waiter_wake(Waiter *self);
void waiter_wake_later(Waiter *self);
/* Raises what the outcome says. */
void transfer_raise(Transfer *self);
PyObject *times_tuple(const struct xf_times *times, long connects, int sends);

PyObject *reader_new(Transfer *transfer, bool events, Py_ssize_t limit);
PyObject *response_new(Transfer *transfer);

/* usage_in(body) -> (input, output, cached) or None; see learning/usage.py */
PyObject *usage_in(PyObject *module, PyObject *body);
/* quotas(head, now) -> [(name, style, per, limit, remaining, reset, reset_text), ...], or None
 * where the reader in Python has to be asked */
PyObject *quotas(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
/* asked(body) -> (model or "", tokens allowed or None) */
PyObject *asked(PyObject *module, PyObject *body);

/* Checked header lines: `given` (None, a mapping or an iterable of pairs), then those of
 * `defaults` that it does not name. NULL with an exception. */
struct headers *headers_new(PyObject *given, PyObject *defaults, bool json);
/* For a request; a large body is one that libcurl would ask the server's leave for. */
const struct curl_slist *headers_lines(const struct headers *headers, bool large_body);
void headers_release(struct headers *headers);
/* A tuple of pairs of bytes, checked. */
PyObject *headers_pairs(PyObject *given);

/* The two protocols by which awaitables are driven, over one step function. */
typedef PySendResult (*step_function)(PyObject *, PyObject **);
PyObject *await_next(PyObject *self, step_function step);
/* Their method __await__. */
PyObject *await_method(PyObject *self, PyTypeObject *cls, PyObject *const *args, Py_ssize_t nargs,
                       PyObject *names);

#endif
