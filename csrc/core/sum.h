/* Sums of instants, durations and costs, which end at INT64_MAX: that is never, and more than can
   be paid for. */
#ifndef XF_SUM_H
#define XF_SUM_H

#include <stdint.h>

/* `a` and `b` >= 0. */
static inline int64_t xf_sum(int64_t a, int64_t b)
{
    return a > INT64_MAX - b ? INT64_MAX : a + b;
}

#endif
