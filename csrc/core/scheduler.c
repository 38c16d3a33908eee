#include "core/scheduler.h"

/* ---- time and its causes ---- */

static int64_t *cause(xf_scheduler *s, int held_by)
{
    switch (held_by) {
    case XF_BY_NOTHING:
        return &s->counters.idle_ns;
    case XF_BY_SLOTS:
        return &s->counters.no_slot_ns;
    case XF_BY_COOLDOWN:
        return &s->counters.cooldown_ns;
    case XF_BY_SHARE:
        return &s->counters.share_ns;
    default:
        return &s->gate.limits[held_by].held_ns;
    }
}

/* Notes that `held_by` holds the head back from s->now on. */
static void blame(xf_scheduler *s, int held_by)
{
    if (held_by != s->held_by) {
        xf_account(s, s->now);
        s->held_by = held_by;
    }
}

/* Moves the scheduler's time. A clock that runs backward counts as standing still. */
static int64_t tick(xf_scheduler *s, int64_t now)
{
    if (now > s->now) {
        s->now = now;
    }
    return s->now;
}

/* ---- admission ---- */

/* Has `c` pass the gate, if it can by now and within its deadline; returns when it can. */
static int64_t pass(xf_scheduler *s, xf_call *c, int64_t deadline, uint32_t waiting, int *held_by)
{
    int64_t until = deadline < s->now ? deadline : s->now;
    const xf_turn turn = {.from = s->anchor, .until = until, .now = s->now, .waiting = waiting};
    int64_t at = xf_gate_pass(&s->gate, c, &turn, held_by);
    if (at <= until) {
        s->anchor = at;
        s->waited = c != s->arriving || (s->waited && at < s->now);
        s->admitted_at = s->now;
    }
    return at;
}

static bool is_head(const xf_scheduler *s, const xf_call *c)
{
    return xf_queue_head(&s->queue) == c;
}

static void leave_queue(xf_scheduler *s, xf_call *c)
{
    s->changed |= is_head(s, c);
    xf_queue_leave(&s->queue, c);
}

/* Bounds the time that is played back. */
static void catch_up(xf_scheduler *s)
{
    if (s->anchor < s->now - XF_CATCH_UP_NS) {
        s->anchor = s->now - XF_CATCH_UP_NS;
    }
}

/* Notes the arrival of `c`. In an empty queue it starts the schedule anew. But if the last
   admission was just now, and was waited for, it continues the schedule: the same producer asks
   again. */
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
    bool is_new = c->state == XF_CALL_NEW;
    arrive(s, c);
    xf_call_become(c, XF_CALL_WAITING);
    if (is_new) {
        xf_queue_enter(&s->queue, c);
    } else {
        xf_queue_return(&s->queue, c);
    }
    s->changed |= is_head(s, c);
}

static void forget(xf_scheduler *s, xf_call *c, xf_state state)
{
    xf_call_become(c, state);
    s->live--;
    xf_queue_shrink(&s->queue, s->live, &s->alloc);
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
    for (xf_call *head; (head = xf_queue_head(&s->queue)) != NULL;) {
        int64_t at = pass(s, head, head->deadline, s->queue.size - 1, &held_by);
        if (head->state == XF_CALL_ADMITTED) {
            leave_queue(s, head);
            xf_list_append(&s->outbox, head);
            held_by = XF_BY_NOTHING;
            continue;
        }
        xf_call *overdue = xf_first_deadline(s, &first_deadline);
        if (overdue == NULL || first_deadline > now) {
            s->head_at = at;
            break;
        }
        if (overdue == head && s->anchor < first_deadline) {
            s->anchor = first_deadline; /* until then that call stood in the way */
        }
        leave_queue(s, overdue);
        forget(s, overdue, XF_CALL_EXPIRED);
        s->counters.expired++;
        xf_list_append(&s->outbox, overdue);
    }
    if (s->queue.size == 0) {
        xf_gate_leave(&s->gate, now);
    }
    s->changed = false;
    blame(s, s->queue.size > 0 ? held_by : XF_BY_NOTHING);
}

/* Begins an operation. Only the passing of time is played back: what the operation changes for
   calls that have waited until now, it changes from now on. Returns the scheduler's now. */
static int64_t begin(xf_scheduler *s, int64_t now)
{
    xf_poll(s, now);
    if (s->queue.size > 0) {
        s->anchor = s->now;
    }
    return s->now;
}

/* Ends an operation that may have changed the moment at which the head passes. */
static void look_again(xf_scheduler *s)
{
    s->changed = true;
    advance(s);
}

/* Slots become free now, so no call could have had them earlier. */
static void slots_free_from_now(xf_scheduler *s)
{
    if (xf_gate_is_full(&s->gate)) {
        s->anchor = s->now;
    }
    s->changed = true;
}

/* Takes `c` out of the outbox, if it has not been collected. */
static void take_from_outbox(xf_scheduler *s, xf_call *c)
{
    if (xf_list_has(&s->outbox, c)) {
        xf_list_remove(&s->outbox, c);
    }
}

/* Revokes an admission that did not lead to a dispatch. */
static void revoke(xf_scheduler *s, xf_call *c)
{
    take_from_outbox(s, c);
    slots_free_from_now(s);
    xf_gate_revoke(&s->gate, c, s->now);
}

/* ---- operations ---- */

bool xf_scheduler_init(xf_scheduler *s, const xf_definition *limits, uint32_t n, uint32_t slots,
                       const xf_alloc *alloc)
{
    *s = (xf_scheduler){
        .alloc = *alloc,
        .counters.first_ns = -1,
        .head_at = XF_NEVER,
        .admitted_at = -XF_CATCH_UP_NS, /* long before any instant */
        .held_by = XF_BY_NOTHING,
    };
    xf_queue_init(&s->queue);
    return xf_gate_init(&s->gate, limits, n, slots, alloc);
}

void xf_scheduler_free(xf_scheduler *s)
{
    xf_queue_free(&s->queue, &s->alloc);
    xf_gate_free(&s->gate, &s->alloc);
}

size_t xf_call_size(const xf_scheduler *s)
{
    return sizeof(xf_call) + s->gate.n_limits * sizeof(int64_t);
}

bool xf_submit(xf_scheduler *s, xf_call *c, int priority, int64_t deadline, int64_t now)
{
    /* Room for every live call, so that no retry can ever fail for lack of memory. */
    if (!xf_queue_number(&s->queue, c, priority, deadline, s->live + 1, &s->alloc)) {
        return false;
    }
    now = begin(s, now);
    if (s->counters.first_ns < 0) {
        s->counters.first_ns = s->held_since = now;
    }
    s->live++;
    s->counters.submitted++;
    if (s->queue.size == 0) {
        int held_by;
        arrive(s, c);
        (void)pass(s, c, deadline, 0, &held_by);
        if (c->state == XF_CALL_ADMITTED) {
            return true;
        }
    }
    enter_queue(s, c);
    advance(s);
    return true;
}

bool xf_dispatch(xf_scheduler *s, xf_call *c)
{
    if (!xf_gate_may_dispatch(&s->gate, c, s->now)) {
        return false;
    }
    take_from_outbox(s, c);
    xf_gate_dispatch(&s->gate, c, s->now);
    return true;
}

void xf_put_back(xf_scheduler *s, xf_call *c, int64_t now)
{
    begin(s, now);
    revoke(s, c);
    enter_queue(s, c);
    advance(s);
}

/* Returns the slot of an attempt that another one will follow. */
static void end_attempt(xf_scheduler *s, xf_call *c)
{
    slots_free_from_now(s);
    xf_gate_land(&s->gate, c, s->now);
    c->deadline = XF_NEVER;
    c->repeated = true;
    xf_call_become(c, XF_CALL_RESTING);
}

void xf_rest(xf_scheduler *s, xf_call *c, int64_t now)
{
    begin(s, now);
    end_attempt(s, c);
    advance(s);
}

void xf_retry(xf_scheduler *s, xf_call *c, int64_t now)
{
    begin(s, now);
    if (c->state == XF_CALL_IN_FLIGHT) {
        end_attempt(s, c);
    }
    s->counters.retries++;
    enter_queue(s, c);
    advance(s);
}

void xf_finish(xf_scheduler *s, xf_call *c, xf_outcome outcome, int64_t now)
{
    begin(s, now);
    switch (c->state) {
    case XF_CALL_WAITING:
        leave_queue(s, c);
        break;
    case XF_CALL_ADMITTED:
        revoke(s, c);
        break;
    case XF_CALL_IN_FLIGHT:
        slots_free_from_now(s);
        xf_gate_land(&s->gate, c, s->now);
        if (outcome == XF_SUCCEEDED) {
            xf_gate_accepted(&s->gate, c, s->now);
        }
        break;
    case XF_CALL_RESTING:
        break;
    case XF_CALL_EXPIRED:
        take_from_outbox(s, c);
        xf_call_become(c, XF_CALL_DONE);
        return;
    default:
        return;
    }
    s->counters.succeeded += outcome == XF_SUCCEEDED;
    s->counters.failed += outcome == XF_FAILED;
    s->counters.cancelled += outcome == XF_CANCELLED;
    forget(s, c, XF_CALL_DONE);
    advance(s);
}

void xf_settle(xf_scheduler *s, xf_call *c, uint32_t i, int64_t actual, int64_t now)
{
    if (c->held[i] == actual || c->repeated) {
        return;
    }
    xf_gate_settle(&s->gate, c, i, actual, begin(s, now));
    look_again(s);
}

void xf_retune(xf_scheduler *s, uint32_t i, const xf_definition *definition, int64_t now)
{
    xf_gate_retune(&s->gate, i, definition, begin(s, now));
    look_again(s);
}

void xf_set_slots(xf_scheduler *s, uint32_t slots, int64_t now)
{
    begin(s, now);
    slots_free_from_now(s);
    xf_gate_set_slots(&s->gate, slots, s->now);
    look_again(s);
}

void xf_let_in(xf_scheduler *s, uint32_t n, int64_t now)
{
    begin(s, now);
    slots_free_from_now(s);
    xf_gate_let_in(&s->gate, n);
    look_again(s);
}

void xf_ramp_up(xf_scheduler *s, int64_t now)
{
    begin(s, now);
    slots_free_from_now(s);
    xf_gate_ramp_up(&s->gate);
    look_again(s);
}

/* ---- answers of the provider ---- */

int64_t xf_refused(xf_scheduler *s, xf_call *c, const xf_backoff *b, int64_t now)
{
    int64_t until = xf_gate_refused(&s->gate, c, b, begin(s, now));
    look_again(s);
    return until;
}

int64_t xf_failed(xf_scheduler *s, const xf_call *c, const xf_backoff *b, int64_t now)
{
    int64_t until = xf_gate_failed(&s->gate, c, b, begin(s, now));
    look_again(s);
    return until;
}

bool xf_follow(xf_scheduler *s, int64_t now)
{
    return xf_gate_follow(&s->gate, &s->alloc, begin(s, now));
}

double xf_told(xf_scheduler *s, uint32_t i, const xf_remaining *left, int64_t now)
{
    double moved = xf_gate_told(&s->gate, i, left, begin(s, now));
    look_again(s);
    return moved;
}

double xf_doubt(const xf_scheduler *s, uint32_t i, const xf_call *c, bool late)
{
    return late ? (double)xf_gate_held_since(&s->gate, i, -1, NULL, s->now)
                : xf_gate_cost(&s->gate, c, i);
}

void xf_replace(xf_scheduler *s, uint32_t i, const xf_definition *definition,
                const xf_remaining *left, const xf_call *c, int64_t now)
{
    xf_gate_replace(&s->gate, i, definition, left, c, begin(s, now));
    look_again(s);
}

void xf_withhold(xf_scheduler *s, uint32_t i, int64_t units)
{
    xf_limit_withhold(&s->gate.limits[i], units, s->now);
}

void xf_ascertain(xf_scheduler *s, uint32_t i, const xf_ascertained *found)
{
    xf_limit_ascertain(&s->gate.limits[i], found, s->now);
    look_again(s);
}

void xf_shut(xf_scheduler *s, uint32_t i, int64_t until, int64_t now)
{
    xf_gate_shut(&s->gate, i, until, begin(s, now));
    look_again(s);
}

void xf_set_pace(xf_scheduler *s, uint32_t i, const xf_pacing *pacing, int64_t now)
{
    xf_gate_pace(&s->gate, i, pacing, begin(s, now));
    look_again(s);
}

void xf_set_level(xf_scheduler *s, uint32_t i, double units, int64_t now)
{
    xf_gate_set_level(&s->gate, i, units, begin(s, now));
    look_again(s);
}

/* ---- time ---- */

void xf_poll(xf_scheduler *s, int64_t now)
{
    tick(s, now);
    s->arriving = NULL;
    advance(s);
}

void xf_look(xf_scheduler *s, int64_t now)
{
    s->changed = true;
    xf_poll(s, now);
}

xf_call *xf_collect(xf_scheduler *s)
{
    xf_call *c = s->outbox.first;
    if (c != NULL) {
        xf_list_remove(&s->outbox, c);
    }
    return c;
}

xf_call *xf_head(const xf_scheduler *s, int64_t *at)
{
    *at = s->head_at;
    return xf_queue_head(&s->queue);
}

xf_call *xf_first_deadline(const xf_scheduler *s, int64_t *at)
{
    return xf_queue_first_deadline(&s->queue, at);
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
