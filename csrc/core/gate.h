/*
 * What one account at a provider allows: its limits, its slots, its cooldown, what an outage lets
 * through, the margin that is kept; and the calls in flight, which hold a part of all that.
 *
 * A gate knows nothing of a queue: it says when a call would pass, and takes note of what calls and
 * the provider do. Whoever changes it has the queue looked at again (scheduler.h). `now` is never
 * before the one that was given last.
 *
 * Only xf_gate_init() and xf_gate_follow() allocate; where they fail, nothing has changed.
 * Functions are O(1) but for the number of limits, and for those that say so.
 */
#ifndef XF_GATE_H
#define XF_GATE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/alloc.h"
#include "core/call.h"
#include "core/cooldown.h"
#include "core/limit.h"
#include "core/list.h"
#include "core/margin.h"
#include "core/outage.h"

#define XF_UNLIMITED UINT32_MAX /* slots */

/* What holds a call back: a limit's index, or one of these. */
enum { XF_BY_NOTHING = -1, XF_BY_SLOTS = -2, XF_BY_COOLDOWN = -3 };

typedef struct xf_gate {
    xf_limit *limits;
    uint32_t n_limits;
    uint32_t slots;  /* XF_UNLIMITED, or how many calls may be admitted at a time, */
    uint32_t let_in; /* and how many are let in for now, XF_UNLIMITED: as many: the less counts, */
    uint32_t ramp;   /* as far as it has come, see xf_gate_ramp_up() */
    uint32_t in_use; /* slots held */
    uint32_t n_flying; /* calls in flight: the others that hold one are still to be dispatched */
    uint32_t resets;   /* how often levels were set to what a provider said */
    uint64_t admitted; /* attempts; those taken back before their dispatch are not counted */
    uint64_t refused;  /* 429s */
    xf_cooldown cooldown;
    xf_outage outage;
    xf_margin margin;
    xf_list flying; /* the calls in flight, in order of their dispatch */
} xf_gate;

/* Sets up a gate with `n` limits by these definitions, and `slots` > 0 slots. False: no memory. */
bool xf_gate_init(xf_gate *g, const xf_definition *limits, uint32_t n, uint32_t slots,
                  const xf_alloc *alloc);

/* Gives the memory back. The calls are not touched. */
void xf_gate_free(xf_gate *g, const xf_alloc *alloc);

/* ---- what calls do ---- */

/* Whether no slot is free. */
static inline bool xf_gate_is_full(const xf_gate *g)
{
    return g->in_use >= g->slots || g->in_use >= g->ramp;
}

/* The instant, not before `from`, at which `c` passes: XF_NEVER if that depends on something other
   than time. In `held_by`, what makes it wait until then. */
int64_t xf_gate_ready(const xf_gate *g, const xf_call *c, int64_t from, int *held_by);

/* `c` passes at `at`, which xf_gate_ready() has allowed: it takes a slot and its cost. `waiting`
   calls wait behind it. */
void xf_gate_admit(xf_gate *g, xf_call *c, uint32_t waiting, int64_t at);

/* Takes an admission back that did not lead to a dispatch: slot and cost are returned. A level that
   was set since is not what was paid from. */
void xf_gate_revoke(xf_gate *g, xf_call *c, int64_t now);

/* Whether an admitted call may be started: no cooldown runs, and no levels were set since its
   admission, which these have not paid for. */
static inline bool xf_gate_may_dispatch(const xf_gate *g, const xf_call *c, int64_t now)
{
    return c->resets == (uint16_t)g->resets && g->cooldown.until <= now;
}

/* It is started: from here on its cost is spent. */
void xf_gate_dispatch(xf_gate *g, xf_call *c, int64_t now);

/* A call in flight has ended, or is to be repeated: it gives its slot back. */
void xf_gate_land(xf_gate *g, xf_call *c);

/* Replaces what a call that was dispatched holds of limit `i` by what it actually used. */
void xf_gate_settle(xf_gate *g, xf_call *c, uint32_t i, int64_t actual, int64_t now);

/* ---- what the provider answers ---- */

/* It has served `c`, which was in flight. */
void xf_gate_accepted(xf_gate *g, const xf_call *c, int64_t now);

/* It has refused `c`, or (NULL) a call that is not known here; see xf_refused(). Returns the end of
   the cooldown. O(calls in flight). */
int64_t xf_gate_refused(xf_gate *g, xf_call *c, const xf_backoff *b, int64_t now);

/* It has failed to answer `c`, see xf_failed(). Returns the end of the cooldown. */
int64_t xf_gate_failed(xf_gate *g, const xf_call *c, const xf_backoff *b, int64_t now);

/* Keeps track of the levels from now on. False: no memory. Once is enough. */
bool xf_gate_follow(xf_gate *g, const xf_alloc *alloc, int64_t now);

/* It had so much left of limit `i`, see xf_told(). O(calls in flight). */
double xf_gate_told(xf_gate *g, uint32_t i, const xf_remaining *left, int64_t now);

/* Sets the level of limit `i` to that many units, or as near as its capacity allows; not during a
   cooldown that has set it. */
void xf_gate_set_level(xf_gate *g, uint32_t i, double units, int64_t now);

/* ---- what is changed, and asked ---- */

/* Gives limit `i` a new definition (see xf_limit_retune()). */
void xf_gate_retune(xf_gate *g, uint32_t i, const xf_definition *definition, int64_t now);

/* Limit `i` is another one from now on, see xf_replace(). O(calls dispatched since). */
void xf_gate_replace(xf_gate *g, uint32_t i, const xf_definition *definition,
                     const xf_remaining *left, const xf_call *c, int64_t now);

/* Lets `n` calls in for now (XF_UNLIMITED: as many as there are slots), as fast as they are
   dispatched. */
void xf_gate_let_in(xf_gate *g, uint32_t n);

/* Whether more are to be let in, now that those are dispatched that were. */
static inline bool xf_gate_is_ramping(const xf_gate *g)
{
    return g->in_use >= g->ramp && g->ramp < g->let_in;
}

/* Lets some more in. */
void xf_gate_ramp_up(xf_gate *g);

/* What a call costs of limit `i`, in units: `c`, or (NULL) on average so far. */
double xf_gate_cost(const xf_gate *g, const xf_call *c, uint32_t i);

/* Units of limit `i` held by the calls in flight, but for `c` (or NULL), that were dispatched after
   `instant`. O(those). */
int64_t xf_gate_held_since(const xf_gate *g, uint32_t i, int64_t instant, const xf_call *c,
                           int64_t now);

/* Units held by all calls in flight, and by those of them dispatched not before some instant. */
typedef struct xf_held {
    int64_t all, since;
} xf_held;

/* Both of limit `i` in one walk. O(calls in flight). */
xf_held xf_gate_held(const xf_gate *g, uint32_t i, int64_t instant, int64_t now);

#endif
