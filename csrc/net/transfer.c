#define _GNU_SOURCE /* strdup */
#include "net/internal.h"

#include <stdlib.h>
#include <string.h>

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

int xf_transfer_about_to_send(void *userdata, char *ip, char *own_ip, int port, int own_port)
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

size_t xf_transfer_read_upload(char *room, size_t one, size_t size, void *userdata)
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
    int bad = xf_easy_set(e, easy, &t->request);
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

/* Whether a proxy refuses the tunnel to the server, and would do so again: it wants other
 * credentials, or forbids the address. */
static bool proxy_refuses(const xf_transfer *t)
{
    long status = 0;
    if (!t->outcome.sends) {
        t->engine->curl->easy_getinfo(t->easy->curl, CURLINFO_HTTP_CONNECTCODE, &status);
    }
    return status >= 400 && status < 500 && status != 408 && status != 429;
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
    } else if (code && proxy_refuses(t)) {
        code = XF_E_PROXY;
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
    if (code > 0 || code == XF_E_PROXY) {
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
