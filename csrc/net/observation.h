/* One limit as one answer's head tells it: the meaning of the fields of limits.h.
 *
 * The reader in Python, xtremeflow/answers/headers.py, is the reference, and explains the
 * fields. */
#ifndef XF_NET_OBSERVATION_H
#define XF_NET_OBSERVATION_H

#include "net/limits.h"

/* Seconds; 0 where nothing is said, but for `reset`. */
typedef struct xf_observation {
    xf_quota_name name; /* never XF_QUOTA_REQ */
    double per, amount, window, burst;
    double remaining, reset; /* -1: not said */
    bool slides;
} xf_observation;

/* Whether both are of the same limit, whatever is left of it. */
bool xf_observation_is_of(const xf_observation *o, const xf_observation *other);

/* Writes what `quotas` mean to out[XF_QUOTAS], and returns how many that are; -1: one limit is told
 * of twice, which is for the other reader. */
int xf_observe(const xf_quotas *quotas, xf_observation *out);

#endif
