/* Private to csrc/net. */
#ifndef XF_NET_INTERNAL_H
#define XF_NET_INTERNAL_H

#include "net/engine.h"
#include "net/poller.h"

#define XF_ERROR_SIZE 256 /* CURL_ERROR_SIZE */

/* A libcurl handle with the options that all requests share. Making one costs more than the rest of
 * a call, so handles are kept. */
typedef struct xf_easy {
    CURL *curl;
    xf_transfer *transfer; /* NULL: in the pool */
    struct xf_easy *next;
    bool set_up;
    bool http2;
    bool plain_post; /* set up for POST with a body in memory */
    bool foreign;    /* set up without the client's certificate */
    long connect_timeout_ms;
    char error[XF_ERROR_SIZE];
} xf_easy;

/* The state of a descriptor number. */
typedef struct xf_socket {
    uint8_t wanted;  /* by libcurl */
    uint8_t watched; /* by the poller */
    bool ours;       /* opened by the engine, which will see it close */
} xf_socket;

/* A connection that was closed. */
typedef struct xf_closed {
    int port;        /* its local port, by which a transfer finds it; 0: none */
    int64_t untaken; /* bytes sent that the peer's kernel has not acknowledged */
    bool alive;      /* the peer had not closed its end */
} xf_closed;

#define XF_CLOSED 16

typedef struct xf_engine {
    const xf_curl *curl;
    xf_options options;
    xf_host host;
    xf_poller poller;
    CURLM *multi;
    int64_t now;
    int64_t curl_due, armed; /* XF_NO_DEADLINE: not */
    xf_deadlines deadlines;
    xf_socket *sockets;
    size_t socket_room;
    xf_closed closed[XF_CLOSED]; /* a ring, of the last ones */
    unsigned closed_next;
    xf_easy *pool;
    size_t pool_size;
    xf_transfer *active, *news, **news_end;
    bool telling;   /* news are being delivered: the host's tasks run, one after another */
    unsigned added; /* transfers that they started and that libcurl has not run yet */
    bool failed;    /* a socket could not be watched, so all transfers in flight end */
    xf_stats stats;
} xf_engine;

/* Runs libcurl on one descriptor (or CURL_SOCKET_TIMEOUT) and collects the ended transfers. */
void xf_engine_run(xf_engine *e, int fd, int events);
/* Arms the poller's timer for the next time that work is due. */
void xf_engine_arm(xf_engine *e);

/* Adds news of a transfer. */
void xf_engine_note(xf_engine *e, xf_transfer *t, unsigned what);

/* Drops the news of a transfer. */
void xf_engine_forget(xf_engine *e, xf_transfer *t);

/* libcurl's callbacks that open a socket of the engine, and close it. */
int xf_engine_open_socket(void *easy, int purpose, struct curl_sockaddr *address);
int xf_engine_close_socket(void *engine, int fd);

/* The last closed connection with that local port. NULL if there is none, or `port` is 0. */
const xf_closed *xf_engine_closed(const xf_engine *e, int port);

/* Takes a handle out of the pool, or makes one. NULL if there is no memory. */
xf_easy *xf_easy_get(xf_engine *e);

/* Gives a handle that is in no transfer back, for the next one. */
void xf_easy_put(xf_engine *e, xf_easy *easy);

/* Frees a handle that is in no transfer. */
void xf_easy_free(xf_engine *e, xf_easy *easy);

/* Sets a handle up for a request. 0, or a code of libcurl; then some options are set, some not. */
int xf_easy_set(xf_engine *e, xf_easy *easy, const xf_request *r);

/* libcurl's callbacks; `userdata` is an xf_easy. The first is CURLOPT_PREREQFUNCTION, which libcurl
   calls each time before it sends the request. */
int xf_transfer_about_to_send(void *userdata, char *ip, char *own_ip, int port, int own_port);
size_t xf_transfer_read_upload(char *room, size_t one, size_t size, void *userdata);
size_t xf_answer_head(char *line, size_t one, size_t size, void *userdata);
size_t xf_answer_body(char *bytes, size_t one, size_t size, void *userdata);

/* Takes a transfer out of libcurl and of the engine, and stores its outcome. */
void xf_transfer_end(xf_transfer *t, int code);

#endif
