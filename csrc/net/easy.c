/* libcurl's handles: kept, and set up for a request. */
#include "net/internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- the kept ones ---- */

#define POOLED 512 /* handles kept for reuse */

xf_easy *xf_easy_get(xf_engine *e)
{
    xf_easy *easy = e->pool;
    if (easy != NULL) {
        e->pool = easy->next;
        e->pool_size--;
        return easy;
    }
    easy = calloc(1, sizeof *easy);
    if (easy != NULL && (easy->curl = e->curl->easy_init()) == NULL) {
        free(easy);
        easy = NULL;
    }
    return easy;
}

void xf_easy_put(xf_engine *e, xf_easy *easy)
{
    easy->transfer = NULL;
    if (e->pool_size >= POOLED) {
        xf_easy_free(e, easy);
        return;
    }
    easy->next = e->pool;
    e->pool = easy;
    e->pool_size++;
}

void xf_easy_free(xf_engine *e, xf_easy *easy)
{
    e->curl->easy_cleanup(easy->curl);
    free(easy);
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
    SET(CURLOPT_WRITEFUNCTION, xf_answer_body);
    SET(CURLOPT_WRITEDATA, easy);
    SET(CURLOPT_HEADERFUNCTION, xf_answer_head);
    SET(CURLOPT_HEADERDATA, easy);
    SET(CURLOPT_READFUNCTION, xf_transfer_read_upload);
    SET(CURLOPT_READDATA, easy);
    SET(CURLOPT_PREREQFUNCTION, xf_transfer_about_to_send);
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

int xf_easy_set(xf_engine *e, xf_easy *easy, const xf_request *r)
{
    int bad = easy->set_up ? 0 : set_common(e, easy);
    return bad ? bad : set_request(e, easy, r);
}
