"""The server child: it accepts, and nothing else.

Each connection is a child of ``connections``, so an end of this one, whatever its reason, closes none; and it
accepts on a copy of a socket that the tree holds, so what comes in meanwhile waits in the kernel for the next
incarnation.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any, Final, Protocol

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper

from supervisors.errors import SupervisorError
from supervisors.spec import ChildSpec

from .admission import Admission, TooManyConnections
from .config import ServerConfig, check_hypercorn
from .direct import DirectOpener
from .listener import GuardedListener
from .refusal import refuse
from .stream import GuardedStream
from .tcp import Service, Stream, run_connection, transport_of

# Connections that are just being told that there are too many; beyond it they are reset without a word.
_MAX_REFUSALS: Final = 100

_log = structlog.get_logger(__name__)


class Connections(Protocol):
    """Whose children the connections become: a `supervisors.SupervisorRef` of a dynamic supervisor."""

    def start_child_nowait(self, spec: ChildSpec) -> None:
        """Add a child and begin to start it."""


async def serve(
    app: Any,
    listener: socket.socket,
    config: ServerConfig,
    connections: Connections,
    admission: Admission,
    *,
    task_status: trio.TaskStatus[Admission] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Accept connections on *listener* for the ASGI application *app*, until cancelled.

    Args:
      app: if it has a method ``open_directly``, that is asked first; see `realtime.transport.direct`.
      listener: stays open and the caller's; see `open_listener`.
      admission: kept by the caller from one incarnation to the next, like the connections it counts.
      task_status: told *admission* once connections are accepted, for its figures.

    Raises:
      UnsupportedHypercorn: another one is installed than we were tested with.
      OSError, ssl.SSLError: the certificate cannot be read; the socket failed.
    """
    check_hypercorn()
    hypercorn = config.hypercorn()
    tls = config.ssl_context(hypercorn)
    open_directly = getattr(app, "open_directly", None) if tls is None else None
    opener = None if open_directly is None else DirectOpener(config, hypercorn, open_directly)
    service = Service(ASGIWrapper(app), config, hypercorn, opener)
    async with (
        GuardedListener(listener.dup(), config.write_timeout) as accepting,
        trio.open_nursery() as refusals,
    ):
        door = Door(service, connections, admission, refusals, tls)
        task_status.started(admission)
        await accepting.serve(door.admit)


class Door:
    """Where connections come in: each becomes a child of *connections*, or is refused.

    Args:
      refusals: where those are told so that are not let in.
      tls: with which each of them begins; None without TLS.
    """

    def __init__(
        self,
        service: Service,
        connections: Connections,
        admission: Admission,
        refusals: trio.Nursery,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._service = service
        self._connections = connections
        self._admission = admission
        self._refusals = refusals
        self._tls = tls

    def admit(self, transport: GuardedStream) -> None:
        """Start a child for what was accepted, or refuse it. Raises nothing: the server must not end for one client."""
        stream: Stream = transport
        if self._tls is not None:
            stream = trio.SSLStream(transport, self._tls, server_side=True, https_compatible=True)
        address = transport.address
        try:
            id = self._admission.admit(address)
        except TooManyConnections as refusal:
            self._refuse(stream, "too_many_connections", str(refusal))
            return
        try:
            self._connections.start_child_nowait(
                ChildSpec(
                    id,
                    run_connection,
                    kwargs={"service": self._service, "stream": stream, "id": id, "admission": self._admission},
                    restart="temporary",
                    shutdown=self._service.settings.drain_timeout,
                )
            )
        except SupervisorError as refusal:
            self._admission.release(address)
            _log.warning("connection refused", connection_id=id, reason=str(refusal))
            self._refuse(stream, "unavailable", "the server is restarting; try again later")

    def _refuse(self, stream: Stream, code: str, message: str) -> None:
        if len(self._refusals.child_tasks) >= _MAX_REFUSALS:
            transport_of(stream).abort()
        else:
            self._refusals.start_soon(refuse, stream, code, message)
