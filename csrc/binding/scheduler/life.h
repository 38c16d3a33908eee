/* How a scheduler is made, visited by the garbage collector, and freed: slots of its type. */
#ifndef XF_BINDING_LIFE_H
#define XF_BINDING_LIFE_H

#include <Python.h>

PyObject *xf_life_new(PyTypeObject *type, PyObject *args, PyObject *kwargs);
int xf_life_init(PyObject *self, PyObject *args, PyObject *kwargs);
int xf_life_traverse(PyObject *self, visitproc visit, void *arg);
int xf_life_clear(PyObject *self);
void xf_life_dealloc(PyObject *self);

#endif
