/* The core for ctypes: opaque handles and plain numbers, so that it is the compiler that knows the
 * layouts. Only what the core's own functions do not already offer. */
#include <stdlib.h>
#include <string.h>

#include "core/scheduler.h"
#include "core/share.h"

static void *plain_realloc(void *context, void *block, size_t size)
{
    (void)context;
    if (size == 0) {
        free(block);
        return NULL;
    }
    return realloc(block, size);
}

xf_definition *handle_definition(double amount, double period, double capacity)
{
    xf_definition *d = malloc(sizeof(*d));
    if (d != NULL && !xf_define(d, amount, period, capacity)) {
        free(d);
        return NULL;
    }
    return d;
}

xf_scheduler *handle_scheduler(xf_definition *const *limits, uint32_t n, uint32_t slots)
{
    const xf_alloc alloc = {plain_realloc, NULL};
    xf_scheduler *s = malloc(sizeof(*s));
    xf_definition *row = malloc((n + 1) * sizeof(*row));
    for (uint32_t i = 0; row != NULL && i < n; i++) {
        row[i] = *limits[i];
    }
    if (s == NULL || row == NULL || !xf_scheduler_init(s, row, n, slots, &alloc)) {
        free(s);
        s = NULL;
    }
    if (s != NULL && n > 0) {
        s->gate.limits[0].counts_input = true; /* the others do not */
    }
    free(row);
    return s;
}

void handle_scheduler_free(xf_scheduler *s)
{
    free(s->gate.share);
    xf_scheduler_free(s);
    free(s);
}

/* Memory for a share, of zeros. */
void *handle_share_memory(void)
{
    return calloc(1, xf_snapshot_size());
}

bool handle_join(xf_scheduler *s, void *memory, uint32_t seat, int64_t now)
{
    xf_share *share = malloc(sizeof(*share));
    const xf_joining joining = {.seat = seat};
    bool joined = share != NULL && xf_share_join(&s->gate, share, memory, &joining, now);
    if (!joined) {
        free(share);
    }
    return joined;
}

void handle_bury(xf_scheduler *s, uint32_t seat, int64_t now)
{
    xf_share_bury(&s->gate, seat, now);
}

/* Learns one limit, and as many bytes of a belief. */
bool handle_learn(xf_scheduler *s, uint64_t version, uint32_t limit, const xf_definition *d,
                  const double *level, const char *belief, size_t n, int64_t now)
{
    const xf_lesson lesson = {limit, level != NULL, *d, level != NULL ? *level : 0};
    bool done = xf_share_learn(&s->gate, version, &lesson, 1, belief, n, now);
    xf_look(s, now);
    return done;
}

void handle_lower(xf_scheduler *s, uint32_t i, int64_t left, int64_t used, int64_t at, int64_t now)
{
    xf_share_lower(&s->gate, i, left, used, at, now);
    xf_look(s, now);
}

uint64_t handle_version(const xf_scheduler *s)
{
    xf_share_refresh(&((xf_scheduler *)s)->gate);
    return s->gate.share->joint.version;
}

/* Copies the belief into `text` and returns its bytes. */
size_t handle_belief(const xf_scheduler *s, char *text)
{
    const xf_joint *a = &s->gate.share->joint;
    memcpy(text, a->belief, a->n_belief);
    return (size_t)a->n_belief;
}

xf_call *handle_call(const xf_scheduler *s, const int64_t *costs)
{
    xf_call *c = calloc(1, xf_call_size(s));
    for (uint32_t i = 0; c != NULL && i < s->gate.n_limits; i++) {
        c->held[i] = costs[i];
        c->priced |= costs[i] > 0;
    }
    return c;
}

void handle_free(void *handle)
{
    free(handle);
}

int64_t handle_refused(xf_scheduler *s, xf_call *c, int64_t told, int64_t base, bool exponential,
                       int64_t max, int64_t now)
{
    const xf_backoff backoff = {told, base, exponential, max, false};
    return xf_refused(s, c, &backoff, now);
}

int64_t handle_failed(xf_scheduler *s, const xf_call *c, int64_t told, int64_t base, bool alone,
                      int64_t max, int64_t now)
{
    const xf_backoff backoff = {told, base, false, max, alone};
    return xf_failed(s, c, &backoff, now);
}

void handle_pace(xf_scheduler *s, uint32_t i, const double law[4], int64_t until, int64_t now)
{
    const xf_pacing pacing = {law[0], law[1], law[2], law[3], until};
    xf_set_pace(s, i, &pacing, now);
}

double handle_told(xf_scheduler *s, uint32_t i, double units, bool bounded, int64_t sent_at,
                   int64_t answered_at, int64_t now)
{
    const xf_remaining left = {units, 0, bounded, sent_at, answered_at};
    return xf_told(s, i, &left, now);
}

void handle_replace(xf_scheduler *s, uint32_t i, const xf_definition *definition, double units,
                    int64_t sent_at, const xf_call *c, int64_t now)
{
    const xf_remaining left = {.units = units, .sent_at = sent_at};
    xf_replace(s, i, definition, &left, c, now);
}

/* Lets more in, where that is wanted after a dispatch. */
bool handle_ramp_up(xf_scheduler *s, int64_t now)
{
    bool wanted = xf_gate_is_ramping(&s->gate);
    if (wanted) {
        xf_ramp_up(s, now);
    }
    return wanted;
}

/* What time alone will do next: the earliest of the head's instant, the first deadline, and the
   first change of a group. */
int64_t handle_armed(const xf_scheduler *s)
{
    int64_t at, deadline, change;
    xf_head(s, &at);
    xf_first_deadline(s, &deadline);
    xf_first_change(s, &change);
    at = at < deadline ? at : deadline;
    return at < change ? at : change;
}

void handle_life(xf_group *g, int64_t ttl_ns)
{
    g->ttl_ns = ttl_ns;
}

/* Holds begun, holds lapsed, the length of holds, and groups in use. */
void handle_prefixes(const xf_scheduler *s, int64_t figures[4])
{
    figures[0] = (int64_t)s->queue.groups.led;
    figures[1] = (int64_t)s->queue.groups.lapsed;
    figures[2] = s->queue.groups.held_ns;
    figures[3] = s->queue.groups.n_open;
}

uint32_t handle_state(const xf_call *c)
{
    return c->state;
}
int64_t handle_anchor(const xf_scheduler *s)
{
    return s->anchor;
}
uint32_t handle_in_use(const xf_scheduler *s)
{
    return s->gate.in_use;
}
uint32_t handle_live(const xf_scheduler *s)
{
    return s->live;
}
uint64_t handle_used(const xf_scheduler *s, uint32_t i)
{
    return s->gate.limits[i].used;
}

/* A limit's level at `now`, in whole credits, and how many make a unit and a nanosecond. */
void handle_level(xf_scheduler *s, uint32_t i, int64_t now, int64_t credits[3])
{
    xf_share_refresh(&s->gate);
    xf_limit l = s->gate.limits[i];
    xf_limit_adjust(&l, 0, now);
    credits[0] = l.bucket.level;
    credits[1] = l.def.unit;
    credits[2] = l.def.gain;
}
