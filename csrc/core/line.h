/*
 * The line: the order in which the members of an account go. First come, first served, each with
 * its head.
 *
 * The line is played back as a queue is: heads that could have passed by now pass, in order, as of
 * the instant at which they could. The member that looks does this for all, so no member waits for
 * one that is slow, stopped or dead. A head that has passed is *granted*: its costs are paid and a
 * slot is held for it. It goes when its member notices, by its own timer or poked by the member
 * that granted it. After XF_GRANT_NS the grant ends: its costs return, and its member has to ask
 * anew.
 *
 * The heads of all members keep the limits' pace together, see pace.h.
 *
 * So in any time W the members dispatch together no more than one scheduler would in W +
 * XF_GRANT_NS.
 *
 * The line reads and changes only the shared part of the gate: limits, slots, cooldown, outage.
 * Costs paid here are in no member's `used`. All functions are O(seats) at least.
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

/* Plays the line up to `now`. Adds the members to poke to `pokes`, except `self`, which is awake.
   True if that changed the account. */
bool xf_line_play(xf_gate *g, xf_joint *a, uint32_t self, int64_t now, xf_pokes *pokes);

/* The instant at which the head of `self` will pass, as far as can be foreseen, in a line that was
   played up to `now`. XF_NEVER if it waits for a slot. `room` has room for the gate's limits. */
int64_t xf_line_foresee(xf_gate *g, const xf_joint *a, uint32_t self, int64_t now, xf_limit *room,
                        int *held_by);

/* Takes the head of `seat` out of the line. If it was granted, its costs return. */
void xf_line_clear(xf_gate *g, xf_joint *a, uint32_t seat, int64_t now);

#endif
