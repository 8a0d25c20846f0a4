"""Our own streams, opened by the connection's own task: see `realtime.transport.direct`.

Decided here is what needs no waiting and ends well: a stream that is there, for a client that may have it and is asked
for nothing. Whoever brings a token, a query or a trace, and whoever is to be refused, goes through the application,
whose routes (`realtime.web.sockets`) serve the same streams by the same functions.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import attrs

from realtime import messages
from realtime.delivery.connection import Connection
from realtime.delivery.outbox import Outbox
from realtime.delivery.topics import Subscription
from realtime.policy.access import ANONYMOUS
from realtime.policy.opening import Opening
from realtime.transport.direct import Serve
from realtime.transport.wire import SocketWire
from realtime.web import understanding
from realtime.web.backend import Backend
from realtime.web.errors import ApiError
from realtime.web.feed import TOPIC as SUPERVISORS
from realtime.web.guard import check_names
from realtime.web.sockets import live, send_tree, unused_id
from realtime.web.understanding import Answer


@attrs.frozen
class Stream:
    """What one path carries; see `realtime.web.sockets`."""

    topics: tuple[str, ...]
    understand: Answer
    session: str | None = None
    begin: Callable[[Connection, Subscription], None] | None = None


def open_directly(state: Backend, opening: Opening) -> Serve | None:
    """What serves the WebSocket that *opening* asks for; None if the application is to answer."""
    if state.access.recognises or "traceparent" in opening.headers:
        return None
    try:
        check_names(state.settings.server, opening.headers["host"], opening.headers.get("origin"), "http")
    except ApiError:
        return None
    stream = find(state, opening.path)
    if stream is None or not state.access.may(ANONYMOUS, "subscribe", stream.topics[-1]):
        return None
    return partial(_serve, state, stream)


def find(state: Backend, path: str) -> Stream | None:
    """The stream at *path*, if nothing has to be looked up for it."""
    if path == "/ws/events":
        return Stream(("events",), understanding.fixed)
    if path == "/ws/supervisors":
        if state.tree is None:
            return None
        tracebacks = state.settings.server.debug or state.access.may(ANONYMOUS, "operate")
        return Stream((SUPERVISORS,), understanding.fixed, begin=partial(send_tree, state.tree, tracebacks=tracebacks))
    session = path.removeprefix("/ws/")
    if session == path or not messages.is_session_id(session):
        return None
    return Stream(("clock", f"session/{session}"), understanding.session, session)


async def _serve(state: Backend, stream: Stream, wire: SocketWire) -> None:
    delivery = state.settings.delivery
    connection = Connection(
        unused_id(state.hub, wire.id),
        wire,
        session=stream.session,
        outbox=Outbox(delivery.mailbox_messages, delivery.mailbox_bytes),
        max_inbound_per_second=delivery.max_inbound_per_second,
        refusals=state.refusals,
    )
    await live(state, connection, stream.topics, stream.understand, stream.begin, None)
