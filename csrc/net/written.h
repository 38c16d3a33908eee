/* Numbers, durations and instants, as the fields of a head are written. */
#ifndef XF_NET_WRITTEN_H
#define XF_NET_WRITTEN_H

#include <stdbool.h>

/* The part of a text that is not read yet. */
typedef struct xf_text {
    const char *at, *end;
} xf_text;

typedef enum xf_reading {
    XF_NOTHING, /* no such value */
    XF_FOUND,
    XF_ODD, /* left to the reader in Python */
} xf_reading;

/* Takes what is expected off the begin. False if something else stands there. */
bool xf_take(xf_text *t, const char *expected);

/* Reads a number >= 0, as Python's float() does. */
xf_reading xf_read_number(xf_text t, double *value);

/* Reads a duration in seconds, as Go writes it: 20ms, 6m0s, 2m52.8s. */
xf_reading xf_read_duration(xf_text t, double *seconds);

/* Reads an instant in seconds since the epoch: a date of HTTP, or one of RFC 3339. */
bool xf_read_instant(xf_text t, double *instant);

#endif
