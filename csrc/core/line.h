/*
 * In which order the members of an account go: first come, first served, each with its head.
 *
 * The line is played back as a queue is: what could have passed by now has, in order, as of the
 * instant at which it could. Whoever looks does that for all, so nobody waits for one that is slow,
 * stopped or dead. Who has passed is *granted*: its costs are paid and a slot is held for it. It
 * goes when its member notices, by its own timer or poked by whoever found out; if it has not for
 * XF_GRANT_NS, it gets back what it paid, and its member has to ask anew.
 *
 * So in any time W the members dispatch together no more than one scheduler would in W +
 * XF_GRANT_NS.
 *
 * Of the gate only the shared part is looked at and changed: limits, slots, cooldown, outage. What
 * is paid here is nobody's `used`. All functions are O(seats) at least.
 */
#ifndef XF_LINE_H
#define XF_LINE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/joint.h"
#include "core/gate.h"

#define XF_GRANT_NS INT64_C(100000000) /* 100 ms */
#define XF_LINE_CATCH_UP_NS INT64_C(25000000)

/* Members whose heads pass earlier than they think: seats, as bits. */
typedef struct xf_pokes {
    uint64_t bits[XF_JOINT_SEATS / 64];
} xf_pokes;

/* Plays the line up to `now`; who is to be poked for it is added to `pokes`, but for `self`, who is
   awake. True: something has changed. */
bool xf_line_play(xf_gate *g, xf_joint *a, uint32_t self, int64_t now, xf_pokes *pokes);

/* When the head of `self`, which waits in a line that was played up to `now`, will pass, as far as
   can be foreseen; XF_NEVER: when a slot comes free. `room` has room for the gate's limits. */
int64_t xf_line_foresee(xf_gate *g, const xf_joint *a, uint32_t self, int64_t now, xf_limit *room,
                        int *held_by);

/* The head of `seat` waits no longer; what it has paid is given back if it was granted. */
void xf_line_clear(xf_gate *g, xf_joint *a, uint32_t seat, int64_t now);

#endif
