/* Many WebSocket connections to one server, in one thread: opened, counted, and never the limit. */
#ifndef CROWD_H
#define CROWD_H

#include "histogram.h"
#include "wire.h"

#include <netinet/in.h>

struct options {
    const char *host;      /* an IPv4 address */
    int port;              /* TCP of the connections, and UDP of the commands to publish */
    const char *path;      /* "%d" in it becomes the connection's number */
    const char *subscribe; /* sent as a text message once the handshake is done; NULL: nothing is */
    int confirmations;     /* small messages after which a connection counts as open */
    uint64_t least;        /* bytes of payload from which on a message is counted */
    int deflate;           /* offer permessage-deflate */
    int engineio;          /* answer Engine.IO's own pings */
    int sources;           /* of this many addresses 127.0.1.x connections are made; 0: the system's choice */
    int at_once;           /* handshakes under way at a time */
};

enum state { UNUSED, CONNECTING, SHAKING, CONFIRMING, OPEN, STALLED, CLOSED };

struct connection {
    struct crowd *crowd;
    int number;
    int fd;
    enum state state;
    int stalling; /* never reads once it is open */
    int confirmations;
    uint64_t messages;
    int close_code;    /* of the server's Close frame; 0: none came */
    int ended_by;      /* an errno, or 0 for an end of the stream */
    char *answer;      /* to the handshake, while it comes in */
    size_t answered;
    struct wire wire;
};

struct crowd {
    struct options options;
    struct sockaddr_in server;
    int epoll;
    struct connection *connections;
    int capacity;
    int used;     /* begun so far */
    int shaking;  /* begun and not open */
    int open;     /* open and reading */
    int stalled;  /* open, and not reading */
    int failed;   /* did not open */
    int lost;     /* ended after they were open and reading */
    char trouble[160]; /* the last thing that went wrong, as text */
    uint64_t messages, bytes, others; /* counted, their payload, and those too small to be counted */
    struct histogram *latency;        /* NULL: not measured */
    uint64_t now;                     /* nanoseconds of CLOCK_MONOTONIC, when the last bytes were read */
};

/* Nanoseconds of CLOCK_MONOTONIC, which all processes of the machine share. */
uint64_t clock_now(void);

/* Returns 0, or -1 with `trouble` set. */
int crowd_init(struct crowd *crowd, const struct options *options, int capacity);

/* Begin new connections up to `target` in all and `at_once` under way; those numbered below `stalling` will stall. */
void crowd_begin(struct crowd *crowd, int target, int stalling);

/* Handle what has happened, waiting for at most `timeout` milliseconds. Returns whether `other_fd` was among it. */
int crowd_pump(struct crowd *crowd, int timeout, int other_fd);

/* Read what the stalled have by now, up to their end if it has come; see `close_code` and `ended_by` then. */
void crowd_read_stalled(struct crowd *crowd);

/* End all connections, without lingering. */
void crowd_close(struct crowd *crowd);

#endif
