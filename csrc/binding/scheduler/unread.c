#include "binding/scheduler/unread.h"

#include <string.h>

#include "binding/record.h"

static PyStructSequence_Field unread_fields[] = {
    {"flights", "the columns of the answers' Flights, a list for each field, in their order"},
    {"spent", "a Spent of each model"},
    {NULL, NULL},
};

static PyStructSequence_Field spent_fields[] = {
    {"model", "the model, or another key of calls that are charged alike"},
    {"sent", "the Parts of each call, by its dispatch, in the order of the answers"},
    {"ended", "the same, by its end"},
    {"told", "a list of (what was told of a limit before, the columns of Tellings)"},
    {"doubtful", "the columns of the Used of calls that may have cost less than was charged here"},
    {"withheld", "by how much all of them together, by unit"},
    {NULL, NULL},
};

PyStructSequence_Desc xf_unread_desc = {"xtremeflow._core.Unread", "What _unread() tells.",
                                        unread_fields, 2};
PyStructSequence_Desc xf_spent_desc = {"xtremeflow._core.Spent",
                                       "Calls of a model that were settled.", spent_fields, 6};

/* ---- the list ---- */

enum { ROOM = 32 };

xf_unread *xf_unread_add(xf_unread_list *list)
{
    if (list->count == list->room) {
        const size_t room = list->room == 0 ? ROOM : 2 * list->room;
        xf_unread *items = PyMem_Realloc(list->items, room * sizeof(*items));
        if (items == NULL) {
            return NULL;
        }
        list->items = items;
        list->room = room;
    }
    xf_unread *added = &list->items[list->count++];
    memset(added, 0, sizeof(*added));
    return added;
}

int xf_unread_traverse(const xf_unread_list *list, visitproc visit, void *arg)
{
    for (size_t i = 0; i < list->count; i++) {
        Py_VISIT(list->items[i].model);
        for (int j = 0; j < list->items[i].n_told; j++) {
            Py_VISIT(list->items[i].told[j].limit);
        }
    }
    return 0;
}

void xf_unread_free(xf_unread_list *list)
{
    xf_unread_list gone = *list;
    *list = (xf_unread_list){NULL, 0, 0};
    for (size_t i = 0; i < gone.count; i++) {
        Py_XDECREF(gone.items[i].model);
        for (int j = 0; j < gone.items[i].n_told; j++) {
            Py_DECREF(gone.items[i].told[j].limit);
        }
    }
    PyMem_Free(gone.items);
}

/* ---- as records ---- */

static double seconds(int64_t ns)
{
    return (double)ns * 1e-9;
}

/* Appends a new reference, which it takes over. -1 with an error set, also where it is NULL. */
static int append(PyObject *list, PyObject *item)
{
    const int r = item == NULL ? -1 : PyList_Append(list, item);
    Py_XDECREF(item);
    return r;
}

/* A tuple of `n` empty lists: the columns of a table. A record for each row would take most of the
   time in which the learner is told of it. */
static PyObject *columns_new(Py_ssize_t n)
{
    PyObject *columns = PyTuple_New(n);
    for (Py_ssize_t i = 0; columns != NULL && i < n; i++) {
        PyObject *column = PyList_New(0);
        if (column != NULL) {
            PyTuple_SET_ITEM(columns, i, column);
        } else {
            Py_CLEAR(columns);
        }
    }
    return columns;
}

/* Appends a row of new references, one for each column, which it takes over. -1 with an error set,
   also where one is NULL. */
static int append_row(PyObject *columns, PyObject *const *row)
{
    int r = 0;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(columns); i++) {
        r |= append(PyTuple_GET_ITEM(columns, i), row[i]);
    }
    return r;
}

static int append_flight(PyObject *flights, const xf_unread *u)
{
    PyObject *const row[] = {
        PyFloat_FromDouble(seconds(u->now)), PyFloat_FromDouble(seconds(u->dispatched)),
        PyLong_FromUnsignedLong(u->crowd),   PyLong_FromUnsignedLong(u->in_flight),
        PyLong_FromUnsignedLong(u->waiting),
    };
    return append_row(flights, row);
}

static PyObject *flights_of(const xf_unread_list *list)
{
    PyObject *flights = columns_new(5);
    for (size_t i = 0; flights != NULL && i < list->count; i++) {
        if (list->items[i].is_flight && append_flight(flights, &list->items[i]) < 0) {
            Py_CLEAR(flights);
        }
    }
    return flights;
}

/* Parts as xtremeflow.learning.costs.charges keeps them: a plain tuple, which the garbage collector
   need not visit. */
static PyObject *parts_of(const xf_used *used, int64_t at)
{
    const int64_t uncached = used->input > used->cached ? used->input - used->cached : 0;
    const int64_t tokens[] = {
        used->input,
        used->input - uncached,
        used->most,
        used->input > used->most ? used->input : used->most,
        uncached > used->most ? uncached : used->most,
        used->output,
    };
    PyObject *parts = PyTuple_New(1 + (Py_ssize_t)Py_ARRAY_LENGTH(tokens));
    for (Py_ssize_t i = 0; parts != NULL && i < PyTuple_GET_SIZE(parts); i++) {
        PyObject *part =
            i == 0 ? PyFloat_FromDouble(seconds(at)) : PyLong_FromLongLong(tokens[i - 1]);
        if (part != NULL) {
            PyTuple_SET_ITEM(parts, i, part);
        } else {
            Py_CLEAR(parts);
        }
    }
    return parts;
}

/* The same parts at another instant. The numbers are shared, since thousands of calls are kept. */
static PyObject *parts_at(PyObject *parts, int64_t at)
{
    PyObject *other = PyTuple_New(PyTuple_GET_SIZE(parts));
    PyObject *when = other != NULL ? PyFloat_FromDouble(seconds(at)) : NULL;
    if (when == NULL) {
        Py_XDECREF(other);
        return NULL;
    }
    PyTuple_SET_ITEM(other, 0, when);
    for (Py_ssize_t i = 1; i < PyTuple_GET_SIZE(parts); i++) {
        PyTuple_SET_ITEM(other, i, Py_NewRef(PyTuple_GET_ITEM(parts, i)));
    }
    return other;
}

static int append_used(PyObject *doubtful, const xf_used *used)
{
    PyObject *const row[] = {
        PyLong_FromLongLong(used->input),
        PyLong_FromLongLong(used->output),
        PyLong_FromLongLong(used->cached),
        PyLong_FromLongLong(used->most),
    };
    return append_row(doubtful, row);
}

static int append_telling(PyObject *tellings, const xf_unread *u, const xf_telling *t)
{
    PyObject *const row[] = {
        PyFloat_FromDouble(seconds(u->sent_at)),
        PyFloat_FromDouble(seconds(u->received_at)),
        PyFloat_FromDouble(t->remaining),
        t->reset < 0 ? Py_NewRef(Py_None) : PyFloat_FromDouble(t->reset),
    };
    return append_row(tellings, row);
}

/* The columns of what was told of that limit; made at the end of `told` if need be. Borrowed, or
   NULL with an error set. */
static PyObject *tellings(PyObject *told, PyObject *limit)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(told); i++) {
        PyObject *pair = PyList_GET_ITEM(told, i);
        if (PyTuple_GET_ITEM(pair, 0) == limit) {
            return PyTuple_GET_ITEM(pair, 1);
        }
    }
    PyObject *columns = columns_new(4);
    PyObject *pair = columns == NULL ? NULL : PyTuple_Pack(2, limit, columns);
    const int r = append(told, pair);
    Py_XDECREF(columns);
    return r < 0 ? NULL : columns; /* the pair has it */
}

/* Of the calls of one model, while it is gathered. */
typedef struct gathered {
    PyObject *sent, *ended, *told, *doubtful;
    int64_t withheld[XF_UNITS];
} gathered;

/* Adds what the answer tells of its model. -1 with an error set. */
static int gather(const xf_unread *u, gathered *g)
{
    for (int i = 0; i < u->n_told; i++) {
        PyObject *columns = tellings(g->told, u->told[i].limit);
        if (columns == NULL || append_telling(columns, u, &u->told[i]) < 0) {
            return -1;
        }
    }
    if (!u->is_settled) {
        return 0;
    }
    PyObject *sent = parts_of(&u->used, u->dispatched);
    if (append(g->sent, sent) < 0 || append(g->ended, parts_at(sent, u->now)) < 0) {
        return -1;
    }
    bool is_doubtful = false;
    for (int unit = 0; unit < XF_UNITS; unit++) {
        is_doubtful |= u->withheld[unit] > 0;
        g->withheld[unit] += u->withheld[unit];
    }
    return is_doubtful ? append_used(g->doubtful, &u->used) : 0;
}

/* The Spent of the model of list->items[first], of this and the later answers; their models are
   dropped. */
static PyObject *spent_of(xf_module *st, xf_unread_list *list, size_t first)
{
    PyObject *model = Py_NewRef(list->items[first].model);
    gathered g = {PyList_New(0), PyList_New(0), PyList_New(0), columns_new(4), {0}};
    bool is_whole = g.sent != NULL && g.ended != NULL && g.told != NULL && g.doubtful != NULL;
    for (size_t i = first; is_whole && i < list->count; i++) {
        xf_unread *u = &list->items[i];
        if (u->model != NULL && (u->model == model || PyUnicode_Compare(u->model, model) == 0)) {
            is_whole = gather(u, &g) == 0;
            Py_CLEAR(u->model);
        }
    }
    PyObject *const fields[] = {
        model,
        g.sent,
        g.ended,
        g.told,
        g.doubtful,
        !is_whole ? NULL
                  : Py_BuildValue("(LLL)", (long long)g.withheld[XF_TOKENS],
                                  (long long)g.withheld[XF_INPUT_TOKENS],
                                  (long long)g.withheld[XF_OUTPUT_TOKENS]),
    };
    return xf_record_new(st->spent_type, fields, Py_ARRAY_LENGTH(fields));
}

static PyObject *all_spent(xf_module *st, xf_unread_list *list)
{
    PyObject *all = PyList_New(0);
    for (size_t i = 0; all != NULL && i < list->count; i++) {
        if (list->items[i].model != NULL && append(all, spent_of(st, list, i)) < 0) {
            Py_CLEAR(all);
        }
    }
    return all;
}

PyObject *xf_unread_fetch(xf_module *st, xf_unread_list *list)
{
    xf_unread_list fetched = *list; /* more may come while the records are made */
    *list = (xf_unread_list){NULL, 0, 0};
    PyObject *const fields[] = {flights_of(&fetched), all_spent(st, &fetched)};
    PyObject *unread = xf_record_new(st->unread_type, fields, Py_ARRAY_LENGTH(fields));
    xf_unread_free(&fetched);
    return unread;
}
