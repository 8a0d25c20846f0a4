"""Our own streams, opened by the connection's own task: see `realtime.transport.direct`.

Decided here is what needs no waiting and ends well: a stream that is there, for a client that may have it. Whoever
belongs to a trace, or is to be recognised by ``auth.use``, and whoever is to be refused, goes through the application,
whose routes (`realtime.web.sockets`) serve the same streams by the same functions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import attrs

from realtime import messages
from realtime.actors.tasks import topic_of
from realtime.delivery.connection import Connection
from realtime.delivery.outbox import Outbox
from realtime.delivery.topics import Subscription
from realtime.fields import BadField
from realtime.policy import bearer
from realtime.policy.access import Principal
from realtime.policy.opening import Opening
from realtime.policy.pages import Cursor
from realtime.transport.direct import Acceptance
from realtime.transport.wire import SocketWire
from realtime.web import understanding
from realtime.web.backend import Backend
from realtime.web.errors import ApiError
from realtime.web.feed import TOPIC as SUPERVISORS
from realtime.web.guard import check_names
from realtime.web.sockets import asked_position, live, send_tree, unused_id, watch
from realtime.web.understanding import Answer


@attrs.frozen
class Stream:
    """What one path carries; see `realtime.web.sockets`."""

    topics: tuple[str, ...]
    understand: Answer
    session: str | None = None
    begin: Callable[[Connection, Subscription], None] | None = None
    heartbeat: Callable[[], bytes] = messages.ping
    resumes: bool = True
    """Whether the query may say what was seen last; a session says so with each topic that it asks for."""


def open_directly(state: Backend, opening: Opening) -> Acceptance | None:
    """How the WebSocket is accepted that *opening* asks for; None if the application is to answer."""
    if "traceparent" in opening.headers:
        return None
    try:
        check_names(state.settings.server, opening.headers["host"], opening.headers.get("origin"), "http")
    except ApiError:
        return None
    principal = state.access.identify_at_once(opening.headers, opening.subprotocols)
    if principal is None:
        return None
    stream = find(state, opening.path, principal)
    if stream is None or not state.access.may(principal, "subscribe", stream.topics[-1]):
        return None
    since = None
    if stream.resumes and opening.query:
        parameters = opening.parameters
        if parameters is None:
            return None
        try:
            since = asked_position(parameters)
        except BadField:
            return None
    # Last, as it counts.
    if not state.access.within_rate(principal):
        return None
    return Acceptance(partial(_serve, state, stream, principal, since), bearer.agreed(opening.subprotocols))


def find(state: Backend, path: str, principal: Principal) -> Stream | None:
    """The stream at *path*, if nothing has to be looked up for it."""
    if path == "/ws/events":
        return Stream(("events",), understanding.fixed)
    if path == "/ws/supervisors":
        if state.tree is None:
            return None
        tracebacks = state.settings.server.debug or state.access.may(principal, "operate")
        return Stream((SUPERVISORS,), understanding.fixed, begin=partial(send_tree, state.tree, tracebacks=tracebacks))
    task = path.removeprefix("/ws/tasks/")
    if task != path:
        # One that has ended long ago is told of from the store.
        if not messages.is_task_id(task) or not state.hub.knows(topic_of(task)):
            return None
        begin = partial(watch, state, task)
        return Stream((topic_of(task),), understanding.fixed, begin=begin, heartbeat=messages.heartbeat)
    session = path.removeprefix("/ws/")
    if session == path or not messages.is_session_id(session):
        return None
    return Stream(("clock", f"session/{session}"), understanding.session, session, resumes=False)


async def _serve(state: Backend, stream: Stream, principal: Principal, since: Cursor | None, wire: SocketWire) -> None:
    delivery = state.settings.delivery
    connection = Connection(
        unused_id(state.hub, wire.id),
        wire,
        session=stream.session,
        outbox=Outbox(delivery.mailbox_messages, delivery.mailbox_bytes),
        max_inbound_per_second=delivery.max_inbound_per_second,
        heartbeat_message=stream.heartbeat,
        principal=principal,
        refusals=state.refusals,
    )
    await live(state, connection, stream.topics, stream.understand, stream.begin, since)
