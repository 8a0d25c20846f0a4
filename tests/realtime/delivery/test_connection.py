"""One connection: reader and send actor, whichever ends first ends the other, and how it says goodbye."""

import math

import pytest
import structlog
import trio
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

from realtime import messages
from realtime.delivery import frames
from realtime.delivery.connection import Connection
from realtime.delivery.ending import ABORT_SECONDS, ANSWER_SECONDS, FLUSH_SECONDS, LAST_WORD_SECONDS, Closed
from realtime.delivery.outbox import MAX_REPLIES, Outbox
from realtime.messages import CloseCode

from .made import made, told
from .memory_wire import MemoryWire

PING = frames.ping(b"12345678")
PING_MESSAGE = frames.text(messages.ping())


class Life:
    """A connection that runs, what its handler was given, and how it ended."""

    def __init__(self, wire, **options):
        self.wire = wire
        self.connection = Connection("c1", wire, **options)
        self.handled = []
        self.ended = trio.Event()
        self.result = None
        self.error = None
        self.scope = trio.CancelScope()

    async def run(self, handler=None):
        async def note(message):
            self.handled.append(message)
            await trio.lowlevel.checkpoint()

        try:
            with self.scope:
                self.result = await self.connection.run(handler or note)
        except* Exception as group:
            self.error = group
        finally:
            self.ended.set()


@pytest.fixture
async def start(nursery):
    async def start(handler=None, *, stalled=False, close_seconds=0.0, outbox=None, **options):
        wire = MemoryWire(close_seconds=close_seconds, write_timeout=options.pop("write_timeout", 10.0))
        if stalled:
            wire.stall()
        life = Life(wire, outbox=outbox, **options)
        nursery.start_soon(life.run, handler)
        await wait_all_tasks_blocked()
        return life

    return start


async def test_messages_reach_the_handler_one_by_one(start):
    life = await start()
    life.wire.peer_sends("one")
    life.wire.peer_sends(b"two")
    await wait_all_tasks_blocked()
    assert life.handled == ["one", b"two"]


async def test_while_the_handler_works_the_next_message_is_not_read(start):
    busy = trio.Event()

    async def handler(message):
        await busy.wait()

    life = await start(handler)
    life.wire.peer_sends("one")
    life.wire.peer_sends("two")
    await wait_all_tasks_blocked()
    assert len(life.wire._inbound) == 1
    busy.set()
    await wait_all_tasks_blocked()
    assert not life.wire._inbound


async def test_what_is_put_into_the_outbox_is_written(start):
    life = await start()
    life.connection.reply(messages.result("c1", {}))
    life.connection.outbox.offer(made("t", 1))
    await wait_all_tasks_blocked()
    assert told(life.wire.sent) == ["result", 1]


async def test_the_peers_close_ends_it_with_the_peers_code_and_is_answered(start):
    life = await start()
    life.wire.peer_closes(1001, "going away")
    await life.ended.wait()
    assert life.result == life.connection.closed == Closed(1001, "going away", "client")
    assert life.wire.closed_with == (1001, "")
    assert life.wire.aborted


async def test_a_close_without_a_code_is_answered_with_1000(start):
    life = await start()
    life.wire.peer_closes(1005)
    await life.ended.wait()
    assert life.result == Closed(1005, "", "client")
    assert life.wire.closed_with == (1000, "")


async def test_a_peer_that_vanished_gets_no_close_frame(start):
    life = await start()
    life.wire.peer_closes(1006)
    await life.ended.wait()
    assert life.result == Closed(1006, "", "nobody")
    assert life.wire.closed_with is None
    assert life.wire.aborted


async def test_messages_before_the_peers_close_are_still_handled(start):
    life = await start()
    life.wire.peer_sends("last words")
    life.wire.peer_closes(1000)
    await life.ended.wait()
    assert life.handled == ["last words"]


async def test_a_misbehaving_peer_is_closed_with_the_code_for_it_after_what_waits(start):
    life = await start()
    life.connection.outbox.offer(made("t", 1))
    life.wire.peer_misbehaves(1009, "too big")
    await life.ended.wait()
    assert life.result == Closed(1009, "too big", "server")
    assert life.wire.closed_with == (1009, "too big")
    assert told(life.wire.sent[:-1]) == [1]


async def test_an_orderly_close_comes_after_what_waits(start):
    life = await start()
    for offset in (1, 2, 3):
        life.connection.outbox.offer(made("t", offset))
    life.connection.close(1000, "done")
    await life.ended.wait()
    assert told(life.wire.sent[:-1]) == [1, 2, 3]
    assert life.wire.closed_with == (1000, "done")
    assert life.result == Closed(1000, "done", "server")


async def test_an_aborting_close_comes_before_it(start):
    life = await start()
    life.connection.outbox.offer(made("t", 1))
    life.connection.close(CloseCode.TOO_SLOW, "too slow")
    await life.ended.wait()
    assert life.wire.sent[:-1] == []
    assert life.wire.closed_with == (4000, "too slow")


async def test_the_first_close_wins_and_later_ones_do_nothing(start):
    life = await start()
    life.connection.close(4401)
    life.connection.close(1000)
    await life.ended.wait()
    life.connection.close(1000)
    life.connection.drain(0, "")
    assert life.result.code == 4401


async def test_what_was_closed_before_it_ran_says_so_at_once():
    wire = MemoryWire()
    connection = Connection("c1", wire)
    connection.reply(messages.error("unknown_task", "no such task"))
    connection.close(CloseCode.NO_SUCH_TASK)
    assert await connection.run(_unreachable) == Closed(4404, "", "server")
    assert wire.types()[0] == "error"
    assert wire.closed_with == (4404, "")


async def _unreachable(message):
    raise AssertionError("nothing was sent")


@pytest.mark.parametrize(("code", "seconds"), [(1000, FLUSH_SECONDS), (1012, ABORT_SECONDS)])
async def test_a_close_does_not_wait_for_a_client_that_does_not_read(start, autojump_clock, code, seconds):
    life = await start(stalled=True)
    life.connection.outbox.offer(made("t", 1))
    await wait_all_tasks_blocked()
    began = trio.current_time()
    life.connection.close(code)
    await life.ended.wait()
    assert trio.current_time() - began == pytest.approx(seconds)
    # The write was cut off, so no Close frame could follow it.
    assert life.wire.closed_with is None
    assert life.wire.aborted
    assert life.result == Closed(code, "", "server")


async def test_a_peer_that_does_not_answer_the_close_is_not_waited_for(start, autojump_clock):
    life = await start(close_seconds=math.inf)
    life.connection.close(1000)
    await life.ended.wait()
    assert trio.current_time() == pytest.approx(ANSWER_SECONDS)
    assert life.wire.aborted


async def test_a_write_that_makes_no_progress_ends_it_with_4000(start, autojump_clock):
    life = await start(stalled=True)
    life.connection.outbox.offer(made("t", 1))
    await life.ended.wait()
    assert trio.current_time() == pytest.approx(10)
    assert life.result == Closed(4000, "no write progress for 10 s", "server")
    assert life.wire.aborted


async def test_a_broken_socket_ends_it(start, autojump_clock):
    life = await start()
    life.wire.broken = True
    life.connection.outbox.offer(made("t", 1))
    await wait_all_tasks_blocked()
    life.wire.peer_closes(1006)
    await life.ended.wait()
    assert life.result == Closed(1006, "", "nobody")
    assert trio.current_time() == 0


async def test_a_broken_socket_whose_end_cannot_be_read_ends_it_nonetheless(start, autojump_clock):
    life = await start()
    life.wire.broken = True
    life.connection.outbox.offer(made("t", 1))
    await life.ended.wait()
    assert life.result == Closed(1006, "", "nobody")
    assert trio.current_time() == pytest.approx(ABORT_SECONDS)


async def test_a_close_does_not_prolong_the_time_that_an_earlier_end_left(start, autojump_clock):
    life = await start()
    life.wire.broken = True
    life.connection.outbox.offer(made("t", 1))
    await trio.sleep(1)
    life.connection.close(1000)
    await life.ended.wait()
    assert trio.current_time() == pytest.approx(ABORT_SECONDS)


async def test_what_the_peer_said_before_a_broken_write_is_still_heard(start):
    life = await start()
    life.wire.broken = True
    life.connection.outbox.offer(made("t", 1))
    await wait_all_tasks_blocked()
    life.wire.peer_sends("last words")
    life.wire.peer_closes(1001, "bye")
    await life.ended.wait()
    assert life.handled == ["last words"]
    assert life.result == Closed(1001, "bye", "client")
    assert life.wire.closed_with == (1001, "")


async def test_a_write_that_fails_because_the_peer_has_closed_holds_nothing_up(start, autojump_clock):
    life = await start(stalled=True)
    life.connection.outbox.offer(made("t", 1))
    await wait_all_tasks_blocked()
    life.wire.peer_closes(1001, "bye")
    await wait_all_tasks_blocked()
    life.wire.broken = True
    life.wire.release()
    await life.ended.wait()
    assert trio.current_time() == 0
    assert life.result == Closed(1001, "bye", "client")
    assert life.wire.closed_with == (1001, "")


async def test_a_write_under_way_when_the_peer_closes_may_end_so_that_the_close_is_answered(start, autojump_clock):
    life = await start(stalled=True)
    life.connection.outbox.offer(made("t", 1))
    await wait_all_tasks_blocked()
    life.wire.peer_closes(1001)
    await trio.sleep(ABORT_SECONDS / 2)
    life.wire.release()
    await life.ended.wait()
    assert life.wire.closed_with == (1001, "")


async def test_a_handler_that_fails_closes_with_1011_and_raises(start):
    async def handler(message):
        raise RuntimeError("a bug")

    life = await start(handler)
    life.wire.peer_sends("x")
    await life.ended.wait()
    assert pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="a bug"), flatten_subgroups=True).matches(life.error)
    assert life.wire.closed_with == (1011, "internal error")
    assert life.connection.closed == Closed(1011, "internal error", "server")
    assert life.wire.aborted


async def test_a_wire_that_fails_is_an_error_and_ends_the_socket(start):
    life = await start()
    life.wire._end(KeyError("a bug in the wire"))
    await life.ended.wait()
    assert life.error is not None
    assert life.wire.closed_with == (1011, "")
    assert life.wire.aborted


async def test_cancelled_from_outside_it_tells_the_client_to_come_back(start, autojump_clock):
    life = await start(close_seconds=math.inf)
    life.scope.cancel()
    await life.ended.wait()
    code, reason = life.wire.closed_with
    assert code == 1012
    assert 1.0 <= float(reason.removeprefix("retry-after=")) <= 6.0  # by chance: it is not the only one
    assert life.connection.closed == Closed(1012, reason, "server")
    assert trio.current_time() == pytest.approx(LAST_WORD_SECONDS)
    assert life.wire.aborted


async def test_cancelled_while_a_write_is_stalled_it_is_gone_at_once(start, autojump_clock):
    life = await start(stalled=True)
    life.connection.outbox.offer(made("t", 1))
    await wait_all_tasks_blocked()
    life.scope.cancel()
    await life.ended.wait()
    assert trio.current_time() == 0
    assert life.wire.aborted


async def test_nothing_is_left_behind(start):
    life = await start()
    before = trio.lowlevel.current_statistics().tasks_living
    life.connection.drain(1000, "")
    life.connection.outbox.offer(made("t", 1))
    life.wire.peer_closes()
    await life.ended.wait()
    await wait_all_tasks_blocked()
    assert trio.lowlevel.current_statistics().tasks_living < before
    assert life.connection.outbox.offer(made("t", 2)) is None
    assert life.wire.on_ping is None


async def test_a_drain_closes_with_1012_after_its_delay(start, autojump_clock):
    life = await start()
    life.connection.drain(2.5, "retry-after=3.0")
    life.connection.drain(1.0, "another")
    life.connection.outbox.offer(made("t", 1))
    await life.ended.wait()
    assert trio.current_time() == 2.5
    assert life.wire.closed_with == (1012, "retry-after=3.0")
    assert told(life.wire.sent[:-1]) == [1]


async def test_a_connection_that_ends_while_it_drains_keeps_its_own_end(start, autojump_clock):
    life = await start()
    life.connection.drain(5, "retry-after=3.0")
    await trio.sleep(1)
    life.wire.peer_closes(1001)
    await life.ended.wait()
    assert life.result.code == 1001
    assert trio.current_time() == 1


async def test_a_drain_without_delay_closes_at_once(start, autojump_clock):
    life = await start()
    life.connection.drain(0, "retry-after=1.0")
    await life.ended.wait()
    assert trio.current_time() == 0
    assert life.wire.closed_with == (1012, "retry-after=1.0")


async def test_the_peers_ping_is_answered_by_the_one_writer_ahead_of_what_waits(start):
    life = await start(stalled=True)
    life.connection.outbox.offer(made("t", 1))
    await wait_all_tasks_blocked()
    life.connection.outbox.offer(made("t", 2))
    life.wire.on_ping(b"a")
    life.wire.on_ping(b"b")
    life.wire.release()
    await wait_all_tasks_blocked()
    assert [frame.payload for frame in life.wire.sent if frame.opcode == frames.PONG] == [b"b"]
    assert life.wire.sent[1].opcode == frames.PONG


async def test_a_ping_message_is_answered_ahead_of_what_waits(start):
    life = await start(stalled=True)
    life.connection.outbox.offer(made("t", 1))
    await wait_all_tasks_blocked()
    life.connection.outbox.offer(made("t", 2))
    life.connection.pong("2026-01-01T00:00:00.000Z")
    life.wire.release()
    await wait_all_tasks_blocked()
    assert life.wire.types() == ["m", "pong", "m"]
    assert life.wire.messages[1]["timestamp"] == "2026-01-01T00:00:00.000Z"


async def test_a_ping_is_frame_and_message_where_frames_can_be_sent(start):
    life = await start()
    life.connection.ping(PING, PING_MESSAGE)
    await wait_all_tasks_blocked()
    assert life.wire.sent == [PING, PING_MESSAGE]
    life.wire.supports_frames = False
    life.connection.ping(PING, PING_MESSAGE)
    await wait_all_tasks_blocked()
    assert life.wire.sent[2:] == [PING_MESSAGE]


async def test_a_ping_is_unanswered_from_its_write_until_any_sign_of_life(start, mock_clock):
    life = await start()
    life.wire._answers = False
    connection = life.connection
    assert connection.unanswered_since is None
    mock_clock.jump(30)
    life.wire.stall()
    connection.outbox.offer(made("t", 1))
    await wait_all_tasks_blocked()
    connection.ping(PING, PING_MESSAGE)
    await wait_all_tasks_blocked()
    assert connection.unanswered_since is None  # it waits behind a write that is under way
    mock_clock.jump(5)
    life.wire.release()
    await wait_all_tasks_blocked()
    assert connection.unanswered_since == 35
    mock_clock.jump(5)
    connection.ping(PING, PING_MESSAGE)
    await wait_all_tasks_blocked()
    assert connection.unanswered_since == 35
    mock_clock.jump(1)
    life.wire.peer_sends("anything")
    assert connection.unanswered_since is None


async def test_more_replies_than_may_wait_stop_the_reading(start):
    async def handler(message):
        life.connection.reply(messages.result(message, {}))

    life = await start(handler, stalled=True, max_inbound_per_second=1000)
    for number in range(200):
        life.wire.peer_sends(str(number))
    await wait_all_tasks_blocked()
    # One batch of replies is being written, and of the rest no more than the bound waits.
    assert life.connection.outbox.statistics().replies == MAX_REPLIES
    assert len(life.wire._inbound) > 100
    life.wire.release()
    await wait_all_tasks_blocked()
    assert [message["id"] for message in life.wire.messages] == [str(number) for number in range(200)]


async def test_too_many_messages_close_with_4429(start, autojump_clock):
    life = await start(max_inbound_per_second=3)
    for number in range(3):
        life.wire.peer_sends(str(number))
    await trio.sleep(1.5)
    for number in range(10):
        life.wire.peer_sends(str(number))
    await life.ended.wait()
    assert life.result == Closed(4429, "too many messages", "server")
    assert len(life.handled) == 6


async def test_a_bad_message_is_answered_and_the_twenty_first_closes_with_4400(start):
    life = await start()
    with capture_logs() as logs:
        for _ in range(20):
            life.connection.reject("type is missing")
        await wait_all_tasks_blocked()
        assert life.connection.outbox.closing is None
        life.connection.reject("type is missing")
        await life.ended.wait()
    assert life.wire.types().count("error") == 21
    assert life.wire.messages[0] == {"type": "error", "code": "bad_message", "message": "type is missing"}
    assert life.wire.closed_with == (4400, "too many bad messages")
    assert logs[0] == {
        "event": "bad_message",
        "log_level": "warning",
        "connection_id": "c1",
        "problem": "type is missing",
    }


async def test_the_connections_id_is_on_every_line_logged_in_its_tasks(start):
    seen = []

    async def handler(message):
        seen.append(structlog.contextvars.get_contextvars())

    life = await start(handler)
    life.wire.peer_sends("x")
    await wait_all_tasks_blocked()
    assert seen == [{"connection_id": "c1"}]
    assert structlog.contextvars.get_contextvars() == {}


async def test_the_send_actor_has_the_connections_context_and_not_that_of_who_published(start, nursery):
    life = await start()
    seen = []
    life.wire.send, send = (
        lambda sent: seen.append(structlog.contextvars.get_contextvars()) or send(sent),
        life.wire.send,
    )
    with structlog.contextvars.bound_contextvars(task="publisher"):
        life.connection.outbox.offer(made("t", 1))
    await wait_all_tasks_blocked()
    assert seen == [{"connection_id": "c1"}]


async def test_while_nothing_is_to_be_sent_the_reader_is_its_only_task(start):
    def tasks():
        return [child.name for child in life.connection._nursery.child_tasks]

    life = await start()
    assert tasks() == []
    assert life.connection.outbox.idle
    life.wire.stall()
    life.connection.outbox.offer(made("t", 1))
    life.connection.outbox.offer(made("t", 2))
    await wait_all_tasks_blocked()
    assert tasks() == ["send actor of c1"]
    assert not life.connection.outbox.idle
    life.wire.release()
    await wait_all_tasks_blocked()
    assert told(life.wire.sent) == [1, 2]
    assert tasks() == []
    assert life.connection.outbox.idle


async def test_its_statistics_are_those_of_the_contract(start, autojump_clock):
    life = await start(stalled=True, session="s1", outbox=Outbox(2, 1000))
    life.connection.topics["clock"] = None
    life.connection.outbox.offer(made("t", 0))
    await wait_all_tasks_blocked()
    for offset in (1, 2, 3):
        life.connection.outbox.offer(made("t", offset))
    life.wire.rtt = 0.02
    await trio.sleep(3)
    figures = life.connection.statistics()
    assert figures.id == "c1"
    assert figures.session == "s1"
    assert figures.address == "192.0.2.1"
    assert figures.topics == ("clock",)
    assert figures.queued_messages == 3
    assert figures.queued_bytes == 2 * made("t", 1).size
    assert figures.dropped == 1
    assert figures.rtt_s == 0.02
    assert figures.connected_s == 3


async def test_a_message_is_put_to_the_handler_no_more_once_the_connection_closes(start, autojump_clock):
    life = await start(stalled=True)
    life.connection.outbox.offer(made("t", 1))
    await wait_all_tasks_blocked()
    life.connection.close(1000)
    life.wire.peer_sends("too late")
    await wait_all_tasks_blocked()
    assert life.handled == []
    life.wire.release()
    await life.ended.wait()
    assert life.wire.closed_with == (1000, "")


async def test_work_beside_it_ends_with_the_connection(start):
    life = await start()
    ended = []

    async def work(word):
        try:
            await trio.sleep_forever()
        finally:
            ended.append(word)

    life.connection.start_soon(work, "done", name="work")
    await wait_all_tasks_blocked()
    assert ended == []
    life.wire.peer_closes()
    await life.ended.wait()
    assert ended == ["done"]
    assert life.result == Closed(1001, "", "client")


async def test_work_beside_it_that_raises_closes_with_1011(start):
    life = await start()

    async def work():
        await trio.lowlevel.checkpoint()
        raise KeyError("work")

    life.connection.start_soon(work, name="work")
    await life.ended.wait()
    assert life.wire.closed_with == (CloseCode.HANDLER_FAILED, "")
    assert life.error is not None
    assert life.error.subgroup(KeyError)


async def test_there_is_no_work_beside_a_connection_that_does_not_run(start):
    life = await start()
    life.wire.peer_closes()
    await life.ended.wait()
    with pytest.raises(RuntimeError, match="'c1' does not run"):
        life.connection.start_soon(trio.sleep_forever, name="work")
