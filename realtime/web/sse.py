"""Server-sent events: one topic over plain HTTP, for clients that only listen.

What is delivered, and what happens to those that are too slow, is as for a WebSocket: the connection is the same, and
has a response for its wire.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import attrs
from quart import Blueprint, Response, request

from realtime.actors.tasks import UnknownTask
from realtime.delivery.connection import Connection
from realtime.delivery.errors import UnknownTopic
from realtime.delivery.outbox import Outbox
from realtime.delivery.topics import Subscription
from realtime.fields import shown
from realtime.messages import CloseCode
from realtime.policy.access import Principal
from realtime.policy.pages import Cursor
from realtime.policy.progress import TaskRecord
from realtime.transport.asgi import CONNECTION
from realtime.transport.event_stream import HEADERS, EventStreamResponse, EventStreamWire
from realtime.web.access import demand, enter, leave, may, principal
from realtime.web.backend import Backend, backend
from realtime.web.described import Answer, described
from realtime.web.errors import SOON, ApiError
from realtime.web.feed import TOPIC as SUPERVISORS
from realtime.web.sockets import asked_position, epoch_of_outcome, send_tree, tell_outcome, unused_id, watch
from realtime.web.stream_shapes import Position

blueprint = Blueprint("sse", __name__)

LATER: Final = {"Retry-After": "5"}
"""For a server that is full, as when it refuses the connection itself."""

_TASKS: Final = "tasks/"

Begin = Callable[[Connection, Subscription], None]


@blueprint.get("/sse/<path:topic>")
@described(
    query=Position,
    path={"topic": ("a topic; slashes as they are", "clock")},
    answers={
        200: Answer(content_type="text/event-stream", text="The messages, each as `id`, `event` and `data`."),
        204: Answer(content_type=None, text="There is nothing more to come."),
    },
    errors=(404, 503),
    tag="streams",
)
async def stream(topic: str) -> Response:
    """What is published on *topic* from now on, after what was missed since ``Last-Event-ID`` if that can be told.

    204, after which a browser does not come back, when it has seen the end of a task.
    """
    demand("subscribe", topic)
    state = backend()
    since = last_seen(request.headers.get("Last-Event-ID"), request.args)
    follow = await _follow(state, topic, since)
    if follow is None:
        return Response(b"", 204)  # with a body, since Quart goes through one that is not there by asyncio
    if request.method == "HEAD":
        response = Response(b"", headers=HEADERS)
        del response.headers["Content-Length"]
        return response
    if len(state.hub.connections) >= state.settings.server.max_connections:
        # Over HTTP/2 many streams share one connection, which alone was counted when it was accepted.
        raise ApiError(503, "there are too many connections; try again later", headers=LATER)
    extensions: Mapping[str, Any] = request.scope.get("extensions") or {}
    live = partial(_live, state, extensions.get(CONNECTION), follow, principal())
    return EventStreamResponse(
        live, since, address=_address(request.scope), write_timeout=state.settings.server.write_timeout
    )


def last_seen(id: str | None, parameters: Mapping[str, str]) -> Cursor | None:
    """The position in ``Last-Event-ID``, *id*, else in ``?epoch=&offset=``, which a page can use that was loaded anew.

    An id that is none of ours asks for nothing: a browser sends what it has, and cannot be told that it is wrong.
    """
    return Cursor.parse(id) if id is not None else asked_position(parameters)


@attrs.frozen
class _Topic:
    """A topic that exists, and what is done between the confirmation and the first message."""

    name: str
    since: Cursor | None
    begin: Begin | None = None

    def start(self, state: Backend, connection: Connection) -> None:
        try:
            subscription = state.hub.subscribe(connection, self.name, self.since)
        except UnknownTopic:  # it is gone since it was looked for
            connection.close(CloseCode.NORMAL)
        else:
            if self.begin is not None:
                self.begin(connection, subscription)


@attrs.frozen
class _Outcome:
    """A task of long ago."""

    record: TaskRecord

    def start(self, _state: Backend, connection: Connection) -> None:
        tell_outcome(self.record, connection)


async def _follow(state: Backend, topic: str, since: Cursor | None) -> _Topic | _Outcome | None:
    """What is to be streamed; None if the client has seen the end of it.

    Raises:
      ApiError: there is no such topic, or it is somebody else's, or it is not there yet.
    """
    if topic.startswith("session/"):
        raise ApiError(403, "this topic belongs to a session; connect to /ws/<session_id>")
    if topic.startswith(_TASKS):
        return await _follow_task(state, topic, since)
    try:
        state.hub.check(topic)
    except UnknownTopic as error:
        raise _unknown(topic) from error
    if topic != SUPERVISORS:
        return _Topic(topic, since)
    if state.tree is None:
        raise ApiError(503, "the server is starting; try again in a moment", headers=SOON)
    return _Topic(
        topic, since, partial(send_tree, state.tree, tracebacks=state.settings.server.debug or may("operate"))
    )


async def _follow_task(state: Backend, topic: str, since: Cursor | None) -> _Topic | _Outcome | None:
    task_id = topic.removeprefix(_TASKS)
    try:
        record = await state.tasks.get(task_id)
    except UnknownTask as error:
        raise _unknown(topic) from error
    known = state.hub.position(topic)
    end = Cursor(epoch_of_outcome(record), 1) if known is None else known
    if record.ended and since == end:
        return None
    return _Outcome(record) if known is None else _Topic(topic, since, partial(watch, state, task_id))


def _unknown(topic: str) -> ApiError:
    return ApiError(404, f"topic {shown(topic)} is not known", code="unknown_topic")


async def _live(
    state: Backend, of_transport: str | None, follow: _Topic | _Outcome, whose: Principal, wire: EventStreamWire
) -> None:
    """The connection, from its first message to its end; outside of any request."""
    # Only here: over HTTP/2 another stream of the same connection may have taken it since the request came.
    id = unused_id(state.hub, of_transport)
    delivery = state.settings.delivery
    outbox = Outbox(delivery.mailbox_messages, delivery.mailbox_bytes)
    connection = Connection(id, wire, outbox=outbox, principal=whose, refusals=state.refusals)
    enter(state, connection)
    try:
        follow.start(state, connection)
        await connection.run(_nothing_comes)
    finally:
        leave(state, connection)


def _nothing_comes(_message: str | bytes) -> None:
    """A client of a stream says nothing."""


def _address(scope: Mapping[str, Any]) -> str:
    client = scope.get("client")
    return client[0] if client else ""
