import threading

import pytest
import trio
import trio.testing

from realtime.actors import tasks
from realtime.actors.progress import TaskEnded
from realtime.actors.tasks import AlreadyEnded, Job, TaskManager, TooManyTasks, UnknownJob, UnknownTask, job
from realtime.delivery.connection import Connection
from realtime.delivery.hub import Hub
from realtime.fields import BadField
from realtime.policy.progress import TaskError
from realtime.ports import StoreError
from realtime.settings import TopicSettings
from realtime.storage.tasks import TaskStore
from supervisors import ChildSpec, DynamicSupervisorSpec, SupervisorRef, SupervisorSpec, open_tree

from ..delivery.memory_wire import MemoryWire
from .listeners import Listeners


class Here(TaskStore):
    """The history in memory; it can fail."""

    fails = False

    async def _in_thread(self, function):
        if self.fails:
            raise StoreError("on purpose")
        return await super()._in_thread(function)


class Stage:
    """A manager in a tree, and who listens to its tasks."""

    def __init__(self, tree, manager, store, listeners):
        self.tree = tree
        self.manager = manager
        self.store = store
        self.listeners = listeners

    async def ended(self, task_id):
        """The task, once it has ended."""
        return await self.manager.wait(task_id)


@pytest.fixture
async def stage():
    hub, store, children = Hub(lambda _: TopicSettings(), epoch="e"), Here(":memory:"), SupervisorRef("jobs")
    manager = TaskManager(hub, store, children)
    spec = SupervisorSpec(
        [
            ChildSpec("hub", hub.run),
            ChildSpec("jobs", DynamicSupervisorSpec(), ref=children),
        ]
    )
    async with open_tree(spec) as tree:
        yield Stage(tree, manager, store, Listeners(hub))


@job("count")
async def count(progress, *, upto: int = 3, pause: float = 1.0):
    for number in range(1, upto + 1):
        await trio.sleep(pause)
        progress.update("counting", 100 * number / upto, f"{number} of {upto}")
    return {"counted": upto}


@job("fail")
async def fail(progress):
    progress.update("about to")
    raise OSError("no space left")


def types(heard):
    return [kind for kind, _ in heard()]


async def test_a_task_tells_its_progress_and_its_result(autojump_clock, stage):
    stage.manager.register(count)
    task = await stage.manager.start("count", {"upto": 2})
    assert (task.job, task.state, task.ended_at) == ("count", "running", None)
    with stage.listeners.one(f"tasks/{task.task_id}") as heard:
        assert await stage.ended(task.task_id)
        assert types(heard) == ["progress", "progress", "progress", "completed"]
        assert heard()[0][1]["percent"] is None
        assert heard()[1][1] == {
            "task_id": task.task_id,
            "stage": "counting",
            "percent": 50,
            "message": "1 of 2",
            "extra": {},
        }
        assert heard()[-1][1]["result"] == {"counted": 2}
    stored = await stage.store.get(task.task_id)
    assert (stored.state, stored.result, stored.progress.percent) == ("completed", {"counted": 2}, 100)
    assert stage.tree.find("jobs").children_total == 0


async def test_a_failure_is_the_outcome_and_a_crash_in_the_tree_that_restarts_nothing(autojump_clock, stage):
    stage.manager.register(fail)
    task = await stage.manager.start("fail")
    with stage.listeners.one(f"tasks/{task.task_id}") as heard:
        ended = await stage.ended(task.task_id)
        assert heard()[-1][0] == "failed"
        assert heard()[-1][1]["error"] == {"code": "OSError", "message": "no space left"}
    assert (ended.state, ended.error) == ("failed", TaskError("OSError", "no space left"))
    assert ended.progress.stage == "about to"
    assert stage.tree.snapshot().health == "ok"
    assert stage.tree.find("jobs").children_total == 0


async def test_a_job_that_would_end_the_process_has_failed_alone(autojump_clock, stage):
    @job("exits")
    async def exits(progress):
        raise SystemExit(3)

    stage.manager.register(exits)
    task = await stage.manager.start("exits")
    ended = await stage.ended(task.task_id)
    assert (ended.state, ended.error.code) == ("failed", "JobExited")
    assert "sys.exit(3)" in ended.error.message


async def test_a_result_without_a_json_form_fails_the_task(autojump_clock, stage):
    @job("odd")
    async def odd(progress):
        return object()

    stage.manager.register(odd)
    task = await stage.manager.start("odd")
    assert (await stage.ended(task.task_id)).error.code == "TypeError"


async def test_a_job_that_takes_too_long_has_failed(autojump_clock, stage):
    stage.manager.register(job("slow", timeout=2.0)(count.function))
    task = await stage.manager.start("slow", {"upto": 100})
    began = trio.current_time()
    ended = await stage.ended(task.task_id)
    assert (ended.state, ended.error.code) == ("failed", "timeout")
    assert trio.current_time() - began == pytest.approx(2, abs=0.1)


async def test_a_task_can_be_cancelled_once(autojump_clock, stage):
    stage.manager.register(count)
    task = await stage.manager.start("count", {"upto": 100})
    await trio.sleep(1.5)
    await stage.manager.cancel(task.task_id)
    ended = await stage.ended(task.task_id)
    assert (ended.state, ended.progress.message) == ("cancelled", "1 of 100")
    with pytest.raises(AlreadyEnded):
        await stage.manager.cancel(task.task_id)
    with pytest.raises(UnknownTask):
        await stage.manager.cancel("nobody")


async def test_an_async_job_that_speaks_before_it_waits_is_cancelled_by_its_own_word(autojump_clock, stage):
    begun = trio.Event()

    @job("busy")
    async def busy(progress):
        begun.set()
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
        progress.update(percent=1)

    stage.manager.register(busy)
    task = await stage.manager.start("busy")
    await begun.wait()
    await stage.manager.cancel(task.task_id)
    assert (await stage.ended(task.task_id)).state == "cancelled"


async def test_when_the_tree_stops_a_task_is_interrupted_and_remembered_as_such(autojump_clock):
    hub, store, children = Hub(lambda _: TopicSettings(), epoch="e"), Here(":memory:"), SupervisorRef("jobs")
    manager = TaskManager(hub, store, children)
    manager.register(count)
    jobs = ChildSpec("jobs", DynamicSupervisorSpec(), ref=children)
    async with open_tree(SupervisorSpec([ChildSpec("hub", hub.run), jobs])):
        task = await manager.start("count", {"upto": 100})
        await trio.sleep(1.5)
    assert (await manager.get(task.task_id)).state == "interrupted"
    row = store._connection.execute("SELECT state FROM tasks").fetchall()
    assert row == [("interrupted",)]


async def test_who_comes_late_gets_the_current_state_first_and_of_an_ended_one_the_outcome(autojump_clock, stage):
    stage.manager.register(count)
    task = await stage.manager.start("count", {"upto": 2})
    await trio.sleep(1.5)
    with stage.listeners.one(f"tasks/{task.task_id}") as heard:
        await trio.testing.wait_all_tasks_blocked()
        assert heard()[0][1]["message"] == "1 of 2"
    await stage.ended(task.task_id)
    with stage.listeners.one(f"tasks/{task.task_id}") as heard:
        await trio.testing.wait_all_tasks_blocked()
        assert types(heard) == ["completed"]


async def test_whoever_only_watches_is_closed_after_the_outcome(autojump_clock, stage, nursery):
    stage.manager.register(count)
    task = await stage.manager.start("count", {"upto": 1})
    wire = MemoryWire()
    connection = Connection("c9", wire)
    with stage.manager._hub.registered(connection):
        stage.manager._hub.subscribe(connection, f"tasks/{task.task_id}")
        assert stage.manager.watch(task.task_id, connection).state == "running"
        await stage.ended(task.task_id)
        assert connection.outbox.closing == (1000, "completed")
        assert b"completed" in connection.outbox.receive_nowait()[-1].payload
    assert stage.manager.watch("nobody", connection) is None


async def test_a_plain_function_runs_in_a_thread_and_ends_at_its_next_word_when_cancelled(stage):
    threads, begun, over = [], threading.Event(), threading.Event()
    go_on = threading.Event()

    @job("in_thread")
    def in_thread(progress, *, times: int):
        threads.append(threading.current_thread())
        try:
            progress.update(percent=0)
            begun.set()
            assert go_on.wait(10)
            progress.update(percent=times)
        except TaskEnded:
            over.set()

    stage.manager.register(in_thread)
    task = await stage.manager.start("in_thread", {"times": 3})
    with trio.fail_after(10):
        await trio.to_thread.run_sync(begun.wait)
    await stage.manager.cancel(task.task_id)
    await trio.testing.wait_all_tasks_blocked()
    assert (await stage.manager.get(task.task_id)).state == "cancelled"
    go_on.set()
    assert await trio.to_thread.run_sync(over.wait, 10)
    assert threads != [threading.main_thread()]


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"upto": "three"}, r"params\.upto: expected `int`, got `str`"),
        ({"up_to": 3}, r"params\.up_to is not known to count"),
        ({"progress": 3}, r"params\.progress is not known to count"),
    ],
)
async def test_a_bad_parameter_is_named(autojump_clock, stage, params, error):
    stage.manager.register(count)
    with pytest.raises(BadField, match=error):
        await stage.manager.start("count", params)


async def test_a_missing_parameter_is_named(autojump_clock, stage):
    @job("wants")
    async def wants(progress, *, this): ...

    stage.manager.register(wants)
    with pytest.raises(BadField, match=r"params\.this is missing; wants needs it"):
        await stage.manager.start("wants")


async def test_an_unknown_job_is_named_with_those_that_are_known(autojump_clock, stage):
    stage.manager.register(count)
    with pytest.raises(UnknownJob, match=r"'cuont' is not known.*count"):
        await stage.manager.start("cuont")


async def test_two_jobs_cannot_share_a_name(autojump_clock, stage):
    stage.manager.register(count)
    stage.manager.register(count)
    with pytest.raises(ValueError, match="two jobs called 'count'"):
        stage.manager.register(Job("count", fail.function))


async def test_there_is_a_bound_on_what_runs(autojump_clock, stage, monkeypatch):
    monkeypatch.setattr(tasks, "MAX_RUNNING", 2)
    stage.manager.register(count)
    for _ in range(2):
        await stage.manager.start("count")
    with pytest.raises(TooManyTasks):
        await stage.manager.start("count")
    await trio.sleep(5)
    await stage.manager.start("count")


async def test_ended_tasks_are_told_of_for_a_while_and_then_only_by_the_store(autojump_clock, stage, monkeypatch):
    monkeypatch.setattr(tasks, "RECENT", 2)
    stage.manager.register(count)
    ids = []
    for _ in range(3):
        task = await stage.manager.start("count", {"upto": 1})
        await stage.ended(task.task_id)
        ids.append(task.task_id)
    topics = [topic.topic for topic in stage.manager._hub.topics()]
    assert topics == [f"tasks/{id}" for id in ids[1:]]
    assert (await stage.manager.get(ids[0])).state == "completed"


async def test_what_cannot_be_remembered_is_not_started(autojump_clock, stage):
    stage.manager.register(count)
    stage.store.fails = True
    with pytest.raises(StoreError):
        await stage.manager.start("count")
    assert stage.manager.statistics().running == 0
    assert stage.manager._hub.topics() == []


async def test_an_end_that_cannot_be_remembered_is_told_all_the_same(autojump_clock, stage):
    stage.manager.register(count)
    task = await stage.manager.start("count", {"upto": 1})
    stage.store.fails = True
    with stage.listeners.one(f"tasks/{task.task_id}") as heard:
        await trio.sleep(5)
        assert types(heard)[-1] == "completed"
    assert stage.manager.statistics().completed == 1


async def test_the_newest_are_listed_as_they_are_now(autojump_clock, stage):
    stage.manager.register(count)
    first = await stage.manager.start("count", {"upto": 1})
    await stage.ended(first.task_id)
    second = await stage.manager.start("count", {"upto": 2})
    await trio.sleep(1.5)
    listed = await stage.manager.newest(10)
    assert [(task.task_id, task.state, task.progress.message) for task in listed] == [
        (second.task_id, "running", "1 of 2"),
        (first.task_id, "completed", "1 of 1"),
    ]
