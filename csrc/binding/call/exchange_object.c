#include "binding/call/exchange_object.h"

#include "binding/call/await.h"
#include "binding/call/call.h"
#include "binding/call/run.h"

void xf_exchange_let_go(ExchangeObject *x)
{
    x->phase = XF_EXCHANGE_OVER;
    Py_CLEAR(x->coro);
    Py_CLEAR(x->terms);
    Py_CLEAR(x->answered);
    Py_CLEAR(x->request);
    Py_CLEAR(x->call);
}

void xf_exchange_end(ExchangeObject *x, xf_outcome outcome)
{
    if (!x->is_part && x->call != NULL) {
        CallObject *c = x->call;
        XF_LOCK(x->scheduler);
        xf_call_move(c, XF_STAGE_ENDED);
        xf_call_end(c, outcome);
        XF_UNLOCK();
    }
    xf_exchange_let_go(x);
}

void xf_exchange_fail(ExchangeObject *x)
{
    bool is_cancelled = PyErr_ExceptionMatches(x->scheduler->st->cancelled_error) ||
                        PyErr_ExceptionMatches(PyExc_GeneratorExit);
    xf_exchange_end(x, is_cancelled ? XF_CANCELLED : XF_FAILED);
}

void xf_exchange_give_up(ExchangeObject *x)
{
    if (x->phase == XF_EXCHANGE_QUEUED) {
        xf_call_give_up(x->call); /* closes the request, too */
    } else {
        xf_close_coro(x->coro);
    }
    xf_exchange_let_go(x);
}

/* The exception that is set, as an object. */
static PyObject *caught(void)
{
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL) {
        (void)PyException_SetTraceback(value, traceback);
    }
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

PyObject *xf_exchange_show(ExchangeObject *x, PyObject *answer)
{
    PyObject *error = answer == NULL ? caught() : NULL, *more = NULL;
    int64_t came_at;
    XF_LOCK(x->scheduler);
    came_at = xf_port_now(x->scheduler, x->call->port);
    XF_UNLOCK();
    PyObject *asked = PyFloat_FromDouble((double)x->asked_at * 1e-9);
    PyObject *came = PyFloat_FromDouble((double)came_at * 1e-9);
    PyObject *sent = x->phase == XF_EXCHANGE_QUEUED ? Py_NewRef(Py_None)
                                                    : PyFloat_FromDouble((double)x->sent_at * 1e-9);
    if (asked != NULL && sent != NULL && came != NULL) {
        PyObject *args[] = {x->request,
                            (PyObject *)x->call,
                            asked,
                            sent,
                            came,
                            answer != NULL ? answer : Py_None,
                            error != NULL ? error : Py_None};
        more = PyObject_Vectorcall(x->answered, args, Py_ARRAY_LENGTH(args), NULL);
    }
    Py_XDECREF(asked);
    Py_XDECREF(sent);
    Py_XDECREF(came);
    Py_XDECREF(error);
    return more;
}
