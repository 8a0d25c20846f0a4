"""What clients say on their WebSockets, and what is done about it: a table by the class of the message.

Nothing here blocks but publishing to a topic whose policy is `wait`: its publisher's socket is not read meanwhile.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

from realtime import messages
from realtime.delivery.connection import Connection
from realtime.delivery.errors import TooManyTopics, UnknownTopic
from realtime.messages import Ack, Call, ClientMessage, Ping, Pong, Publish, Subscribe, Unsubscribe
from realtime.policy.access import Action
from realtime.policy.lag import Overflow
from realtime.policy.pages import Cursor
from realtime.web.backend import Backend

logger = structlog.get_logger("realtime.sockets")

Answer = Callable[[Backend, Connection, ClientMessage], Awaitable[None] | None]
"""What is done about a message of one class; waited for if it returns something to wait for."""


def fixed(state: Backend, connection: Connection, message: ClientMessage) -> Awaitable[None] | None:
    """On a stream that is what it is."""
    answer = _FIXED.get(type(message))
    if answer is None:
        text = "this stream accepts ping and pong; use /ws/<session_id> to choose topics"
        topic, id = getattr(message, "topic", None), getattr(message, "id", None)
        connection.refuse("not_supported", text, topic=topic, id=id)
        return None
    return answer(state, connection, message)


def session(state: Backend, connection: Connection, message: ClientMessage) -> Awaitable[None] | None:
    """On a session, whose client chooses its topics."""
    return _SESSION[type(message)](state, connection, message)


def allowed(
    state: Backend, connection: Connection, action: Action, topic: str | None = None, id: str | None = None
) -> bool:
    """Whether the client may do *action*; if not, it has been told."""
    if action in ("subscribe", "publish") and topic is not None and _is_foreign(connection, topic):
        connection.refuse("not_allowed", "this topic belongs to another session", topic=topic, id=id)
        return False
    if state.access.may(connection.principal, action, topic):
        return True
    connection.refuse("not_allowed", state.access.explain(connection.principal, action, topic), topic=topic, id=id)
    return False


def _is_foreign(connection: Connection, topic: str) -> bool:
    return topic.startswith("session/") and topic != f"session/{connection.session}"


# --- each class ----------------------------------------------------------------------------------------------------


def _ping(_state: Backend, connection: Connection, message: ClientMessage) -> None:
    assert isinstance(message, Ping)
    connection.pong(message.timestamp)


def _pong(_state: Backend, _connection: Connection, _message: ClientMessage) -> None:
    """Its coming was the sign of life."""


def _subscribe(state: Backend, connection: Connection, message: ClientMessage) -> None:
    assert isinstance(message, Subscribe)
    topic = message.topic
    since = None if message.epoch is None or message.offset is None else Cursor(message.epoch, message.offset)
    if not allowed(state, connection, "subscribe", topic):
        return
    try:
        state.hub.subscribe(connection, topic, since)
    except UnknownTopic as error:
        connection.refuse("unknown_topic", str(error), topic=topic)
    except TooManyTopics as error:
        connection.refuse("too_many_topics", str(error), topic=topic)
    else:
        logger.debug("subscribed", topic=topic)


def _unsubscribe(state: Backend, connection: Connection, message: ClientMessage) -> None:
    assert isinstance(message, Unsubscribe)
    if state.hub.unsubscribe(connection, message.topic):
        logger.debug("unsubscribed", topic=message.topic)
    else:
        text = f"there is no subscription to {message.topic!r}"
        connection.refuse("not_subscribed", text, topic=message.topic)


def _publish(state: Backend, connection: Connection, message: ClientMessage) -> Awaitable[None] | None:
    """Publish for the client: ``snapshot`` where messages are states, else ``<first part of the topic>_update``."""
    assert isinstance(message, Publish)
    topic = message.topic
    try:
        state.hub.check(topic)
    except UnknownTopic as error:
        connection.refuse("unknown_topic", str(error), topic=topic, id=message.id)
        return None
    if not allowed(state, connection, "publish", topic, message.id):
        return None
    overflow = state.settings.topic(topic).overflow
    type_ = "snapshot" if overflow is Overflow.CONFLATE else f"{topic.partition('/')[0]}_update"
    if overflow is Overflow.WAIT:
        return _publish_patiently(state, connection, message, type_)
    _published(connection, message, state.hub.publish_nowait(topic, type_, message.data))
    return None


async def _publish_patiently(state: Backend, connection: Connection, message: Publish, type_: str) -> None:
    _published(connection, message, await state.hub.publish(message.topic, type_, message.data))


def _published(connection: Connection, message: Publish, offset: int) -> None:
    if message.id is not None:
        connection.reply(messages.result(message.id, {"topic": message.topic, "offset": offset}))


def _call(state: Backend, connection: Connection, message: ClientMessage) -> None:
    assert isinstance(message, Call)
    if allowed(state, connection, "call", id=message.id):
        state.methods.begin(connection, message)


def _ack(state: Backend, connection: Connection, message: ClientMessage) -> None:
    assert isinstance(message, Ack)
    state.emit.acknowledge(connection, message.id)


_FIXED: Final[Mapping[type, Answer]] = {Ping: _ping, Pong: _pong}
_SESSION: Final[Mapping[type, Answer]] = {
    **_FIXED,
    Subscribe: _subscribe,
    Unsubscribe: _unsubscribe,
    Publish: _publish,
    Call: _call,
    Ack: _ack,
}
