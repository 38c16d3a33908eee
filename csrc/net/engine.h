/* HTTP transfers on libcurl's multi_socket interface.
 *
 * An engine belongs to one event loop and thread. The loop watches one descriptor and calls
 * xf_engine_turn() when it is readable: one callback a loop iteration, whatever the number of
 * transfers. The engine collects the events of transfers (their *news*) while libcurl runs and
 * delivers them afterwards, so that their receiver may start and cancel transfers. All times are
 * nanoseconds of one monotonic clock, which the caller reads.
 */
#ifndef XF_NET_ENGINE_H
#define XF_NET_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/buffer.h"
#include "net/curl.h"
#include "net/deadlines.h"

typedef struct xf_engine xf_engine;
typedef struct xf_transfer xf_transfer;
typedef struct xf_easy xf_easy;

/* The news of a transfer since the last delivery. */
enum {
    XF_HEAD = 1, /* status and headers have arrived */
    XF_BODY = 2, /* more of the body has arrived */
    XF_ROOM = 4, /* the upload can take more */
    XF_DONE = 8, /* the outcome is known; the transfer is out of the engine */
};

typedef struct xf_host {
    /* Takes the news of a transfer. 0, or -1 to get the rest in the next turn. */
    int (*news)(xf_transfer *, unsigned what);
} xf_host;

/* The options of an engine. Strings are borrowed and must outlive it. */
typedef struct xf_options {
    const char *ca_file, *cert_file, *key_file, *key_password; /* NULL: libcurl's default */
    const char *proxy, *no_proxy; /* proxy NULL: from the environment; "": none */
    bool verify, http2;
    bool compressed;                    /* decode gzip, and refuse other codings */
    long connect_timeout_ms;            /* used by the binding; 0: none */
    long max_connections, max_per_host; /* 0: no bound */
    long max_idle;                      /* connections kept for reuse */
    size_t max_head, max_body;          /* bytes; max_body bounds collected answers only */
    size_t high_water;                  /* unread bytes at which a stream is paused */
} xf_options;

/* A request. Borrowed until the transfer is done. */
typedef struct xf_request {
    const char *method, *url;
    const struct curl_slist *headers;
    const char *body; /* NULL: none */
    size_t body_size;
    int64_t upload_size;       /* of an upload by xf_transfer_send(), -1: unknown */
    bool upload;               /* the body comes by xf_transfer_send() */
    bool stream;               /* deliver news of the head and of each piece of the body */
    bool repeatable;           /* may be sent twice, by its method or the caller's word */
    bool foreign;              /* to a host that the caller did not name: without our certificate */
    int64_t total_ns, idle_ns; /* XF_NO_DEADLINE: unbounded */
    long connect_timeout_ms;   /* 0: none */
} xf_request;

/* Codes of an outcome beside libcurl's own, which are positive. */
enum {
    XF_E_TOTAL = -1,     /* the total timeout */
    XF_E_IDLE = -2,      /* nothing received for idle_ns */
    XF_E_BODY = -3,      /* the body is larger than max_body */
    XF_E_HEAD = -4,      /* the head is larger than max_head */
    XF_E_LOST = -5,      /* a reused connection broke; the request may have been received */
    XF_E_CLOSED = -6,    /* the engine was closed */
    XF_E_MEMORY = -7,    /* out of memory */
    XF_E_UPLOAD = -8,    /* the upload was aborted by its source */
    XF_E_CUT = -9,       /* the connection ended in the head, which libcurl takes for an answer */
    XF_E_ENDED = -10,    /* cancelled by the caller */
    XF_E_LENGTH = -11,   /* Content-Length contradicts itself, or is no number */
    XF_E_SWITCH = -12,   /* status 101, without an Upgrade */
    XF_E_ENCODING = -13, /* a content coding other than gzip */
    XF_E_GZIP = -14,     /* not what gzip makes */
    XF_E_GZIP_CUT = -15, /* the body ended before its gzip stream */
    XF_E_FILES = -16,    /* no file descriptor is left, and no connection that may become free */
    XF_E_EVENT = -17,    /* a server-sent event is larger than its reader allows */
    XF_E_FORKED = -18,   /* the engine is the parent process's, from before a fork */
    XF_E_STATUS = -19,   /* a status of more than three digits */
    XF_E_PROXY = -20,    /* the proxy refuses the tunnel to the server */
};

typedef struct xf_ending {
    int code; /* 0: success */
    int os_errno;
    bool unsent;    /* no byte of the request can have reached the server's program */
    bool connected; /* it failed after the connection was made */
    int sends;      /* times that the request was sent; above 1: repeated by libcurl */
    long connects;  /* new connections made for it */
    char *message;  /* of libcurl, or NULL; owned by the transfer */
} xf_ending;

/* Microseconds since the start, 0: not reached. */
typedef struct xf_times {
    int64_t lookup, connect, tls, ready, first_byte, total;
} xf_times;

typedef struct xf_transfer {
    xf_request request;

    /* the answer */
    int status;
    int http_version; /* 10, 11, 20 */
    xf_buffer head;   /* status line and header lines, as received */
    xf_buffer body;   /* the bytes received and not yet taken */
    bool head_open;   /* its status line has come, its end has not */
    bool head_done, done;
    xf_ending outcome;
    xf_times times;

    /* private to csrc/net */
    xf_engine *engine; /* NULL: not in flight */
    xf_easy *easy;
    xf_buffer upload;
    int64_t length; /* Content-Length in the head so far, -1: none */
    enum { XF_PLAIN, XF_GZIPPED, XF_FOREIGN } coding;
    xf_gzip *gzip; /* NULL: no body yet, or not gzipped */
    bool upload_ended, upload_aborted, send_paused, receive_paused;
    bool starved; /* there was no file descriptor for its connection */
    int error;    /* XF_E_... noted by a callback, which can only tell libcurl to abort */
    int port;     /* of its connection, on this side */
    int64_t started, last_io, uploaded;
    xf_deadline deadline;
    unsigned news;
    struct xf_transfer *next_news, *next, *previous;
} xf_transfer;

typedef struct xf_stats {
    size_t active;  /* transfers in flight */
    size_t sockets; /* open connections */
    uint64_t started, finished, connects, repeated;
} xf_stats;

/* Makes an engine. NULL with errno if there is no memory or descriptor. `curl` must outlive the
 * engine. */
xf_engine *xf_engine_new(const xf_curl *curl, const xf_options *options, xf_host host);

/* The descriptor that the event loop must watch for reading. */
int xf_engine_fd(const xf_engine *e);

/* The counters of an engine. */
xf_stats xf_engine_stats(const xf_engine *e);

/* Does the work that is due and delivers the news. 0, or -1 if the host interrupted it. */
int xf_engine_turn(xf_engine *e, int64_t now);

/* Ends all transfers with XF_E_CLOSED, without delivering news, and returns them as a list (by
 * `next`). The host may call it from its news; then xf_engine_free() must wait for the end of the
 * turn. No other call on the engine is allowed afterwards. */
xf_transfer *xf_engine_close(xf_engine *e);

/* Frees a closed engine. */
void xf_engine_free(xf_engine *e);

/* Initialises a transfer. The caller owns it; it is in the engine from its start until it is done.
 */
void xf_transfer_init(xf_transfer *t, const xf_request *request);

/* Starts a transfer. 0, or a libcurl code or XF_E_...; then it was never in flight. */
int xf_transfer_start(xf_transfer *t, xf_engine *e, int64_t now);

/* Ends a transfer without news. Frees its connection at once. */
void xf_transfer_cancel(xf_transfer *t);

/* Takes `size` bytes from the front of the body, and lets a paused transfer go on. */
void xf_transfer_take(xf_transfer *t, size_t size, int64_t now);

/* Adds bytes to the upload. 0, or -1 if there is no memory. */
int xf_transfer_send(xf_transfer *t, const char *bytes, size_t size, int64_t now);

/* Ends the upload, or aborts it. */
void xf_transfer_send_end(xf_transfer *t, bool aborted, int64_t now);

/* Frees the memory of a transfer that is not in flight. */
void xf_transfer_free(xf_transfer *t);

#endif
