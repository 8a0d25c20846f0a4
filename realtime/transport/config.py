"""What the transport is told: limits and deadlines, and Hypercorn's own configuration made from them."""

from __future__ import annotations

import importlib.metadata
import logging
import ssl
from pathlib import Path
from typing import Final

import attrs
from hypercorn.config import Config

from realtime.policy.limits import FRAMES_PER_MESSAGE
from realtime.sections import Delivery, Server

# The releases whose classes ours were written for and tested with; pyproject.toml says the same.
TESTED_HYPERCORN: Final = (0, 18)


class UnsupportedHypercorn(RuntimeError):
    """The Hypercorn that is installed is none that the transport was tested with."""


def check_hypercorn(installed: str | None = None) -> None:
    """Refuse a Hypercorn other than the tested ones: the transport subclasses what it does not promise to keep.

    Args:
      installed: the version to judge; None looks it up.

    Raises:
      UnsupportedHypercorn: naming the version and what is wanted.
    """
    version = importlib.metadata.version("hypercorn") if installed is None else installed
    wanted = ".".join(map(str, TESTED_HYPERCORN))
    if version.split(".")[:2] != wanted.split("."):
        raise UnsupportedHypercorn(
            f"Hypercorn {version} is installed, but the transport is tested with {wanted}.x only; "
            f"install 'hypercorn[trio]=={wanted}.*'"
        )


@attrs.frozen
class ServerConfig:
    """Limits and deadlines of each connection; durations in seconds."""

    write_timeout: float = 10.0
    """A write that makes no progress for so long ends its connection."""
    handshake_timeout: float = 10.0
    """For the TLS handshake, and again for the headers of a request."""
    keep_alive_timeout: float = 5.0
    """How long an HTTP connection may wait for its next request: Hypercorn's default, and uvicorn's and Node's."""
    last_request: float = 1.0
    """For one more request on a connection that was asked to stop: several round trips, and a busy client's pause."""
    close_timeout: float = 2.0
    """For a peer's answer to a Close frame, and to the end of what we send: round trips to anywhere."""
    disconnect_grace: float = 5.0
    """For the application to notice that its client has left, before it is cancelled."""
    drain_timeout: float = 10.0
    """For a connection to end once it was asked to."""
    max_message_bytes: int = 65_536
    """The longest WebSocket message accepted, also the bound of what is read ahead."""
    max_frames_per_second: float = 1000.0
    """Of one WebSocket: control frames and fragments, which are no messages of their own; more closes with 4429."""
    compression: bool = False
    """Whether permessage-deflate is agreed on with a client that offers it."""
    certfile: Path | None = None
    keyfile: Path | None = None

    @classmethod
    def from_settings(cls, server: Server, delivery: Delivery) -> ServerConfig:
        """What the sections ``[server]`` and ``[delivery]`` of the settings say."""
        return cls(
            write_timeout=server.write_timeout,
            handshake_timeout=server.handshake_timeout,
            drain_timeout=server.drain_timeout,
            max_message_bytes=server.max_message_bytes,
            max_frames_per_second=FRAMES_PER_MESSAGE * delivery.max_inbound_per_second,
            compression=server.compression,
            certfile=server.certfile,
            keyfile=server.keyfile,
        )

    def hypercorn(self) -> Config:
        """The configuration for Hypercorn's classes; its log goes to the logger ``hypercorn.error``."""
        config = Config()
        config.errorlog = logging.getLogger("hypercorn.error")
        config.accesslog = None
        config.include_server_header = False
        config.keep_alive_timeout = self.keep_alive_timeout
        config.ssl_handshake_timeout = self.handshake_timeout
        config.websocket_max_message_size = self.max_message_bytes
        # Pings are the heartbeat's, which also looks for the answer.
        config.websocket_ping_interval = None
        # Headers of one request, and frames and streams of one HTTP/2 connection: Hypercorn's own defaults,
        # written out because they are part of what a connection can cost.
        config.h11_max_incomplete_size = 16 * 1024
        config.h2_max_inbound_frame_size = 2**14
        config.h2_max_header_list_size = 2**16
        config.h2_max_concurrent_streams = 100
        config.certfile = None if self.certfile is None else str(self.certfile)
        config.keyfile = None if self.keyfile is None else str(self.keyfile)
        return config

    def ssl_context(self, config: Config) -> ssl.SSLContext | None:
        """The TLS side of *config*; None without a certificate.

        Raises:
          OSError, ssl.SSLError: naming both files.
        """
        try:
            return config.create_ssl_context()
        except ssl.SSLError as error:
            raise ssl.SSLError(f"certfile {self.certfile} and keyfile {self.keyfile}: {error}") from error
        except OSError as error:
            raise type(error)(
                error.errno, f"{error.strerror}: certfile {self.certfile} or keyfile {self.keyfile}"
            ) from error
