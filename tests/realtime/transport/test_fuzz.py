"""Whatever clients send: the server never ends, leaves nothing behind, and keeps nobody else waiting.

``FUZZ_EXAMPLES=100000 make test`` looks for longer.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, Literal

import attrs
import pytest
import trio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage

from realtime.transport.parser import Parser

from .harness import Server, connect, make_app, read_all, reset, running, until, upgrade
from .rfc6455.kit import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close, frame, shake_hands, tasks

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "200"))
# Seconds of this thread's own work, the clients' included, between a Ping and its Pong: unlike seconds on the
# clock they do not count what else the machine does.
PROMPT = 0.25
LIMITS: dict[str, Any] = {
    "handshake_timeout": 0.3,
    "keep_alive_timeout": 0.3,
    "close_timeout": 0.2,
    "disconnect_grace": 0.2,
    "write_timeout": 0.3,
    "max_message_bytes": 2000,
    "max_frames_per_second": 200.0,
}

fuzzing = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


# --- what they send -------------------------------------------------------------------------------------------

opcodes = st.sampled_from([CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG])
payloads = st.one_of(
    st.binary(max_size=20),
    st.text(max_size=20).map(str.encode),
    st.sampled_from([b"\x03\xe8", b"\x0f\xa0bye", b"\x03\xed", b"\xed\xa0\x80", b"x" * 125, b"x" * 126, b"x" * 3000]),
)
proper_frames = st.builds(frame, opcodes, payloads, fin=st.booleans())
any_frames = st.builds(
    frame,
    st.integers(0, 15),
    payloads,
    fin=st.booleans(),
    rsv=st.sampled_from([0, 0, 0, 1, 2, 4, 7]),
    key=st.sampled_from([b"\x00\x00\x00\x00", b"abcd", b"abcd", None]),
    length=st.sampled_from([None, None, None, 0, 5, 126, 70_000, 2**62, 2**64 - 1]),
    form=st.none(),
)


@attrs.frozen
class Talk:
    """What is sent after the handshake: each part so many times, so that a flood can be read in a report."""

    parts: list[tuple[bytes, int]]

    @property
    def data(self) -> bytes:
        return b"".join(part * times for part, times in self.parts)


floods = st.tuples(proper_frames.map(lambda one: one[:200]), st.sampled_from([50, 500, 5000]))
once = st.one_of(proper_frames, any_frames, st.binary(max_size=50)).map(lambda part: (part, 1))
talks = st.lists(st.one_of(once, once, once, floods), max_size=8).map(Talk)


@st.composite
def mutated(draw: st.DrawFn, valid: bytes) -> bytes:
    """*valid* with a few lines or bytes of it lost, doubled, swapped or replaced."""
    data = valid
    for _ in range(draw(st.integers(1, 3))):
        lines = data.split(b"\r\n")
        at, to = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(lines) - 1))
        byte = draw(st.integers(0, max(len(data) - 1, 0)))
        how = draw(st.sampled_from(["drop", "double", "swap", "byte", "insert", "cut", "fold"]))
        if how == "drop":
            del lines[at]
        elif how == "double":
            lines.insert(to, lines[at])
        elif how == "swap":
            lines[at], lines[to] = lines[to], lines[at]
        elif how == "fold":
            lines[at] = lines[at].replace(b" ", draw(st.sampled_from([b"", b"\t", b"\n", b"\x00", b"\r\n "])), 1)
        data = b"\r\n".join(lines)
        if how == "byte":
            data = data[:byte] + draw(st.binary(min_size=1, max_size=1)) + data[byte + 1 :]
        elif how == "insert":
            data = data[:byte] + draw(st.binary(max_size=10)) + data[byte:]
        elif how == "cut":
            data = data[:byte]
    return data


paths = st.sampled_from(["/ws/plain", "/ws/wire", "/ws/deaf", "/ws/fail", "/ws/close/4000", "/", "/nowhere"])
handshakes = paths.map(upgrade)
openings = st.one_of(
    handshakes,
    handshakes.flatmap(mutated),
    st.just(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello").flatmap(mutated),
    st.just(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").map(lambda request: request * 3).flatmap(mutated),
    st.binary(max_size=200),
)


@attrs.frozen
class Visit:
    """One client: what it sends, in pieces of which sizes, and how it leaves."""

    opening: bytes
    talk: Talk
    waits: bool
    """For the answer to its opening before it goes on."""
    sizes: list[int]
    leaves: Literal["closes", "resets", "half closes", "listens"]


def pieces(data: bytes, sizes: list[int]) -> list[bytes]:
    """*data*, cut by *sizes* in turn; at most a few hundred, since each is a call."""
    found, sizes = [], list(sizes)
    while data and sizes and len(found) < 200:
        size = sizes.pop()
        sizes.insert(0, size)
        found.append(data[:size])
        data = data[size:]
    return [*found, data] if data else found


visits = st.builds(
    Visit,
    openings,
    talks,
    st.booleans(),
    st.lists(st.integers(1, 300), max_size=4),
    st.sampled_from(["closes", "resets", "half closes", "listens"]),
)


async def visit(port: int, plan: Visit) -> None:
    """Carry *plan* out; whatever the server does about it."""
    stream = await connect(port)
    try:
        for piece in pieces(plan.opening, plan.sizes):
            await stream.send_all(piece)
        if plan.waits:
            with trio.move_on_after(0.02):
                await stream.receive_some()
        for piece in pieces(plan.talk.data, plan.sizes):
            await stream.send_all(piece)
            await trio.lowlevel.checkpoint()
        if plan.leaves == "half closes":
            await stream.send_eof()
        if plan.leaves in ("half closes", "listens"):
            with trio.move_on_after(0.05):
                await read_all(stream)
    except trio.BrokenResourceError:
        pass  # it has been sent away
    finally:
        if plan.leaves == "resets":
            reset(stream)
        else:
            await trio.aclose_forcefully(stream)


# --- and who must not notice ----------------------------------------------------------------------------------


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@asynccontextmanager
async def with_a_bystander(**more: Any) -> AsyncIterator[Server]:
    """A server and a client of it that is answered promptly all the time; at the end it is the only one."""
    settings = LIMITS | {"max_frames_per_second": 1e4} | more
    async with running(make_app().quart, **settings) as server, await connect(server.port) as stream:
        await shake_hands(stream, "/ws/plain")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ping_on, stream)
            await until(lambda: server.open == 1)
            before = tasks(), descriptors()
            yield server
            # The longest deadlines of all follow one another here.
            await until(lambda: server.open == 1, 4)
            await until(lambda: (tasks(), descriptors()) == before)
            assert server.tree.find("server").generation == 1
            nursery.cancel_scope.cancel()


async def ping_on(stream: trio.SocketStream) -> None:
    answer = b"\x8a\x01?"
    while True:
        begun = time.thread_time()
        await stream.send_all(frame(PING, b"?"))
        heard = b""
        while len(heard) < len(answer):
            heard += await stream.receive_some()
        assert heard == answer
        assert time.thread_time() - begun < PROMPT
        await trio.sleep(0.01)


@fuzzing
@given(st.lists(visits, min_size=1, max_size=4))
# Frames before the answer, which the application is just giving: there were two.
@example([Visit(upgrade("/"), Talk([(frame(CONTINUATION, fin=False), 1)]), False, [], "closes")])
async def test_nothing_that_clients_send_ends_the_server_or_delays_a_bystander(plans: list[Visit]) -> None:
    async with with_a_bystander() as server, trio.open_nursery() as nursery:
        for plan in plans:
            nursery.start_soon(visit, server.port, plan)


@pytest.mark.parametrize("path", ["/ws/plain", "/ws/wire", "/ws/deaf"])
@pytest.mark.parametrize(
    "flood",
    [
        frame(PING, b"x" * 125),
        frame(PONG),
        frame(TEXT, b"", fin=False) + frame(CONTINUATION, b"", fin=False) * 100,
        frame(TEXT, b"x"),
        frame(TEXT),
        frame(BINARY, b"x" * 2000),
        b"\xff",
    ],
    ids=["pings", "pongs", "empty fragments", "small messages", "empty messages", "big messages", "nonsense"],
)
async def test_no_flood_delays_a_bystander(path: str, flood: bytes) -> None:
    """A second of as much as the socket takes, from a client that reads nothing."""
    async with with_a_bystander(max_frames_per_second=2000) as server:
        stream = await connect(server.port, receive_buffer=4096)
        async with stream:
            await shake_hands(stream, path)
            with trio.move_on_after(1):
                try:
                    while True:
                        await stream.send_all(flood * (65_536 // len(flood)))
                except trio.BrokenResourceError:
                    pass  # sent away
            reset(stream)


# --- the parser alone -----------------------------------------------------------------------------------------


def told(data: bytes, sizes: list[int]) -> list[Any]:
    """What the parser makes of *data* in pieces of *sizes*, whole messages put together."""
    parser = Parser(2000, 200, clock=lambda: 0.0)
    found: list[Event] = []
    for piece in pieces(data, sizes):
        parser.receive_data(piece)
        found += parser.events()
        if found and isinstance(found[-1], CloseConnection):
            break
    return whole(found)


def whole(events: list[Event]) -> list[Any]:
    told: list[Any] = []
    parts: list[Any] = []
    for event in events:
        if isinstance(event, TextMessage | BytesMessage):
            parts.append(event.data)
            if event.message_finished:
                told.append(parts[0][:0].join(parts))
                parts = []
        elif isinstance(event, CloseConnection):
            told.append(int(event.code))
        else:
            told.append(event)
    return told


@settings(fuzzing, max_examples=5 * EXAMPLES)
@given(talks, st.lists(st.integers(1, 300), max_size=4))
@example(Talk([(frame(TEXT, b"\xe2\x82", fin=False), 1), (frame(CONTINUATION, b"\xac"), 1)]), [1])
def test_where_it_is_cut_makes_no_difference(talk: Talk, sizes: list[int]) -> None:
    assert told(talk.data, sizes) == told(talk.data, [])


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, list[Any]]:
    """Valid frames, and what they say."""
    data, said = b"", []
    for _ in range(draw(st.integers(0, 6))):
        message: str | bytes = draw(st.one_of(st.text(max_size=200), st.binary(max_size=200)))
        payload, opcode = (message.encode(), TEXT) if isinstance(message, str) else (message, BINARY)
        cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
        fragments = [payload[begin:end] for begin, end in pairwise([0, *cuts, len(payload)])]
        for number, fragment in enumerate(fragments, 1):
            data += frame(opcode, fragment, fin=number == len(fragments))
            opcode = CONTINUATION
            if draw(st.booleans()):
                data += frame(draw(st.sampled_from([PING, PONG])), draw(st.binary(max_size=125)))
        said.append(message)
    if draw(st.booleans()):
        data += close(4001, b"bye")
        said.append(4001)
    return data, said


@settings(fuzzing, max_examples=5 * EXAMPLES)
@given(conversations(), st.lists(st.integers(1, 300), max_size=4))
def test_what_is_valid_is_understood_as_it_was_meant(conversation: tuple[bytes, list[Any]], sizes: list[int]) -> None:
    data, said = conversation
    assert [one for one in told(data, sizes) if not isinstance(one, Ping | Pong)] == said
