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
    {"calls", "the Parts of each call, in the order of the answers"},
    {"told", "a list of (what was told of a limit before, the Tellings since as bytes)"},
    {"doubtful", "those of the calls that may have cost less than was charged here"},
    {"withheld", "by how much all of them together, by unit"},
    {NULL, NULL},
};

PyStructSequence_Desc xf_unread_desc = {"xtremeflow._core.Unread", "What _unread() tells.",
                                        unread_fields, 2};
PyStructSequence_Desc xf_spent_desc = {"xtremeflow._core.Spent",
                                       "Calls of a model that were settled.", spent_fields, 5};

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

/* The columns of a table: a record for each row would take most of the time in which the learner is
   told of it. NULL with an error set. */
static PyObject *columns_new(Py_ssize_t n_columns, Py_ssize_t n_rows)
{
    PyObject *columns = PyTuple_New(n_columns);
    for (Py_ssize_t i = 0; columns != NULL && i < n_columns; i++) {
        PyObject *column = PyList_New(n_rows);
        if (column != NULL) {
            PyTuple_SET_ITEM(columns, i, column);
        } else {
            Py_CLEAR(columns);
        }
    }
    return columns;
}

/* -1 with an error set. */
static int set_flight(PyObject *flights, Py_ssize_t row, const xf_unread *u)
{
    PyObject *const fields[] = {
        PyFloat_FromDouble(seconds(u->now)), PyFloat_FromDouble(seconds(u->dispatched)),
        PyLong_FromUnsignedLong(u->crowd),   PyLong_FromUnsignedLong(u->in_flight),
        PyLong_FromUnsignedLong(u->waiting),
    };
    bool is_whole = true;
    for (Py_ssize_t i = 0; i < (Py_ssize_t)Py_ARRAY_LENGTH(fields); i++) {
        PyList_SET_ITEM(PyTuple_GET_ITEM(flights, i), row, fields[i]);
        is_whole = is_whole && fields[i] != NULL;
    }
    return is_whole ? 0 : -1;
}

static PyObject *flights_of(const xf_unread_list *list)
{
    Py_ssize_t n = 0, row = 0;
    for (size_t i = 0; i < list->count; i++) {
        n += list->items[i].is_flight;
    }
    PyObject *flights = columns_new(5, n);
    for (size_t i = 0; flights != NULL && i < list->count; i++) {
        if (list->items[i].is_flight && set_flight(flights, row++, &list->items[i]) < 0) {
            Py_CLEAR(flights);
        }
    }
    return flights;
}

/* Parts as xtremeflow.learning.costs.charges keeps them: a plain tuple, which the garbage collector
   need not visit. */
static PyObject *parts_of(const xf_unread *u)
{
    const xf_used *used = &u->used;
    const int64_t uncached = used->input > used->cached ? used->input - used->cached : 0;
    PyObject *const fields[] = {
        PyFloat_FromDouble(seconds(u->dispatched)),
        PyFloat_FromDouble(seconds(u->now)),
        PyLong_FromLongLong(used->input),
        PyLong_FromLongLong(used->input - uncached),
        PyLong_FromLongLong(used->most),
        PyLong_FromLongLong(used->input > used->most ? used->input : used->most),
        PyLong_FromLongLong(uncached > used->most ? uncached : used->most),
        PyLong_FromLongLong(used->output),
    };
    return xf_row_new(fields, Py_ARRAY_LENGTH(fields));
}

/* Appends a Telling as four doubles: most are passed over, and need not become objects. -1 with an
   error set. */
static int append_telling(PyObject *rows, const xf_unread *u, const xf_telling *t)
{
    const double row[] = {seconds(u->sent_at), seconds(u->received_at), t->remaining, t->reset};
    const Py_ssize_t size = PyByteArray_GET_SIZE(rows);
    if (PyByteArray_Resize(rows, size + (Py_ssize_t)sizeof(row)) < 0) {
        return -1;
    }
    memcpy(PyByteArray_AS_STRING(rows) + size, row, sizeof(row));
    return 0;
}

/* The rows of what was told of that limit; made at the end of `told` if need be. Borrowed, or NULL
   with an error set. */
static PyObject *tellings(PyObject *told, PyObject *limit)
{
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(told); i++) {
        PyObject *pair = PyList_GET_ITEM(told, i);
        if (PyTuple_GET_ITEM(pair, 0) == limit) {
            return PyTuple_GET_ITEM(pair, 1);
        }
    }
    PyObject *rows = PyByteArray_FromStringAndSize(NULL, 0);
    PyObject *pair = rows == NULL ? NULL : PyTuple_Pack(2, limit, rows);
    const int r = append(told, pair);
    Py_XDECREF(rows);
    return r < 0 ? NULL : rows; /* the pair has it */
}

/* Of the calls of one model, while it is gathered. */
typedef struct gathered {
    PyObject *calls, *told, *doubtful;
    int64_t withheld[XF_UNITS];
} gathered;

/* Adds what the answer tells of its model. -1 with an error set. */
static int gather(const xf_unread *u, gathered *g)
{
    for (int i = 0; i < u->n_told; i++) {
        PyObject *rows = tellings(g->told, u->told[i].limit);
        if (rows == NULL || append_telling(rows, u, &u->told[i]) < 0) {
            return -1;
        }
    }
    if (!u->is_settled) {
        return 0;
    }
    PyObject *parts = parts_of(u);
    if (append(g->calls, parts) < 0) {
        return -1;
    }
    bool is_doubtful = false;
    for (int unit = 0; unit < XF_UNITS; unit++) {
        is_doubtful |= u->withheld[unit] > 0;
        g->withheld[unit] += u->withheld[unit];
    }
    return is_doubtful ? PyList_Append(g->doubtful, parts) : 0;
}

/* The Spent of the model of list->items[first], of this and the later answers; their models are
   dropped. */
static PyObject *spent_of(xf_module *st, xf_unread_list *list, size_t first)
{
    PyObject *model = Py_NewRef(list->items[first].model);
    gathered g = {PyList_New(0), PyList_New(0), PyList_New(0), {0}};
    bool is_whole = g.calls != NULL && g.told != NULL && g.doubtful != NULL;
    for (size_t i = first; is_whole && i < list->count; i++) {
        xf_unread *u = &list->items[i];
        if (u->model != NULL && (u->model == model || PyUnicode_Compare(u->model, model) == 0)) {
            is_whole = gather(u, &g) == 0;
            Py_CLEAR(u->model);
        }
    }
    PyObject *const fields[] = {
        model,
        g.calls,
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
