"""The actor behind `realtime.actors.webhook`: follows the events and posts each until it is delivered or given up."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Self

import attrs
import structlog
import trio

from realtime import __version__
from realtime.actors.following import Follower, following
from realtime.actors.posting import Post
from realtime.messages import encode
from realtime.policy.attempts import Attempt, Patience, next_attempt
from realtime.policy.pages import Cursor
from realtime.policy.selection import Selection
from realtime.policy.signatures import Scheme
from realtime.ports import EventStore, StoredEvent
from realtime.storage.deliveries import DeliveryStore

logger = structlog.get_logger("realtime.webhooks")


@attrs.frozen
class SinkStatistics:
    """Figures of a `WebhookSink` since it was made; *dead_letters* are those in the store when it last looked.

    Attributes:
      delivered: events, and letters that were sent again.
      failed_attempts: attempts that did not deliver.
      buried: events that were given up.
      position: behind the last event that it is done with.
      behind: events in the store that it still has to look at.
      missed: events that were removed from the store before they were posted.
      attempt: how often the present event was tried; 0 if there is none.
      last_error: how the last failed attempt ended.
    """

    delivered: int
    failed_attempts: int
    buried: int
    dead_letters: int
    position: str | None
    behind: int
    missed: int
    attempt: int
    last_error: str | None


class WebhookSink:
    """Posts the events of *store*, from where it stopped.

    Args:
      name: under which *deliveries* keep its position and its dead letters.
      connect: opens what posts.
      secret: what signs the bodies; None: nothing does.
      begin: where it begins if it has no position yet.
      random: for the delays, returns a number in [0, 1).
      clock: seconds since 1970, for signatures.
    """

    def __init__(
        self,
        store: EventStore,
        deliveries: DeliveryStore,
        name: str,
        connect: Callable[[], AbstractAsyncContextManager[Post]],
        *,
        secret: bytes | None = None,
        scheme: Scheme | None = None,
        selection: Selection,
        patience: Patience | None = None,
        begin: Literal["now", "oldest"] = "now",
        random: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._store = store
        self._deliveries = deliveries
        self._connect = connect
        self._secret = secret
        self._scheme = Scheme() if scheme is None else scheme
        self._selection = selection
        self._patience = Patience() if patience is None else patience
        self._begin = begin
        self._random = random
        self._clock = clock
        self._follower: Follower | None = None
        self._done: Cursor | None = None
        self._delivered = self._failed = self._buried = self._letters = self._attempt = 0
        self._last_error: str | None = None

    async def run(self, *, task_status: trio.TaskStatus[Self] = trio.TASK_STATUS_IGNORED) -> None:
        """Post until cancelled: the supervised child. What is being posted then is posted again by the next one.

        Raises:
          ValueError: another sink of the same name runs.
          realtime.ports.StoreError: events, positions or letters cannot be read or written.
        """
        self._deliveries.claim(self.name)
        try:
            self._done = await self._where_to_begin()
            logger.info("webhook_started", sink=self.name, position=None if self._done is None else str(self._done))
            with following(self._store, self._selection, after=self._done) as self._follower:
                async with self._connect() as post:
                    task_status.started(self)
                    await self._deliver(self._follower, post)
        finally:
            self._deliveries.release(self.name)
            logger.info("webhook_stopped", sink=self.name, delivered=self._delivered)

    async def _where_to_begin(self) -> Cursor | None:
        self._letters = await self._deliveries.count(self.name)
        position = await self._deliveries.position(self.name)
        if position is None and self._begin == "now":
            position = Cursor(self._store.epoch, self._store.last_offset)
            # Kept at once: what is created before the first delivery must not be skipped by a restart.
            await self._deliveries.advance(self.name, position)
        return position

    async def _deliver(self, follower: Follower, post: Post) -> None:
        def wake(sink: str) -> None:
            if sink == self.name:
                follower.notify()

        self._deliveries.on_again.append(wake)
        try:
            while True:
                again = await self._send_letters_again(post)
                events = await follower.receive_batch_nowait()
                for event in events:
                    await self._deliver_one(event, Cursor(follower.position.epoch, event.offset), post)
                if follower.position != self._done:  # what is not wanted is done with too
                    await self._advance(follower.position)
                if not (again or events):
                    await follower.wait()
        finally:
            self._deliveries.on_again.remove(wake)

    async def _deliver_one(self, event: StoredEvent, position: Cursor, post: Post) -> None:
        last = await self._try(event.to_wire(), post)
        if last.delivered:
            self._delivered += 1
            await self._advance(position)
            return
        logger.error(
            "webhook_gave_up", sink=self.name, event_id=event.event_id, attempts=self._attempt, error=last.error
        )
        await self._deliveries.bury(
            self.name, event.to_wire(), position, attempts=self._attempt, status=last.status, error=last.error
        )
        self._done = position
        self._buried += 1
        self._letters = await self._deliveries.count(self.name)
        self._attempt = 0

    async def _send_letters_again(self, post: Post) -> bool:
        letters = await self._deliveries.due(self.name)
        for letter in letters:
            last = await self._try(letter.event, post)
            if last.delivered:
                self._delivered += 1
                await self._deliveries.discard(letter.id)
            else:
                await self._deliveries.failed_again(
                    letter.id, attempts=self._attempt, status=last.status, error=last.error
                )
            self._letters = await self._deliveries.count(self.name)
            self._attempt = 0
        return bool(letters)

    async def _try(self, event: Any, post: Post) -> Attempt:
        """Post *event* until it is delivered or there is no more sense in it; how the last attempt ended."""
        body = encode(event)
        self._attempt = 0
        while True:
            self._attempt += 1
            # Signed anew each time: a signed time grows old.
            last = await post(body, self._headers(event, body))
            if last.delivered:
                return last
            self._failed += 1
            self._last_error = last.error
            delay = next_attempt(self._patience, self._attempt, last, self._random)
            if delay is None:
                return last
            logger.warning(
                "webhook_failed",
                sink=self.name,
                event_id=event["event_id"],
                attempt=self._attempt,
                error=last.error,
                retry_in_s=round(delay, 3),
            )
            await trio.sleep(delay)

    def _headers(self, event: Any, body: bytes) -> dict[str, str]:
        signature = {} if self._secret is None else self._scheme.sign(self._secret, body, self._clock())
        return {
            "Content-Type": "application/json",
            "User-Agent": f"realtime/{__version__}",
            "X-Event-Id": event["event_id"],
            "X-Event-Type": event["type"],
            **signature,
        }

    async def _advance(self, position: Cursor) -> None:
        await self._deliveries.advance(self.name, position)
        self._done = position
        self._attempt = 0

    def statistics(self) -> SinkStatistics:
        """A frozen snapshot of the figures."""
        done, follower = self._done, self._follower
        return SinkStatistics(
            delivered=self._delivered,
            failed_attempts=self._failed,
            buried=self._buried,
            dead_letters=self._letters,
            position=None if done is None else str(done),
            behind=0 if done is None else self._store.last_offset - done.offset,
            missed=0 if follower is None else follower.statistics().missed,
            attempt=self._attempt,
            last_error=self._last_error,
        )
