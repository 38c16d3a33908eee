/*
 * The margin: by how much the delay on the way to the provider varies, ns. Two calls can arrive
 * closer together than they left. If the first has emptied the provider's bucket to the last unit,
 * the second then overdraws it. A scheduler that keeps margin x rate of each bucket in reserve is
 * not refused for that.
 *
 * The margin is measured. A call that all buckets here had let pass, and that is refused, has come
 * too early by the wait that the provider asks for. The margin grows by that wait and
 * XF_MARGIN_STEP (by twice the wait, if that is less), because the next call may come earlier
 * still. A wait of a second or more tells less: many providers round up to whole seconds, and where
 * refused calls are charged the wait is that of another call. It raises the margin to at most its
 * double and XF_MARGIN_STEP. The margin shrinks slowly.
 */
#ifndef XF_MARGIN_H
#define XF_MARGIN_H

#include <stdbool.h>
#include <stdint.h>

#define XF_MARGIN_VAGUE INT64_C(1000000000) /* such a wait may be rounded, or have other causes */
#define XF_MARGIN_STEP INT64_C(5000000)     /* 5 ms */
#define XF_MARGIN_MOST INT64_C(2000000000)  /* 2 s: longer waits have other causes */
#define XF_MARGIN_KEPT INT64_C(60000000000) /* after each minute without a change */
#define XF_MARGIN_PART 16                   /* the margin loses a 16th */

typedef struct xf_margin {
    int64_t ns;
    int64_t changed_at;
} xf_margin;

/* Widens the margin after a call came `wait` ns too early. True if that changed it. */
bool xf_margin_widen(xf_margin *m, int64_t wait, int64_t now);

/* Shrinks the margin, if it is time, after the provider has let a call pass. True if that changed
   it. */
bool xf_margin_shrink(xf_margin *m, int64_t now);

#endif
