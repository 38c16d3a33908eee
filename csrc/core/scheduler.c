#include "core/admission.h"
#include "core/grouped.h"
#include "core/operation.h"
#include "core/saving.h"

/* ---- time and its causes ---- */

static int64_t *cause(xf_scheduler *s, int held_by)
{
    switch (held_by) {
    case XF_BY_NOTHING:
        return &s->counters.idle_ns;
    case XF_BY_SLOTS:
        return &s->counters.concurrency_ns;
    case XF_BY_COOLDOWN:
        return &s->counters.cooldown_ns;
    case XF_BY_SHARE:
        return &s->counters.share_ns;
    case XF_BY_PREFIX:
        return &s->counters.prefix_ns;
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

static bool is_head(const xf_scheduler *s, const xf_call *c)
{
    return xf_queue_head(&s->queue) == c;
}

/* Whether no call waits that may go. */
static bool is_empty(const xf_scheduler *s)
{
    return is_head(s, NULL);
}

static void leave_queue(xf_scheduler *s, xf_call *c)
{
    const xf_call *head = xf_queue_head(&s->queue);
    xf_queue_leave(&s->queue, c);
    s->changed |= head == NULL || !is_head(s, head);
}

/* Has `c` pass the gate, if it can by now and until `latest`. Then it has left the queue, if it was
   there. Returns when it can pass. */
static int64_t pass(xf_scheduler *s, xf_call *c, int64_t latest, uint32_t waiting, int *held_by)
{
    int64_t until = latest < s->now ? latest : s->now;
    const xf_turn turn = {.from = s->anchor, .until = until, .now = s->now, .waiting = waiting};
    uint32_t saved = 0;
    bool waits = c->state == XF_CALL_WAITING;
    int64_t at = xf_grouped_pass(s, c, &turn, &saved, held_by);
    if (c->state != XF_CALL_ADMITTED) {
        return at;
    }
    s->anchor = at;
    s->waited = c != s->arriving || (s->waited && at < s->now);
    s->admitted_at = s->now;
    if (waits) {
        leave_queue(s, c);
    }
    c->saved = saved;
    xf_queue_admitted(&s->queue, c, at);
    return at;
}

/* Bounds the time that is played back. */
static void catch_up(xf_scheduler *s)
{
    if (s->anchor < s->now - XF_CATCH_UP_NS) {
        s->anchor = s->now - XF_CATCH_UP_NS;
    }
}

/* Notes the arrival of `c`, which may go, in a queue in which no other call may. It starts the
   schedule anew. But if the last admission was just now, and was waited for, it continues the
   schedule: the same producer asks again. */
static void arrive(xf_scheduler *s, const xf_call *c)
{
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
    const xf_call *head = xf_queue_head(&s->queue);
    bool may_be_first = !xf_grouped_is_held(s, c) && head == NULL;
    xf_call_become(c, XF_CALL_WAITING);
    if (is_new) {
        xf_queue_enter(&s->queue, c);
    } else {
        xf_queue_return(&s->queue, c);
    }
    if (may_be_first && is_head(s, c)) {
        arrive(s, c);
    }
    s->changed |= head == NULL || !is_head(s, head);
}

static void forget(xf_scheduler *s, xf_call *c, xf_state state)
{
    if (c->grouped) {
        xf_grouped_leave(s, c, xf_queue_group(&s->queue, c));
    }
    xf_call_become(c, state);
    s->live--;
    xf_queue_shrink(&s->queue, s->live, &s->alloc);
}

/* A deadline has come. */
static void expire(xf_scheduler *s, xf_call *c, int64_t deadline)
{
    if (is_head(s, c) && s->anchor < deadline) {
        s->anchor = deadline; /* until then that call stood in the way */
    }
    leave_queue(s, c);
    forget(s, c, XF_CALL_EXPIRED);
    s->counters.expired++;
    xf_list_append(&s->outbox, c);
}

/* Plays the queue up to s->now: admits in order what can be admitted, changes the groups that time
   changes, and expires what is overdue. Ends when the head can only pass later, and knows when. */
static void advance(xf_scheduler *s)
{
    int64_t now = s->now, first_deadline, change;
    xf_first_deadline(s, &first_deadline);
    xf_queue_first_change(&s->queue, &change);
    if (!s->changed && now < s->head_at && now < first_deadline && now < change) {
        return;
    }
    if (s->queue.size > 0) {
        catch_up(s);
    }
    s->head_at = XF_NEVER;
    int held_by = XF_BY_NOTHING;
    for (;;) {
        xf_call *head = xf_queue_head(&s->queue);
        xf_queue_first_change(&s->queue, &change);
        int64_t at = XF_NEVER;
        held_by = s->queue.size > 0 ? XF_BY_PREFIX : XF_BY_NOTHING;
        if (head != NULL) {
            int64_t latest = head->deadline < change ? head->deadline : change;
            at = pass(s, head, latest, s->queue.size - 1, &held_by);
            if (head->state == XF_CALL_ADMITTED) {
                xf_list_append(&s->outbox, head);
                continue;
            }
        }
        xf_call *overdue = xf_first_deadline(s, &first_deadline);
        if (change <= now && change <= first_deadline) {
            xf_grouped_change(s, change);
        } else if (first_deadline <= now) {
            bool head_too = head != NULL && head->deadline == first_deadline;
            expire(s, head_too ? head : overdue, first_deadline); /* the next one may pass then */
        } else {
            s->head_at = at;
            break;
        }
    }
    if (is_empty(s)) {
        xf_gate_leave(&s->gate, now);
    }
    s->changed = false;
    blame(s, held_by);
}

int64_t xf_begin(xf_scheduler *s, int64_t now)
{
    xf_poll(s, now);
    if (!is_empty(s)) {
        s->anchor = s->now;
    }
    return s->now;
}

void xf_look_again(xf_scheduler *s)
{
    s->changed = true;
    advance(s);
}

void xf_slots_free(xf_scheduler *s)
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
    xf_slots_free(s);
    xf_gate_revoke(&s->gate, c, s->now);
    xf_saving_return(&s->gate, c, c->saved);
    c->saved = 0;
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
    if (!xf_queue_make_room(&s->queue, c, priority, deadline, s->live + 1, &s->alloc)) {
        return false;
    }
    s->live++;
    now = xf_begin(s, now);
    xf_queue_number(&s->queue, c); /* it is not of the turns that have begun by now */
    if (s->counters.first_ns < 0) {
        s->counters.first_ns = s->held_since = now;
    }
    s->counters.submitted++;
    if (is_empty(s) && !xf_grouped_is_held(s, c) && xf_queue_is_first(&s->queue, c)) {
        int held_by;
        arrive(s, c);
        (void)pass(s, c, deadline, s->queue.size, &held_by);
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
    xf_begin(s, now);
    revoke(s, c);
    xf_grouped_lost(s, c, false);
    enter_queue(s, c);
    advance(s);
}

/* Returns the slot of an attempt that another one will follow. */
static void end_attempt(xf_scheduler *s, xf_call *c)
{
    xf_slots_free(s);
    xf_gate_land(&s->gate, c, s->now);
    xf_grouped_lost(s, c, !c->refused);
    c->deadline = XF_NEVER;
    c->repeated = true;
    xf_call_become(c, XF_CALL_RESTING);
}

void xf_rest(xf_scheduler *s, xf_call *c, int64_t now)
{
    xf_begin(s, now);
    end_attempt(s, c);
    advance(s);
}

void xf_retry(xf_scheduler *s, xf_call *c, int64_t now)
{
    xf_begin(s, now);
    if (c->state == XF_CALL_IN_FLIGHT) {
        end_attempt(s, c);
    }
    s->counters.retries++;
    enter_queue(s, c);
    advance(s);
}

void xf_finish(xf_scheduler *s, xf_call *c, xf_outcome outcome, int64_t now)
{
    xf_begin(s, now);
    switch (c->state) {
    case XF_CALL_WAITING:
        leave_queue(s, c);
        break;
    case XF_CALL_ADMITTED:
        revoke(s, c);
        xf_grouped_lost(s, c, false);
        break;
    case XF_CALL_IN_FLIGHT:
        xf_slots_free(s);
        xf_gate_land(&s->gate, c, s->now);
        if (outcome == XF_SUCCEEDED) {
            xf_gate_accepted(&s->gate, c, s->now);
            xf_grouped_warmed(s, c);
        } else {
            xf_grouped_lost(s, c, !c->refused);
        }
        break;
    case XF_CALL_RESTING:
        break;
    case XF_CALL_EXPIRED:
        take_from_outbox(s, c);
        xf_call_become(c, XF_CALL_DONE);
        return;
    case XF_CALL_NEW:
        if (c->grouped) {
            xf_grouped_leave(s, c, s->queue.groups.known[c->flow]);
        }
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
