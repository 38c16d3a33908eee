/*
 * An outage: the provider does not answer, or fails, whatever it is asked. That is not a matter of
 * rates, and how long it lasts nobody knows; waits that double would last half as long again as the
 * outage. So after some failures in a row *single* calls are let in at an interval, whatever the
 * queue, until one of them is answered, or the first has lived for an interval, and for twice as
 * long as failures take: then it is being worked on. All the others follow at once, as the limits
 * allow.
 */
#ifndef XF_OUTAGE_H
#define XF_OUTAGE_H

#include <stdbool.h>
#include <stdint.h>

#define XF_OUTAGE_AFTER 3 /* failures in a row, with no answer between: fewer are bad luck */
#define XF_UNTRIED ((int64_t)-1)

typedef struct xf_outage {
    int64_t interval;  /* between two single calls, ns; 0: there is no outage */
    int64_t first;     /* when the first one since the last failure was let in, or XF_UNTRIED, */
    int64_t next;      /* and when the next one may be */
    int64_t longest;   /* that a call took to fail, ns; longer ago counts less */
    int64_t sent;      /* when the latest of the calls that failed was dispatched */
    uint32_t failures; /* in a row */
} xf_outage;

typedef struct xf_outage_failure {
    int64_t sent, now; /* when the call was dispatched, and when it failed */
    bool fresh;        /* it was let in after the last failure */
} xf_outage_failure;

/* A call failed. The next one is to be tried not before `then`, and one every `interval` ns. */
void xf_outage_failed(xf_outage *o, const xf_outage_failure *f, int64_t interval, int64_t then);

/* A call that was dispatched at `sent` was answered, or refused. */
void xf_outage_answered(xf_outage *o, int64_t sent);

/* The first instant from `at` on at which a call may be let in. */
int64_t xf_outage_ready(const xf_outage *o, int64_t at);

/* A call is let in at `at`, which xf_outage_ready() has allowed. */
void xf_outage_admitted(xf_outage *o, int64_t at);

/* A call that was let in was not dispatched. */
void xf_outage_revoked(xf_outage *o, int64_t now);

#endif
