#include "core/limit.h"

#include "core/trail.h"

#include <math.h>
#include <stddef.h>

#define NS_PER_S 1e9

/* A refusal leaves a bucket alone that takes longer to fill than this, and than so many waits. */
#define MINUTES_NS ((int64_t)120 * 1000000000)
#define WAITS 100

/* A rate of credits: gain per ns over unit. */
typedef struct ratio {
    int64_t gain;
    int64_t unit;
} ratio;

static bool is_whole(double x)
{
    return x == floor(x) && x <= 9007199254740992.0;
}

static int64_t gcd(int64_t a, int64_t b)
{
    while (b != 0) {
        int64_t t = a % b;
        a = b;
        b = t;
    }
    return a;
}

/* The exact ratio of two whole numbers, if its terms are small enough. */
static bool exact_ratio(double amount, double period_ns, int64_t max_unit, ratio *out)
{
    if (!is_whole(amount) || !is_whole(period_ns)) {
        return false;
    }
    int64_t a = (int64_t)amount, p = (int64_t)period_ns, g = gcd(a, p);
    *out = (ratio){a / g, p / g};
    return out->unit <= max_unit && out->gain <= XF_MAX_CREDITS >> 10;
}

/* The best ratio with a unit of at most `max_unit`, by continued fraction; false if even that is
   off by more than `tolerance`. */
static bool near_ratio(double amount, double period_ns, int64_t max_unit, double tolerance,
                       ratio *out)
{
    double target = amount / period_ns, x = target;
    double gain = 1, last_gain = 0, unit = 0, last_unit = 1;
    bool found = false;
    for (int i = 0; i < 64; i++) {
        double whole = floor(x);
        double g = whole * gain + last_gain, u = whole * unit + last_unit;
        if (u > (double)max_unit || g > (double)(XF_MAX_CREDITS >> 10)) {
            break;
        }
        last_gain = gain, last_unit = unit;
        gain = g, unit = u;
        found = gain >= 1 && fabs(gain / unit - target) <= tolerance * target;
        if (x == whole || found) {
            break;
        }
        x = 1 / (x - whole);
    }
    *out = (ratio){(int64_t)gain, (int64_t)unit};
    return found;
}

bool xf_define(xf_definition *d, double amount, double period, double capacity)
{
    double period_ns = period * NS_PER_S;
    if (!isfinite(amount) || !isfinite(period_ns) || !isfinite(capacity) || amount <= 0 ||
        period <= 0 || capacity < 0) {
        return false;
    }
    /* A smaller unit leaves room for larger costs, a larger one is nearer to the rate. */
    double roomy = (double)XF_MAX_CREDITS / fmax(8 * capacity, 1 << 24);
    double tight = (double)XF_MAX_CREDITS / fmax(capacity, 1);
    ratio r;
    if (!exact_ratio(amount, period_ns, (int64_t)roomy, &r) &&
        !near_ratio(amount, period_ns, (int64_t)roomy, 1e-12, &r) &&
        !exact_ratio(amount, period_ns, (int64_t)tight, &r) &&
        !near_ratio(amount, period_ns, (int64_t)tight, 5e-10, &r)) {
        return false;
    }
    double credits = nearbyint(capacity * (double)r.unit);
    if (credits > (double)XF_MAX_CREDITS) {
        return false;
    }
    *d = (xf_definition){
        .gain = r.gain,
        .unit = r.unit,
        .capacity = (int64_t)credits,
        .max_cost = XF_MAX_CREDITS / r.unit,
    };
    return true;
}

void xf_limit_init(xf_limit *l, const xf_definition *definition)
{
    *l = (xf_limit){.def = *definition, .bucket.level = definition->capacity};
}

/* ---- units and credits ---- */

/* The credits that calls may use at once. */
static int64_t room(const xf_limit *l)
{
    return l->def.capacity - l->reserve;
}

static xf_refill refill_of(const xf_limit *l)
{
    return (xf_refill){.gain = l->def.gain, .room = room(l)};
}

static int64_t price(const xf_limit *l, int64_t cost)
{
    return (cost < l->def.max_cost ? cost : l->def.max_cost) * l->def.unit;
}

static int64_t lesser(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t needed(const xf_limit *l, int64_t cost)
{
    return lesser(price(l, cost), room(l));
}

/* The ns for which a call waits at a full bucket, since it needs what is kept in reserve. */
static int64_t spacing(const xf_limit *l, int64_t cost)
{
    int64_t whole = lesser(price(l, cost), l->def.capacity);
    return lesser(whole - needed(l, cost), whole / XF_SPACING_PART) / l->def.gain;
}

/* `units` in credits, or the nearest that can be represented. */
static int64_t credits_of(const xf_limit *l, int64_t units)
{
    int64_t credits;
    if (__builtin_mul_overflow(units, l->def.unit, &credits)) {
        return units < 0 ? XF_MAX_DEBT : -XF_MAX_DEBT;
    }
    return credits < XF_MAX_DEBT ? XF_MAX_DEBT : credits > -XF_MAX_DEBT ? -XF_MAX_DEBT : credits;
}

static void refill(xf_limit *l, int64_t when)
{
    xf_bucket_refill(&l->bucket, refill_of(l), when);
}

static void move(xf_limit *l, int64_t credits)
{
    xf_bucket_move(&l->bucket, refill_of(l), credits);
}

/* ---- the trail ---- */

static void note(xf_limit *l)
{
    if (l->trail != NULL) {
        xf_trail_note(l->trail, l->bucket.at, l->bucket.level, l->bucket.level >= room(l));
    }
}

/* Starts the trail anew, since the past does not lead to the present level. */
static void forget(xf_limit *l)
{
    if (l->trail != NULL) {
        xf_trail_start(l->trail, l->bucket.at, l->bucket.level);
    }
}

/* ---- calls ---- */

double xf_limit_level(const xf_limit *l, int64_t now)
{
    int64_t level = xf_bucket_level(&l->bucket, refill_of(l), now);
    return (double)(level < room(l) ? level : room(l)) / (double)l->def.unit;
}

double xf_limit_rate(const xf_limit *l)
{
    return (double)l->def.gain * NS_PER_S / (double)l->def.unit;
}

int64_t xf_limit_ready(const xf_limit *l, int64_t cost, int64_t from)
{
    xf_refill refill = refill_of(l);
    int64_t next = cost > 0 ? l->pace.next : from, spaced = spacing(l, cost);
    if (spaced > 0) {
        int64_t full = xf_bucket_full(&l->bucket, refill) + spaced;
        next = next > full ? next : full;
    }
    return xf_bucket_ready(&l->bucket, refill, needed(l, cost), next > from ? next : from);
}

void xf_limit_take(xf_limit *l, int64_t cost, int64_t when)
{
    refill(l, when);
    note(l);
    xf_bucket_take(&l->bucket, price(l, cost));
    l->used += (uint64_t)cost;
    note(l);
}

void xf_limit_pace(xf_limit *l, const xf_pacing *pacing)
{
    double unit = (double)l->def.unit;
    l->pace = (xf_pace){
        .most = pacing->most * unit / NS_PER_S,
        .rate = (double)l->def.gain,
        .kept = pacing->kept * unit,
        .scale = pacing->scale * unit,
        .fits = pacing->fits,
        .full = (double)l->def.capacity,
        .burst = l->pace.burst,
        .faded = l->pace.faded,
        .until = pacing->until,
        .next = l->pace.next,
    };
}

void xf_limit_took(xf_limit *l, int64_t cost, double waiting, int64_t when)
{
    if (l->pace.most <= 0) {
        return;
    }
    double level = xf_limit_level(l, when) * (double)l->def.unit;
    const xf_spent spent = {(double)price(l, cost), level, waiting * (double)l->def.unit};
    xf_pace_took(&l->pace, &spent, when);
}

void xf_limit_adjust(xf_limit *l, int64_t units, int64_t now)
{
    l->used -= (uint64_t)units;
    if (now < l->bucket.at) {
        return; /* a cooldown runs: the provider has told the level at its end */
    }
    refill(l, now);
    note(l);
    move(l, credits_of(l, units));
    note(l);
}

void xf_limit_give_back(xf_limit *l, int64_t cost, int64_t now)
{
    xf_limit_adjust(l, cost, now);
    /* The call that took the due credits was the first: if others took after it, paid is 0. */
    xf_bucket_untake_due(&l->bucket, refill_of(l));
    note(l);
}

void xf_limit_reserve(xf_limit *l, int64_t margin, int64_t now)
{
    int64_t reserve;
    refill(l, now);
    if (__builtin_mul_overflow(margin, l->def.gain, &reserve) || reserve > l->def.capacity) {
        reserve = l->def.capacity;
    }
    l->reserve = reserve;
    move(l, 0);
    note(l);
}

bool xf_limit_refuse(xf_limit *l, int64_t cost, int64_t taken, int64_t now, int64_t until)
{
    int64_t wait = until - now, fill = l->def.capacity / l->def.gain;
    if (cost == 0 || (fill > MINUTES_NS && fill / WAITS > wait)) {
        return false;
    }
    xf_bucket_promise(&l->bucket, needed(l, cost), l->reserve, until);
    l->pace.next = 0;
    move(l, -credits_of(l, taken));
    forget(l);
    return true;
}

void xf_limit_amend(xf_limit *l, int64_t units, int64_t now)
{
    if (now < l->bucket.at) {
        move(l, credits_of(l, units));
        note(l);
    }
}

void xf_limit_follow(xf_limit *l, xf_trail *trail, int64_t now)
{
    refill(l, now);
    l->trail = trail;
    forget(l);
}

static void set(xf_limit *l, double units)
{
    double credits = units * (double)l->def.unit;
    credits = fmin(fmax(credits, (double)XF_MAX_DEBT), (double)XF_MAX_CREDITS);
    xf_bucket_set(&l->bucket, refill_of(l), (int64_t)credits);
    forget(l);
}

void xf_limit_lend(xf_limit *l, double units, int64_t from)
{
    l->bucket.at = from;
    l->bucket.due = l->bucket.paid = 0;
    set(l, units);
}

bool xf_limit_set_level(xf_limit *l, double units, int64_t now)
{
    if (now < l->bucket.at) {
        return false;
    }
    refill(l, now);
    set(l, units);
    return true;
}

void xf_limit_lower(xf_limit *l, int64_t left, int64_t used, int64_t at, int64_t now)
{
    if (now < l->bucket.at) {
        return;
    }
    refill(l, now);
    xf_wide gained = (xf_wide)l->def.gain * (now - at);
    xf_wide most = ((xf_wide)left - used) * l->def.unit + gained - l->reserve;
    if (most < l->bucket.level && l->bucket.level > 0) { /* no answer puts a bucket into debt */
        most = most > 0 ? most : 0;
        l->lowered += (double)(l->bucket.level - most) / (double)l->def.unit;
        l->bucket.level = (int64_t)most;
    }
}

void xf_limit_withhold(xf_limit *l, int64_t units, int64_t now)
{
    if (l->trail != NULL && now >= l->bucket.at) {
        xf_trail_withhold(l->trail, credits_of(l, units));
    }
}

void xf_limit_ascertain(xf_limit *l, const xf_ascertained *found, int64_t now)
{
    if (l->trail == NULL || now < l->bucket.at) {
        return;
    }
    refill(l, now);
    note(l);
    int64_t before = l->bucket.level, withheld = l->trail->withheld;
    int64_t all = credits_of(l, found->withheld), due = credits_of(l, found->due);
    int64_t returned = all > withheld ? all - withheld : 0;
    if (due > returned) {
        move(l, due - returned);
    }
    xf_trail_shift(l->trail, l->bucket.level - before);
    int64_t doubtful = credits_of(l, found->doubtful);
    l->trail->withheld = doubtful < withheld ? doubtful : withheld;
}

bool xf_limit_vouched(const xf_limit *l, int64_t cost, int64_t since)
{
    const xf_trail *t = l->trail;
    return t != NULL && t->told_of >= 0 && t->told_of >= since && t->told >= price(l, cost) &&
           t->told <= l->def.capacity; /* more was told of another bucket */
}

double xf_limit_told(xf_limit *l, const xf_remaining *left, int64_t now)
{
    xf_trail *trail = l->trail;
    int64_t least, most;
    if (trail == NULL) {
        return 0;
    }
    trail->told = (int64_t)fmin(left->units * (double)l->def.unit, (double)XF_MAX_CREDITS);
    trail->told_of = left->sent_at;
    if (now < l->bucket.at) {
        return 0;
    }
    refill(l, now);
    note(l);
    if (!xf_trail_range(trail, left->sent_at, left->answered_at, &least, &most)) {
        return 0;
    }
    /* Since the answer was made, the provider's level has moved as ours has. */
    double told = left->units * (double)l->def.unit - (double)l->reserve;
    double at_most =
        fmin(told + (double)(l->bucket.level - least), (double)xf_refill_full(refill_of(l)));
    double at_least = told - left->doubt * (double)l->def.unit + (double)(l->bucket.level - most);
    double level = (double)l->bucket.level, aim = level;
    if (level > at_most) {
        aim = fmax(at_most, fmin(level, 0)); /* no answer puts a bucket into debt */
    } else if (level < at_least) {
        aim = fmin(at_least, (double)xf_refill_full(refill_of(l)));
        double owed = (double)trail->lowered + (double)trail->withheld;
        aim = left->bounded ? fmin(aim, level + owed) : aim;
    }
    int64_t shift = (int64_t)nearbyint(aim - level);
    int64_t rise = xf_trail_rise(trail, shift, now);
    shift = shift > 0 ? rise : shift;
    move(l, shift);
    xf_trail_shift(trail, shift);
    return (double)shift / (double)l->def.unit;
}

void xf_limit_retune(xf_limit *l, const xf_definition *definition, int64_t now)
{
    refill(l, now);
    xf_wide level = (xf_wide)l->bucket.level * definition->unit / l->def.unit;
    l->def = *definition;
    l->reserve = 0;
    l->pace = (xf_pace){.next = l->pace.next};
    l->bucket.due = l->bucket.paid = 0;
    xf_bucket_set(&l->bucket, refill_of(l), level);
    forget(l);
}
