/*
 * Admission: the operations on a gate. Calls pass it, are dispatched and end. The provider answers.
 * Limits change. The gate's account is its own, or one of a share (share.h), or it has a lease
 * (lease.h).
 *
 * No operation knows a queue. After a change the caller looks at the queue again (scheduler.h).
 * `now` is never earlier than in the call before. Nothing allocates. Operations are O(number of
 * limits), except those that say otherwise.
 */
#ifndef XF_ADMISSION_H
#define XF_ADMISSION_H

#include <stdbool.h>
#include <stdint.h>

#include "core/gate.h"

/* ---- calls ---- */

/* Returns the first instant at which `c` can pass, or XF_NEVER if time alone does not let it pass.
   If that is not after turn->until, admits `c`: takes a slot and the call's cost. Stores in
   `held_by` the cause that makes it wait until then. */
int64_t xf_gate_pass(xf_gate *g, xf_call *c, const xf_turn *turn, int *held_by);

/* Revokes an admission that did not lead to a dispatch: returns the slot and the cost. A level that
   was set since gets nothing back, because the call has not paid from it. */
void xf_gate_revoke(xf_gate *g, xf_call *c, int64_t now);

/* Whether an admitted call may be dispatched: no cooldown runs, and no level was set since its
   admission. (The call has not paid from a level that was.) */
bool xf_gate_may_dispatch(xf_gate *g, const xf_call *c, int64_t now);

/* Dispatches an admitted call: from here on its cost is spent. */
void xf_gate_dispatch(xf_gate *g, xf_call *c, int64_t now);

/* Returns the slot of a call in flight that has ended, or that waits for another attempt. */
void xf_gate_land(xf_gate *g, xf_call *c, int64_t now);

/* Notes that no call waits any more for the instant at which it passes. */
void xf_gate_leave(xf_gate *g, int64_t now);

/* Settles limit `i` of a call that was dispatched: `actual` units replace its cost. */
void xf_gate_settle(xf_gate *g, xf_call *c, uint32_t i, int64_t actual, int64_t now);

/* ---- answers of the provider ---- */

/* Notes that the provider has served `c`, which was in flight. */
void xf_gate_accepted(xf_gate *g, const xf_call *c, int64_t now);

/* Notes that the provider has refused `c`, or (NULL) a call that is not known here; see
   xf_refused(). Returns the end of the cooldown. O(calls in flight). */
int64_t xf_gate_refused(xf_gate *g, xf_call *c, const xf_backoff *b, int64_t now);

/* Notes that the provider has failed to answer `c`, see xf_failed(). Returns the end of the
   cooldown. */
int64_t xf_gate_failed(xf_gate *g, const xf_call *c, const xf_backoff *b, int64_t now);

/* ---- changes ---- */

/* Sets the level of limit `i` to `units`, or as near as its capacity allows. Does nothing during a
   cooldown that has set it. */
void xf_gate_set_level(xf_gate *g, uint32_t i, double units, int64_t now);

/* Gives limit `i` a new definition (see xf_limit_retune()). */
void xf_gate_retune(xf_gate *g, uint32_t i, const xf_definition *definition, int64_t now);

/* Replaces limit `i` by another one, see xf_replace(). O(calls dispatched since). */
void xf_gate_replace(xf_gate *g, uint32_t i, const xf_definition *definition,
                     const xf_remaining *left, const xf_call *c, int64_t now);

/* Changes the number of slots. */
void xf_gate_set_slots(xf_gate *g, uint32_t slots, int64_t now);

/* Shuts limit `i` until an instant; sets the pace of the calls that pass it (see limit.h). */
void xf_gate_shut(xf_gate *g, uint32_t i, int64_t until, int64_t now);
void xf_gate_pace(xf_gate *g, uint32_t i, const xf_pacing *pacing, int64_t now);

#endif
