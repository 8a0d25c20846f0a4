"""What stands in the JSON of our answers: one class for each shape, for the documents, and to check answers against.

Answers themselves are made elsewhere, of what is at hand. A field that may be missing has `UNSET` as its default.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import attrs
from msgspec import UNSET, Meta, UnsetType

from realtime.policy.checks import Severity
from realtime.policy.lag import Overflow
from realtime.policy.progress import State

Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]
Timestamp = Annotated[
    str,
    Meta(
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
        description="ISO 8601 in UTC with milliseconds",
        examples=["2026-01-01T00:00:00.000Z"],
    ),
]


@attrs.frozen
class ErrorBody:
    """What was wrong."""

    code: Annotated[str, Meta(description="for programs")]
    message: Annotated[str, Meta(description="for people: what was wrong, and what to do")]
    details: Annotated[dict[str, Any], Meta(description="the field, where one is at fault, and the like")]


@attrs.frozen
class Error:
    """The one form that all errors have."""

    error: ErrorBody


@attrs.frozen
class Me:
    """Who has signed in."""

    name: Annotated[str | None, Meta(description="null for the anonymous")]
    scopes: Annotated[list[str], Meta(description="what it may do beyond what anyone may")]
    expires_at: Annotated[Timestamp | UnsetType, Meta(description="when its token counts no more")] = UNSET


# --- events --------------------------------------------------------------------------------------------------------


@attrs.frozen
class Event:
    """An event that is stored."""

    event_id: Annotated[str, Meta(description="a ULID; ids ascend in the order of the commits")]
    type: str
    timestamp: Timestamp
    severity: Severity
    source: str | None
    tags: list[str]
    data: dict[str, Any]


@attrs.frozen
class Events:
    """A page of events, oldest first."""

    events: list[Event]
    next: Annotated[str | None, Meta(description="the cursor behind them; null when nothing later exists yet")]


# --- tasks ---------------------------------------------------------------------------------------------------------


@attrs.frozen
class TaskFailure:
    """Why a task failed."""

    code: str
    message: str


@attrs.frozen
class Task:
    """A job that runs or has ended."""

    task_id: str
    job: str
    state: State
    stage: str | None
    percent: Annotated[float, Meta(ge=0, le=100)] | None
    message: str | None
    created_at: Timestamp
    ended_at: Timestamp | UnsetType = UNSET
    error: TaskFailure | UnsetType = UNSET
    result: Annotated[Any, Meta(description="what the job returned, if it did")] = UNSET


@attrs.frozen
class Tasks:
    """The newest tasks first."""

    tasks: list[Task]


# --- who is there --------------------------------------------------------------------------------------------------


@attrs.frozen
class ConnectionFigures:
    """One open connection."""

    id: str
    address: str
    topics: list[str]
    queued_messages: Count
    queued_bytes: Count
    dropped: Annotated[int, Meta(ge=0, description="messages that it lost to overflow")]
    connected_s: Seconds
    session: str | UnsetType = UNSET
    rtt_s: Annotated[float, Meta(ge=0, description="round trip of the last ping")] | UnsetType = UNSET


@attrs.frozen
class Connections:
    """A page of connections, in the order in which they came."""

    connections: list[ConnectionFigures]
    next: str | None
    total: Count


@attrs.frozen
class TopicFigures:
    """One topic."""

    topic: str
    subscribers: Count
    published: Count
    dropped: Count
    epoch: str
    offset: Count
    overflow: Overflow


@attrs.frozen
class Topics:
    """Each topic that exists now, by name."""

    topics: list[TopicFigures]


# --- figures -------------------------------------------------------------------------------------------------------


@attrs.frozen
class Durations:
    """How often something took how long, in seconds; quantiles are the bounds of buckets, null beyond the last."""

    count: Count
    sum: Seconds
    p50: float | None
    p99: float | None


@attrs.frozen
class ProcessFigures:
    """The process as a whole."""

    rss_bytes: Count
    cpu_s: Seconds
    open_files: Count
    threads: Count
    uptime_s: Seconds
    restarts: Count


@attrs.frozen
class ConnectionTotals:
    """All connections; those of the listening socket are null under another server than ours."""

    open: Count
    opened: Count
    closed: Annotated[dict[str, dict[str, int]], Meta(description="by who ended them, and by code")]
    accepted: Count | None
    refused: Count | None
    round_trip_s: Durations


@attrs.frozen
class QueueTotals:
    """What waits in all outboxes together, and in the fullest one."""

    connections: Count
    messages: Count
    bytes: Count
    most_messages: Count


@attrs.frozen
class MessageTotals:
    """All messages."""

    published: Count
    deliveries: Count
    dropped: Count
    pending: Count
    received: Count
    received_bytes: Count
    sent_bytes: Count
    queued: QueueTotals
    latency_s: Durations
    wait_s: Durations


@attrs.frozen
class FamilyTotals:
    """The topics of one family."""

    subscribers: Count
    published: Count
    dropped: Count


@attrs.frozen
class StoreTotals:
    """The event store."""

    events: Count
    last_offset: Count
    appended: Count
    failed: Count
    retired: Count
    batches: Count
    queued: Count
    capacity: Count
    last_commit_s: float | None
    file_bytes: Count
    hand_over_failures: Count
    commit_s: Durations


@attrs.frozen
class SupervisorTotals:
    """The tree, without the children of dynamic supervisors."""

    restarts: Count
    not_ok: Count
    nodes: Count
    restarts_by_path: dict[str, int]
    budget_left: dict[str, int]


@attrs.frozen
class LoopTotals:
    """The event loop."""

    tasks: Count
    runnable: Count
    lag_s: Durations
    blocked: Count


@attrs.frozen
class Refusals:
    """What clients were refused, by the code that they were told."""

    http: dict[str, int]
    errors: dict[str, int]
    closes: dict[str, int]


@attrs.frozen
class AccessTotals:
    """Who is signed in, and how many sign-ins were refused."""

    principals: Count
    connections: Count
    refused: Count


@attrs.frozen
class Metrics:
    """The process's figures."""

    process: ProcessFigures
    connections: ConnectionTotals
    messages: MessageTotals
    topics: dict[str, FamilyTotals]
    store: StoreTotals
    supervisors: SupervisorTotals
    loop: LoopTotals
    refusals: Refusals
    access: AccessTotals


# --- the tree ------------------------------------------------------------------------------------------------------


@attrs.frozen
class Health:
    """How the process fares, and why not better."""

    status: Literal["ok", "degraded", "failing"]
    reasons: list[str]


@attrs.frozen
class BudgetFigures:
    """A supervisor's restart intensity."""

    max_restarts: Count
    max_seconds: Seconds
    left: Annotated[int, Meta(ge=0, description="restarts that it may still make in this window")]


@attrs.frozen
class MailboxFigures:
    """An actor's mailbox."""

    depth: Count
    capacity: Count
    dropped: Count


@attrs.frozen
class LastExitFigures:
    """How the last generation ended."""

    reason: str
    at: Timestamp
    error: str | UnsetType = UNSET
    traceback: Annotated[str, Meta(description="with debug or the admin scope only")] | UnsetType = UNSET


@attrs.frozen
class TreeNode:
    """One child of the tree, a supervisor with what is below it."""

    id: str
    path: str
    kind: Literal["supervisor", "worker"]
    state: Literal["starting", "running", "stopping", "backing_off", "stopped", "failed"]
    health: Literal["ok", "degraded", "failing"]
    reasons: list[str]
    generation: Count
    restarts: Count
    stats: dict[str, Any]
    strategy: Literal["one_for_one", "one_for_all", "rest_for_one"] | UnsetType = UNSET
    restart: Literal["permanent", "transient", "temporary"] | UnsetType = UNSET
    budget: BudgetFigures | UnsetType = UNSET
    uptime_s: Seconds | UnsetType = UNSET
    mailbox: MailboxFigures | UnsetType = UNSET
    next_retry_s: float | UnsetType = UNSET
    last_exit: LastExitFigures | UnsetType = UNSET
    children_total: Count | UnsetType = UNSET
    children: list[TreeNode] | UnsetType = UNSET


@attrs.frozen
class Operation:
    """What an operator has asked for; it is done after the answer."""

    path: str
    action: Literal["restart", "stop", "start", "reload", "crash"]
