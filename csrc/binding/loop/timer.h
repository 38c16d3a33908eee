/* What a loop's time is, and the one timer that a scheduler has in it. */
#ifndef XF_BINDING_TIMER_H
#define XF_BINDING_TIMER_H

#include "binding/loop/port.h"

/* Whether the loop's time is something else than the system's monotonic clock: a virtual clock. -1
   with an error set. */
int xf_has_own_clock(xf_module *st, PyObject *loop);

/* Now, on the clock of the port's loop (NULL: on the system's), in ns. -1: the loop's has failed,
   which is reported. Keeps a set exception. */
int64_t xf_clock_now(const PortObject *port);

/* Sees to it that the port's timer can be armed. To be called on its own loop. -1 with an error. */
int xf_port_prepare(PortObject *port);

/* Makes sure that the port wakes for what is due at `at`; `here` is the running loop (borrowed) or
   NULL. -1 with an error set. */
int xf_timer_arm(PortObject *port, PyObject *here, int64_t at);

/* Whether it does already. */
bool xf_timer_is_armed(const PortObject *port, int64_t at);

/* The timer has fired: returns the instant, which is not before the one it was armed for. */
int64_t xf_timer_fired(PortObject *port);

/* Quiets a timer that has fired, if it was not armed again. */
void xf_timer_rest(PortObject *port);

/* Gives the timer back; on the loop's own thread, or when the loop is closed. */
void xf_timer_close(PortObject *port);

/* The same for a port that is about to be freed, whose loop may be gone: runs no Python. */
void xf_timer_drop(PortObject *port);

#endif
