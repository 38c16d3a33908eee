/*
 * The saving: the part of a call's cost that its provider does not count, because the call reads it
 * from the cache.
 *
 * The caller's estimate holds the whole prompt. A call that is expected to find its prefix (see
 * xf_group_saving()) is admitted for less: for its cost without the prefix, of each limit that
 * counts input. The settlement charges what it has cost after all.
 */
#ifndef XF_SAVING_H
#define XF_SAVING_H

#include <stdbool.h>
#include <stdint.h>

#include "core/call.h"
#include "core/gate.h"

/* Takes `tokens` off the costs of `c`, which is not admitted. False, and nothing is done, if they
   do not hold so much, so that the estimate leaves the prefix out already. O(limits). */
bool xf_saving_take(const xf_gate *g, xf_call *c, int64_t tokens);

/* Puts `tokens` back that were taken off. O(limits). */
void xf_saving_return(const xf_gate *g, xf_call *c, int64_t tokens);

#endif
