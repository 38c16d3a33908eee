/* How other processes wake a port: a descriptor that they make readable. */
#ifndef XF_BINDING_POKE_H
#define XF_BINDING_POKE_H

#include "binding/loop/port.h"

/* Has the port's loop wake the port whenever `descriptor` is readable. The port keeps a copy of it.
   Does nothing on a loop that cannot watch one. Must be called on the port's own loop. 0, or -1
   with an error set. */
int xf_poke_watch(PortObject *port, int descriptor);

/* Closes the copy: on the loop's own thread, or when the loop is closed. */
void xf_poke_close(PortObject *port);

/* The same for a port that is about to be freed, whose loop may be gone: runs no Python. */
void xf_poke_drop(PortObject *port);

#endif
