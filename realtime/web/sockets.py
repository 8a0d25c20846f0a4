"""The WebSocket paths: what each carries. What a client may say on it: `realtime.web.understanding`."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from quart import Blueprint, websocket

from realtime import messages
from realtime.actors.tasks import UnknownTask, topic_of
from realtime.delivery.connection import Connection
from realtime.delivery.hub import Hub
from realtime.delivery.outbox import Outbox
from realtime.delivery.topics import Subscription
from realtime.fields import BadField, shown
from realtime.messages import (
    CLIENT_TYPES,
    BadMessage,
    CloseCode,
    Ping,
    Pong,
    parse_client_message,
)
from realtime.policy import bearer
from realtime.policy.pages import Cursor
from realtime.policy.progress import TaskRecord
from realtime.transport.asgi import CONNECTION, open_wire
from realtime.web import stream_shapes, understanding
from realtime.web.access import admitted, enter, leave, may, principal, send_away
from realtime.web.backend import Backend, backend
from realtime.web.described import streams
from realtime.web.errors import ApiError
from realtime.web.feed import TOPIC as SUPERVISORS
from realtime.web.guard import keep_trace
from realtime.web.nodes import node_to_wire
from realtime.web.understanding import Answer
from supervisors import Tree

blueprint = Blueprint("sockets", __name__)

STARTING: Final = "retry-after=1.0"
"""The close reason while the tree is being started, which takes a fraction of a second."""


@blueprint.websocket("/ws/events")
@streams(sends=(stream_shapes.EventMessage, *stream_shapes.STREAM), receives=(Ping, Pong), query=stream_shapes.Position)
async def events() -> None:
    """Each event, as it is committed."""
    if await admitted("events"):
        await _serve(("events",), understanding.fixed)


@blueprint.websocket("/ws/supervisors")
@streams(
    sends=(stream_shapes.TreeSnapshot, stream_shapes.SupervisorEvent, *stream_shapes.STREAM),
    receives=(Ping, Pong),
    query=stream_shapes.Position,
)
async def supervisors() -> None:
    """The whole tree once, then each change."""
    tree = backend().tree
    if tree is None:
        await send_away(CloseCode.RESTART, STARTING)
    elif await admitted(SUPERVISORS):
        show = partial(send_tree, tree, tracebacks=backend().settings.server.debug or may("operate"))
        await _serve((SUPERVISORS,), understanding.fixed, begin=show)


@blueprint.websocket("/ws/tasks/<task_id>")
@streams(
    sends=(
        *(stream_shapes.Progress, stream_shapes.Ended, stream_shapes.HeartbeatMessage),
        *stream_shapes.STREAM,
    ),
    receives=(Ping, Pong),
    path={"task_id": ("the task's id", "01JGFJJZ00D3C5Q9Z8Y7X6W5V4")},
    query=stream_shapes.Position,
)
async def task(task_id: str) -> None:
    """A task's state, its progress and how it ended; then the connection is closed."""
    if not messages.is_task_id(task_id):
        raise ApiError(404, f"a task's id is {messages.ID_GRAMMAR}")
    topic = topic_of(task_id)
    if not await admitted(topic):
        return
    try:
        record = await backend().tasks.get(task_id)
    except UnknownTask:
        await send_away(CloseCode.NO_SUCH_TASK, "no such task")
        return
    if backend().hub.knows(topic):
        await _serve(
            (topic,), understanding.fixed, begin=partial(watch, backend(), task_id), heartbeat=messages.heartbeat
        )
    else:
        await _serve_outcome(record)


@blueprint.websocket("/ws/<session_id>")
@streams(
    sends=stream_shapes.SESSION,
    receives=tuple(CLIENT_TYPES.values()),
    path={"session_id": ("any name that its clients agree on; several connections may share it", "alice")},
)
async def session(session_id: str) -> None:
    """The clock from the start, and every topic that the client subscribes to."""
    if not messages.is_session_id(session_id):
        raise ApiError(404, f"a session's id is {messages.ID_GRAMMAR}, and no stream's name")
    topic = f"session/{session_id}"
    if await admitted(topic):
        await _serve(("clock", topic), understanding.session, session=session_id)


async def _serve(
    topics: tuple[str, ...],
    understand: Answer,
    *,
    session: str | None = None,
    begin: Callable[[Connection, Subscription], None] | None = None,
    heartbeat: Callable[[], bytes] = messages.ping,
) -> None:
    """One connection, from its acceptance to its end; on our own server the handler need not stay for that.

    Args:
      topics: what it is subscribed to from the start.
      understand: called with each message of the client's.
      begin: called with each of these subscriptions, between its confirmation and its first message.
      heartbeat: makes the message that goes with a Ping frame.
    """
    state = backend()
    # A session says so with each topic that it asks for.
    since = asked_position(websocket.args) if session is None else None
    connection = await _open(state, session, heartbeat)
    life = keep_trace(partial(live, state, connection, topics, understand, begin, since))
    if not connection.wire.detach(life):
        await life()


async def live(
    state: Backend,
    connection: Connection,
    topics: tuple[str, ...],
    understand: Answer,
    begin: Callable[[Connection, Subscription], None] | None,
    since: Cursor | None,
) -> None:
    """An open connection; outside of any request."""

    def handle(text: str | bytes) -> Awaitable[None] | None:
        try:
            message = parse_client_message(text)
        except BadMessage as problem:
            connection.reject(str(problem))
            return None
        # A pong is our own doing.
        if isinstance(message, Pong) or state.access.within_rate(connection.principal):
            return understand(state, connection, message)
        connection.close(CloseCode.TOO_MANY_MESSAGES, "too many messages of this principal")
        return None

    enter(state, connection)
    try:
        for topic in topics:
            # Of a session the clock is but one part.
            if not understanding.allowed(state, connection, "subscribe", topic):
                continue
            subscription = state.hub.subscribe(connection, topic, since)
            if begin is not None:
                begin(connection, subscription)
        await connection.run(handle)
    finally:
        leave(state, connection)


def asked_position(parameters: Mapping[str, str]) -> Cursor | None:
    """What ``?epoch=&offset=`` says was seen last; None without both of them.

    Raises:
      BadField: the offset is none.
    """
    epoch, offset = parameters.get("epoch", ""), parameters.get("offset", "")
    asked = Cursor.parse(f"{epoch}:{offset}")
    if offset and asked is None:
        raise BadField("offset", f"offset must be a whole number, got {shown(offset)}")
    return asked if epoch and offset else None


async def _open(state: Backend, session: str | None, heartbeat: Callable[[], bytes] = messages.ping) -> Connection:
    settings = state.settings
    agreed = bearer.agreed(websocket.requested_subprotocols)
    wire = await open_wire(websocket, subprotocol=agreed, write_timeout=settings.server.write_timeout)
    extensions: Mapping[str, Any] = websocket.scope.get("extensions") or {}
    return Connection(
        unused_id(state.hub, extensions.get(CONNECTION)),
        wire,
        session=session,
        outbox=Outbox(settings.delivery.mailbox_messages, settings.delivery.mailbox_bytes),
        max_inbound_per_second=settings.delivery.max_inbound_per_second,
        heartbeat_message=heartbeat,
        principal=principal(),
        refusals=state.refusals,
    )


def watch(state: Backend, task_id: str, connection: Connection, _subscription: Subscription) -> None:
    """The topic has sent the current state; its end closes the connection, at once if that is past."""
    record = state.tasks.watch(task_id, connection)
    if record is None or record.ended:
        connection.close(CloseCode.NORMAL, "" if record is None else record.state)


async def _serve_outcome(record: TaskRecord) -> None:
    connection = await _open(backend(), None)
    tell_outcome(record, connection)
    await connection.run(_ignore)


def tell_outcome(record: TaskRecord, connection: Connection) -> None:
    """Of a task of long ago: its topic is gone, so this one subscriber gets an epoch of its own."""
    topic, (type_, data) = topic_of(record.task_id), record.to_message()
    connection.reply(messages.subscribed(topic, epoch_of_outcome(record), 0))
    connection.reply(messages.published(type_, topic, 1, data))
    connection.close(CloseCode.NORMAL, record.state)


def epoch_of_outcome(record: TaskRecord) -> str:
    """In which the one message is numbered that tells how a task of long ago ended."""
    return f"ended.{record.task_id}"


async def _ignore(_message: str | bytes) -> None:
    """For a client that is being sent away."""


def unused_id(hub: Hub, of_transport: str | None) -> str:
    """The id that the transport's log lines bear, if there is one and it is free; else one that begins with it."""
    if of_transport is None:  # another server than ours
        return secrets.token_hex(8)
    # Over HTTP/2 the sockets of a page share one connection (RFC 8441).
    return of_transport if hub.get(of_transport) is None else f"{of_transport}-{secrets.token_hex(4)}"


def send_tree(tree: Tree, connection: Connection, subscription: Subscription, *, tracebacks: bool) -> None:
    """The root node; its offset is that of the last change before it."""
    node = node_to_wire(tree.snapshot(), tracebacks=tracebacks)
    connection.reply(messages.published("snapshot", subscription.topic, subscription.offset, node))
