/* The part of libcurl's ABI that the engine uses, and a loader for it.
 *
 * The library is found at run time, so the extension builds without libcurl's headers and imports
 * on machines where only its shared object (or a wheel's own copy) is present. The values below are
 * part of libcurl's stable ABI (soname 4); a test compares them with <curl/curl.h> where installed.
 */
#ifndef XF_NET_CURL_H
#define XF_NET_CURL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "net/gzip.h"

typedef void CURL;
typedef void CURLM;

struct curl_slist {
    char *data;
    struct curl_slist *next;
};

struct curl_sockaddr {
    int family;
    int socktype;
    int protocol;
    unsigned int addrlen;
    struct sockaddr addr; /* the family's own, addrlen bytes of it */
};

struct curl_msg {
    int msg;
    CURL *easy;
    union {
        void *whatever;
        int result;
    } data;
};

/* The head of curl_version_info_data; later fields are not read. */
struct curl_version {
    int age;
    const char *version;
    unsigned int version_num;
    const char *host;
    int features;
    const char *ssl_version;
};

enum {
    CURL_OK = 0,
    CURL_MSG_DONE = 1,
    CURL_GLOBAL_ALL = 3,
    CURL_FEATURE_HTTP2 = 1 << 16,

    CURL_POLL_IN = 1,
    CURL_POLL_OUT = 2,
    CURL_POLL_REMOVE = 4,
    CURL_SOCKET_TIMEOUT = -1,
    CURL_CSELECT_IN = 1,
    CURL_CSELECT_OUT = 2,
    CURL_CSELECT_ERR = 4,

    CURL_WRITEFUNC_PAUSE = 0x10000001,
    CURL_READFUNC_ABORT = 0x10000000,
    CURL_READFUNC_PAUSE = 0x10000001,
    CURL_PAUSE_RECV = 1,
    CURL_PAUSE_SEND = 4,
    CURL_PREREQ_OK = 0,
    CURL_PREREQ_ABORT = 1,

    CURL_HTTP_1_1 = 2,
    CURL_HTTP_2TLS = 4,
    CURL_PROTO_HTTP = 1,
    CURL_PROTO_HTTPS = 2,
};

enum {
    CURLOPT_WRITEDATA = 10001,
    CURLOPT_URL = 10002,
    CURLOPT_PROXY = 10004,
    CURLOPT_READDATA = 10009,
    CURLOPT_ERRORBUFFER = 10010,
    CURLOPT_POSTFIELDS = 10015,
    CURLOPT_HTTPHEADER = 10023,
    CURLOPT_SSLCERT = 10025,
    CURLOPT_KEYPASSWD = 10026,
    CURLOPT_HEADERDATA = 10029,
    CURLOPT_CUSTOMREQUEST = 10036,
    CURLOPT_CAINFO = 10065,
    CURLOPT_SSLKEY = 10087,
    CURLOPT_PRIVATE = 10103,
    CURLOPT_OPENSOCKETDATA = 10164,
    CURLOPT_NOPROXY = 10177,
    CURLOPT_RESOLVE = 10203,
    CURLOPT_CLOSESOCKETDATA = 10209,
    CURLOPT_PROXY_CAINFO = 10246,
    CURLOPT_PREREQDATA = 10313,

    CURLOPT_NOBODY = 44,
    CURLOPT_UPLOAD = 46,
    CURLOPT_POST = 47,
    CURLOPT_SSL_VERIFYPEER = 64,
    CURLOPT_HTTPGET = 80,
    CURLOPT_SSL_VERIFYHOST = 81,
    CURLOPT_HTTP_VERSION = 84,
    CURLOPT_NOSIGNAL = 99,
    CURLOPT_CONNECTTIMEOUT_MS = 156,
    CURLOPT_PROTOCOLS = 181,
    CURLOPT_TCP_KEEPALIVE = 213,
    CURLOPT_PATH_AS_IS = 234,
    CURLOPT_PIPEWAIT = 237,
    CURLOPT_SUPPRESS_CONNECT_HEADERS = 265,
    CURLOPT_HTTP09_ALLOWED = 285,
    CURLOPT_QUICK_EXIT = 322,

    CURLOPT_WRITEFUNCTION = 20011,
    CURLOPT_READFUNCTION = 20012,
    CURLOPT_HEADERFUNCTION = 20079,
    CURLOPT_OPENSOCKETFUNCTION = 20163,
    CURLOPT_CLOSESOCKETFUNCTION = 20208,
    CURLOPT_PREREQFUNCTION = 20312,

    CURLOPT_INFILESIZE_LARGE = 30115,
    CURLOPT_POSTFIELDSIZE_LARGE = 30120,
};

enum {
    CURLMOPT_SOCKETDATA = 10002,
    CURLMOPT_TIMERDATA = 10005,
    CURLMOPT_PIPELINING = 3,
    CURLMOPT_MAXCONNECTS = 6,
    CURLMOPT_MAX_HOST_CONNECTIONS = 7,
    CURLMOPT_MAX_TOTAL_CONNECTIONS = 13,
    CURLMOPT_SOCKETFUNCTION = 20001,
    CURLMOPT_TIMERFUNCTION = 20004,
    CURL_PIPE_MULTIPLEX = 2,
};

enum {
    CURLINFO_RESPONSE_CODE = 0x200002,
    CURLINFO_REQUEST_SIZE = 0x20000c,
    CURLINFO_HTTP_CONNECTCODE = 0x200016,
    CURLINFO_SSL_VERIFYRESULT = 0x20000d,
    CURLINFO_OS_ERRNO = 0x200019,
    CURLINFO_NUM_CONNECTS = 0x20001a,
    CURLINFO_HTTP_VERSION = 0x20002e,
    CURLINFO_PRIVATE = 0x100015,
    CURLINFO_SIZE_UPLOAD_T = 0x600007,
    CURLINFO_NAMELOOKUP_TIME_T = 0x600033,
    CURLINFO_CONNECT_TIME_T = 0x600034,
    CURLINFO_PRETRANSFER_TIME_T = 0x600035,
    CURLINFO_STARTTRANSFER_TIME_T = 0x600036,
    CURLINFO_APPCONNECT_TIME_T = 0x600038,
};

enum {
    CURLE_UNSUPPORTED_PROTOCOL = 1,
    CURLE_URL_MALFORMAT = 3,
    CURLE_OPERATION_TIMEDOUT = 28,
    CURLE_OUT_OF_MEMORY = 27,
    CURLE_UNKNOWN_OPTION = 48,
    CURLE_RECV_ERROR = 56,
    CURLE_TOO_LARGE = 100,
};

typedef struct xf_curl {
    int (*global_init)(long flags);
    const struct curl_version *(*version_info)(int age);
    const char *(*easy_strerror)(int code);
    CURL *(*easy_init)(void);
    void (*easy_cleanup)(CURL *);
    int (*easy_setopt)(CURL *, int option, ...);
    int (*easy_getinfo)(CURL *, int info, ...);
    int (*easy_pause)(CURL *, int bitmask);
    CURLM *(*multi_init)(void);
    int (*multi_cleanup)(CURLM *);
    int (*multi_setopt)(CURLM *, int option, ...);
    int (*multi_add_handle)(CURLM *, CURL *);
    int (*multi_remove_handle)(CURLM *, CURL *);
    int (*multi_assign)(CURLM *, int fd, void *);
    int (*multi_socket_action)(CURLM *, int fd, int events, int *running);
    struct curl_msg *(*multi_info_read)(CURLM *, int *left);
    const struct curl_version *version;
    xf_zlib zlib; /* empty: none */
} xf_curl;

/* Loads libcurl (the given path, or else the copy this extension is linked with, or else the
 * system's) and fills the table. 0, or -1 with a one-line reason in `why`. The library is never
 * unloaded: it may have threads of its own. */
int xf_curl_load(xf_curl *curl, const char *path, char *why, size_t why_size);

#endif
