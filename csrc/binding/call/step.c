#include "binding/call/step.h"

#include "binding/call/owner.h"

PyObject *xf_step_begin(CallObject *c)
{
    PyObject *token = PyContextVar_Set(c->scheduler->st->current_call, (PyObject *)c);
    if (token != NULL) {
        xf_call_move(c, XF_STAGE_STEPPING);
    }
    return token;
}

void xf_step_end(CallObject *c, PyObject *token_steal_ref)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    xf_call_move(c, XF_STAGE_PAUSED);
    if (PyContextVar_Reset(c->scheduler->st->current_call, token_steal_ref) < 0) {
        PyErr_WriteUnraisable((PyObject *)c);
    }
    Py_DECREF(token_steal_ref);
    PyErr_Restore(type, value, traceback);
}
