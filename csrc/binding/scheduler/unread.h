/* Answers that the learner in Python has not seen: they told nothing new, and were taken in
   natively. It is told of them later, many at a time. */
#ifndef XF_BINDING_UNREAD_H
#define XF_BINDING_UNREAD_H

#include "binding/call/owner.h"
#include "core/charge.h"
#include "net/observation.h"

extern PyStructSequence_Desc xf_unread_desc, xf_spent_desc;

/* The rest of one limit on tokens, as an answer has told it. */
typedef struct xf_telling {
    PyObject *limit; /* owned: the learner's, as an answer before it told it */
    double remaining;
    double reset; /* s; -1: not said */
} xf_telling;

/* The most that an answer tells of limits on tokens per minute: of each unit once with the period
   in its fields' names, and once without. */
enum { XF_TELLINGS = 2 * XF_UNITS };

/* One answer, or the usage of one at its end. Instants are in ns on the loop's clock. */
typedef struct xf_unread {
    bool is_flight; /* not of an answer that was put down before */
    int64_t now, dispatched, sent_at, received_at;
    uint32_t crowd, in_flight, waiting; /* see Flight */
    PyObject *model;                    /* owned */
    bool is_settled;                    /* whether `used` and `withheld` say something */
    xf_used used;
    int64_t withheld[XF_UNITS]; /* by how much the charge may be too much */
    int n_told;
    xf_telling told[XF_TELLINGS];
} xf_unread;

/* Those that have not been fetched yet. */
typedef struct xf_unread_list {
    xf_unread *items;
    size_t count, room;
} xf_unread_list;

/* Room for one more, all zero; NULL without an error set: there is no memory. */
xf_unread *xf_unread_add(xf_unread_list *list);

/* The records of all, an Unread, and the list is empty. NULL with an error set. */
PyObject *xf_unread_fetch(xf_module *st, xf_unread_list *list);

/* The scheduler's garbage collection. */
int xf_unread_traverse(const xf_unread_list *list, visitproc visit, void *arg);
void xf_unread_free(xf_unread_list *list);

#endif
