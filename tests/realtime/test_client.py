import json
from collections import deque
from itertools import pairwise

import pytest
import trio
import trio.testing
import trio_websocket

from realtime.client import ANSWER, QUIET, TailEnded, check_url, tail
from realtime.connect import CONNECT

URL = "ws://server.test:8000/ws/mine"


class Network:
    """Streams in memory in place of TCP; the server acts out one script a connection, in order."""

    def __init__(self, nursery):
        self._nursery = nursery
        self.scripts = deque()
        self.connected_at = []
        self.asked = []

    async def open_tcp_stream(self, host, port, **options):
        await trio.lowlevel.checkpoint()
        self.asked.append((host, port))
        self.connected_at.append(trio.current_time())
        script = self.scripts.popleft()
        if isinstance(script, Exception):
            raise script
        client, server = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self._serve, server, script)
        return client

    async def _serve(self, stream, script):
        if script is SILENT:
            await trio.sleep_forever()
        async with trio.open_nursery() as nursery:
            try:
                await script(await trio_websocket.wrap_server_stream(nursery, stream))
            except trio_websocket.ConnectionClosed:
                pass  # the client left while the script still ran
            nursery.cancel_scope.cancel()


def deaf(*messages):
    """A server that sends *messages* and reads nothing from then on, so it answers nothing either."""

    async def script(request):
        connection = await request.accept()
        for message in messages:
            await connection.send_message(message)
        connection._stream.receive_stream.receive_some = hear_nothing
        await trio.sleep_forever()

    async def hear_nothing(max_bytes=None):
        await trio.sleep_forever()

    return script


SILENT = object()
"""A server that accepts the TCP connection and says nothing."""


def says(*messages, then=1000, reason=""):
    """A server that sends *messages* and closes with the code *then*."""

    async def script(request):
        connection = await request.accept()
        for message in messages:
            await connection.send_message(message if isinstance(message, str) else json.dumps(message))
        await connection.aclose(then, reason)

    return script


def refuses(status, headers=()):
    async def script(request):
        await request.reject(status, extra_headers=list(headers), body=b"no")

    return script


def vanishes(*messages):
    """A server that ends the TCP connection without a Close frame."""

    async def script(request):
        connection = await request.accept()
        for message in messages:
            await connection.send_message(message)
        await connection._stream.aclose()

    return script


@pytest.fixture
async def network(nursery, monkeypatch):
    network = Network(nursery)
    monkeypatch.setattr(trio, "open_tcp_stream", network.open_tcp_stream)
    yield network
    nursery.cancel_scope.cancel()


class Run:
    """One `tail` and what it said."""

    def __init__(self, network, scripts, chance=1.0):
        network.scripts.extend(scripts)
        self.network = network
        self.lines = []
        self.notes = []
        self._chance = chance

    async def __call__(self, *args, url=URL, **options):
        options = {"print_line": self.lines.append} | options
        await tail(url, *args, note=self.notes.append, chance=lambda: self._chance, **options)

    @property
    def waited(self):
        """Seconds between one attempt to connect and the next."""
        times = self.network.connected_at
        return [round(later - earlier, 3) for earlier, later in pairwise(times)]


# --- what is printed -----------------------------------------------------------------------------------------------


async def test_each_message_is_a_line_until_the_stream_is_complete(network, autojump_clock):
    run = Run(network, [says('{"type":"a"}', '{"type":"b"}')])
    await run()
    assert run.lines == ['{"type":"a"}', '{"type":"b"}']
    assert run.notes == []
    assert network.asked == [("server.test", 8000)]


async def test_no_more_than_so_many_are_printed(network, autojump_clock):
    run = Run(network, [says("1", "2", "3", then=1012)])
    await run(2)
    assert run.lines == ["1", "2"]


async def test_what_is_printed_counts_over_all_connections(network, autojump_clock):
    run = Run(network, [says("1", "2", then=1012), says("3", "4", then=1012)])
    await run(3)
    assert run.lines == ["1", "2", "3"]
    assert len(run.notes) == 1


async def test_a_heartbeat_is_answered_and_not_printed(network, autojump_clock):
    answers = []

    async def script(request):
        connection = await request.accept()
        await connection.send_message('{"timestamp":"t1","type":"ping"}')
        answers.append(json.loads(await connection.get_message()))
        await connection.send_message('{"type":"after"}')
        await connection.aclose()

    run = Run(network, [script])
    await run()
    assert answers == [{"type": "pong", "timestamp": "t1"}]
    assert run.lines == ['{"type":"after"}']


@pytest.mark.parametrize("text", ["", "no JSON", "[1]", '"ping"', '{"type":1}', '{"type":"x","timestamp":5}', "{}"])
async def test_whatever_else_comes_is_printed_as_it_is(network, autojump_clock, text):
    run = Run(network, [says(text)])
    await run()
    assert run.lines == [text]


async def test_it_subscribes_on_every_connection(network, autojump_clock):
    heard = []

    async def script(request):
        connection = await request.accept()
        heard.append([json.loads(await connection.get_message()) for _ in range(2)])
        await connection.aclose(1012)

    run = Run(network, [script, script, says()])
    await run(None, ["clock", "system"])
    wanted = [{"type": "subscribe", "topic": "clock"}, {"type": "subscribe", "topic": "system"}]
    assert heard == [wanted, wanted]


async def test_a_terminal_that_is_gone_is_no_broken_connection(network, autojump_clock):
    def gone(line):
        raise BrokenPipeError

    run = Run(network, [says("1", "2"), says("3")])
    with pytest.raises(BrokenPipeError):
        await run(print_line=gone)
    assert len(network.connected_at) == 1
    assert run.notes == []


# --- whether it comes back -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [4401, 4403, 4404])
async def test_after_a_final_code_it_does_not_come_back(network, autojump_clock, code):
    run = Run(network, [says("1", then=code, reason="no such task")])
    with pytest.raises(TailEnded, match=f"the server closed the stream: {code} no such task"):
        await run()
    assert run.lines == ["1"]


@pytest.mark.parametrize("code", [1001, 1011, 1012, 4000, 4001])
async def test_after_any_other_it_does_and_says_so(network, autojump_clock, code):
    run = Run(network, [says(then=code), says("back")])
    await run()
    assert run.lines == ["back"]
    assert run.notes == [f"connection ended ({code}); trying again in 0.5 s"]
    assert run.waited == [0.5]


async def test_it_waits_as_long_as_the_server_asks_for_and_a_little_longer(network, autojump_clock):
    run = Run(network, [says(then=1012, reason="retry-after=7.5"), says()])
    await run()
    assert run.waited == [8.0]
    assert run.notes == ["connection ended (1012 retry-after=7.5); trying again in 8.0 s"]


async def test_a_server_that_vanished_is_looked_for_again(network, autojump_clock):
    run = Run(network, [vanishes("1"), says("2")])
    await run()
    assert run.lines == ["1", "2"]
    assert run.notes == ["connection ended (1006); trying again in 0.5 s"]


async def test_delays_double_while_nothing_answers_and_begin_anew_after_a_message(network, autojump_clock):
    down = ConnectionRefusedError("nobody listens")
    run = Run(network, [down, down, down, down, says("1", then=1001), down, down, says()])
    await run()
    assert run.waited == [0.5, 1.0, 2.0, 4.0, 0.5, 1.0, 2.0]
    assert run.notes[0] == "connection ended (no connection: nobody listens); trying again in 0.5 s"


async def test_a_connection_on_which_nothing_came_does_not_begin_anew(network, autojump_clock):
    """Else a server that closes each at once would be asked twice a second for ever."""
    run = Run(network, [says(then=1011), says(then=1011), says(then=1011), says()])
    await run()
    assert run.waited == [0.5, 1.0, 2.0]


async def test_chance_spreads_the_delays(network, autojump_clock):
    run = Run(network, [says(then=1012, reason="retry-after=1.0"), says()], chance=0.25)
    await run()
    assert run.waited == [1.125]


# --- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 404, 426])
async def test_a_refusal_for_good_ends_it(network, autojump_clock, status):
    run = Run(network, [refuses(status)])
    with pytest.raises(TailEnded, match=f"refused the connection with HTTP {status}"):
        await run()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
async def test_a_refusal_for_now_does_not(network, autojump_clock, status):
    run = Run(network, [refuses(status), says()])
    await run()
    assert run.notes == [f"connection ended (no connection: HTTP {status}); trying again in 0.5 s"]


async def test_a_refusal_can_ask_for_time_too(network, autojump_clock):
    run = Run(network, [refuses(503, [(b"retry-after", b"5")]), says()])
    await run()
    assert run.waited == [5.5]


# --- silence -------------------------------------------------------------------------------------------------------


async def test_a_silent_server_that_answers_is_waited_for(network, autojump_clock):
    async def script(request):
        connection = await request.accept()
        asked = 0
        with trio.move_on_after(10.5 * QUIET):
            while True:
                assert json.loads(await connection.get_message()) == {"type": "ping"}
                asked += 1
                await connection.send_message('{"type":"pong","timestamp":"t"}')
        assert asked == 10
        await connection.send_message("at last")
        await connection.aclose()

    run = Run(network, [script])
    await run()
    assert (run.lines, run.notes) == (["at last"], [])


async def test_a_close_in_place_of_an_answer_is_what_it_is(network, autojump_clock):
    async def script(request):
        connection = await request.accept()
        await connection.get_message()
        await connection.aclose(4404, "gone")

    with pytest.raises(TailEnded, match="4404 gone"):
        await Run(network, [script])()


async def test_a_ping_that_crosses_our_close_is_no_failure(network, autojump_clock):
    async def script(request):
        connection = await request.accept()
        await connection.send_message("1")
        await connection._stream.send_all(b"\x89\x00" * 3)
        await trio.sleep_forever()

    run = Run(network, [script])
    await run(1)
    assert (run.lines, run.notes) == (["1"], [])


async def test_a_server_that_gives_no_sign_of_life_is_left(network, autojump_clock):
    run = Run(network, [deaf("1"), says("2")])
    await run()
    assert run.lines == ["1", "2"]
    assert run.notes == ["connection ended (1006 no sign of life); trying again in 0.5 s"]
    assert QUIET + ANSWER <= run.waited[0] <= QUIET + ANSWER + 5


async def test_a_server_that_never_finishes_the_handshake_is_given_up(network, autojump_clock):
    run = Run(network, [SILENT, says()])
    await run()
    assert run.waited == [CONNECT + 0.5]
    assert run.notes == ["connection ended (no connection: no handshake within 10 s); trying again in 0.5 s"]


# --- resuming ------------------------------------------------------------------------------------------------------


def confirms(topic, offset, *, epoch="e", recovered=False):
    return {"type": "subscribed", "topic": topic, "epoch": epoch, "offset": offset, "recovered": recovered}


def published(topic, offset):
    return {"type": "event", "topic": topic, "offset": offset, "data": {}}


async def test_a_fixed_stream_is_resumed_where_it_was(network, autojump_clock):
    paths = []

    def asked(*messages, then=1011):
        async def script(request):
            paths.append(request.path)
            await says(*messages, then=then)(request)

        return script

    first = asked(confirms("events", 4), published("events", 5))
    cut_off = asked(confirms("events", 8, recovered=True), published("events", 6))
    rest = asked(confirms("events", 8, recovered=True), published("events", 7), published("events", 8), then=1000)
    run = Run(network, [first, cut_off, rest])
    await run()
    assert paths == ["/ws/mine", "/ws/mine?epoch=e&offset=5", "/ws/mine?epoch=e&offset=6"]
    assert [json.loads(line)["offset"] for line in run.lines if '"event"' in line] == [5, 6, 7, 8]
    assert all(note.startswith("connection ended") for note in run.notes)


async def test_each_topic_of_a_session_is_resumed_where_it_was(network, autojump_clock):
    asked = []

    def script(*messages, then):
        async def act(request):
            connection = await request.accept()
            asked.append((request.path, json.loads(await connection.get_message())))
            for message in messages:
                await connection.send_message(json.dumps(message))
            await connection.aclose(then)

        return act

    first = script(confirms("clock", 1), confirms("events", 4), published("events", 5), then=1011)
    run = Run(network, [first, script(then=1000)])
    await run(None, ["events"])
    assert asked == [
        ("/ws/mine", {"type": "subscribe", "topic": "events"}),
        ("/ws/mine", {"type": "subscribe", "topic": "events", "epoch": "e", "offset": 5}),
    ]


async def test_what_was_lost_is_said(network, autojump_clock):
    before = says(confirms("events", 4), then=1011)
    run = Run(network, [before, says(confirms("events", 600), then=1011), says(confirms("events", 0, epoch="f"))])
    await run()
    assert [note for note in run.notes if not note.startswith("connection ended")] == [
        "events: 596 messages were missed and cannot be sent again",
        "events: its numbers began anew, so what was missed meanwhile cannot be told",
    ]


# --- signing in ----------------------------------------------------------------------------------------------------


async def test_a_token_goes_with_every_handshake_and_is_in_no_note(network, autojump_clock):
    seen = []

    def looks(then):
        async def script(request):
            seen.append(dict(request.headers).get(b"authorization"))
            connection = await request.accept()
            await connection.aclose(then, "")

        return script

    run = Run(network, [looks(1011), looks(1000), looks(1000)])
    await run(token="ann-0123456789abcdef")
    await run()
    assert seen == [b"Bearer ann-0123456789abcdef", b"Bearer ann-0123456789abcdef", None]
    assert not any("ann-" in note for note in run.notes)


async def test_who_is_not_let_in_is_told_so_and_does_not_come_back(network, autojump_clock):
    run = Run(network, [says(then=4401, reason="the token has expired; get a new one")])
    with pytest.raises(TailEnded, match="4401 the token has expired; get a new one"):
        await run(token="ann-0123456789abcdef")


# --- urls ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["ws://127.0.0.1:8000/ws/x", "wss://example.org/ws/events", "ws://[::1]:8000/ws/x"])
def test_a_websocket_s_url_is_one(url):
    check_url(url)


@pytest.mark.parametrize("url", ["", "localhost:8000", "http://localhost/ws/x", "ws://", "ws:///ws/x", "ws://[::1/x"])
async def test_anything_else_is_refused_before_anything_is_tried(network, url):
    with pytest.raises(ValueError, match=r"Invalid IPv6 URL|url must be like ws://"):
        await tail(url)
    assert network.connected_at == []
