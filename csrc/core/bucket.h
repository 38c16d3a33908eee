/*
 * A token bucket: its level rises with time, up to its room, and falls by the costs of calls. It
 * may fall below zero.
 *
 * A bucket is a few words without pointers, so it can lie in any memory, also in memory that
 * processes share. Amounts are whole *credits*; limit.h converts them to units. Nothing is ever
 * rounded: a fraction of a nanosecond's gain stays in the level.
 *
 * Times are nanoseconds of any clock. If the clock runs backward, the bucket takes it as standing
 * still.
 */
#ifndef XF_BUCKET_H
#define XF_BUCKET_H

#include <stdint.h>

#define XF_MAX_CREDITS ((int64_t)1 << 60)
#define XF_MAX_DEBT (-((int64_t)1 << 62))

/* Holds any product of two numbers of 64 bits. */
__extension__ typedef __int128 xf_wide;

typedef struct xf_bucket {
    int64_t level; /* credits; negative is a debt */
    int64_t at;    /* the instant of the level, ns: it lies ahead during a cooldown */
    int64_t due;   /* credits that the next call takes in addition, see xf_bucket_promise() */
    int64_t paid;  /* the part of `due` that the last call took */
    int64_t shut;  /* no call passes before this instant, whatever the level, ns */
    int64_t full;  /* the instant at which it was full last, ns; see xf_bucket_full() */
} xf_bucket;

/* How a bucket fills. */
typedef struct xf_refill {
    int64_t gain; /* credits per ns, >= 1 */
    int64_t room; /* credits that calls may use at once, >= 0 */
} xf_refill;

/* The level at which refilling ends, credits: the room, plus less than one ns of gain. Without that
   rest, each wait that is rounded up to whole ns would lose a fraction of a ns. */
static inline int64_t xf_refill_full(xf_refill r)
{
    return r.room + r.gain - 1;
}

/* The level in credits at `when`, or at `b->at` if that is later. */
int64_t xf_bucket_level(const xf_bucket *b, xf_refill r, int64_t when);

/* Lets time pass up to `when`. */
void xf_bucket_refill(xf_bucket *b, xf_refill r, int64_t when);

/* The first instant >= `from` at which the level is at least `needed` (0 to r.room credits) and the
   bucket is not shut. */
int64_t xf_bucket_ready(const xf_bucket *b, xf_refill r, int64_t needed, int64_t from);

/* The instant since which the bucket is full, or from which on it will be if no call comes, ns. */
int64_t xf_bucket_full(const xf_bucket *b, xf_refill r);

/* Takes `credits` (0 to XF_MAX_CREDITS), and the credits that are due. */
void xf_bucket_take(xf_bucket *b, int64_t credits);

/* Returns the due credits that the last call took, since it was not dispatched: they are due
   again. */
void xf_bucket_untake_due(xf_bucket *b, xf_refill r);

/* Moves the level by `credits`, but not below the largest debt and not above full. */
void xf_bucket_move(xf_bucket *b, xf_refill r, int64_t credits);

/* Sets the level, as near to `credits` as the room and the largest debt allow. */
void xf_bucket_set(xf_bucket *b, xf_refill r, xf_wide credits);

/* Sets the level that the bucket will have at `until`, which may lie ahead. If that fills it, it
   counts as full for long. The first call after that takes `due` credits in addition. */
void xf_bucket_promise(xf_bucket *b, int64_t level, int64_t due, int64_t until);

#endif
