"""The messages of the sockets: one class for each that the server sends, and an example of each, both ways.

What the server sends is made in `realtime.messages`, of what is at hand; here stands what it looks like.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import attrs
from msgspec import UNSET, Meta, UnsetType

from realtime import messages
from realtime.web import shapes
from realtime.web.shapes import Count, Timestamp

Offset = Annotated[int, Meta(ge=0, description="the message's number within its topic's epoch")]


@attrs.frozen
class Subscribed:
    """Confirms a subscription, before its first message; messages follow from *offset* + 1 on."""

    type: Literal["subscribed"]
    topic: str
    epoch: Annotated[str, Meta(description="changes when offsets start anew")]
    offset: Offset
    recovered: Annotated[bool, Meta(description="whether all that was missed follows")]
    conflate: Annotated[Literal[True], Meta(description="of each key only the latest is sent")] | UnsetType = UNSET


@attrs.frozen
class Unsubscribed:
    """Ends a subscription."""

    type: Literal["unsubscribed"]
    topic: str
    code: Annotated[str, Meta(description="`requested`, or why the server ended it")]
    message: str


@attrs.frozen
class EventMessage:
    """An event that was committed."""

    type: Literal["event"]
    topic: str
    offset: Offset
    data: shapes.Event


@attrs.frozen
class Moment:
    """A point in time."""

    date: Timestamp


@attrs.frozen
class TimeUpdate:
    """The server's clock."""

    type: Literal["time_update"]
    topic: str
    offset: Offset
    data: Moment


@attrs.frozen
class Snapshot:
    """The state of a topic as a whole; what it consists of is the topic's own."""

    type: Literal["snapshot"]
    topic: str
    offset: Offset
    data: dict[str, Any]


@attrs.frozen
class TreeSnapshot:
    """The whole tree."""

    type: Literal["snapshot"]
    topic: Literal["supervisors"]
    offset: Offset
    data: shapes.TreeNode


@attrs.frozen
class TreeChange:
    """What happened, and to whom; *node* is null when it is gone, or when nobody watched at that moment."""

    event: str
    path: str
    node: shapes.TreeNode | None


@attrs.frozen
class SupervisorEvent:
    """A change in the tree."""

    type: Literal["supervisor_event"]
    topic: str
    offset: Offset
    data: TreeChange


@attrs.frozen
class QueueUpdate:
    """A job of the queue has changed; further fields are the queue's own."""

    type: Literal["queue_update"]
    topic: str
    offset: Offset
    data: dict[str, Any]


@attrs.frozen
class Published:
    """What is published on a topic of an actor module's own: ``<name>_update``, or any other type that it chose."""

    type: str
    topic: str
    offset: Offset
    data: Any


@attrs.frozen
class TaskProgress:
    """How far a task is."""

    task_id: str
    stage: str | None
    percent: Annotated[float, Meta(ge=0, le=100)] | None
    message: str | None
    extra: dict[str, Any]


@attrs.frozen
class Progress:
    """How far a task is; the newer of two replaces the older, if that still waits."""

    type: Literal["progress"]
    topic: str
    offset: Offset
    data: TaskProgress


@attrs.frozen
class TaskEnd(TaskProgress):
    """How a task ended, with its error or its result, if there is one, and how far it was."""

    error: shapes.TaskFailure | UnsetType = UNSET
    result: Any = UNSET


@attrs.frozen
class Ended:
    """The end of a task; the connection is closed with 1000 behind it."""

    type: Literal["completed", "failed", "cancelled", "interrupted"]
    topic: str
    offset: Offset
    data: TaskEnd


@attrs.frozen
class Member:
    """A session, on however many connections, and as whom it has signed in."""

    session: str
    principal: str | UnsetType = UNSET


@attrs.frozen
class Joins:
    """Who has come and who has left."""

    joined: list[Member]
    left: list[Member]


@attrs.frozen
class Presence:
    """Who is in a topic has changed; the first behind `subscribed` tells who is there already."""

    type: Literal["presence"]
    topic: str
    offset: Offset
    data: Joins


@attrs.frozen
class PingMessage:
    """Asks for a pong; a Ping frame goes with it, which a browser cannot see."""

    type: Literal["ping"]
    timestamp: Timestamp


@attrs.frozen
class HeartbeatMessage:
    """Takes the place of `ping` on a task's stream."""

    type: Literal["heartbeat"]
    timestamp: Timestamp


@attrs.frozen
class PongMessage:
    """Answers a client's ping: with its timestamp, or ours if it sent none."""

    type: Literal["pong"]
    timestamp: str


@attrs.frozen
class Gap:
    """Stands where *missed* messages, up to *offset*, were dropped for this client."""

    type: Literal["gap"]
    topic: str
    offset: Offset
    missed: Annotated[int, Meta(ge=1)]


@attrs.frozen
class Result:
    """Answers a `publish` or `call` that carried *id*."""

    type: Literal["result"]
    id: str
    data: Any


@attrs.frozen
class ErrorMessage:
    """Refuses what the client sent; the connection and its subscriptions stay."""

    type: Literal["error"]
    code: str
    message: str
    topic: str | UnsetType = UNSET
    id: str | UnsetType = UNSET


@attrs.frozen
class Emitted:
    """What was emitted to the session, to a topic or to all; *id* asks for an `ack`. Its type is the event's name."""

    type: str
    data: Any
    timestamp: Timestamp
    id: str | UnsetType = UNSET


@attrs.frozen
class Position:
    """The parameters with which a client asks a stream for what it missed: both, or none."""

    epoch: str | None = None
    offset: Count | None = None


HEARTBEAT: Final = (PingMessage, PongMessage, ErrorMessage)
"""What every stream sends besides its own."""

STREAM: Final = (Subscribed, Unsubscribed, Gap, *HEARTBEAT)
"""What every stream of one topic sends besides its own."""

SESSION: Final = (
    *STREAM,
    *(TimeUpdate, EventMessage, Snapshot, QueueUpdate, SupervisorEvent, Progress, Ended, Presence, Published),
    *(Result, Emitted),
)
"""What a session may be sent, whatever it subscribes to."""

NODE: Final = {
    "id": "clock",
    "path": "broadcasters/clock",
    "kind": "worker",
    "state": "running",
    "health": "ok",
    "reasons": [],
    "generation": 2,
    "restarts": 1,
    "stats": {},
}
"""A node of the tree, for examples."""
_NOW: Final = "2026-01-01T00:00:00.000Z"
_FAR: Final = {"task_id": "t1", "stage": "hashing", "percent": 42.5, "message": "photos/0017.jpg", "extra": {}}

EXAMPLES: Final[Mapping[type, Mapping[str, Any]]] = {
    Subscribed: {"type": "subscribed", "topic": "events", "epoch": "k3v9", "offset": 41, "recovered": False},
    Unsubscribed: {"type": "unsubscribed", "topic": "clock", "code": "requested", "message": "clock is no longer sent"},
    EventMessage: {
        "type": "event",
        "topic": "events",
        "offset": 42,
        "data": {
            "event_id": "01JGFJJZ00D3C5Q9Z8Y7X6W5V4",
            "type": "door_opened",
            "timestamp": _NOW,
            "severity": "info",
            "source": None,
            "tags": [],
            "data": {},
        },
    },
    TimeUpdate: {"type": "time_update", "topic": "clock", "offset": 7, "data": {"date": _NOW}},
    Snapshot: {"type": "snapshot", "topic": "system", "offset": 3, "data": {"cpu_percent": 12.5}},
    TreeSnapshot: {"type": "snapshot", "topic": "supervisors", "offset": 8, "data": NODE},
    SupervisorEvent: {
        "type": "supervisor_event",
        "topic": "supervisors",
        "offset": 9,
        "data": {"event": "restarted", "path": "broadcasters/clock", "node": NODE},
    },
    QueueUpdate: {"type": "queue_update", "topic": "queue", "offset": 3, "data": {"queue_id": "q1", "status": "done"}},
    Published: {"type": "weather_update", "topic": "weather", "offset": 3, "data": {"celsius": 21.5}},
    Progress: {"type": "progress", "topic": "tasks/t1", "offset": 5, "data": _FAR},
    Ended: {
        "type": "failed",
        "topic": "tasks/t1",
        "offset": 9,
        "data": _FAR | {"error": {"code": "timeout", "message": "it took longer than 60 s"}},
    },
    Presence: {
        "type": "presence",
        "topic": "room",
        "offset": 7,
        "data": {"joined": [{"session": "alice"}], "left": []},
    },
    PingMessage: {"type": "ping", "timestamp": _NOW},
    HeartbeatMessage: {"type": "heartbeat", "timestamp": _NOW},
    PongMessage: {"type": "pong", "timestamp": _NOW},
    Gap: {"type": "gap", "topic": "events", "offset": 54, "missed": 12},
    Result: {"type": "result", "id": "c1", "data": {}},
    ErrorMessage: {"type": "error", "code": "unknown_topic", "message": "no topic is called 'clok'", "topic": "clok"},
    Emitted: {"type": "invoice_paid", "data": {"invoice": 17}, "timestamp": _NOW},
    messages.Ping: {"type": "ping", "timestamp": _NOW},
    messages.Pong: {"type": "pong"},
    messages.Subscribe: {"type": "subscribe", "topic": "events", "epoch": "k3v9", "offset": 41},
    messages.Unsubscribe: {"type": "unsubscribe", "topic": "clock"},
    messages.Publish: {"type": "publish", "topic": "room", "data": {"text": "hello"}, "id": "c2"},
    messages.Call: {"type": "call", "id": "c1", "method": "add", "params": {"a": 1, "b": 2}},
    messages.Ack: {"type": "ack", "id": "e7"},
}
