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
#include "core/group.h"

/* Returns the tokens that `c`, which waits, is let in without if it passes at `at` and reads the
   prefix of its group or trunk `group`; or 0. Costs that do not hold so much leave the prefix out
   already. O(limits). */
int64_t xf_saving_of(const xf_gate *g, const xf_groups *all, const xf_group *group,
                     const xf_call *c, int64_t at);

/* The cost of `c` of limit `i` without `tokens`. */
int64_t xf_saving_cost(const xf_gate *g, const xf_call *c, uint32_t i, int64_t tokens);

/* Takes `tokens` off the costs of `c`, as xf_saving_of() has returned them; puts them back. Both
   are O(limits). */
void xf_saving_take(const xf_gate *g, xf_call *c, int64_t tokens);
void xf_saving_return(const xf_gate *g, xf_call *c, int64_t tokens);

#endif
