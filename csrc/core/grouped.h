/*
 * Calls of groups: when their groups change, and what that changes for the queue. The operations on
 * groups, which scheduler.h declares, are made here. The functions below do for a call of a group
 * what the other operations owe it. For a call without a group they do nothing more.
 */
#ifndef XF_GROUPED_H
#define XF_GROUPED_H

#include "core/scheduler.h"

/* Whether `c` has to wait for the leader of its group. */
bool xf_grouped_is_held(xf_scheduler *s, const xf_call *c);

/* Has `c` pass the gate in its turn, if it can: while its group is warm for its cost less the
   tokens that it saves, else while its trunk is, and so on, and else for all of it. Returns when it
   can, as xf_gate_pass(). Where it has passed for less, stores these tokens in `saved`. O(trunks).
   */
int64_t xf_grouped_pass(xf_scheduler *s, xf_call *c, const xf_turn *turn, uint32_t *saved,
                        int *held_by);

/* Notes that `c` has ended without an answer, or that an attempt of it has. It may have been the
   leader of its group. `spends`: the provider may have read its prompt. */
void xf_grouped_lost(xf_scheduler *s, const xf_call *c, bool spends);

/* Notes that the provider can read the prefix of `c`, which is or was in flight. */
void xf_grouped_warmed(xf_scheduler *s, const xf_call *c);

/* Takes `c` out of its group `g`, for good. */
void xf_grouped_leave(xf_scheduler *s, xf_call *c, xf_group *g);

/* Changes the groups that time alone changes at `at`, the earliest such instant. From then on their
   calls may go, or go in another order. */
void xf_grouped_change(xf_scheduler *s, int64_t at);

#endif
