/* A set of descriptors and one timer behind a single descriptor, which an event loop can watch. */
#ifndef XF_NET_POLLER_H
#define XF_NET_POLLER_H

#include <stdint.h>

enum { XF_READ = 1, XF_WRITE = 2, XF_ERROR = 4 };

typedef struct xf_poller {
    int fd;
    int timer_fd; /* -1 if the queue has timers of its own */
} xf_poller;

typedef struct xf_ready {
    int fd; /* -1: the timer */
    int events;
} xf_ready;

/* Opens a poller. 0, or -1 with errno. */
int xf_poller_open(xf_poller *p);

/* Closes its descriptors. */
void xf_poller_close(xf_poller *p);

/* Watches fd for `events` (0: no longer). `before` are the events that the caller believes to be
 * watched. They may be wrong, since a descriptor may have been closed and its number reused. 0, or
 * -1 with errno. */
int xf_poller_watch(xf_poller *p, int fd, int before, int events);

/* Arms the timer to fire once after `delay_ns`. A second call replaces the first. 0, or -1 with
 * errno. */
int xf_poller_arm(xf_poller *p, int64_t delay_ns);

/* Stores the descriptors that are ready now, without waiting. Returns the number of entries, or -1
 * with errno. */
int xf_poller_poll(xf_poller *p, xf_ready *ready, int size);

#endif
