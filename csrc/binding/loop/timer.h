/* A loop's time, and the one timer that a scheduler has in it. */
#ifndef XF_BINDING_TIMER_H
#define XF_BINDING_TIMER_H

#include "binding/loop/port.h"

/* Whether the loop has a clock other than the system's monotonic one, such as a virtual clock. -1
   with an error set. */
int xf_has_own_clock(xf_module *st, PyObject *loop);

/* The time in ns on the clock of the port's loop (NULL: of the system). -1 if the loop's clock has
   failed, which is reported. Keeps a set exception. */
int64_t xf_clock_now(const PortObject *port);

/* The time of day in seconds since 1970 (UTC), as dates in answers are told. */
double xf_unix_time(void);

/* Makes sure that the port's timer can be armed. Must be called on the port's own loop. 0, or -1
   with an error set. */
int xf_port_prepare(PortObject *port);

/* Makes sure that the port wakes at `at`. `here` is the running loop (borrowed) or NULL. 0, or -1
   with an error set. */
int xf_timer_arm(PortObject *port, PyObject *here, int64_t at);

/* Whether the port is to wake at `at` already. */
bool xf_timer_is_armed(const PortObject *port, int64_t at);

/* Notes that the timer has fired. Returns the time in ns, which is not before the instant for which
   it was armed. */
int64_t xf_timer_fired(PortObject *port);

/* Stops a timer that has fired, if it was not armed again. */
void xf_timer_rest(PortObject *port);

/* Closes the timer, on the loop's own thread, or when the loop is closed. */
void xf_timer_close(PortObject *port);

/* The same for a port that is being freed, whose loop may be gone. Runs no Python. */
void xf_timer_drop(PortObject *port);

#endif
