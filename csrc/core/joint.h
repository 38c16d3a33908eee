/*
 * An account that several members use together: what lies in the memory they share. It is the
 * shared part of a gate, its buckets unchanged, and the *line*: the members whose head waits, in
 * the order in which they asked. It points nowhere and is written as a row of words.
 *
 * What was written by others is not believed: every number read is brought into its range. So
 * whoever writes nonsense may starve the others or let them in too early, and cannot crash them.
 */
#ifndef XF_JOINT_H
#define XF_JOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/gate.h"
#include "core/snapshot.h"

enum { XF_JOINT_LIMITS = 16, XF_JOINT_SEATS = XF_SNAPSHOT_MEMBERS };

typedef enum xf_seat_state {
    XF_SEAT_QUIET,   /* no call of this member waits, as far as it has told */
    XF_SEAT_WAITING, /* its head is in the line */
    XF_SEAT_GRANTED, /* and is still there, but has passed: its member has not noticed yet */
} xf_seat_state;

/* A member's place. */
typedef struct xf_seat {
    int64_t from;       /* its head does not pass before this instant, ns */
    int64_t at;         /* granted: the instant at which it has passed, */
    int64_t granted_at; /* and the one at which that was found out */
    int64_t wakes;      /* when its member looks again by itself; XF_NEVER: when it is poked */
    uint32_t held;      /* slots of its calls, those that are not dispatched yet included */
    uint16_t resets;    /* granted: the account's then, modulo 2**16 */
    uint8_t state;      /* xf_seat_state */
    uint8_t taken;      /* whether a member sits there */
    int64_t costs[XF_JOINT_LIMITS]; /* of its head */
} xf_seat;

/* What of a limit is shared. */
typedef struct xf_joint_limit {
    xf_definition def;
    int64_t reserve;
    xf_bucket bucket;
    xf_pace pace;
    uint64_t used; /* units, by all members that ever were */
    uint64_t reset;
} xf_joint_limit;

typedef struct xf_joint {
    uint32_t n_limits, n_seats; /* seats behind the last one that is taken do not count */
    uint32_t n_line, slots;
    uint64_t resets;
    int64_t
        anchor; /* who waits does not pass before this instant, ns: something has changed then */
    xf_cooldown cooldown;
    xf_outage outage;
    xf_margin margin;
    /* Of what follows as much is written as there is. */
    xf_joint_limit limits[XF_JOINT_LIMITS];
    uint16_t line[XF_JOINT_SEATS]; /* seats, in the order in which they asked */
    xf_seat seats[XF_JOINT_SEATS];
} xf_joint;

/* An account in which nothing has happened, with the gate's limits, slots and levels. */
void xf_joint_begin(xf_joint *a, const xf_gate *g);

/* Writes `a` into `words`, which has room for XF_SNAPSHOT_WORDS; returns how many these are. */
size_t xf_joint_write(const xf_joint *a, uint64_t *words);

/* Reads what xf_joint_write() has written, or something else. False: it is no account. */
bool xf_joint_read(xf_joint *a, const uint64_t *words, size_t n);

/* The shared part of `g` becomes what `a` says, or the other way round. */
void xf_joint_load(const xf_joint *a, xf_gate *g);
void xf_joint_store(xf_joint *a, const xf_gate *g);

/* Puts a seat last in the line, in which it is not; or takes one out, if it is there. O(line). */
void xf_joint_enter(xf_joint *a, uint32_t seat);
void xf_joint_leave(xf_joint *a, uint32_t seat);

#endif
