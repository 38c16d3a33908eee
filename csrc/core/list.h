/*
 * A list of calls in order. The links are the calls' own, so a call is in one list at a time, and
 * every function is O(1).
 */
#ifndef XF_LIST_H
#define XF_LIST_H

#include <stddef.h>

#include "core/call.h"

typedef struct xf_list {
    xf_call *first, *last; /* NULL: empty */
} xf_list;

/* Whether `c`, which is in no other list, is in this one. */
static inline bool xf_list_has(const xf_list *l, const xf_call *c)
{
    return c->previous != NULL || l->first == c;
}

/* Puts `c`, which is in no list, behind `before`, or first if that is NULL. */
static inline void xf_list_insert(xf_list *l, xf_call *c, xf_call *before)
{
    c->previous = before;
    c->next = before != NULL ? before->next : l->first;
    *(c->next != NULL ? &c->next->previous : &l->last) = c;
    *(before != NULL ? &before->next : &l->first) = c;
}

/* Puts `c`, which is in no list, last. */
static inline void xf_list_append(xf_list *l, xf_call *c)
{
    xf_list_insert(l, c, l->last);
}

/* Takes `c`, which is in this list, out of it. */
static inline void xf_list_remove(xf_list *l, xf_call *c)
{
    *(c->next != NULL ? &c->next->previous : &l->last) = c->previous;
    *(c->previous != NULL ? &c->previous->next : &l->first) = c->next;
    c->next = NULL;
    c->previous = NULL;
}

#endif
