/* Scheduler, the base of all schedulers, as Python sees it. Its subclasses in Python give it their
   limits. */
#include "binding/scheduler/scheduler.h"

#include "binding/call/drain.h"
#include "binding/call/estimate.h"
#include "binding/call/exchange.h"
#include "binding/call/open.h"
#include "binding/call/owner.h"
#include "binding/call/prefix.h"
#include "binding/scheduler/expected.h"
#include "binding/scheduler/foretold.h"
#include "binding/scheduler/lease.h"
#include "binding/scheduler/life.h"
#include "binding/scheduler/observe.h"
#include "binding/scheduler/share.h"
#include "binding/scheduler/stats.h"
#include "binding/scheduler/tariff.h"
#include "binding/scheduler/use.h"

#include <structmember.h>

/* The doors: see lock.h. */
XF_POSITIONAL_DOOR(xf_scheduler_estimate, self)
XF_POSITIONAL_DOOR(xf_scheduler_foreseen, self)
XF_POSITIONAL_DOOR(xf_scheduler_settled, self)
XF_FASTCALL_DOOR(xf_scheduler_start_task, self)
XF_FASTCALL_DOOR(xf_scheduler_notify, self)
XF_METHOD_DOOR(xf_scheduler_end, self)
XF_METHOD_DOOR(xf_scheduler_end_all, self)
XF_METHOD_DOOR(xf_scheduler_wait, self)
XF_METHOD_DOOR(xf_scheduler_snapshot, self)
XF_METHOD_DOOR(xf_scheduler_now, self)
XF_METHOD_DOOR(xf_scheduler_retune, self)
XF_METHOD_DOOR(xf_scheduler_track, self)
XF_METHOD_DOOR(xf_scheduler_alarm_after, self)
XF_METHOD_DOOR(xf_scheduler_foresees, self)
XF_METHOD_DOOR(xf_scheduler_foretell, self)
XF_METHOD_DOOR(xf_scheduler_unforetell, self)
XF_METHOD_DOOR(xf_scheduler_charged_as, self)
XF_METHOD_DOOR(xf_scheduler_unread, self)
XF_KEYWORDS_DOOR(xf_scheduler_told, self)
XF_METHOD_DOOR(xf_scheduler_withhold, self)
XF_KEYWORDS_DOOR(xf_scheduler_ascertain, self)
XF_METHOD_DOOR(xf_scheduler_shut, self)
XF_KEYWORDS_DOOR(xf_scheduler_pace, self)
XF_KEYWORDS_DOOR(xf_scheduler_begin, self)
XF_METHOD_DOOR(xf_scheduler_flight, self)
XF_METHOD_DOOR(xf_scheduler_ramp, self)
XF_METHOD_DOOR(xf_scheduler_give_way, self)
XF_METHOD_DOOR(xf_scheduler_gauge, self)
XF_METHOD_DOOR(xf_scheduler_join, self)
XF_METHOD_DOOR(xf_scheduler_leave, self)
XF_METHOD_DOOR(xf_scheduler_forget, self)
XF_METHOD_DOOR(xf_scheduler_bury, self)
XF_METHOD_DOOR(xf_scheduler_poked, self)
XF_METHOD_DOOR(xf_scheduler_seats, self)
XF_METHOD_DOOR(xf_scheduler_learn, self)
XF_METHOD_DOOR(xf_scheduler_believed, self)
XF_METHOD_DOOR(xf_scheduler_standing, self)
XF_METHOD_DOOR(xf_scheduler_lower, self)
XF_METHOD_DOOR(xf_scheduler_shared, self)
XF_METHOD_DOOR(xf_scheduler_lease, self)
XF_METHOD_DOOR(xf_scheduler_lease_look, self)
XF_METHOD_DOOR(xf_scheduler_lease_ahead, self)
XF_METHOD_DOOR(xf_scheduler_lease_asks, self)
XF_METHOD_DOOR(xf_scheduler_lease_grant, self)
XF_METHOD_DOOR(xf_scheduler_lease_return, self)
XF_METHOD_DOOR(xf_scheduler_lease_void, self)
XF_METHOD_DOOR(xf_scheduler_lease_slots, self)
XF_METHOD_DOOR(xf_scheduler_lease_pause, self)
XF_METHOD_DOOR(xf_scheduler_lease_outage, self)
XF_METHOD_DOOR(xf_scheduler_lease_end, self)
XF_GETTER_DOOR(xf_scheduler_get_slots, self)
XF_GETTER_DOOR(xf_scheduler_active_tasks, self)
XF_GETTER_DOOR(xf_scheduler_waiting, self)
XF_GETTER_DOOR(xf_scheduler_total_completed, self)
XF_GETTER_DOOR(xf_scheduler_pending_tasks, self)
XF_SETTER_DOOR(xf_scheduler_set_slots, self)

static PyMethodDef scheduler_methods[] = {
    {"start_task", XF_FUNCTION(xf_scheduler_start_task_locked), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "start_task($self, /, coro, estimated_tokens=0, *, priority=0, timeout=None, name=None,\n"
         "prefix=None, prefix_tokens=0, prefix_life=None)\n"
         "--\n\n"
         "Waits until the call is admitted, starts `coro` and returns its asyncio.Task.\n\n"
         "Args:\n"
         "    coro: The coroutine of the call. It is closed if the call is never started.\n"
         "    estimated_tokens: The call's cost of the limit 'tokens', or a mapping of limit\n"
         "        names to units.\n"
         "    priority: -32768 to 32767. Higher ones go first.\n"
         "    timeout: Seconds to wait for the admission; None is for ever.\n"
         "    name: The name of the task.\n"
         "    prefix: A hashable key that is equal for calls whose prompts begin in the same way.\n"
         "        The first of them goes alone until its answer has begun, see docs/prefixes.md.\n"
         "    prefix_tokens: The tokens of that common part, to check whether it was read from\n"
         "        the provider's cache; 0 if unknown.\n"
         "    prefix_life: Seconds for which the provider keeps it after the dispatch of the last\n"
         "        call that has used it; None if unknown, which counts as five minutes.\n\n"
         "Raises:\n"
         "    asyncio.TimeoutError: The call was not admitted within `timeout`.\n"
         "    TypeError, ValueError: An argument is of the wrong type or out of its range.")},
    {"submit", XF_FUNCTION(xf_scheduler_submit), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "submit($self, /, coro, estimated_tokens=0, *, priority=0, timeout=None, name=None,\n"
         "prefix=None, prefix_tokens=0, prefix_life=None)\n"
         "--\n\n"
         "Queues the call and returns its asyncio.Task at once. The task waits for the\n"
         "admission. The arguments are those of start_task().")},
    {"_exchange", XF_FUNCTION(xf_scheduler_exchange), METH_FASTCALL,
     PyDoc_STR(
         "_exchange($self, coro, terms, answered, request, /)\n--\n\n"
         "A call to be awaited, which runs in the task that does. terms(request) gives its\n"
         "(priority, timeout of the admission, cost). First it runs `coro`, whose result, or\n"
         "exception, goes to answered(request, call, asked_at, sent_at, came_at, result,\n"
         "exception), in seconds on the loop's clock. That returns None if this is the call's "
         "result, or a\n"
         "coroutine, which goes on with the call, and returns (its result, whether it has\n"
         "passed). sent_at is None where it was not admitted in time: then `answered` raises.\n"
         "Within a call of this scheduler it is a part of that one.")},
    {"_open", XF_FUNCTION(xf_scheduler_open), METH_FASTCALL,
     PyDoc_STR(
         "_open($self, coro, terms, /)\n--\n\n"
         "As _exchange(), for a call that stays open: when `coro`, which makes all attempts, has\n"
         "returned, the call holds its slot until _end(). The result is that of `coro`. If that\n"
         "raises, the call has failed. `terms` is what terms(request) gives there.")},
    {"_end", xf_scheduler_end_locked, METH_O,
     PyDoc_STR("_end($self, call, /)\n--\n\n"
               "Ends an open call, as a success. Does nothing if it has ended.")},
    {"_end_all", xf_scheduler_end_all_locked, METH_NOARGS,
     PyDoc_STR("_end_all($self, /)\n--\n\nEnds all open calls, as cancelled ones.")},
    {"notify_rate_limit_exceeded", XF_FUNCTION(xf_scheduler_notify_locked),
     METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR(
         "notify_rate_limit_exceeded($self, /, retry_after)\n--\n\n"
         "Starts a cooldown after a provider's refusal: no call is dispatched for\n"
         "`retry_after` seconds (0 to 86400). Extends a running cooldown, never shortens it.")},
    {"_drained", xf_scheduler_wait_locked, METH_NOARGS,
     PyDoc_STR("_drained($self, /)\n--\n\nReturns a future that is done when no call waits or is "
               "in flight.")},
    {"_snapshot", xf_scheduler_snapshot_locked, METH_NOARGS,
     PyDoc_STR("_snapshot($self, /)\n--\n\nReturns all counters, as a dict.")},
    {"_now", xf_scheduler_now_locked, METH_NOARGS,
     PyDoc_STR("_now($self, /)\n--\n\nReturns seconds on the clock of the loop used last.")},
    {"_retune", xf_scheduler_retune_locked, METH_VARARGS,
     PyDoc_STR("_retune($self, index, limit, /)\n--\n\n"
               "Replaces limit `index` by (name, amount, per, capacity).")},
    {"_alarm_after", xf_scheduler_alarm_after_locked, METH_O,
     PyDoc_STR("_alarm_after($self, calls, /)\n--\n\nCalls self._unshown() when so many calls have "
               "succeeded; 0 is never.")},
    {"_track", xf_scheduler_track_locked, METH_NOARGS,
     PyDoc_STR("_track($self, /)\n--\n\nFollows the levels from now on, which _told() needs.")},
    {"_foretell", xf_scheduler_foretell_locked, METH_VARARGS,
     PyDoc_STR(
         "_foretell($self, words, look_at, slots, blind, passed, /)\n--\n\n"
         "Says what answers are expected to tell, for _foreseen(): of each limit a Word, see\n"
         "xtremeflow.learning.told.follower. From look_at on, in seconds on the loop's clock, no\n"
         "answer is foreseen, nor one while others wait for one of so many slots (-1: any).")},
    {"_unforetell", xf_scheduler_unforetell_locked, METH_NOARGS,
     PyDoc_STR("_unforetell($self, /)\n--\n\n"
               "Nothing is foretold any more. Returns what was told last: a list of (index,\n"
               "remaining, reset or a negative number).")},
    {"_charged_as", xf_scheduler_charged_as_locked, METH_VARARGS,
     PyDoc_STR(
         "_charged_as($self, model, rule, in_doubt, typical, /)\n--\n\n"
         "How the calls of a model are charged: by a ChargeRule, and whether older ones are in\n"
         "doubt; and their Typical usage. rule None: to be asked; model None: of all.")},
    {"_estimate", XF_FUNCTION(xf_scheduler_estimate_locked), METH_FASTCALL,
     PyDoc_STR(
         "_estimate($self, type, model, size, most, /)\n--\n\n"
         "Returns the estimate, of that type, of a call of the model whose input measures `size`\n"
         "and whose answer may have `most` tokens (None: not stated). None: Python is to be\n"
         "asked.")},
    {"_unread", xf_scheduler_unread_locked, METH_NOARGS,
     PyDoc_STR(
         "_unread($self, /)\n--\n\n"
         "Returns the answers that were foreseen since the last time, as an Unread; None: none.")},
    {"_foreseen", XF_FUNCTION(xf_scheduler_foreseen_locked), METH_FASTCALL,
     PyDoc_STR(
         "_foreseen($self, call, status, headers, body, sent_at, received_at, settle, /)\n"
         "--\n\n"
         "Takes in an answer to the call (None: the current one) that tells nothing new, and\n"
         "settles the call (settle: 0 not, 1 as charged, 2 by its usage). Returns the usage:\n"
         "(input, output, cached, written), () if there is none or nothing was to be settled.\n"
         "None: the answer tells something new, and nothing is done. headers: a head, or a\n"
         "dict.")},
    {"_foresees", xf_scheduler_foresees_locked, METH_VARARGS,
     PyDoc_STR(
         "_foresees($self, status, headers, /)\n--\n\n"
         "Whether the head of an answer to the current call tells nothing new. Does nothing.")},
    {"_settled", XF_FUNCTION(xf_scheduler_settled_locked), METH_FASTCALL,
     PyDoc_STR("_settled($self, input, output, cached, how, /)\n--\n\n"
               "Whether it is known what the current call is charged, which has used so many\n"
               "tokens; then it is settled (how: 1 as charged, 2 by its usage). Else nothing is\n"
               "done.")},
    {"_told", XF_FUNCTION(xf_scheduler_told_locked), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR(
         "_told($self, index, remaining, /, *, late=False, bounded=False, sent_at=None,\n"
         "      answered_at=None)\n--\n\n"
         "Corrects limit `index` by an answer: the provider had `remaining` units left at\n"
         "some time between `sent_at` and `answered_at`. Both are seconds on the loop's clock;\n"
         "None is the dispatch of the current call, and now. late: calls in flight may not be\n"
         "charged yet. bounded: see xf_limit_told(). Returns the units by which the level\n"
         "moved; 0.0 if the time is unknown.")},
    {"_withhold", xf_scheduler_withhold_locked, METH_VARARGS,
     PyDoc_STR("_withhold($self, index, units, /)\n--\n\n"
               "Notes that a settlement kept `units` of limit `index` which the provider may have\n"
               "refunded. An answer that says so raises the level by them.")},
    {"_ascertain", XF_FUNCTION(xf_scheduler_ascertain_locked), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR(
         "_ascertain($self, index, /, *, withheld, due, doubtful)\n--\n\n"
         "Raises the level by the `due` units of the `withheld` ones, which are all so far, that\n"
         "the provider has refunded. Subtracts the units by which answers have raised it. The\n"
         "provider may have refunded `doubtful` units too.")},
    {"_shut", xf_scheduler_shut_locked, METH_VARARGS,
     PyDoc_STR("_shut($self, index, seconds, /)\n--\n\n"
               "Lets no call pass limit `index` for so many seconds, whatever its level.")},
    {"_pace", XF_FUNCTION(xf_scheduler_pace_locked), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR("_pace($self, index, most, /, *, kept=0.0, scale=0.0, fits=0.0, seconds=0.0)\n--\n\n"
               "Paces limit `index`: calls pass at min(most, rate * exp((level - kept) / scale))\n"
               "units per second, or at `most` if scale is 0. If all waiting calls cost at most\n"
               "the part `fits` of the level, they pass at once. The pace holds for so many\n"
               "seconds; 0 is until the limit is retuned. most = 0 is any pace.")},
    {"_begin", XF_FUNCTION(xf_scheduler_begin_locked), METH_VARARGS | METH_KEYWORDS,
     PyDoc_STR(
         "_begin($self, index, limit, remaining, /, *, sent_at=None)\n--\n\n"
         "Replaces limit `index` by another one. Its level is `remaining`, which were left some\n"
         "time after `sent_at`, less the costs of the calls dispatched since.")},
    {"_flight", xf_scheduler_flight_locked, METH_NOARGS,
     PyDoc_STR("_flight($self, /)\n--\n\n"
               "Returns a Flight of the current call, or None outside of a call in flight.")},
    {"_ramp", xf_scheduler_ramp_locked, METH_O,
     PyDoc_STR("_ramp($self, slots, /)\n--\n\n"
               "Bounds the calls in flight by `slots` for now, whatever max_concurrency is; None\n"
               "removes the bound.")},
    {"_give_way", xf_scheduler_give_way_locked, METH_O,
     PyDoc_STR("_give_way($self, gives_way, /)\n--\n\n"
               "Says whether a machine of the provider serves only some calls of a prefix in a\n"
               "minute. So long as it is not told, it does.")},
    {"_gauge", xf_scheduler_gauge_locked, METH_O,
     PyDoc_STR(
         "_gauge($self, sent_at, /)\n--\n\n"
         "Returns a Gauge of the scheduler and each limit, as of the current call's dispatch, or\n"
         "of `sent_at` in seconds on the loop's clock.")},
    {"_join", xf_scheduler_join_locked, METH_VARARGS,
     PyDoc_STR("_join($self, ways, memory, seat, poked, alone, empty, /)\n--\n\n"
               "Joins the account in `memory`, see csrc/core/share.h. ways: an object with\n"
               "poke(seats), sweep(scheduler, seats) and close(). poked: a descriptor that is\n"
               "readable when another process pokes this seat, or -1. False: the account has\n"
               "other limits.")},
    {"_leave", xf_scheduler_leave_locked, METH_NOARGS,
     PyDoc_STR("_leave($self, /)\n--\n\nGives back what it holds of its share.")},
    {"_forget", xf_scheduler_forget_locked, METH_NOARGS,
     PyDoc_STR("_forget($self, /)\n--\n\nThis process was forked: the share is its parent's.")},
    {"_bury", xf_scheduler_bury_locked, METH_O,
     PyDoc_STR("_bury($self, seat, /)\n--\n\nGives back what a dead member holds.")},
    {"_poked", xf_scheduler_poked_locked, METH_NOARGS,
     PyDoc_STR("_poked($self, /)\n--\n\nAnother member has found that the head may pass.")},
    {"_lease", xf_scheduler_lease_locked, METH_O,
     PyDoc_STR("_lease($self, holder, /)\n--\n\nDispatches from now on only what it is granted. "
               "Calls holder.ask() when there is something\nto ask for, and holder.close().")},
    {"_lease_look", xf_scheduler_lease_look_locked, METH_NOARGS,
     PyDoc_STR("_lease_look($self, /)\n--\n\nThe state as a dict. Takes out what goes back.")},
    {"_lease_ahead", xf_scheduler_lease_ahead_locked, METH_O,
     PyDoc_STR(
         "_lease_ahead($self, enough, /)\n--\n\nThe calls behind those that the chunk covers, "
         "until they cost `enough` units of a limit:\n(covered, count, is_full, left, head, rest), "
         "see csrc/core/ahead.h.")},
    {"_lease_asks", xf_scheduler_lease_asks_locked, METH_VARARGS,
     PyDoc_STR("_lease_asks($self, asking, want, returned, /)\n--\n\nNotes what is asked for: a "
               "chunk; slots in all; and slots that go back.")},
    {"_lease_grant", xf_scheduler_lease_grant_locked, METH_VARARGS,
     PyDoc_STR("_lease_grant($self, start, levels, units, until, /)\n--\n\nAdds a chunk from "
               "`start` (ns) on, or with `until` >= 0 (ns) a loan. Returns when the present "
               "one\nlapses, or -1 if there are two already.")},
    {"_lease_return", xf_scheduler_lease_return_locked, METH_NOARGS,
     PyDoc_STR(
         "_lease_return($self, /)\n--\n\nEnds the loan. Returns the levels of the buckets, or "
         "None if there is none.")},
    {"_lease_void", xf_scheduler_lease_void_locked, METH_NOARGS,
     PyDoc_STR("_lease_void($self, /)\n--\n\nAll chunks are void.")},
    {"_lease_slots", xf_scheduler_lease_slots_locked, METH_VARARGS,
     PyDoc_STR("_lease_slots($self, slots, fair, all, /)\n--\n\nSets its slots, those to which it "
               "comes back or -1, and those of the account.")},
    {"_lease_pause", xf_scheduler_lease_pause_locked, METH_VARARGS,
     PyDoc_STR(
         "_lease_pause($self, until, is_new, known, /)\n--\n\nA cooldown of all members until "
         "`until` (ns). Returns the number of episodes, of\nwhich `known` were known.")},
    {"_lease_outage", xf_scheduler_lease_outage_locked, METH_VARARGS,
     PyDoc_STR(
         "_lease_outage($self, interval, next, longest, sent, /)\n--\n\nThe provider's outage, as "
         "all members know it, in ns; see xf_lease_outage().\nXF_NEVER is -1. Returns whether it "
         "is "
         "news here.")},
    {"_lease_end", xf_scheduler_lease_end_locked, METH_O,
     PyDoc_STR("_lease_end($self, forgotten, /)\n--\n\nRefuses further calls.")},
    {"_seats", xf_scheduler_seats_locked, METH_NOARGS,
     PyDoc_STR("_seats($self, /)\n--\n\nThe seats of the other members of its share.")},
    {"_learn", xf_scheduler_learn_locked, METH_VARARGS,
     PyDoc_STR("_learn($self, version, belief, lessons, /)\n--\n\n"
               "Changes limits of its share, and the belief of its members: lessons are tuples of\n"
               "(index, limit, level or None). False if the share has another version already.")},
    {"_believed", xf_scheduler_believed_locked, METH_O,
     PyDoc_STR("_believed($self, known, /)\n--\n\n"
               "Of its share: the version, the belief (None: `known` is the version), and the\n"
               "units of each limit that all members have used. None: it is in no share.")},
    {"_standing", xf_scheduler_standing_locked, METH_NOARGS,
     PyDoc_STR(
         "_standing($self, /)\n--\n\n"
         "The limits of its share: what changes when levels are set, an instant, and then the\n"
         "units used, the levels, by how much answers have lowered these, and the rates.\n"
         "None: it is in no share.")},
    {"_lower", xf_scheduler_lower_locked, METH_VARARGS,
     PyDoc_STR(
         "_lower($self, index, left, used, at, /)\n--\n\n"
         "Lowers a level of its share to the most that an answer allows: so much was left at\n"
         "an instant at which all members had used so much.")},
    {"_shared", xf_scheduler_shared_locked, METH_NOARGS,
     PyDoc_STR("_shared($self, /)\n--\n\nThe account of its share, as a dict, or None.")},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef scheduler_members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(SchedulerObject, weakrefs), READONLY, NULL},
    {"limit_names", T_OBJECT_EX, offsetof(SchedulerObject, names), READONLY,
     PyDoc_STR("the names of the limits, in order")},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef scheduler_getset[] = {
    {"max_concurrency", xf_scheduler_get_slots_locked, xf_scheduler_set_slots_locked,
     PyDoc_STR("the most calls in flight at a time, or None; may be assigned"), NULL},
    {"active_tasks", xf_scheduler_active_tasks_locked, NULL, PyDoc_STR("calls that hold a slot"),
     NULL},
    {"waiting", xf_scheduler_waiting_locked, NULL, PyDoc_STR("calls in the queue"), NULL},
    {"total_completed", xf_scheduler_total_completed_locked, NULL,
     PyDoc_STR("calls that have ended"), NULL},
    {"pending_tasks", xf_scheduler_pending_tasks_locked, NULL,
     PyDoc_STR("the tasks of calls that have not ended, as a new set"), NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot scheduler_slots[] = {
    {Py_tp_doc, (void *)"Scheduler(*, limits=(), max_concurrency=None, places=())\n--\n\n"
                        "The native queue. limits: tuples (name, amount, per, capacity), per in "
                        "seconds.\nplaces: names of limits that may be learned later."},
    {Py_tp_new, xf_life_new},
    {Py_tp_init, xf_life_init},
    {Py_tp_dealloc, xf_life_dealloc},
    {Py_tp_traverse, xf_life_traverse},
    {Py_tp_clear, xf_life_clear},
    {Py_tp_methods, scheduler_methods},
    {Py_tp_members, scheduler_members},
    {Py_tp_getset, scheduler_getset},
    {0, NULL},
};

PyType_Spec xf_scheduler_spec = {
    .name = "xtremeflow._core.Scheduler",
    .basicsize = sizeof(SchedulerObject),
    .flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = scheduler_slots,
};
