#include "net/observation.h"

#define MINUTE 60.0
#define DAY 86400.0
#define MOST 1e15           /* per period: beyond any provider */
#define AZURE_WINDOW 10.0   /* s, in which requests per minute are counted */
#define ANTHROPIC_GRAIN 1e3 /* in which tokens are told */
#define SURE 0.01           /* s: resets below are mostly rounding */

bool xf_observation_is_of(const xf_observation *o, const xf_observation *other)
{
    return o->name == other->name && o->per == other->per && o->amount == other->amount &&
           o->window == other->window && o->burst == other->burst && o->slides == other->slides;
}

/* The period of a bucket, from the time in which it refills what is used; 0 if it stays unknown. */
static double period_of(const xf_quota *q)
{
    const bool has_reset = q->of[XF_QUOTA_RESET].said;
    const double amount = q->of[XF_QUOTA_LIMIT].value, reset = q->of[XF_QUOTA_RESET].value;
    if (!has_reset || !q->of[XF_QUOTA_REMAINING].said) {
        return q->of[XF_QUOTA_RESET].size > 0 ? 0 : MINUTE;
    }
    const double used = amount - q->of[XF_QUOTA_REMAINING].value;
    if (used > 0 && reset >= SURE) {
        const double whole = reset * amount / used;
        if (DAY / 2 < whole && whole < DAY * 2) {
            return DAY;
        }
    }
    return reset <= 1.1 * MINUTE ? MINUTE : 0;
}

/* False if the quota tells nothing of use. */
static bool observe(const xf_quota *q, xf_observation *o)
{
    const double amount = q->of[XF_QUOTA_LIMIT].value;
    const bool has_remaining = q->of[XF_QUOTA_REMAINING].said;
    const double remaining = q->of[XF_QUOTA_REMAINING].value;
    if (!q->of[XF_QUOTA_LIMIT].said || !(amount >= 1 && amount <= MOST) ||
        (has_remaining && remaining > amount)) {
        return false;
    }
    *o = (xf_observation){
        .name = q->name == XF_QUOTA_REQ ? XF_QUOTA_REQUESTS : (xf_quota_name)q->name,
        .per = q->per,
        .amount = amount,
        .remaining = has_remaining ? remaining : -1,
        .reset = q->of[XF_QUOTA_RESET].said ? q->of[XF_QUOTA_RESET].value : -1,
    };
    if (q->style == XF_QUOTA_ANTHROPIC && o->name == XF_QUOTA_REQUESTS) {
        o->burst = 1;
    } else if (q->style == XF_QUOTA_ANTHROPIC && has_remaining) {
        o->remaining = remaining > ANTHROPIC_GRAIN / 2 ? remaining - ANTHROPIC_GRAIN / 2 : 0;
    } else if (q->style == XF_QUOTA_PERIOD) {
        o->window = q->per;
        o->slides = true;
    } else if (q->style == XF_QUOTA_PLAIN && q->bare) {
        o->per = MINUTE;
        o->window = o->name == XF_QUOTA_REQUESTS ? AZURE_WINDOW : MINUTE;
    } else if (q->style == XF_QUOTA_PLAIN) {
        o->per = period_of(q);
    }
    return true;
}

int xf_observe(const xf_quotas *quotas, xf_observation *out)
{
    bool has_parts = false;
    int count = 0;
    for (size_t i = 0; i < quotas->count; i++) {
        has_parts |= quotas->of[i].name == XF_QUOTA_INPUT_TOKENS ||
                     quotas->of[i].name == XF_QUOTA_OUTPUT_TOKENS;
    }
    for (size_t i = 0; i < quotas->count; i++) {
        if ((has_parts && quotas->of[i].name == XF_QUOTA_TOKENS) ||
            !observe(&quotas->of[i], &out[count])) {
            continue;
        }
        for (int other = 0; other < count; other++) {
            if (out[other].name == out[count].name && out[other].per == out[count].per) {
                return -1;
            }
        }
        count++;
    }
    return count;
}
