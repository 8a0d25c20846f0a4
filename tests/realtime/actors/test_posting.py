"""Posting over real sockets, to servers that answer, fail, hang, trickle or lie."""

import contextlib
import ssl
import time

import pytest
import trio
import trustme

from realtime.actors.posting import LONGEST_ANSWER, poster

BODY = b'{"x":1}'
HEADERS = {"Content-Type": "application/json", "X-Event-Id": "01J"}


def answer(status="200 OK", body=b"", **headers):
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Server:
    """Speaks as much HTTP as the test says: *speak* gets each connection, with the request read."""

    def __init__(self):
        self.requests = []
        self.connections = 0

    async def read_request(self, stream):
        raw = b""
        while b"\r\n\r\n" not in raw or len(raw.partition(b"\r\n\r\n")[2]) < len(BODY):
            some = await stream.receive_some(65536)
            if not some:
                return False
            raw += some
        self.requests.append(raw)
        return True


@contextlib.asynccontextmanager
async def serving(speak, *, tls=None):
    server = Server()

    async def handle(stream):
        server.connections += 1
        if tls is not None:
            stream = trio.SSLStream(stream, tls, server_side=True)
        try:
            while await server.read_request(stream):
                if await speak(stream) == "close":
                    return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, handle, listeners)
        server.port = listeners[0].socket.getsockname()[1]
        yield server
        nursery.cancel_scope.cancel()


def saying(raw):
    async def speak(stream):
        await stream.send_all(raw)

    return speak


async def post_to(server, *, seconds=20.0, times=1, **options):
    scheme = options.pop("scheme", "http")
    async with poster(f"{scheme}://127.0.0.1:{server.port}/hook?a=1", seconds=seconds, **options) as post:
        return [await post(BODY, HEADERS) for _ in range(times)]


async def test_a_body_arrives_with_its_headers_over_one_connection():
    async with serving(saying(answer())) as server:
        attempts = await post_to(server, times=3)
    assert [attempt.delivered for attempt in attempts] == [True] * 3
    assert server.connections == 1
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert body == BODY
    assert head.startswith(b"POST /hook?a=1 HTTP/1.1\r\n")
    assert b"content-type: application/json" in head.lower()
    assert b"x-event-id: 01j" in head.lower()


@pytest.mark.parametrize("status", ["500 Oh", "404 Gone", "302 Found"])
async def test_any_other_answer_is_an_attempt_that_failed(status):
    async with serving(saying(answer(status, Location="/elsewhere"))) as server:
        (attempt,) = await post_to(server)
    assert (attempt.status, attempt.delivered) == (int(status[:3]), False)
    assert attempt.error == f"answered with {status[:3]}"
    assert len(server.requests) == 1  # a redirect is not followed


async def test_retry_after_is_read():
    async with serving(saying(answer("503 No", **{"Retry-After": "17"}))) as server:
        (attempt,) = await post_to(server)
    assert attempt.retry_after == 17


async def test_a_server_that_hangs_is_given_up_after_the_time_and_the_next_attempt_goes_well():
    patient = trio.Event()

    async def speak(stream):
        if not patient.is_set():
            patient.set()
            await trio.sleep_forever()
        await stream.send_all(answer())

    async with serving(speak) as server:
        began = time.monotonic()
        async with poster(f"http://127.0.0.1:{server.port}/", seconds=0.3) as post:
            first = await post(BODY, HEADERS)
            waited = time.monotonic() - began
            second = await post(BODY, HEADERS)
    assert (first.status, first.error) == (None, "no answer within 0.3 s")
    assert waited >= 0.3
    assert second.delivered
    assert server.connections == 2


async def test_a_server_that_trickles_is_given_up_after_the_same_time():
    """The deadline is one for all of it: a byte now and then does not prolong it."""

    async def speak(stream):
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            await stream.send_all(b"x")
            await trio.sleep(0.01)

    async with serving(speak) as server:
        with trio.fail_after(20):
            (attempt,) = await post_to(server, seconds=0.3)
    assert attempt.error == "no answer within 0.3 s"


async def test_an_endless_answer_is_not_read_to_its_end():
    async def speak(stream):
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")
        while True:
            await stream.send_all(b"x" * LONGEST_ANSWER)

    async with serving(speak) as server:
        (attempt,) = await post_to(server)
    assert attempt.delivered


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200", b"nonsense\r\n\r\n", b"\x00" * 100])
async def test_a_server_that_breaks_off_or_talks_nonsense_has_not_got_it(raw):
    async def speak(stream):
        await stream.send_all(raw)
        return "close"

    async with serving(speak) as server:
        (attempt,) = await post_to(server)
    assert attempt.status is None
    assert attempt.may_go_better
    assert attempt.error.startswith(("RemoteProtocolError", "ReadError"))


async def test_a_kept_connection_that_the_server_has_closed_meanwhile_is_not_used_again():
    async def speak(stream):
        await stream.send_all(answer())
        return "close"

    async with serving(speak) as server, poster(f"http://127.0.0.1:{server.port}/", seconds=20) as post:
        for _ in range(3):
            attempt = await post(BODY, HEADERS)
            if not attempt.delivered:  # the close had not arrived yet when it was used
                assert attempt.may_go_better
                assert (await post(BODY, HEADERS)).delivered
    assert server.connections >= 3


async def test_nobody_there_is_an_attempt_that_failed():
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    await listeners[0].aclose()
    async with poster(f"http://127.0.0.1:{port}/", seconds=20) as post:
        attempt = await post(BODY, HEADERS)
    assert attempt.status is None
    assert attempt.error.startswith("ConnectError")


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


async def test_over_tls_only_authorities_that_are_known_are_believed(authority, tmp_path):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with serving(saying(answer()), tls=context) as server:
        (known,) = await post_to(server, scheme="https", ca_file=tmp_path / "ca.pem")
        (unknown,) = await post_to(server, scheme="https")
    assert known.delivered
    assert unknown.status is None
    assert "CERTIFICATE_VERIFY_FAILED" in unknown.error


async def test_cancelled_it_ends_at_once():
    async def speak(stream):
        await trio.sleep_forever()

    async with serving(speak) as server:
        with trio.fail_after(10), trio.move_on_after(0.1) as scope:
            await post_to(server, seconds=100)
    assert scope.cancelled_caught
