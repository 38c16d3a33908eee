/*
 * Where the level of a bucket has been in the last minute: the lowest and the highest value in each
 * of a thousand slices of time. With it, what a provider says of some instant in the past can be
 * compared with what the bucket held then.
 *
 * Levels are credits. When the bucket is corrected its whole past is shifted along, so that the
 * difference between two instants is always what calls took and time gave back in between.
 */
#ifndef XF_TRAIL_H
#define XF_TRAIL_H

#include <stdbool.h>
#include <stdint.h>

#define XF_RISING_NS INT64_C(2000000000) /* 2 s */

enum { XF_SLICES = 1024, XF_SLICE_BITS = 26 }; /* of 67 ms each */

typedef struct xf_trail {
    int64_t begin;  /* nothing is known of the time before, ns */
    int64_t newest; /* the slice noted last */
    int64_t level;  /* as noted last, like all of them before `shift` is added */
    int64_t shift;  /* all corrections so far */
    /* Since the bucket was last full: */
    int64_t lowered;  /* by how much they took more than they gave, */
    int64_t withheld; /* and what settlements did not give back, though the provider may have */
    int64_t sent_at;  /* the latest of the calls whose answers were listened to */
    int64_t rise; /* by how much all answers since `rising_since` (-1: none) say it is too low */
    int64_t rising_since;
    int64_t least[XF_SLICES], most[XF_SLICES];
} xf_trail;

/* Forgets the past: the level is `level` at `at`. */
void xf_trail_start(xf_trail *t, int64_t at, int64_t level);

/* The level is `level` at `at`, which is not before what was noted last. To be called before and
   after each change but the bucket's own refilling. */
void xf_trail_note(xf_trail *t, int64_t at, int64_t level, bool is_full);

/* The lowest and the highest level from `from` to `to`, or in a slice more. False: that is not
   known, or an answer to a call sent after `from` has been asked for before. */
bool xf_trail_range(xf_trail *t, int64_t from, int64_t to, int64_t *least, int64_t *most);

/* An answer says that the level is too low by `rise`, or (0) that it is not. Returns what is to be
   believed of that: what was withheld at once, as there is a reason for it; of the rest the least
   that was said, once nothing else was for XF_RISING_NS. An answer whose call has overtaken others
   that were sent before, in a burst that keeps a slow client or a slow network busy, does not know
   of them; others will. */
int64_t xf_trail_rise(xf_trail *t, int64_t rise, int64_t now);

/* `credits` of what a call has cost were not given back, though the provider may have: an answer
   that says so is believed. */
void xf_trail_withhold(xf_trail *t, int64_t credits);

/* The level was corrected by `shift`, of what was withheld first. */
void xf_trail_shift(xf_trail *t, int64_t shift);

#endif
