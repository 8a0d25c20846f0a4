#include "crowd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    EVENTS = 256,
    ANSWER_MAX = 4096,       /* bytes of a handshake's answer */
    STALLED_RCVBUF = 4096,   /* so that what the kernel holds for a stalled client is soon full, and always the same */
    READ_BYTES = 256 * 1024, /* taken in one call */
};

/* The example of RFC 6455 section 1.3: a server that computes its answer gets this one. */
static const char KEY[] = "dGhlIHNhbXBsZSBub25jZQ==";
static const char ACCEPT[] = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

static uint8_t buffer[READ_BYTES];

uint64_t clock_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

int crowd_init(struct crowd *crowd, const struct options *options, int capacity)
{
    memset(crowd, 0, sizeof *crowd);
    crowd->options = *options;
    crowd->server.sin_family = AF_INET;
    crowd->server.sin_port = htons((uint16_t)options->port);
    crowd->capacity = capacity;
    crowd->connections = calloc((size_t)capacity, sizeof *crowd->connections);
    crowd->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (inet_pton(AF_INET, options->host, &crowd->server.sin_addr) != 1) {
        snprintf(crowd->trouble, sizeof crowd->trouble, "%.40s is no IPv4 address", options->host);
        return -1;
    }
    if (crowd->connections == NULL || crowd->epoll < 0) {
        snprintf(crowd->trouble, sizeof crowd->trouble, "%s", strerror(errno));
        return -1;
    }
    return 0;
}

static void watch(struct connection *connection, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = connection};
    epoll_ctl(connection->crowd->epoll, operation, connection->fd, &event);
}

/* The connection is over; `trouble` is why, if it should not be. */
static void end(struct connection *connection, const char *trouble)
{
    struct crowd *crowd = connection->crowd;
    switch (connection->state) {
    case CONNECTING:
    case SHAKING:
    case CONFIRMING:
        crowd->shaking--;
        crowd->failed++;
        break;
    case OPEN:
        crowd->open--;
        crowd->lost++;
        break;
    case STALLED:
        crowd->stalled--;
        break;
    default:
        return;
    }
    if (trouble != NULL && connection->state != STALLED)
        snprintf(crowd->trouble, sizeof crowd->trouble, "%.150s", trouble);
    connection->state = CLOSED;
    close(connection->fd);
    free(connection->answer);
    connection->answer = NULL;
}

/* Send a frame; it is small, and nothing is ever on its way before it but others as small. */
static void say(struct connection *connection, uint8_t opcode, const void *payload, size_t size)
{
    uint8_t frame[2048];
    if (size > sizeof frame - 8) {
        end(connection, "a message of ours is too long");
        return;
    }
    size_t total = wire_client_frame(frame, opcode, payload, size);
    if (send(connection->fd, frame, total, MSG_NOSIGNAL) != (ssize_t)total)
        end(connection, "could not send to the server");
}

static void opened(struct connection *connection)
{
    struct crowd *crowd = connection->crowd;
    crowd->shaking--;
    if (connection->stalling) {
        connection->state = STALLED;
        crowd->stalled++;
        watch(connection, EPOLL_CTL_MOD, EPOLLRDHUP);
    } else {
        connection->state = OPEN;
        crowd->open++;
    }
}

static void measure(struct crowd *crowd, const struct wire_frame *frame)
{
    static const char MARK[] = "\"at\":";
    const char *at = memmem(frame->peek, frame->peeked, MARK, sizeof MARK - 1);
    if (at == NULL)
        return;
    const char *last = (const char *)frame->peek + frame->peeked;
    uint64_t sent = 0;
    for (at += sizeof MARK - 1; at < last && *at == ' '; at++) {
    }
    for (; at < last && *at >= '0' && *at <= '9'; at++)
        sent = sent * 10 + (uint64_t)(*at - '0');
    histogram_add(crowd->latency, crowd->now > sent ? crowd->now - sent : 0);
}

static void on_frame(void *context, const struct wire_frame *frame)
{
    struct connection *connection = context;
    struct crowd *crowd = connection->crowd;
    if (connection->state == CLOSED)
        return;
    if (frame->opcode <= WIRE_BINARY) {
        if (frame->length >= crowd->options.least) {
            connection->messages += (uint64_t)frame->final;
            crowd->messages += (uint64_t)frame->final;
            crowd->bytes += frame->length;
            if (crowd->latency != NULL)
                measure(crowd, frame);
            return;
        }
        crowd->others++;
        if (crowd->options.engineio && frame->length == 1 && frame->peek[0] == '2')
            say(connection, WIRE_TEXT, "3", 1);
        if (connection->state == CONFIRMING && ++connection->confirmations >= crowd->options.confirmations)
            opened(connection);
    } else if (frame->opcode == WIRE_PING) {
        say(connection, WIRE_PONG, frame->peek, frame->peeked);
    } else if (frame->opcode == WIRE_CLOSE) {
        connection->close_code = frame->peeked < 2 ? 1005 : frame->peek[0] << 8 | frame->peek[1];
        if (connection->state != STALLED) {
            char text[32];
            snprintf(text, sizeof text, "closed with %d", connection->close_code);
            end(connection, text);
        }
    }
}

static void take(struct connection *connection, const uint8_t *data, size_t size)
{
    if (wire_feed(&connection->wire, data, size, on_frame, connection) < 0)
        end(connection, "what came was no WebSocket frame of a server");
}

/* The whole answer to the handshake has come: judge it, and go on with what came behind it. */
static void shaken(struct connection *connection, char *behind)
{
    struct options *options = &connection->crowd->options;
    char *answer = connection->answer;
    size_t rest = connection->answered - (size_t)(behind - answer);
    connection->answer = NULL;
    if (strncmp(answer, "HTTP/1.1 101", 12) != 0 || strstr(answer, ACCEPT) == NULL) {
        answer[strcspn(answer, "\r\n")] = 0;
        end(connection, answer);
    } else {
        connection->state = CONFIRMING;
        if (options->subscribe != NULL)
            say(connection, WIRE_TEXT, options->subscribe, strlen(options->subscribe));
        if (options->confirmations == 0 && connection->state == CONFIRMING)
            opened(connection);
        if (connection->state != CLOSED)
            take(connection, (uint8_t *)behind, rest);
    }
    free(answer);
}

static void shake(struct connection *connection)
{
    ssize_t got = recv(connection->fd, connection->answer + connection->answered, ANSWER_MAX - connection->answered, 0);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN)
            end(connection, got == 0 ? "the handshake was cut off" : strerror(errno));
        return;
    }
    connection->answered += (size_t)got;
    connection->answer[connection->answered] = 0;
    char *behind = strstr(connection->answer, "\r\n\r\n");
    if (behind != NULL)
        shaken(connection, behind + 4);
    else if (connection->answered == ANSWER_MAX)
        end(connection, "the answer to the handshake is too long");
}

static void greet(struct connection *connection)
{
    const struct options *options = &connection->crowd->options;
    char path[256], request[1024];
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0) {
        end(connection, strerror(error));
        return;
    }
    const char *number = strstr(options->path, "%d");
    if (number == NULL)
        snprintf(path, sizeof path, "%s", options->path);
    else
        snprintf(path, sizeof path, "%.*s%d%s", (int)(number - options->path), options->path, connection->number,
                 number + 2);
    int size = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n%s\r\n",
                        path, options->host, options->port, KEY,
                        options->deflate ? "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
                                         : "");
    connection->answer = malloc(ANSWER_MAX + 1);
    if (connection->answer == NULL || send(connection->fd, request, (size_t)size, MSG_NOSIGNAL) != size) {
        end(connection, "could not send the handshake");
        return;
    }
    connection->state = SHAKING;
    watch(connection, EPOLL_CTL_MOD, EPOLLIN);
}

static void read_some(struct connection *connection)
{
    ssize_t got = recv(connection->fd, buffer, sizeof buffer, 0);
    if (got > 0) {
        connection->crowd->now = clock_now();
        take(connection, buffer, (size_t)got);
    } else if (got == 0) {
        end(connection, "the server ended a connection");
    } else if (errno != EAGAIN) {
        connection->ended_by = errno;
        end(connection, strerror(errno));
    }
}

/* A stalled connection tells of its end without being read if it is reset. */
static void stalled_ended(struct connection *connection)
{
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0) {
        connection->ended_by = error;
        end(connection, NULL);
    } else {
        watch(connection, EPOLL_CTL_MOD, 0); /* closed behind data that is not read: `crowd_read_stalled` will see */
    }
}

static void handle(struct connection *connection)
{
    switch (connection->state) {
    case CONNECTING:
        greet(connection);
        break;
    case SHAKING:
        shake(connection);
        break;
    case CONFIRMING:
    case OPEN:
        read_some(connection);
        break;
    case STALLED:
        stalled_ended(connection);
        break;
    default:
        break;
    }
}

static void begin(struct crowd *crowd, int stalling)
{
    struct connection *connection = &crowd->connections[crowd->used];
    int on = 1, small = STALLED_RCVBUF;
    connection->crowd = crowd;
    connection->number = crowd->used;
    connection->stalling = crowd->used < stalling;
    connection->state = CONNECTING;
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    crowd->used++;
    crowd->shaking++;
    if (connection->fd < 0) {
        end(connection, strerror(errno));
        return;
    }
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connection->stalling)
        setsockopt(connection->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    if (crowd->options.sources > 0) {
        struct sockaddr_in source = {.sin_family = AF_INET};
        source.sin_addr.s_addr = htonl(0x7F000100U + 1U + (uint32_t)(connection->number % crowd->options.sources));
        setsockopt(connection->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
        if (bind(connection->fd, (struct sockaddr *)&source, sizeof source) < 0) {
            end(connection, strerror(errno));
            return;
        }
    }
    if (connect(connection->fd, (struct sockaddr *)&crowd->server, sizeof crowd->server) < 0 && errno != EINPROGRESS) {
        end(connection, strerror(errno));
        return;
    }
    watch(connection, EPOLL_CTL_ADD, EPOLLOUT);
}

void crowd_begin(struct crowd *crowd, int target, int stalling)
{
    while (crowd->used < target && crowd->used < crowd->capacity && crowd->shaking < crowd->options.at_once)
        begin(crowd, stalling);
}

int crowd_pump(struct crowd *crowd, int timeout, int other_fd)
{
    struct epoll_event events[EVENTS];
    int other = 0;
    int count = epoll_wait(crowd->epoll, events, EVENTS, timeout);
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr == NULL)
            other = other_fd >= 0;
        else
            handle(events[i].data.ptr);
    }
    return other;
}

void crowd_read_stalled(struct crowd *crowd)
{
    for (int i = 0; i < crowd->used; i++) {
        struct connection *connection = &crowd->connections[i];
        for (int reads = 0; connection->state == STALLED && reads < 1000; reads++) {
            ssize_t got = recv(connection->fd, buffer, sizeof buffer, 0);
            if (got < 0 && errno == EAGAIN)
                break;
            if (got > 0) {
                take(connection, buffer, (size_t)got);
            } else {
                connection->ended_by = got < 0 ? errno : 0;
                end(connection, NULL);
            }
        }
    }
}

void crowd_close(struct crowd *crowd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0}; /* a reset: no port stays in TIME_WAIT */
    for (int i = 0; i < crowd->used; i++) {
        struct connection *connection = &crowd->connections[i];
        if (connection->state == CLOSED || connection->state == UNUSED)
            continue;
        setsockopt(connection->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
        close(connection->fd);
        free(connection->answer);
        connection->state = CLOSED;
    }
    crowd->used = crowd->shaking = crowd->open = crowd->stalled = 0;
}
