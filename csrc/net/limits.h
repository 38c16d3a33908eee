/* Reads the rate limits in an answer's head, in one pass and without an allocation.
 *
 * It reads the forms that providers write. It leaves any other form (a folded line, 1_000, an
 * obsolete form of date) to the reader in Python, `quotas` of xtremeflow/answers/headers.py. That
 * one is the reference: where this one reads a head, both return the same, to the last bit.
 */
#ifndef XF_NET_LIMITS_H
#define XF_NET_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum xf_quota_name {
    XF_QUOTA_REQUESTS,
    XF_QUOTA_TOKENS,
    XF_QUOTA_INPUT_TOKENS,
    XF_QUOTA_OUTPUT_TOKENS,
    XF_QUOTA_REQ, /* Mistral's word for requests */
} xf_quota_name;

typedef enum xf_quota_style {
    XF_QUOTA_PLAIN,     /* x-ratelimit-limit-tokens */
    XF_QUOTA_PERIOD,    /* x-ratelimit-limit-tokens-minute */
    XF_QUOTA_ANTHROPIC, /* anthropic-ratelimit-tokens-limit */
} xf_quota_style;

enum { XF_QUOTA_LIMIT, XF_QUOTA_REMAINING, XF_QUOTA_RESET, XF_QUOTA_KINDS };

/* One limit, in up to three fields. */
typedef struct xf_quota {
    uint8_t style, name;
    bool bare;  /* its reset is a number without a unit */
    double per; /* seconds; 0: not in the fields' names */
    struct {
        const char *text; /* borrowed from the head, without blanks around; NULL: no such field */
        size_t size;
        bool said;    /* the text is a number: >= 0, finite */
        double value; /* units; of the reset, seconds after the answer */
    } of[XF_QUOTA_KINDS];
} xf_quota;

#define XF_QUOTAS 16 /* more in one head are none that a provider tells of */

typedef struct xf_quotas {
    xf_quota of[XF_QUOTAS]; /* in the order of their first fields */
    size_t count;
} xf_quotas;

/* Reads the limits in a head. Dates are compared with the head's own date, else with `now` (seconds
 * since the epoch). False, and `quotas` is of no use, if the reader in Python must read the head.
 */
bool xf_quotas_read(xf_quotas *quotas, const char *head, size_t size, double now);

#endif
