/*
 * A share makes the gates of several schedulers, in as many processes, one account. They have
 * limits, slots, cooldown and outage in common. Each keeps its own queue, and its own calls in
 * flight.
 *
 * The state lies in memory that they share (snapshot.h, joint.h). The caller opens that memory, and
 * finds out whether a member is still alive. A change of the gate is written as
 *
 *     do {
 *         now = xf_share_open(g, now);
 *         ... changes of the shared part only, from the account's present state ...
 *     } while (!xf_share_close(g, now));
 *
 * and repeated if another member was faster. A member's own counters move before or after the loop.
 * A gate without a share does the loop once, on its own state.
 *
 * The instants of all members are of one clock. No two members may have the same seat at a time.
 */
#ifndef XF_SHARE_H
#define XF_SHARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/joint.h"
#include "core/gate.h"
#include "core/line.h"

/* The caller owns it, like the memory. Its fields are private to the share. */
typedef struct xf_share {
    void *memory;
    uint64_t head; /* the number of the state in `joint` */
    uint32_t seat;
    bool in_line;                   /* our head is in the line, as far as we know */
    xf_pokes pokes;                 /* members to poke, for the caller to take */
    xf_pokes found;                 /* those that the running change has found */
    uint64_t used[XF_JOINT_LIMITS]; /* our gate's `used` before that change */
    xf_joint joint;
    xf_limit room[XF_JOINT_LIMITS];
    uint64_t words[XF_SNAPSHOT_WORDS];
} xf_share;

/* The words of a member's cell: its admitted calls, and from XF_TELLS_USED on its used units of
   each limit. */
enum { XF_TELLS_ADMITTED, XF_TELLS_USED };

/* How to join. */
typedef struct xf_joining {
    uint32_t seat;
    bool alone; /* no other member is there: the limits are the gate's, whatever they were before */
    bool empty; /* alone, and buckets of unknown level are empty */
} xf_joining;

/* Joins `g` to the account in `memory`, of xf_snapshot_size() bytes, as `joining` says. The gate
   must have no calls yet and not follow its levels. Slots and costs that the seat's last member has
   left return. The account has the limits of its first member. False, and nothing is done, if it
   has other limits than the gate has room for, or too many. */
bool xf_share_join(xf_gate *g, xf_share *share, void *memory, const xf_joining *joining,
                   int64_t now);

/* Leaves the account: returns the seat's slots and costs. The gate must not be used any more. */
void xf_share_leave(xf_gate *g, int64_t now);

/* Returns the slots and costs of another seat, whose member is dead. */
void xf_share_bury(xf_gate *g, uint32_t seat, int64_t now);

/* Does the work of xf_gate_pass() for a head of these `costs`. Stores in `resets` those of the
   levels that have paid. */
int64_t xf_share_pass(xf_gate *g, const int64_t *costs, const xf_turn *turn, uint32_t *resets,
                      int *held_by);

/* Takes our head out of the line, because no call waits. */
void xf_share_withdraw(xf_gate *g, int64_t now);

/* Whether another member, which still has its seat, may hold the slot or quota that our head waits
   for. */
bool xf_share_is_held(const xf_share *share, uint32_t seat);

/* A limit as a member has learned it: its definition, and, if `sets_level`, its level in units. */
typedef struct xf_lesson {
    uint32_t limit;
    bool sets_level;
    xf_definition def;
    double level;
} xf_lesson;

/* Changes `n` limits and the belief, a text of at most XF_JOINT_BELIEF bytes, for all members at
   once. False, and nothing is done, if `version` is no longer that of the account. A cooldown that
   has set a level keeps it. */
bool xf_share_learn(xf_gate *g, uint64_t version, const xf_lesson *lessons, size_t n,
                    const char *belief, size_t n_belief, int64_t now);

/* The units that all members have used of limit `i`, those of granted heads included. */
int64_t xf_share_used(const xf_gate *g, uint32_t i);

/* Lowers the level of limit `i` to the most that the word of an answer allows: `left` units at the
   instant `at`, when all members had used `used`. The units that they have used since are
   subtracted. */
void xf_share_lower(xf_gate *g, uint32_t i, int64_t left, int64_t used, int64_t at, int64_t now);

/* Notes, within a change, that the limits are others now. */
static inline void xf_share_revise(xf_gate *g)
{
    if (g->share != NULL) {
        g->share->joint.version++;
    }
}

/* Reads the account's state into share->joint, without being a member. False if there is none. */
bool xf_share_look(xf_share *share, void *memory);

/* The work of the functions below, for a gate with a share. */
void xf_share_load(xf_gate *g);
int64_t xf_share_begin(xf_gate *g, int64_t now);
bool xf_share_end(xf_gate *g, int64_t now);

/* Brings the gate up to the account's present state, for reading. */
static inline void xf_share_refresh(xf_gate *g)
{
    if (g->share != NULL && xf_snapshot_head(g->share->memory) != g->share->head) {
        xf_share_load(g);
    }
}

/* Does the same and lets time pass, for a change. Returns its instant: `now`, or that of the latest
   change if another member has changed the account since it was `now`. */
static inline int64_t xf_share_open(xf_gate *g, int64_t now)
{
    return g->share != NULL ? xf_share_begin(g, now) : now;
}

/* Makes the change count. False if another member was faster. */
static inline bool xf_share_close(xf_gate *g, int64_t now)
{
    return g->share == NULL || xf_share_end(g, now);
}

#endif
