import msgspec
import pytest
import structlog
import trio

from realtime.actors.sinks import jsonlines, text
from realtime.actors.sinks.writer import EventLog
from realtime.policy.loglines import JsonLines
from realtime.policy.rotation import Rotation
from realtime.policy.selection import Selection
from realtime.ports import NewEvent
from realtime.settings import ActorSettings

from ...in_process import make_settings, running
from ...waiting import until


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.jsonl"


def make(store, path, **options):
    options = {"rotation": Rotation(), "selection": Selection()} | options
    return EventLog(store, path, JsonLines(), **options)


def lines(path):
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]


async def test_what_is_there_and_what_comes_is_written_as_on_the_wire(store, path, nursery):
    first = await store.append(NewEvent("a", {"x": 1}))
    log = await nursery.start(make(store, path).run)
    second = await store.append(NewEvent("b", tags=("t",)))
    await until(lambda: log.statistics().written == 2)
    wires = [{"epoch": store.epoch, "offset": event.offset, **event.to_wire()} for event in (first, second)]
    assert lines(path) == wires
    await until(lambda: log.statistics().behind == 0)
    figures = log.statistics()
    assert (figures.position, figures.missed, figures.file_bytes) == (f"{store.epoch}:2", 0, path.stat().st_size)
    nursery.cancel_scope.cancel()


async def test_stopped_and_started_again_it_goes_on(store, path):
    for number in range(3):
        await store.append(NewEvent(f"t{number}"))
        async with trio.open_nursery() as nursery:
            log = await nursery.start(make(store, path).run)
            await until(lambda log=log: log.statistics().written == 1)
            nursery.cancel_scope.cancel()
    assert [line["type"] for line in lines(path)] == ["t0", "t1", "t2"]


async def test_only_what_is_selected_is_written(store, path, nursery):
    for type in ("a", "b", "a"):
        await store.append(NewEvent(type))
    log = await nursery.start(make(store, path, selection=Selection(types=("b",))).run)
    await until(lambda: log.statistics().behind == 0)
    assert [line["type"] for line in lines(path)] == ["b"]
    nursery.cancel_scope.cancel()


async def test_start_and_stop_are_logged_and_nothing_is_left_open(store, path):
    with structlog.testing.capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            await nursery.start(make(store, path).run)
            nursery.cancel_scope.cancel()
    assert [log["event"] for log in logs] == ["event_log_started", "event_log_stopped"]
    log = make(store, path)
    log._file.open()  # nobody else has it
    log._file.close()


async def test_a_disk_that_is_full_degrades_the_sink_alone_and_it_heals(tmp_path, monkeypatch):
    """In the tree: a crash of the sink costs nobody else anything, and no event."""
    from realtime.storage import logfile

    path = tmp_path / "events.jsonl"
    sink = ActorSettings(use="realtime.actors.sinks.jsonlines", options={"path": str(path)}, backoff_first=0.01)
    async with running(make_settings(actors={"log": sink})) as system:
        await system.system.services.events.create_event(type="a")
        await until(lambda: len(lines(path)) == 1)
        real = logfile.os.write

        def full(fd, data):
            if b'"epoch"' in bytes(data):
                raise OSError(28, "No space left on device")
            return real(fd, data)

        monkeypatch.setattr(logfile.os, "write", full)
        await system.system.services.events.create_event(type="b")
        await until(lambda: system.tree.find("broadcasters/log").restarts > 1)
        monkeypatch.undo()
        await until(lambda: len(lines(path)) == 2)
        assert [line["type"] for line in lines(path)] == ["a", "b"]
        assert system.tree.find("broadcasters").state == "running"


@pytest.mark.parametrize(("use", "form"), [("jsonlines", jsonlines), ("text", text)])
async def test_both_are_actor_modules_with_figures_in_the_tree(tmp_path, use, form):
    options = {"path": str(tmp_path / "e.log"), "severity": "error", "types": ["a*"], "max_bytes": 1000, "keep": 2}
    sink = ActorSettings(use=f"realtime.actors.sinks.{use}", options=options)
    async with running(make_settings(actors={"log": sink})) as system:
        events = system.system.services.events
        for type, severity in (("abc", "error"), ("abd", "info"), ("b", "error")):
            await events.create_event(type=type, severity=severity)
        await until(lambda: system.tree.find("broadcasters/log").stats["behind"] == 0)
        assert system.tree.find("broadcasters/log").stats["written"] == 1
    assert (tmp_path / "e.log").read_text().count("\n") == 1
