#include "core/bucket.h"

int64_t xf_bucket_level(const xf_bucket *b, xf_refill r, int64_t when)
{
    int64_t gained, full = xf_refill_full(r);
    if (when <= b->at) {
        return b->level;
    }
    if (__builtin_mul_overflow(when - b->at, r.gain, &gained) || gained >= full - b->level) {
        return full;
    }
    return b->level + gained;
}

void xf_bucket_refill(xf_bucket *b, xf_refill r, int64_t when)
{
    if (when > b->at) {
        b->full = xf_bucket_full(b, r);
        b->level = xf_bucket_level(b, r, when);
        b->at = when;
    }
}

/* The instant at which the bucket will hold `needed` credits; not after `b->at` if it does. */
static int64_t holds(const xf_bucket *b, xf_refill r, int64_t needed)
{
    int64_t lack = needed - b->level;
    return lack > 0 ? b->at + lack / r.gain + (lack % r.gain != 0) : b->at;
}

int64_t xf_bucket_full(const xf_bucket *b, xf_refill r)
{
    return b->level < r.room || b->full > b->at ? holds(b, r, r.room) : b->full;
}

int64_t xf_bucket_ready(const xf_bucket *b, xf_refill r, int64_t needed, int64_t from)
{
    int64_t ready = holds(b, r, needed);
    ready = ready > b->shut ? ready : b->shut;
    return ready > from ? ready : from;
}

void xf_bucket_take(xf_bucket *b, int64_t credits)
{
    b->level -= credits + b->due;
    b->paid = b->due;
    b->due = 0;
}

void xf_bucket_untake_due(xf_bucket *b, xf_refill r)
{
    xf_bucket_move(b, r, b->paid);
    b->due += b->paid;
    b->paid = 0;
}

void xf_bucket_move(xf_bucket *b, xf_refill r, int64_t credits)
{
    xf_wide level = (xf_wide)b->level + credits;
    int64_t full = xf_refill_full(r);
    b->level = level > full ? full : level < XF_MAX_DEBT ? XF_MAX_DEBT : (int64_t)level;
}

void xf_bucket_set(xf_bucket *b, xf_refill r, xf_wide credits)
{
    b->level = credits > r.room ? r.room : credits < XF_MAX_DEBT ? XF_MAX_DEBT : (int64_t)credits;
}

void xf_bucket_promise(xf_bucket *b, int64_t level, int64_t due, int64_t until)
{
    b->level = level;
    b->at = until;
    b->full = 0;
    b->due = due;
    b->paid = 0;
}
