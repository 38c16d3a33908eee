/*
 * The account that several members use together, as it lies in the memory that they share. It is
 * the shared part of a gate, its buckets unchanged, and the *line*: the members whose head waits,
 * in the order in which they asked. It has no pointers and is written as a row of words.
 *
 * Numbers written by others are not trusted: each is brought into its range. So a process that
 * writes nonsense may starve the others or let them in too early, but cannot crash them.
 */
#ifndef XF_JOINT_H
#define XF_JOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/gate.h"
#include "core/snapshot.h"

enum { XF_JOINT_LIMITS = 16, XF_JOINT_SEATS = XF_SNAPSHOT_MEMBERS, XF_JOINT_BELIEF = 8000 };

typedef enum xf_seat_state {
    XF_SEAT_QUIET,   /* no call of this member waits, as far as it has told */
    XF_SEAT_WAITING, /* its head is in the line */
    XF_SEAT_GRANTED, /* its head is in the line and has passed, which its member has not noticed */
} xf_seat_state;

/* A member's place. */
typedef struct xf_seat {
    int64_t from;       /* its head does not pass before this instant, ns */
    int64_t at;         /* granted: the instant at which it has passed */
    int64_t granted_at; /* granted: the instant at which a member found that */
    int64_t wakes;      /* when its member looks again by itself; XF_NEVER: when it is poked */
    uint64_t waiting;   /* calls of its queue behind the head, when that entered the line */
    uint32_t held;      /* slots of its calls, those not dispatched yet included */
    uint16_t resets;    /* granted: the account's `resets` then, modulo 2**16 */
    uint8_t state;      /* xf_seat_state */
    uint8_t taken;      /* a member has this seat */
    int64_t costs[XF_JOINT_LIMITS]; /* of its head */
} xf_seat;

/* The shared part of a limit. */
typedef struct xf_joint_limit {
    xf_definition def;
    int64_t reserve;
    xf_bucket bucket;
    xf_pace pace;
    uint64_t used; /* units, by all members, also those that have left */
    uint64_t reset;
    double lowered; /* units, by answers */
} xf_joint_limit;

typedef struct xf_joint {
    uint32_t n_limits, n_seats; /* without the free seats behind the last taken one */
    uint32_t n_line, slots;
    uint64_t resets;
    uint64_t version;   /* of the limits and of the belief: each change raises it */
    uint64_t n_belief;  /* bytes of the belief: what the members have learned, in their words */
    int64_t changed_at; /* the latest instant of a change, ns */
    int64_t anchor;     /* no waiting head passes before this instant, ns, of the last change */
    xf_cooldown cooldown;
    xf_outage outage;
    xf_margin margin;
    /* Only the used part of these arrays is written. */
    xf_joint_limit limits[XF_JOINT_LIMITS];
    uint64_t belief[XF_JOINT_BELIEF / sizeof(uint64_t)];
    uint16_t line[XF_JOINT_SEATS]; /* seats, in the order in which they asked */
    xf_seat seats[XF_JOINT_SEATS];
} xf_joint;

/* Begins an account with the gate's limits, slots and levels. */
void xf_joint_begin(xf_joint *a, const xf_gate *g);

/* Writes `a` into `words`, which has room for XF_SNAPSHOT_WORDS. Returns their number. */
size_t xf_joint_write(const xf_joint *a, uint64_t *words);

/* Reads the words of xf_joint_write(), or any others. False if they are no account. */
bool xf_joint_read(xf_joint *a, const uint64_t *words, size_t n);

/* Copies the account into the shared part of `g`, or the other way round. */
void xf_joint_load(const xf_joint *a, xf_gate *g);
void xf_joint_store(xf_joint *a, const xf_gate *g);

/* Puts a seat that is not in the line at its end, or takes one out if it is there. O(line). */
void xf_joint_enter(xf_joint *a, uint32_t seat);
void xf_joint_leave(xf_joint *a, uint32_t seat);

#endif
