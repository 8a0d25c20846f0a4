#include "wire.h"

#include <string.h>

struct extent {
    size_t header; /* 0: more bytes are needed to know */
    uint64_t length;
};

static int extent_of(const uint8_t *data, size_t size, struct extent *extent)
{
    extent->header = 0;
    if (size < 2)
        return 0;
    if (data[1] & 0x80)
        return -1;
    uint8_t length = data[1];
    size_t header = length < 126 ? 2 : length == 126 ? 4 : 10;
    if (size < header)
        return 0;
    uint64_t value = length;
    if (header > 2) {
        value = 0;
        for (size_t i = 2; i < header; i++)
            value = value << 8 | data[i];
    }
    if (value >> 63)
        return -1;
    extent->header = header;
    extent->length = value;
    return 0;
}

static void tell(const uint8_t *start, const struct extent *extent, wire_on_frame *on_frame, void *context)
{
    struct wire_frame frame = {
        .opcode = start[0] & 0x0F,
        .final = start[0] >> 7,
        .length = extent->length,
        .peek = start + extent->header,
        .peeked = extent->length < WIRE_PEEK ? extent->length : WIRE_PEEK,
    };
    on_frame(context, &frame);
}

/* Add one byte to the start of a frame that came in parts; as soon as all of it is there, know what to skip. */
static int collect(struct wire *wire, uint8_t byte, wire_on_frame *on_frame, void *context)
{
    struct extent extent;
    wire->start[wire->have++] = byte;
    if (extent_of(wire->start, wire->have, &extent) < 0)
        return -1;
    if (extent.header == 0)
        return 0;
    uint64_t peek = extent.length < WIRE_PEEK ? extent.length : WIRE_PEEK;
    if (wire->have < extent.header + peek)
        return 0;
    wire->skip = extent.length - peek;
    if (wire->skip == 0) {
        tell(wire->start, &extent, on_frame, context);
        wire->have = 0;
    }
    return 0;
}

int wire_feed(struct wire *wire, const uint8_t *data, size_t size, wire_on_frame *on_frame, void *context)
{
    struct extent extent;
    while (size > 0) {
        if (wire->skip > 0) {
            uint64_t take = wire->skip < size ? wire->skip : size;
            wire->skip -= take;
            data += take;
            size -= take;
            if (wire->skip == 0) {
                extent_of(wire->start, wire->have, &extent);
                tell(wire->start, &extent, on_frame, context);
                wire->have = 0;
            }
            continue;
        }
        if (wire->have == 0) { /* mostly: whole frames, which are looked at where they lie */
            if (extent_of(data, size, &extent) < 0)
                return -1;
            if (extent.header > 0 && extent.length <= size - extent.header) {
                tell(data, &extent, on_frame, context);
                data += extent.header + extent.length;
                size -= extent.header + extent.length;
                continue;
            }
        }
        if (collect(wire, *data, on_frame, context) < 0)
            return -1;
        data++;
        size--;
    }
    return 0;
}

size_t wire_client_frame(uint8_t *out, uint8_t opcode, const void *payload, size_t size)
{
    size_t header = 2;
    out[0] = 0x80 | opcode;
    if (size < 126) {
        out[1] = 0x80 | (uint8_t)size;
    } else {
        out[1] = 0x80 | 126;
        out[2] = (uint8_t)(size >> 8);
        out[3] = (uint8_t)size;
        header = 4;
    }
    memset(out + header, 0, 4);
    memcpy(out + header + 4, payload, size);
    return header + 4 + size;
}
