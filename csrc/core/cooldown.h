/*
 * The shared pause after a provider's 429, and the exponential that sizes it when the provider
 * does not say how long.
 *
 * An *episode* is one cooldown, however many 429s arrive in it. Episodes are numbered by a
 * generation: a call carries the generation in which it was dispatched, so that the 429s of a
 * hundred calls that were in flight together count as one.
 */
#ifndef XF_COOLDOWN_H
#define XF_COOLDOWN_H

#include <stdbool.h>
#include <stdint.h>

/* The least wait after a told wait that turned out untrue. The next one is twice that, and so on up
   to `base_ns`, or to so many times the told wait if that is longer: where a refused call counts,
   clients that come as soon as they are told may keep each other refused for ever. */
#define XF_UNTRUE_NS INT64_C(50000000) /* 50 ms */
#define XF_UNTRUE_TIMES 8

typedef struct xf_cooldown {
    int64_t until;       /* no admission before this instant, ns */
    uint32_t generation; /* episodes so far */
    uint32_t step;       /* episodes since the last success: the exponent of the next guess */
    int64_t total_ns;    /* length of all cooldowns, overlaps counted once */
} xf_cooldown;

/* How to choose the length of a cooldown, ns. */
typedef struct xf_backoff {
    int64_t told_ns;  /* the provider's wait, or XF_UNTOLD */
    int64_t base_ns;  /* else base x 2^step, */
    bool exponential; /* or just base if this is false, */
    int64_t max_ns;   /* but never more than this */
    bool alone;       /* of a failure without a told wait: it pauses no other call */
} xf_backoff;

#define XF_UNTOLD ((int64_t)-1)

/* Opens an episode at `now` if `fresh`, that is, if the refused call was dispatched after the last
   episode began. Else it extends the last episode. The end never moves to an earlier instant, and
   the exponent steps once an episode. Returns the end. */
int64_t xf_cooldown_open(xf_cooldown *c, const xf_backoff *b, bool fresh, int64_t now);

/* The same for a pause whose end is given and which leaves the exponent as it is. */
int64_t xf_cooldown_extend(xf_cooldown *c, int64_t until, bool fresh, int64_t now);

/* Notes the success of a call dispatched in `generation`. If that is the current generation, the
   next guess starts from the base again. */
void xf_cooldown_success(xf_cooldown *c, uint32_t generation);

#endif
