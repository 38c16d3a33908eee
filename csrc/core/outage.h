/*
 * An outage: the provider answers no call, or fails every call. That has nothing to do with rates,
 * and its length is unknown. Waits that double would last half as long again as the outage. So
 * after some failures in a row *single* calls are let in at an interval, whatever the queue.
 *
 * The outage ends when one of them is answered. It also ends when the first has lived for an
 * interval, and for twice as long as failures take: then the provider is working on it. All other
 * calls follow at once, as the limits allow.
 *
 * Of an account that several members use, the *prober* is the member whose call is the first one.
 * If it goes, its call may have gone with it, and the next member's is the first one.
 */
#ifndef XF_OUTAGE_H
#define XF_OUTAGE_H

#include <stdbool.h>
#include <stdint.h>

#define XF_OUTAGE_AFTER 3 /* failures in a row, with no answer between: fewer are chance */
#define XF_UNTRIED ((int64_t)-1)

typedef struct xf_outage {
    int64_t interval;  /* between two single calls, ns; 0: there is no outage; XF_NEVER: none */
                       /* follows by itself, see xf_lease_outage() */
    int64_t first;     /* when the first single call since the last failure was let in, */
                       /* or XF_UNTRIED */
    int64_t next;      /* when the next single call may be let in */
    int64_t longest;   /* the longest time to a failure, ns; earlier ones count less */
    int64_t sent;      /* when the latest of the calls that failed was dispatched */
    uint32_t failures; /* in a row */
    uint32_t prober;   /* of a share: the seat of the first single call's member */
} xf_outage;

typedef struct xf_outage_failure {
    int64_t sent, now; /* when the call was dispatched, and when it failed */
    bool fresh;        /* it was let in after the last failure */
} xf_outage_failure;

/* Whether a failure counts. A call sent before the outage says nothing of single calls. */
static inline bool xf_outage_counts(const xf_outage *o, const xf_outage_failure *f)
{
    return o->interval == 0 || f->fresh;
}

/* Notes a failure. If that makes an outage, or one lasts, the next single call goes not before
   `then`, and one every `interval` ns. */
void xf_outage_failed(xf_outage *o, const xf_outage_failure *f, int64_t interval, int64_t then);

/* Notes that the provider has answered, or refused, a call dispatched at `sent`. */
void xf_outage_answered(xf_outage *o, int64_t sent);

/* The first instant from `at` on at which a call may be let in. */
int64_t xf_outage_ready(const xf_outage *o, int64_t at);

/* Notes that a call is let in at `at`, which xf_outage_ready() has allowed. */
void xf_outage_admitted(xf_outage *o, int64_t at);

/* Notes that a call that was let in was not dispatched. */
void xf_outage_revoked(xf_outage *o, int64_t now);

/* Notes that the member in this seat has gone. */
void xf_outage_left(xf_outage *o, uint32_t seat, int64_t now);

#endif
