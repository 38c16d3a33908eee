/*
 * A share: what makes the gates of several schedulers, in as many processes, one account. They have
 * limits, slots, cooldown and outage in common; each keeps its own queue, and the calls in flight.
 *
 * The state lies in memory that they share (snapshot.h, joint.h), which is given: who opens it,
 * and knows whether a member is still alive, is not told here. What changes the gate is written as
 *
 *     do {
 *         xf_share_open(g, now);
 *         ... changes of the shared part only, from what is the account's state now ...
 *     } while (!xf_share_close(g, now));
 *
 * and is done once more if another member was faster. What is only ours moves before or after. A
 * gate without a share does it once, on its own state.
 *
 * The instants of all members are of one clock. Each keeps its seat's memory to itself: no two
 * members may have the same seat at a time.
 */
#ifndef XF_SHARE_H
#define XF_SHARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/joint.h"
#include "core/gate.h"
#include "core/line.h"

/* The binding's, like the memory; the fields are the share's. */
typedef struct xf_share {
    void *memory;
    uint64_t head; /* the state that is in `joint` */
    uint32_t seat;
    bool in_line;                   /* our head is there, as far as we know */
    xf_pokes pokes;                 /* members to be poked: to be taken by the caller */
    xf_pokes found;                 /* of these, what the change under way has found */
    uint64_t used[XF_JOINT_LIMITS]; /* our gate's, before that */
    xf_joint joint;
    xf_limit room[XF_JOINT_LIMITS];
    uint64_t words[XF_SNAPSHOT_WORDS];
} xf_share;

/* What a member tells of itself, words of its cell: admitted calls, and from XF_TELLS_USED on the
   units used of each limit. */
enum { XF_TELLS_ADMITTED, XF_TELLS_USED };

/* How to join. */
typedef struct xf_joining {
    uint32_t seat;
    bool alone; /* nobody else is there: the limits are the gate's, whatever they were before */
    bool empty; /* and the buckets are empty, where nothing is known of them */
} xf_joining;

/* `g`, which knows no calls yet and keeps no track of its levels, joins the account in `memory`,
   of xf_snapshot_size() bytes, as `joining` says; what the seat's last member has left is given
   back. The account has the limits of the first. False: it has other limits than the gate has
   room for, or too many, and nothing was done. */
bool xf_share_join(xf_gate *g, xf_share *share, void *memory, const xf_joining *joining,
                   int64_t now);

/* Gives back what the seat holds. The gate is alone from then on, and must not be used. */
void xf_share_leave(xf_gate *g, int64_t now);

/* Another seat's member is dead: gives back what that held. */
void xf_share_bury(xf_gate *g, uint32_t seat, int64_t now);

/* See xf_gate_pass(): the head costs `costs`. In `resets`, those of the levels that it was paid
   from. */
int64_t xf_share_pass(xf_gate *g, const int64_t *costs, const xf_turn *turn, uint32_t *resets,
                      int *held_by);

/* No call waits. */
void xf_share_withdraw(xf_gate *g, int64_t now);

/* Whether another member that still sits there may hold what our head waits for. */
bool xf_share_is_held(const xf_share *share, uint32_t seat);

/* Reads the account's state into share->joint, by who is no member. False: there is none. */
bool xf_share_look(xf_share *share, void *memory);

/* What the functions below are, where there is a share. */
void xf_share_load(xf_gate *g);
void xf_share_begin(xf_gate *g, int64_t now);
bool xf_share_end(xf_gate *g, int64_t now);

/* The gate is what the account is now: to be looked at. */
static inline void xf_share_refresh(xf_gate *g)
{
    if (g->share != NULL && xf_snapshot_head(g->share->memory) != g->share->head) {
        xf_share_load(g);
    }
}

/* The same, and time has passed: to be changed. */
static inline void xf_share_open(xf_gate *g, int64_t now)
{
    if (g->share != NULL) {
        xf_share_begin(g, now);
    }
}

/* The change counts. False: another member was faster. */
static inline bool xf_share_close(xf_gate *g, int64_t now)
{
    return g->share == NULL || xf_share_end(g, now);
}

#endif
