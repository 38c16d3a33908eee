#include "net/poller.h"

#ifndef __linux__
#include <errno.h>
#include <fcntl.h>
#include <sys/event.h>
#include <sys/time.h>
#include <unistd.h>

#define TIMER 1

int xf_poller_open(xf_poller *p)
{
    p->timer_fd = -1;
    p->fd = kqueue();
    if (p->fd < 0) {
        return -1;
    }
    fcntl(p->fd, F_SETFD, FD_CLOEXEC);
    return 0;
}

void xf_poller_close(xf_poller *p)
{
    if (p->fd >= 0) {
        close(p->fd);
    }
    p->fd = -1;
}

static int change(xf_poller *p, int fd, int filter, int add)
{
    struct kevent event;
    EV_SET(&event, fd, filter, add ? EV_ADD : EV_DELETE, 0, 0, NULL);
    if (kevent(p->fd, &event, 1, NULL, 0, NULL) == 0) {
        return 0;
    }
    return !add && (errno == ENOENT || errno == EBADF) ? 0 : -1;
}

int xf_poller_watch(xf_poller *p, int fd, int before, int events)
{
    int gone = before & ~events;
    if (events & XF_READ && change(p, fd, EVFILT_READ, 1) < 0) {
        return -1;
    }
    if (events & XF_WRITE && change(p, fd, EVFILT_WRITE, 1) < 0) {
        return -1;
    }
    if (gone & XF_READ && change(p, fd, EVFILT_READ, 0) < 0) {
        return -1;
    }
    if (gone & XF_WRITE && change(p, fd, EVFILT_WRITE, 0) < 0) {
        return -1;
    }
    return 0;
}

int xf_poller_arm(xf_poller *p, int64_t delay_ns)
{
    struct kevent event;
    int64_t delay_us = delay_ns > 1000 ? delay_ns / 1000 : 1;
#ifdef NOTE_USECONDS
    EV_SET(&event, TIMER, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_USECONDS, delay_us, NULL);
#else
    EV_SET(&event, TIMER, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, (delay_us + 999) / 1000, NULL);
#endif
    return kevent(p->fd, &event, 1, NULL, 0, NULL);
}

int xf_poller_poll(xf_poller *p, xf_ready *ready, int size)
{
    struct kevent events[64];
    struct timespec now = {0, 0};
    if (size > 64) {
        size = 64;
    }
    int n = kevent(p->fd, NULL, 0, events, size, &now);
    if (n < 0) {
        return errno == EINTR ? 0 : -1;
    }
    for (int i = 0; i < n; i++) {
        if (events[i].filter == EVFILT_TIMER) {
            ready[i] = (xf_ready){.fd = -1};
            continue;
        }
        ready[i] = (xf_ready){
            .fd = (int)events[i].ident,
            .events = (events[i].filter == EVFILT_READ ? XF_READ : XF_WRITE) |
                      (events[i].flags & EV_ERROR ? XF_ERROR : 0),
        };
    }
    return n;
}
#endif
