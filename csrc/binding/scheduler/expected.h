/* The next answer as the learner in Python expects it, if it tells nothing new. */
#ifndef XF_BINDING_EXPECTED_H
#define XF_BINDING_EXPECTED_H

#include "binding/call/owner.h"
#include "binding/scheduler/unread.h"
#include "net/observation.h"

/* A limit, as answers have told of it, and what follows from one that says it again. */
typedef struct xf_word {
    xf_observation told;
    long index;                        /* of the scheduler's limit; -1: it keeps to none of these */
    int is_late, is_bounded, is_level; /* see xf_scheduler_told(); it is kept to by its level */
    double per;                        /* s, of what is kept to */
    double notice;                     /* units: another user took what is missing beyond it */
    double forget_at;                  /* s: when that user is forgotten; infinite: never */
    double remaining, reset;           /* as said last; -1: not, so far */
    PyObject *before;                  /* what was told of it: the learner's */
} xf_word;

typedef struct xf_foretold {
    bool is_armed;
    int is_blind;   /* heads are not looked at: there is no limit to be moved */
    double look_at; /* s: an answer from then on is the learner's in any case */
    long slots;     /* so is one that comes while calls wait and so many are in flight; -1: none */
    int n_words;
    xf_word words[XF_QUOTAS];
    PyObject *passed; /* the verdict */
    xf_unread_list unread;
    int64_t unread_since;
} xf_foretold;

/* Methods of Scheduler: see their documentation there. */
PyObject *xf_scheduler_foretell(PyObject *self, PyObject *args);
PyObject *xf_scheduler_unforetell(PyObject *self, PyObject *unused);

/* The scheduler's garbage collection. */
int xf_foretold_traverse(const SchedulerObject *s, visitproc visit, void *arg);
void xf_foretold_free(SchedulerObject *s);

#endif
