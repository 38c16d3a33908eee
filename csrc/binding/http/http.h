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

enum { XF_OUTGOING_FIELDS = 13 };

typedef struct xf_http_module {
    xf_curl curl;
    PyTypeObject *session_type, *outgoing_type, *times_type, *ending_type, *quota_type,
        *engine_type, *transfer_type, *waiter_type, *reader_type, *response_type, *event_type,
        *tap_type, *watch_type, *steps_type;
    PyObject *get_running_loop, *cancelled_error, *loads;
    PyObject *str_add_reader, *str_remove_reader, *str_call_soon, *str_is_closed, *str_done,
        *str_set_result, *str_message;
    PyObject *context_kw; /* ("context",) */
    PyObject *outgoing_names[XF_OUTGOING_FIELDS];
} xf_http_module;

/* A list of header lines for libcurl in one piece of memory, shared by transfers. */
typedef struct xf_header_list {
    atomic_size_t refs;        /* of transfers in any thread */
    size_t size;               /* bytes of the text */
    struct curl_slist lines[]; /* two or more, and behind them the text */
} xf_header_list;

typedef struct EngineObject EngineObject;
typedef struct WaiterObject WaiterObject;

typedef struct SessionObject {
    PyObject_HEAD xf_http_module *state; /* borrowed: the type keeps the module */
    xf_options options;
    PyObject *keep; /* owns the strings of options */
    PyObject *response_type, *error_factory;
    PyObject *shown;              /* a function: a URL without its secrets */
    PyObject *defaults;           /* tuple of (name, value) bytes */
    int64_t total_ns, idle_ns;    /* of calls that give no timeouts */
    xf_header_list *plain, *json; /* of calls that give no headers */
    PyObject *engines;            /* dict: loop -> Engine */
    EngineObject *engine;         /* the one used last, or NULL */
    bool closed;
} SessionObject;

/* A request that a session sends; outgoing.c describes the fields. Outside the garbage collector,
 * as it refers to nothing that could refer to it. */
typedef struct OutgoingObject {
    PyObject_HEAD PyObject *method, *url, *headers, *body;
    PyObject *timeout, *idle_timeout, *connect_timeout, *idempotent, *upload_size;
    PyObject *json, *stream, *bare, *foreign;
} OutgoingObject;

/* The transfers of a session in one loop, and so in one thread. Other threads may only create and
 * close it; that, and the session's references to it, use a lock. The counters that stats() returns
 * in another thread may be a moment old. */
typedef struct EngineObject {
    PyObject_HEAD xf_http_module *state;
    xf_engine *net;    /* NULL: closed */
    xf_engine *memory; /* the same to the end: a turn or stats() may be looking at it */
    PyObject *loop;
    PyObject *session; /* keeps the options */
    unsigned forks;    /* that had happened when it was made */
    long pid;
} EngineObject;

typedef enum xf_http_phase {
    XF_TRANSFER_FRESH,
    XF_TRANSFER_FLYING,
    XF_TRANSFER_ANSWERED
} xf_http_phase;

/* One call: a coroutine, driven by the task that awaits it.
 *
 * The garbage collector does not track it, its waiter and its reader, since visiting them would be
 * of no use. While a task waits, they are held from outside. Otherwise they refer to no object that
 * could refer to them. */
typedef struct TransferObject {
    PyObject_HEAD xf_transfer net;
    SessionObject *session;
    EngineObject *engine; /* from the start on */
    WaiterObject *waiter;
    PyObject *url, *method;
    Py_buffer body;
    xf_header_list *headers;
    PyObject *room; /* a future of the uploading task, or NULL */
    bool entrusted; /* to a coroutine, which warns if it is never awaited */
    xf_http_phase phase;
} TransferObject;

/* The future that a waiting task awaits: one for each transfer, reused for each wait.
 * While a task waits, the waiter holds a reference to the transfer, and the engine holds the
 * waiter. So a task that waits for the network is not garbage. */
typedef struct WaiterObject {
    PyObject_HEAD xf_http_module *state;
    TransferObject *transfer; /* strong while a task waits, else borrowed, NULL when it is gone */
    PyObject *loop;
    PyObject *callback, *context; /* wakes the task; NULL: none waits */
    PyObject *cancel_message;
    bool blocking; /* asyncio's handshake of yielded futures */
    bool cancelled;
} WaiterObject;

typedef enum xf_http_reading {
    XF_READ_CHUNKS, /* bytes as they come */
    XF_READ_EVENTS,
    XF_READ_AHEAD, /* all bytes so far, each time there are more; they stay for other readers */
} xf_http_reading;

/* The answer's body as an async iterator. */
typedef struct ReaderObject {
    PyObject_HEAD TransferObject *transfer;
    xf_http_reading reading;
    bool broken;
    size_t seen; /* bytes that a look ahead has returned */
    xf_sse sse;
    PyObject *last_id;
} ReaderObject;

typedef struct ResponseObject {
    PyObject_HEAD PyObject *url, *method, *head, *body;
    PyObject *headers; /* parsed on demand, by the Python class */
    double queued;
    int status, http_version;
    int sends;
    long connects;
    xf_times times;
} ResponseObject;

typedef struct EventObject {
    PyObject_HEAD xf_http_module *state;
    PyObject *data, *event, *id;
    int64_t retry;
} EventObject;

/* The time of the engines, in ns of the system's monotonic clock. */
int64_t xf_http_clock_now(void);

/* Counts the forks of this process from now on, once for all interpreters. 0, or an errno. */
int xf_http_forks_watch(void);

extern PyType_Spec xf_http_session_spec, xf_http_outgoing_spec, xf_http_engine_spec,
    xf_http_watch_spec, xf_http_transfer_spec, xf_http_waiter_spec, xf_http_reader_spec,
    xf_http_response_spec, xf_http_event_spec, xf_http_tap_spec;

/* The interned names of a request's fields. -1 with an exception. */
int xf_http_outgoing_names(xf_http_module *state);
/* The type's vectorcall. */
PyObject *xf_http_outgoing_call(PyObject *type, PyObject *const *args, size_t nargsf,
                                PyObject *kwnames);

/* The engine of the running loop, borrowed. NULL with an exception, or with the XF_E_... outcome in
 * `refused` for the transfer that asks for it. */
EngineObject *xf_http_session_engine(SessionObject *self, xf_ending *refused);
/* 0, or the reason why the engine cannot be used: XF_E_CLOSED, XF_E_FORKED. */
int xf_http_engine_fault(const EngineObject *self);
/* Whether the engine is the parent's, from before a fork. Then it must not be used, since its
 * sockets and epoll set are shared with the parent. */
bool xf_http_engine_is_inherited(const EngineObject *self);

/* Makes the coroutine of a request. Takes over the headers, also on failure: NULL with an
 * exception. */
PyObject *xf_http_transfer_new(SessionObject *session, PyObject *method, PyObject *url,
                               xf_header_list *headers, const xf_request *request, PyObject *body);

/* Receives a transfer's news from the engine: see xf_host. */
int xf_http_transfer_news(xf_transfer *net, unsigned what);
/* Takes a reference to the transfer, which xf_http_transfer_closed() drops. */
void xf_http_transfer_hold(xf_transfer *net);
/* Lets the loop wake the waiting task after the engine was closed. Drops the reference that
 * xf_http_transfer_hold() took. */
void xf_http_transfer_closed(xf_transfer *net);

/* Lets the calling awaitable wait for events of the transfer. Returns the object that it must
 * yield, or NULL with an exception. */
PyObject *xf_http_waiter_park(TransferObject *transfer);
/* Runs the waiting task up to its next wait. 0, or -1 with the exception that it raised. */
int xf_http_waiter_wake(WaiterObject *self);

/* Lets the loop run the waiting task, instead of running it now. */
void xf_http_waiter_wake_later(WaiterObject *self);
/* Raises the exception for the transfer's outcome. */
void xf_http_transfer_raise(TransferObject *self);
/* 0, or -1 with an exception if the transfer's engine was closed or is the parent process's. */
int xf_http_transfer_check(TransferObject *self);

extern PyStructSequence_Desc xf_http_times_desc, xf_http_ending_desc, xf_http_quota_desc;

/* Makes a record of a transfer's times; reads one. NULL, or -1, with an exception. */
PyObject *xf_http_times_new(const xf_http_module *state, const xf_times *times, long connects,
                            int sends);
int xf_http_times_read(PyObject *record, xf_times *times, long *connects, int *sends);

/* How a request failed; see ending.c for what the fields are. */
typedef struct xf_http_failure {
    int code;
    const char *message;
    int os_errno;
    bool retry_safe, connected;
    int status;
    const char *head; /* of the answer that had begun; NULL with a size of 0 */
    Py_ssize_t head_size;
    xf_times times;
    long connects;
    int sends;
} xf_http_failure;

/* Raises what the session's factory makes of the failure. */
void xf_http_raise(const SessionObject *session, PyObject *method, PyObject *url,
                   const xf_http_failure *failure);

/* Makes a reader. limit: the largest event in bytes. */
PyObject *xf_http_reader_new(TransferObject *transfer, xf_http_reading reading, Py_ssize_t limit);

/* Makes the response of a transfer that is done. NULL with an exception. */
PyObject *xf_http_response_new(TransferObject *transfer);

/* usage_in(body) -> (input, output, cached) or None; see xtremeflow/answers/usage.py */
PyObject *xf_http_usage_in(PyObject *module, PyObject *body);
/* quotas(head, now) -> [(name, style, per, limit, remaining, reset, reset_text), ...], or None if
 * the head must be read in Python */
PyObject *xf_http_quotas(PyObject *module, PyObject *const *args, Py_ssize_t nargs);
/* asked(body) -> (model or "", tokens allowed or None) */
PyObject *xf_http_asked(PyObject *module, PyObject *body);

/* Checked header lines: `given` (None, a mapping or an iterable of pairs), then those of
 * `defaults` that it does not name. NULL with an exception. */
xf_header_list *xf_http_headers_new(PyObject *given, PyObject *defaults, bool json);
/* The header lines of a request. A large body is one for which libcurl would send
 * "Expect: 100-continue". */
const struct curl_slist *xf_http_headers_lines(const xf_header_list *headers, bool large_body);

/* Drops a reference to header lines. Does nothing for NULL. */
void xf_http_headers_release(xf_header_list *headers);
/* Checks header fields and returns them as a tuple of pairs of bytes. NULL with an exception. */
PyObject *xf_http_headers_pairs(PyObject *given);

/* A step of an awaitable, as am_send makes it. */
typedef PySendResult (*xf_http_step_function)(PyObject *, PyObject **);

/* Makes a step as tp_iternext has to. */
PyObject *xf_http_await_next(PyObject *self, xf_http_step_function step);
/* The method __await__ of these awaitables. */
PyObject *xf_http_await_method(PyObject *self, PyTypeObject *cls, PyObject *const *args,
                               Py_ssize_t nargs, PyObject *names);

#endif
