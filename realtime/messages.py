"""What stands on the wire: names, close codes, the messages of the server and those of the client.

All JSON goes out through `encode`; what strangers send comes in through `parse_client_message` and
`decode_object`. Nothing here knows of a socket.
"""

import enum
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

import attrs
import msgspec

from realtime.fields import BadField as BadField
from realtime.fields import build_first, decode_mapping, nearest, shown
from realtime.fields import decode_object as decode_object

# --- names --------------------------------------------------------------------------------------------------

_PART = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")

MAX_TOPIC_LENGTH = 128
"""Characters of a topic in all, its slashes included."""

FIXED_STREAMS = frozenset({"events", "tasks", "supervisors"})
"""Names below ``/ws/`` that are streams, hence no session ids."""

TOPIC_GRAMMAR = "parts of 1 to 64 letters, digits, '_', '.', ':' or '-', joined by '/', 128 characters in all"
ID_GRAMMAR = "1 to 64 letters, digits, '_', '.' or '-'"


def is_topic(name: str) -> bool:
    """Whether *name* is a topic's name, such as ``clock`` or ``tasks/t1``."""
    return len(name) <= MAX_TOPIC_LENGTH and all(map(_PART.fullmatch, name.split("/")))


def is_session_id(name: str) -> bool:
    """Whether *name* is a session's id: the fixed streams' names are not, they have paths of their own."""
    return _ID.fullmatch(name) is not None and name not in FIXED_STREAMS


def is_task_id(name: str) -> bool:
    """Whether *name* is a task's id."""
    return _ID.fullmatch(name) is not None


def is_actor_id(name: str) -> bool:
    """Whether *name* may be an actor module's id, and so a part of a path in the tree."""
    return _ID.fullmatch(name) is not None


class CloseCode(enum.IntEnum):
    """Why a connection is closed, and whether its client should come back."""

    NORMAL = 1000
    """The stream is complete (a task ended): do not come back."""
    PROTOCOL_ERROR = 1002
    """The client broke RFC 6455: it may come back, but has to be mended."""
    INVALID_DATA = 1007
    """The client sent text that is not UTF-8: it may come back, but has to be mended."""
    TOO_BIG = 1009
    """The client sent more than ``max_message_bytes`` at once: it may come back with less."""
    HANDLER_FAILED = 1011
    """Our own handler raised: come back."""
    RESTART = 1012
    """The server drains or restarts: come back after the seconds given as ``retry-after=`` in the reason."""
    TOO_SLOW = 4000
    """The outbox overflowed under ``disconnect`` or ``wait``, or no write went on: come back and resume."""
    NO_SIGN_OF_LIFE = 4001
    """Nothing came within ``pong_timeout`` of a ping: come back and resume."""
    TOO_MANY_BAD_MESSAGES = 4400
    """The 21st malformed message within 10 s: come back later, mended."""
    NOT_AUTHENTICATED = 4401
    """No credentials, or expired ones: come back after signing in."""
    NOT_ALLOWED = 4403
    """The credentials do not reach this far: come back after signing in with others."""
    NO_SUCH_TASK = 4404
    """The task is unknown: do not come back."""
    TOO_MANY_MESSAGES = 4429
    """More than ``max_inbound_per_second``, or a flood of frames that are no messages: come back later, and slower."""


# --- encoding -----------------------------------------------------------------------------------------------


def now_iso(timestamp: float | None = None) -> str:
    """The wire's form of a time: ISO 8601, UTC, milliseconds (cut, not rounded), ``Z``.

    Args:
      timestamp: seconds since 1970; now, when left out.
    """
    moment = datetime.now(UTC) if timestamp is None else datetime.fromtimestamp(timestamp, UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _enc_hook(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__qualname__} has no JSON form; give plain values or attrs classes")


_encoder = msgspec.json.Encoder(enc_hook=_enc_hook)


def encode(value: object) -> bytes:
    """*value* as JSON: plain values, mappings, attrs classes, enums, datetimes, and `msgspec.Raw` as it is.

    Fields of attrs classes that begin with an underscore are left out. A datetime comes out as msgspec writes
    it, with up to six digits of a second; use `now_iso` where the wire asks for milliseconds. ``nan`` and
    infinities become ``null``.

    Raises:
      TypeError: something in *value* has no JSON form.
      ValueError: a string in it holds a lone surrogate.
      RecursionError: it is nested too deep.
    """
    return _encoder.encode(value)


# --- from the server ----------------------------------------------------------------------------------------


def published(type: str, topic: str, offset: int, data: object) -> bytes:
    """A message of a topic. *data* may be a `msgspec.Raw` of JSON that was encoded before."""
    return encode({"type": type, "topic": topic, "offset": offset, "data": data})


def emitted(event: str, data: object, *, id: str | None = None) -> bytes:
    """What ``emit`` sends; with *id* where an acknowledgement is asked for.

    Raises:
      ValueError: *event* is one of `RESERVED_TYPES`.
    """
    if event in RESERVED_TYPES:
        raise ValueError(f"event {event!r} is reserved for the protocol's own messages; choose another name")
    message = {"type": event, "data": data, "timestamp": now_iso()}
    return encode(message if id is None else message | {"id": id})


def subscribed(topic: str, epoch: str, offset: int, *, recovered: bool = False, conflate: bool = False) -> bytes:
    """Confirms a subscription, before its first message; messages follow from *offset* + 1 on."""
    message = {"type": "subscribed", "topic": topic, "epoch": epoch, "offset": offset, "recovered": recovered}
    return encode(message | {"conflate": True} if conflate else message)


def unsubscribed(topic: str, code: str, message: str) -> bytes:
    """Ends a subscription; *code* is ``requested``, or why the server ended it."""
    return encode({"type": "unsubscribed", "topic": topic, "code": code, "message": message})


def ping() -> bytes:
    """The heartbeat message that goes with a Ping frame; browsers cannot see the frame."""
    return encode({"type": "ping", "timestamp": now_iso()})


def heartbeat() -> bytes:
    """Takes the place of `ping` on a task's stream."""
    return encode({"type": "heartbeat", "timestamp": now_iso()})


def pong(timestamp: str | None = None) -> bytes:
    """Answers a client's ping with the client's *timestamp*, or ours if it sent none."""
    return encode({"type": "pong", "timestamp": now_iso() if timestamp is None else timestamp})


def gap(topic: str, offset: int, missed: int) -> bytes:
    """Stands in the stream where *missed* messages, up to *offset*, were dropped for this client."""
    return encode({"type": "gap", "topic": topic, "offset": offset, "missed": missed})


def result(id: str, data: object) -> bytes:
    """Answers a ``publish`` or ``call`` that carried *id*."""
    return encode({"type": "result", "id": id, "data": data})


def error(code: str, message: str, *, topic: str | None = None, id: str | None = None) -> bytes:
    """Refuses what the client sent; the connection and its subscriptions stay."""
    body = {"type": "error", "code": code, "message": message, "topic": topic, "id": id}
    return encode({key: value for key, value in body.items() if value is not None})


# --- from the client ----------------------------------------------------------------------------------------


def _topic(_instance: object, field: "attrs.Attribute[str]", value: str) -> None:
    if not is_topic(value):
        raise ValueError(f"{field.name} must be {TOPIC_GRAMMAR}, got {shown(value)}")


def _offset(_instance: object, field: "attrs.Attribute[int]", value: int) -> None:
    # The upper bound is SQLite's, which has to look it up; JSON itself knows none.
    if not 0 <= value < 2**63:
        raise ValueError(f"{field.name} must be from 0 to 2**63 - 1, got {shown(value)}")


# The same bounds for the documents that are made of these classes; the validators enforce them.
TopicName = Annotated[
    str,
    msgspec.Meta(pattern=r"^[A-Za-z0-9_.:-]{1,64}(/[A-Za-z0-9_.:-]{1,64})*$", max_length=MAX_TOPIC_LENGTH),
]
Offset = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


@attrs.frozen
class Ping:
    """Asks for a `pong`."""

    timestamp: str | None = None


@attrs.frozen
class Pong:
    """Answers our `ping`."""

    timestamp: str | None = None


@attrs.frozen
class Subscribe:
    """Asks for a topic; with the *epoch* and *offset* last seen, for what was missed since."""

    topic: TopicName = attrs.field(validator=_topic)
    epoch: str | None = None
    offset: Offset | None = attrs.field(default=None, validator=attrs.validators.optional(_offset))


@attrs.frozen
class Unsubscribe:
    """Ends a subscription."""

    topic: TopicName = attrs.field(validator=_topic)


@attrs.frozen
class Publish:
    """Publishes *data* to a topic, whose ``publish`` setting decides whether it may."""

    topic: TopicName = attrs.field(validator=_topic)
    data: object
    id: str | None = None


@attrs.frozen
class Call:
    """Calls a method; the `result` or `error` carries the same *id*."""

    id: str
    method: str
    params: dict[str, object] = attrs.field(factory=dict)


@attrs.frozen
class Ack:
    """Acknowledges the emitted message with this *id*."""

    id: str


ClientMessage = Ping | Pong | Subscribe | Unsubscribe | Publish | Call | Ack

CLIENT_TYPES: Mapping[str, type[ClientMessage]] = {
    "ping": Ping,
    "pong": Pong,
    "subscribe": Subscribe,
    "unsubscribe": Unsubscribe,
    "publish": Publish,
    "call": Call,
    "ack": Ack,
}

_SERVER_TYPES = {
    *("subscribed", "unsubscribed", "gap", "ping", "pong", "heartbeat", "result", "error", "presence"),
    *("event", "time_update", "snapshot", "queue_update", "supervisor_event"),
    *("progress", "completed", "failed", "cancelled", "interrupted"),
}

RESERVED_TYPES = frozenset(CLIENT_TYPES) | frozenset(_SERVER_TYPES)
"""Types with a meaning of their own, which ``emit`` refuses."""


class BadMessage(ValueError):
    """A client's message that cannot be understood; the text says what was wrong and what was wanted."""


def parse_client_message(text: str | bytes) -> ClientMessage:
    """The message in one WebSocket message of a client.

    Args:
      text: as it came; bytes are a binary message, which is refused.

    Raises:
      BadMessage: whatever else may be wrong with it. Nothing but this is raised.
    """
    if not isinstance(text, str):
        raise BadMessage("a binary message is not understood; send a JSON object as text")
    known = ", ".join(CLIENT_TYPES)
    try:
        values = decode_mapping(text)
    except BadField as problem:
        raise BadMessage(str(problem)) from None
    if "type" not in values:
        raise BadMessage(f"type is missing; it is one of {known}")
    kind = values.pop("type")
    if not isinstance(kind, str):
        raise BadMessage(f"type must be a string, one of {known}; got {shown(kind)}")
    if kind not in CLIENT_TYPES:
        raise BadMessage(f"type {shown(kind)} is not known{nearest(kind, CLIENT_TYPES)}; all are {known}")
    try:
        return build_first(CLIENT_TYPES[kind], values)
    except BadField as problem:
        raise BadMessage(f"{kind}: {problem}") from None
