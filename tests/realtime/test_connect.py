"""A WebSocket's opening as its client sees it, over real sockets."""

import datetime
import ssl
from functools import partial

import pytest
import trio
import trio_websocket
import trustme

from realtime.client import TailEnded, tail
from realtime.connect import CONNECT, Unreachable, Untrusted, connected

NOW = datetime.datetime.now(datetime.UTC)
AT_ONCE = CONNECT / 2
"""Seconds: on a machine as busy as can be, and yet it is not the deadline that ended it."""


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def serve(nursery, authority):
    """Starts a server over TLS that greets each client; returns its port."""

    async def start(*names, **validity):
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(*(names or ["127.0.0.1"]), **validity).configure_cert(context)
        server = await nursery.start(partial(trio_websocket.serve_websocket, greet, "127.0.0.1", 0, context))
        return server.port

    async def greet(request):
        connection = await request.accept()
        await connection.send_message(f"hello at {request.path}")
        await connection.aclose()

    yield start
    nursery.cancel_scope.cancel()


@pytest.fixture
def serve_bytes(nursery):
    """Starts a server over TCP that answers what a client sends first with these bytes, and hangs up."""

    async def start(answer):
        async def handle(stream):
            async with stream:
                await stream.receive_some()
                await stream.send_all(answer)

        [listener] = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        return listener.socket.getsockname()[1]

    yield start
    nursery.cancel_scope.cancel()


@pytest.fixture
def trusted(authority, monkeypatch, tmp_path):
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))


async def hear(connection):
    return await connection.get_message()


async def asked(url):
    """The first message there; an error that only the deadline brings is none that we look for."""
    with trio.fail_after(AT_ONCE):
        return await connected(url, [], hear)


async def test_a_server_with_a_certificate_of_a_trusted_authority_is_heard(serve, trusted):
    port = await serve()
    assert await asked(f"wss://127.0.0.1:{port}/ws/x?epoch=e") == "hello at /ws/x?epoch=e"
    assert await asked(f"wss://127.0.0.1:{port}") == "hello at /"


async def test_without_one_it_says_so_at_once_and_what_helps(serve):
    port = await serve()
    wanted = rf"^the certificate of 127.0.0.1:{port} cannot be verified: unable to get .*; if .* SSL_CERT_FILE$"
    with pytest.raises(Untrusted, match=wanted):
        await asked(f"wss://127.0.0.1:{port}/")


async def test_a_tail_does_not_try_that_again(serve):
    notes = []
    port = await serve()
    with trio.fail_after(AT_ONCE), pytest.raises(TailEnded, match="cannot be verified"):
        await tail(f"wss://127.0.0.1:{port}/", note=notes.append)
    assert notes == []


async def test_a_certificate_of_another_host_is_refused_whoever_signed_it(serve, trusted):
    port = await serve("example.org")
    with pytest.raises(Untrusted, match=r"IP address mismatch.*'127.0.0.1'$"):
        await asked(f"wss://127.0.0.1:{port}/")


async def test_so_is_one_that_has_expired(serve, trusted):
    port = await serve(not_before=NOW - datetime.timedelta(days=2), not_after=NOW - datetime.timedelta(days=1))
    with pytest.raises(Untrusted, match=r"certificate has expired$"):
        await asked(f"wss://127.0.0.1:{port}/")


async def test_a_server_without_tls_is_named_as_one(serve_bytes):
    port = await serve_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(Unreachable, match=r"^TLS failed: .*wrong version number"):
        await asked(f"wss://127.0.0.1:{port}/")


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 101 Swit", b"\x15\x03\x03\x00\x02\x02\x46", b"SSH-2.0-x\r\n\r\n"],
    ids=["nothing", "cut off", "an alert of TLS", "another protocol"],
)
async def test_a_server_that_does_not_answer_the_handshake_is_not_waited_for(serve_bytes, answer):
    port = await serve_bytes(answer)
    with pytest.raises(Unreachable, match=r"^the server did not answer the handshake as WebSocket servers do$"):
        await asked(f"ws://127.0.0.1:{port}/")


@pytest.mark.parametrize("body", [b"", b"no"])
async def test_a_refusal_is_told_with_or_without_a_body(serve_bytes, body):
    port = await serve_bytes(b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    with pytest.raises(trio_websocket.ConnectionRejected) as refusal:
        await asked(f"ws://127.0.0.1:{port}/")
    assert refusal.value.status_code == 404
