/* Records for Python: struct sequences, and rows that are plain tuples. Both extensions are built
   with this file. */
#ifndef XF_RECORD_H
#define XF_RECORD_H

#include <Python.h>

/* Makes a record of `n` new references, which it takes over. Any of them may be NULL with an
   exception set, and so is the result then. */
PyObject *xf_record_new(PyTypeObject *type, PyObject *const *fields, Py_ssize_t n);

/* Makes a tuple of them in the same way. */
PyObject *xf_row_new(PyObject *const *fields, Py_ssize_t n);

#endif
