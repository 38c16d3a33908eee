/*
 * A gate: the limits, slots, cooldown, outage and margin of one account at a provider, and the
 * calls in flight, which hold a part of these.
 *
 * A gate says when a call would pass, and takes and returns costs. It knows neither the other
 * members of its account nor a queue. The operations on it are in admission.h.
 *
 * Only xf_gate_init() and xf_gate_follow() allocate; where they fail, nothing has changed.
 * Functions are O(number of limits), except those that say otherwise.
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

/* The cause that holds a call back: a limit's index, or one of these. */
enum {
    XF_BY_NOTHING = -1,
    XF_BY_SLOTS = -2,
    XF_BY_COOLDOWN = -3,
    XF_BY_SHARE = -4,
    XF_BY_PREFIX = -5, /* all calls that wait are held by their groups, see group.h */
};

/* Of the layers above: the parts that a gate has in common with those of other members of an
   account, see share.h; and what it may use of an account on a server, see lease.h. */
typedef struct xf_share xf_share;
typedef struct xf_lease xf_lease;

typedef struct xf_gate {
    xf_share *share; /* NULL: all of this is its own, */
    xf_lease *lease; /* NULL: and it asks no server */
    xf_limit *limits;
    uint32_t n_limits;
    uint32_t slots;    /* calls that may hold a slot at a time, or XF_UNLIMITED */
    uint32_t let_in;   /* fewer of them for now, or XF_UNLIMITED, see xf_gate_let_in() */
    uint32_t ramp;     /* the part of `let_in` that is open so far, see xf_gate_ramp_up() */
    uint32_t in_use;   /* slots held */
    uint32_t n_flying; /* calls in flight; the other slots are of calls not dispatched yet */
    uint32_t resets;   /* times that levels were set by the word of the provider */
    uint64_t admitted; /* attempts, without those revoked before their dispatch */
    uint64_t refused;  /* 429s */
    xf_cooldown cooldown;
    xf_outage outage;
    xf_margin margin;
    xf_list flying; /* the calls in flight, in order of their dispatch */
} xf_gate;

/* Sets up a gate with `n` limits by these definitions, and `slots` > 0 slots. False if there is no
   memory. */
bool xf_gate_init(xf_gate *g, const xf_definition *limits, uint32_t n, uint32_t slots,
                  const xf_alloc *alloc);

/* Frees the memory. Does not touch the calls. */
void xf_gate_free(xf_gate *g, const xf_alloc *alloc);

/* ---- calls ---- */

/* Whether no slot is free. */
static inline bool xf_gate_is_full(const xf_gate *g)
{
    return g->in_use >= g->slots || g->in_use >= g->ramp;
}

/* The turn of a call. It passes if it can at some instant from `from` to `until`, which is not
   after `now`. `waiting` calls wait behind it. */
typedef struct xf_turn {
    int64_t from, until, now;
    uint32_t waiting;
} xf_turn;

/* Returns the first instant from `from` on at which a call of these costs passes, if a slot is
   free. Stores in `held_by` the cause that makes it wait until then. */
int64_t xf_gate_due(const xf_gate *g, const int64_t *costs, int64_t from, int *held_by);

/* Takes the costs of a call that passes at `at`, an instant that xf_gate_due() has returned. */
void xf_gate_pay(xf_gate *g, const int64_t *costs, int64_t at);

/* Whether a call that was admitted when `resets` were so many has paid from the present level of
   limit `i`, and not from one before that was set. */
static inline bool xf_gate_has_paid(const xf_gate *g, uint32_t i, uint16_t resets)
{
    uint32_t since = (uint16_t)(g->resets - resets);
    return g->resets - g->limits[i].reset >= since;
}

/* Returns the costs of a call that was not dispatched to the levels from which it has paid. */
void xf_gate_unpay(xf_gate *g, const int64_t *costs, uint16_t resets, int64_t now);

/* ---- levels ---- */

/* Follows the levels of all limits from now on, unless they are shared. False if there is no
   memory. Once is enough. */
bool xf_gate_follow(xf_gate *g, const xf_alloc *alloc, int64_t now);

/* Corrects limit `i` by an answer that says how much is left, see xf_told(). O(calls in flight). */
double xf_gate_told(xf_gate *g, uint32_t i, const xf_remaining *left, int64_t now);

/* ---- calls that are let in, and those in flight ---- */

/* Bounds the calls that hold a slot by `n` for now (XF_UNLIMITED: only the slots count). Lets them
   in as fast as they are dispatched. */
void xf_gate_let_in(xf_gate *g, uint32_t n);

/* Whether xf_gate_ramp_up() has more calls to let in. */
static inline bool xf_gate_is_ramping(const xf_gate *g)
{
    return g->in_use >= g->ramp && g->ramp < g->let_in;
}

/* Lets some more calls in, after those let in before have been dispatched. */
void xf_gate_ramp_up(xf_gate *g);

/* The cost of `c` of limit `i`, in units; for NULL, the mean cost of all calls so far. */
double xf_gate_cost(const xf_gate *g, const xf_call *c, uint32_t i);

/* Units of limit `i` held by the calls in flight that were dispatched after `instant`, without
   those of `c` (or NULL). O(such calls). */
int64_t xf_gate_held_since(const xf_gate *g, uint32_t i, int64_t instant, const xf_call *c,
                           int64_t now);

/* Units held by all calls in flight, and by those dispatched at or after an instant. */
typedef struct xf_held {
    int64_t all, since;
} xf_held;

/* Both of limit `i`, for the instant `instant`, in one walk. O(calls in flight). */
xf_held xf_gate_held(const xf_gate *g, uint32_t i, int64_t instant, int64_t now);

#endif
