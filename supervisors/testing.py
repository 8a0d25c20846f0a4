"""What it takes to test actors and trees of one's own: virtual time, crashes on order, waiting without polling.

Nothing in here needs pytest: :func:`virtual_time` makes an ordinary test function of an async one.  With pytest-trio, a
tree as a fixture is three lines, and the clock a parameter of each test::

    @pytest.fixture
    async def tree():
        async with running(SupervisorSpec([ChildSpec("worker", work)])) as tree:
            yield tree

    async def test_it_stays_up(tree, autojump_clock):
        await trio.sleep(3600)
        assert tree.starts("worker") == [0]

pytest-trio looks for a clock among the parameters of the test alone: if only the fixture has one, the test runs in
real time.  Every wait ends after :data:`PATIENCE` seconds at the latest, with an AssertionError that says what was
there instead: on a virtual clock these pass at once.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from functools import partial, wraps
from typing import Any, Final, ParamSpec, TypeVar, overload

import trio
import trio.testing

from .errors import NoSuchChild
from .events import Event, Exited, Started, StartFailed
from .policy.lifecycle import State
from .runtime.root import Tree, open_tree
from .spec import AnySupervisorSpec
from .tree import Node, render

__all__ = [
    "PATIENCE",
    "Recorder",
    "RunningTree",
    "assert_no_tasks_left",
    "crash",
    "describe",
    "running",
    "virtual_time",
    "wait_for_generation",
    "wait_for_health",
    "wait_for_state",
    "wait_until",
]

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE: Final = 600.0
"""Seconds a wait in here lasts at most: longer than a row of delayed restarts, and nothing on a virtual clock."""

LASTING: Final[frozenset[State]] = frozenset({"running", "backing_off", "stopped", "failed"})
"""The states that an event announces; ``starting`` and ``stopping`` are on the way to one."""


@overload
def virtual_time(function: Callable[P, Awaitable[T]], /) -> Callable[P, T]: ...
@overload
def virtual_time(
    *, seed: int | None = None, schedules: int = 1
) -> Callable[[Callable[P, Awaitable[T]]], Callable[P, T]]: ...


def virtual_time(
    function: Callable[..., Awaitable[Any]] | None = None, /, *, seed: int | None = None, schedules: int = 1
) -> Any:
    """Make an ordinary function of an async one, run by Trio on a clock that jumps when all tasks wait.

    Sleeping costs nothing and takes exactly as long as it says, so that a test can assert times with ``==``.  Use it
    as ``@virtual_time``, or with options as ``@virtual_time(schedules=20)``.

    Trio runs tasks that are ready together in random order, on purpose, and restarts are delayed by chance.  Here both
    follow a seed, a new one for each run.  A run that fails says its seed in a note on the error; give it as *seed* to
    make the same happen again.  *schedules* runs the function so many times, each with another seed.
    """
    if function is None:
        return partial(_virtual, seed=seed, schedules=schedules)
    return _virtual(function, seed=seed, schedules=schedules)


def _virtual(function: Callable[P, Awaitable[T]], seed: int | None, schedules: int) -> Callable[P, T]:
    if schedules < 1:
        raise ValueError(f"schedules must be at least 1, got {schedules!r}")

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        for number in range(schedules):
            chosen = random.randrange(2**32) if seed is None else seed + number
            try:
                result = _run_seeded(partial(function, *args, **kwargs), chosen)
            except BaseException as error:
                error.add_note(f"to make this happen again: @virtual_time(seed={chosen})")
                raise
        return result

    return run


CHANCE: ContextVar[random.Random | None] = ContextVar("chance", default=None)


def _run_seeded(function: Callable[[], Awaitable[T]], seed: int) -> T:
    """Run *function* with Trio's scheduling and the jitter of :func:`running` decided by *seed*."""
    # There is no public way to make Trio's order of tasks repeatable; this is what its support of Hypothesis does.
    scheduler: Any = trio._core._run
    before, state = scheduler._ALLOW_DETERMINISTIC_SCHEDULING, scheduler._r.getstate()
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True
    scheduler._r.seed(seed)
    chance = CHANCE.set(random.Random(seed))
    try:
        return trio.run(function, clock=trio.testing.MockClock(autojump_threshold=0))
    finally:
        CHANCE.reset(chance)
        scheduler._r.setstate(state)
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = before


# ----------------------------------------------------------------------- events


def describe(event: Event) -> str:
    """*event* in few words: what happened, the path, and for an exit how it ended.

    ``started a``, ``exited a crashed``, ``start_failed a``, ``restart_delayed a``, ``gave_up root`` and so on: the
    name of the class in lower case.  The root, whose path is empty, is called ``root``.
    """
    name = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in type(event).__name__)[1:]
    reason = f" {event.exit.reason}" if isinstance(event, Exited) else ""
    return f"{name} {event.path or 'root'}{reason}"


class Recorder:
    """Keeps the last *limit* events of a tree.  Give it to :func:`~supervisors.open_tree` as ``on_event``."""

    def __init__(self, limit: int = 100_000) -> None:
        self.events: deque[Event] = deque(maxlen=limit)

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def clear(self) -> None:
        """Forget what was recorded."""
        self.events.clear()

    @property
    def story(self) -> list[str]:
        """All events as :func:`describe` tells them."""
        return [describe(event) for event in self.events]

    def times(self, what: str) -> list[float]:
        """When the events happened that :func:`describe` tells as *what*, in :func:`trio.current_time` seconds."""
        return [event.at for event in self.events if describe(event) == what]

    def assert_story(self, *expected: str) -> None:
        """Assert that exactly these events happened, in this order, and forget them.

        Raises:
          AssertionError: showing the first difference and the whole story.
        """
        story = self.story
        for number, (want, got) in enumerate(zip(expected, story, strict=False)):
            assert want == got, _difference(f"event {number + 1} is {got!r}, expected {want!r}", story)
        assert len(story) >= len(expected), _difference(f"{expected[len(story)]!r} did not happen", story)
        assert len(story) <= len(expected), _difference(f"{story[len(expected)]!r} was not expected", story)
        self.clear()

    def assert_sequence(self, *expected: str) -> None:
        """Assert that these events happened in this order, whatever else happened before, between and after."""
        story = self.story
        rest = iter(story)
        for want in expected:
            assert any(want == got for got in rest), _difference(f"{want!r} is missing, or too early", story)


def _difference(what: str, story: Sequence[str]) -> str:
    return "\n  ".join([f"{what}; what happened:", *story])


# ---------------------------------------------------------------------- waiting


async def wait_until(tree: Tree, condition: Callable[[], bool], wanted: str = "the condition") -> None:
    """Wait until *condition* is true; it is looked at now and after each event of *tree*.  A checkpoint.

    Raises:
      AssertionError: the tree ended first, or :data:`PATIENCE` did.
    """
    await trio.lowlevel.checkpoint()
    over = trio.Event()
    met = False

    def look(_: object = None) -> None:
        nonlocal met
        met = met or condition()  # once is enough: it may have passed again when the waiting task gets its turn
        if met or not tree.running:
            over.set()

    with tree.watch(look), trio.move_on_after(PATIENCE):
        look()
        await over.wait()
    if not met:
        ended = "" if tree.running else " before the tree ended"
        raise AssertionError(f"{wanted} did not come true{ended}:\n{render(tree.snapshot())}")


async def wait_for_state(tree: Tree, path: str, *states: State) -> Node:
    """Wait until the child at *path* is in one of *states*; a path that does not exist yet is waited for.

    Raises:
      AssertionError: as :func:`wait_until`.
      ValueError: a state is on the way to another, so that no event announces it.
    """
    passing = set(states) - LASTING
    if passing or not states:
        raise ValueError(f"states must be among {', '.join(sorted(LASTING))}, got {', '.join(states) or 'none'}")
    return await _wait_for_node(tree, path, lambda node: node.state in states, f"to be {' or '.join(states)}")


async def wait_for_generation(tree: Tree, path: str, generation: int) -> Node:
    """Wait until generation number *generation* (from 1), or a later one, of the child at *path* is up."""
    return await _wait_for_node(
        tree, path, lambda node: node.generation >= generation and node.uptime is not None, f"generation {generation}"
    )


async def wait_for_health(tree: Tree, path: str, health: str) -> Node:
    """Wait until the child at *path* is ``ok``, ``degraded`` or ``failing``."""
    return await _wait_for_node(tree, path, lambda node: node.health == health, f"to be {health}")


async def _wait_for_node(tree: Tree, path: str, met: Callable[[Node], bool], wanted: str) -> Node:
    found: list[Node] = []

    def look() -> bool:
        try:
            node = tree.find(path)
        except NoSuchChild:
            return False
        if met(node):
            found.append(node)
        return bool(found)

    await wait_until(tree, look, f"{path or 'root'!r} {wanted}")
    return found[0]


async def crash(tree: Tree, path: str, error: Exception) -> Event:
    """Make the child at *path* crash with *error*, wait until its task has ended, and return the event that says so.

    Raises:
      NoSuchChild, ChildNotRunning: as :meth:`Tree.crash`.
      AssertionError: as :func:`wait_until`.
    """
    ended: list[Event] = []

    def look(event: Event) -> None:
        if event.path == path and isinstance(event, Exited | StartFailed):
            ended.append(event)

    with tree.watch(look):
        tree.crash(path, error)
        await wait_until(tree, lambda: bool(ended), f"the crash of {path or 'root'!r}")
    return ended[0]


# ------------------------------------------------------------------------ tasks


def _tasks(task: trio.lowlevel.Task) -> Iterator[trio.lowlevel.Task]:
    yield task
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield from _tasks(child)


def _all_tasks() -> set[trio.lowlevel.Task]:
    root = trio.lowlevel.current_root_task()
    assert root is not None
    return set(_tasks(root))


@contextmanager
def assert_no_tasks_left() -> Iterator[None]:
    """Assert that the block leaves no task behind that was not there before, by comparing Trio's tasks.

    Other tasks of the test must not start any meanwhile.  A block that raises is not checked: its error comes first.
    """
    before = _all_tasks()
    yield
    left = sorted(task.name for task in _all_tasks() - before)
    assert not left, f"{len(left)} tasks are left: {', '.join(left)}"


# ------------------------------------------------------------------ a whole run


class RunningTree(Tree):
    """A tree with its :class:`Recorder` and the functions of this module as methods."""

    recorder: Recorder

    @property
    def events(self) -> list[Event]:
        """What has happened, the last 100 000 of it."""
        return list(self.recorder.events)

    @property
    def story(self) -> list[str]:
        """:attr:`Recorder.story`."""
        return self.recorder.story

    def assert_story(self, *expected: str) -> None:
        """:meth:`Recorder.assert_story`."""
        self.recorder.assert_story(*expected)

    def assert_sequence(self, *expected: str) -> None:
        """:meth:`Recorder.assert_sequence`."""
        self.recorder.assert_sequence(*expected)

    def starts(self, path: str) -> list[float]:
        """When each generation of the child at *path* came up, in :func:`trio.current_time` seconds."""
        return [event.at for event in self.recorder.events if isinstance(event, Started) and event.path == path]

    async def crash_and_wait(self, path: str, error: Exception) -> Event:
        """:func:`crash`."""
        return await crash(self, path, error)

    async def wait_until(self, condition: Callable[[], bool], wanted: str = "the condition") -> None:
        """:func:`wait_until`."""
        await wait_until(self, condition, wanted)

    async def wait_for_state(self, path: str, *states: State) -> Node:
        """:func:`wait_for_state`."""
        return await wait_for_state(self, path, *states)

    async def wait_for_generation(self, path: str, generation: int) -> Node:
        """:func:`wait_for_generation`."""
        return await wait_for_generation(self, path, generation)

    async def wait_for_health(self, path: str, health: str) -> Node:
        """:func:`wait_for_health`."""
        return await wait_for_health(self, path, health)


@asynccontextmanager
async def running(spec: AnySupervisorSpec, **options: Any) -> AsyncIterator[RunningTree]:
    """:func:`~supervisors.open_tree` with *options*, its events recorded; nothing may be left when it is over.

    Under :func:`virtual_time` the delays of restarts follow its seed, unless *options* have a ``random``.

    Raises:
      AssertionError: a task is left.
      Others: as :func:`~supervisors.open_tree`.
    """
    recorder = Recorder()
    hook = options.pop("on_event", None)
    if (chance := CHANCE.get()) is not None:
        options.setdefault("random", chance.random)

    def on_event(event: Event) -> None:
        recorder(event)
        if hook is not None:
            hook(event)

    with assert_no_tasks_left():
        async with open_tree(spec, on_event=on_event, **options) as tree:
            run = RunningTree(tree._root, tree._context)
            run.recorder = recorder
            yield run
