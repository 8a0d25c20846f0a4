"""Children given by name, and new code for them while the tree runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from supervisors import (
    BRUTAL_KILL,
    ActorStopped,
    Backoff,
    ChildSpec,
    DynamicSupervisorSpec,
    MailboxClosed,
    MailboxDepth,
    NoSuchChild,
    Ref,
    ReloadFailed,
    StartError,
    SupervisorSpec,
    Tree,
    WrongKind,
    open_tree,
)
from supervisors.testing import running, virtual_time
from tests.supervisors.actors import Crash, Lives, actor, one

COUNTER = """
import trio
from supervisors import Actor

VERSION = {version!r}

class Counter(Actor):
    def __init__(self, log, start=0):
        self.log = log
        self.count = start

    async def on_start(self):
        self.log.append(("start", VERSION))
        {on_start}

    async def on_upgrade(self, state):
        self.log.append(("upgrade", VERSION, state))
        self.count = state["count"]

    async def export_state(self):
        {export}
        return {{"count": self.count}}

    async def on_stop(self):
        self.log.append(("stop", VERSION))
        {on_stop}

    async def handle_call(self, request):
        return VERSION, self.count

    async def handle_cast(self, message):
        if message == "crash":
            raise RuntimeError("told to")
        if message == "sleep":
            await trio.sleep(3)
        self.count += 1
"""

FUNCTION = """
import trio

async def serve(log, *, task_status, stopping):
    {before}
    log.append(("up", {version!r}))
    task_status.started()
    await stopping.wait()
    log.append(("end", {version!r}))
"""

Write = Callable[..., None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes a module ``hot`` that can be imported; all of one size and one second, to no harm."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(text: str, version: str = "1", name: str = "hot", **holes: str) -> None:
        defaults = {"on_start": "pass", "export": "pass", "on_stop": "pass", "before": "pass"}
        (tmp_path / f"{name}.py").write_text(text.format(version=version, **(defaults | holes)))

    yield write
    for name in [name for name in sys.modules if name.partition(".")[0] in ("hot", "hotter")]:
        del sys.modules[name]


def counter(log: list[Any], **options: Any) -> tuple[ChildSpec, Ref[Any]]:
    ref: Ref[Any] = Ref("counter")
    return ChildSpec("counter", "hot:Counter", (log,), ref=ref, **options), ref


def run(test: Callable[[], Any]) -> None:
    """Run the async function *test* on a clock of its own; the fixtures are not async."""
    virtual_time(test)()


# ------------------------------------------------------------------------ names


@pytest.mark.parametrize("name", ["hot", "hot:", ":Counter", "hot:a b", "hot.1:x", ""])
def test_a_name_has_to_look_like_one(name: str) -> None:
    with pytest.raises(ValueError, match=r"must be named as 'package\.module:attribute'"):
        ChildSpec("a", name)


def test_a_child_can_be_given_by_name(write: Write) -> None:
    write(COUNTER)

    async def test() -> None:
        log: list[Any] = []
        spec, ref = counter(log, kwargs={"start": 5})
        with pytest.raises(MailboxClosed):
            await ref.call("x")
        async with running(one(spec)) as tree:
            assert await ref.call("x") == ("1", 5)
            assert tree.ref("counter") is ref
            await tree.crash_and_wait("counter", Crash())
            assert await ref.call("x") == ("1", 5)
            assert tree.find("counter").generation == 2

    run(test)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("hot.no:x", "'hot' is not a package"),
        ("nothing_here:x", "No module named 'nothing_here'"),
        ("hot:Nothing", "has no attribute 'Nothing'"),
        ("hot:VERSION", "hot:VERSION must be an async callable or an Actor class, got '1'"),
    ],
)
def test_a_name_that_stands_for_nothing_is_a_failed_start(write: Write, name: str, why: str) -> None:
    write(COUNTER)

    async def test() -> None:
        with pytest.raises(StartError, match=f"'a' did not start: .*{why}"):
            async with open_tree(one(ChildSpec("a", name))):
                raise AssertionError("it did not start")

    run(test)


def test_a_ref_to_what_is_no_actor_is_a_failed_start(write: Write) -> None:
    write(FUNCTION)

    async def test() -> None:
        with pytest.raises(StartError, match="is no actor, so its ref has no meaning"):
            async with open_tree(one(ChildSpec("a", "hot:serve", ([],), ref=Ref()))):
                raise AssertionError("it did not start")

    run(test)


# ----------------------------------------------------------------------- reload


def test_new_code_takes_over_the_state_the_mailbox_and_the_ref(write: Write) -> None:
    write(COUNTER)

    async def test() -> None:
        log: list[Any] = []
        spec, ref = counter(log)
        async with running(one(spec, max_restarts=0)) as tree, trio.open_nursery() as nursery:
            old = sys.modules["hot"]
            for _ in range(3):
                await ref.cast("count")
            await ref.cast("sleep")
            write(COUNTER, "2")
            nursery.start_soon(tree.reload_child, "counter")
            await wait_all_tasks_blocked()
            ref.cast_nowait("waits")  # sent while the old code sleeps, behind the request for its state
            assert await ref.call("x") == ("2", 5)
            assert sys.modules["hot"] is not old
            assert sys.modules["hot"].VERSION == "2"
            node = tree.find("counter")
            assert (node.generation, node.restarts, node.health) == (2, 0, "ok")
            assert log == [("start", "1"), ("stop", "1"), ("start", "2"), ("upgrade", "2", {"count": 4})]
            await tree.restart_child("counter")  # an ordinary start takes over nothing, and is of the new code
            assert await ref.call("x") == ("2", 0)

    run(test)


def test_a_function_gets_new_code_without_state(write: Write) -> None:
    write(FUNCTION)

    async def test() -> None:
        log: list[Any] = []
        async with running(one(ChildSpec("a", "hot:serve", (log,)))) as tree:
            write(FUNCTION, "2")
            await tree.reload_child("a")
            assert log == [("up", "1"), ("end", "1"), ("up", "2")]
            assert tree.find("a").generation == 2

    run(test)


def test_a_module_of_a_package_takes_its_place_there(write: Write, tmp_path: Path) -> None:
    (tmp_path / "hotter").mkdir()
    write("", name="hotter/__init__")
    write(FUNCTION, name="hotter/inner")

    async def test() -> None:
        log: list[Any] = []
        async with running(one(ChildSpec("a", "hotter.inner:serve", (log,)))) as tree:
            write(FUNCTION, "2", name="hotter/inner")
            await tree.reload_child("a")
            assert log[-1] == ("up", "2")
            assert sys.modules["hotter"].inner is sys.modules["hotter.inner"]

    run(test)


@pytest.mark.parametrize("text", ["def broken(:", "import nothing_here", "raise ValueError('no')", "x = 1"])
def test_code_that_cannot_be_imported_never_disturbs_the_old(write: Write, text: str) -> None:
    write(COUNTER)

    async def test() -> None:
        log: list[Any] = []
        spec, ref = counter(log)
        async with running(one(spec)) as tree:
            old = sys.modules["hot"]
            await ref.cast("count")
            write(text)
            with pytest.raises(ReloadFailed, match="child 'counter' keeps its code: ") as caught:
                await tree.reload_child("counter")
            assert isinstance(caught.value.__cause__, SyntaxError | ImportError | ValueError | AttributeError)
            assert sys.modules["hot"] is old
            assert await ref.call("x") == ("1", 1)
            assert (tree.find("counter").generation, log) == (1, [("start", "1")])

    run(test)


@pytest.mark.parametrize(
    "how", ["raise ValueError('no')", "await trio.sleep(99)", "raise __import__('supervisors').Ignore"]
)
def test_if_new_code_does_not_start_the_old_is_running_again_with_its_state(write: Write, how: str) -> None:
    write(COUNTER)

    async def test() -> None:
        log: list[Any] = []
        spec, ref = counter(log, start_timeout=10)
        async with running(one(spec, max_restarts=0)) as tree:
            await ref.cast("count")
            await wait_all_tasks_blocked()
            old = sys.modules["hot"]
            write(COUNTER, "2", on_start=how)
            with pytest.raises(ReloadFailed) as caught:
                await tree.reload_child("counter")
            assert caught.value.__cause__ is not None
            assert await ref.call("x") == ("1", 1)
            assert log[-2:] == [("start", "1"), ("upgrade", "1", {"count": 1})]
            assert sys.modules["hot"] is old
            assert tree.find("counter").health == "ok"

    run(test)


@pytest.mark.parametrize("how", ["raise ValueError", "raise __import__('supervisors').Ignore"])
def test_what_waits_outlives_a_reload_that_failed(write: Write, how: str) -> None:
    write(COUNTER)

    async def test() -> None:
        log: list[Any] = []
        spec, ref = counter(log)
        async with running(one(spec)) as tree, trio.open_nursery() as nursery:
            await ref.cast("sleep")
            await wait_all_tasks_blocked()
            write(COUNTER, "2", on_start=how)

            async def reload() -> None:
                with pytest.raises(ReloadFailed, match=r"ValueError|Ignore"):
                    await tree.reload_child("counter")

            async def call() -> None:
                assert await ref.call("x") == ("1", 2)

            nursery.start_soon(reload)
            await wait_all_tasks_blocked()
            ref.cast_nowait("waits")
            nursery.start_soon(call)
            await trio.sleep(10)
            assert tree.find("counter").mailbox == MailboxDepth(0, 1000, 0)

    run(test)


def test_if_the_old_does_not_start_again_either_its_policy_says_what_next(write: Write) -> None:
    write(FUNCTION, before="log.append('try'); assert len(log) != 5")

    async def test() -> None:
        log: list[Any] = []
        async with running(one(ChildSpec("a", "hot:serve", (log,)))) as tree:
            assert log == ["try", ("up", "1")]
            write(FUNCTION, "2", before="log.append('new'); raise ValueError('new')")
            with pytest.raises(ReloadFailed, match="ValueError: new"):
                await tree.reload_child("a")
            await tree.wait_for_state("a", "running")
            assert log == ["try", ("up", "1"), ("end", "1"), "new", "try", "try", ("up", "1")]

    run(test)


def test_an_export_that_fails_leaves_the_old_as_it_was(write: Write) -> None:
    write(COUNTER, export="raise KeyError('state')")

    async def test() -> None:
        log: list[Any] = []
        spec, ref = counter(log)
        async with running(one(spec)) as tree:
            await ref.cast("count")
            with pytest.raises(ReloadFailed, match="KeyError: 'state'"):
                await tree.reload_child("counter")
            assert await ref.call("x") == ("1", 1)
            assert (tree.find("counter").generation, log) == (1, [("start", "1")])

    run(test)


@pytest.mark.parametrize("where", ["before", "within"])
def test_an_export_that_takes_too_long_is_called_off(write: Write, where: str) -> None:
    write(COUNTER, export="await trio.sleep(3)" if where == "within" else "pass")

    async def test() -> None:
        log: list[Any] = []
        spec, ref = counter(log, shutdown=2)
        async with running(one(spec)) as tree:
            if where == "before":
                await ref.cast("sleep")
            with pytest.raises(ReloadFailed, match="did not come to export its state within 2 s"):
                await tree.reload_child("counter")
            assert await ref.call("x") == ("1", 1 if where == "before" else 0)
            assert (tree.find("counter").generation, log) == (1, [("start", "1")])

    run(test)


def test_an_old_one_that_does_not_end_after_its_export_is_killed(write: Write) -> None:
    write(COUNTER, on_stop="await trio.sleep(99)")

    async def test() -> None:
        log: list[Any] = []
        spec, ref = counter(log, shutdown=2)
        async with running(one(spec)) as tree:
            await ref.cast("count")
            began = trio.current_time()
            write(COUNTER, "2")
            await tree.reload_child("counter")
            assert trio.current_time() - began == 2
            assert await ref.call("x") == ("2", 1)

    run(test)


def test_a_crash_before_the_export_is_a_crash(write: Write) -> None:
    write(COUNTER)

    async def test() -> None:
        log: list[Any] = []
        spec, ref = counter(log)
        async with running(one(spec)) as tree:
            ref.cast_nowait("sleep")
            await wait_all_tasks_blocked()

            async with trio.open_nursery() as nursery:

                async def reload() -> None:
                    with pytest.raises(ReloadFailed, match="ended before it exported its state"):
                        await tree.reload_child("counter")

                nursery.start_soon(reload)
                await wait_all_tasks_blocked()
                tree.crash("counter", Crash())
            await tree.wait_for_generation("counter", 2)
            assert await ref.call("x") == ("1", 0)  # nothing of the request for its state is left for the next life
            await wait_all_tasks_blocked()
            node = tree.find("counter")
            assert (node.state, node.generation, node.restarts) == ("running", 2, 1)

    run(test)


def test_one_that_has_no_say_in_its_end_gives_no_state(write: Write) -> None:
    write(COUNTER)

    async def test() -> None:
        log: list[Any] = []
        spec, ref = counter(log, shutdown=BRUTAL_KILL)
        async with running(one(spec)) as tree:
            await ref.cast("count")
            await tree.reload_child("counter")
            assert await ref.call("x") == ("1", 0)
            assert log == [("start", "1"), ("start", "1")]

    run(test)


@pytest.mark.parametrize("state", ["stopped", "backing_off", "failed"])
def test_a_child_that_is_down_is_started_with_the_new_code(write: Write, state: Any) -> None:
    write(FUNCTION, before="assert not log")

    async def test() -> None:
        log: list[Any] = []
        backoff = Backoff(first=60, maximum=60, max_failures=2 if state == "failed" else None)
        spec = ChildSpec("a", "hot:serve", (log,), backoff=backoff)
        async with running(one(spec), random=lambda: 0.5) as tree:
            if state == "stopped":
                await tree.stop_child("a")
            else:
                tree.crash("a", Crash())
            await tree.wait_for_state("a", state)
            write(FUNCTION, "wrong", before="raise ValueError('wrong')")
            with pytest.raises(ReloadFailed, match="ValueError: wrong"):
                await tree.reload_child("a")
            assert tree.find("a").state == state
            write(FUNCTION, "2")
            await tree.reload_child("a")
            assert (tree.find("a").state, log[-1]) == ("running", ("up", "2"))

    run(test)


@pytest.mark.parametrize("state", ["backing_off", "failed"])
def test_those_that_wait_for_a_child_are_started_with_its_new_code(write: Write, state: Any) -> None:
    write(FUNCTION, before="assert not log")

    async def test() -> None:
        backoff = Backoff(first=60, maximum=60, max_failures=2 if state == "failed" else None)
        children = [ChildSpec("a", "hot:serve", ([],), backoff=backoff), ChildSpec("b", trio.sleep_forever)]
        async with running(SupervisorSpec(children, strategy="one_for_all"), random=lambda: 0.5) as tree:
            tree.crash("a", Crash())
            await tree.wait_for_state("a", state)
            assert tree.find("b").state == "stopped"
            write(FUNCTION, "2")
            await tree.reload_child("a")
            assert [node.state for node in tree.snapshot().children or ()] == ["running", "running"]

    run(test)


def test_new_code_has_to_be_of_the_same_kind(write: Write) -> None:
    write(COUNTER)

    async def test() -> None:
        log: list[Any] = []
        spec, ref = counter(log)
        async with running(one(spec)) as tree:
            write("async def Counter(log):\n    pass\n")
            with pytest.raises(ReloadFailed, match="was an actor and is none any more"):
                await tree.reload_child("counter")
            assert await ref.call("x") == ("1", 0)

    run(test)


def test_a_module_without_source_cannot_be_reloaded(write: Write) -> None:
    async def test() -> None:
        module = sys.modules["hot"] = ModuleType("hot")
        module.__spec__ = ModuleSpec("hot", loader=None)
        module.serve = trio.sleep_forever  # type: ignore[attr-defined]
        async with running(one(ChildSpec("a", "hot:serve"))) as tree:
            with pytest.raises(ReloadFailed, match="hot has no source to load it from"):
                await tree.reload_child("a")
            assert tree.find("a").generation == 1

    run(test)


@virtual_time
async def test_what_cannot_be_reloaded_is_refused() -> None:
    spec, _ = actor("a")
    pool = ChildSpec("p", DynamicSupervisorSpec())
    async with running(SupervisorSpec([spec, pool])) as tree:
        await tree.start_child("p", Lives().spec("b"))
        for path, error in (
            ("a", WrongKind),
            ("p", WrongKind),
            ("p/b", WrongKind),
            ("", WrongKind),
            ("x", NoSuchChild),
        ):
            with pytest.raises(error):
                await tree.reload_child(path)


def test_a_deferred_call_ends_with_the_life_that_deferred_it(write: Write) -> None:
    write("""
from supervisors import Actor

class Counter(Actor):
    def __init__(self, log):
        pass

    async def handle_call(self, request):
        self.kept = self.defer()
""")

    async def test() -> None:
        spec, ref = counter([])
        async with running(one(spec)) as tree, trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(ActorStopped):
                    await ref.call("x")

            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            await reload_twice(tree)

    run(test)


async def reload_twice(tree: Tree) -> None:
    for generation in (2, 3):
        await tree.reload_child("counter")
        assert tree.find("counter").generation == generation
