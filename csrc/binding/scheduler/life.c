#include "binding/scheduler/life.h"

#include "binding/call/call.h"
#include "binding/call/estimate.h"
#include "binding/call/lessee.h"
#include "binding/call/member.h"
#include "binding/call/owner.h"
#include "binding/call/prefix.h"
#include "binding/scheduler/expected.h"
#include "binding/scheduler/limits.h"

static void *core_realloc(void *Py_UNUSED(ctx), void *p, size_t size)
{
    if (size == 0) {
        PyMem_RawFree(p);
        return NULL;
    }
    return PyMem_RawRealloc(p, size);
}

/* This module, which defines one of the bases of `type`; borrowed. */
static PyObject *module_of(PyTypeObject *type)
{
    PyObject *module = NULL;
    for (; type != NULL && xf_module_state(module) == NULL; type = type->tp_base) {
        module = PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE) ? PyType_GetModule(type) : NULL;
    }
    return module;
}

PyObject *xf_life_new(PyTypeObject *type, PyObject *Py_UNUSED(args), PyObject *Py_UNUSED(kwargs))
{
    SchedulerObject *s = (SchedulerObject *)type->tp_alloc(type, 0);
    if (s != NULL) {
        s->module = Py_XNewRef(module_of(type));
        s->st = xf_module_state(s->module);
    }
    return (PyObject *)s;
}

/* Copies `given` (NULL is empty) into a tuple of our own, which code of its items cannot change. */
static PyObject *items_of(PyObject *given, const char *error)
{
    PyObject *list = given != NULL ? PySequence_Fast(given, error) : PyTuple_New(0);
    PyObject *items = list != NULL ? PySequence_Tuple(list) : NULL;
    Py_XDECREF(list);
    return items;
}

int xf_life_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
    static char *keywords[] = {"limits", "max_concurrency", "places", NULL};
    SchedulerObject *s = (SchedulerObject *)self;
    PyObject *given = NULL, *concurrency = NULL, *places = NULL, *names = NULL;
    PyObject *limit_items = NULL, *place_items = NULL;
    xf_definition *limits = NULL;
    uint8_t *kinds = NULL;
    int8_t *units = NULL;
    uint32_t slots;
    Py_ssize_t n = 0, n_configured = 0;
    const xf_alloc alloc = {core_realloc, NULL};
    int result = -1;

    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$OOO:Scheduler", keywords, &given,
                                     &concurrency, &places) ||
        xf_parse_slots(concurrency, &slots) < 0) {
        return -1;
    }
    limit_items = items_of(given, "limits must be a sequence");
    place_items = items_of(places, "places must be a sequence");
    if (limit_items == NULL || place_items == NULL) {
        goto done;
    }
    n_configured = PyTuple_GET_SIZE(limit_items);
    n = n_configured + PyTuple_GET_SIZE(place_items);
    names = PyTuple_New(n);
    limits = PyMem_Calloc((size_t)n + 1, sizeof(xf_definition));
    kinds = PyMem_Calloc((size_t)n + 1, 1);
    units = PyMem_Calloc((size_t)n + 1, 1);
    if (names == NULL || limits == NULL || kinds == NULL || units == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        bool configured = i < n_configured;
        PyObject *name, *item = configured ? PyTuple_GET_ITEM(limit_items, i)
                                           : PyTuple_GET_ITEM(place_items, i - n_configured);
        if ((configured ? xf_parse_limit : xf_parse_place)(item, &name, &limits[i]) < 0) {
            goto done;
        }
        PyTuple_SET_ITEM(names, i, Py_NewRef(name));
        kinds[i] = (uint8_t)(configured ? xf_kind_of : xf_kind_of_place)(s->st, name);
        units[i] = (int8_t)xf_unit_of(name);
    }
    /* Checked last, since reading the arguments may have run any code. */
    if (s->ready) {
        PyErr_SetString(PyExc_RuntimeError, "a scheduler can be initialised once only");
        goto done;
    }
    if (!xf_scheduler_init(&s->core, limits, (uint32_t)n, slots, &alloc)) {
        PyErr_NoMemory();
        goto done;
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        s->has_tokens |= kinds[i] == XF_KIND_TOKENS;
        s->has_other |= i < n_configured && kinds[i] == XF_KIND_OTHER;
        s->reserved |= units[i] >= 0 ? 1U << units[i] : 0;
        s->core.gate.limits[i].counts_input = units[i] == XF_TOKENS || units[i] == XF_INPUT_TOKENS;
    }
    s->reserved |= 1U << XF_TOKENS;
    s->names = Py_NewRef(names);
    s->kinds = kinds;
    s->units = units;
    kinds = NULL;
    units = NULL;
    s->n_configured = (uint32_t)n_configured;
    s->ready = true;
    result = 0;
done:
    PyMem_Free(kinds);
    PyMem_Free(units);
    PyMem_Free(limits);
    Py_XDECREF(names);
    Py_XDECREF(limit_items);
    Py_XDECREF(place_items);
    return result;
}

int xf_life_traverse(PyObject *self, visitproc visit, void *arg)
{
    SchedulerObject *s = (SchedulerObject *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(s->module);
    Py_VISIT(s->names);
    Py_VISIT(s->drains);
    Py_VISIT(s->tariffs);
    if (xf_foretold_traverse(s, visit, arg) != 0 || xf_prefix_traverse(s, visit, arg) != 0) {
        return -1;
    }
    if (s->member != NULL) {
        Py_VISIT(s->member->ways);
    }
    if (s->lessee != NULL) {
        Py_VISIT(s->lessee->holder);
    }
    for (PortObject *port = s->ports; port != NULL; port = port->next) {
        Py_VISIT(port);
        for (CallObject *c = port->calls; c != NULL; c = c->next) {
            Py_VISIT(c);
        }
    }
    return 0;
}

int xf_life_clear(PyObject *self)
{
    SchedulerObject *s = (SchedulerObject *)self;
    Py_CLEAR(s->drains);
    Py_CLEAR(s->tariffs);
    xf_foretold_free(s);
    xf_port_detach_all(s);
    xf_prefix_free(s);
    return 0;
}

void xf_life_dealloc(PyObject *self)
{
    SchedulerObject *s = (SchedulerObject *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (s->weakrefs != NULL) {
        PyObject_ClearWeakRefs(self);
    }
    xf_member_leave(s); /* on the clock of its ports */
    xf_lessee_leave(s);
    (void)xf_life_clear(self);
    Py_CLEAR(s->names);
    xf_call_free_all(s);
    xf_member_free(s);
    xf_lessee_free(s);
    xf_scheduler_free(&s->core);
    PyMem_Free(s->kinds);
    PyMem_Free(s->units);
    Py_XDECREF(s->module);
    type->tp_free(self);
    Py_DECREF(type);
}
