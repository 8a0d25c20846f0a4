"""Posting to somebody else's server over HTTP, with one deadline for all of it."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

import trio

from realtime.policy.attempts import Attempt, parse_retry_after

if TYPE_CHECKING:
    import httpcore

LONGEST_ANSWER: Final = 65_536
"""Bytes of an answer that are read, so that its connection can be used again; nobody reads them."""

LONGEST_TOLD: Final = 300
"""Characters of an error that are logged and kept."""

KEPT_OPEN: Final = 30.0
"""Seconds that a connection is kept for the next message: below the 60 to 75 s after which usual servers close it."""


class Post(Protocol):
    """Sends a body; however that ends, it is an `Attempt`."""

    async def __call__(self, body: bytes, headers: Mapping[str, str]) -> Attempt:
        """Send it once. A checkpoint."""


class NotInstalled(Exception):
    """The HTTP client is missing."""


def check_url(url: str) -> str:
    """*url*, which has to be one of HTTP with a host.

    Raises:
      ValueError: it is not; the text leaves out what may be a password in it.
    """
    try:
        parts = urlsplit(url)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and url.isascii()
    except ValueError:
        fits = False
    if not fits:
        raise ValueError("url must be http://host/path or https://host/path")
    if parts.username or parts.password:
        raise ValueError("url must not hold a password; the signature says who sends")
    return url


@asynccontextmanager
async def poster(url: str, *, seconds: float, ca_file: Path | None = None) -> AsyncIterator[Post]:
    """A function that posts to *url*, over one connection that is kept open, while the block runs.

    Redirects are not followed: they are answers as others are.

    Args:
      seconds: for one attempt, from the connection to the end of the answer.
      ca_file: certificates of authorities in place of the system's.

    Raises:
      NotInstalled: the HTTP client is missing.
    """
    client = require_client()
    context = ssl.create_default_context(cafile=ca_file)
    async with client.AsyncConnectionPool(
        ssl_context=context, max_connections=1, keepalive_expiry=KEPT_OPEN, network_backend=client.TrioBackend()
    ) as pool:

        async def post(body: bytes, headers: Mapping[str, str]) -> Attempt:
            with trio.move_on_after(seconds):
                return await _post(pool, url, body, headers)
            return Attempt(None, f"no answer within {seconds:g} s")

        yield post


async def _post(pool: httpcore.AsyncConnectionPool, url: str, body: bytes, headers: Mapping[str, str]) -> Attempt:
    client = require_client()
    failures = (client.NetworkError, client.ProtocolError, client.TimeoutException, OSError)
    try:
        async with pool.stream("POST", url, headers=list(headers.items()), content=body) as response:
            # Cancelled and not left by a break: the client's own generators would stay open behind it.
            with trio.CancelScope() as enough:
                read = 0
                async for chunk in response.aiter_stream():
                    read += len(chunk)
                    if read > LONGEST_ANSWER:
                        enough.cancel()
    except failures as error:
        return Attempt(None, _told(error))
    problem = None if 200 <= response.status < 300 else f"answered with {response.status}"
    asked = parse_retry_after(_lowered(response.headers).get("retry-after"), time.time())
    return Attempt(response.status, problem, asked)


def _told(error: BaseException) -> str:
    """What went wrong: the client's class, which says where, and the first text among the causes, which says what."""
    cause: BaseException | None = error
    while cause is not None and not str(cause):
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__ if cause is None else f"{type(error).__name__}: {cause}"[:LONGEST_TOLD]


def _lowered(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    return {name.decode("ascii", "replace").lower(): value.decode("latin-1") for name, value in headers}


def require_client() -> Any:
    """The HTTP client, loaded only where something is posted.

    Raises:
      NotInstalled: it is missing.
    """
    try:
        import httpcore
    except ImportError as error:
        raise NotInstalled("posting needs an HTTP client: pip install 'realtime-supervised[webhooks]'") from error
    return httpcore
