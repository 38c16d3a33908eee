#include "binding/call/prefix.h"

#include "binding/call/call.h"
#include "binding/call/deliver.h"

/* Of a prefix whose life is unknown: the least that a provider gives it, Anthropic's.
   https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching */
#define LIFE_NS INT64_C(300000000000)      /* 5 min */
#define FIRST_HOLD_NS INT64_C(30000000000) /* before any leader was answered: 30 s */
#define LEAST_HOLD_NS INT64_C(100000000)   /* a median this small says nothing of the next one */
#define HIT 0.8 /* of the expected tokens. Fewer are those of a common template. */

enum { FIRST_SWEEP = 1024, MEDIANS_HELD = 3 };

/* ---- keys ---- */

static xf_prefixes *prefixes_of(SchedulerObject *s)
{
    if (s->prefixes == NULL) {
        xf_prefixes *p = PyMem_Calloc(1, sizeof(*p));
        PyObject *groups = p != NULL ? PyDict_New() : NULL;
        if (groups == NULL) {
            PyMem_Free(p);
            return PyErr_Occurred() ? NULL : (xf_prefixes *)PyErr_NoMemory();
        }
        p->groups = groups;
        p->sweep_at = FIRST_SWEEP;
        s->prefixes = p;
        xf_set_hold(&s->core, FIRST_HOLD_NS);
    }
    return s->prefixes;
}

static xf_group *group_at(const SchedulerObject *s, PyObject *index)
{
    return s->core.queue.groups.known[PyLong_AsUnsignedLong(index)];
}

/* Whether a group would begin anew if it was forgotten, or nothing of it is known. */
static bool is_idle(const SchedulerObject *s, const xf_group *g)
{
    return g->live == 0 && g->warm_until <= s->core.now;
}

/* The keys of the idle groups. NULL with an error set. */
static PyObject *idle_keys(const SchedulerObject *s)
{
    PyObject *keys = PyList_New(0), *key, *index;
    Py_ssize_t at = 0;
    while (keys != NULL && PyDict_Next(s->prefixes->groups, &at, &key, &index)) {
        if (is_idle(s, group_at(s, index)) && PyList_Append(keys, key) < 0) {
            Py_CLEAR(keys);
        }
    }
    return keys;
}

/* Forgets the idle groups once their number has doubled, so that this costs a call O(1). 0, or -1
   with an error set. */
static int sweep(SchedulerObject *s)
{
    xf_prefixes *p = s->prefixes;
    if (PyDict_GET_SIZE(p->groups) < p->sweep_at) {
        return 0;
    }
    PyObject *keys = idle_keys(s);
    int r = keys != NULL ? 0 : -1;
    for (Py_ssize_t i = 0; r == 0 && i < PyList_GET_SIZE(keys); i++) {
        PyObject *key = PyList_GET_ITEM(keys, i);
        PyObject *index = PyDict_GetItemWithError(p->groups, key); /* runs code of the key */
        xf_group *g = index != NULL ? group_at(s, index) : NULL;
        if (g != NULL && is_idle(s, g)) {
            g->live++; /* what runs meanwhile does not forget it, too */
            r = PyDict_DelItem(p->groups, key);
            g->live--;
            xf_close_group(&s->core, g);
        }
        r = PyErr_Occurred() ? -1 : r;
    }
    Py_XDECREF(keys);
    Py_ssize_t left = PyDict_GET_SIZE(p->groups);
    p->sweep_at = left > FIRST_SWEEP / 2 ? 2 * left : FIRST_SWEEP;
    return r;
}

static PyStructSequence_Field branch_fields[] = {
    {"trunk", "the key of the shorter prefix, which may be a Branch itself"},
    {"key", "that of the longer one"},
    {"trunk_tokens", "the length of the shorter prefix, 0 if unknown"},
    {NULL, NULL},
};

PyStructSequence_Desc xf_branch_desc = {"xtremeflow._core.Branch",
                                        "The key of a prefix that goes on from a shorter one.",
                                        branch_fields, 3};

/* The key itself, and in `trunk` that of its trunk, or NULL. Both borrowed. */
static PyObject *own_key(const SchedulerObject *s, PyObject *key, PyObject **trunk)
{
    bool is_branch = Py_IS_TYPE(key, s->st->branch_type);
    *trunk = is_branch ? PyStructSequence_GET_ITEM(key, 0) : NULL;
    return is_branch ? PyStructSequence_GET_ITEM(key, 1) : key;
}

/* The group of a key that has none, a branch of `trunk` if that is not NULL. NULL with an error
   set. */
static xf_group *open_group(SchedulerObject *s, PyObject *key, int64_t life_ns, xf_group *trunk)
{
    xf_group *g = xf_open_group(&s->core, life_ns, trunk);
    if (g == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    PyObject *index = PyLong_FromUnsignedLong(g->index);
    PyObject *known =
        index != NULL ? PyDict_SetDefault(s->prefixes->groups, key, index) : NULL; /* borrowed */
    if (known != index || known == NULL) { /* code of the key has opened one, or has failed */
        xf_close_group(&s->core, g);
        g = known != NULL ? group_at(s, known) : NULL;
    }
    Py_XDECREF(index);
    return g;
}

/* The group of a key, which may be a Branch. Its trunks are opened first. `life_ns` is that of
   those that are opened. NULL with an error set. */
static xf_group *group_of(SchedulerObject *s, PyObject *given, int64_t life_ns)
{
    PyObject *trunk_key, *key = own_key(s, given, &trunk_key);
    PyObject *index = PyDict_GetItemWithError(s->prefixes->groups, key); /* borrowed */
    if (index != NULL) {
        return group_at(s, index);
    }
    if (PyErr_Occurred()) {
        if (PyErr_ExceptionMatches(PyExc_TypeError)) {
            PyErr_Format(PyExc_TypeError, "prefix must be hashable, or None, not %R", key);
        }
        return NULL;
    }
    if (sweep(s) < 0) {
        return NULL;
    }
    if (trunk_key == NULL) {
        return open_group(s, key, life_ns, NULL);
    }
    if (Py_EnterRecursiveCall(" in the trunks of a prefix") != 0) {
        return NULL;
    }
    int64_t tokens = PyLong_AsLongLong(PyStructSequence_GET_ITEM(given, 2));
    bool failed = tokens == -1 && PyErr_Occurred() != NULL;
    xf_group *trunk = failed ? NULL : group_of(s, trunk_key, life_ns), *g = NULL;
    if (trunk != NULL) {
        if (tokens > 0) {
            xf_set_tokens(&s->core, trunk, tokens);
        }
        trunk->live++; /* what runs meanwhile does not forget it */
        g = open_group(s, key, life_ns, trunk);
        trunk->live--;
    }
    Py_LeaveRecursiveCall();
    return g;
}

int xf_prefix_join(CallObject *c, const xf_named_prefix *named)
{
    SchedulerObject *s = c->scheduler;
    const xf_prefixes *p = prefixes_of(s);
    int64_t life_ns = named->life_ns > 0 ? named->life_ns : LIFE_NS;
    xf_group *g = p != NULL ? group_of(s, named->key, life_ns) : NULL;
    if (g == NULL) {
        return -1;
    }
    if (named->tokens > 0) {
        xf_set_tokens(&s->core, g, named->tokens);
    }
    if (named->life_ns > 0) {
        g->ttl_ns = named->life_ns;
    }
    xf_join_group(&c->core, g);
    return 0;
}

/* ---- answers ---- */

/* The median of the last leaders' waits, of which there is one at least. */
static int64_t median(const xf_prefixes *p)
{
    int64_t sorted[XF_LEADERS];
    size_t n = 0;
    assert(p->n_waits > 0);
    for (size_t k = 0; k < XF_LEADERS && k < p->n_waits; k++) {
        size_t at = n++;
        for (; at > 0 && sorted[at - 1] > p->waits[k]; at--) {
            sorted[at] = sorted[at - 1];
        }
        sorted[at] = p->waits[k];
    }
    return sorted[n / 2];
}

void xf_prefix_came(CallObject *c, int64_t now)
{
    xf_prefixes *p = c->scheduler->prefixes;
    if (p == NULL || !c->core.led || c->has_begun || c->core.state != XF_CALL_IN_FLIGHT) {
        return;
    }
    c->has_begun = true;
    p->waits[p->n_waits++ % XF_LEADERS] = now - c->core.dispatched_at;
    int64_t wait = median(p);
    int64_t hold = wait < INT64_MAX / MEDIANS_HELD ? MEDIANS_HELD * wait : INT64_MAX;
    xf_set_hold(&c->scheduler->core, hold > LEAST_HOLD_NS ? hold : LEAST_HOLD_NS);
}

PyObject *xf_call_warmed(PyObject *self, PyObject *Py_UNUSED(unused))
{
    CallObject *c = (CallObject *)self;
    SchedulerObject *s = c->scheduler;
    if (c->core.state != XF_CALL_IN_FLIGHT || (c->is_timed && !c->core.grouped)) {
        Py_RETURN_NONE;
    }
    int64_t now = xf_port_now(s, c->port);
    if (!c->is_timed) {
        c->is_timed = true;
        s->begun++;
        s->begun_ns += now - c->core.dispatched_at;
    }
    if (c->core.grouped) {
        xf_prefix_came(c, now);
        xf_warmed(&s->core, &c->core, now);
        xf_deliver(s);
    }
    Py_RETURN_NONE;
}

PyObject *xf_call_read(PyObject *self, PyObject *args)
{
    CallObject *c = (CallObject *)self;
    SchedulerObject *s = c->scheduler;
    long long cached, written;
    int is_free;
    if (!PyArg_ParseTuple(args, "LLp:_read", &cached, &written, &is_free)) {
        return NULL;
    }
    xf_prefixes *p = s->prefixes;
    if (!c->core.grouped || c->core.state != XF_CALL_IN_FLIGHT || p == NULL) {
        Py_RETURN_NONE;
    }
    const xf_group *g = xf_group_of(&s->core, &c->core);
    bool found = cached > 0 && (double)cached >= HIT * (double)g->tokens;
    p->read += cached;
    p->written += written;
    if (c->core.led) {
        Py_RETURN_NONE;
    }
    p->expected += g->tokens;
    p->looked_up++;
    p->found += found;
    xf_looked_up(&s->core, &c->core, found, is_free, xf_port_now(s, c->port));
    xf_deliver(s);
    Py_RETURN_NONE;
}

PyObject *xf_scheduler_give_way(PyObject *self, PyObject *gives_way)
{
    SchedulerObject *s = (SchedulerObject *)self;
    int is_true = xf_scheduler_check(s) < 0 ? -1 : PyObject_IsTrue(gives_way);
    if (is_true < 0) {
        return NULL;
    }
    xf_give_way(&s->core, is_true != 0, xf_port_about_now(s, NULL));
    xf_deliver(s);
    Py_RETURN_NONE;
}

PyObject *xf_prefix_snapshot(const SchedulerObject *s)
{
    const xf_prefixes *p = s->prefixes;
    const xf_groups *all = &s->core.queue.groups;
    if (p == NULL) {
        Py_RETURN_NONE;
    }
    return Py_BuildValue(
        "{sIsKsKsdsLsLsLsKsKsd}", "groups", (unsigned)all->n_open, "led",
        (unsigned long long)all->led, "lapsed", (unsigned long long)all->lapsed, "held_seconds",
        (double)all->held_ns * 1e-9, "expected", (long long)p->expected, "read", (long long)p->read,
        "written", (long long)p->written, "looked_up", (unsigned long long)p->looked_up, "found",
        (unsigned long long)p->found, "bound", (double)all->hold_ns * 1e-9);
}

/* ---- life ---- */

int xf_prefix_traverse(const SchedulerObject *s, visitproc visit, void *arg)
{
    if (s->prefixes != NULL) {
        Py_VISIT(s->prefixes->groups);
    }
    return 0;
}

void xf_prefix_free(SchedulerObject *s)
{
    xf_prefixes *p = s->prefixes;
    s->prefixes = NULL;
    if (p != NULL) {
        Py_DECREF(p->groups);
        PyMem_Free(p);
    }
}
