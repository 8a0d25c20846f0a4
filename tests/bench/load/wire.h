/* WebSocket frames as a server sends them (RFC 6455 section 5.2): found by their headers, payloads skipped. */
#ifndef WIRE_H
#define WIRE_H

#include <stddef.h>
#include <stdint.h>

enum {
    WIRE_PEEK = 128,      /* bytes of a payload that the caller gets to see: a whole control frame (125) */
    WIRE_HEADER_MAX = 10, /* a server masks nothing */
    WIRE_CONTINUATION = 0x0,
    WIRE_TEXT = 0x1,
    WIRE_BINARY = 0x2,
    WIRE_CLOSE = 0x8,
    WIRE_PING = 0x9,
    WIRE_PONG = 0xA,
};

/* One frame, told of when its last byte has come. */
struct wire_frame {
    uint8_t opcode;
    int final;
    uint64_t length;     /* of the payload */
    const uint8_t *peek; /* its first bytes */
    size_t peeked;
};

typedef void wire_on_frame(void *context, const struct wire_frame *frame);

/* What is kept of a frame that came in parts; all zeros is the beginning. */
struct wire {
    uint64_t skip; /* bytes of it that are still to come and of no interest */
    uint16_t have;
    uint8_t start[WIRE_HEADER_MAX + WIRE_PEEK];
};

/* Take in `size` bytes of the stream. Returns 0, or -1 if they are no frames of a server. */
int wire_feed(struct wire *wire, const uint8_t *data, size_t size, wire_on_frame *on_frame, void *context);

/* Write a frame of a client to `out`, which has room for `size` + 8; at most 65535 bytes of payload.
 * The masking key is zero, which RFC 6455 allows a test to choose: the payload stands as it is. */
size_t wire_client_frame(uint8_t *out, uint8_t opcode, const void *payload, size_t size);

#endif
