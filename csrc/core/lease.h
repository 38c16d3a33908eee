/*
 * A lease: the part of an account that one member may dispatch. The account lies on a server and
 * not in memory that all members share. The member asks the server for *chunks*: units of each
 * limit, from an instant on. The server has charged a chunk before its member may use it.
 *
 * The gate's own buckets keep the pace within a chunk. At its begin they have the level that the
 * account has then, and they refill at the account's rate. So the members dispatch together at the
 * instants at which one scheduler would. At most one other chunk waits behind a chunk. A chunk
 * lapses XF_LEASE_LATE_NS after its last call could have gone. Its rest goes back to the server.
 *
 * Refunds are spent first by the member's own calls. Costs above the estimates are a debt, which
 * goes to the server with the next ask. A refusal that sets the buckets' levels voids all chunks,
 * and those on their way too, until the holder has looked and told of it.
 *
 * An outage of the provider is the account's, too. While it lasts no call passes here, except for a
 * single one when the account lets it in.
 *
 * An account of which only one member makes use is *lent* to it, for a time at once: its own
 * buckets are those of the account until it returns them. So it asks no more than it must to be
 * known alive.
 *
 * The lease itself asks no server. It sets `news` when its holder has something to do, and the
 * holder then calls xf_lease_look(). The functions are O(limits).
 */
#ifndef XF_LEASE_H
#define XF_LEASE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/gate.h"

#define XF_LEASE_LATE_NS INT64_C(50000000) /* 50 ms */

enum { XF_LEASE_LIMITS = 16 };

typedef struct xf_chunk {
    int64_t from, until;            /* ns; used neither earlier nor later */
    bool is_loan;                   /* the whole account; `units` do not count */
    double levels[XF_LEASE_LIMITS]; /* units in the account's buckets, at `from` */
    int64_t units[XF_LEASE_LIMITS]; /* not used yet */
} xf_chunk;

/* The news of the provider that the member's calls have brought. */
typedef struct xf_tried {
    int64_t answered;  /* when the latest call was dispatched that was answered, or 0 */
    uint32_t failures; /* later ones that count, see xf_outage_counts() */
    int64_t sent;      /* when the latest call was dispatched that failed, or 0 */
    int64_t took;      /* the longest time to a failure, ns */
    int64_t interval;  /* between single calls, in an outage, ns */
} xf_tried;

/* The caller owns it. */
typedef struct xf_lease {
    bool has_chunk, has_next;
    bool has_loan; /* the gate's buckets are the account's, also after the loan has lapsed */
    bool half;     /* less than half of the chunk's units of some limit are left */
    bool asking;   /* the holder's: an ask for a chunk is on its way */
    bool news;     /* the holder has something to do */
    bool refused;  /* a refusal has set levels since the holder looked */
    uint32_t fair; /* slots to which it comes back, one with each call that ends; XF_UNLIMITED: */
                   /* no other member waits for some */
    uint32_t want; /* the holder's: slots for which it has asked */
    uint32_t returned;                /* slots that go back, */
    int64_t unused[XF_LEASE_LIMITS];  /* units of chunks that go back, */
    int64_t refunds[XF_LEASE_LIMITS]; /* and those of settlements; below 0: a debt */
    int64_t granted[XF_LEASE_LIMITS]; /* units that the chunk has had at first */
    xf_chunk chunk, next;
    xf_tried tried; /* since the holder looked */
} xf_lease;

/* Whether the limit is only a place for one that is not known yet: it has the highest rate, and so
   holds no call back. Units beyond the chunk's are a debt. */
static inline bool xf_lease_is_place(const xf_limit *l)
{
    return xf_limit_rate(l) > 0.999e12;
}

/* Makes `g`, which has no calls and at most XF_LEASE_LIMITS limits, depend on `lease`, and has no
   chunk yet. */
void xf_lease_begin(xf_gate *g, xf_lease *lease);

/* Adds a chunk, whose `until` is worked out here, or a loan with its own `until`, or prolongs the
   loan. False if there are two chunks already, or it is void. */
bool xf_lease_grant(xf_gate *g, const xf_chunk *chunk, int64_t now);

/* Lets time pass: a chunk that has lapsed goes back. */
void xf_lease_look(xf_gate *g, int64_t now);

/* Ends the loan. False if there is none. */
bool xf_lease_return(xf_gate *g);

/* Makes all chunks void, and the units that were to go back, because levels were set since. */
void xf_lease_void(xf_gate *g);

/* Notes that the server has told of a cooldown of all members until `until`. A new episode makes
   all chunks void. */
void xf_lease_pause(xf_gate *g, int64_t until, bool is_new, int64_t now);

/* Notes that a cooldown was opened or extended here. `promised`: it has set levels. */
void xf_lease_paused(xf_gate *g, bool promised);

/* Notes a failure to answer, before the gate's outage does. */
void xf_lease_failed(xf_gate *g, const xf_outage_failure *f, int64_t interval);

/* Notes that a call dispatched at `sent` was answered, before the gate's outage does. */
void xf_lease_answered(xf_gate *g, int64_t sent);

/* Takes over the account's outage. `told->interval` is 0 if there is none. It is XF_NEVER if the
   account lets single calls in: here one at told->next, which is XF_NEVER if none is let in anew.
   Another interval is for a member without an account: it lets them in itself. True if the outage
   is news here. */
bool xf_lease_outage(xf_gate *g, const xf_outage *told);

/* Does the work of xf_gate_due() for a call of these `costs`, whose turn it is: returns the instant
   at which it passes, or XF_NEVER if that takes another chunk. */
int64_t xf_lease_due(xf_gate *g, const int64_t *costs, const xf_turn *turn, int *held_by);

/* Notes that the call has passed: takes its costs from the chunk. */
void xf_lease_take(xf_gate *g, const int64_t *costs);

/* Returns the costs of a call that was not dispatched to the chunk, of limits from whose level it
   has paid. */
void xf_lease_untake(xf_gate *g, const int64_t *costs, uint16_t resets);

/* Notes that a settlement returns `units` of limit `i`, or takes some if they are below 0. */
void xf_lease_settle(xf_gate *g, uint32_t i, int64_t units);

/* Notes that a slot was returned. */
void xf_lease_landed(xf_gate *g);

/* Notes that the head waits for a slot. */
void xf_lease_is_full(xf_gate *g);

#endif
