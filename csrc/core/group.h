/*
 * Groups of calls that share a prefix, which the provider caches.
 *
 * A group is *cold*, *warming*, or *warm* until an instant. The first call that is admitted to a
 * cold group leads it: the *leader* writes the cache. While the group warms, its other calls are
 * held: they take no slot and no quota, and the calls of other groups overtake them. The group is
 * warm as soon as the prefix can be read. It is cold again after its *time to live*, counted from
 * the dispatch of the last call that has written or read the prefix. No timer runs for that: the
 * next call to be admitted finds it out.
 *
 * If the leader ends before the prefix can be read, the group is cold, and the next call leads. A
 * hold has a bound, the same for all groups, which counts from the leader's admission: the wait for
 * its dispatch is a part of it. Leaders that fail one after another share one, so they hold no call
 * for longer. A refusal by the provider does not count: the cooldown holds all calls back. After
 * its bound a hold *lapses*: the group counts as warm. The callers give the bound and each group's
 * time to live, in ns. Where they change them while it warms, the old ones count for that hold.
 * With a bound of 0 no group is held.
 *
 * A warm group *fades* some time before it is cold, if calls of it wait by then: the first one goes
 * before older calls of other groups, and so prolongs the life, see queue.h. That time is counted
 * from the last call that was admitted, because its answer will prolong the life, too. A group that
 * fades does so until a call of it is admitted, or it is cold.
 *
 * A group may be a *branch*: its prefix goes on from a shorter one, that of its *trunk*, which may
 * be a branch itself. The leader of a branch writes the prefix of a cold trunk, too, so it leads
 * both, and all calls of the trunk and of its other branches are held until the trunk is warm. Then
 * each branch has a leader that reads the trunk. So a call may wait for one hold after another,
 * that of each trunk and that of its group.
 *
 * A group is known by its index, and lives until it is closed, its last call has ended, and its
 * last branch is gone. All functions are O(1), but for those of a call: O(its group's trunks).
 * xf_groups_open() allocates.
 */
#ifndef XF_GROUP_H
#define XF_GROUP_H

#include <stdbool.h>
#include <stdint.h>

#include "core/alloc.h"
#include "core/call.h"

#define XF_NO_GROUP UINT32_MAX /* no index */
#define XF_MISSES 2            /* one may have met a machine without the cache */

typedef struct xf_flow xf_flow; /* see queue.h */

typedef struct xf_group {
    xf_flow *flows;                   /* of its calls, one for each priority */
    struct xf_group *trunk;           /* or NULL */
    struct xf_group *branches;        /* the first one */
    struct xf_group *next, *previous; /* branches of the same trunk */
    const xf_call *leader;            /* warming: the call that writes the cache; else NULL */
    int64_t ttl_ns;                   /* the time to live, or XF_NEVER; the caller may change it */
    int64_t tokens;                   /* of the prefix, 0 if unknown; see xf_set_tokens() */
    int64_t spent_ns;                 /* of the bound, by leaders that failed one after another */
    int64_t led_at;                   /* warming: the leader's admission, */
    int64_t held_until;               /* the end of the hold, */
    int64_t lapsed_until;             /* and until when it is warm if the hold lapses */
    int64_t missed_at;  /* calls dispatched earlier do not warm it, but for a leader */
    int64_t warm_until; /* not warming: it is warm before, cold from then on */
    int64_t renew_at;   /* warm: it fades from then on, or XF_NEVER */
    uint32_t index;
    uint32_t live;    /* calls that have joined and not ended, and branches */
    uint32_t waiting; /* calls in the queue, those of its branches included */
    uint32_t place;   /* in the heap of changes, see queue.h */
    uint32_t misses;  /* calls in a row that did not find the prefix */
    bool closed;
    bool fades;
    bool sure;              /* an answer says that it can be read, and none has missed it since, or
                               a longer one that goes on from it */
    struct xf_group *spare; /* not in use: the next one that is not */
} xf_group;

typedef struct xf_groups {
    xf_group **known; /* by their index, those not in use included */
    uint32_t n_known;
    uint32_t n_open; /* in use */
    xf_group *spare;
    int64_t hold_ns; /* the bound of a hold, from the next one on */
    bool reads_free; /* the last answer that told had found its prefix, at no charge */
    uint64_t led;    /* holds that have begun */
    uint64_t lapsed; /* holds that have lapsed while calls waited */
    int64_t held_ns; /* the length of all holds at whose end calls waited */
} xf_groups;

/* Frees all groups and makes `all` empty. */
void xf_groups_free(xf_groups *all, const xf_alloc *alloc);

/* Opens a cold group, a branch of `trunk` if that is not NULL. Returns NULL, and nothing is done,
   if there is no memory. */
xf_group *xf_groups_open(xf_groups *all, int64_t ttl_ns, xf_group *trunk, const xf_alloc *alloc);

/* Whether the group can be forgotten: it is closed, and no call or branch of it lives. */
static inline bool xf_group_is_over(const xf_group *g)
{
    return g->closed && g->live == 0;
}

/* Takes a group that is over and has no flows out of use. Its index may then name another one. */
void xf_groups_forget(xf_groups *all, xf_group *g);

static inline bool xf_group_is_warming(const xf_group *g)
{
    return g->leader != NULL;
}

/* Whether its calls are held: it warms, or a trunk of it does. */
static inline bool xf_group_is_held(const xf_group *g)
{
    while (g != NULL && !xf_group_is_warming(g)) {
        g = g->trunk;
    }
    return g != NULL;
}

/* Whether it fades, or a trunk of it does. */
static inline bool xf_group_is_fading(const xf_group *g)
{
    while (g != NULL && !g->fades) {
        g = g->trunk;
    }
    return g != NULL;
}

/* The instant at which time alone changes it while calls wait: its hold lapses, or it begins to
   fade, or ends. XF_NEVER if there is none. */
static inline int64_t xf_group_changes_at(const xf_group *g)
{
    if (xf_group_is_warming(g)) {
        return g->held_until;
    }
    if (g->fades) {
        return g->warm_until;
    }
    return g->renew_at < g->warm_until ? g->renew_at : XF_NEVER;
}

/* Makes that change. */
void xf_group_change(xf_groups *all, xf_group *g);

/* Walks the branches below `top`, and theirs, each after its trunk: returns the one that follows
   `g`, or NULL after the last. */
xf_group *xf_group_next_below(const xf_group *top, xf_group *g);

/* Whether a hold has reached its bound. */
static inline bool xf_group_is_due(const xf_group *g, int64_t now)
{
    return g->leader != NULL && g->held_until <= now;
}

/* Notes that `c` of the group was admitted at `at`, and not held. It leads the group if that is
   cold, and then its trunk if that is cold, and so on: these hold their other calls from now on. It
   ends the fading of others. Returns the last one of the group and its trunks for which either is
   true, or NULL. */
xf_group *xf_group_admitted(xf_groups *all, xf_group *g, const xf_call *c, int64_t at);

/* Ends a hold that has reached its bound. */
void xf_group_lapse(xf_groups *all, xf_group *g);

/* Notes that the prefix of `c`, in flight, can be read, and so can those of its trunks. Returns the
   last of them whose hold that ends, or NULL. */
xf_group *xf_group_warmed(xf_groups *all, xf_group *g, const xf_call *c, int64_t now);

/* Notes that `c` has ended, or ended an attempt, and has not warmed the group. `spends`: the next
   leader has only the rest of the bound. Returns the last group of those that it has led, which are
   cold, or NULL. */
xf_group *xf_group_lost(xf_groups *all, xf_group *g, const xf_call *c, bool spends, int64_t now);

/* Notes whether the answer to a call says that the prefix was `found` in the cache, and that this
   `is_free`: not charged. After XF_MISSES in a row that did not find it, a warm group becomes cold:
   then returns true. */
bool xf_group_looked_up(xf_groups *all, xf_group *g, bool found, bool is_free, int64_t now);

/* Returns the tokens that the provider will not charge a call of the group for, which passes before
   g->warm_until: those of the prefix, once answers have shown that a prefix which is found costs
   nothing, and that this one is. A hold that has lapsed shows nothing. */
int64_t xf_group_saving(const xf_groups *all, const xf_group *g);

#endif
