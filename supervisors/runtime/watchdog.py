"""Who keeps the loop from everything else, for how long, and at which line.

Trio runs one step of one task at a time; while a step lasts, nobody else runs.  An instrument notes which task's step
it is, and a thread looks at that note a few times per threshold: if it is still the same step after *threshold*
seconds, it takes the stack of the loop's thread, again and again until the step is over.

Cost while nothing blocks: one call into C per step, with nothing of Python's in it.  CPU time with and without it, as
a ratio, on CPython 3.11: 1.13 for a task that only yields (2.8 us a step), 1.13 for two tasks that hand an item to and
fro, 1.09 for calls to an actor.  To note the time before and after each step, for exact durations, came to 1.32, 1.30
and 1.22.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeAlias

import attrs
import trio
from attrs import validators as v
from trio.lowlevel import Task

from ..events import LoopBlocked
from ..tree import Blocked
from .child import Child
from .context import TreeContext
from .inspection import Place, child_of, describe, most_telling

logger = logging.getLogger("supervisors.watchdog")

LOOKS: Final = 5
"""Looks per threshold while nothing blocks; a duration comes out short by at most one look."""

LOOKS_AT_A_BLOCKAGE: Final = 20
"""Looks per threshold while one step lasts: samples of where it is, and how exactly its end is known."""

DEPTH: Final = 200
"""Frames of a stack that are looked at, from the innermost; a recursion can have a thousand."""

LINES_TOLD: Final = 20
"""Lines of the stack that are told."""

PLACES: Final = 50
"""Different lines of one blockage that are counted."""

STILL_BLOCKED: Final = 10.0
"""Seconds after which a blockage is logged while it lasts: it may never end, and then nothing else would tell of it."""

Sample: TypeAlias = Callable[[Task], "tuple[Place, ...] | None"]


class Step:
    """One step of *task*, as the watcher sees it: also the note it leaves where the next step will overwrite it."""

    __slots__ = ("announced", "child", "over", "places", "seen", "since", "task")

    def __init__(self, task: Task, since: float) -> None:
        self.task = task
        self.since = since
        self.seen = since
        """When it was last seen to go on."""
        self.places: dict[Place, list[Any]] = {}
        """How often it was seen where, and the stack of the first time."""
        self.child: Child | None = None
        self.announced = self.over = False

    @property
    def seconds(self) -> float:
        """How long it is known to have lasted."""
        return self.seen - self.since

    def add(self, stack: tuple[Place, ...], now: float) -> None:
        """It was seen to be in *stack*, innermost first."""
        self.seen = now
        place = most_telling(stack)
        if place in self.places:
            self.places[place][0] += 1
        elif len(self.places) < PLACES:
            self.places[place] = [1, stack]

    def worst(self) -> tuple[str, tuple[str, ...]]:
        """Where it was most often, and the stack of that."""
        place, (_, stack) = max(self.places.items(), key=lambda item: item[1][0])
        return describe(place), tuple(describe(each) for each in reversed(stack[:LINES_TOLD]))


class Watcher:
    """Looks at the note that the instrument keeps in *latest*; decides from times it is given which step blocks.

    Args:
      latest: holds the task whose step began last, or the :class:`Step` put there instead by the last look.
      sample: the stack of a task, innermost first, or None if it is not running just now.
      found: called with each step that was seen to last for *threshold* seconds, once it is over.
    """

    def __init__(
        self, threshold: float, latest: deque[Any], sample: Sample, found: Callable[[Step], None], now: float
    ) -> None:
        self.threshold = threshold
        self._latest = latest
        self._sample = sample
        self._found = found
        self._step: Step | None = None
        self._due = now + threshold / LOOKS

    def look(self, now: float) -> float:
        """Look once; returns in how many seconds to look again."""
        standing = self._latest[0] if self._latest else None
        if standing is not self._step:
            self.finish()
            assert standing is not None, "what was noted is never taken away"
            # Not `now`: a call into C that keeps the interpreter's lock delays the look itself, and that belongs to it.
            self._step = Step(standing, min(self._due, now))
            # A step that began since the line before is overwritten and so goes unwatched; it is not taken for another,
            # as the sample then does not show this task.
            self._latest.append(self._step)
        step, looks = self._step, LOOKS
        if step is not None and not step.over and now - step.since >= self.threshold:
            stack = self._sample(step.task)
            if stack is None:
                self.finish()
            else:
                step.add(stack, now)
                looks = LOOKS_AT_A_BLOCKAGE
        self._due = now + self.threshold / looks
        return self.threshold / looks

    def finish(self) -> None:
        """The step, if there is one, is over: the loop waits, or another step has begun."""
        step = self._step
        if step is not None and not step.over:
            step.over = True
            if step.places:
                self._found(step)

    @property
    def blocked_by(self) -> Step | None:
        """The step that blocks the loop now."""
        step = self._step
        return step if step is not None and step.places and not step.over else None


@attrs.frozen
class Watchdog:
    """Give one to :func:`~supervisors.open_tree`: it tells of each step of a task that lasts *threshold* seconds.

    Each blockage is logged (``supervisors.watchdog``), told to the event hook as :class:`~supervisors.LoopBlocked` once
    it is over, and counted in the tree: ``stats["loop_blocked"]`` of its child, of the root for tasks outside the tree.
    Real time, whatever Trio's clock.  Steps that last less than 1.2 thresholds may go unseen.

    Raises:
      ValueError, TypeError: naming the field.
    """

    threshold: float = attrs.field(default=0.1, validator=[v.instance_of((int, float)), v.gt(0)])

    @contextmanager
    def watch(self, root: Child, context: TreeContext) -> Iterator[None]:
        """Watch the loop that this runs in, on behalf of *root*'s tree; used by :func:`~supervisors.open_tree`."""
        watch = _Watch(self.threshold, root, context)
        watch.begin()
        try:
            yield
        finally:
            watch.end()


class _Probe(trio.abc.Instrument):
    """Notes the task of each step, by a method of C's: the cheapest thing that can be called."""

    def __init__(self, latest: deque[Any]) -> None:
        self.before_task_step = latest.append  # type: ignore[assignment]


class _Watch:
    """The instrument, the thread and the telling, for as long as a tree runs."""

    def __init__(self, threshold: float, root: Child, context: TreeContext) -> None:
        self._root = root
        self._context = context
        self._loop = threading.get_ident()
        self._token = trio.lowlevel.current_trio_token()
        self._stop = threading.Event()
        self._untold: deque[Step] = deque()
        latest: deque[Any] = deque(maxlen=1)
        self._probe = _Probe(latest)
        self._watcher = Watcher(threshold, latest, self._sample, self._found, time.perf_counter())
        self._thread = threading.Thread(target=self._run, name="loop watchdog", daemon=True)

    def begin(self) -> None:
        trio.lowlevel.add_instrument(self._probe)
        self._thread.start()

    def end(self) -> None:
        trio.lowlevel.remove_instrument(self._probe)
        self._stop.set()
        self._thread.join(1.0)  # it never waits for more than the next look
        self._watcher.finish()
        self._tell()

    # --------------------------------------------------------- in the thread

    def _run(self) -> None:
        pause = self._watcher.threshold / LOOKS
        while not self._stop.wait(pause):
            pause = self._watcher.look(time.perf_counter())
            step = self._watcher.blocked_by
            if step is not None and not step.announced and step.seconds >= STILL_BLOCKED:
                step.announced = True
                logger.critical("the loop has been blocked for %.1f s%s", step.seconds, _by(step))

    def _sample(self, task: Task) -> tuple[Place, ...] | None:
        frame = sys._current_frames().get(self._loop)
        outermost = getattr(task.coro, "cr_frame", None)
        stack: list[Place] = []
        while frame is not None and frame is not outermost:
            stack.append((frame.f_code, frame.f_lineno or 0))
            frame = frame.f_back
        if frame is None:
            return None
        stack.append((frame.f_code, frame.f_lineno or 0))
        step = self._watcher._step
        if step is not None and step.child is None:
            step.child = child_of(task, self._root)  # now: if this is its last step, it cannot be found afterwards
        return tuple(stack[:DEPTH])

    def _found(self, step: Step) -> None:
        self._untold.append(step)
        try:
            self._token.run_sync_soon(self._tell)
        except trio.RunFinishedError:
            pass  # the loop has ended around the tree; there is nobody left to tell

    # ----------------------------------------------------------- in the loop

    def _tell(self) -> None:
        while self._untold:
            step = self._untold.popleft()
            child = self._root if step.child is None else step.child
            where, stack = step.worst()
            seconds = round(step.seconds, 3)
            child.blocked = (child.blocked or Blocked()).and_one_of(seconds)
            logger.warning(
                "the loop was blocked for %.3f s%s",
                seconds,
                _by(step),
                extra={"path": child.path, "seconds": seconds, "where": where},
            )
            event = LoopBlocked(child.path, step.task.name, seconds, where, stack, trio.current_time())
            self._context.emit(event)


def _by(step: Step) -> str:
    who = "a task outside the tree" if step.child is None else repr(step.child.path or "root")
    where, stack = step.worst()
    return "\n  ".join([f" by {who} (task {step.task.name!r}) at {where}", *stack])
