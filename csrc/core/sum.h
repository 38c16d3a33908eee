/* Sums of instants, durations and costs that stop at INT64_MAX instead of overflowing. As an
   instant that is XF_NEVER; as a cost it is more than any bucket can pay for. And the smaller and
   the larger one of two. */
#ifndef XF_SUM_H
#define XF_SUM_H

#include <stdint.h>

/* The sum of `a` and `b`, both >= 0. */
static inline int64_t xf_sum(int64_t a, int64_t b)
{
    return a > INT64_MAX - b ? INT64_MAX : a + b;
}

static inline int64_t xf_smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t xf_larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

#endif
