/* The floor in C: one `writev` per connection and tick, of frames that are built once.
 *
 * It speaks just enough of the handshake for the load client, and knows no subscriptions, no limits and no slow
 * clients: it shows what the machine allows, and that the load client can take more than any server sends. */
#include "crowd.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 16384, SIZE_MAX_ = 65535, PER_MAX = 256, PATIENCE_MS = 5000 };

static int sockets[MOST];
static int count;
static uint8_t frames[PER_MAX][SIZE_MAX_ + 4];

static uint64_t nanoseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static size_t build(uint8_t *frame, int size)
{
    size_t header = size < 126 ? 2 : 4;
    frame[0] = 0x80 | WIRE_TEXT;
    frame[1] = size < 126 ? (uint8_t)size : 126;
    if (header == 4) {
        frame[2] = (uint8_t)(size >> 8);
        frame[3] = (uint8_t)size;
    }
    memset(frame + header, 'x', (size_t)size);
    char text[64];
    int length = snprintf(text, sizeof text, "{\"at\": %llu, \"pad\": \"", (unsigned long long)nanoseconds());
    memcpy(frame + header, text, (size_t)(length < size ? length : size));
    return header + (size_t)size;
}

/* All of it, waiting where the kernel takes no more: the clients of a floor always read. */
static int write_all(int fd, struct iovec *parts, int number)
{
    while (number > 0) {
        ssize_t wrote = writev(fd, parts, number);
        if (wrote < 0) {
            struct pollfd wait = {.fd = fd, .events = POLLOUT};
            if (errno != EAGAIN || poll(&wait, 1, PATIENCE_MS) != 1)
                return -1;
            continue;
        }
        while (number > 0 && (size_t)wrote >= parts->iov_len) {
            wrote -= (ssize_t)parts->iov_len;
            parts++;
            number--;
        }
        if (number > 0) {
            parts->iov_base = (uint8_t *)parts->iov_base + wrote;
            parts->iov_len -= (size_t)wrote;
        }
    }
    return 0;
}

static void publish(int per, int size)
{
    struct iovec all[PER_MAX], parts[PER_MAX];
    for (int i = 0; i < per; i++) {
        all[i].iov_base = frames[i];
        all[i].iov_len = build(frames[i], size);
    }
    for (int i = 0; i < count; i++) {
        memcpy(parts, all, sizeof *parts * (size_t)per);
        if (write_all(sockets[i], parts, per) < 0) {
            close(sockets[i]);
            sockets[i--] = sockets[--count];
        }
    }
}

static void on_command(int fd)
{
    char text[64];
    int per, size;
    ssize_t got = recv(fd, text, sizeof text - 1, 0);
    if (got <= 0)
        return;
    text[got] = 0;
    if (sscanf(text, "%d %d", &per, &size) == 2 && per >= 0 && per <= PER_MAX && size >= 0 && size <= SIZE_MAX_)
        publish(per, size);
}

static void shake(int fd)
{
    /* The answer to the one key that the load client sends. */
    static const char ANSWER[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                                 "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    char request[4096];
    ssize_t got = recv(fd, request, sizeof request - 1, 0);
    if (got <= 0 || count == MOST) {
        close(fd);
        return;
    }
    request[got] = 0;
    if (strncmp(request, "GET ", 4) != 0)
        return; /* a frame: a pong, or the like */
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (send(fd, ANSWER, sizeof ANSWER - 1, MSG_NOSIGNAL) > 0)
        sockets[count++] = fd;
}

int main(int argc, char **argv)
{
    int port = argc > 1 ? atoi(argv[1]) : 0;
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), control = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) < 0 || listen(listener, 4096) < 0 ||
        bind(control, (struct sockaddr *)&address, sizeof address) < 0) {
        perror("cannot listen");
        return 1;
    }
    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN}, events[256];
    for (int *fd = (int[]){listener, control, -1}; *fd >= 0; fd++) {
        event.data.fd = *fd;
        epoll_ctl(epoll, EPOLL_CTL_ADD, *fd, &event);
    }
    for (;;) {
        int number = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < number; i++) {
            int fd = events[i].data.fd;
            if (fd == control) {
                on_command(fd);
            } else if (fd == listener) {
                event.data.fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
                if (event.data.fd >= 0)
                    epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event);
            } else {
                shake(fd);
            }
        }
    }
}
