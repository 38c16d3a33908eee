/*
 * A token bucket: a level that rises with time, up to the room there is, and falls by what calls
 * take. It may fall below zero.
 *
 * It is a few words that point nowhere, so that it can lie in any memory, also in one that
 * processes share. Amounts are whole *credits*; what they are worth is limit.h's business. Nothing
 * is ever rounded: what is less than a nanosecond's gain stays in the level.
 *
 * Times are nanoseconds of any clock that does not run backward; a clock that does is treated as
 * standing still.
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
    int64_t at;    /* the instant at which the level is meant, ns: a later one in a cooldown */
    int64_t due;   /* credits that the next call takes in addition, see xf_bucket_promise() */
    int64_t paid;  /* how much of that the last call took */
    int64_t shut;  /* no call passes before this instant, whatever the level, ns */
} xf_bucket;

/* How a bucket fills. */
typedef struct xf_refill {
    int64_t gain; /* credits per ns, >= 1 */
    int64_t room; /* what may be used at once, credits, >= 0 */
} xf_refill;

/* Where refilling ends: at the room plus what is less than one ns of gain, or a wait rounded up to
   whole ns would lose a fraction of a ns each time. */
static inline int64_t xf_refill_full(xf_refill r)
{
    return r.room + r.gain - 1;
}

/* The level at `when`, or as it is meant if that is later. */
int64_t xf_bucket_level(const xf_bucket *b, xf_refill r, int64_t when);

/* Lets time pass up to `when`. */
void xf_bucket_refill(xf_bucket *b, xf_refill r, int64_t when);

/* The first instant >= `from` at which the level is `needed`, 0 to r.room credits, and the bucket
   is not shut. */
int64_t xf_bucket_ready(const xf_bucket *b, xf_refill r, int64_t needed, int64_t from);

/* Takes `credits` (>= 0, at most XF_MAX_CREDITS), and what is due. */
void xf_bucket_take(xf_bucket *b, int64_t credits);

/* What the last call took of what was due is due again: it did not go. */
void xf_bucket_untake_due(xf_bucket *b, xf_refill r);

/* Moves the level by `credits`, from the largest debt up to full. */
void xf_bucket_move(xf_bucket *b, xf_refill r, int64_t credits);

/* Sets the level, as near to `credits` as the room and the largest debt allow. */
void xf_bucket_set(xf_bucket *b, xf_refill r, xf_wide credits);

/* The level will be `level` at `until`, which may lie ahead; the first call after it takes `due` in
   addition. */
void xf_bucket_promise(xf_bucket *b, int64_t level, int64_t due, int64_t until);

#endif
