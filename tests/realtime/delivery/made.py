"""Messages for tests: small, and readable again."""

import msgspec

from realtime import messages
from realtime.delivery import frames
from realtime.delivery.message import Message
from realtime.policy.lag import Overflow


def made(topic, offset, overflow=Overflow.DROP_OLDEST, *, key=None, patient=False, fill=0):
    payload = messages.published("m", topic, offset, "x" * fill)
    return Message(frames.text(payload), topic, offset, overflow, key, patient)


def reply(number=0):
    return frames.text(messages.encode({"type": "reply", "number": number}))


def told(sent):
    """Frames, as short as they can be said: 3 for an offset, (2, 5) for a gap, "reply"."""
    return [_short(msgspec.json.decode(frame.payload)) for frame in sent]


def _short(message):
    if message["type"] == "gap":
        return (message["offset"] - message["missed"] + 1, message["offset"])
    return message["offset"] if message["type"] == "m" else message["type"]
