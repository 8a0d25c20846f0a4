"""Whose a request is, and whether they may: asked before every route, and before every WebSocket is served.

Each route needs the action that `needs` names, `read` if it names none; with `open_to_all` nothing is asked. Where the
answer depends on more than the path, the route calls `demand` itself. Refused is with 401 or 403, and 429 for who asks
too often; a WebSocket is accepted and then closed with 4401, 4403 or 4429, which a browser can read.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar

from quart import Response, current_app, g, request, websocket

from realtime.actors.access import SignInUnavailable
from realtime.actors.credentials import NotAuthenticated
from realtime.delivery.connection import Connection
from realtime.messages import CloseCode
from realtime.policy import bearer
from realtime.policy.access import ANONYMOUS, Action, Principal
from realtime.transport.asgi import open_wire
from realtime.web.backend import Backend, backend
from realtime.web.errors import SOON, ApiError

View = TypeVar("View", bound=Callable[..., Any])

_ACTION: Final = "realtime_action"
_SIGN_IN: Final = {"WWW-Authenticate": "Bearer"}


def needs(action: Action) -> Callable[[View], View]:
    """The view below may be used by whom *action* is allowed; nearest to the function, below the route."""

    def mark(view: View) -> View:
        setattr(view, _ACTION, action)
        return view

    return mark


def open_to_all(view: View) -> View:
    """Ask nothing about who uses *view*, not even where signing in is required."""
    setattr(view, _ACTION, None)
    return view


def principal() -> Principal:
    """Whose the request or WebSocket is that is being handled."""
    found: Principal = g.get("principal", ANONYMOUS)
    return found


def demand(action: Action, topic: str | None = None) -> None:
    """Refuse the request unless its principal may.

    Raises:
      ApiError: 401 where signing in may help, else 403.
    """
    access = backend().access
    decision = access.decide(principal(), action, topic)
    if decision == "allowed":
        return
    message = access.explain(principal(), action, topic)
    if decision == "not_allowed" or action == "operate" or not access.recognises:
        raise ApiError(403, message)
    raise ApiError(401, message, headers=_SIGN_IN)


def may(action: Action, topic: str | None = None) -> bool:
    """Whether the principal of the request may."""
    return backend().access.may(principal(), action, topic)


async def check_request() -> None:
    """Before every route.

    Raises:
      ApiError: 401, 403, 429 or 503.
    """
    view = current_app.view_functions.get(request.endpoint or "")
    action: Action | None = getattr(view, _ACTION, "read")
    if action is None or request.method == "OPTIONS":  # a browser asks for CORS before it shows who it is
        return
    try:
        await recognise()
    except ApiError as error:
        if error.status != 401 or action != "operate":
            raise
        raise ApiError(403, f"{backend().access.explain(ANONYMOUS, action)}: {error}") from None
    demand(action)


async def recognise() -> None:
    """Find out whose the request is, and count it.

    Raises:
      ApiError: 401 for a token that does not count, 429 for one too many, 503 where nobody can be recognised now.
    """
    access = backend().access
    try:
        g.principal = await access.identify(request.headers)
    except NotAuthenticated as error:
        raise ApiError(401, str(error), headers=_SIGN_IN) from None
    except SignInUnavailable as error:
        raise ApiError(503, str(error), headers=SOON) from error
    if not access.within_rate(principal()):
        raise ApiError(429, "too many requests and messages of this principal; slow down", headers=SOON)


async def check_websocket() -> Response | None:
    """Before the WebSockets of actor modules, which need not know of access: the action that `needs` names, or `read`.

    Ours ask by themselves, since each knows the topic that it carries.
    """
    view = current_app.view_functions.get(websocket.endpoint or "")
    action: Action | None = getattr(view, _ACTION, "read")
    if action is None or await admitted(None, action):
        return None
    return Response(status=204)  # in place of the handler; nobody will see it


async def admitted(topic: str | None, action: Action = "subscribe") -> bool:
    """Whether the client of the WebSocket may subscribe to *topic*; if not, it is accepted and closed with why.

    Raises:
      ApiError: 503, nobody can be recognised now.
    """
    access = backend().access
    try:
        found = await access.identify(websocket.headers, websocket.requested_subprotocols)
    except NotAuthenticated as error:
        await send_away(CloseCode.NOT_AUTHENTICATED, str(error))
        return False
    except SignInUnavailable as error:
        raise ApiError(503, str(error), headers=SOON) from error
    g.principal = found
    decision = access.decide(found, action, topic)
    if decision != "allowed":
        helps = decision == "not_authenticated" and access.recognises
        code = CloseCode.NOT_AUTHENTICATED if helps else CloseCode.NOT_ALLOWED
        await send_away(code, access.explain(found, action, topic))
        return False
    if not access.within_rate(found):
        await send_away(CloseCode.TOO_MANY_MESSAGES, "too many connections and messages of this principal")
        return False
    return True


def enter(state: Backend, connection: Connection) -> None:
    """Count *connection* in; from now on it is closed with 4401 when its principal counts no more.

    With `leave`, two functions and no context manager, which every idle connection would have to keep.
    """
    state.hub.register(connection)
    state.access.admit(connection, connection.principal, partial(connection.close, CloseCode.NOT_AUTHENTICATED))


def leave(state: Backend, connection: Connection) -> None:
    """Count *connection* out."""
    state.access.release(connection)
    state.hub.drop(connection)
    if connection.closed is not None and connection.closed.by == "server":
        state.refusals.close(connection.closed.code)


async def send_away(code: int, reason: str) -> None:
    """Accept, then close: a browser cannot read the status of a failed handshake."""
    state = backend()
    state.refusals.close(code)
    offered = bearer.agreed(websocket.requested_subprotocols)
    wire = await open_wire(websocket, subprotocol=offered, write_timeout=state.settings.server.write_timeout)
    await wire.aclose(code, reason)
