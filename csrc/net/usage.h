/* Token counts in a provider's JSON: the usage in an answer, and the most tokens that a request
 * asks for.
 *
 * They are read only at their places. The arguments of a tool, a schema and metadata are content,
 * whatever their keys are.
 */
#ifndef XF_NET_USAGE_H
#define XF_NET_USAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/json.h"

/* A larger number cannot be of one call, and counts as not given. */
#define XF_MOST_TOKENS INT64_C(1000000000)

/* Tokens of a call. */
typedef struct xf_usage {
    int64_t input;  /* cached ones included */
    int64_t output; /* thoughts included */
    int64_t cached; /* of the input, read from a cache */
    int64_t kept;   /* of the input, written to a cache */
} xf_usage;

/* Reads an answer as it passes, cut anywhere: JSON, JSON in lines, an array of chunks, or
 * server-sent events. In several documents a later number replaces an earlier one. */
typedef struct xf_usage_scan {
    xf_json json;
    int64_t told[XF_JSON_NUMBERS];
    enum { XF_LINES_UNKNOWN, XF_LINES_JSON, XF_LINES_EVENTS, XF_LINES_STRANGE } form;
    enum { XF_LINE_START, XF_LINE_DATA, XF_LINE_OTHER } line; /* of events */
    uint8_t matched; /* characters of "data:" at the line's start */
    bool after_cr;   /* a LF belongs to the line end before it */
} xf_usage_scan;

/* Begins an answer. */
void xf_usage_begin(xf_usage_scan *s);

/* Reads the next bytes of an answer. */
void xf_usage_push(xf_usage_scan *s, const char *bytes, size_t size);
/* Reads the whole data of one event, instead of pushing bytes. */
void xf_usage_event(xf_usage_scan *s, const char *data, size_t size);
/* Stores the usage in the documents that have ended. False if there is none. */
bool xf_usage_read(const xf_usage_scan *s, xf_usage *usage);

/* The model and the token bound of a request. */
typedef struct xf_asked {
    const char *model; /* borrowed from the text; NULL: not given, or not a plain name */
    size_t model_size;
    int64_t most; /* tokens that all answers together may have; -1: not given */
} xf_asked;

/* Reads a request's body. */
void xf_asked_read(xf_asked *asked, const char *text, size_t size);

#endif
