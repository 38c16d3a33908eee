/*
 * A trail: the past of a bucket's level in the last minute, as the lowest and the highest value in
 * each of a thousand slices of time. With it, an answer that speaks of some instant in the past can
 * be compared with the level of that instant.
 *
 * Levels are credits. A correction of the bucket shifts its whole past along. So the difference
 * between two instants is always the refill less the costs of calls in between.
 */
#ifndef XF_TRAIL_H
#define XF_TRAIL_H

#include <stdbool.h>
#include <stdint.h>

/* All answers of this time must say that a level is too low before it rises: 2 s. */
#define XF_RISING_NS INT64_C(2000000000)

enum { XF_SLICES = 1024, XF_SLICE_BITS = 26 }; /* of 67 ms each */

typedef struct xf_trail {
    int64_t begin;  /* the trail knows nothing of the time before, ns */
    int64_t newest; /* the slice noted last */
    int64_t level;  /* noted last; like all levels here, without `shift` */
    int64_t shift;  /* sum of all corrections so far */
    /* Since the bucket was last full: */
    int64_t lowered; /* credits by which corrections have lowered the level, on balance */
    int64_t
        withheld;    /* credits that settlements kept, though the provider may have refunded them */
    int64_t sent_at; /* when the latest call was sent whose answer was heard, ns */
    int64_t told;    /* credits left, as the last answer says, */
    int64_t told_of; /* and when its call was sent, ns; -1: no answer was heard */
    int64_t rise;    /* credits by which all answers since `rising_since` call the level too low */
    int64_t rising_since; /* ns; -1: the last answer did not */
    int64_t least[XF_SLICES], most[XF_SLICES];
} xf_trail;

/* Starts the trail anew, with the level `level` at `at`. */
void xf_trail_start(xf_trail *t, int64_t at, int64_t level);

/* Notes the level `level` at `at`, which is not earlier than the last note. The limit calls it
   before and after each change of the level except refilling. */
void xf_trail_note(xf_trail *t, int64_t at, int64_t level, bool is_full);

/* Stores the lowest and the highest level from `from` to `to`, rounded out to whole slices. False
   if the trail does not reach back to `from`, or if it was asked before about a call sent after
   `from`. */
bool xf_trail_range(xf_trail *t, int64_t from, int64_t to, int64_t *least, int64_t *most);

/* Takes the word of an answer that the level is too low by `rise` credits, or (<= 0) that it is
   not. Returns the credits to believe. Withheld credits are believed at once, because they explain
   the rise. The rest is believed once all answers of XF_RISING_NS have said so, at the least of
   what they say. A single answer may be wrong: in a burst its call can overtake calls that were
   sent before, and then the answer does not count those. */
int64_t xf_trail_rise(xf_trail *t, int64_t rise, int64_t now);

/* Notes that a settlement kept `credits` of a call's cost that the provider may have refunded. An
   answer that says so is believed. */
void xf_trail_withhold(xf_trail *t, int64_t credits);

/* Notes that the level was corrected by `shift` credits. A rise uses up the withheld credits
   first. */
void xf_trail_shift(xf_trail *t, int64_t shift);

#endif
