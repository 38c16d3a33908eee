#include "core/scheduler.h"

#include "core/internal.h"

enum { SEQUENCE_BITS = 48 };

/* ---- time and what it was spent on ---- */

static int64_t *cause(xf_scheduler *s, int held_by)
{
    switch (held_by) {
    case XF_BY_NOTHING:
        return &s->counters.idle_ns;
    case XF_BY_SLOTS:
        return &s->counters.no_slot_ns;
    case XF_BY_COOLDOWN:
        return &s->counters.cooldown_ns;
    default:
        return &s->limits[held_by].held_ns;
    }
}

/* From s->now on it is `held_by` that holds the head back. */
static void blame(xf_scheduler *s, int held_by)
{
    if (held_by != s->held_by) {
        xf_account(s, s->now);
        s->held_by = held_by;
    }
}

/* Moves the scheduler's time; a clock that runs backward stands still. */
static int64_t tick(xf_scheduler *s, int64_t now)
{
    if (now > s->now) {
        s->now = now;
    }
    return s->now;
}

/* ---- the outbox ---- */

static void post(xf_scheduler *s, xf_call *c)
{
    c->next = NULL;
    c->previous = s->outbox_end;
    *s->outbox_end = c;
    s->outbox_end = &c->next;
}

static void unpost(xf_scheduler *s, xf_call *c)
{
    if (c->previous == NULL) {
        return;
    }
    *c->previous = c->next;
    if (c->next != NULL) {
        c->next->previous = c->previous;
    } else {
        s->outbox_end = c->previous;
    }
    c->next = NULL;
    c->previous = NULL;
}

/* ---- the calls in flight ---- */

static void take_off(xf_scheduler *s, xf_call *c)
{
    c->next = NULL;
    c->previous = s->flying_end;
    *s->flying_end = c;
    s->flying_end = &c->next;
    c->crowd = ++s->n_flying;
}

static void land(xf_scheduler *s, xf_call *c)
{
    *c->previous = c->next;
    if (c->next != NULL) {
        c->next->previous = c->previous;
    } else {
        s->flying_end = c->previous;
    }
    c->next = NULL;
    c->previous = NULL;
    c->crowd = 0;
    s->n_flying--;
}

/* ---- admission ---- */

/* The instant, not before the anchor, at which `c` would be admitted if it were the head, and
   what makes it wait until then. */
static int64_t passes_at(const xf_scheduler *s, const xf_call *c, int *held_by)
{
    int64_t at = s->anchor;
    *held_by = XF_BY_NOTHING;
    if (s->in_use >= s->slots) {
        *held_by = XF_BY_SLOTS;
        return XF_NEVER;
    }
    if (s->cooldown.until > at) {
        at = s->cooldown.until;
        *held_by = XF_BY_COOLDOWN;
    }
    int64_t tried = xf_outage_ready(&s->outage, at);
    if (tried > at) {
        at = tried;
        *held_by = XF_BY_COOLDOWN;
    }
    for (uint32_t i = 0; i < s->n_limits; i++) {
        int64_t ready = xf_limit_ready(&s->limits[i], c->held[i], at);
        if (ready > at) {
            at = ready;
            *held_by = (int)i;
        }
    }
    return at;
}

static void admit(xf_scheduler *s, xf_call *c, int64_t at)
{
    for (uint32_t i = 0; i < s->n_limits; i++) {
        xf_limit_take(&s->limits[i], c->held[i], at);
    }
    xf_outage_admitted(&s->outage, at);
    s->in_use++;
    s->anchor = at;
    s->waited = c != s->arriving || (s->waited && at < s->now);
    s->admitted_at = s->now;
    s->counters.admitted++;
    c->resets = (uint16_t)s->resets;
    c->state = XF_ADMITTED;
}

static bool is_head(const xf_call *c)
{
    return c->queue_place == 1;
}

static void leave_queue(xf_scheduler *s, xf_call *c)
{
    s->changed |= is_head(c);
    xf_heap_remove(&s->queue, c);
    if (c->deadline_place != 0) {
        xf_heap_remove(&s->deadlines, c);
    }
}

/* Bounds what lateness gives back. */
static void catch_up(xf_scheduler *s)
{
    if (s->anchor < s->now - XF_CATCH_UP_NS) {
        s->anchor = s->now - XF_CATCH_UP_NS;
    }
}

/* `c` arrives. In an empty queue it starts the schedule anew; but if the last admission was waited
   for, and was just now, it continues it: this is the next call of who waited. */
static void arrive(xf_scheduler *s, const xf_call *c)
{
    if (s->queue.size > 0) {
        return;
    }
    bool goes_on = s->waited && s->admitted_at >= s->now - XF_CATCH_UP_NS;
    if (!goes_on && s->anchor < s->now) {
        s->anchor = s->now;
    }
    catch_up(s);
    s->arriving = c;
}

static void enter_queue(xf_scheduler *s, xf_call *c)
{
    arrive(s, c);
    c->state = XF_WAITING;
    xf_heap_push(&s->queue, c->order, c);
    if (c->deadline != XF_NEVER) {
        xf_heap_push(&s->deadlines, (uint64_t)c->deadline, c);
    }
    s->changed |= is_head(c);
}

static void forget(xf_scheduler *s, xf_call *c, xf_state state)
{
    c->state = state;
    s->live--;
    xf_heap_shrink(&s->queue, s->live, &s->alloc);
    xf_heap_shrink(&s->deadlines, s->live, &s->alloc);
}

/* Plays the queue up to s->now: admits in order what can be admitted, then expires what is
   overdue. Ends when the head can only pass later, and knows when. */
static void advance(xf_scheduler *s)
{
    int64_t now = s->now, first_deadline;
    xf_first_deadline(s, &first_deadline);
    if (!s->changed && now < s->head_at && now < first_deadline) {
        return;
    }
    if (s->queue.size > 0) {
        catch_up(s);
    }
    s->head_at = XF_NEVER;
    int held_by = XF_BY_NOTHING;
    while (s->queue.size > 0) {
        xf_call *head = xf_heap_top(&s->queue)->item;
        int64_t at = passes_at(s, head, &held_by);
        if (at <= now && at <= head->deadline) {
            leave_queue(s, head);
            admit(s, head, at);
            post(s, head);
            held_by = XF_BY_NOTHING;
            continue;
        }
        xf_call *overdue = xf_first_deadline(s, &first_deadline);
        if (overdue == NULL || first_deadline > now) {
            s->head_at = at;
            break;
        }
        if (overdue == head && s->anchor < first_deadline) {
            s->anchor = first_deadline; /* until then it stood in the way */
        }
        leave_queue(s, overdue);
        forget(s, overdue, XF_EXPIRED);
        s->counters.expired++;
        post(s, overdue);
    }
    s->changed = false;
    blame(s, s->queue.size > 0 ? held_by : XF_BY_NOTHING);
}

int64_t xf_begin(xf_scheduler *s, int64_t now)
{
    tick(s, now);
    s->arriving = NULL;
    advance(s);
    if (s->queue.size > 0) {
        s->anchor = s->now;
    }
    return s->now;
}

void xf_look_again(xf_scheduler *s)
{
    s->changed = true;
    advance(s);
}

/* A slot is free from now on; nobody could have had it earlier. */
static void release_slot(xf_scheduler *s)
{
    if (s->in_use >= s->slots) {
        s->anchor = s->now;
    }
    s->in_use--;
    s->changed = true;
}

/* Takes an admission back that did not lead to a dispatch. A level that was set since is not what
   was paid from. */
static void revoke(xf_scheduler *s, xf_call *c)
{
    uint32_t since = (uint16_t)(s->resets - c->resets);
    unpost(s, c);
    for (uint32_t i = 0; i < s->n_limits; i++) {
        xf_limit *l = &s->limits[i];
        if (s->resets - l->reset < since) {
            l->used -= (uint64_t)c->held[i];
        } else {
            xf_limit_give_back(l, c->held[i], s->now);
        }
    }
    if (since == 0) {
        xf_outage_revoked(&s->outage, s->now);
    }
    s->counters.admitted--;
    release_slot(s);
}

/* ---- the operations ---- */

bool xf_scheduler_init(xf_scheduler *s, const xf_definition *limits, uint32_t n, uint32_t slots,
                       const xf_alloc *alloc)
{
    *s = (xf_scheduler){
        .alloc = *alloc,
        .n_limits = n,
        .slots = slots,
        .counters.first_ns = -1,
        .head_at = XF_NEVER,
        .admitted_at = -XF_CATCH_UP_NS, /* long before any instant */
        .held_by = XF_BY_NOTHING,
    };
    s->outbox_end = &s->outbox;
    s->flying_end = &s->flying;
    xf_heap_init(&s->queue, offsetof(xf_call, queue_place));
    xf_heap_init(&s->deadlines, offsetof(xf_call, deadline_place));
    if (n > 0) {
        s->limits = alloc->realloc(alloc->ctx, NULL, n * sizeof(xf_limit));
        if (s->limits == NULL) {
            return false;
        }
        for (uint32_t i = 0; i < n; i++) {
            xf_limit_init(&s->limits[i], &limits[i]);
        }
    }
    return true;
}

/* The trails of all limits are one block, which the first one's begins. */
static void free_trails(xf_scheduler *s)
{
    if (s->n_limits > 0 && s->limits[0].trail != NULL) {
        s->alloc.realloc(s->alloc.ctx, s->limits[0].trail, 0);
    }
}

void xf_scheduler_free(xf_scheduler *s)
{
    xf_heap_free(&s->queue, &s->alloc);
    xf_heap_free(&s->deadlines, &s->alloc);
    if (s->limits != NULL) {
        free_trails(s);
        s->alloc.realloc(s->alloc.ctx, s->limits, 0);
        s->limits = NULL;
    }
}

size_t xf_call_size(const xf_scheduler *s)
{
    return sizeof(xf_call) + s->n_limits * sizeof(int64_t);
}

bool xf_submit(xf_scheduler *s, xf_call *c, int priority, int64_t deadline, int64_t now)
{
    /* Room for every live call, so that no retry can ever fail for want of memory. */
    if (!xf_heap_reserve(&s->queue, s->live + 1, &s->alloc) ||
        (deadline != XF_NEVER && !xf_heap_reserve(&s->deadlines, s->live + 1, &s->alloc))) {
        return false;
    }
    now = xf_begin(s, now);
    if (s->counters.first_ns < 0) {
        s->counters.first_ns = s->held_since = now;
    }
    c->order = (uint64_t)(XF_MAX_PRIORITY - priority) << SEQUENCE_BITS | s->next_sequence++;
    c->deadline = deadline;
    s->live++;
    s->counters.submitted++;
    if (s->queue.size == 0) {
        int held_by;
        arrive(s, c);
        int64_t at = passes_at(s, c, &held_by);
        if (at <= now && at <= deadline) {
            admit(s, c, at);
            return true;
        }
    }
    enter_queue(s, c);
    advance(s);
    return true;
}

bool xf_dispatch(xf_scheduler *s, xf_call *c)
{
    if (c->resets != (uint16_t)s->resets || s->cooldown.until > s->now) {
        return false;
    }
    unpost(s, c); /* it need not have been collected */
    c->state = XF_IN_FLIGHT;
    c->generation = s->cooldown.generation;
    c->repeated = c->refused = c->foreseen = false;
    c->dispatched_at = s->now; /* instead of the deadline, which it has kept */
    take_off(s, c);
    return true;
}

void xf_put_back(xf_scheduler *s, xf_call *c, int64_t now)
{
    xf_begin(s, now);
    revoke(s, c);
    enter_queue(s, c);
    advance(s);
}

void xf_retry(xf_scheduler *s, xf_call *c, int64_t now)
{
    xf_begin(s, now);
    land(s, c);
    c->deadline = XF_NEVER;
    c->repeated = true;
    release_slot(s);
    s->counters.retries++;
    enter_queue(s, c);
    advance(s);
}

void xf_finish(xf_scheduler *s, xf_call *c, xf_outcome outcome, int64_t now)
{
    xf_begin(s, now);
    switch (c->state) {
    case XF_WAITING:
        leave_queue(s, c);
        break;
    case XF_ADMITTED:
        revoke(s, c);
        break;
    case XF_IN_FLIGHT:
        land(s, c);
        release_slot(s);
        if (outcome == XF_SUCCEEDED) {
            xf_accepted(s, c);
        }
        break;
    case XF_EXPIRED:
        unpost(s, c);
        c->state = XF_DONE;
        return;
    default:
        return;
    }
    s->counters.succeeded += outcome == XF_SUCCEEDED;
    s->counters.failed += outcome == XF_FAILED;
    s->counters.cancelled += outcome == XF_CANCELLED;
    forget(s, c, XF_DONE);
    advance(s);
}

void xf_settle(xf_scheduler *s, xf_call *c, uint32_t i, int64_t actual, int64_t now)
{
    xf_limit *l = &s->limits[i];
    int64_t less = c->held[i] - actual;
    if (less == 0 || c->repeated) {
        return;
    }
    now = xf_begin(s, now);
    xf_limit_adjust(l, less, now);
    if (c->foreseen && c->state == XF_IN_FLIGHT) {
        xf_limit_amend(l, less, now);
    }
    if (less > 0) {
        l->refunded += (uint64_t)less;
    } else {
        l->charged += (uint64_t)-less;
    }
    c->held[i] = actual;
    c->priced &= actual > 0; /* what a call that fails reports is not what it needs */
    xf_look_again(s);
}

void xf_retune(xf_scheduler *s, uint32_t i, const xf_definition *definition, int64_t now)
{
    now = xf_begin(s, now);
    xf_limit_retune(&s->limits[i], definition, now);
    xf_limit_reserve(&s->limits[i], s->margin.ns, now);
    xf_look_again(s);
}

void xf_set_slots(xf_scheduler *s, uint32_t slots, int64_t now)
{
    now = xf_begin(s, now);
    if (s->in_use >= s->slots) {
        s->anchor = now;
    }
    s->slots = slots;
    xf_look_again(s);
}

void xf_poll(xf_scheduler *s, int64_t now)
{
    tick(s, now);
    s->arriving = NULL;
    advance(s);
}

xf_call *xf_collect(xf_scheduler *s)
{
    xf_call *c = s->outbox;
    if (c != NULL) {
        unpost(s, c);
    }
    return c;
}

xf_call *xf_head(const xf_scheduler *s, int64_t *at)
{
    *at = s->head_at;
    return s->queue.size ? xf_heap_top(&s->queue)->item : NULL;
}

xf_call *xf_first_deadline(const xf_scheduler *s, int64_t *at)
{
    const xf_heap_entry *top = xf_heap_top(&s->deadlines);
    *at = top ? (int64_t)top->key : XF_NEVER;
    return top ? top->item : NULL;
}

void xf_account(xf_scheduler *s, int64_t now)
{
    now = tick(s, now);
    if (s->counters.first_ns < 0) {
        return;
    }
    *cause(s, s->held_by) += now - s->held_since;
    s->held_since = now;
}
