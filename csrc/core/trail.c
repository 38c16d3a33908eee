#include "core/trail.h"

#include "core/sum.h"

static int64_t slice_of(int64_t at)
{
    return at >> XF_SLICE_BITS;
}

static void include(xf_trail *t, int64_t slice, int64_t level)
{
    int64_t *least = &t->least[slice % XF_SLICES], *most = &t->most[slice % XF_SLICES];
    *least = level < *least ? level : *least;
    *most = level > *most ? level : *most;
}

void xf_trail_start(xf_trail *t, int64_t at, int64_t level)
{
    t->begin = t->sent_at = at;
    t->told_of = -1;
    t->newest = slice_of(at);
    t->level = level;
    t->shift = t->lowered = t->withheld = 0;
    t->rising_since = -1;
    t->least[t->newest % XF_SLICES] = t->most[t->newest % XF_SLICES] = level;
}

void xf_trail_note(xf_trail *t, int64_t at, int64_t level, bool is_full)
{
    int64_t slice = slice_of(at);
    level -= t->shift;
    if (slice - t->newest > XF_SLICES) {
        t->newest = slice - XF_SLICES;
    }
    /* In the slices in between the level rose from the one to the other. */
    while (t->newest < slice) {
        t->newest++;
        t->least[t->newest % XF_SLICES] = t->most[t->newest % XF_SLICES] = t->level;
        include(t, t->newest, level);
    }
    include(t, t->newest, level);
    t->level = level;
    if (is_full) {
        t->lowered = t->withheld = 0;
    }
}

bool xf_trail_range(xf_trail *t, int64_t from, int64_t to, int64_t *least, int64_t *most)
{
    int64_t first = slice_of(from), last = slice_of(to);
    last = last < t->newest ? last : t->newest;
    if (from < t->begin || from < t->sent_at || first > last || first + XF_SLICES <= t->newest) {
        return false;
    }
    t->sent_at = from;
    *least = t->least[first % XF_SLICES];
    *most = t->most[first % XF_SLICES];
    for (int64_t slice = first + 1; slice <= last; slice++) {
        int64_t low = t->least[slice % XF_SLICES], high = t->most[slice % XF_SLICES];
        *least = low < *least ? low : *least;
        *most = high > *most ? high : *most;
    }
    *least += t->shift;
    *most += t->shift;
    return true;
}

int64_t xf_trail_rise(xf_trail *t, int64_t rise, int64_t now)
{
    int64_t owed = rise < t->withheld ? rise : t->withheld;
    if (rise <= owed) {
        t->rising_since = -1;
        return rise > 0 ? rise : 0;
    }
    rise -= owed;
    if (t->rising_since < 0) {
        t->rising_since = now;
        t->rise = rise;
    }
    t->rise = rise < t->rise ? rise : t->rise;
    if (now - t->rising_since < XF_RISING_NS) {
        return owed;
    }
    t->rising_since = -1;
    return owed + t->rise;
}

void xf_trail_withhold(xf_trail *t, int64_t credits)
{
    t->withheld = xf_sum(t->withheld, credits);
}

void xf_trail_shift(xf_trail *t, int64_t shift)
{
    t->shift += shift;
    if (shift > 0) {
        int64_t owed = shift < t->withheld ? shift : t->withheld;
        t->withheld -= owed;
        shift -= owed;
    }
    t->lowered -= shift;
    if (t->lowered < 0) {
        t->lowered = 0;
    }
}
