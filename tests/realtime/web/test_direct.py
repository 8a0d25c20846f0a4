"""Streams opened directly and through the application: the same requests have the same answers."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from realtime.actors.progress import ProgressEmitter
from realtime.actors.tasks import job
from realtime.policy.opening import read_opening
from realtime.sections import TopicRule
from realtime.settings import Settings
from realtime.transport import open_listener
from realtime.transport.direct import DirectOpener
from realtime.tree import System, build
from realtime.web.app import create_app

from ..in_process import make_settings
from ..transport.harness import close_code, connect, masked, read_all, reset, until, upgrade, whole_frames
from .tokens import ADMIN, ANN, BOB, settings_of

PING = masked(1, b'{"type":"ping","timestamp":"t"}')
BYE = masked(8, (1000).to_bytes(2) + b"bye")


@attrs.define
class World:
    """A whole system behind a socket; *direct* counts the connections that were opened directly."""

    system: System
    port: int
    direct: int = 0


@contextlib.asynccontextmanager
async def serving(*, directly: bool = True, settings: Settings | None = None) -> AsyncIterator[World]:
    built = build(make_settings() if settings is None else settings)
    app = create_app(built.backend)
    if not directly:
        app.open_directly = None  # type: ignore[assignment, method-assign]
    with open_listener("127.0.0.1:0") as listener:
        world = World(built, listener.getsockname()[1])
        with counting(world), trio.fail_after(30):
            async with built.run(app, listener):
                yield world


@contextlib.contextmanager
def counting(world: World) -> Iterator[None]:
    original = DirectOpener.open

    def open_and_count(*args: Any) -> Any:
        opened = original(*args)
        world.direct += opened is not None
        return opened

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(DirectOpener, "open", open_and_count)
        yield


async def converse(world: World, *pieces: bytes) -> bytes:
    """All that is answered to *pieces*; who gets a WebSocket also says something and takes its leave."""
    async with await connect(world.port) as stream:
        for piece in pieces:
            await stream.send_all(piece)
            await trio.sleep(0.01 * (len(pieces) > 1))  # so that they are read one by one
        answer = b""
        while b"\r\n\r\n" not in answer:
            chunk = await stream.receive_some()
            if not chunk:
                return answer
            answer += chunk
        if answer.startswith(b"HTTP/1.1 101"):
            while not re.search(rb'"topic":"(session/|events|supervisors.*snapshot)', answer):
                answer += await stream.receive_some()
            await stream.send_all(PING)  # which is answered at once, also ahead of the others
            while b'"pong"' not in answer:
                chunk = await stream.receive_some()
                assert chunk, answer
                answer += chunk
            await stream.send_all(BYE)
            return answer + await read_all(stream)
        head, _, body = answer.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        while len(body) < (int(length[1]) if length else 0):
            body += await stream.receive_some()
        return head + b"\r\n\r\n" + body


def normal(answer: bytes) -> bytes:
    """*answer* without what differs from one moment or process to the next."""
    answer = re.sub(rb"date: [^\r]+", b"date: now", answer)
    return re.sub(rb'"epoch":"[^"]+"', b'"epoch":"e"', answer)


PLAIN = {
    "a session": upgrade("/ws/mine"),
    "events": upgrade("/ws/events"),
    "the tree": upgrade("/ws/supervisors"),
    "our own page": upgrade("/ws/mine", "Origin: http://localhost"),
    "a browser": upgrade(
        "/ws/mine",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64)",
        "Accept-Language: de,en;q=0.8",
        "Cookie: a=b; c=d",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
    ),
    "names in other letters": upgrade("/ws/mine").replace(b"Upgrade: websocket", b"uPGRADE: WebSocket"),
    "no keep-alive": upgrade("/ws/mine").replace(b"keep-alive, Upgrade", b"upgrade"),
    "a token that nobody reads": upgrade("/ws/mine", "Authorization: Bearer x"),
    "subprotocols without ours": upgrade("/ws/mine", "Sec-WebSocket-Protocol: chat, bearer"),
    "subprotocols with ours": upgrade("/ws/mine", "Sec-WebSocket-Protocol: chat, realtime, realtime.bearer.x"),
    "a query of no meaning": upgrade("/ws/mine?a=b&epoch=e&offset=x"),
    "an empty query": upgrade("/ws/events?"),
    "a position": upgrade("/ws/events?epoch=e&offset=3"),
    "half a position": upgrade("/ws/events?epoch=e"),
    "a position of the tree": upgrade("/ws/supervisors?offset=3&epoch=e"),
}

OTHER = {
    "no such stream": upgrade("/ws/no/such"),
    "another path": upgrade("/elsewhere"),
    "no session's id": upgrade(f"/ws/{'x' * 65}"),
    "no task's id": upgrade(f"/ws/tasks/{'x' * 65}"),
    "a stranger's page": upgrade("/ws/mine", "Origin: http://elsewhere.example"),
    "a hidden page": upgrade("/ws/mine", "Origin: null"),
    "another host": upgrade("/ws/mine").replace(b"Host: localhost", b"Host: elsewhere.example"),
    "no host": upgrade("/ws/mine").replace(b"Host: localhost\r\n", b""),
    "two hosts": upgrade("/ws/mine", "Host: localhost"),
    "subprotocols in several lines": upgrade("/ws/mine", "Sec-WebSocket-Protocol: a", "Sec-WebSocket-Protocol: b"),
    "subprotocols close together": upgrade("/ws/mine", "Sec-WebSocket-Protocol: a,realtime"),
    "a subprotocol that is none": upgrade("/ws/mine", "Sec-WebSocket-Protocol: a b"),
    "no subprotocol behind a comma": upgrade("/ws/mine", "Sec-WebSocket-Protocol: realtime, "),
    "a position that is none": upgrade("/ws/events?epoch=e&offset=x"),
    "two positions": upgrade("/ws/events?epoch=e&offset=3&offset=4"),
    "a parameter without a value": upgrade("/ws/events?epoch"),
    "a query with percent-encoding": upgrade("/ws/events?epoch=%65&offset=3"),
    "a second question mark": upgrade("/ws/events?epoch=e?&offset=3"),
    "a trace": upgrade("/ws/mine", "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    "percent-encoding": upgrade("/ws/m%69ne"),
    "percent-encoding of what is no id": upgrade("/ws/m%20ne"),
    "other letters than ASCII": upgrade("/ws/m\xfcne"),
    "another version": upgrade("/ws/mine").replace(b"Version: 13", b"Version: 8"),
    "two versions": upgrade("/ws/mine", "Sec-WebSocket-Version: 13"),
    "two keys": upgrade("/ws/mine", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
    "a short key": upgrade("/ws/mine").replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZQ=="),
    "no key": upgrade("/ws/mine").replace(b"Sec-WebSocket-Key", b"Sec-WebSocket-Kex"),
    "headers in several lines": upgrade("/ws/mine")
    .replace(b"keep-alive, Upgrade", b"keep-alive")
    .replace(b"Upgrade: web", b"Connection: Upgrade\r\nUpgrade: web"),
    "another connection token": upgrade("/ws/mine").replace(b"keep-alive, Upgrade", b"close, x, Upgrade"),
    "white space around a value": upgrade("/ws/mine").replace(b"Upgrade: websocket", b"Upgrade:  websocket "),
    "a folded header": upgrade("/ws/mine", "X-Long: a\r\n b"),
    "a bad header": upgrade("/ws/mine", "no colon"),
    "HTTP/1.0": upgrade("/ws/mine").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "an absolute target": upgrade("/ws/mine").replace(b"GET /ws", b"GET http://localhost/ws"),
    "a body": upgrade("/ws/mine", "Content-Length: 2") + b"ab",
    "a body of no length": upgrade("/ws/mine", "Content-Length: 0"),
    "bytes after it": upgrade("/ws/mine") + PING,
    "POST": upgrade("/ws/mine").replace(b"GET", b"POST"),
    "no upgrade": b"GET /ws/mine HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "a page": b"GET /api/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "headers without an end": upgrade("/ws/mine", "X-Much: " + "x" * 70_000)[:-2],
    "long headers": upgrade("/ws/mine", "X-Much: " + "x" * 17_000),
    "nonsense": b"\x16\x03\x01\x00\r\n\r\n",
}


async def both_ways(*pieces: bytes, settings: Settings | None = None) -> tuple[bytes, int]:
    """What is answered, which has to be the same both ways; and how often it was done directly."""
    answers = []
    for directly in (True, False):
        async with serving(directly=directly, settings=settings) as world:
            answers.append(normal(await converse(world, *pieces)))
            if directly:
                direct = world.direct
    if b"snapshot" in answers[0]:  # a long frame, and two trees are never quite alike
        answers = [answer.partition(b"\x81\x7e")[0] for answer in answers]
    assert answers[0] == answers[1]
    return answers[0], direct


@pytest.mark.parametrize("name", PLAIN)
async def test_what_is_plain_is_opened_directly_with_the_same_answer(name: str) -> None:
    answer, direct = await both_ways(PLAIN[name])
    assert answer.startswith(b"HTTP/1.1 101")
    assert direct == 1


@pytest.mark.parametrize("name", OTHER)
async def test_what_is_not_plain_has_the_answer_of_the_application(name: str) -> None:
    _, direct = await both_ways(OTHER[name])
    assert direct == 0


async def test_a_handshake_in_pieces_goes_through_the_application() -> None:
    whole = PLAIN["a session"]
    answer, direct = await both_ways(whole[:5], whole[5:60], whole[60:])
    assert answer.startswith(b"HTTP/1.1 101")
    assert direct == 0


async def test_frames_right_behind_the_answer_are_heard() -> None:
    async with serving() as world:
        async with await connect(world.port) as stream:
            await stream.send_all(PLAIN["a session"])
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += await stream.receive_some(1)
            await stream.send_all(PING + masked(1, b'{"type":"subscribe","topic":"events"}'))
            answer = b""
            while b'"topic":"events"' not in answer:
                answer += await stream.receive_some()
            await stream.send_all(BYE)
            assert close_code(answer + await read_all(stream)) == 1000
        await until(lambda: not world.system.hub.connections)


RECOGNISED = {
    "nobody": (),
    "a header": (f"Authorization: Bearer {ANN}",),
    "a subprotocol": (f"Sec-WebSocket-Protocol: realtime, realtime.bearer.{ANN}",),
    "a subprotocol with what it cannot hold": (
        f"Sec-WebSocket-Protocol: realtime, realtime.bearer.{ADMIN.replace(' ', '%20')}",
    ),
    "another scheme": ("Authorization: Basic YTpi",),
}


@pytest.mark.parametrize("name", RECOGNISED)
async def test_who_is_recognised_at_once_is_served_directly_in_their_name(tmp_path: Path, name: str) -> None:
    settings = settings_of(tmp_path)
    answer, direct = await both_ways(upgrade("/ws/supervisors", *RECOGNISED[name]), settings=settings)
    assert answer.startswith(b"HTTP/1.1 101")
    assert (b"sec-websocket-protocol: realtime\r\n" in answer) == ("a subprotocol" in name)
    assert direct == 1


async def test_a_connection_opened_directly_is_its_principals_and_ends_with_the_token(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, topics={"clock": TopicRule(subscribe="editors")})
    async with serving(settings=settings) as world, await connect(world.port) as stream:
        await stream.send_all(upgrade("/ws/mine", *RECOGNISED["a subprotocol"]))
        answer = await stream.receive_some()
        while b'"topic":"clock"' not in answer:  # which only editors may have
            answer += await stream.receive_some()
        (connection,) = world.system.hub.connections
        assert connection.principal.name == "ann"
        assert world.direct == 1
        (tmp_path / "tokens.toml").write_text("")
        answer = await read_until_close(stream, answer)
        assert close_code(answer.partition(b"\r\n\r\n")[2]) == 4401


REFUSED = {
    "a wrong token": ("/ws/mine", ("Authorization: Bearer wrong-0123456789abc",), 4401),
    "nobody, where that is not enough": ("/ws/events", (), 4401),
    "one without the scope": ("/ws/events", (f"Authorization: Bearer {BOB}",), 4403),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_who_is_to_be_refused_is_refused_by_the_application(tmp_path: Path, name: str) -> None:
    path, headers, code = REFUSED[name]
    async with serving(settings=settings_of(tmp_path, topics={"events": TopicRule(subscribe="editors")})) as world:
        async with await connect(world.port) as stream:
            await stream.send_all(upgrade(path, *headers))
            answer = await read_until_close(stream)
        assert answer.startswith(b"HTTP/1.1 101")
        assert close_code(answer.partition(b"\r\n\r\n")[2]) == code
        assert world.direct == 0


async def test_connections_of_one_principal_are_counted_and_one_too_many_is_refused(tmp_path: Path) -> None:
    async with serving(settings=settings_of(tmp_path, max_inbound_per_second=1)) as world:
        codes = []
        for _ in range(5):
            async with await connect(world.port) as stream:
                await stream.send_all(upgrade("/ws/events", *RECOGNISED["a header"]))
                answer = await stream.receive_some()
                if b"subscribed" not in answer:
                    answer = await read_until_close(stream, answer)
                    codes.append(close_code(answer.partition(b"\r\n\r\n")[2]))
        assert 4429 in codes
        assert world.direct + len(codes) == 5


async def test_a_task_that_runs_is_followed_directly_and_one_of_long_ago_is_not() -> None:
    gate = trio.Event()

    @job("wait")
    async def wait(progress: ProgressEmitter) -> None:
        progress.update("waiting", 50.0)
        await gate.wait()

    async with serving() as world:
        tasks = world.system.backend.tasks
        tasks.register(wait)
        record = await tasks.start("wait")
        request = upgrade(f"/ws/tasks/{record.task_id}")
        async with await connect(world.port) as stream:
            await stream.send_all(request)
            answer = b""
            while b'"waiting"' not in answer:
                answer += await stream.receive_some()
            gate.set()
            answer = await read_until_close(stream, answer)
        assert b'"completed"' in answer
        assert world.direct == 1
        async with await connect(world.port) as stream:
            await stream.send_all(upgrade("/ws/tasks/0123"))
            answer = await read_until_close(stream)
        assert close_code(answer.partition(b"\r\n\r\n")[2]) == 4404
        assert world.direct == 1


async def test_a_topic_that_not_everybody_may_have_is_refused_by_the_application() -> None:
    settings = make_settings(topics={"events": TopicRule(subscribe="staff")})
    async with serving(settings=settings) as world:
        async with await connect(world.port) as stream:
            await stream.send_all(PLAIN["events"])
            answer = await read_until_close(stream)
        assert answer.startswith(b"HTTP/1.1 101")
        assert close_code(answer.partition(b"\r\n\r\n")[2]) == 4403
        assert world.direct == 0


async def read_until_close(stream: trio.SocketStream, answer: bytes = b"") -> bytes:
    """*answer*, and what follows it up to a Close frame, the answer to the handshake included."""
    while 0x8 not in [opcode for opcode, _ in whole_frames(answer.partition(b"\r\n\r\n")[2])]:
        answer += await stream.receive_some()
    return answer


async def test_a_client_that_leaves_before_its_answer_leaves_nothing_behind() -> None:
    async with serving() as world:
        for _ in range(20):
            stream = await connect(world.port)
            await stream.send_all(PLAIN["a session"])
            reset(stream)
        await until(lambda: not world.system.hub.connections)


async def test_who_says_nothing_at_first_is_heard_later() -> None:
    async with serving() as world, await connect(world.port) as stream:
        await trio.sleep(1.1)  # longer than a first word is waited for
        await stream.send_all(PLAIN["a session"])
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 101")
        assert world.direct == 0


async def test_http_2_is_spoken_with_who_begins_so() -> None:
    settings_frame = bytes.fromhex("000000040000000000")
    async with serving() as world, await connect(world.port) as stream:
        await stream.send_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings_frame)
        answer = await stream.receive_some()
    assert answer[3:5] == settings_frame[3:5]


async def test_who_has_said_nothing_when_the_server_stops_is_let_go() -> None:
    async with serving() as world:
        stream = await connect(world.port)
        await until(lambda: world.system.backend.tree.find("connections").children)
    async with stream:
        assert await read_all(stream) == b""


def test_all_that_is_opened_directly_is_plain() -> None:
    assert all(read_opening(request) for request in PLAIN.values())
