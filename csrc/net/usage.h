/* Tokens in a provider's JSON: what an answer says it used, and what a request asks for at most.
 *
 * Read at their places only: what a tool is called with, or a schema or metadata hold, is content,
 * whatever its keys are.
 */
#ifndef XF_NET_USAGE_H
#define XF_NET_USAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/json.h"

/* A larger number is no one call's, and counts as not said. */
#define XF_MOST_TOKENS INT64_C(1000000000)

/* Tokens of a call. */
typedef struct xf_usage {
    int64_t input;  /* cached ones included */
    int64_t output; /* thoughts included */
    int64_t cached; /* of the input, read from a cache */
} xf_usage;

/* Reads an answer as it goes by, cut anywhere: JSON, JSON in lines, an array of chunks, or
 * server-sent events. Of several documents a later number replaces an earlier one. */
typedef struct xf_usage_scan {
    xf_json json;
    int64_t told[XF_JSON_NUMBERS];
    enum { XF_LINES_UNKNOWN, XF_LINES_JSON, XF_LINES_EVENTS, XF_LINES_STRANGE } form;
    enum { XF_LINE_START, XF_LINE_DATA, XF_LINE_OTHER } line; /* of events */
    uint8_t matched; /* characters of "data:" at the line's start */
    bool after_cr;   /* a LF belongs to the line end before it */
} xf_usage_scan;

void xf_usage_begin(xf_usage_scan *s);
void xf_usage_push(xf_usage_scan *s, const char *bytes, size_t size);
/* Instead of pushing bytes: the data of one event, whole. */
void xf_usage_event(xf_usage_scan *s, const char *data, size_t size);
/* What the documents that have ended say; false: nothing. */
bool xf_usage_read(const xf_usage_scan *s, xf_usage *usage);

/* What a request says of itself. */
typedef struct xf_asked {
    const char *model; /* borrowed from the text; NULL: not said, or no plain name */
    size_t model_size;
    int64_t most; /* tokens of all answers together that it allows; -1: not said */
} xf_asked;

void xf_asked_read(xf_asked *asked, const char *text, size_t size);

#endif
