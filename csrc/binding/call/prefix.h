/* Prefixes: the groups of a scheduler's calls, by the keys that users give. */
#ifndef XF_BINDING_PREFIX_H
#define XF_BINDING_PREFIX_H

#include "binding/call/owner.h"

enum { XF_LEADERS = 15 };

/* Of a scheduler whose calls name prefixes. */
typedef struct xf_prefixes {
    PyObject *groups;          /* dict: key -> index of its group */
    Py_ssize_t sweep_at;       /* the number of groups at which those of no use are looked for */
    int64_t waits[XF_LEADERS]; /* of the last leaders, from dispatch to the first token, ns */
    uint64_t n_waits;          /* of all leaders so far */
    uint64_t looked_up, found; /* calls that did not lead, and those that found their prefix */
    int64_t expected, read, written; /* tokens */
} xf_prefixes;

/* The type Branch: the key of a prefix that goes on from a shorter one. */
extern PyStructSequence_Desc xf_branch_desc;

/* The prefix that a call names. */
typedef struct xf_named_prefix {
    PyObject *key;   /* borrowed, a Branch or any other; NULL: none */
    int64_t tokens;  /* its length, 0 if unknown */
    int64_t life_ns; /* how long the provider keeps it after a call, 0 if unknown */
} xf_named_prefix;

/* Makes `c`, which is not submitted yet, one of the calls of that prefix. Trunks that are not known
   get the same life. Runs code of the key. 0, or -1 with an error set. */
int xf_prefix_join(CallObject *c, const xf_named_prefix *named);

/* Notes that the answer to `c` has begun, or that the call has succeeded, before the core is
   told. */
void xf_prefix_came(CallObject *c, int64_t now);

/* warmed(), a method of Call: its answer has begun. */
PyObject *xf_call_warmed(PyObject *call, PyObject *unused);

/* _read(cached, written, is_free), a method of Call: the tokens that it has read from the cache and
   written to it, by its usage, and whether the provider does not charge those read. */
PyObject *xf_call_read(PyObject *call, PyObject *args);

/* _give_way(gives_way), a method of Scheduler: whether a machine of the provider serves only some
   calls of a prefix in a minute. */
PyObject *xf_scheduler_give_way(PyObject *self, PyObject *gives_way);

/* Returns the counts of all prefixes as a dict; None if no call has named one. NULL with an error
   set. */
PyObject *xf_prefix_snapshot(const SchedulerObject *s);

/* Visits the keys, for the garbage collector. */
int xf_prefix_traverse(const SchedulerObject *s, visitproc visit, void *arg);

/* Forgets the keys. */
void xf_prefix_free(SchedulerObject *s);

#endif
