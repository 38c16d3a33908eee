/*
 * The pace: the rate at which calls may follow each other while their bucket would let them pass at
 * once.
 *
 * Several clients may use one bucket, and each hears of the others only when its answers come. When
 * each client sends all that the bucket holds, the others have done the same, and most calls are
 * refused. So the pace is a function of the level alone:
 *
 *     pace = min(most, rate * e^((level - kept) / scale))
 *
 * All clients that know the level keep the same pace, so they share evenly. The level settles where
 * together they use the refill: at `kept` for one client, at scale * log(n) less for n clients. The
 * relative change of the pace for a change of the level does not depend on n.
 */
#ifndef XF_PACE_H
#define XF_PACE_H

#include <stdint.h>

typedef struct xf_pace {
    double most;   /* credits per ns; 0: any pace is right */
    double rate;   /* credits per ns when the level is `kept` */
    double kept;   /* credits */
    double scale;  /* credits; 0: the pace is always `most` */
    double fits;   /* waiting calls that cost at most this part of the level pass at once */
    double full;   /* the bucket's capacity, credits */
    double burst;  /* what has passed at once, credits, */
    int64_t faded; /* and has faded until this instant, ns */
    int64_t until; /* the pace ends at this instant, ns */
    int64_t next;  /* no call passes before this instant, ns */
} xf_pace;

/* In credits: the cost of a call, the level after it, and the cost of all calls that wait. */
typedef struct xf_spent {
    double cost, level, waiting;
} xf_spent;

/* Sets the instant at which the next call may pass, after one was admitted at `when`; that was not
   before p->next, unless the call was free. */
void xf_pace_took(xf_pace *p, const xf_spent *spent, int64_t when);

#endif
