/*
 * How fast calls may follow each other while their bucket would let them pass at once.
 *
 * Several clients may use one bucket, and each hears of the others only when its answers come. A
 * client that sends all that the bucket holds finds that the others did, too. So the pace is a
 * function of the level alone:
 *
 *     pace = min(most, rate * e^((level - kept) / scale))
 *
 * Whoever knows the level then keeps the same pace, so the clients share evenly. The level settles
 * where they use together what comes in: at `kept` for one client, at scale * log(n) less for n.
 * By how much the pace answers to a change of the level does not depend on n either.
 */
#ifndef XF_PACE_H
#define XF_PACE_H

#include <stdint.h>

typedef struct xf_pace {
    double most;   /* credits per ns; 0: any pace is right */
    double rate;   /* credits per ns when the level is `kept` */
    double kept;   /* credits */
    double scale;  /* credits; 0: the pace is always `most` */
    double fits;   /* the part of the level that the waiting calls may cost to pass at once */
    int64_t until; /* from then on any pace is right, ns */
    int64_t next;  /* no call passes before this instant, ns */
} xf_pace;

/* In credits: what a call has cost, the level after it, and what all that wait will cost. */
typedef struct xf_spent {
    double cost, level, waiting;
} xf_spent;

/* A call was admitted at `when`: chooses when the next one may pass. */
void xf_pace_took(xf_pace *p, const xf_spent *spent, int64_t when);

#endif
