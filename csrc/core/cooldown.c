#include "core/cooldown.h"

#include "core/sum.h"

static int64_t guess(const xf_backoff *b, uint32_t step)
{
    int64_t length = b->base_ns;
    for (uint32_t i = 0; b->exponential && i < step && length < b->max_ns; i++) {
        length = xf_sum(length, length);
    }
    return xf_smaller(length, b->max_ns);
}

/* The least length of a told wait after `step` episodes since the last success. If no call has
   passed since the last episode, its told wait was untrue, and this one may be untrue too. */
static int64_t least(const xf_backoff *b, uint32_t step)
{
    int64_t length = step > 0 ? XF_UNTRUE_NS << (step < 20 ? step - 1 : 19) : 0;
    int64_t most = XF_UNTRUE_TIMES * xf_smaller(b->told_ns, INT64_MAX / XF_UNTRUE_TIMES);
    most = most > b->base_ns ? most : b->base_ns;
    return xf_smaller(length, xf_smaller(most, b->max_ns));
}

int64_t xf_cooldown_open(xf_cooldown *c, const xf_backoff *b, bool fresh, int64_t now)
{
    /* A late 429 of the running episode uses that episode's exponent, not the next one's. */
    uint32_t step = fresh || c->step == 0 ? c->step : c->step - 1;
    int64_t length = b->told_ns != XF_UNTOLD ? b->told_ns : guess(b, step);
    if (b->told_ns != XF_UNTOLD && fresh && length < least(b, step)) {
        length = least(b, step);
    }
    int64_t until = xf_sum(now, length);

    c->step += fresh;
    return xf_cooldown_extend(c, until, fresh, now);
}

int64_t xf_cooldown_extend(xf_cooldown *c, int64_t until, bool fresh, int64_t now)
{
    c->generation += fresh;
    if (until > c->until) {
        c->total_ns += until - (c->until > now ? c->until : now);
        c->until = until;
    }
    return c->until;
}

void xf_cooldown_success(xf_cooldown *c, uint32_t generation)
{
    if (generation == c->generation) {
        c->step = 0;
    }
}
