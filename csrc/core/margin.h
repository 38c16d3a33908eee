/*
 * The margin: by how much the way to the provider varies, ns. Two calls can arrive closer together
 * than they left, so a bucket that is emptied to the last unit is overdrawn by whatever the second
 * was faster. Who keeps margin x rate of each bucket in reserve is not refused for that.
 *
 * It is measured. A call that all buckets here had let pass and that is refused has come too early
 * by the wait that the provider asks for. The margin grows by somewhat more, at most its double,
 * for the next may come earlier still; but for whole seconds, to which many providers round, no
 * more than to somewhat above its double. It shrinks slowly.
 */
#ifndef XF_MARGIN_H
#define XF_MARGIN_H

#include <stdbool.h>
#include <stdint.h>

#define XF_MARGIN_GRAIN INT64_C(1000000000) /* a wait of whole seconds is a rounded one */
#define XF_MARGIN_STEP INT64_C(5000000)     /* 5 ms: somewhat */
#define XF_MARGIN_MOST INT64_C(2000000000)  /* 2 s: waits above are not for want of margin */
#define XF_MARGIN_KEPT INT64_C(60000000000) /* every minute without a change */
#define XF_MARGIN_PART 16                   /* it loses a 16th */

typedef struct xf_margin {
    int64_t ns;
    int64_t changed_at;
} xf_margin;

/* A call came `wait` ns too early. True: the margin has changed. */
bool xf_margin_widen(xf_margin *m, int64_t wait, int64_t now);

/* A call was let pass. True: the margin has changed. */
bool xf_margin_shrink(xf_margin *m, int64_t now);

#endif
