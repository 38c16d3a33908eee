#define _GNU_SOURCE /* SOCK_CLOEXEC */
#include "net/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <netinet/in.h>
#if defined(__linux__) && defined(__has_include)
#if __has_include(<linux/tcp.h>)
#include <linux/tcp.h>
#define HAVE_TCP_INFO 1
#endif
#endif

#define TOGETHER 64 /* requests that are sent together, see tell() */

/* ---- descriptors ---- */

static xf_socket *socket_at(xf_engine *e, int fd)
{
    if ((size_t)fd >= e->socket_room) {
        size_t room = e->socket_room ? e->socket_room : 256;
        while (room <= (size_t)fd) {
            room *= 2;
        }
        xf_socket *sockets = realloc(e->sockets, room * sizeof *sockets);
        if (sockets == NULL) {
            return NULL;
        }
        memset(sockets + e->socket_room, 0, (room - e->socket_room) * sizeof *sockets);
        e->sockets = sockets;
        e->socket_room = room;
    }
    return &e->sockets[fd];
}

static int watch(xf_engine *e, int fd, xf_socket *s, uint8_t events)
{
    if (s->watched == events) {
        return 0;
    }
    if (xf_poller_watch(&e->poller, fd, s->watched, events) < 0) {
        return -1;
    }
    s->watched = events;
    return 0;
}

/* libcurl's CURLMOPT_SOCKETFUNCTION. An idle connection stays watched for reading, because most are
 * used again, and then no system call is needed. */
static int on_socket(CURL *easy, int fd, int what, void *userdata, void *ignored)
{
    (void)easy, (void)ignored;
    xf_engine *e = userdata;
    xf_socket *s = socket_at(e, fd);
    if (s == NULL) {
        e->failed = true;
        return 0;
    }
    if (what == CURL_POLL_REMOVE) {
        s->wanted = 0;
        if (!s->ours || s->watched & XF_WRITE) {
            watch(e, fd, s, s->ours ? XF_READ : 0);
        }
        return 0;
    }
    s->wanted = (what & CURL_POLL_IN ? XF_READ : 0) | (what & CURL_POLL_OUT ? XF_WRITE : 0);
    bool covered = (s->watched & s->wanted) == s->wanted;
    bool writes_in_vain = s->watched & ~s->wanted & XF_WRITE;
    if ((!covered || writes_in_vain) && watch(e, fd, s, s->wanted) < 0) {
        e->failed = true;
    }
    return 0;
}

int xf_engine_open_socket(void *userdata, int purpose, struct curl_sockaddr *address)
{
    (void)purpose;
    xf_easy *easy = userdata;
    xf_engine *e = easy->transfer->engine;
#ifdef SOCK_CLOEXEC
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
#else
    int fd = socket(address->family, address->socktype, address->protocol);
    if (fd >= 0) {
        fcntl(fd, F_SETFD, FD_CLOEXEC);
    }
#endif
    if (fd < 0) {
        easy->transfer->starved |= errno == EMFILE || errno == ENFILE;
        return -1;
    }
    xf_socket *s = socket_at(e, fd);
    if (s == NULL) {
        close(fd);
        return -1;
    }
    *s = (xf_socket){.ours = true};
    e->stats.sockets++;
    return fd;
}

static int local_port(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } address = {0};
    socklen_t size = sizeof address;
    if (getsockname(fd, &address.any, &size) < 0) {
        return 0;
    }
    return address.any.sa_family == AF_INET    ? ntohs(address.v4.sin_port)
           : address.any.sa_family == AF_INET6 ? ntohs(address.v6.sin6_port)
                                               : 0;
}

static void note_closed(xf_engine *e, int fd)
{
#ifdef HAVE_TCP_INFO
    struct tcp_info info = {0};
    socklen_t size = sizeof info;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0 ||
        size < offsetof(struct tcp_info, tcpi_bytes_retrans) + sizeof info.tcpi_bytes_retrans) {
        return;
    }
    int64_t taken = (int64_t)info.tcpi_bytes_acked - 1; /* the opening counts as one */
    int64_t given = (int64_t)(info.tcpi_bytes_sent - info.tcpi_bytes_retrans);
    e->closed[e->closed_next++ % XF_CLOSED] = (xf_closed){
        .port = local_port(fd),
        .untaken = given + (int64_t)info.tcpi_notsent_bytes - taken,
        .alive = info.tcpi_state == 1, /* TCP_ESTABLISHED */
    };
#else
    e->closed[e->closed_next++ % XF_CLOSED] = (xf_closed){.port = local_port(fd)};
#endif
}

const xf_closed *xf_engine_closed(const xf_engine *e, int port)
{
    for (unsigned i = 1; port && i <= XF_CLOSED; i++) { /* the latest first */
        const xf_closed *c = &e->closed[(e->closed_next - i) % XF_CLOSED];
        if (c->port == port) {
            return c;
        }
    }
    return NULL;
}

int xf_engine_close_socket(void *engine, int fd)
{
    xf_engine *e = engine;
    xf_socket *s = socket_at(e, fd);
    if (s != NULL && s->ours) {
        note_closed(e, fd);
        e->stats.sockets--;
    }
    if (s != NULL) {
        *s = (xf_socket){0}; /* the kernel takes a closed descriptor out of the set */
    }
    return close(fd);
}

/* libcurl's CURLMOPT_TIMERFUNCTION */
static int on_timer(CURLM *multi, long timeout_ms, void *userdata)
{
    (void)multi;
    xf_engine *e = userdata;
    e->curl_due = timeout_ms < 0 ? XF_NO_DEADLINE : e->now + timeout_ms * 1000000;
    return 0;
}

/* ---- news ---- */

void xf_engine_note(xf_engine *e, xf_transfer *t, unsigned what)
{
    if (!t->news) {
        t->next_news = NULL;
        *e->news_end = t;
        e->news_end = &t->next_news;
    }
    t->news |= what;
}

void xf_engine_forget(xf_engine *e, xf_transfer *t)
{
    if (!t->news) {
        return;
    }
    t->news = 0;
    xf_transfer **link = &e->news;
    while (*link != t) {
        link = &(*link)->next_news;
    }
    *link = t->next_news;
    if (*link == NULL) {
        e->news_end = link;
    }
}

/* Tells what was noted up to now, and leaves to the next turn what is noted meanwhile, so that a
 * transfer that fails at once and is started again does not keep the loop from its other work.
 *
 * What the woken tasks start is sent together, after some of them or the last: libcurl, the kernel
 * and a server that wakes on this CPU take the caches from the tasks once rather than each time. */
static int tell(xf_engine *e)
{
    size_t left = 0;
    int result = 0;
    for (xf_transfer *t = e->news; t != NULL; t = t->next_news) {
        left++;
    }
    e->telling = true;
    while (!result && left-- && e->news != NULL) {
        xf_transfer *t = e->news;
        unsigned what = t->news;
        xf_engine_forget(e, t);
        if (what & XF_DONE) {
            t->engine = NULL;
        }
        result = e->host.news(t, what);
        if (e->added >= TOGETHER) {
            xf_engine_run(e, CURL_SOCKET_TIMEOUT, 0);
        }
    }
    e->telling = false;
    if (e->added) {
        xf_engine_run(e, CURL_SOCKET_TIMEOUT, 0);
    }
    return result;
}

/* ---- running ---- */

/* Lets a transfer that got no file descriptor wait for one of the open connections, whose number is
 * from now on the bound. False if none is open. */
static bool wait_for_connection(xf_engine *e, xf_transfer *t)
{
    t->starved = false;
    if (e->stats.sockets == 0) {
        t->error = XF_E_FILES;
        return false;
    }
    e->curl->multi_setopt(e->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)e->stats.sockets);
    e->curl->multi_remove_handle(e->multi, t->easy->curl);
    return e->curl->multi_add_handle(e->multi, t->easy->curl) == 0;
}

void xf_engine_run(xf_engine *e, int fd, int events)
{
    int running, left;
    if (fd == CURL_SOCKET_TIMEOUT) {
        e->curl_due = XF_NO_DEADLINE; /* libcurl sets it anew */
        e->added = 0;
    }
    e->curl->multi_socket_action(e->multi, fd, events, &running);
    struct curl_msg *message;
    while ((message = e->curl->multi_info_read(e->multi, &left)) != NULL) {
        xf_easy *easy = NULL;
        if (message->msg != CURL_MSG_DONE) {
            continue;
        }
        int code = message->data.result; /* the message dies with the handle's removal */
        e->curl->easy_getinfo(message->easy, CURLINFO_PRIVATE, &easy);
        xf_transfer *t = easy->transfer;
        if (t->starved && code && !t->outcome.sends && wait_for_connection(e, t)) {
            continue;
        }
        xf_transfer_end(t, code);
        xf_engine_note(e, t, XF_DONE);
    }
    if (e->failed) {
        e->failed = false;
        while (e->active != NULL) {
            xf_transfer *t = e->active;
            xf_transfer_end(t, XF_E_MEMORY);
            xf_engine_note(e, t, XF_DONE);
        }
    }
}

/* Whether a silence is not the server's fault: it waits for us, or there is no connection yet. */
static bool sends_still(xf_transfer *t)
{
    if (t->receive_paused || t->send_paused || !t->outcome.sends) {
        return true;
    }
    int64_t before = t->uploaded;
    t->engine->curl->easy_getinfo(t->easy->curl, CURLINFO_SIZE_UPLOAD_T, &t->uploaded);
    return t->uploaded > before;
}

static void expire(xf_engine *e)
{
    xf_deadline *first;
    while ((first = xf_deadlines_first(&e->deadlines)) != NULL && first->when <= e->now) {
        xf_transfer *t = (xf_transfer *)((char *)first - offsetof(xf_transfer, deadline));
        int64_t total = t->request.total_ns == XF_NO_DEADLINE ? XF_NO_DEADLINE
                                                              : t->started + t->request.total_ns;
        if (sends_still(t)) {
            t->last_io = e->now;
        }
        int64_t seen = t->last_io;
        int64_t idle =
            t->request.idle_ns == XF_NO_DEADLINE ? XF_NO_DEADLINE : seen + t->request.idle_ns;
        if (total > e->now && idle > e->now) {
            xf_deadlines_move(&e->deadlines, first, total < idle ? total : idle);
            continue;
        }
        xf_transfer_end(t, total <= e->now ? XF_E_TOTAL : XF_E_IDLE);
        xf_engine_note(e, t, XF_DONE);
    }
}

void xf_engine_arm(xf_engine *e)
{
    xf_deadline *first = xf_deadlines_first(&e->deadlines);
    int64_t due = e->curl_due;
    if (first != NULL && first->when < due) {
        due = first->when;
    }
    if (e->news != NULL) {
        due = e->now;
    }
    if (due >= e->armed) {
        return; /* an early turn costs less than a system call for each change */
    }
    if (xf_poller_arm(&e->poller, due - e->now) == 0) {
        e->armed = due;
    }
}

int xf_engine_turn(xf_engine *e, int64_t now)
{
    xf_ready ready[64];
    e->now = now;
    int n = xf_poller_poll(&e->poller, ready, 64);
    for (int i = 0; i < n; i++) {
        if (ready[i].fd < 0) {
            e->armed = XF_NO_DEADLINE;
            continue;
        }
        xf_socket *s = &e->sockets[ready[i].fd];
        if (!(ready[i].events & s->wanted) && !(s->wanted && ready[i].events & XF_ERROR)) {
            watch(e, ready[i].fd, s, s->wanted); /* an idle connection that the peer closed */
            continue;
        }
        int events = (ready[i].events & XF_READ ? CURL_CSELECT_IN : 0) |
                     (ready[i].events & XF_WRITE ? CURL_CSELECT_OUT : 0) |
                     (ready[i].events & XF_ERROR ? CURL_CSELECT_ERR : 0);
        xf_engine_run(e, ready[i].fd, events);
    }
    if (e->curl_due <= now) {
        xf_engine_run(e, CURL_SOCKET_TIMEOUT, 0);
    }
    expire(e);
    int result = tell(e);
    if (e->multi != NULL) { /* else the host has closed it */
        xf_engine_arm(e);
    }
    return result;
}

/* ---- life ---- */

xf_engine *xf_engine_new(const xf_curl *curl, const xf_options *options, xf_host host)
{
    xf_engine *e = calloc(1, sizeof *e);
    if (e == NULL) {
        return NULL;
    }
    e->curl = curl;
    e->options = *options;
    e->host = host;
    e->curl_due = e->armed = XF_NO_DEADLINE;
    e->news_end = &e->news;
    if (xf_poller_open(&e->poller) < 0) {
        free(e);
        return NULL;
    }
    e->multi = curl->multi_init();
    if (e->multi == NULL) {
        xf_poller_close(&e->poller);
        free(e);
        errno = ENOMEM;
        return NULL;
    }
    curl->multi_setopt(e->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl->multi_setopt(e->multi, CURLMOPT_SOCKETDATA, e);
    curl->multi_setopt(e->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl->multi_setopt(e->multi, CURLMOPT_TIMERDATA, e);
    curl->multi_setopt(e->multi, CURLMOPT_PIPELINING,
                       options->http2 ? (long)CURL_PIPE_MULTIPLEX : 0L);
    curl->multi_setopt(e->multi, CURLMOPT_MAXCONNECTS, options->max_idle);
    curl->multi_setopt(e->multi, CURLMOPT_MAX_HOST_CONNECTIONS, options->max_per_host);
    curl->multi_setopt(e->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, options->max_connections);
    return e;
}

int xf_engine_fd(const xf_engine *e)
{
    return e->poller.fd;
}

xf_stats xf_engine_stats(const xf_engine *e)
{
    return e->stats;
}

xf_transfer *xf_engine_close(xf_engine *e)
{
    xf_transfer *ended = NULL;
    e->added = 0;
    while (e->news != NULL) { /* their ends were not told yet */
        xf_transfer *t = e->news;
        bool done = t->done;
        xf_engine_forget(e, t);
        if (done) {
            t->engine = NULL;
            t->next = ended;
            ended = t;
        }
    }
    while (e->active != NULL) {
        xf_transfer *t = e->active;
        xf_transfer_end(t, XF_E_CLOSED);
        t->engine = NULL;
        t->next = ended;
        ended = t;
    }
    while (e->pool != NULL) {
        xf_easy *easy = e->pool;
        e->pool = easy->next;
        xf_easy_free(e, easy);
    }
    if (e->multi != NULL) {
        e->curl->multi_cleanup(e->multi);
    }
    e->multi = NULL;
    xf_poller_close(&e->poller);
    return ended;
}

void xf_engine_free(xf_engine *e)
{
    xf_deadlines_free(&e->deadlines);
    free(e->sockets);
    free(e);
}
