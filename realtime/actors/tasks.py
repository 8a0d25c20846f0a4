"""Tasks: jobs that somebody starts, that tell how far they are, and that end in one of four ways.

Each is a temporary child of ``jobs``: when it fails, that is its outcome, and nothing is restarted.

What actor modules declare jobs with is imported from here: `job` and `Job`, see `realtime.actors.jobs`.
"""

from __future__ import annotations

import inspect
import secrets
import time
import typing
from collections.abc import Mapping
from typing import Any, Final

import attrs
import msgspec
import structlog
import trio

from realtime.actors.jobs import Job as Job
from realtime.actors.jobs import job as job
from realtime.actors.progress import ProgressEmitter, TaskEnded
from realtime.delivery.connection import Connection
from realtime.delivery.hub import Hub
from realtime.fields import nearest
from realtime.messages import CloseCode, now_iso
from realtime.policy import checks
from realtime.policy.progress import Progress, TaskError, TaskRecord
from realtime.policy.ulid import UlidSequence
from realtime.ports import StoreError
from realtime.storage.tasks import TaskStore
from supervisors import ChildSpec, SupervisorError, SupervisorRef

MAX_RUNNING: Final = 100
"""Tasks at a time; more are refused."""

THREADS: Final = 8
"""Jobs that are plain functions run in so many threads at a time; further ones wait for one."""

RECENT: Final = 100
"""Tasks that have ended and whose topics still tell the outcome to who subscribes late."""

LAST_WORDS: Final = 5.0
"""Seconds for writing down how a task ended when everything is being stopped."""

STOP: Final = 5.0
"""Seconds that a cancelled job gets to clean up."""

logger = structlog.get_logger("realtime.tasks")


class UnknownJob(LookupError):
    """There is no such job."""

    def __init__(self, name: str, known: typing.Iterable[str]) -> None:
        super().__init__(name)
        self.name = name
        self.known = sorted(known)

    def __str__(self) -> str:
        there = ", ".join(self.known) or "none"
        return f"job {self.name!r} is not known{nearest(self.name, self.known)}; there are: {there}"


class UnknownTask(LookupError):
    """There is no such task."""


class AlreadyEnded(Exception):
    """The task has ended: there is nothing to cancel."""


class JobExited(Exception):
    """A job tried to end the whole process: it alone has failed."""


class TooManyTasks(Exception):
    """`MAX_RUNNING` tasks run already."""


@attrs.define(eq=False)
class _Running:
    """A task of this process: what is known of it, and how to reach it."""

    record: TaskRecord
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    watchers: set[str] = attrs.field(factory=set)  # ids of connections, some of which may be gone
    progress: ProgressEmitter | None = None
    over: trio.Event = attrs.field(factory=trio.Event)

    def current(self) -> TaskRecord:
        if self.progress is None or self.record.ended:
            return self.record
        return attrs.evolve(self.record, progress=self.progress.progress)


@attrs.frozen
class TaskStatistics:
    """Plain integers, counted since the start of the process, by how tasks ended."""

    running: int
    started: int
    completed: int
    failed: int
    cancelled: int
    interrupted: int


class TaskManager:
    """Starts tasks, knows what became of them, and tells whoever watches.

    Args:
      children: the dynamic supervisor whose children they are.
    """

    def __init__(self, hub: Hub, store: TaskStore, children: SupervisorRef) -> None:
        self._hub = hub
        self._store = store
        self._children = children
        self._jobs: dict[str, Job] = {}
        self._ids = UlidSequence()
        # By id, in the order of their ends for those that have ended.
        self._running: dict[str, _Running] = {}
        self._recent: dict[str, _Running] = {}
        self._threads = trio.CapacityLimiter(THREADS)
        self._counts = dict.fromkeys(("started", "completed", "failed", "cancelled", "interrupted"), 0)

    # --- jobs ---

    def register(self, job: Job) -> None:
        """Make *job* known.

        Raises:
          ValueError: another one of this name is.
        """
        if self._jobs.setdefault(job.name, job) is not job:
            raise ValueError(f"there are two jobs called {job.name!r}")

    def forget(self, name: str) -> None:
        """Start no more tasks of the job *name*; those that run go on."""
        self._jobs.pop(name, None)

    @property
    def jobs(self) -> Mapping[str, Job]:
        """The jobs by name."""
        return self._jobs

    # --- tasks ---

    async def start(self, name: str, params: Mapping[str, object] | None = None) -> TaskRecord:
        """Start the job *name* as a task and return it once it runs and is remembered. A checkpoint.

        Raises:
          UnknownJob, BadField: it cannot be started so.
          TooManyTasks: not now.
          StoreStopped, StoreError: it could not be remembered; it was not started.
          SupervisorError: the supervisor of tasks does not run; it was not started.
        """
        job = self._jobs.get(name)
        if job is None:
            raise UnknownJob(name, self._jobs)
        arguments = job.parameters(params or {})
        if len(self._running) >= MAX_RUNNING:
            raise TooManyTasks(f"there are {MAX_RUNNING} tasks running; try again later")
        task_id = self._ids.next(int(time.time() * 1000), secrets.randbits)
        task = _Running(TaskRecord(task_id, name, "running", now_iso()))
        self._running[task_id] = task
        refused: SupervisorError | None = None
        try:
            await self._store.add(task.record)
            # Known by its own name, so that whoever subscribes first gets the current state.
            self._hub.declare(topic_of(task_id), retain=True)
            self._publish(task.record)
            await self._children.start_child(
                ChildSpec(task_id, self._run, (job, task, arguments), restart="temporary", shutdown=STOP)
            )
        except SupervisorError as error:
            refused = error
        except BaseException:
            self._running.pop(task_id, None)
            self._hub.retract(topic_of(task_id))
            raise
        if refused is not None:
            self._running.pop(task_id, None)
            self._hub.retract(topic_of(task_id))
            # It is remembered as running, which it never will be.
            await self._store.end(attrs.evolve(task.record, state="interrupted", ended_at=now_iso()))
            raise refused
        self._counts["started"] += 1
        logger.info("task_started", task_id=task_id, job=name)
        return task.current()

    async def get(self, task_id: str) -> TaskRecord:
        """The task. A checkpoint.

        Raises:
          UnknownTask: there is none with this id.
        """
        here = self._here(task_id)
        if here is not None:
            await trio.lowlevel.checkpoint()
            return here.current()
        found = await self._store.get(task_id)
        if found is None:
            raise UnknownTask(task_id)
        return found

    async def wait(self, task_id: str) -> TaskRecord:
        """The task once it has ended, at once if it has. A checkpoint.

        Raises:
          UnknownTask: there is none with this id.
        """
        task = self._running.get(task_id)
        if task is not None:
            await task.over.wait()
        return await self.get(task_id)

    async def newest(self, limit: int) -> list[TaskRecord]:
        """At most *limit* tasks, the newest first, those that run as they are now. A checkpoint."""
        found = await self._store.newest(limit)
        return [self._running[each.task_id].current() if each.task_id in self._running else each for each in found]

    async def cancel(self, task_id: str) -> TaskRecord:
        """Ask a task to end; it is `cancelled` once it has. A checkpoint.

        Raises:
          UnknownTask: there is none with this id.
          AlreadyEnded: it has ended.
        """
        task = self._running.get(task_id)
        if task is None or task.record.ended:
            await self.get(task_id)
            raise AlreadyEnded(task_id)
        if task.progress is not None:
            task.progress.end()
        task.scope.cancel(reason="cancelled by a client")
        await trio.lowlevel.checkpoint()
        return task.current()

    def watch(self, task_id: str, connection: Connection) -> TaskRecord | None:
        """The task, whose end closes *connection* with 1000, at once if it has ended.

        None if it is not one of this process's recent tasks.
        """
        task = self._here(task_id)
        if task is None:
            return None
        task.watchers.add(connection.id)
        return task.current()

    def statistics(self) -> TaskStatistics:
        """A frozen snapshot."""
        return TaskStatistics(running=len(self._running), **self._counts)

    def _here(self, task_id: str) -> _Running | None:
        return self._running.get(task_id) or self._recent.get(task_id)

    # --- the child ---

    async def _run(
        self,
        job: Job,
        task: _Running,
        arguments: dict[str, Any],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """One task, from its beginning to its end."""
        task_id = task.record.task_id
        progress = task.progress = ProgressEmitter(task_id, lambda state: self._tell(task, state))
        task_status.started()
        outcome: dict[str, Any] = {"state": "interrupted"}
        try:
            with structlog.contextvars.bound_contextvars(task_id=task_id), task.scope:
                outcome = await self._outcome(job, progress, arguments)
            if task.scope.cancelled_caught:
                outcome = {"state": "cancelled"}
        except TaskEnded:
            outcome = {"state": "cancelled"}  # it learned of it by its own next word
        except Exception as error:
            outcome = {"state": "failed", "error": TaskError(type(error).__name__, str(error) or "it failed")}
            raise  # a crash is the supervisor's to log
        finally:
            progress.end()
            # Bounded within: only the store is waited for, and not for long.
            with trio.CancelScope(shield=True):
                await self._end(task, outcome)

    async def _outcome(self, job: Job, progress: ProgressEmitter, arguments: dict[str, Any]) -> dict[str, Any]:
        failure: Exception | None = None
        with trio.move_on_after(job.timeout):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(progress.run, name=f"progress of {progress.task_id}")
                try:
                    result = await self._call(job, progress, arguments)
                except Exception as error:
                    failure = error  # by itself: the nursery would wrap it
                except SystemExit as error:  # of a library that takes itself for the program
                    failure = JobExited(f"it called sys.exit({error.code!r}); a job returns or raises instead")
                nursery.cancel_scope.cancel(reason="the job is done")
            if failure is not None:
                raise failure
            return {"state": "completed", "result": _json(result)}
        return {"state": "failed", "error": TaskError("timeout", f"it took longer than {job.timeout:g} s")}

    async def _call(self, job: Job, progress: ProgressEmitter, arguments: dict[str, Any]) -> Any:
        if inspect.iscoroutinefunction(job.function):
            return await job.function(progress, **arguments)

        def in_thread() -> Any:
            return job.function(progress, **arguments)

        # Abandoned, it ends itself at its next word: its emitter takes none any more.
        return await trio.to_thread.run_sync(in_thread, limiter=self._threads, abandon_on_cancel=True)

    async def _end(self, task: _Running, outcome: dict[str, Any]) -> None:
        """Write down how *task* ended, tell it, and send away those who only watched it."""
        progress = Progress() if task.progress is None else task.progress.progress
        record = attrs.evolve(task.record, progress=progress, ended_at=now_iso(), **outcome)
        state = record.state
        try:
            with trio.move_on_after(LAST_WORDS):
                await self._store.end(record)
        except StoreError as error:
            # Told all the same; after a restart of the process it will count as interrupted.
            logger.error("task_end_not_stored", task_id=record.task_id, exc_info=error)
        # Not before: who comes while it is written down would take what is there for all that will be told.
        task.record = record
        self._counts[state] += 1
        logger.info("task_ended", task_id=task.record.task_id, job=task.record.job, state=state)
        del self._running[task.record.task_id]
        self._recent[task.record.task_id] = task
        self._publish(task.record)
        self._hub.flush(topic_of(task.record.task_id))
        for id in task.watchers:
            connection = self._hub.get(id)
            if connection is not None:
                connection.close(CloseCode.NORMAL, state)
        task.watchers.clear()
        task.over.set()
        if len(self._recent) > RECENT:
            oldest = next(iter(self._recent))
            del self._recent[oldest]
            self._hub.retract(topic_of(oldest))

    def _tell(self, task: _Running, progress: Progress) -> None:
        task.record = attrs.evolve(task.record, progress=progress)
        self._publish(task.record)

    def _publish(self, record: TaskRecord) -> None:
        type_, data = record.to_message()
        self._hub.publish_nowait(topic_of(record.task_id), type_, data)


def topic_of(task_id: str) -> str:
    """The topic that tells of a task."""
    return f"tasks/{task_id}"


def _json(result: Any) -> Any:
    """*result* as it will be read: plain values only.

    Raises:
      TypeError, ValueError: it has no JSON form, or too large a one.
    """
    if result is None:
        return None
    return msgspec.json.decode(checks.json_text("result", result))
