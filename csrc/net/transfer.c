#define _GNU_SOURCE /* strdup */
#include "net/internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- may it be sent again? ----
 *
 * libcurl repeats a request whose reused connection breaks before the first byte of an answer.
 * For a POST that is right only if the server's program cannot have seen it: nothing was sent, or
 * the server's kernel acknowledged nothing (it had closed the connection), or, in HTTP/2, the
 * stream was refused while the connection lived on. */

static bool unsent(xf_transfer *t)
{
    const xf_engine *e = t->engine;
    if (!t->outcome.sends) {
        return true;
    }
    if (t->head_done || t->head.end) {
        return false;
    }
    long sent = 0;
    e->curl->easy_getinfo(t->easy->curl, CURLINFO_REQUEST_SIZE, &sent);
    const xf_closed *closed = xf_engine_closed(e, t->port);
    return !sent ||
           (closed != NULL && (closed->untaken >= sent || (closed->alive && t->easy->http2)));
}

/* ---- libcurl's callbacks ---- */

/* CURLOPT_PREREQFUNCTION, called before each time that libcurl sends the request. */
static int on_prereq(void *userdata, char *ip, char *own_ip, int port, int own_port)
{
    (void)ip, (void)own_ip, (void)port;
    xf_easy *easy = userdata;
    xf_transfer *t = easy->transfer;
    if (t->outcome.sends && !t->request.repeatable && !unsent(t)) {
        t->error = XF_E_LOST;
        return CURL_PREREQ_ABORT;
    }
    if (t->outcome.sends && t->request.upload) { /* its source cannot be read twice */
        t->error = XF_E_LOST;
        return CURL_PREREQ_ABORT;
    }
    t->outcome.sends++;
    t->port = own_port;
    t->last_io = t->engine->now;
    return CURL_PREREQ_OK;
}

/* The status in "HTTP/1.1 200 OK" or "HTTP/2 200"; 0 in other lines, -1 if it has more than three
 * digits. */
static int status_of(const char *line, size_t size, int *version)
{
    static const char start[] = "HTTP/";
    const char *end = line + size, *p = line + sizeof start - 1;
    int v = 0, status = 0;
    *version = 0;
    if (size < sizeof start || memcmp(line, start, sizeof start - 1)) {
        return 0;
    }
    for (; p < end && *p != ' '; p++) {
        if (*p >= '0' && *p <= '9' && v < 10) {
            v = v * 10 + *p - '0';
        }
    }
    while (p < end && *p == ' ') {
        p++;
    }
    for (; p < end && *p >= '0' && *p <= '9' && status < 100; p++) {
        status = status * 10 + *p - '0';
    }
    *version = v < 10 ? v * 10 : v;
    return p < end && *p >= '0' && *p <= '9' ? -1 : status;
}

/* The length that a Content-Length line gives, also if it says it twice ("5, 5"), or -1. */
static int64_t length_of(const char *p, const char *end)
{
    for (int64_t length = -1;;) {
        int64_t one = 0;
        while (p < end && (*p == ' ' || *p == '\t')) {
            p++;
        }
        if (p == end || *p < '0' || *p > '9') {
            return -1;
        }
        for (; p < end && *p >= '0' && *p <= '9'; p++) {
            if (one > (INT64_MAX - 9) / 10) {
                return -1;
            }
            one = one * 10 + *p - '0';
        }
        while (p < end && (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n')) {
            p++;
        }
        if (length >= 0 && one != length) {
            return -1;
        }
        length = one;
        if (p == end) {
            return length;
        }
        if (*p++ != ',') {
            return -1;
        }
    }
}

static bool is_coding(const char *p, const char *end, const char *name)
{
    size_t size = strlen(name);
    while (p < end && (*p == ' ' || *p == '\t')) {
        p++;
    }
    while (p < end && (unsigned char)end[-1] <= ' ') {
        end--;
    }
    return (size_t)(end - p) == size && !strncasecmp(p, name, size);
}

/* Looks at the fields that say where the body ends and how it is coded. 0, or XF_E_... */
static int see_field(xf_transfer *t, const char *line, size_t size)
{
    static const char length_name[] = "content-length:", coding_name[] = "content-encoding:";
    const char *end = line + size;
    if ((line[0] | 0x20) != 'c') {
        return 0;
    }
    if (size >= sizeof length_name && !strncasecmp(line, length_name, sizeof length_name - 1)) {
        int64_t length = length_of(line + sizeof length_name - 1, end);
        if (length < 0 || (t->length >= 0 && t->length != length)) {
            return XF_E_LENGTH;
        }
        t->length = length;
    }
    if (t->engine->options.compressed && size >= sizeof coding_name &&
        !strncasecmp(line, coding_name, sizeof coding_name - 1)) {
        const char *coding = line + sizeof coding_name - 1;
        bool gzip = is_coding(coding, end, "gzip") || is_coding(coding, end, "x-gzip");
        if (gzip && t->coding == XF_PLAIN) {
            t->coding = XF_GZIPPED;
        } else if (!is_coding(coding, end, "identity") && !is_coding(coding, end, "")) {
            t->coding = XF_FOREIGN;
        }
    }
    return 0;
}

static size_t on_header(char *line, size_t one, size_t size, void *userdata)
{
    (void)one;
    xf_transfer *t = ((xf_easy *)userdata)->transfer;
    xf_engine *e = t->engine;
    t->last_io = e->now;
    if (t->head_done) {
        return size; /* trailers */
    }
    bool blank = line[0] == '\r' || line[0] == '\n';
    if (!t->head_open && !blank) {
        xf_buffer_take(&t->head, xf_buffer_size(&t->head)); /* after an interim answer */
        t->head_open = true;
        t->status = status_of(line, size, &t->http_version);
        t->length = -1;
        t->coding = XF_PLAIN;
    }
    t->error = t->status == 101  ? XF_E_SWITCH
               : t->status == -1 ? XF_E_STATUS /* some versions of libcurl cut it to three digits */
                                 : see_field(t, line, size);
    if (t->error) {
        return 0;
    }
    if (size > e->options.max_head - xf_buffer_size(&t->head)) {
        t->error = XF_E_HEAD;
        return 0;
    }
    if (!blank && xf_buffer_add(&t->head, line, size) < 0) {
        t->error = XF_E_MEMORY;
        return 0;
    }
    if (blank) {
        t->head_open = false;
    }
    if (blank && t->status >= 200) {
        t->head_done = true;
        if (t->request.stream) {
            xf_engine_note(e, t, XF_HEAD);
        }
    }
    return size;
}

/* Adds to the body what was received of it. 0, or XF_E_... */
static int add_body(xf_transfer *t, const char *bytes, size_t size, size_t most)
{
    if (!size) {
        return 0;
    }
    if (t->coding == XF_FOREIGN) {
        return XF_E_ENCODING;
    }
    if (t->coding == XF_PLAIN) {
        return size > most - xf_buffer_size(&t->body)     ? XF_E_BODY
               : xf_buffer_add(&t->body, bytes, size) < 0 ? XF_E_MEMORY
                                                          : 0;
    }
    const xf_zlib *zlib = &t->engine->curl->zlib;
    if (zlib->init == NULL) {
        return XF_E_ENCODING;
    }
    if (t->gzip == NULL && (t->gzip = xf_gzip_new(zlib)) == NULL) {
        return XF_E_MEMORY;
    }
    int bad = xf_gzip_push(t->gzip, bytes, size, &t->body, most);
    return !bad                   ? 0
           : bad == XF_GZIP_BAD   ? XF_E_GZIP
           : bad == XF_GZIP_LARGE ? XF_E_BODY
                                  : XF_E_MEMORY;
}

static size_t on_body(char *bytes, size_t one, size_t size, void *userdata)
{
    (void)one;
    xf_transfer *t = ((xf_easy *)userdata)->transfer;
    xf_engine *e = t->engine;
    t->last_io = e->now;
    bool stream = t->request.stream;
    if (stream && xf_buffer_size(&t->body) >= e->options.high_water) {
        t->receive_paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    t->error = add_body(t, bytes, size, stream ? SIZE_MAX : e->options.max_body);
    if (t->error) {
        return 0;
    }
    if (stream) {
        xf_engine_note(e, t, XF_BODY);
    }
    return size;
}

static size_t on_upload(char *room, size_t one, size_t size, void *userdata)
{
    xf_transfer *t = ((xf_easy *)userdata)->transfer;
    size_t there = xf_buffer_size(&t->upload);
    t->last_io = t->engine->now;
    if (t->upload_aborted) {
        t->error = XF_E_UPLOAD;
        return CURL_READFUNC_ABORT;
    }
    size *= one;
    if (!there && !t->upload_ended) {
        t->send_paused = true;
        xf_engine_note(t->engine, t, XF_ROOM);
        return CURL_READFUNC_PAUSE;
    }
    if (there < size) {
        size = there;
    }
    memcpy(room, xf_buffer_data(&t->upload), size);
    xf_buffer_take(&t->upload, size);
    xf_engine_note(t->engine, t, XF_ROOM);
    return size;
}

/* ---- options ---- */

#define NO_TIMEOUT_MS 2000000000L /* 0 would be libcurl's default, five minutes */

/* The certificate of the client, or none. */
static int set_certificate(xf_engine *e, xf_easy *easy, bool foreign)
{
    const xf_options *o = &e->options;
    int bad = e->curl->easy_setopt(easy->curl, CURLOPT_SSLCERT, foreign ? NULL : o->cert_file);
    bad |= e->curl->easy_setopt(easy->curl, CURLOPT_SSLKEY, foreign ? NULL : o->key_file);
    bad |= e->curl->easy_setopt(easy->curl, CURLOPT_KEYPASSWD, foreign ? NULL : o->key_password);
    easy->foreign = foreign;
    return bad;
}

static int set_common(xf_engine *e, xf_easy *easy)
{
    const xf_options *o = &e->options;
    CURL *c = easy->curl;
    int bad = 0;
#define SET(option, value) (bad |= e->curl->easy_setopt(c, option, value))
    SET(CURLOPT_PRIVATE, easy);
    SET(CURLOPT_ERRORBUFFER, easy->error);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, easy);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, easy);
    SET(CURLOPT_READFUNCTION, on_upload);
    SET(CURLOPT_READDATA, easy);
    SET(CURLOPT_PREREQFUNCTION, on_prereq);
    SET(CURLOPT_PREREQDATA, easy);
    SET(CURLOPT_OPENSOCKETFUNCTION, xf_engine_open_socket);
    SET(CURLOPT_OPENSOCKETDATA, easy);
    SET(CURLOPT_CLOSESOCKETFUNCTION, xf_engine_close_socket);
    SET(CURLOPT_CLOSESOCKETDATA, e);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_PROTOCOLS, (long)(CURL_PROTO_HTTP | CURL_PROTO_HTTPS));
    SET(CURLOPT_HTTP09_ALLOWED, 0L);
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_PATH_AS_IS, 1L);
    SET(CURLOPT_SSL_VERIFYPEER, o->verify ? 1L : 0L);
    SET(CURLOPT_SSL_VERIFYHOST, o->verify ? 2L : 0L);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_1_1);
    if (o->ca_file != NULL) {
        SET(CURLOPT_CAINFO, o->ca_file);
        SET(CURLOPT_PROXY_CAINFO, o->ca_file);
    }
    if (o->proxy != NULL) {
        SET(CURLOPT_PROXY, o->proxy);
    }
    if (o->no_proxy != NULL) {
        SET(CURLOPT_NOPROXY, o->no_proxy);
    }
#undef SET
    /* Since 7.87: leave a name lookup behind on removal rather than wait for its thread. */
    e->curl->easy_setopt(c, CURLOPT_QUICK_EXIT, 1L);
    if (o->cert_file != NULL) {
        bad |= set_certificate(e, easy, false);
    }
    easy->connect_timeout_ms = -1;
    easy->set_up = true;
    return bad;
}

static int set_request(xf_engine *e, xf_easy *easy, const xf_request *r)
{
    CURL *c = easy->curl;
    int bad = 0;
#define SET(option, value)                                                                         \
    do {                                                                                           \
        if (!bad)                                                                                  \
            bad = e->curl->easy_setopt(c, option, value);                                          \
    } while (0)
    bool post = !strcmp(r->method, "POST");
    bool bodied =
        r->body != NULL || post || !strcmp(r->method, "PUT") || !strcmp(r->method, "PATCH");
    bool plain_post = post && !r->upload;
    if (!easy->plain_post || !plain_post) {
        SET(CURLOPT_HTTPGET, 1L); /* takes back NOBODY and UPLOAD */
        SET(CURLOPT_CUSTOMREQUEST, (char *)NULL);
        SET(CURLOPT_POSTFIELDS, (char *)NULL);
        if (r->upload) {
            SET(CURLOPT_UPLOAD, 1L);
            SET(CURLOPT_INFILESIZE_LARGE, r->upload_size);
        } else if (bodied) {
            SET(CURLOPT_POST, 1L);
        } else if (!strcmp(r->method, "HEAD")) {
            SET(CURLOPT_NOBODY, 1L);
        } else {
            SET(CURLOPT_HTTPGET, 1L);
        }
        if (!plain_post && strcmp(r->method, "HEAD")) {
            SET(CURLOPT_CUSTOMREQUEST, r->method);
        }
    }
    easy->plain_post = plain_post;
    if (!r->upload && bodied) {
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (int64_t)r->body_size);
        SET(CURLOPT_POSTFIELDS, r->body ? r->body : "");
    }
    long connect = r->connect_timeout_ms ? r->connect_timeout_ms : NO_TIMEOUT_MS;
    if (easy->connect_timeout_ms != connect) {
        SET(CURLOPT_CONNECTTIMEOUT_MS, connect);
        easy->connect_timeout_ms = connect;
    }
    bool http2 = e->options.http2 && (r->url[4] == 's' || r->url[4] == 'S'); /* https: */
    if (easy->http2 != http2) {
        SET(CURLOPT_HTTP_VERSION, http2 ? (long)CURL_HTTP_2TLS : (long)CURL_HTTP_1_1);
        /* Wait for a connection that can be shared, rather than open one for each request. */
        SET(CURLOPT_PIPEWAIT, http2 ? 1L : 0L);
        easy->http2 = http2;
    }
    if (e->options.cert_file != NULL && easy->foreign != r->foreign && !bad) {
        bad = set_certificate(e, easy, r->foreign);
    }
    SET(CURLOPT_HTTPHEADER, r->headers);
    SET(CURLOPT_URL, r->url);
#undef SET
    return bad;
}

/* ---- life ---- */

void xf_transfer_init(xf_transfer *t, const xf_request *request)
{
    *t = (xf_transfer){.request = *request, .length = -1};
}

int xf_transfer_start(xf_transfer *t, xf_engine *e, int64_t now)
{
    xf_easy *easy = xf_easy_get(e);
    if (easy == NULL) {
        return XF_E_MEMORY;
    }
    e->now = now;
    t->started = t->last_io = now;
    easy->transfer = t;
    easy->error[0] = 0;
    int bad = easy->set_up ? 0 : set_common(e, easy);
    if (!bad) {
        bad = set_request(e, easy, &t->request);
    }
    const xf_request *r = &t->request;
    int64_t first = r->total_ns < r->idle_ns ? r->total_ns : r->idle_ns;
    if (!bad && first != XF_NO_DEADLINE &&
        xf_deadlines_add(&e->deadlines, &t->deadline, now + first) < 0) {
        bad = XF_E_MEMORY;
    }
    if (!bad) {
        t->engine = e;
        t->easy = easy;
        if (e->curl->multi_add_handle(e->multi, easy->curl)) {
            bad = XF_E_MEMORY;
        }
    }
    if (bad) {
        t->engine = NULL;
        t->easy = NULL;
        xf_deadlines_remove(&e->deadlines, &t->deadline);
        xf_easy_free(e, easy); /* some of its options are set, some not */
        return bad;
    }
    t->next = e->active;
    t->previous = NULL;
    if (e->active != NULL) {
        e->active->previous = t;
    }
    e->active = t;
    e->stats.active++;
    e->stats.started++;
    if (e->telling) {
        e->added++;
        return 0;
    }
    xf_engine_run(e, CURL_SOCKET_TIMEOUT, 0);
    xf_engine_arm(e);
    return 0;
}

/* Whether libcurl's own bounds were exceeded: 100 KB for a line of the head, and in later versions
 * 300 KB for all of it. Each has a code and a text of its own. */
static bool head_too_large(const xf_transfer *t, int code)
{
    static const char text[] = "Too large response headers";
    if (t->head_done) {
        return false;
    }
    if (code == CURLE_RECV_ERROR) {
        return !strncmp(t->easy->error, text, sizeof text - 1);
    }
    if (code != CURLE_OUT_OF_MEMORY && code != CURLE_TOO_LARGE) {
        return false;
    }
    long sent = 0;
    t->engine->curl->easy_getinfo(t->easy->curl, CURLINFO_REQUEST_SIZE, &sent);
    return sent > 0;
}

static void note_outcome(xf_transfer *t, int code)
{
    const xf_engine *e = t->engine;
    CURL *c = t->easy->curl;
    xf_ending *o = &t->outcome;
    xf_times *times = &t->times;
    if (code && t->error) {
        code = t->error;
    } else if (!code && !t->head_done) {
        code = XF_E_CUT;
    } else if (!code && t->gzip != NULL && !xf_gzip_whole(t->gzip)) {
        code = XF_E_GZIP_CUT;
    } else if (code && head_too_large(t, code)) {
        code = XF_E_HEAD;
    }
    o->code = code;
    e->curl->easy_getinfo(c, CURLINFO_NUM_CONNECTS, &o->connects);
    e->curl->easy_getinfo(c, CURLINFO_PRETRANSFER_TIME_T, &times->ready);
    e->curl->easy_getinfo(c, CURLINFO_STARTTRANSFER_TIME_T, &times->first_byte);
    times->total = (e->now - t->started) / 1000; /* e->now may lag libcurl's clock a little */
    if (times->total < times->first_byte) {
        times->total = times->first_byte;
    }
    if (o->connects || code) {
        e->curl->easy_getinfo(c, CURLINFO_NAMELOOKUP_TIME_T, &times->lookup);
        e->curl->easy_getinfo(c, CURLINFO_CONNECT_TIME_T, &times->connect);
        e->curl->easy_getinfo(c, CURLINFO_APPCONNECT_TIME_T, &times->tls);
    }
    if (!code) {
        return;
    }
    long os_errno = 0;
    e->curl->easy_getinfo(c, CURLINFO_OS_ERRNO, &os_errno);
    o->os_errno = (int)os_errno;
    o->connected = o->sends > 0;
    o->unsent = unsent(t);
    if (code > 0) {
        const char *text = t->easy->error[0] ? t->easy->error : e->curl->easy_strerror(code);
        o->message = strdup(text);
    }
}

void xf_transfer_end(xf_transfer *t, int code)
{
    xf_engine *e = t->engine;
    note_outcome(t, code);
    e->curl->multi_remove_handle(e->multi, t->easy->curl);
    xf_deadlines_remove(&e->deadlines, &t->deadline);
    xf_easy_put(e, t->easy);
    if (t->previous != NULL) {
        t->previous->next = t->next;
    } else {
        e->active = t->next;
    }
    if (t->next != NULL) {
        t->next->previous = t->previous;
    }
    t->next = t->previous = NULL;
    t->easy = NULL;
    t->done = true;
    e->stats.active--;
    e->stats.finished++;
    e->stats.connects += (uint64_t)t->outcome.connects;
    e->stats.repeated += t->outcome.sends > 1;
    xf_buffer_free(&t->upload);
    xf_gzip_free(t->gzip);
    t->gzip = NULL;
}

void xf_transfer_cancel(xf_transfer *t)
{
    xf_engine *e = t->engine;
    if (e == NULL) {
        return;
    }
    if (t->easy != NULL) {
        xf_transfer_end(t, XF_E_ENDED);
    }
    xf_engine_forget(e, t);
    t->engine = NULL;
    xf_engine_arm(e); /* the removal may let another one start */
}

static void resume(xf_transfer *t)
{
    xf_engine *e = t->engine;
    int paused = (t->receive_paused ? CURL_PAUSE_RECV : 0) | (t->send_paused ? CURL_PAUSE_SEND : 0);
    e->curl->easy_pause(t->easy->curl, paused);
    xf_engine_run(e, CURL_SOCKET_TIMEOUT, 0); /* without it, older versions of libcurl stall */
    xf_engine_arm(e);
}

void xf_transfer_take(xf_transfer *t, size_t size, int64_t now)
{
    xf_buffer_take(&t->body, size);
    if (t->receive_paused && t->easy != NULL &&
        xf_buffer_size(&t->body) * 2 < t->engine->options.high_water) {
        t->receive_paused = false;
        t->engine->now = t->last_io = now;
        resume(t);
    }
}

int xf_transfer_send(xf_transfer *t, const char *bytes, size_t size, int64_t now)
{
    if (t->done) {
        return 0; /* whoever awaits it sees its outcome */
    }
    if (xf_buffer_add(&t->upload, bytes, size) < 0) {
        return -1;
    }
    if (t->easy != NULL && t->send_paused && size) {
        t->send_paused = false;
        t->engine->now = now;
        resume(t);
    }
    return 0;
}

void xf_transfer_send_end(xf_transfer *t, bool aborted, int64_t now)
{
    t->upload_ended = true;
    t->upload_aborted = aborted;
    if (t->easy != NULL && t->send_paused) {
        t->send_paused = false;
        t->engine->now = now;
        resume(t);
    }
}

void xf_transfer_free(xf_transfer *t)
{
    xf_transfer_cancel(t);
    xf_buffer_free(&t->head);
    xf_buffer_free(&t->body);
    xf_buffer_free(&t->upload);
    free(t->outcome.message);
    t->outcome.message = NULL;
}
