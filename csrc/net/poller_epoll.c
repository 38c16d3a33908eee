#define _GNU_SOURCE
#include "net/poller.h"

#ifdef __linux__
#include <errno.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

int xf_poller_open(xf_poller *p)
{
    p->timer_fd = -1;
    p->fd = epoll_create1(EPOLL_CLOEXEC);
    if (p->fd < 0) {
        return -1;
    }
    p->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = p->timer_fd};
    if (p->timer_fd < 0 || epoll_ctl(p->fd, EPOLL_CTL_ADD, p->timer_fd, &event) < 0) {
        int error = errno;
        xf_poller_close(p);
        errno = error;
        return -1;
    }
    return 0;
}

void xf_poller_close(xf_poller *p)
{
    if (p->timer_fd >= 0) {
        close(p->timer_fd);
    }
    if (p->fd >= 0) {
        close(p->fd);
    }
    p->fd = p->timer_fd = -1;
}

int xf_poller_watch(xf_poller *p, int fd, int before, int events)
{
    struct epoll_event event = {.data.fd = fd};
    if (events & XF_READ) {
        event.events |= EPOLLIN;
    }
    if (events & XF_WRITE) {
        event.events |= EPOLLOUT;
    }
    if (!events) {
        if (epoll_ctl(p->fd, EPOLL_CTL_DEL, fd, &event) == 0 || errno == ENOENT || errno == EBADF) {
            return 0;
        }
        return -1;
    }
    int op = before ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (epoll_ctl(p->fd, op, fd, &event) == 0) {
        return 0;
    }
    if (errno == ENOENT) {
        op = EPOLL_CTL_ADD;
    } else if (errno == EEXIST) {
        op = EPOLL_CTL_MOD;
    } else {
        return -1;
    }
    return epoll_ctl(p->fd, op, fd, &event);
}

int xf_poller_arm(xf_poller *p, int64_t delay_ns)
{
    if (delay_ns < 1) {
        delay_ns = 1; /* zero would disarm */
    }
    struct itimerspec when = {
        .it_value = {.tv_sec = delay_ns / 1000000000, .tv_nsec = delay_ns % 1000000000}};
    return timerfd_settime(p->timer_fd, 0, &when, NULL);
}

int xf_poller_poll(xf_poller *p, xf_ready *ready, int size)
{
    struct epoll_event events[64];
    if (size > 64) {
        size = 64;
    }
    int n = epoll_wait(p->fd, events, size, 0);
    if (n < 0) {
        return errno == EINTR ? 0 : -1;
    }
    for (int i = 0; i < n; i++) {
        uint32_t got = events[i].events;
        if (events[i].data.fd == p->timer_fd) {
            uint64_t expirations;
            ssize_t ignored = read(p->timer_fd, &expirations, sizeof expirations);
            (void)ignored; /* EAGAIN if the timer was armed again meanwhile */
            ready[i] = (xf_ready){.fd = -1};
            continue;
        }
        ready[i] = (xf_ready){
            .fd = events[i].data.fd,
            .events = (got & EPOLLIN ? XF_READ : 0) | (got & EPOLLOUT ? XF_WRITE : 0) |
                      (got & (EPOLLERR | EPOLLHUP) ? XF_ERROR : 0),
        };
    }
    return n;
}
#endif
